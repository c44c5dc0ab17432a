"""Rules by strongest paths of majorities: Schulze and Split Cycle."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Num, Real

from consensus_jax.social_choice.pairwise import (
  majority_strengths,
  pairwise_support,
)
from consensus_jax.social_choice.rankings import dense_ranks

__all__ = [
  'schulze',
  'schulze_scores',
  'split_cycle',
  'split_cycle_scores',
  'widest_paths',
]

_BLOCK = 64


@jax.jit
def widest_paths(
  strengths: Real[Array, '*batch candidates candidates'],
) -> Real[Array, '*batch candidates candidates']:
  """Strength of the strongest path between two candidates, 0 if none.

  A path is as strong as its weakest majority (Floyd and Warshall).
  """
  candidates = strengths.shape[-1]
  groups = strengths.reshape(-1, candidates, candidates)
  paths = jax.lax.platform_dependent(groups, cpu=_in_blocks, default=_paths)
  paths = jnp.where(jnp.eye(candidates, dtype=bool)[None], 0, paths)
  return paths.reshape(strengths.shape)


def _paths(groups):
  # Groups last, so that neighbours in memory do the same.
  def through(middle, paths):
    to = jax.lax.dynamic_slice_in_dim(paths, middle, 1, axis=1)
    onward = jax.lax.dynamic_slice_in_dim(paths, middle, 1, axis=0)
    return jnp.maximum(paths, jnp.minimum(to, onward))

  paths = jnp.moveaxis(groups, 0, -1)
  return jnp.moveaxis(jax.lax.fori_loop(0, len(paths), through, paths), -1, 0)


def _in_blocks(groups):
  """As many groups at a time as stay in a processor's cache."""
  count = len(groups)
  if count <= _BLOCK:
    return _paths(groups)
  fill = ((0, -count % _BLOCK), (0, 0), (0, 0))
  blocks = jnp.pad(groups, fill).reshape(-1, _BLOCK, *groups.shape[1:])
  return jax.lax.map(_paths, blocks).reshape(-1, *groups.shape[1:])[:count]


@functools.partial(jax.jit, static_argnames='strength')
def schulze_scores(
  support: Real[Array, '*batch candidates candidates'],
  strength: str = 'winning_votes',
) -> Int[Array, '*batch candidates']:
  """Number of other candidates that this one is not beaten by."""
  paths = widest_paths(majority_strengths(support, strength))
  unbeaten = paths >= jnp.swapaxes(paths, -1, -2)
  return unbeaten.sum(axis=-1, dtype=jnp.int32) - 1


@functools.partial(jax.jit, static_argnames='strength')
def split_cycle_scores(
  support: Real[Array, '*batch candidates candidates'],
  strength: str = 'winning_votes',
) -> Int[Array, '*batch candidates']:
  """Minus the length of the longest chain of defeats above the candidate."""
  strengths = majority_strengths(support, strength)
  back = jnp.swapaxes(widest_paths(strengths), -1, -2)
  defeats = (strengths > 0) & (strengths > back)

  def one_longer(_, depth):
    chain = jnp.where(defeats, depth[..., :, None] + 1, 0)
    return jnp.maximum(depth, chain.max(axis=-2))

  depth = jnp.zeros(support.shape[:-1], jnp.int32)
  return -jax.lax.fori_loop(0, support.shape[-1] - 1, one_longer, depth)


def schulze(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  strength: str = 'winning_votes',
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by strongest paths; ties are possible and kept.

  x is above y if the strongest path of majorities from x to y is stronger than
  the one back. Proof against clones: near-copies of a candidate change nothing.

  Args:
    ranks: what each member gives each candidate; whole numbers, 0 = best, ties
      and gaps are fine.
    strength: of a majority: 'winning_votes' or 'margins'
      (`pairwise.majority_strengths`).
    weights: one a member.

  Raises:
    ValueError: as `pairwise.pairwise_support`, or if `strength` is not known.

  Source: Schulze 2011, "A new monotonic, clone-independent, reversal
  symmetric, and Condorcet-consistent single-winner election method"; with
  winning votes as the Habermas Machine has it.
  """
  support = pairwise_support(ranks, weights=weights)
  return dense_ranks(schulze_scores(support, strength))


def split_cycle(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  strength: str = 'winning_votes',
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = undefeated, by chains of defeats.

  A majority is a defeat unless it is the weakest in a cycle of majorities. The
  rule itself only names the undefeated; candidates are ranked here by the
  longest chain of defeats that ends in them.

  Raises:
    ValueError: as `schulze`.

  Source: Holliday and Pacuit 2023, "Split Cycle: a new Condorcet-consistent
  voting method independent of clones and immune to spoilers".
  """
  support = pairwise_support(ranks, weights=weights)
  return dense_ranks(split_cycle_scores(support, strength))
