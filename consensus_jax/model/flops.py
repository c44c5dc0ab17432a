"""Operations that a model needs, whatever an implementation spends on it."""

from consensus_jax.model.config import ModelConfig


def model_flops_per_token(
  config: ModelConfig, length: int, *, vocab_logits: bool
) -> float:
  """Floating-point operations of a training step for one token.

  A forward and a backward pass over a sequence of `length` tokens, without
  rematerialisation: `6 N + 12 L H Q T`, with N the weights that a token is
  multiplied with, L layers, H heads of Q dimensions and T the length. Attention
  counts in full, as if it were not causal. A multiplication and an addition are
  two operations.

  Source: Chowdhery et al. 2022 (PaLM), appendix B.

  Args:
    config: the model.
    length: tokens that a sequence has.
    vocab_logits: whether each token's logits are computed, as in training a
      policy; a reward model computes none. Looking an embedding up is no
      product and counts nothing.
  """
  query_dim = config.num_heads * config.head_dim
  kv_dim = config.num_kv_heads * config.head_dim
  weights = config.embed_dim * (2 * query_dim + 2 * kv_dim)
  weights += (3 if config.gated_mlp else 2) * config.embed_dim * config.mlp_dim
  weights *= config.num_layers
  if vocab_logits:
    weights += config.vocab_size * config.embed_dim
  return 6.0 * weights + 12.0 * config.num_layers * query_dim * length
