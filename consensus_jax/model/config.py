"""What a decoder is made of: one frozen dataclass for every family."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
  """Llama 3's stretching of low rotary frequencies to longer contexts.

  Source: Llama 3.1 release, `rope_type: llama3` in its config.json.
  """

  factor: float
  low_frequency_factor: float
  high_frequency_factor: float
  original_max_length: int

  def __post_init__(self):
    if not self.factor >= 1:
      raise ValueError(f'factor must be at least 1, got {self.factor}')
    if not self.high_frequency_factor > self.low_frequency_factor > 0:
      raise ValueError(
        'need high_frequency_factor > low_frequency_factor > 0, got '
        f'{self.high_frequency_factor} and {self.low_frequency_factor}'
      )
    if not self.original_max_length > 0:
      raise ValueError(
        f'original_max_length must be positive, got {self.original_max_length}'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Sizes and switches of a decoder-only transformer.

  Covers Llama (SmolLM2, Llama 3), Qwen2.5 (`qkv_bias`), Qwen3 (`qk_norm`) and
  plain-MLP decoders of Chinchilla's sizes (`gated_mlp=False`,
  `activation='gelu'`). Every norm is an RMSNorm, positions are rotary.
  """

  vocab_size: int
  num_layers: int
  embed_dim: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_dim: int
  max_length: int
  activation: Literal['silu', 'gelu'] = 'silu'
  gated_mlp: bool = True
  norm_epsilon: float = 1e-5
  rope_theta: float = 10_000.0
  rope_scaling: RopeScaling | None = None
  tied_embeddings: bool = True
  qkv_bias: bool = False
  qk_norm: bool = False
  reward_head: bool = False

  def __post_init__(self):
    for field in (
      'vocab_size',
      'num_layers',
      'embed_dim',
      'num_heads',
      'num_kv_heads',
      'head_dim',
      'mlp_dim',
      'max_length',
    ):
      value = getattr(self, field)
      if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'{field} must be a positive integer, got {value!r}')
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_kv_heads must divide num_heads, got {self.num_kv_heads} and '
        f'{self.num_heads}'
      )
    if self.head_dim % 2:
      raise ValueError(f'head_dim must be even for RoPE, got {self.head_dim}')
    if self.activation not in ('silu', 'gelu'):
      raise ValueError(
        f"activation must be 'silu' or 'gelu', got {self.activation!r}"
      )
    for field in ('norm_epsilon', 'rope_theta'):
      if not getattr(self, field) > 0:
        raise ValueError(
          f'{field} must be positive, got {getattr(self, field)}'
        )

  @property
  def num_parameters(self) -> int:
    """Number of scalars in the parameters, embeddings counted once if tied."""
    kv_dim = self.num_kv_heads * self.head_dim
    query_dim = self.num_heads * self.head_dim
    layer = self.embed_dim * (2 * query_dim + 2 * kv_dim + 2)
    layer += (3 if self.gated_mlp else 2) * self.embed_dim * self.mlp_dim
    layer += (query_dim + 2 * kv_dim) if self.qkv_bias else 0
    layer += 2 * self.head_dim if self.qk_norm else 0
    vocab = self.vocab_size * self.embed_dim
    vocab *= 1 if self.tied_embeddings else 2
    head = self.embed_dim if self.reward_head else 0
    return self.num_layers * layer + vocab + self.embed_dim + head
