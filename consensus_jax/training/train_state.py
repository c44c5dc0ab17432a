"""What a training run carries from step to step, and where it lives.

Besides `TrainState` a run needs nothing: the data's position is `step *
batch_size`, and whatever is random is drawn from `step_key(seed, step)`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray

from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """A pytree of arrays, or of their shapes or shardings.

  Attributes:
    step: steps taken so far, int32 [].
    params: what is trained: all parameters in float32, or adapters.
    opt_state: of the optimizer, for `params`.
  """

  step: Any
  params: Params
  opt_state: Any


def step_key(seed: int, step: Any) -> PRNGKeyArray:
  """The source of what is random in one step: a function of both, no state."""
  return jax.random.fold_in(jax.random.key(seed), step)


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def abstract_params(config: ModelConfig, mesh: Mesh) -> Params:
  """Shapes and shardings of the float32 parameters; allocates nothing."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    transformer.abstract_params(config, jnp.dtype('float32')),
    transformer.param_shardings(config, mesh),
  )


def abstract_state(
  params: Params, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
  """Shapes and shardings of a state; allocates nothing.

  The optimizer's moments lie where their parameters lie, its counters
  everywhere.

  Args:
    params: `jax.ShapeDtypeStruct`s with shardings, as `abstract_params` gives
      them.
    optimizer: whose state to describe.
    mesh: of the shardings.
  """
  shapes = jax.eval_shape(functools.partial(_first, optimizer), params)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
  everywhere = replicated(mesh)
  opt_shardings = optax.tree.map_params(
    optimizer,
    lambda _, sharding: sharding,
    shapes.opt_state,
    shardings,
    transform_non_params=lambda _: everywhere,
  )
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    TrainState(everywhere, shardings, opt_shardings),
  )


def shardings_of(tree: Any) -> Any:
  """The sharding of each leaf of arrays or of their shapes."""
  return jax.tree.map(lambda leaf: leaf.sharding, tree)


def create(
  params: Params,
  optimizer: optax.GradientTransformation,
  abstract: TrainState,
) -> TrainState:
  """The state before the first step, each device making only its shards.

  Args:
    params: arrays, placed as `abstract` says; they become the state's.
    optimizer: gives the first optimizer state.
    abstract: as `abstract_state` gives it.
  """
  # The step too: what `jax.device_put` gives a process of one device cannot be
  # saved.
  make = jax.jit(
    lambda params: (jnp.zeros((), jnp.int32), optimizer.init(params)),
    out_shardings=(abstract.step.sharding, shardings_of(abstract.opt_state)),
  )
  step, opt_state = make(params)
  return TrainState(step, params, opt_state)


def _first(
  optimizer: optax.GradientTransformation, params: Params
) -> TrainState:
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
