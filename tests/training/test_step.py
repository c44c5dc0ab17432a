"""The step: what accumulates, what is pinned, what is donated."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_training
from tiny_models import SMALL, random_params

from consensus_jax import partitioning
from consensus_jax.model import transformer
from consensus_jax.training import step as steps
from consensus_jax.training import train_state


@pytest.fixture(scope='module', autouse=True)
def _compilations():
  with tiny_training.compilations_kept():
    yield


CONFIG = dataclasses.replace(SMALL, vocab_size=64)
OPTIMIZER = optax.chain(
  optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(1e-2))
)


def next_token_loss(params, frozen, batch):
  """A plain loss of the kind that the step is made for."""
  del frozen
  tokens, weights = batch['tokens'], batch['weights']
  length = tokens.shape[1]
  x, _ = transformer.hidden(
    params,
    CONFIG,
    tokens,
    jnp.arange(length)[None],
    transformer.causal_mask(length),
  )
  losses = optax.softmax_cross_entropy_with_integer_labels(
    transformer.logits(params, x), batch['targets']
  )
  total = jnp.sum(losses * weights)
  return total, {'weight': weights.sum(), 'squares': jnp.sum(losses**2)}


def batch(rows=16, seed=0):
  rng = np.random.default_rng(seed)
  ids = rng.integers(0, CONFIG.vocab_size, (rows, 9), dtype=np.int32)
  return {
    'tokens': ids[:, :-1],
    'targets': ids[:, 1:],
    # Rows of different weight: a mean of means would differ.
    'weights': rng.random((rows, 8)).astype(np.float32) ** 3,
  }


def run(mesh, *, rows=16, num_steps=2, microbatches=1, **options):
  abstract = train_state.abstract_state(
    train_state.abstract_params(CONFIG, mesh), OPTIMIZER, mesh
  )
  step = steps.jit_train_step(
    abstract,
    {},
    mesh,
    loss_function=options.get('loss_function', next_token_loss),
    optimizer=OPTIMIZER,
    microbatches=microbatches,
  )
  with jax.set_mesh(mesh):
    params = jax.device_put(
      random_params(CONFIG), train_state.shardings_of(abstract.params)
    )
    state = train_state.create(params, OPTIMIZER, abstract)
    for seed in range(num_steps):
      rows_now = batch(rows, seed)
      placed = jax.device_put(rows_now, steps.batch_shardings(rows_now, mesh))
      before = state
      state, sums = step(state, {}, placed)
  return before, state, jax.tree.map(np.asarray, sums)


@functools.cache
def reference():
  return run(partitioning.make_mesh())


def close(a, b, tolerance):
  a, b = (jax.tree.map(np.asarray, tree) for tree in (a, b))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=1e-6),
    a,
    b,
  )


@pytest.mark.parametrize('microbatches', [2, 8])
def test_microbatches_equal_the_whole_batch(microbatches):
  _, state, sums = run(partitioning.make_mesh(), microbatches=microbatches)
  close(sums, reference()[2], 1e-5)
  close(state.params, reference()[1].params, 1e-3)


@pytest.mark.parametrize(
  'shape',
  [(4, 2, 1), (2, 2, 2)],
  ids=lambda s: 'x'.join(map(str, s)),
)
def test_every_mesh_gives_the_same_steps(shape):
  mesh = partitioning.make_mesh(*shape)
  before, state, sums = run(mesh, microbatches=2)
  close(sums, reference()[2], 1e-5)
  close(state.params, reference()[1].params, 1e-3)
  wanted = train_state.abstract_state(
    train_state.abstract_params(CONFIG, mesh), OPTIMIZER, mesh
  )
  jax.tree.map(
    lambda leaf, want: (
      leaf.sharding.is_equivalent_to(want.sharding, leaf.ndim)
      or pytest.fail(f'{leaf.sharding} is not {want.sharding}')
    ),
    state,
    wanted,
  )
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))


def test_a_step_is_a_function_of_its_inputs_to_the_bit():
  mesh = partitioning.make_mesh(4, 2, 1)
  states = [
    jax.tree.map(np.asarray, run(mesh, microbatches=2)[1]) for _ in range(2)
  ]
  jax.tree.map(np.testing.assert_array_equal, *states)


def test_rows_that_microbatches_do_not_divide_are_an_error():
  with pytest.raises(ValueError, match='3 microbatches do not divide 16 rows'):
    run(partitioning.make_mesh(), microbatches=3)


def test_frozen_parameters_stay_and_are_no_part_of_the_optimizer():
  mesh = partitioning.make_mesh(data=2)
  shape = jax.ShapeDtypeStruct(
    (3,), jnp.float32, sharding=train_state.replicated(mesh)
  )
  abstract = train_state.abstract_state({'w': shape}, OPTIMIZER, mesh)
  step = steps.jit_train_step(
    abstract,
    {'base': shape},
    mesh,
    loss_function=lambda params, frozen, rows: (
      jnp.sum((rows['x'] @ (params['w'] + frozen['base'])) ** 2),
      {'weight': jnp.float32(len(rows['x']))},
    ),
    optimizer=OPTIMIZER,
  )
  with jax.set_mesh(mesh):
    base = jax.device_put({'base': jnp.ones(3)}, shape.sharding)
    zeros = jax.device_put({'w': jnp.zeros(3)}, shape.sharding)
    state = train_state.create(zeros, OPTIMIZER, abstract)
    state, _ = step(state, base, {'x': np.eye(3, dtype=np.float32)[:2]})
  assert not base['base'].is_deleted()
  assert float(jnp.abs(state.params['w']).max()) > 0
  assert {leaf.shape for leaf in jax.tree.leaves(state.opt_state)} == {(), (3,)}


def test_padding_alone_moves_nothing_but_decay():
  zero = {'weight': jnp.float32(0)}
  assert float(steps.divisor(zero)) == 1.0
  assert float(steps.divisor({'weight': jnp.float32(0.25)})) == 0.25
