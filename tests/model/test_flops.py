"""Operations of a model: by hand, and as XLA counts those of a program."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import Execution
from consensus_jax.model.flops import model_flops_per_token

# Wide enough that what is no matrix product is a percent.
MODEL = ModelConfig(
  vocab_size=640,
  num_layers=2,
  embed_dim=192,
  num_heads=6,
  num_kv_heads=2,
  head_dim=48,
  mlp_dim=512,
  max_length=1024,
)


def test_by_hand():
  tiny = ModelConfig(
    vocab_size=10,
    num_layers=2,
    embed_dim=4,
    num_heads=3,
    num_kv_heads=1,
    head_dim=2,
    mlp_dim=5,
    max_length=16,
  )
  # A layer: query and output 4 x 6 each, key and value 4 x 2 each, and three
  # matrices of 4 x 5. A token of 7 meets 7 keys of 6 dimensions, twice.
  layer = 2 * 24 + 2 * 8 + 3 * 20
  attention = 2 * 7 * 6
  trunk = 6 * 2 * (layer + attention)
  assert trunk == 2496
  assert model_flops_per_token(tiny, 7, vocab_logits=False) == trunk
  assert model_flops_per_token(tiny, 7, vocab_logits=True) == trunk + 6 * 40
  plain = dataclasses.replace(tiny, gated_mlp=False)
  assert (
    model_flops_per_token(plain, 7, vocab_logits=False) == trunk - 6 * 2 * 20
  )


def test_an_embedding_that_is_only_looked_up_is_free():
  apart = dataclasses.replace(MODEL, tied_embeddings=False)
  for vocab_logits in (True, False):
    assert model_flops_per_token(
      apart, 64, vocab_logits=vocab_logits
    ) == model_flops_per_token(MODEL, 64, vocab_logits=vocab_logits)


def test_llama_3_70b():
  llama = ModelConfig(
    vocab_size=128256,
    num_layers=80,
    embed_dim=8192,
    num_heads=64,
    num_kv_heads=8,
    head_dim=128,
    mlp_dim=28672,
    max_length=8192,
    tied_embeddings=False,
  )
  # The model's 70.55e9 weights without the embedding that is looked up.
  weights = llama.num_parameters - 128256 * 8192
  found = model_flops_per_token(llama, 2048, vocab_logits=True)
  attention = 12 * 80 * 8192 * 2048
  # Norms are weights too, but no matrices: 2.6e-5 of all.
  assert found == pytest.approx(6 * weights + attention, rel=5e-5)
  assert found == pytest.approx(433.1e9, rel=1e-4)


def counted(config, length, rows, *, vocab_logits):
  """What XLA counts of a forward and backward pass, for one token."""
  execution = Execution(unrolled=True)
  mask = transformer.causal_mask(length)
  positions = jnp.arange(length)[None]

  def loss(params, tokens, wanted):
    x, _ = transformer.hidden(
      params, config, tokens, positions, mask, execution=execution
    )
    x = transformer.logits(params, x) if vocab_logits else x
    return jnp.sum(x * wanted)

  def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)

  width = config.vocab_size if vocab_logits else config.embed_dim
  lowered = jax.jit(jax.value_and_grad(loss)).lower(
    transformer.abstract_params(config, jnp.dtype('float32')),
    shape(rows, length, dtype=jnp.int32),
    shape(rows, length, width),
  )
  return lowered.cost_analysis()['flops'] / (rows * length)


@pytest.mark.parametrize('vocab_logits', [True, False])
@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'num_layers': 4},
    {'gated_mlp': False, 'activation': 'gelu'},
    {'num_kv_heads': 6, 'tied_embeddings': False},
  ],
)
def test_as_xla_counts(changes, vocab_logits):
  config = dataclasses.replace(MODEL, **changes)
  wanted = model_flops_per_token(config, 128, vocab_logits=vocab_logits)
  found = counted(config, 128, 2, vocab_logits=vocab_logits)
  assert 1 <= found / wanted < 1.02
