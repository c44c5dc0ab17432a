"""Comparisons of candidates in pairs, and the rules that need no more.

`support[x, y]` is the weight of the members who rank x above y; those who rank
both alike support neither. Every rule of this file and of schulze.py,
ranked_pairs.py and lottery.py is a function of it, so that a large electorate
is read once, in parts whose supports are added.
"""

from typing import get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Num, Real

from consensus_jax.social_choice import checks
from consensus_jax.social_choice.names import Strength
from consensus_jax.social_choice.rankings import dense_ranks

__all__ = [
  'borda',
  'borda_scores',
  'copeland',
  'copeland_scores',
  'majority_strengths',
  'minimax',
  'minimax_scores',
  'pairwise_support',
]


# Up to this many members, all pairs are compared at once; beyond, candidate by
# candidate, which the processor does faster than it loads one large array.
_FEW_MEMBERS = 64

# Ones that are added up as bytes, of which 127 would fit.
_BYTES = 16


def pairwise_support(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Real[Array, '*batch candidates candidates']:
  """How many members rank the first candidate above the second.

  Args:
    ranks: whole numbers from 0 = best; ties and gaps are fine.
    weights: a member of weight two counts twice. Whole numbers keep supports
      exact; with fractions, two sums that should tie may differ by rounding.

  Returns:
    Supports; int32 without weights.

  Raises:
    ValueError: naming the argument and index that is wrong.
  """
  checks.check_ranks(ranks)
  if weights is not None:
    checks.check_weights(weights)
  return support_of(ranks, weights)


@jax.jit
def support_of(ranks, weights):
  """`pairwise_support` unchecked, for any numbers of which less is better."""
  ranks = jnp.asarray(ranks)
  few = ranks.shape[-1] <= _FEW_MEMBERS
  if weights is None and not few:
    # Filled up with members to whom all candidates are alike.
    fill = [(0, 0)] * (ranks.ndim - 1) + [(0, -ranks.shape[-1] % _BYTES)]
    ranks = jnp.pad(ranks, fill)
  if weights is not None:
    weights = jnp.asarray(weights)
    weights = jnp.broadcast_to(
      weights[..., None, :], (*ranks.shape[:-2], 1, ranks.shape[-1])
    )

  def above_others(one):
    below = one[..., None, :] < ranks
    if weights is not None:
      return jnp.where(below, weights, 0).sum(axis=-1, dtype=weights.dtype)
    if few:
      return _count(below)
    return jax.lax.platform_dependent(
      below, cpu=_count_in_bytes, default=_count
    )

  by_candidate = jnp.moveaxis(ranks, -2, 0)
  if few:
    support = jax.vmap(above_others)(by_candidate)
  else:
    support = jax.lax.map(above_others, by_candidate)
  return jnp.moveaxis(support, 0, -2)


def _count(below):
  return below.sum(axis=-1, dtype=jnp.int32)


def _count_in_bytes(below):
  # A processor adds four times as many bytes at once as whole integers.
  parts = below.reshape(*below.shape[:-1], _BYTES, -1).astype(jnp.int8)
  return parts.sum(axis=-2, dtype=jnp.int8).sum(axis=-1, dtype=jnp.int32)


def majority_strengths(
  support: Real[Array, '*batch candidates candidates'],
  strength: str = 'winning_votes',
) -> Real[Array, '*batch candidates candidates']:
  """Strength of each majority, 0 where there is none.

  'winning_votes' takes the support of the winning side, 'margins' its lead.
  The two differ only where ballots hold ties.
  """
  if strength not in get_args(Strength):
    known = ' or '.join(map(repr, get_args(Strength)))
    raise ValueError(f'strength must be {known}, got {strength!r}')
  margins = support - jnp.swapaxes(support, -1, -2)
  size = support if strength == 'winning_votes' else margins
  return jnp.where(margins > 0, size, 0)


def borda_scores(
  support: Real[Array, '*batch candidates candidates'],
) -> Real[Array, '*batch candidates']:
  """Candidates below minus candidates above, summed over members."""
  return support.sum(axis=-1) - support.sum(axis=-2)


def copeland_scores(
  support: Real[Array, '*batch candidates candidates'],
) -> Int[Array, '*batch candidates']:
  """Majorities won minus majorities lost."""
  return jnp.sign(support - jnp.swapaxes(support, -1, -2)).sum(
    axis=-1, dtype=jnp.int32
  )


def minimax_scores(
  support: Real[Array, '*batch candidates candidates'],
  strength: str = 'winning_votes',
) -> Real[Array, '*batch candidates']:
  """Minus the strongest majority against the candidate."""
  return -majority_strengths(support, strength).max(axis=-2)


def borda(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by mean position; members' ties get the middle position.

  Raises:
    ValueError: as `pairwise_support`.
  """
  return dense_ranks(borda_scores(pairwise_support(ranks, weights=weights)))


def copeland(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by majorities won minus majorities lost.

  Raises:
    ValueError: as `pairwise_support`.
  """
  return dense_ranks(copeland_scores(pairwise_support(ranks, weights=weights)))


def minimax(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  strength: str = 'winning_votes',
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by the strongest majority against: the weaker the better.

  Also known as Simpson-Kramer.

  Raises:
    ValueError: as `pairwise_support`, or if `strength` is not known.
  """
  support = pairwise_support(ranks, weights=weights)
  return dense_ranks(minimax_scores(support, strength))
