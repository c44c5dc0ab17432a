"""Maps from rewards to utilities: part of every result, never implicit.

Isoelastic welfare needs utilities that are positive and on one scale, while
rewards lie anywhere and, as published, between -10 and 10. Which map is taken
changes the winner for every aversion to inequality other than 0 and inf, so a
map has a name and parameters and is stored with the result.
"""

import dataclasses
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from consensus_jax.social_choice import checks
from consensus_jax.social_choice.names import MapName

__all__ = [
  'LIKERT_THRESHOLDS',
  'UtilityMap',
  'expected_likert',
  'shift',
  'sigmoid',
  'softplus',
]

# Evenly spaced and symmetric: a reward of 0 means "neutral", 4 of 7.
LIKERT_THRESHOLDS = (-5.0, -3.0, -1.0, 1.0, 3.0, 5.0)


def shift(
  rewards: Real[ArrayLike, '*shape'],
  *,
  low: float = -10.0,
  high: float = 10.0,
  constant: float = 11.0,
) -> Float[Array, '*shape']:
  """Clips rewards to their range [low, high] and adds a constant.

  Range: [low + constant, high + constant], as published rewards [1, 21].
  Inverse image: u - constant; the least utility comes from every reward of at
  most `low`, the greatest from every reward of at least `high`.
  """
  _check_rewards(rewards)
  return jnp.clip(_floats(rewards), low, high) + constant


def sigmoid(rewards: Real[ArrayLike, '*shape']) -> Float[Array, '*shape']:
  """1 / (1 + exp(-r)): a log-odds read as the probability of agreeing.

  Range: (0, 1); in float32 exactly 0 below about -88 and exactly 1 above about
  17. Inverse image: log(u / (1 - u)).
  """
  _check_rewards(rewards)
  return jax.nn.sigmoid(_floats(rewards))


def softplus(rewards: Real[ArrayLike, '*shape']) -> Float[Array, '*shape']:
  """log(1 + exp(r)): the reward itself where it is large, never negative.

  Range: (0, inf); in float32 exactly 0 below about -88. Inverse image:
  log(exp(u) - 1).
  """
  _check_rewards(rewards)
  return jax.nn.softplus(_floats(rewards))


def expected_likert(
  rewards: Real[ArrayLike, '*shape'],
  *,
  thresholds: tuple[float, ...] = LIKERT_THRESHOLDS,
) -> Float[Array, '*shape']:
  """Expected rating, if P(rating > k) = sigmoid(r - thresholds[k - 1]).

  The ordinal (cumulative) logit model; six increasing thresholds give ratings
  from 1 to 7. Range: (1, len(thresholds) + 1). Inverse image: one reward a
  utility, as the map increases strictly; it has no closed form (bisect).
  """
  _check_rewards(rewards)
  rewards = _floats(rewards)
  above = [jax.nn.sigmoid(rewards - threshold) for threshold in thresholds]
  return 1 + sum(above, jnp.zeros_like(rewards))


@dataclasses.dataclass(frozen=True)
class UtilityMap:
  """A named map with its parameters: plain data that a result can store.

  Attributes:
    name: 'shift', 'sigmoid', 'softplus' or 'expected_likert'.
    parameters: those of the function of that name; what is left out is filled
      in with its defaults, so that a stored map is complete.

  Raises:
    ValueError: if a name or parameter is unknown or out of range.
  """

  name: str = 'shift'
  # Left out of the hash, not of equality: jax.jit needs maps to be hashable.
  parameters: dict[str, Any] = dataclasses.field(
    default_factory=dict, hash=False
  )

  def __post_init__(self):
    if self.name not in get_args(MapName):
      known = ', '.join(get_args(MapName))
      raise ValueError(f'utility map must be one of {known}, got {self.name!r}')
    complete: dict[str, Any] = {}
    if self.name == 'shift':
      complete = {'low': -10.0, 'high': 10.0, 'constant': 11.0}
    elif self.name == 'expected_likert':
      complete = {'thresholds': LIKERT_THRESHOLDS}
    for key in self.parameters:
      if key not in complete:
        raise ValueError(f'utility map {self.name!r} has no parameter {key!r}')
    complete |= self.parameters
    if self.name == 'shift':
      complete = {key: float(value) for key, value in complete.items()}
      low, high = complete['low'], complete['high']
      if not -np.inf < low < high < np.inf:
        raise ValueError(f'low must be below high, got {low} and {high}')
      if not 0 < low + complete['constant'] < np.inf:
        raise ValueError(
          "constant must lift low above 0, or a member's utility could be "
          f'negative; got {complete["constant"]} with low = {low}'
        )
    elif self.name == 'expected_likert':
      steps = tuple(float(step) for step in complete['thresholds'])
      if (
        not steps or not np.isfinite(steps).all() or (np.diff(steps) <= 0).any()
      ):
        raise ValueError(f'thresholds must increase, got {steps}')
      complete = {'thresholds': steps}
    object.__setattr__(self, 'parameters', complete)

  def __call__(
    self, rewards: Real[ArrayLike, '*shape']
  ) -> Float[Array, '*shape']:
    """Utilities of `rewards`.

    Raises:
      ValueError: naming the first reward that is NaN or infinite.
    """
    match self.name:
      case 'shift':
        return shift(rewards, **self.parameters)
      case 'sigmoid':
        return sigmoid(rewards)
      case 'softplus':
        return softplus(rewards)
      case _:
        return expected_likert(rewards, **self.parameters)

  def to_json(self) -> dict[str, Any]:
    """`{'map': name, **parameters}`, as an outcome stores it."""
    values = {
      key: list(value) if isinstance(value, tuple) else value
      for key, value in self.parameters.items()
    }
    return {'map': self.name, **values}

  @classmethod
  def from_json(cls, value: dict[str, Any]) -> 'UtilityMap':
    """Inverse of `to_json`."""
    parameters = dict(value)
    name = parameters.pop('map')
    if 'thresholds' in parameters:
      parameters['thresholds'] = tuple(parameters['thresholds'])
    return cls(name, parameters)


def _floats(rewards):
  rewards = jnp.asarray(rewards)
  return rewards.astype(jnp.promote_types(rewards.dtype, jnp.float32))


def _check_rewards(rewards) -> None:
  if not checks.is_traced(rewards):
    values = np.asarray(rewards)
    checks.check_values('rewards', values, np.isfinite(values), 'finite')
