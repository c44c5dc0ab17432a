"""How a pass is carried out never changes what it computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from consensus_jax import partitioning
from consensus_jax.model import transformer
from consensus_jax.model.execution import DEFAULT, Execution
from consensus_jax.model.masks import Segments

CONFIG = dataclasses.replace(
  tiny_models.SMALL, qk_norm=True, vocab_size=64, embed_dim=32
)
EXECUTIONS = {
  'dots': Execution(remat='dots'),
  'full': Execution(remat='full'),
  'full, some saved': Execution(remat='full', saved=('query', 'mixed', 'up')),
  'unrolled': Execution(unrolled=True),
  'unrolled, full': Execution(unrolled=True, remat='full'),
}
BATCH = jnp.asarray(np.random.default_rng(0).integers(0, 64, (8, 16), np.int32))


def loss_and_gradients(params, execution, tokens=BATCH, dtype='float32'):
  ids = jnp.asarray(np.repeat([1, 1, 2, 0], 4)[None].repeat(8, 0), jnp.int32)

  def loss(params):
    params = transformer.cast_matrices(params, jnp.dtype(dtype))
    positions = jnp.arange(16)[None]
    x, _ = transformer.hidden(
      params, CONFIG, tokens, positions, Segments(ids), execution=execution
    )
    logits = transformer.logits(params, x)
    return ((2 + jnp.sin(jnp.arange(64))) * jax.nn.log_softmax(logits)).mean()

  return jax.value_and_grad(loss)(params)


compute = jax.jit(loss_and_gradients, static_argnums=(1, 3))


def params_of(config=CONFIG):
  return jax.tree.map(jnp.asarray, tiny_models.random_params(config))


def assert_near(found, expected, tolerance):
  for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize('execution', EXECUTIONS.values(), ids=EXECUTIONS)
def test_gradients_do_not_depend_on_execution(execution):
  params = params_of()
  expected = compute(params, DEFAULT)
  assert_near(compute(params, execution), expected, 1e-5)


def test_layers_in_a_tuple_have_the_same_gradients():
  params = params_of()
  expected = transformer.unstack_layers(compute(params, DEFAULT)[1])
  tuples = transformer.unstack_layers(params)
  for execution in (DEFAULT, Execution(remat='full')):
    found = compute(tuples, execution)[1]
    assert_near(found, expected, 1e-5)


@pytest.mark.parametrize(
  'sizes, remat',
  [((8, 1, 1), 'none'), ((2, 2, 2), 'full'), ((1, 4, 2), 'dots')],
)
def test_gradients_do_not_depend_on_the_mesh(sizes, remat):
  params = params_of()
  expected = compute(params, DEFAULT)
  mesh = partitioning.make_mesh(*sizes)
  shardings = transformer.param_shardings(CONFIG, mesh)
  placed = jax.device_put(params, shardings)
  with jax.set_mesh(mesh):
    found = compute(placed, Execution(remat=remat))
  assert_near(found, expected, 1e-5)


def test_a_layer_computed_again_needs_less_memory():
  config = dataclasses.replace(CONFIG, num_layers=8)
  tokens = jnp.zeros((8, 16), jnp.int32)
  params = params_of(config)

  def temporary(execution):
    def loss(params):
      mask = Segments(jnp.ones((8, 16), jnp.int32))
      positions = jnp.arange(16)[None]
      x, _ = transformer.hidden(
        params, config, tokens, positions, mask, execution=execution
      )
      return (x * x).sum()

    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  none, dots, full = (
    temporary(Execution(remat=remat)) for remat in ('none', 'dots', 'full')
  )
  assert full < dots < none


def test_bfloat16_is_near_float32_and_reaches_float32_masters():
  params = params_of()
  expected_loss, expected = compute(params, DEFAULT)
  for execution in (DEFAULT, Execution(residual='bfloat16')):
    loss, gradients = compute(params, execution, BATCH, 'bfloat16')
    assert abs(loss / expected_loss - 1) < 0.02
    for path, ours in jax.tree_util.tree_leaves_with_path(gradients):
      assert ours.dtype == jnp.float32
      theirs = expected
      for part in path:
        theirs = theirs[part.key]
      # The angle between the two is small.
      cosine = (ours * theirs).sum()
      cosine /= jnp.linalg.norm(ours) * jnp.linalg.norm(theirs)
      assert cosine > 0.98, path


def test_the_residual_stream_has_the_dtype_asked_for():
  params = transformer.cast_matrices(params_of(), jnp.dtype('bfloat16'))

  def stream(execution):
    def call(params):
      mask = Segments(jnp.ones((8, 16), jnp.int32))
      positions = jnp.arange(16)[None]
      return transformer.hidden(
        params, CONFIG, BATCH, positions, mask, execution=execution
      )

    loops = [
      equation
      for equation in jax.make_jaxpr(call)(params).eqns
      if equation.primitive.name == 'scan'
    ]
    carried = loops[-1].outvars[: loops[-1].params['num_carry']]
    return {variable.aval.dtype.name for variable in carried}

  assert stream(DEFAULT) == {'float32'}
  assert stream(Execution(residual='bfloat16')) == {'bfloat16'}


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'remat': 'some'}, 'remat'),
    ({'attention': 'flash'}, 'attention'),
    ({'residual': 'float16'}, 'residual'),
    ({'remat': 'full', 'saved': ['up']}, 'tuple'),
    ({'remat': 'full', 'saved': ('upp',)}, 'upp'),
    ({'saved': ('up',)}, "remat='full'"),
    ({'remat': 'dots', 'offloaded': ('up',)}, "remat='full'"),
    ({'remat': 'full', 'saved': ('up',), 'offloaded': ('up',)}, 'both'),
  ],
)
def test_refuses_what_it_does_not_know(settings, message):
  # Past the checker of types, as a gin file is.
  with pytest.raises(Exception, match=message):
    Execution(**settings)
