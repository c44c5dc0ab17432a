"""Several candidates for one group: a slate in which each part finds itself."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Real

from consensus_jax.social_choice import checks

__all__ = ['Slate', 'proportional_slate', 'satisfies_bjr']


class Slate(NamedTuple):
  """Candidates with the members for whom each of them speaks.

  Attributes:
    candidates: k of them, in the order in which they were chosen. A candidate
      that many love may hold two places.
    places: for each member, the place in `candidates` of the one that speaks
      for it; every place has n/k members, rounded up or down.
  """

  candidates: Int[Array, '*batch k']
  places: Int[Array, '*batch members']


def proportional_slate(
  utilities: Real[ArrayLike, '*batch candidates members'], k: int
) -> Slate:
  """Chooses k candidates such that every kth of the members has its own.

  k times: among the members without a candidate, take the candidate that
  pleases its n/k keenest members most (the least pleased of them counts), and
  give it to those. The result satisfies balanced justified representation
  (`satisfies_bjr`). Equals are taken in the order of the list.

  Args:
    utilities: finite, not negative.
    k: how many; at most as many as there are candidates or members.

  Raises:
    ValueError: naming the argument that is wrong.

  Source: Fish et al. 2023, "Generative social choice", and Boehmer, Fish and
  Procaccia 2025.
  """
  checks.check_utilities(utilities, ('candidates', 'members'))
  candidates, members = np.shape(utilities)[-2:]
  if not 1 <= k <= min(candidates, members):
    raise ValueError(
      f'k must be from 1 to {min(candidates, members)} for {candidates} '
      f'candidates and {members} members, got {k}'
    )

  return Slate(*_proportional_slate(utilities, k))


def satisfies_bjr(
  utilities: Real[ArrayLike, '*batch candidates members'],
  candidates: Int[ArrayLike, '*batch members'],
  k: int,
) -> Bool[Array, '*batch']:
  """Whether no large group has been denied a candidate: the definition itself.

  Violated by a group of at least n/k members, a candidate and a level such
  that the candidate reaches the level for all of them and their own candidates
  for none.

  Args:
    utilities: of all candidates that could have been chosen.
    candidates: the one that speaks for each member; with a slate,
      `slate.candidates[slate.places]`.
    k: the size of the slate.
  """
  checks.check_axes('utilities', utilities, ('candidates', 'members'))

  return _satisfies_bjr(utilities, candidates, k)


@functools.partial(jax.jit, static_argnames='k')
def _proportional_slate(utilities, k):
  utilities = jnp.asarray(utilities)
  members = utilities.shape[-1]

  def choose(utilities):
    chosen = []
    places = jnp.full(members, -1)
    for place in range(k):
      size = members // k + (place < members % k)
      left = jnp.where(places[None, :] < 0, utilities, -jnp.inf)
      keenest = jax.lax.top_k(left, size)[0]
      best = jnp.argmax(keenest[:, -1])
      order = jnp.argsort(-left[best], stable=True)
      places = places.at[order[:size]].set(place)
      chosen.append(best)
    return jnp.stack(chosen), places

  dtype = jnp.promote_types(utilities.dtype, jnp.float32)
  batched = jnp.vectorize(choose, signature='(c,n)->(k),(n)')
  return batched(utilities.astype(dtype))


@functools.partial(jax.jit, static_argnames='k')
def _satisfies_bjr(utilities, candidates, k):
  def satisfied(utilities, candidates):
    members = utilities.shape[-1]
    own = jnp.take_along_axis(utilities, candidates[None, :], axis=0)[0]

    def most_denied(row):
      reached = row[None, :] >= row[:, None]
      denied = own[None, :] < row[:, None]
      return (reached & denied).sum(axis=-1).max()

    return jax.lax.map(most_denied, utilities).max() * k < members

  batched = jnp.vectorize(satisfied, signature='(c,n),(n)->()')
  return batched(jnp.asarray(utilities), jnp.asarray(candidates))
