"""Rotary positions and attention over a shared prefix and an own suffix.

Sixteen candidates continue one prompt, and sixteen candidates are appended to
one member's prefix: in both, `rows` continuations share a `group`'s prefix,
whose keys and values are computed and stored once. In decoding, all rows of a
group meet them in one matrix product.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import Attention
from consensus_jax.model.masks import Segments
from consensus_jax.model.packed_attention import attend_packed

# Queries of one block meet all keys at once; longer inputs go block by block,
# so that memory for scores grows with length and not with its square.
_QUERY_BLOCK = 512


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyValues:
  """Rotated keys, and values, of one layer or of all layers stacked.

  Heads come first: rows of a group are then adjacent in each head, and neither
  products nor softmax need a transposed copy.
  """

  key: Float[Array, '*layers kv_heads rows length head_dim']
  value: Float[Array, '*layers kv_heads rows length head_dim']


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
  """What all rows of a group see in full before their own keys, in one layer.

  Attributes:
    keys: a row a group.
    mask: `[groups, length]`, False where the prefix is padding.
  """

  keys: KeyValues
  mask: Bool[Array, 'groups length']


def rope_tables(
  positions: Int[Array, 'batch length'], config: ModelConfig
) -> tuple[
  Float[Array, 'batch length 1 half'], Float[Array, 'batch length 1 half']
]:
  """Sines and cosines of the rotary angles, in float32.

  Source: Su et al. 2021 (RoFormer), in the half-split form of Hugging Face;
  scaling of low frequencies as in Llama 3.1.
  """
  half = config.head_dim // 2
  frequency = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
  if config.rope_scaling is not None:
    scaling = config.rope_scaling
    # Full turns a frequency makes over the original context: few means a low
    # frequency, which is stretched; many is left; between, interpolated.
    turns = scaling.original_max_length * frequency / (2 * jnp.pi)
    smooth = (turns - scaling.low_frequency_factor) / (
      scaling.high_frequency_factor - scaling.low_frequency_factor
    )
    smooth = jnp.clip(smooth, 0, 1)
    frequency = frequency * (smooth + (1 - smooth) / scaling.factor)
  angle = positions[..., None, None].astype(jnp.float32) * frequency
  tables = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
  # XLA would fuse sine and cosine into every layer and compute them again for
  # each head. It does not fuse through a product, so multiply by one.
  one = jnp.eye(2 * half, dtype=jnp.float32)
  tables = jnp.matmul(tables, one, precision='highest')
  sin, cos = jnp.split(tables, 2, axis=-1)
  return sin, cos


def rotate(
  x: Float[Array, 'batch length heads head_dim'],
  sin: Float[Array, '#batch length 1 half'],
  cos: Float[Array, '#batch length 1 half'],
) -> Float[Array, 'batch length heads head_dim']:
  """Rotates the halves of each head by the angles of its position."""
  first, second = jnp.split(x, 2, axis=-1)
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )


def attend(
  query: Float[Array, 'rows length heads head_dim'],
  own: KeyValues,
  mask: Bool[Array, '#rows #length own_length'] | Segments,
  prefix: Prefix | None = None,
  *,
  kernel: Attention = 'einsum',
) -> Float[Array, 'rows length heads head_dim']:
  """Grouped-query attention to the group's prefix and the row's own keys.

  Scores and softmax are float32; products take their inputs in the dtype of
  the keys. Rows of a group are adjacent: `rows` is groups x rows of a group.

  Args:
    query: rotated queries.
    own: the rows' own keys and values, of one layer.
    mask: True where a query may see an own key; or the sequences of each row,
      whose own keys are then those of its queries.
    prefix: what all rows of a group see in full, before their own keys.
    kernel: 'splash' needs a mask of `Segments` and a TPU.

  Raises:
    ValueError: for `Segments` with a prefix or a cache, or 'splash' without.
  """
  length = query.shape[1]
  if isinstance(mask, Segments):
    if prefix is not None or own.key.shape[2] != length:
      raise ValueError('Segments go with neither a prefix nor a cache')
    if kernel == 'splash':
      from consensus_jax.model import splash

      ids, shared_prefix = mask.segment_ids, mask.shared_prefix
      return splash.attend(query, own, ids, shared_prefix)
    return _attend_segments(query, own, mask)
  if kernel == 'splash':
    raise ValueError("attention='splash' needs a mask of Segments")
  if length <= _QUERY_BLOCK or length % _QUERY_BLOCK:
    return _attend_block(query, own, mask, prefix)

  def one_block(start):
    queries = jax.lax.dynamic_slice_in_dim(query, start, _QUERY_BLOCK, 1)
    seen = mask
    if mask.shape[1] == length:
      seen = jax.lax.dynamic_slice_in_dim(mask, start, _QUERY_BLOCK, 1)
    return _attend_block(queries, own, seen, prefix)

  blocks = jax.lax.map(one_block, jnp.arange(0, length, _QUERY_BLOCK))
  return jnp.moveaxis(blocks, 0, 1).reshape(query.shape)


def _attend_segments(query, own, segments):
  """Heads first, and query heads by the key-value head that they share."""
  rows, length, heads, head_dim = query.shape
  kv_heads = own.key.shape[0]
  query = (query * head_dim**-0.5).astype(own.key.dtype)
  query = query.reshape(rows, length, kv_heads, heads // kv_heads, head_dim)
  query = query.transpose(2, 0, 3, 1, 4)
  mixed = attend_packed(query, own.key, own.value, segments)
  return mixed.transpose(1, 3, 0, 2, 4).reshape(rows, length, heads, head_dim)


def _attend_block(query, own, mask, prefix):
  rows, length, heads, head_dim = query.shape
  if prefix is not None and length > 1:
    own, mask = _joined(own, mask, prefix)
    prefix = None
  kv_heads = own.key.shape[0]
  shared = heads // kv_heads  # query heads that share a key-value head
  query = (query * head_dim**-0.5).reshape(rows, length, kv_heads, shared, -1)
  query = query.transpose(2, 0, 1, 3, 4)
  query = query.reshape(kv_heads, rows, length * shared, head_dim)
  scores = _product('hrqd,hrkd->hrqk', query, own.key)
  scores = scores.reshape(kv_heads, rows, length, shared, -1)
  scores = jnp.where(mask[:, :, None], scores, -jnp.inf)
  scores = scores.reshape(kv_heads, rows, length * shared, -1)
  if prefix is None:
    weights = jax.nn.softmax(scores, axis=-1)
    mixed = _product('hrqk,hrkd->hrqd', weights, own.value)
  else:
    mixed = _attend_both(query, scores, own.value, prefix)
  mixed = mixed.reshape(kv_heads, rows, length, shared, head_dim)
  return mixed.transpose(1, 2, 0, 3, 4).reshape(rows, length, heads, head_dim)


def _joined(own, mask, prefix):
  """Own keys with a copy of the prefix before them, and their mask.

  With many queries a row the copy costs less than joining their scores.
  """
  rows = own.key.shape[1]
  copies = rows // prefix.mask.shape[0]
  keys = jax.tree.map(
    lambda ahead, x: jnp.concatenate(
      [jnp.repeat(ahead, copies, axis=1), x], axis=2
    ),
    prefix.keys,
    own,
  )
  ahead = jnp.repeat(prefix.mask, copies, axis=0)[:, None]
  ahead = jnp.broadcast_to(ahead, (rows, mask.shape[1], ahead.shape[-1]))
  mask = jnp.broadcast_to(mask, (rows, *mask.shape[1:]))
  return keys, jnp.concatenate([ahead, mask], axis=-1)


def _attend_both(query, scores, value, prefix):
  """One softmax over the prefix's and the own scores, the prefix in one copy.

  With one query a row, as in decoding, a copy a row would cost the most.
  """
  kv_heads, rows, queries, head_dim = query.shape
  groups = prefix.mask.shape[0]
  # Rows of a group become queries of one product with the group's prefix.
  by_group = (kv_heads, groups, rows // groups * queries, -1)
  ahead = _product('hgqd,hgkd->hgqk', query.reshape(by_group), prefix.keys.key)
  ahead = jnp.where(prefix.mask[:, None], ahead, -jnp.inf)
  ahead = ahead.reshape(kv_heads, rows, queries, -1)
  weights = jax.nn.softmax(jnp.concatenate([ahead, scores], -1), axis=-1)
  ahead, scores = jnp.split(weights, [ahead.shape[-1]], axis=-1)
  mixed = _product(
    'hgqk,hgkd->hgqd', ahead.reshape(by_group), prefix.keys.value
  )
  mixed = mixed.reshape(kv_heads, rows, queries, head_dim)
  return mixed + _product('hrqk,hrkd->hrqd', scores, value)


def _product(equation, x, keys):
  return jnp.einsum(
    equation, x.astype(keys.dtype), keys, preferred_element_type=jnp.float32
  )
