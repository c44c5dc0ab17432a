"""The state: where it lives, before anything is allocated and after."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny_models import SMALL, random_params

from consensus_jax import partitioning
from consensus_jax.training import train_state

CONFIG = SMALL
OPTIMIZER = optax.adamw(1e-2)


def test_the_state_is_born_sharded():
  mesh = partitioning.make_mesh(fsdp=4, tensor=2)
  abstract = train_state.abstract_state(
    train_state.abstract_params(CONFIG, mesh), OPTIMIZER, mesh
  )
  up = abstract.params['layers']['up']
  assert up.sharding.shard_shape(up.shape) == (2, 40 // 2, 24 // 4)
  moments = [
    leaf.sharding
    for leaf in jax.tree.leaves(abstract.opt_state)
    if leaf.shape == up.shape and leaf.sharding == up.sharding
  ]
  assert len(moments) >= 2, 'both of Adam lie with their parameter'


def test_a_state_is_made_as_it_was_described():
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  abstract = train_state.abstract_state(
    train_state.abstract_params(CONFIG, mesh), OPTIMIZER, mesh
  )
  params = jax.device_put(
    random_params(CONFIG), train_state.shardings_of(abstract.params)
  )
  state = train_state.create(params, OPTIMIZER, abstract)
  assert int(state.step) == 0
  same = jax.tree.map(
    lambda leaf, want: (
      (leaf.shape, leaf.dtype) == (want.shape, want.dtype)
      and leaf.sharding.is_equivalent_to(want.sharding, leaf.ndim)
    ),
    state,
    abstract,
  )
  assert all(jax.tree.leaves(same))
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(state.params))


def test_a_key_depends_on_seed_and_step_alone():
  keys = {
    tuple(np.asarray(jax.random.key_data(train_state.step_key(seed, step))))
    for seed in (0, 1)
    for step in (0, 1, 2)
  }
  assert len(keys) == 6
