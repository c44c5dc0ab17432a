"""Low-rank adapters: what is trained when a model's own weights are not.

Source: Hu et al. 2021 (LoRA). A weight W of `layers` becomes
W + alpha / rank * B A, where A `[layers, rank, *inputs]` starts random and
B `[layers, *outputs, rank]` starts at zero, so that training starts from the
model as it is.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from consensus_jax.model.config import ModelConfig
from consensus_jax.model.products import Adapted
from consensus_jax.model.transformer import (
  MATRICES,
  Params,
  abstract_params,
  param_axes,
  unstack,
)

# Trailing axes of a weight that are its inputs, where they are not one.
_NUM_INPUTS = {'attention_output': 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
  """Which weights are adapted, and how.

  Attributes:
    rank: of the product B A.
    alpha: the product is multiplied by alpha / rank.
    first_layer: the layers before it stay as they are. What they compute may
      then be computed once for all epochs.
    targets: names of matrices of `layers`.
  """

  rank: int = 16
  alpha: float = 32.0
  first_layer: int = 0
  targets: tuple[str, ...] = (
    'query',
    'key',
    'value',
    'attention_output',
    'gate',
    'up',
    'down',
  )

  def __post_init__(self):
    if isinstance(self.rank, bool) or not isinstance(self.rank, int):
      raise ValueError(f'rank must be an integer, got {self.rank!r}')
    if self.rank < 1:
      raise ValueError(f'rank must be positive, got {self.rank}')
    if isinstance(self.first_layer, bool) or not (
      isinstance(self.first_layer, int) and self.first_layer >= 0
    ):
      raise ValueError(
        f'first_layer must be an integer from 0 on, got {self.first_layer!r}'
      )
    if not 0 < self.alpha < float('inf'):
      raise ValueError(f'alpha must be positive and finite, got {self.alpha}')
    if not isinstance(self.targets, tuple) or not self.targets:
      raise ValueError(f'targets must be a tuple of names, got {self.targets}')
    if len(set(self.targets)) < len(self.targets):
      raise ValueError(f'targets has a name twice: {self.targets}')

  @property
  def scale(self) -> float:
    """What the product B A is multiplied by."""
    return self.alpha / self.rank


def init(config: ModelConfig, lora: LoraConfig, key: PRNGKeyArray) -> Params:
  """Adapters in float32: {target: {'a': A, 'b': B}}, their product zero.

  Pure: jit it with `out_shardings` to place. A target's values do not depend on
  the other targets.

  Raises:
    ValueError: if the model has no such target.
  """

  def one(name, outputs, inputs):
    fan_in = math.prod(inputs)
    a_key = jax.random.fold_in(key, sorted(MATRICES).index(name))
    a_shape = (depth, lora.rank, *inputs)
    return {
      'a': jax.random.normal(a_key, a_shape, jnp.float32) * fan_in**-0.5,
      'b': jnp.zeros((depth, *outputs, lora.rank), jnp.float32),
    }

  depth = num_adapted(config, lora)

  shapes = _split(config, lora, _shapes(config))
  return {name: one(name, *split) for name, split in shapes.items()}


def axes(config: ModelConfig, lora: LoraConfig) -> Params:
  """The logical axis names of every adapter, in the tree of `init`.

  Raises:
    ValueError: if the model has no such target.
  """
  names = _split(config, lora, param_axes(config)['layers'])
  return {
    name: {
      'a': ('layers', None, *inputs),
      'b': ('layers', *outputs, None),
    }
    for name, (outputs, inputs) in names.items()
  }


def num_adapted(config: ModelConfig, lora: LoraConfig) -> int:
  """Number of layers that have adapters.

  Raises:
    ValueError: if the model has no such layer.
  """
  if lora.first_layer >= config.num_layers:
    raise ValueError(
      f'first_layer is {lora.first_layer}, but the model has '
      f'{config.num_layers} layers'
    )
  return config.num_layers - lora.first_layer


def num_parameters(config: ModelConfig, lora: LoraConfig) -> int:
  """Number of scalars in the adapters."""
  shapes = _split(config, lora, _shapes(config))
  depth = num_adapted(config, lora)
  return sum(
    depth * lora.rank * (math.prod(outputs) + math.prod(inputs))
    for outputs, inputs in shapes.values()
  )


def adapt(params: Params, adapters: Params, lora: LoraConfig) -> Params:
  """The adapted model to compute with: weights and adapters side by side.

  Unlike `merge` this is exact in bfloat16, and makes no copy of the weights.
  Layers that are not all adapted become a tuple of layers.

  Args:
    params: stacked, in the compute dtype.
    adapters: as `init` makes them.
    lora: their configuration.
  """
  layers = dict(params['layers'])
  adapted = {}
  for name, adapter in adapters.items():
    weight = layers[name]
    adapted[name] = Adapted(
      weight[lora.first_layer :],
      adapter['a'].astype(weight.dtype),
      (lora.scale * adapter['b']).astype(weight.dtype),
    )
  if not lora.first_layer:
    return {**params, 'layers': {**layers, **adapted}}
  above = {name: leaf[lora.first_layer :] for name, leaf in layers.items()}
  below = {name: leaf[: lora.first_layer] for name, leaf in layers.items()}
  return {
    **params,
    'layers': (*unstack(below), *unstack({**above, **adapted})),
  }


def merge(params: Params, adapters: Params, lora: LoraConfig) -> Params:
  """The parameters of the adapted model, as any model's: W + alpha / rank B A.

  For export, in float32: in bfloat16 what is added may vanish.

  Args:
    params: stacked, in any dtype, which the result keeps.
    adapters: as `init` makes them; numpy arrays will do.
    lora: their configuration.
  """
  layers = dict(params['layers'])
  for name, adapter in adapters.items():
    weight, first = layers[name], lora.first_layer
    sums = _add(weight[first:], adapter['a'], adapter['b'], lora.scale)
    layers[name] = jnp.concatenate([weight[:first], sums]) if first else sums
  return {**params, 'layers': layers}


def weighted_sum(
  lora: LoraConfig, adapters: Sequence[Params], weights: Sequence[float]
) -> Params:
  """Adapters nearest to a sum of what several change, of the same rank.

  The sum of products B A is one of all ranks together; what is nearest to it in
  least squares is kept (Eckart and Young 1936). What models have learned from
  the same weights may be averaged (Wortsman et al. 2022, "Model soups") and
  added (Ilharco et al. 2023, "task arithmetic").

  Args:
    lora: the configuration of each.
    adapters: as `init` makes them, all of one model, none of whose matrices
      has a side shorter than the rank.
    weights: how often each is added.

  Returns:
    Numpy arrays in float32.
  """
  names = adapters[0].keys()
  return {
    name: _weighted_sum(lora, [each[name] for each in adapters], weights)
    for name in names
  }


def _weighted_sum(lora, adapters, weights):
  a, b = adapters[0]['a'], adapters[0]['b']
  depth, rank = len(a), lora.rank
  rows = [np.float64(each['a']).reshape(depth, rank, -1) for each in adapters]
  columns = [
    weight * np.float64(each['b']).reshape(depth, -1, rank)
    for weight, each in zip(weights, adapters, strict=True)
  ]
  # Only small matrices are decomposed: what is left of the two factors when
  # their orthonormal parts are taken out.
  left, inner_b = np.linalg.qr(np.concatenate(columns, 2))
  right, inner_a = np.linalg.qr(np.concatenate(rows, 1).swapaxes(1, 2))
  u, sizes, v = np.linalg.svd(inner_b @ inner_a.swapaxes(1, 2))
  root = np.sqrt(sizes[:, None, :rank])
  near_b = left @ u[..., :rank] * root
  near_a = (right @ v.swapaxes(1, 2)[..., :rank] * root).swapaxes(1, 2)
  return {
    'a': near_a.reshape(a.shape).astype(np.float32),
    'b': near_b.reshape(b.shape).astype(np.float32),
  }


def _add(weight, a, b, scale):
  depth, rank = a.shape[:2]
  product = jnp.einsum(
    'lor,lri->loi',
    b.reshape(depth, -1, rank),
    a.reshape(depth, rank, -1),
    precision='highest',
  )
  # Added in float32, rounded once.
  total = weight.astype(jnp.float32) + scale * product.reshape(weight.shape)
  return total.astype(weight.dtype)


def _shapes(config):
  layers = abstract_params(config, jnp.dtype('float32'))['layers']
  return {name: leaf.shape for name, leaf in layers.items()}


def _split(config, lora, of_layers):
  """{target: (of the outputs, of the inputs)} of shapes or names of axes."""
  allowed = [name for name in of_layers if name in MATRICES]
  unknown = [name for name in lora.targets if name not in allowed]
  if unknown:
    raise ValueError(
      f'LoRA targets {unknown} are no matrices of this model, which has '
      f'{allowed}'
    )
  split = {}
  for name in lora.targets:
    one_layer = tuple(of_layers[name][1:])
    at = len(one_layer) - _NUM_INPUTS.get(name, 1)
    split[name] = one_layer[:at], one_layer[at:]
  return split
