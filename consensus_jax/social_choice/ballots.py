"""Rules that read the ballots themselves: approval and instant runoff."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Num, Real

from consensus_jax.social_choice import checks
from consensus_jax.social_choice.rankings import dense_ranks

__all__ = ['approval', 'approval_scores', 'first_places', 'instant_runoff']


def approval(
  approvals: Bool[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by the number of members who approve.

  Raises:
    ValueError: if an axis is empty or `weights` are no weights.
  """
  checks.check_axes('approvals', approvals, ('candidates', 'members'))
  if weights is not None:
    checks.check_weights(weights)
  return dense_ranks(approval_scores(approvals, weights))


def instant_runoff(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by the round in which a candidate is eliminated.

  In each round a member counts once for every candidate at the top of what is
  left of its ballot, and all candidates with the least count leave together,
  so that ties stay ties. A member with one favourite counts as usual; with
  ties at the top this is Approval-IRV, the one generalisation that keeps
  independence of clones.

  Raises:
    ValueError: as `pairwise.pairwise_support`.

  Source: Delemazure and Peters 2024, "Generalizing Instant Runoff Voting to
  Allow for Indifferences".
  """
  checks.check_ranks(ranks)
  if weights is not None:
    checks.check_weights(weights)
  return _instant_runoff(ranks, weights)


@jax.jit
def approval_scores(approvals, weights):
  """Total weight of the members who approve each candidate."""
  approvals = jnp.asarray(approvals)
  return jnp.where(approvals, _per_member(approvals, weights), 0).sum(axis=-1)


@jax.jit
def first_places(ranks, weights, alive):
  """Weight of the members who rank no `alive` candidate above this one."""
  ranks = jnp.asarray(ranks)
  left = jnp.where(alive[..., None], ranks, _largest(ranks.dtype))
  tops = (left == left.min(axis=-2, keepdims=True)) & alive[..., None]
  return jnp.where(tops, _per_member(ranks, weights), 0).sum(axis=-1)


@jax.jit
def _instant_runoff(ranks, weights):
  ranks = jnp.asarray(ranks)

  def round_of(state):
    number, alive, rounds = state
    counts = first_places(ranks, weights, alive)
    left = jnp.where(alive, counts, _largest(counts.dtype))
    out = alive & (left == left.min(axis=-1, keepdims=True))
    return number + 1, alive & ~out, jnp.where(out, number, rounds)

  shape = ranks.shape[:-1]
  start = (jnp.int32(0), jnp.ones(shape, bool), jnp.zeros(shape, jnp.int32))
  return dense_ranks(
    jax.lax.while_loop(lambda state: state[1].any(), round_of, start)[2]
  )


def _largest(dtype):
  whole = jnp.issubdtype(dtype, jnp.integer)
  return jnp.iinfo(dtype).max if whole else jnp.inf


def _per_member(values, weights):
  if weights is None:
    return jnp.int32(1)
  weights = jnp.asarray(weights)[..., None, :]
  return jnp.broadcast_to(weights, (*values.shape[:-2], 1, values.shape[-1]))
