"""One optimizer step and one evaluation step, as pure functions of a batch.

A loss function returns sums over rows, never means: sums of microbatches,
devices and hosts add up to those of the whole batch, and only here are they
divided, once, by the weight of the whole batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from consensus_jax import partitioning
from consensus_jax.model.transformer import Params
from consensus_jax.training import train_state
from consensus_jax.training.train_state import TrainState

# Features whose first axis is the rows.
Batch = Mapping[str, Any]
# Scalars that add up over rows: LOSS, and WEIGHT, which the loss and its
# gradient are divided by, are always among them.
Sums = dict[str, Any]
# Of what is trained, what is frozen, and a batch: the loss's sum, other sums.
LossFunction = Callable[[Params, Params, Batch], tuple[Any, Sums]]

LOSS = 'loss'
WEIGHT = 'weight'
# Of the mean gradient, before clipping; the only number here that is no sum.
GRADIENT_NORM = 'gradient_norm'


def train_step(
  state: TrainState,
  frozen: Params,
  batch: Batch,
  *,
  loss_function: LossFunction,
  optimizer: optax.GradientTransformation,
  microbatches: int = 1,
  shardings: Params | None = None,
) -> tuple[TrainState, Sums]:
  """The state after one step on `batch`, and the batch's sums.

  Args:
    state: before the step.
    frozen: parameters that the loss needs and that are not trained.
    batch: the rows; see `Batch`.
    loss_function: see `LossFunction`.
    optimizer: of `state.params`.
    microbatches: the batch goes through the model in this many parts, one
      after another, in the memory of one. Must divide the rows.
    shardings: where the gradients are pinned: with the parameters.

  Returns:
    The next state; and the sums, with LOSS, WEIGHT and GRADIENT_NORM.
  """
  differentiate = jax.value_and_grad(loss_function, has_aux=True)

  def pinned(gradients):
    if shardings is None:
      return gradients
    return jax.lax.with_sharding_constraint(gradients, shardings)

  def of_rows(rows):
    (loss, sums), gradients = differentiate(state.params, frozen, rows)
    return {**sums, LOSS: loss}, pinned(gradients)

  if microbatches == 1:
    sums, gradients = of_rows(batch)
  else:
    parts = {name: _split(x, microbatches) for name, x in batch.items()}
    shapes = jax.eval_shape(of_rows, {name: x[0] for name, x in parts.items()})
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(total, rows):
      sums, gradients = jax.tree.map(jnp.add, total, of_rows(rows))
      return (sums, pinned(gradients)), None

    (sums, gradients), _ = jax.lax.scan(add, zeros, parts)
  gradients = jax.tree.map(lambda x: x / divisor(sums), gradients)
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  sums = {**sums, GRADIENT_NORM: optax.tree.norm(gradients)}
  return TrainState(state.step + 1, params, opt_state), sums


def divisor(sums: Sums) -> Any:
  """What a sum is divided by; one if all rows are padding."""
  return jnp.where(sums[WEIGHT] > 0, sums[WEIGHT], 1.0)


def jit_train_step(
  abstract: TrainState,
  frozen: Params,
  mesh: Mesh,
  *,
  loss_function: LossFunction,
  optimizer: optax.GradientTransformation,
  microbatches: int = 1,
) -> Any:
  """`train_step` under `jax.jit`: state donated, everything in its place.

  Call or lower it under `jax.set_mesh(mesh)`; for lowering, abstract arguments
  with shardings do (`abstract_batch`).

  Args:
    abstract: shapes and shardings of the state, `train_state.abstract_state`.
    frozen: arrays or their shapes, with shardings.
    mesh: the mesh.
    loss_function: see `LossFunction`.
    optimizer: of the state.
    microbatches: see `train_step`.

  Returns:
    The jitted function of (state, frozen, batch).
  """
  placed = train_state.shardings_of(abstract)

  def step(state, frozen, batch):
    return train_step(
      state,
      frozen,
      batch,
      loss_function=loss_function,
      optimizer=optimizer,
      microbatches=microbatches,
      shardings=placed.params,
    )

  return jax.jit(
    step,
    in_shardings=(placed, train_state.shardings_of(frozen), None),
    out_shardings=(placed, train_state.replicated(mesh)),
    donate_argnums=0,
  )


def batch_shardings(batch: Batch, mesh: Mesh) -> dict[str, Any]:
  """Rows split over the mesh, if it divides them.

  Args:
    batch: arrays or anything that has the shape of the whole batch.
    mesh: the mesh.
  """
  return {
    name: partitioning.named_sharding(
      mesh, ('batch', *(None,) * (len(x.shape) - 1)), x.shape
    )
    for name, x in batch.items()
  }


def abstract_batch(batch: Batch, mesh: Mesh) -> dict[str, Any]:
  """Shapes and shardings of the whole batch; allocates nothing."""
  shardings = batch_shardings(batch, mesh)
  return {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=shardings[name])
    for name, x in batch.items()
  }


def _split(x: Any, microbatches: int) -> Any:
  """[rows, ...] as [microbatches, rows of one, ...].

  Every part takes rows of every device, so that no row moves between them.
  """
  if x.shape[0] % microbatches:
    raise ValueError(
      f'{microbatches} microbatches do not divide {x.shape[0]} rows'
    )
  rows = x.reshape(x.shape[0] // microbatches, microbatches, *x.shape[1:])
  parts = jnp.swapaxes(rows, 0, 1)
  return partitioning.constrain(
    parts, None, 'batch', *(None,) * (parts.ndim - 2)
  )
