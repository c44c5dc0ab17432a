"""Attention as a TPU kernel that never writes its scores to memory.

JAX ships the kernel (`jax.experimental.pallas.ops.tpu.splash_attention`); here
it meets this library's rows of packed sequences, and the mesh: each device
attends with its own rows and heads. It leaves out the blocks of keys that are
later than all queries of a block.
"""

import functools

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask,
)
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from consensus_jax import partitioning
from consensus_jax.model.attention import KeyValues

# Queries and keys that meet at a time, the largest that divides the length. A
# thousand of each still fit a core's fast memory, and smaller blocks feed the
# matrix units worse.
_BLOCKS = (1024, 512, 256, 128)

# What the kernel keeps for its backward pass, by the name that `Execution`
# gives to what attention mixed.
_KEPT = 'mixed'


def attend(
  query: Float[Array, 'rows length heads head_dim'],
  own: KeyValues,
  segment_ids: Int[Array, 'rows length'],
  shared_prefix: bool = False,
  *,
  interpret: bool = False,
) -> Float[Array, 'rows length heads head_dim']:
  """Causal grouped-query attention within the segments of each row.

  Products take their inputs in the keys' dtype; the softmax is float32.

  Args:
    query: rotated queries.
    own: keys and values of the same rows, of one layer.
    segment_ids: tokens see those of their own segment only.
    shared_prefix: must be False, as the kernel compares segments for equality.
    interpret: runs the kernel's program without a TPU, slowly: for tests.

  Returns:
    What each query mixed of the values, in the keys' dtype.

  Raises:
    ValueError: if the length is no multiple of 128, or for a shared prefix.
  """
  if shared_prefix:
    raise ValueError(
      "attention='splash' cannot let segments share a prefix: rows of reward "
      "models need attention='einsum'"
    )
  block = block_size(query.shape[1])
  query = (query * query.shape[-1] ** -0.5).astype(own.key.dtype)
  query = query.transpose(2, 0, 1, 3)
  local = functools.partial(_attend_local, block=block, interpret=interpret)
  mesh = jax.sharding.get_abstract_mesh()
  if not mesh.empty:
    # By key-value heads also for the queries: a device must hold the keys
    # that its queries meet.
    axes = ('kv_heads', 'batch', 'length', 'head_dim')
    by_head = partitioning.partition_spec(mesh, axes, own.key.shape)
    ids = PartitionSpec(*by_head[1:3])
    local = jax.shard_map(
      local,
      in_specs=(by_head, by_head, by_head, ids),
      out_specs=by_head,
      check_vma=False,
    )
  mixed = local(query, own.key, own.value, segment_ids)
  return mixed.transpose(1, 2, 0, 3)


def block_size(length: int) -> int:
  """How many queries, and how many keys, the kernel takes at a time.

  Raises:
    ValueError: if the length is no multiple of 128.
  """
  for block in _BLOCKS:
    if length % block == 0:
      return block
  raise ValueError(
    f"attention='splash' needs rows whose length is a multiple of "
    f'{_BLOCKS[-1]}, got {length}'
  )


def flops(length: int, head_dim: int, *, backward: bool) -> float:
  """Operations of the kernel for one head of one row.

  Two products for the forward pass and five for the backward pass, which makes
  the scores again, over the blocks on and below the diagonal.
  """
  blocks = length // block_size(length)
  computed = (blocks + 1) / (2 * blocks) * length * length
  return (5 if backward else 2) * 2 * computed * head_dim


def _attend_local(query, key, value, segment_ids, *, block, interpret):
  heads, _, length, _ = query.shape
  mask = splash_attention_mask.CausalMask((length, length))
  attend_row = kernel.make_splash_mha(
    splash_attention_mask.MultiHeadMask([mask] * heads),
    block_sizes=kernel.BlockSizes(
      block_q=block,
      block_kv=block,
      block_kv_compute=block,
      block_q_dkv=block,
      block_kv_dkv=block,
      block_kv_dkv_compute=block,
      # One pass for the gradients of queries, keys and values.
      use_fused_bwd_kernel=True,
    ),
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name=_KEPT,
    interpret=interpret,
  )
  ids = kernel.SegmentIds(segment_ids, segment_ids)
  return jax.vmap(attend_row, in_axes=(1, 1, 1, 0), out_axes=1)(
    query, key, value, ids
  )
