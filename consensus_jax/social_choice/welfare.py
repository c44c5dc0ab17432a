"""Welfare of a group: one family from utilitarian to Rawlsian.

Source of the family: Bakker et al. 2022, "Fine-tuning language models to find
agreement among humans with diverse preferences", and their talk of 2023-02-22,
"Isoelastic cardinal welfare function".
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

from consensus_jax.social_choice import checks

__all__ = [
  'ALPHAS',
  'TIE_TOLERANCE',
  'WelfareCurve',
  'WinnerChange',
  'isoelastic_welfare',
  'nash',
  'rawlsian',
  'utilitarian',
  'welfare_curve',
  'winner_changes',
]

ALPHAS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, float('inf'))

# Welfares closer than this, relative to the larger, count as equal: float32
# cannot tell them apart once members are summed in another order.
TIE_TOLERANCE = 2e-6

_STEPS = 256  # of the search for changes of the winner


class WelfareCurve(NamedTuple):
  """Welfare and winner over a grid of aversions to inequality.

  Attributes:
    alphas: the grid.
    welfare: of every candidate at every alpha.
    winners: the first candidate of those tied for best.
  """

  alphas: Float[Array, 'alphas']
  welfare: Float[Array, 'alphas *batch candidates']
  winners: Int[Array, 'alphas *batch']


class WinnerChange(NamedTuple):
  """From this alpha upwards `after` wins, below it `before` does."""

  alpha: float
  before: int
  after: int


def isoelastic_welfare(
  utilities: Real[ArrayLike, '*batch members'],
  alpha: float | int | Real[ArrayLike, ''],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """Aggregates members' utilities with inequality aversion `alpha`.

  W_a(u) = (sum_i w_i u_i^(1-a))^(1/(1-a)) with weights normalised to one:
  a = 0 is the mean (utilitarian), a = 1 the geometric mean (Bernoulli-Nash),
  a = inf the minimum (Rawlsian). Computed relative to the largest term in log
  space, with no loss near a = 1, no overflow at any a, and as accurate as
  float32 allows. A utility of zero gives zero for a >= 1, the limit.

  Args:
    utilities: finite, not negative and on one common scale; rewards must be
      mapped first (`utilities.UtilityMap`).
    alpha: aversion to inequality in [0, inf]; a number or a traced array.
    weights: not negative, not all zero; a weight of two counts a member twice,
      a weight of zero leaves the member out.

  Returns:
    Welfare in the units of `utilities`, between their minimum and maximum.

  Raises:
    ValueError: naming the argument and index of the first bad value. Under
      `jax.jit` values are not known and not checked.
  """
  checks.check_utilities(utilities)
  checks.check_alpha(alpha)
  if weights is not None:
    checks.check_weights(weights)
  return _isoelastic_welfare(utilities, alpha, weights)


def utilitarian(
  utilities: Real[ArrayLike, '*batch members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """The weighted mean of utilities: `isoelastic_welfare` with alpha = 0."""
  return isoelastic_welfare(utilities, 0.0, weights=weights)


def nash(
  utilities: Real[ArrayLike, '*batch members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """The weighted geometric mean: `isoelastic_welfare` with alpha = 1."""
  return isoelastic_welfare(utilities, 1.0, weights=weights)


def rawlsian(
  utilities: Real[ArrayLike, '*batch members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch']:
  """The least utility of a member who counts: alpha = inf."""
  return isoelastic_welfare(utilities, jnp.inf, weights=weights)


def welfare_curve(
  utilities: Real[ArrayLike, '*batch candidates members'],
  alphas: Sequence[float | int] | Real[ArrayLike, 'alphas'] = ALPHAS,
  *,
  weights: Real[ArrayLike, 'members'] | None = None,
) -> WelfareCurve:
  """Welfare of every candidate, and the winner, at each of `alphas`.

  Where the winner changes between two of them: `winner_changes`.

  Raises:
    ValueError: as `isoelastic_welfare`, or if there are no alphas.
  """
  checks.check_utilities(utilities, ('candidates', 'members'))
  checks.check_alphas(alphas)
  grid = jnp.asarray(alphas, jnp.result_type(float))
  if weights is not None:
    checks.check_weights(weights)
  welfare = _welfare_at(utilities, grid, weights)
  return WelfareCurve(grid, welfare, _first_best(welfare))


def winner_changes(
  utilities: Real[ArrayLike, 'candidates members'],
  *,
  weights: Real[ArrayLike, 'members'] | None = None,
) -> tuple[WinnerChange, ...]:
  """The alphas in [0, inf] at which the winner changes, in order.

  Searches a grid of 257 values of alpha / (1 + alpha) and bisects between two
  neighbours with different winners: a winner of a shorter interval than a
  step may be missed, an alpha that is reported is exact to float32. Needs
  values: not for use under `jax.jit`.

  Raises:
    ValueError: as `isoelastic_welfare`.
  """
  checks.check_utilities(utilities, ('candidates', 'members'))
  if weights is not None:
    checks.check_weights(weights)

  def winners(places):
    with np.errstate(divide='ignore'):
      alphas = places / (1 - places)
    welfare = _welfare_at(utilities, jnp.asarray(alphas, jnp.float32), weights)
    return np.asarray(_first_best(welfare))

  places = np.linspace(0.0, 1.0, _STEPS + 1)
  found = winners(places)
  steps = np.flatnonzero(found[1:] != found[:-1])
  if not len(steps):
    return ()
  low, high = places[steps], places[steps + 1]
  before, after = found[steps], found[steps + 1]
  for _ in range(30):
    middle = (low + high) / 2
    at_middle = winners(middle)
    keep = at_middle == before
    # A third winner in between: go on towards the first change only.
    after = np.where(keep, after, at_middle)
    low, high = np.where(keep, middle, low), np.where(keep, high, middle)
  with np.errstate(divide='ignore'):
    alphas = high / (1 - high)
  return tuple(
    WinnerChange(float(alpha), int(one), int(other))
    for alpha, one, other in zip(alphas, before, after, strict=True)
  )


@jax.jit
def _welfare_at(utilities, alphas, weights):
  # One after the other: memory does not grow with the number of alphas.
  return jax.lax.map(
    lambda alpha: _isoelastic_welfare(utilities, alpha, weights), alphas
  )


def _first_best(welfare):
  best = welfare.max(axis=-1, keepdims=True)
  return jnp.argmax(welfare >= best * (1 - TIE_TOLERANCE), axis=-1)


@jax.jit
def _isoelastic_welfare(utilities, alpha, weights):
  utilities = jnp.asarray(utilities)
  dtype = jnp.promote_types(utilities.dtype, jnp.float32)
  utilities = utilities.astype(dtype)
  if weights is None:
    shares = jnp.full_like(utilities, 1 / utilities.shape[-1])
    counts = jnp.ones(utilities.shape, bool)
  else:
    weights = jnp.asarray(weights).astype(dtype)
    weights = weights / weights.max(axis=-1, keepdims=True)
    shares = weights / weights.sum(axis=-1, keepdims=True)
    shares = jnp.broadcast_to(shares, utilities.shape)
    counts = shares > 0
  least = jnp.where(counts, utilities, jnp.inf).min(axis=-1)
  most = jnp.where(counts, utilities, -jnp.inf).max(axis=-1)
  exponent = 1 - jnp.asarray(alpha, dtype)
  # The family scales with its utilities, so any unit will do; the one with the
  # largest power keeps every power between 0 and 1.
  unit = jax.lax.stop_gradient(jnp.where(exponent > 0, most, least))
  safe_unit = jnp.where(unit > 0, unit, 1)[..., None]
  members = jnp.where(counts, utilities, safe_unit)
  ratios = members / safe_unit
  # A quotient of float32 extremes leaves its range, the two logs do not.
  in_range = (ratios > 1e-30) & (ratios < 1e30)
  logs = jnp.where(
    in_range,
    jnp.log(jnp.where(in_range, ratios, 1)),
    jnp.log(jnp.where(in_range, 1, members)) - jnp.log(safe_unit),
  )
  is_nash, is_rawlsian = exponent == 0, jnp.isinf(exponent)
  power = jnp.where(is_nash | is_rawlsian, 1, exponent)
  log_powers = power * logs
  # Near exponent 0 all powers are near 1: their excess over 1 keeps the digits.
  excess = (shares * jnp.expm1(log_powers)).sum(axis=-1)
  near_one = excess > -0.5
  mean_power = (shares * jnp.exp(log_powers)).sum(axis=-1)
  log_mean_power = jnp.where(
    near_one,
    jnp.log1p(jnp.where(near_one, excess, 0)),
    jnp.log(jnp.where(near_one, 1, mean_power)),
  )
  log_welfare = jnp.where(
    is_nash, (shares * logs).sum(axis=-1), log_mean_power / power
  )
  welfare = safe_unit[..., 0] * jnp.exp(log_welfare)
  welfare = jnp.where(exponent == 1, (shares * utilities).sum(-1), welfare)
  welfare = jnp.where((least == 0) & (exponent <= 0), 0, welfare)
  # Rounding may step over the bounds that every mean keeps.
  bounded = jnp.clip(welfare, least, most)
  welfare += jax.lax.stop_gradient(bounded - welfare)
  return jnp.where(is_rawlsian, least, welfare)
