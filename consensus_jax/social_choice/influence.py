"""Who moved the result, and whom the result leaves behind."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from consensus_jax.social_choice import checks, ordered, welfare
from consensus_jax.social_choice.aggregate import aggregate

__all__ = ['Influence', 'dissent', 'gini', 'influence', 'min_max_gap']


@dataclasses.dataclass(frozen=True)
class Influence:
  """What changes when some members are left out.

  Attributes:
    winner: with everybody.
    left_out: the members of each case.
    winners: without them; None if nobody is left.
    changes: welfare of each candidate without them, minus with everybody; None
      for refused candidates, or if nobody is left.
  """

  winner: int | None
  left_out: tuple[tuple[int, ...], ...]
  winners: tuple[int | None, ...]
  changes: tuple[tuple[float | None, ...], ...]

  @property
  def decisive(self) -> tuple[int, ...]:
    """The cases in which another candidate wins."""
    return tuple(
      index
      for index, winner in enumerate(self.winners)
      if winner is not None and winner != self.winner
    )


def influence(
  rewards: Any,
  *,
  groups: Sequence[Any] | None = None,
  weights: ArrayLike | Sequence[Any] | None = None,
  **options: Any,
) -> Influence:
  """Aggregates again without each member, or without each group of them.

  Args:
    rewards: [candidates, members], as for `aggregate`.
    groups: a name or number for each member: leaves out one group at a time,
      in sorted order; None leaves out one member at a time.
    weights: one a member.
    **options: rule and parameters, as for `aggregate`.

  Raises:
    ValueError: as `aggregate`, or if `groups` does not name one a member.
  """
  full = aggregate(rewards, weights=weights, **options)
  members = len(full.weights)
  labels = np.arange(members) if groups is None else np.array(groups)
  if labels.shape != (members,):
    raise ValueError(
      f'groups must hold one label a member, {members}, got {len(labels)}'
    )
  left_out: list[tuple[int, ...]] = []
  winners: list[int | None] = []
  changes: list[tuple[float | None, ...]] = []
  for label in np.unique(labels):
    absent = labels == label
    left_out.append(tuple(np.flatnonzero(absent).tolist()))
    remaining = np.where(absent, 0, full.weights)
    if not remaining.any():
      winners.append(None)
      changes.append((None,) * len(full.welfare))
      continue
    part = aggregate(rewards, weights=remaining, **options)
    winners.append(part.winner)
    changes.append(
      tuple(
        None if after is None or before is None else after - before
        for after, before in zip(part.welfare, full.welfare, strict=True)
      )
    )
  return Influence(full.winner, tuple(left_out), tuple(winners), tuple(changes))


def dissent(
  rewards: Real[ArrayLike, '*batch members'], threshold: float | int = 0.0
) -> Bool[Array, '*batch members']:
  """The members whose reward lies below `threshold`: they are left behind."""
  return jnp.asarray(rewards) < threshold


def gini(
  utilities: Real[ArrayLike, '*batch members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """The Gini coefficient: 0 if all are equal, towards 1 if one has all.

  Half the mean difference between two members, relative to the mean; 0 where
  nobody has anything.

  Raises:
    ValueError: naming the argument and index that is wrong.
  """
  mean = welfare.utilitarian(utilities, weights=weights)
  fair = ordered.generalised_gini(utilities, 2.0, weights=weights)
  return jnp.where(mean > 0, 1 - fair / jnp.where(mean > 0, mean, 1), 0)


def min_max_gap(
  utilities: Real[ArrayLike, '*batch members'],
) -> Real[Array, '*batch']:
  """Greatest minus least utility of a member.

  Raises:
    ValueError: naming the argument and index that is wrong.
  """
  checks.check_utilities(utilities)
  utilities = jnp.asarray(utilities)
  return utilities.max(axis=-1) - utilities.min(axis=-1)
