"""Refuses bad arrays with an error that names the argument and the index.

Checks of values need values: while jax traces a function they are skipped, so
that the same public function serves inside and outside of `jax.jit`.
"""

import jax
import numpy as np

__all__ = [
  'check_alpha',
  'check_alphas',
  'check_axes',
  'check_ranks',
  'check_utilities',
  'check_values',
  'check_weights',
  'is_traced',
]


def is_traced(*arrays: object) -> bool:
  """Whether any of the arrays has no values yet."""
  return any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_axes(name: str, array, axes: tuple[str, ...]) -> None:
  """Refuses too few axes and empty ones; `axes` names the last ones."""
  shape = np.shape(array)
  if len(shape) < len(axes):
    raise ValueError(
      f'{name} must have the axes [..., {", ".join(axes)}], got the shape '
      f'{list(shape)}'
    )
  named = ('batch',) * (len(shape) - len(axes)) + axes
  for axis, size in zip(named, shape, strict=True):
    if size == 0:
      raise ValueError(f'{name} has an empty axis, {axis}: {list(shape)}')


def check_values(name: str, array, good, wanted: str) -> None:
  """Refuses the first value of `array` that is not `good`."""
  if is_traced(array, good):
    return
  good = np.asarray(good)
  if good.all():
    return
  index = tuple(int(i) for i in np.argwhere(~good)[0])
  where = f'{name}[{", ".join(map(str, index))}]' if index else name
  value = np.asarray(array)[index].item()
  raise ValueError(f'{where} must be {wanted}, got {value!r}')


def check_utilities(utilities, axes: tuple[str, ...] = ('members',)) -> None:
  """Utilities are finite and not negative; nothing is clipped silently."""
  check_axes('utilities', utilities, axes)
  if is_traced(utilities):
    return
  values = np.asarray(utilities)
  good = np.isfinite(values) & (values >= 0)
  check_values('utilities', values, good, 'finite and not negative')


def check_weights(weights) -> None:
  """Weights are finite and not negative, and not all zero in any group."""
  check_axes('weights', weights, ('members',))
  if is_traced(weights):
    return
  values = np.asarray(weights)
  good = np.isfinite(values) & (values >= 0)
  check_values('weights', values, good, 'finite and not negative')
  empty = np.argwhere(~(values > 0).any(-1))
  if len(empty):
    index = ''.join(f'{i}, ' for i in empty[0])
    raise ValueError(f'weights[{index}:] must not all be zero')


def check_alpha(alpha) -> None:
  """Aversion to inequality is a number from 0 to inf."""
  if is_traced(alpha):
    return
  values = np.asarray(alpha)
  check_values('alpha', values, values >= 0, 'a number from 0 to inf')


def check_alphas(alphas) -> None:
  """A grid of at least one aversion to inequality."""
  check_axes('alphas', alphas, ('alphas',))
  if not is_traced(alphas):
    values = np.asarray(alphas)
    check_values('alphas', values, values >= 0, 'a number from 0 to inf')


def check_ranks(ranks) -> None:
  """Ranks are whole numbers, 0 or more; lower is better."""
  check_axes('ranks', ranks, ('candidates', 'members'))
  kind = getattr(ranks, 'dtype', None) or np.asarray(ranks).dtype
  if not np.issubdtype(kind, np.integer):
    raise ValueError(f'ranks must be integers, got {kind}')
  if is_traced(ranks):
    return
  values = np.asarray(ranks)
  check_values('ranks', values, values >= 0, '0 or more')
