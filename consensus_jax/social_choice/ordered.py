"""Rules that sort each candidate's utilities: leximin, Gini, majority judgment.

What a member thinks enters only through the sorted list, so these rules treat
members alike and favour, in this order, the worst-off, the worse-off and the
middle.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

from consensus_jax.social_choice import checks
from consensus_jax.social_choice.rankings import dense_ranks

__all__ = ['generalised_gini', 'leximin', 'majority_judgment']

_FEW_KEYS = 64


def generalised_gini(
  utilities: Real[ArrayLike, '*batch members'],
  delta: float | int | Real[ArrayLike, ''] = 2.0,
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """Welfare in which a member counts more, the more members are better off.

  With utilities from the lowest up and F the share of members up to there, a
  member counts (1 - F_before)^delta - (1 - F)^delta. delta = 1 is the mean, 2
  the mean times one minus the Gini coefficient, inf the minimum. Unlike
  isoelastic welfare it moves with a shift of all utilities.

  Args:
    utilities: finite, not negative.
    delta: aversion to inequality in [1, inf].
    weights: one a member.

  Raises:
    ValueError: naming the argument and index that is wrong.

  Source: Weymark 1981, "Generalized Gini inequality indices"; single-parameter
  form: Donaldson and Weymark 1980.
  """
  checks.check_utilities(utilities)
  if not checks.is_traced(delta):
    values = np.asarray(delta)
    checks.check_values('delta', values, values >= 1, 'a number from 1 to inf')
  if weights is not None:
    checks.check_weights(weights)
  return _generalised_gini(utilities, delta, weights)


@jax.jit
def _generalised_gini(utilities, delta, weights):
  utilities = jnp.asarray(utilities)
  dtype = jnp.promote_types(utilities.dtype, jnp.float32)
  utilities = utilities.astype(dtype)
  if weights is None:
    shares = jnp.full_like(utilities, 1 / utilities.shape[-1])
  else:
    weights = jnp.asarray(weights).astype(dtype)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    shares = jnp.broadcast_to(weights, utilities.shape)
  order = jnp.argsort(utilities, axis=-1)
  utilities = jnp.take_along_axis(utilities, order, axis=-1)
  shares = jnp.take_along_axis(shares, order, axis=-1)
  # Summed from above, what is left after the last member is exactly nothing.
  left = jnp.flip(jnp.cumsum(jnp.flip(shares, -1), axis=-1), -1)
  left = left / left[..., :1]
  after = jnp.concatenate([left[..., 1:], jnp.zeros_like(left[..., :1])], -1)
  delta = jnp.asarray(delta, dtype)
  counts = left**delta - after**delta
  return (counts * utilities).sum(axis=-1)


def leximin(
  utilities: Real[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best: first by the worst-off, then by the next, and so on.

  Refines the Rawlsian rule, which is blind above the minimum. Only candidates
  with the same sorted utilities tie.

  Args:
    utilities: finite, not negative. Only their order matters.
    weights: one a member; whole numbers are exact.

  Raises:
    ValueError: naming the argument and index that is wrong.
  """
  checks.check_utilities(utilities, ('candidates', 'members'))
  if weights is not None:
    checks.check_weights(weights)
  return leximin_ranks(utilities, weights)


def majority_judgment(
  grades: Real[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Int[Array, '*batch candidates']:
  """Ranks, 0 = best, by the median grade; the lower one of an even number.

  Equal medians are taken away, one from each candidate, until the medians of
  what is left differ. Only candidates with the same sorted grades tie.

  Args:
    grades: finite numbers on a scale that members share; higher is better and
      only their order matters.
    weights: one a member; whole numbers are exact.

  Raises:
    ValueError: naming the argument and index that is wrong.

  Source: Balinski and Laraki 2007, "A theory of measuring, electing, and
  ranking"; 2011, "Majority Judgment".
  """
  checks.check_axes('grades', grades, ('candidates', 'members'))
  if not checks.is_traced(grades):
    checks.check_values('grades', grades, np.isfinite(grades), 'finite')
  if weights is not None:
    checks.check_weights(weights)
  return judgment_ranks(grades, weights)


@jax.jit
def leximin_ranks(utilities, weights):
  """`leximin`, unchecked."""
  utilities = jnp.asarray(utilities)
  if weights is None:
    return _lexicographic_ranks(jnp.sort(utilities, axis=-1))
  values, ends, marks = _steps(utilities, weights)
  keys = _at(values, ends, marks[..., 1:] + marks[..., :-1], 2)
  return _lexicographic_ranks(_where_wide(marks, keys))


@jax.jit
def judgment_ranks(grades, weights):
  """`majority_judgment`, unchecked."""
  grades = jnp.asarray(grades)
  if weights is None:
    members = grades.shape[-1]
    ordered = jnp.sort(grades, axis=-1)
    low = jnp.arange((members - 1) // 2, -1, -1)
    high = members - 1 - low
    return _lexicographic_ranks(
      _alternate(ordered[..., low], ordered[..., high])
    )
  # Medians taken away grow a gap in the middle: compare at its two ends.
  values, ends, marks = _steps(grades, weights)
  total = ends[..., :1, -1:]
  gaps = jnp.sort(jnp.abs(2 * marks - total[..., 0, :]), axis=-1)
  gaps = jnp.concatenate([jnp.zeros_like(gaps[..., :1]), gaps], axis=-1)
  middles = gaps[..., 1:] + gaps[..., :-1]
  low = _at(values, ends, 2 * total[..., 0, :] - middles, 4)
  high = _at(values, ends, 2 * total[..., 0, :] + middles, 4)
  return _lexicographic_ranks(
    _alternate(_where_wide(gaps, low), _where_wide(gaps, high))
  )


def _steps(values, weights):
  """Sorted values, the total weight up to each, and all such totals, sorted."""
  weights = jnp.broadcast_to(jnp.asarray(weights)[..., None, :], values.shape)
  order = jnp.argsort(values, axis=-1)
  values = jnp.take_along_axis(values, order, axis=-1)
  ends = jnp.cumsum(jnp.take_along_axis(weights, order, axis=-1), axis=-1)
  marks = jnp.sort(ends.reshape(*ends.shape[:-2], -1), axis=-1)
  zero = jnp.zeros_like(marks[..., :1])
  return values, ends, jnp.concatenate([zero, marks], axis=-1)


def _at(values, ends, marks, scale):
  """The value where `scale` times the total weight reaches each of `marks`."""

  def look_up(values, ends, marks):
    place = jnp.searchsorted(scale * ends, marks, side='left')
    return values[jnp.minimum(place, len(values) - 1)]

  marks = jnp.broadcast_to(
    marks[..., None, :], (*values.shape[:-1], marks.shape[-1])
  )
  return jnp.vectorize(look_up, signature='(n),(n),(k)->(k)')(
    values, ends, marks
  )


def _where_wide(marks, keys):
  """`keys` of the steps between marks, without those of no width."""
  wide = (marks[..., 1:] > marks[..., :-1])[..., None, :]
  return jnp.where(jnp.broadcast_to(wide, keys.shape), keys, 0)


def _alternate(one, other):
  return jnp.stack([one, other], axis=-1).reshape(*one.shape[:-1], -1)


def _lexicographic_ranks(keys):
  """Dense ranks of rows; at the first key that differs the larger is better."""

  def wins_of(row):
    row = row[..., None, :]
    differ = row != keys
    first = jnp.argmax(differ, axis=-1)[..., None]
    wins = jnp.take_along_axis(row > keys, first, axis=-1)[..., 0]
    return wins.sum(axis=-1, dtype=jnp.int32)

  rows = jnp.moveaxis(keys, -2, 0)
  if keys.shape[-1] <= _FEW_KEYS:
    wins = jax.vmap(wins_of)(rows)
  else:
    wins = jax.lax.map(wins_of, rows)
  return dense_ranks(jnp.moveaxis(wins, 0, -1))
