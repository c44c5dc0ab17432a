"""Models that tests run, and a plain second implementation of the decoder."""

import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from consensus_jax.interop import pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.tokenizer import Tokenizer

GOLDEN = pathlib.Path(__file__).parent / 'golden'
FAMILIES = (
  'tiny_llama',
  'tiny_llama_tied',
  'tiny_qwen2',
  'tiny_qwen2_tied',
  'tiny_qwen3',
  'tiny_qwen3_tied',
)
SMALL = ModelConfig(
  vocab_size=200,  # no multiple of 128
  num_layers=2,
  embed_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  mlp_dim=40,
  max_length=2048,
)


@functools.cache
def load(name, dtype='float32'):
  """A model of the golden folder, or 'smollm2', the embedded one."""
  if name != 'smollm2':
    return pretrained.load_pretrained(GOLDEN / name, dtype=dtype)
  try:
    pretrained.find_embedded_model()
  except ModelFileError as error:
    pytest.skip(str(error))
  return pretrained.load_pretrained(dtype=dtype)


@functools.cache
def unstacked(name, dtype='float32'):
  """The parameters of `load` on the device, layers in a tuple."""
  params = transformer.unstack_layers(load(name, dtype).params)
  return jax.tree.map(jnp.asarray, params)


def golden(name, file='logits.npz'):
  return np.load(GOLDEN / name / file)


def endless(tokenizer):
  """The tokenizer, without any token that ends a text."""
  return dataclasses.replace(tokenizer, eos_ids=())


def random_params(config, seed=0):
  """Parameters none of which has a value that a default would hide."""
  rng = np.random.default_rng(seed)

  def one(path, leaf):
    noise = rng.standard_normal(leaf.shape).astype(np.float32)
    name = path[-1].key
    if 'norm' in name:
      return 1 + noise * np.float32(0.3)
    if name in ('embedding', 'reward_head') or name.endswith('bias'):
      return noise
    fan_in = {'attention_output': 2}.get(name, 1)
    return noise * np.float32(1.5 / math.prod(leaf.shape[-fan_in:]) ** 0.5)

  abstract = transformer.abstract_params(config, np.dtype('float32'))
  return jax.tree_util.tree_map_with_path(one, abstract)


def markov(logits):
  """A model whose next token depends on the last one alone.

  Args:
    logits: [vocab, vocab], of the next token, a row for each last token.

  Returns:
    Its config and parameters.
  """
  vocab = len(logits)
  config = ModelConfig(
    vocab_size=vocab,
    num_layers=1,
    embed_dim=vocab,
    num_heads=1,
    num_kv_heads=1,
    head_dim=2,
    mlp_dim=2,
    max_length=4096,
    norm_epsilon=1e-12,
    tied_embeddings=False,
  )
  # One-hot embeddings reach the last layer as they are, for both branches of
  # the only layer add nothing.
  params = random_params(config)
  params['layers']['attention_output'][:] = 0
  params['layers']['down'][:] = 0
  params['embedding'] = np.eye(vocab, dtype=np.float32)
  params['final_norm'] = np.full(vocab, vocab**-0.5, np.float32)
  params['lm_head'] = np.asarray(logits, np.float32).T.copy()
  return config, params


def scripted(*pieces):
  """A model that recites these pieces, one a token, over and over.

  Returns:
    Config, parameters and tokenizer. Greedy decoding after the prompt [i]
    begins with piece i + 1; to begin with the first, prompt with the last.
  """
  assert len(set(pieces)) == len(pieces), 'each piece is one token'
  logits = 20 * np.roll(np.eye(len(pieces)), 1, axis=1)
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({p: i for i, p in enumerate(pieces)})
  )
  tokenizer.decoder = tokenizers.decoders.Fuse()
  return *markov(logits), Tokenizer(
    source='script',
    with_added=tokenizer,
    plain=tokenizer,
    bos_ids=(),
    eos_ids=(),
    pad_id=0,
    special_tokens={},
    chat_template=None,
  )


def plain_hidden(params, config, tokens):
  """Last hidden states of one whole sequence: numpy, float64, no cache.

  Args:
    params: stacked.
    config: of the model.
    tokens: ids, [length].
  """
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  x = params['embedding'][np.asarray(tokens)]
  length = len(x)
  frequency = _frequencies(config)
  angles = np.arange(length)[:, None] * np.concatenate([frequency, frequency])

  def norm(x, scale):
    size = np.sqrt(np.mean(x**2, -1, keepdims=True) + config.norm_epsilon)
    return x / size * scale

  def rotate(x):  # [length, heads, head_dim]
    first, second = np.split(x, 2, -1)
    turned = np.concatenate([-second, first], -1)
    return x * np.cos(angles)[:, None] + turned * np.sin(angles)[:, None]

  for i in range(config.num_layers):
    layer = {name: leaf[i] for name, leaf in params['layers'].items()}
    h = norm(x, layer['attention_norm'])
    query, key, value = (
      np.einsum('le,hde->lhd', h, layer[name]) + layer.get(f'{name}_bias', 0)
      for name in ('query', 'key', 'value')
    )
    if config.qk_norm:
      query = norm(query, layer['query_norm'])
      key = norm(key, layer['key_norm'])
    mixed = plain_attention(
      rotate(query), rotate(key), value, np.tri(length, dtype=bool)
    )
    x = x + np.einsum('lhd,ehd->le', mixed, layer['attention_output'])
    h = norm(x, layer['mlp_norm'])
    if config.gated_mlp:
      inner = _activate(config, h @ layer['gate'].T) * (h @ layer['up'].T)
    else:
      inner = _activate(config, h @ layer['up'].T)
    x = x + inner @ layer['down'].T
  return norm(x, params['final_norm'])


def plain_log_probs(params, config, tokens):
  """Log-probabilities [length, vocab] of what follows each token."""
  head = params['embedding' if config.tied_embeddings else 'lm_head']
  logits = plain_hidden(params, config, tokens) @ np.asarray(head).T
  return logits - np.logaddexp.reduce(logits, -1, keepdims=True)


def plain_attention(query, key, value, mask):
  """[queries, heads, head_dim], key-value heads shared by adjacent heads."""
  shared = query.shape[1] // key.shape[1]
  key, value = (np.repeat(x, shared, axis=1) for x in (key, value))
  scores = np.einsum('qhd,khd->hqk', query, key) / query.shape[-1] ** 0.5
  scores = np.where(mask, scores, -np.inf)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  return np.einsum('hqk,khd->qhd', weights, value)


def _activate(config, x):
  if config.activation == 'silu':
    return x / (1 + np.exp(-x))
  return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _frequencies(config):
  """Rotary frequencies; scaling as in Meta's `apply_scaling` of Llama 3.1."""
  half = config.head_dim // 2
  frequencies = config.rope_theta ** -(np.arange(half) / half)
  if config.rope_scaling is None:
    return frequencies
  s, scaled = config.rope_scaling, []
  for frequency in frequencies:
    wavelength = 2 * np.pi / frequency
    if wavelength < s.original_max_length / s.high_frequency_factor:
      scaled.append(frequency)
    elif wavelength > s.original_max_length / s.low_frequency_factor:
      scaled.append(frequency / s.factor)
    else:
      smooth = s.original_max_length / wavelength - s.low_frequency_factor
      smooth /= s.high_frequency_factor - s.low_frequency_factor
      scaled.append((1 - smooth) * frequency / s.factor + smooth * frequency)
  return np.array(scaled)
