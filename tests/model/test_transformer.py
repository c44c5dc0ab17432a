"""The decoder against transformers and against plain numpy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_jax import partitioning
from consensus_jax.inference.scorer import reward
from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig, RopeScaling

SMALL = tiny_models.SMALL
# Every switch of the config at least once, and what no family combines.
CONFIGS = {
  'plain MLP, GELU': dataclasses.replace(
    SMALL, gated_mlp=False, activation='gelu', tied_embeddings=False
  ),
  'plain MLP, SiLU': dataclasses.replace(SMALL, gated_mlp=False),
  'gated GELU': dataclasses.replace(SMALL, activation='gelu'),
  'biases and norms of queries': dataclasses.replace(
    SMALL, qkv_bias=True, qk_norm=True, num_kv_heads=1
  ),
  'head_dim is not embed_dim / num_heads': dataclasses.replace(
    SMALL, head_dim=10, num_kv_heads=4, norm_epsilon=0.1, rope_theta=50.0
  ),
  'one layer, long frequencies': dataclasses.replace(
    SMALL,
    num_layers=1,
    rope_scaling=RopeScaling(
      factor=4.0,
      low_frequency_factor=1.0,
      high_frequency_factor=4.0,
      original_max_length=32,
    ),
  ),
}

configs = st.builds(
  lambda kv_heads, shared, **kwargs: ModelConfig(
    num_heads=kv_heads * shared, num_kv_heads=kv_heads, **kwargs
  ),
  kv_heads=st.integers(1, 3),
  shared=st.integers(1, 3),
  vocab_size=st.integers(1, 9),
  num_layers=st.integers(1, 3),
  embed_dim=st.integers(1, 9),
  head_dim=st.sampled_from([2, 4]),
  mlp_dim=st.integers(1, 9),
  max_length=st.just(8),
  gated_mlp=st.booleans(),
  tied_embeddings=st.booleans(),
  qkv_bias=st.booleans(),
  qk_norm=st.booleans(),
  reward_head=st.booleans(),
)


@functools.partial(jax.jit, static_argnames='config')
def compute(params, tokens, *, config):
  """Hidden states and logits [rows, length, ...] of whole sequences."""
  length = tokens.shape[1]
  x, _ = transformer.hidden(
    params,
    config,
    tokens,
    jnp.arange(length)[None],
    transformer.causal_mask(length),
  )
  return x, transformer.logits(params, x)


def logits_of(params, config, tokens):
  return np.asarray(compute(params, tokens, config=config)[1])


@pytest.mark.parametrize('name', tiny_models.FAMILIES)
def test_logits_are_those_of_transformers(name):
  model, golden = tiny_models.load(name), tiny_models.golden(name)
  for params in (model.params, transformer.unstack_layers(model.params)):
    logits = logits_of(params, model.config, golden['input_ids'])
    np.testing.assert_allclose(logits, golden['logits'], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_logits_of_the_embedded_model_are_those_of_transformers():
  model, golden = tiny_models.load('smollm2'), tiny_models.golden('smollm2')
  params = tiny_models.unstacked('smollm2')
  logits = logits_of(params, model.config, golden['input_ids'][None])[0]
  for ours, theirs in (
    (logits[:, ::64], golden['strided_logits']),
    (
      np.take_along_axis(logits, golden['top_ids'], -1),
      golden['top_logits'],
    ),
    (
      np.logaddexp.reduce(logits.astype(np.float64), -1),
      golden['logsumexp'],
    ),
  ):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize('name', tiny_models.FAMILIES)
def test_logits_are_those_of_transformers_live(name):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    tiny_models.GOLDEN / name, dtype=torch.float32
  ).eval()
  # Other tokens and another length than the golden ones.
  tokens = np.random.default_rng(7).integers(0, 320, (3, 90))
  with torch.no_grad():
    expected = theirs(torch.tensor(tokens)).logits.numpy()
  model = tiny_models.load(name)
  logits = logits_of(model.params, model.config, tokens.astype(np.int32))
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_rewards_are_those_of_transformers():
  model = tiny_models.load('tiny_llama_reward')
  golden = tiny_models.golden('tiny_llama_reward', 'rewards.npz')
  x, _ = compute(model.params, golden['input_ids'], config=model.config)
  rewards = reward(x[:, -1], jnp.asarray(model.params['reward_head']))
  np.testing.assert_allclose(rewards, golden['rewards'], rtol=0, atol=1e-4)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_logits_are_those_of_plain_numpy(config):
  params = tiny_models.random_params(config)
  tokens = np.random.default_rng(1).integers(0, 200, (2, 40), np.int32)
  logits = logits_of(params, config, tokens)
  log_probs = jax.nn.log_softmax(logits)
  for row in range(2):
    expected = tiny_models.plain_log_probs(params, config, tokens[row])
    np.testing.assert_allclose(log_probs[row], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_layers_in_a_tuple_compute_the_same(config):
  params = tiny_models.random_params(config, seed=2)
  tokens = np.random.default_rng(2).integers(0, 200, (3, 17), np.int32)
  stacked = logits_of(params, config, tokens)
  unstacked = logits_of(transformer.unstack_layers(params), config, tokens)
  np.testing.assert_allclose(unstacked, stacked, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_near_float32():
  for name in ('tiny_llama', 'tiny_qwen2', 'tiny_qwen3'):
    golden = tiny_models.golden(name)
    model = tiny_models.load(name, 'bfloat16')
    assert model.params['layers']['up'].dtype == jnp.bfloat16
    logits = logits_of(model.params, model.config, golden['input_ids'])
    assert logits.dtype == np.float32
    error = np.abs(logits - golden['logits'])
    # Rounding to eight bits is seen, and is all that is seen.
    assert 1e-3 < np.sqrt(np.mean(error**2)) < 0.05 * golden['logits'].std()


def test_rows_and_later_tokens_do_not_change_earlier_ones():
  config = CONFIGS['biases and norms of queries']
  params = tiny_models.random_params(config)
  rng = np.random.default_rng(3)
  tokens = rng.integers(0, 200, (2, 32), np.int32)
  before = logits_of(params, config, tokens)
  tokens[0] = rng.integers(0, 200, 32)
  tokens[1, 20:] = rng.integers(0, 200, 12)
  after = logits_of(params, config, tokens)
  np.testing.assert_array_equal(after[1, :20], before[1, :20])
  assert np.abs(after[1, 20:] - before[1, 20:]).min() > 0


@pytest.mark.parametrize('unstacked', [False, True])
@pytest.mark.parametrize('groups', [1, 3])
def test_prefix_and_cache_equal_the_whole_sequence(unstacked, groups):
  """Three rows a group, fed in pieces of a few tokens after a padded prefix."""
  config = CONFIGS['head_dim is not embed_dim / num_heads']
  params = tiny_models.random_params(config, seed=4)
  rng = np.random.default_rng(4)
  prefix_lengths = rng.integers(1, 12, groups)
  prefixes = [rng.integers(0, 200, n, np.int32) for n in prefix_lengths]
  rows = rng.integers(0, 200, (3 * groups, 9), np.int32)
  expected = np.stack(
    [
      tiny_models.plain_hidden(
        params, config, np.concatenate([prefixes[i // 3], row])
      )[-9:]
      for i, row in enumerate(rows)
    ]
  )
  if unstacked:
    params = transformer.unstack_layers(params)
  params = jax.tree.map(jnp.asarray, params)
  padded = np.zeros((groups, 12), np.int32)
  for i, prefix in enumerate(prefixes):
    padded[i, : len(prefix)] = prefix
  hidden = jax.jit(transformer.hidden, static_argnums=1)
  _, keys = hidden(
    params,
    config,
    padded,
    jnp.arange(12)[None],
    transformer.causal_mask(12),
  )
  # An empty cache for eleven tokens a row, in whatever form caches have.
  _, cache = hidden(
    params,
    config,
    np.zeros((3 * groups, 11), np.int32),
    jnp.arange(11)[None],
    transformer.causal_mask(11),
  )
  cache = jax.tree.map(jnp.zeros_like, cache)
  found = []
  for start, stop in ((0, 1), (1, 5), (5, 9)):  # the last two compile once
    own = jnp.arange(start, stop)
    x, cache = hidden(
      params,
      config,
      rows[:, start:stop],
      jnp.repeat(jnp.asarray(prefix_lengths), 3)[:, None] + own[None],
      (jnp.arange(11)[None] <= own[:, None])[None],
      prefix=keys,
      prefix_mask=jnp.arange(12)[None] < prefix_lengths[:, None],
      cache=cache,
      cache_index=start,
    )
    found.append(x)
  np.testing.assert_allclose(
    jnp.concatenate(found, axis=1), expected, rtol=0, atol=1e-4
  )


def test_a_long_sequence_goes_block_by_block_and_is_the_same():
  config = dataclasses.replace(SMALL, num_layers=1)
  params = tiny_models.random_params(config, seed=5)
  tokens = np.random.default_rng(5).integers(0, 200, (1, 1024), np.int32)
  x, _ = compute(params, tokens, config=config)
  expected = tiny_models.plain_hidden(params, config, tokens[0])
  np.testing.assert_allclose(x[0], expected, rtol=0, atol=1e-4)


def test_a_token_outside_the_vocabulary_counts_as_the_last():
  params = tiny_models.random_params(SMALL)
  beyond = logits_of(params, SMALL, np.array([[3, 200, 5, 999]], np.int32))
  last = logits_of(params, SMALL, np.array([[3, 199, 5, 199]], np.int32))
  np.testing.assert_array_equal(beyond, last)


@settings(max_examples=12)
@given(configs)
def test_num_parameters_is_their_number(config):
  params = transformer.abstract_params(config, jnp.dtype('float32'))
  number = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert config.num_parameters == number


@settings(max_examples=12)
@given(configs)
def test_every_axis_of_every_parameter_has_a_name_with_a_rule(config):
  params = transformer.abstract_params(config, jnp.dtype('float32'))
  sizes = {
    'vocab': config.vocab_size,
    'embed': config.embed_dim,
    'mlp': config.mlp_dim,
    'heads': config.num_heads,
    'kv_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'layers': config.num_layers,
  }
  assert sizes.keys() <= partitioning.RULES.keys()

  def check(leaf, names):
    assert tuple(sizes[name] for name in names) == leaf.shape

  # tree.map also fails unless the two trees are alike.
  jax.tree.map(check, params, transformer.param_axes(config))


def test_a_compute_dtype_is_that_of_matrices_alone():
  config = dataclasses.replace(
    SMALL, qkv_bias=True, qk_norm=True, reward_head=True, tied_embeddings=False
  )
  params = transformer.abstract_params(config, jnp.dtype('bfloat16'))
  by_dtype = {'bfloat16': set(), 'float32': set()}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    by_dtype[leaf.dtype.name].add(path[-1].key)
  assert by_dtype['float32'] == {
    'attention_norm',
    'mlp_norm',
    'final_norm',
    'query_norm',
    'key_norm',
    'query_bias',
    'key_bias',
    'value_bias',
    'reward_head',
  }
  assert by_dtype['bfloat16'] == transformer.MATRICES


def test_random_parameters_depend_on_the_key_alone():
  config = dataclasses.replace(SMALL, tied_embeddings=False, reward_head=True)
  init = jax.jit(transformer.init_params, static_argnums=0)
  first, again, other = (init(config, jax.random.key(s)) for s in (0, 0, 1))
  assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
  assert {leaf.dtype.name for leaf in jax.tree.leaves(first)} == {'float32'}
  assert not any(leaf.weak_type for leaf in jax.tree.leaves(first))
  for name in transformer.MATRICES:
    values, others = (
      tree.get(name, tree['layers'].get(name)) for tree in (first, other)
    )
    assert np.unique(values).size > values.size / 2
    assert not np.array_equal(values, others)
  # A new model is far from sure of anything.
  logits = logits_of(first, config, np.arange(60, dtype=np.int32)[None])
  entropy = -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1)
  assert entropy.min() > np.log(200) - 0.5


def test_parameters_are_placed_by_their_axes():
  config = dataclasses.replace(
    SMALL, num_kv_heads=1, vocab_size=202, reward_head=True
  )
  mesh = partitioning.make_mesh(fsdp=2, tensor=4)
  shardings = transformer.param_shardings(config, mesh)
  # A value is the number of pieces of each axis.
  pieces = {
    'query': (1, 4, 1, 2),
    'key': (1, 1, 1, 2),  # one key-value head stays whole
    'attention_output': (1, 2, 4, 1),
    'up': (1, 4, 2),
    'down': (1, 2, 4),
    'mlp_norm': (1, 2),
  }
  params, expected = (
    jax.jit(transformer.init_params, static_argnums=0, **kwargs)(
      config, jax.random.key(0)
    )
    for kwargs in ({'out_shardings': shardings}, {})
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-6),
    params,
    expected,
  )
  for name, number in pieces.items():
    leaf = params['layers'][name]
    shard = leaf.sharding.shard_shape(leaf.shape)
    assert tuple(a // b for a, b in zip(leaf.shape, shard)) == number, name
  # 202 tokens are no multiple of four, and stay whole.
  embedding = params['embedding']
  assert embedding.sharding.shard_shape(embedding.shape) == (202, 12)
  head = params['reward_head']
  assert head.sharding.shard_shape(head.shape) == (12,)
