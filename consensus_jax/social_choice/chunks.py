"""Large groups in parts: what a rule needs, summed over chunks of members.

Memory grows with the chunk. Where there is a mesh, each chunk's members are
spread over its data axis, and the compiler adds up what the devices find.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax.social_choice import ballots, ordered, pairwise, welfare
from consensus_jax.social_choice.utilities import UtilityMap

__all__ = ['Members']


@dataclasses.dataclass(frozen=True, eq=False)
class Members:
  """What all members think of the candidates that take part.

  Attributes:
    rewards: [all candidates, members]; anything that numpy can slice, so that
      a file on disk need not be read at once.
    kept: the candidates that take part.
    weights: [members]; not negative.
    counts: [members]; the weights as whole numbers, where they can be.
    utility: from rewards to utilities.
    chunk: members at a time.
    mesh: where the members of a chunk are spread, over its axis 'data'.
  """

  rewards: Any
  kept: np.ndarray
  weights: np.ndarray
  counts: np.ndarray
  utility: UtilityMap
  chunk: int
  mesh: jax.sharding.Mesh | None = None

  def parts(self) -> Iterator[tuple[jax.Array, np.ndarray, np.ndarray]]:
    """Rewards [candidates, chunk] with weights and counts, all of one size.

    The last part is filled up with members of weight zero.
    """
    members, size = len(self.weights), self.chunk
    if self.mesh is not None:
      devices = self.mesh.shape['data']
      size = -(-size // devices) * devices
    for start in range(0, members, size):
      part = slice(start, min(start + size, members))
      rewards = np.asarray(self.rewards[:, part], np.float32)[self.kept]
      fill = (0, size - rewards.shape[1])
      # Filled with the last member, whose rewards are in range.
      rewards = np.pad(rewards, ((0, 0), fill), mode='edge')
      yield (
        self._spread(rewards),
        np.pad(self.weights[part], fill).astype(np.float32),
        np.pad(self.counts[part], fill),
      )

  def _spread(self, rewards):
    if self.mesh is None:
      return jnp.asarray(rewards)
    members = jax.sharding.PartitionSpec(None, 'data')
    return jax.device_put(
      rewards, jax.sharding.NamedSharding(self.mesh, members)
    )

  def _total(self, of_part: Callable[..., jax.Array]) -> jax.Array:
    total = jnp.int32(0)
    for rewards, _, counts in self.parts():
      # Waits, or parts would pile up that are read faster than they are used.
      total = jax.block_until_ready(total + of_part(rewards, counts))
    return total

  def support(self) -> jax.Array:
    """Pairwise support [candidates, candidates]."""
    if (self.counts == 1).all():
      # Faster without weights: who only fills up a part prefers nothing.
      return self._total(
        lambda rewards, counts: pairwise.support_of(
          jnp.where(counts[None, :] > 0, -rewards, 0), None
        )
      )
    return self._total(
      lambda rewards, counts: pairwise.support_of(-rewards, counts)
    )

  def welfare(self, alphas: np.ndarray) -> np.ndarray:
    """Isoelastic welfare [alphas, candidates].

    The welfare of a group is that of its parts, each weighed by its members.
    """
    parts, totals = [], []
    for rewards, weights, _ in self.parts():
      if weights.any():
        parts.append(np.asarray(self._welfare_of(rewards, weights, alphas)))
        totals.append(weights.sum(dtype=np.float64))
    stacked = np.stack(parts, axis=-1)
    return np.stack(
      [
        welfare.isoelastic_welfare(
          of_parts, alpha, weights=np.array(totals, np.float32)
        )
        for of_parts, alpha in zip(stacked, alphas, strict=True)
      ]
    )

  def _welfare_of(self, rewards, weights, alphas):
    return welfare.welfare_curve(
      self.utility(rewards), alphas, weights=weights
    ).welfare

  def approvals(self, threshold: float) -> np.ndarray:
    """Weight of the members whose reward exceeds `threshold`."""
    return np.asarray(
      self._total(
        lambda rewards, counts: ballots.approval_scores(
          rewards > threshold, counts
        )
      )
    )

  def instant_runoff(self) -> np.ndarray:
    """Ranks, 0 = best; reads all members once a round."""
    left = np.ones(len(self.kept), bool)
    rounds = np.zeros(len(self.kept), int)
    while left.any():
      first = np.asarray(
        self._total(
          lambda rewards, counts, left=left: ballots.first_places(
            -rewards, counts, left
          )
        )
      )
      left = left & (first > first[left].min())
      rounds += left
    return np.unique(-rounds, return_inverse=True)[1]

  def row(self, candidate: int) -> np.ndarray:
    """Rewards of all members for one candidate."""
    return np.asarray(self.rewards[self.kept[candidate]], np.float32)

  def gini(self, delta: float) -> np.ndarray:
    """Generalised Gini welfare, one candidate after the other."""
    return np.array(
      [
        ordered.generalised_gini(
          self.utility(self.row(candidate)), delta, weights=self.weights
        )
        for candidate in range(len(self.kept))
      ]
    )

  def sorted_by(
    self,
    first_key: Callable[[np.ndarray, np.ndarray], float],
    ranks_of: Callable[..., jax.Array],
  ) -> np.ndarray:
    """Ranks by a rule of `ordered`, which compares two candidates at a time.

    `first_key` is what the rule compares first, higher is better: most pairs
    differ in it already.
    """
    keys = [first_key(self.row(i), self.counts) for i in range(len(self.kept))]

    def compare(one: int, other: int) -> int:
      if keys[one] != keys[other]:
        return -1 if keys[one] > keys[other] else 1
      pair = np.stack([self.row(one), self.row(other)])
      first, second = np.asarray(ranks_of(pair, self.counts))
      return int(first) - int(second)

    order = sorted(range(len(self.kept)), key=functools.cmp_to_key(compare))
    ranks = np.zeros(len(order), int)
    for one, other in itertools.pairwise(order):
      ranks[other] = ranks[one] + (compare(one, other) < 0)
    return ranks
