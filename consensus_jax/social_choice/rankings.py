"""Rankings: scores into ranks, with ties kept as ties."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Real

__all__ = [
  'competition_ranks',
  'dense_ranks',
  'member_ranks',
  'ranks_within_tolerance',
]


def dense_ranks(
  scores: Real[Array, '*batch candidates'],
) -> Int[Array, '*batch candidates']:
  """Ranks from 0 = the best score; equal scores share one, none is skipped."""
  better = scores[..., None, :] > scores[..., :, None]
  equal = scores[..., None, :] == scores[..., :, None]
  # One of equal scores counts for all of them: the first.
  earlier = jnp.tril(jnp.ones(equal.shape[-2:], bool), -1)
  first = ~(equal & jnp.broadcast_to(earlier, equal.shape)).any(axis=-1)
  return (better & first[..., None, :]).sum(axis=-1, dtype=jnp.int32)


def member_ranks(
  rewards: Real[ArrayLike, '*batch candidates members'],
) -> Int[Array, '*batch candidates members']:
  """The ranks that each member gives, 0 = its highest reward; ties are kept.

  Compares all pairs of candidates: the fastest way for dozens of them, but a
  sort is better for thousands.
  """
  by_member = jnp.swapaxes(jnp.asarray(rewards), -1, -2)
  return jnp.swapaxes(dense_ranks(by_member), -1, -2)


def ranks_within_tolerance(
  scores: Real[np.ndarray, 'candidates'], tolerance: float
) -> Int[np.ndarray, 'candidates']:
  """Dense ranks, where a score almost equal to a better one ties with it.

  A rank's first score sets its bar: all that fall short of it by no more than
  `tolerance`, relative to it, share the rank.
  """
  ranks = np.zeros(len(scores), np.int32)
  rank, bar = -1, -np.inf
  for index in np.argsort(-scores, kind='stable'):
    if rank < 0 or scores[index] < bar:
      rank += 1
      bar = scores[index] - tolerance * abs(scores[index])
    ranks[index] = rank
  return ranks


def competition_ranks(
  ranks: Int[np.ndarray, 'candidates'],
) -> Int[np.ndarray, 'candidates']:
  """Ranks from 1 that skip one for each tie: 1, 2, 2, 4."""
  return 1 + (ranks[None, :] < ranks[:, None]).sum(axis=-1)
