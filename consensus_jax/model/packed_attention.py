"""Attention of rows that hold several sequences, with its own backward pass.

Blocks of queries meet all keys up to their end. Nothing as large as the scores
is kept for the backward pass, which makes them again from queries, keys and the
logarithms of the softmax's sums.

Source: Dao et al. 2022 (FlashAttention), algorithm 4, in blocks of queries.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from consensus_jax.model.masks import Segments

# Queries that meet their keys at once. Fewer leave out more of what nobody sees
# above the diagonal; a CPU loses nothing by smaller products.
_QUERY_BLOCK = 512
_QUERY_BLOCK_ON_CPU = 128


def attend_packed(
  query: Float[Array, 'kv_heads rows shared length head_dim'],
  key: Float[Array, 'kv_heads rows length head_dim'],
  value: Float[Array, 'kv_heads rows length head_dim'],
  segments: Segments,
) -> Float[Array, 'kv_heads rows shared length head_dim']:
  """What each query mixes of the values that its sequence shows it.

  Products take and return the dtype of the keys and sum in float32; scores and
  softmax are float32.

  Args:
    query: rotated and scaled, in the dtype of the keys; `shared` query heads
      meet the same keys.
    key: rotated.
    value: what is mixed.
    segments: who sees whom.
  """
  return _attend(
    segments.shared_prefix, query, key, value, segments.segment_ids
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(shared_prefix, query, key, value, ids):
  return _forward(shared_prefix, query, key, value, ids)[0]


def _forward(shared_prefix, query, key, value, ids):
  segments = Segments(ids, shared_prefix)
  mixed, totals = _by_rows(_mix, query, key, value, segments)
  # Both under the name that `Execution` gives to what attention mixed.
  mixed = checkpoint_name(mixed, 'mixed')
  totals = checkpoint_name(totals, 'mixed')
  return mixed, (query, key, value, ids, mixed, totals)


def _backward(shared_prefix, kept, cotangent):
  query, key, value, ids, mixed, totals = kept
  segments = Segments(ids, shared_prefix)
  cotangent = cotangent.astype(key.dtype)
  wide = mixed.astype(jnp.float32) * cotangent.astype(jnp.float32)
  expected = wide.sum(-1)
  # Turned out here: XLA's kernel for CPUs contracts the last axis of the left
  # side only, and would fold a transpose beside the product into it again.
  turned = tuple(x.transpose(0, 1, 4, 2, 3) for x in (query, cotangent))
  more = (cotangent, totals, expected, *turned)
  gradients = _by_rows(_gradients, query, key, value, segments, *more)
  return *gradients, None


_attend.defvjp(_forward, _backward)


def _by_rows(function, query, key, value, segments, *more):
  """`function` of all rows; on a CPU of one after another, in its caches."""
  arrays = (query, key, value, *more)

  def together(segments, *arrays):
    return function(_QUERY_BLOCK, segments.block, *arrays)

  def one_by_one(segments, *arrays):
    def one(row):
      mask, *arrays = jax.tree.map(lambda x: x[None], row)
      arrays = (jnp.swapaxes(x, 0, 1) for x in arrays)

      def seen(start, stop):
        return mask[:, start:stop, :stop]

      found = function(_QUERY_BLOCK_ON_CPU, seen, *arrays)
      return jax.tree.map(lambda x: x[:, 0], found)

    rows = (jnp.swapaxes(x, 0, 1) for x in arrays)
    # Masks from outside the loop: inside, XLA would compare segments again for
    # each head and pass over the scores.
    found = jax.lax.map(one, (segments.dense(), *rows))
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), found)

  if jax.sharding.get_abstract_mesh().size > 1:
    return together(segments, *arrays)
  return jax.lax.platform_dependent(
    segments, *arrays, cpu=one_by_one, default=together
  )


def _mix(block, seen, query, key, value):
  mixed, totals = [], []
  for start, stop in _blocks(query, block):
    scores = _scores(seen(start, stop), query, key, start, stop)
    peak = scores.max(-1, keepdims=True)
    weights = jnp.exp(scores - peak)
    total = weights.sum(-1, keepdims=True)
    mix = _product('hrqk,hrkd->hrqd', _flat(weights), value[:, :, :stop])
    mix = mix.reshape(*total.shape[:-1], -1) / total
    mixed.append(mix.astype(key.dtype))
    totals.append((peak + jnp.log(total))[..., 0])
  return jnp.concatenate(mixed, axis=3), jnp.concatenate(totals, axis=3)


def _gradients(
  block,
  seen,
  query,
  key,
  value,
  cotangent,
  totals,
  expected,
  turned_query,
  turned_cotangent,
):
  to_query = []
  to_key = jnp.zeros(key.shape, jnp.float32)
  to_value = jnp.zeros(value.shape, jnp.float32)
  for start, stop in _blocks(query, block):
    above = _flat(cotangent[:, :, :, start:stop])
    scores = _scores(seen(start, stop), query, key, start, stop)
    weights = jnp.exp(scores - totals[:, :, :, start:stop, None])
    narrow = _flat(weights.astype(key.dtype))
    to_weights = _product('hrqd,hrkd->hrqk', above, value[:, :, :stop])
    to_weights = to_weights.reshape(scores.shape)
    to_scores = weights * (to_weights - expected[:, :, :, start:stop, None])
    to_scores = _flat(to_scores.astype(key.dtype))
    of_block = _product('hrqk,hrkd->hrqd', to_scores, key[:, :, :stop])
    to_query.append(of_block.reshape(*scores.shape[:-1], -1))
    sums = []
    for left, right in ((turned_query, to_scores), (turned_cotangent, narrow)):
      left = left[..., start:stop]
      left = left.reshape(*left.shape[:3], -1)
      sums.append(_product('hrdq,hrqk->hrdk', left, right).swapaxes(2, 3))
    to_key = to_key.at[:, :, :stop].add(sums[0])
    to_value = to_value.at[:, :, :stop].add(sums[1])
  gradients = jnp.concatenate(to_query, axis=3), to_key, to_value
  return tuple(x.astype(key.dtype) for x in gradients)


def _blocks(query, block):
  length = query.shape[3]
  return [
    (start, min(start + block, length)) for start in range(0, length, block)
  ]


def _scores(seen, query, key, start, stop):
  """[kv_heads, rows, shared, queries, keys] of one block, masked."""
  queries = query[:, :, :, start:stop]
  scores = _product('hrqd,hrkd->hrqk', _flat(queries), key[:, :, :stop])
  scores = scores.reshape(*queries.shape[:-1], -1)
  return jnp.where(seen[:, None], scores, -jnp.inf)


def _flat(x):
  """All queries that meet the same keys on one axis."""
  heads, rows, _, _, width = x.shape
  return x.reshape(heads, rows, -1, width)


def _product(equation, x, y):
  return jnp.einsum(
    equation, x.astype(y.dtype), y, preferred_element_type=jnp.float32
  )
