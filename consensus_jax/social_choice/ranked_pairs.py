"""Ranked Pairs: majorities are locked in, the strongest first."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Num, Real

from consensus_jax.social_choice.pairwise import (
  majority_strengths,
  pairwise_support,
)

__all__ = ['ranked_pairs', 'ranked_pairs_order']


def ranked_pairs(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  strength: str = 'winning_votes',
  tie_order: Int[ArrayLike, 'candidates'] | None = None,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """A strict ranking, 0 = best: majorities locked from strong to weak.

  A majority that would close a cycle is skipped. Between equal majorities, and
  for pairs without one, `tie_order` decides: the result is one of the rankings
  that the rule allows, and with another order it may be another. Which
  candidates win under some order is what `aggregate` reports as ties.

  Args:
    ranks: what each member gives each candidate; whole numbers, 0 = best.
    strength: of a majority: 'winning_votes' or 'margins'.
    tie_order: a permutation of the candidates, 0 goes first; None takes them
      as they are listed. A member's strict ballot gives the form of Zavist and
      Tideman, which is independent of clones.
    weights: one a member.

  Raises:
    ValueError: as `pairwise.pairwise_support`; if `strength` is not known or
      `tie_order` is no permutation.

  Source: Tideman 1987, "Independence of clones as a criterion for voting
  rules"; Zavist and Tideman 1989.
  """
  support = pairwise_support(ranks, weights=weights)
  candidates = support.shape[-1]
  if tie_order is None:
    tie_order = np.arange(candidates)
  if not isinstance(tie_order, jax.core.Tracer) and (
    np.sort(tie_order).tolist() != list(range(candidates))
  ):
    raise ValueError(
      f'tie_order must be a permutation of 0 to {candidates - 1}, got '
      f'{np.asarray(tie_order).tolist()}'
    )
  return ranked_pairs_order(support, jnp.asarray(tie_order), strength)


@functools.partial(jax.jit, static_argnames='strength')
def ranked_pairs_order(
  support: Real[Array, '*batch candidates candidates'],
  tie_order: Int[Array, 'candidates'],
  strength: str = 'winning_votes',
) -> Int[Array, '*batch candidates']:
  """The strict ranking of `ranked_pairs` from supports."""
  order = functools.partial(_order, tie_order=tie_order, strength=strength)
  return jnp.vectorize(order, signature='(c,d)->(c)')(support)


def _order(support, *, tie_order, strength):
  candidates = len(support)
  if candidates == 1:
    return jnp.zeros(1, jnp.int32)
  strengths = majority_strengths(support, strength)
  # Each pair once, the winner first; where there is none, the tie order's.
  earlier = tie_order[:, None] < tie_order[None, :]
  forward = (strengths > 0) | ((strengths == strengths.T) & earlier)
  first, second = jnp.nonzero(
    forward, size=candidates * (candidates - 1) // 2, fill_value=0
  )
  places = jnp.lexsort(
    (tie_order[second], tie_order[first], -strengths[first, second])
  )

  def lock(place, above):
    x, y = first[places[place]], second[places[place]]
    # All that is at or above x comes above all that is at or below y.
    added = above[:, x][:, None] & above[y, :][None, :]
    return jnp.where(above[y, x], above, above | added)

  at_or_above = jax.lax.fori_loop(
    0, len(places), lock, jnp.eye(candidates, dtype=bool)
  )
  return at_or_above.sum(axis=0, dtype=jnp.int32) - 1
