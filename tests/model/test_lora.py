"""Adapters: what they start from, what they add, what they leave alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from consensus_jax import partitioning
from consensus_jax.model import lora, products, transformer
from consensus_jax.model.lora import LoraConfig

CONFIG = dataclasses.replace(tiny_models.SMALL, qkv_bias=True)
LORA = LoraConfig(rank=3, alpha=6.0)


def trained(config=CONFIG, settings=LORA, seed=0):
  """Adapters whose products are not zero."""
  adapters = lora.init(config, settings, jax.random.key(seed))
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.1, jnp.float32), adapters
  )


@functools.cache
def params_of(config=CONFIG):
  return jax.tree.map(jnp.asarray, tiny_models.random_params(config))


@functools.partial(jax.jit, static_argnames='config')
def logits_of(params, tokens, config=CONFIG):
  length = tokens.shape[1]
  x, _ = transformer.hidden(
    params,
    config,
    tokens,
    jnp.arange(length)[None],
    transformer.causal_mask(length),
  )
  return transformer.logits(params, x)


def tokens_of(seed=1, rows=2, length=12):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.integers(0, CONFIG.vocab_size, (rows, length)))


def test_fresh_adapters_change_nothing():
  params = params_of()
  adapters = lora.init(CONFIG, LORA, jax.random.key(0))
  merged = lora.merge(params, adapters, LORA)
  jax.tree.map(np.testing.assert_array_equal, merged, params)


def test_every_target_starts_random_and_apart_from_the_others():
  adapters = lora.init(CONFIG, LORA, jax.random.key(0))
  few = dataclasses.replace(LORA, targets=('up',))
  alone = lora.init(CONFIG, few, jax.random.key(0))
  np.testing.assert_array_equal(alone['up']['a'], adapters['up']['a'])
  for name, adapter in adapters.items():
    fan_in = np.prod(adapter['a'].shape[2:])
    assert adapter['a'].std() == pytest.approx(fan_in**-0.5, rel=0.3), name
  first = adapters['gate']['a'], adapters['query']['a']
  assert abs(first[0] - adapters['up']['a']).min() > 0
  assert abs(first[0][0] - first[0][1]).min() > 0


def test_merging_adds_the_scaled_product():
  merged = lora.merge(params_of(), trained(), LORA)['layers']
  for name, adapter in trained().items():
    a, b = (np.asarray(adapter[x], np.float64) for x in 'ab')
    before = np.asarray(params_of()['layers'][name], np.float64)
    for i in range(CONFIG.num_layers):
      product = np.tensordot(b[i], a[i], axes=1)
      expected = before[i] + 6.0 / 3 * product
      np.testing.assert_allclose(merged[name][i], expected, atol=1e-5)
      assert abs(product).max() > 1e-2


def plain_dense(weight, adapter, h, inputs):
  """What a layer computes with a weight and its adapter, in float64."""
  h = np.asarray(h, np.float64)
  low = np.tensordot(h, adapter['a'], (range(-inputs, 0), range(1, inputs + 1)))
  high = np.tensordot(low, adapter['b'], (-1, -1))
  whole = np.tensordot(h, weight, (range(-inputs, 0), range(-inputs, 0)))
  return whole + LORA.scale * high


@pytest.mark.parametrize('name', LORA.targets)
def test_the_merged_weight_acts_as_weight_and_adapter(name):
  inputs = 2 if name == 'attention_output' else 1
  weight = params_of()['layers'][name][1]
  merged = lora.merge(params_of(), trained(), LORA)['layers'][name][1]
  adapter = jax.tree.map(
    lambda x: np.asarray(x[1], np.float64), trained()[name]
  )
  h = np.random.default_rng(2).normal(size=(5, *weight.shape[-inputs:]))
  found = np.tensordot(h, merged, (range(-inputs, 0), range(-inputs, 0)))
  expected = plain_dense(np.asarray(weight, np.float64), adapter, h, inputs)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16_is_rounded_once():
  params = transformer.cast_matrices(params_of(), jnp.dtype('bfloat16'))
  merged = lora.merge(params, trained(), LORA)['layers']
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), params)
  expected = lora.merge(wide, trained(), LORA)['layers']
  for name in LORA.targets:
    assert merged[name].dtype == jnp.bfloat16
    np.testing.assert_array_equal(
      merged[name], expected[name].astype(jnp.bfloat16)
    )
  assert merged['mlp_norm'].dtype == jnp.float32


def changes(adapters):
  """B A of every layer, as matrices, in float64."""
  return {
    name: np.einsum(
      'lor,lri->loi',
      np.float64(each['b']).reshape(len(each['b']), -1, LORA.rank),
      np.float64(each['a']).reshape(len(each['a']), LORA.rank, -1),
    )
    for name, each in adapters.items()
  }


def test_a_sum_is_the_nearest_product_of_the_rank():
  found = lora.weighted_sum(
    LORA, [trained(seed=0), trained(seed=1)], [0.75, 0.5]
  )
  first, second = changes(trained(seed=0)), changes(trained(seed=1))
  for name, near in changes(found).items():
    assert found[name]['a'].shape == trained()[name]['a'].shape
    assert found[name]['b'].shape == trained()[name]['b'].shape
    for one, two, kept in zip(first[name], second[name], near, strict=True):
      u, sizes, v = np.linalg.svd(0.75 * one + 0.5 * two)
      expected = (u[:, : LORA.rank] * sizes[: LORA.rank]) @ v[: LORA.rank]
      np.testing.assert_allclose(kept, expected, atol=1e-6)
      # Something is lost, so that the sum itself would not pass.
      assert sizes[LORA.rank] > 1e-3


def test_a_mean_of_equals_is_the_same():
  alike = trained()
  found = changes(lora.weighted_sum(LORA, [alike] * 3, [0.5, 0.25, 0.25]))
  for name, product in changes(alike).items():
    np.testing.assert_allclose(found[name], product, atol=1e-6)


@pytest.fixture
def optimised():
  """Programs as they are outside tests: sums are more exact so."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', False)
  jax.clear_caches()
  yield
  jax.config.update('jax_disable_most_optimizations', before)
  jax.clear_caches()


@pytest.mark.parametrize('first_layer', [0, 1])
def test_adapting_is_merging(first_layer, optimised):
  tokens = tokens_of()
  settings = dataclasses.replace(LORA, first_layer=first_layer)
  adapters = trained(settings=settings)

  def loss(make, adapters):
    logits = logits_of(make(params_of(), adapters, settings), tokens)
    return (logits**2).mean(), logits

  of = jax.value_and_grad(loss, argnums=1, has_aux=True)
  (_, adapted), gradient = of(lora.adapt, adapters)
  (_, merged), expected = of(lora.merge, adapters)
  np.testing.assert_allclose(adapted, merged, atol=1e-5)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-4),
    gradient,
    expected,
  )


def test_layers_before_the_first_stay_as_they_are():
  settings = dataclasses.replace(LORA, first_layer=1)
  adapters = trained(settings=settings)
  merged = lora.merge(params_of(), adapters, settings)['layers']
  for name in LORA.targets:
    before = np.asarray(params_of()['layers'][name])
    assert len(adapters[name]['a']) == CONFIG.num_layers - 1
    np.testing.assert_array_equal(merged[name][0], before[0])
    assert abs(merged[name][1:] - before[1:]).max() > 1e-3


def test_joint_products_of_bfloat16_have_the_gradients_of_separate_ones():
  rng = np.random.default_rng(4)
  x, w, a, b = (
    jnp.asarray(rng.normal(size=shape), dtype)
    for shape, dtype in (
      ((8, 12), jnp.float32),
      ((20, 12), jnp.bfloat16),
      ((3, 12), jnp.bfloat16),
      ((20, 3), jnp.bfloat16),
    )
  )

  def separate(x, w, a, b):
    low = products.dense(x, a, jnp.dtype('float32'))
    own = products.dense(x, w, jnp.dtype('float32'))
    return own + products.dense(low, b, jnp.dtype('float32'))

  def joint(x, w, a, b):
    weight = products.Adapted(w, a, b)
    return products.dense(x, weight, jnp.dtype('float32'))

  def loss(function, *arrays):
    return (function(*arrays) ** 2).sum()

  for function in (joint, separate):
    assert function(x, w, a, b).dtype == jnp.float32
  np.testing.assert_allclose(joint(x, w, a, b), separate(x, w, a, b), rtol=1e-5)
  found, expected = (
    jax.grad(loss, argnums=(1, 2, 3, 4))(function, x, w, a, b)
    for function in (joint, separate)
  )
  for one, other in zip(found, expected, strict=True):
    assert one.dtype == other.dtype
    one, other = (np.asarray(each, np.float64) for each in (one, other))
    np.testing.assert_allclose(one, other, atol=0.02 * abs(other).max())


def test_a_small_change_survives_bfloat16():
  # As after the first steps of training: merged, most of it is rounded away.
  adapters = trained()
  for adapter in adapters.values():
    adapter['b'] = adapter['b'] * 1e-3
  tokens = tokens_of()
  params = transformer.cast_matrices(params_of(), jnp.dtype('bfloat16'))
  wide = transformer.cast_matrices(params, jnp.dtype('float32'))
  name = 'up'
  h = jax.random.normal(jax.random.key(0), (64, CONFIG.embed_dim))

  def change(make, params):
    weight = make(params, adapters, LORA)['layers'][name]
    one = jax.tree.map(lambda x: x[0], weight)
    before = products.dense(h, params['layers'][name][0], jnp.dtype('float32'))
    return np.asarray(products.dense(h, one, jnp.dtype('float32')) - before)

  exact = change(lora.merge, wide)

  def error(found):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)

  assert error(change(lora.adapt, params)) < 0.02
  assert error(change(lora.merge, params)) > 0.2
  assert np.isfinite(
    logits_of(lora.adapt(params, adapters, LORA), tokens)
  ).all()


def test_a_gradient_descends_and_reaches_every_adapter():
  tokens = tokens_of()
  adapters = lora.init(CONFIG, LORA, jax.random.key(0))

  @jax.jit
  @jax.value_and_grad
  def loss(adapters):
    logits = logits_of(lora.merge(params_of(), adapters, LORA), tokens)
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, tokens[..., None], -1).mean()

  before, gradient = loss(adapters)
  # B is zero, so A moves nothing yet.
  for adapter in gradient.values():
    assert not np.asarray(adapter['a']).any()
    assert (
      np.asarray(adapter['b'])
      .any(axis=tuple(range(1, adapter['b'].ndim)))
      .all()
    )
  adapters = jax.tree.map(lambda x, d: x - 0.01 * d, adapters, gradient)
  after, gradient = loss(adapters)
  assert after < before
  assert all(np.asarray(adapter['a']).any() for adapter in gradient.values())


def test_axes_are_those_of_the_weights():
  adapters = lora.init(CONFIG, LORA, jax.random.key(0))
  axes = lora.axes(CONFIG, LORA)
  assert axes['attention_output'] == {
    'a': ('layers', None, 'heads', 'head_dim'),
    'b': ('layers', 'embed', None),
  }
  assert axes['key']['b'] == ('layers', 'kv_heads', 'head_dim', None)
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  specs = jax.tree.map(
    lambda x, names: partitioning.partition_spec(mesh, names, x.shape),
    adapters,
    axes,
  )
  assert specs['up']['b'] == jax.P(None, ('tensor',), None)


def test_the_number_of_parameters_is_counted():
  for settings in (
    LORA,
    LoraConfig(rank=1, targets=('attention_output', 'key')),
    dataclasses.replace(LORA, first_layer=1),
  ):
    adapters = lora.init(CONFIG, settings, jax.random.key(0))
    count = sum(x.size for x in jax.tree.leaves(adapters))
    assert lora.num_parameters(CONFIG, settings) == count


def test_unknown_targets_are_named():
  plain = dataclasses.replace(CONFIG, gated_mlp=False)
  with pytest.raises(ValueError, match=r"\['gate'\] are no matrices"):
    lora.init(plain, LORA, jax.random.key(0))
  for target in ('q_proj', 'mlp_norm', 'embedding'):
    settings = LoraConfig(rank=2, targets=('up', target))
    with pytest.raises(ValueError, match=f"{target}.*which has .*'query'"):
      lora.axes(CONFIG, settings)


def test_a_first_layer_beyond_the_last_is_refused():
  settings = LoraConfig(first_layer=CONFIG.num_layers)
  with pytest.raises(ValueError, match='but the model has 2 layers'):
    lora.init(CONFIG, settings, jax.random.key(0))


def test_settings_that_make_no_sense_are_refused():
  for arguments, words in (
    ({'rank': 0}, 'rank must be positive'),
    ({'alpha': 0.0}, 'alpha must be positive'),
    ({'first_layer': -1}, 'first_layer must be'),
    ({'targets': ()}, 'targets must be'),
    ({'targets': ('up', 'up')}, 'twice'),
  ):
    with pytest.raises(ValueError, match=words):
      LoraConfig(**arguments)
