"""Attention of packed rows, and its own gradients, against dense masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_jax import partitioning
from consensus_jax.model import attention, packed_attention
from consensus_jax.model.attention import KeyValues
from consensus_jax.model.masks import Segments


def inputs(length, heads=4, kv_heads=2, dtype='float32', seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return jnp.asarray(rng.standard_normal(shape), dtype)

  ids = np.sort(rng.integers(1, 4, (4, length), np.int32), axis=1)
  ids[1, length // 2 :] = 0  # padding
  return (
    draw(4, length, heads, 6),
    draw(kv_heads, 4, length, 6),
    draw(kv_heads, 4, length, 6),
    jnp.asarray(ids),
  )


def mixed_and_gradients(query, key, value, mask):
  """And the gradients of a sum that weighs all it mixed differently."""

  def loss(query, key, value):
    mixed = attention.attend(query, KeyValues(key, value), mask)
    mixed = mixed.astype(jnp.float32)
    weights = jnp.sin(jnp.arange(mixed.size)).reshape(mixed.shape)
    return (weights * mixed).sum(), mixed

  (_, mixed), gradients = jax.value_and_grad(
    loss, argnums=(0, 1, 2), has_aux=True
  )(query, key, value)
  return mixed, *gradients


compute = jax.jit(mixed_and_gradients)


@pytest.mark.parametrize('shared_prefix', [False, True])
@pytest.mark.parametrize('length, kv_heads', [(1, 1), (24, 2), (33, 4)])
def test_equals_attention_with_the_dense_mask(
  length, kv_heads, shared_prefix, monkeypatch
):
  for name in ('_QUERY_BLOCK', '_QUERY_BLOCK_ON_CPU'):
    monkeypatch.setattr(packed_attention, name, 10)
  *arrays, ids = inputs(length, kv_heads=kv_heads, seed=length)
  segments = Segments(ids, shared_prefix)
  # A function of its own, so that no other block size is compiled already.
  found = jax.jit(lambda *a: mixed_and_gradients(*a))(*arrays, segments)
  expected = compute(*arrays, segments.dense())
  for ours, theirs in zip(found, expected):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


def test_a_mesh_changes_nothing():
  *arrays, ids = inputs(24)
  segments = Segments(ids, True)
  expected = compute(*arrays, segments)
  with jax.set_mesh(partitioning.make_mesh(fsdp=4, tensor=2)):
    found = jax.jit(lambda *a: mixed_and_gradients(*a))(*arrays, segments)
  for ours, theirs in zip(found, expected):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


def test_bfloat16_is_near_float32():
  *arrays, ids = inputs(40, dtype='bfloat16')
  segments = Segments(ids)
  found = compute(*arrays, segments)
  wide = [x.astype(jnp.float32) for x in arrays]
  for ours, theirs in zip(found, compute(*wide, segments)):
    error = np.abs(np.asarray(ours, np.float32) - theirs)
    assert 0 < error.max() < 0.03 * np.abs(theirs).max()


def test_padding_gives_no_nan():
  query, key, value, ids = inputs(16)
  found = compute(query, key, value, Segments(jnp.zeros_like(ids)))
  assert all(np.isfinite(x).all() for x in found)


def test_segments_go_with_neither_prefix_nor_cache():
  query, key, value, ids = inputs(16)
  with pytest.raises(ValueError, match='neither'):
    attention.attend(query[:, :8], KeyValues(key, value), Segments(ids[:, :8]))
  with pytest.raises(ValueError, match='Segments'):
    mask = Segments(ids).dense()
    attention.attend(query, KeyValues(key, value), mask, kernel='splash')
