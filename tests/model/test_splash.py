"""The kernel for TPUs, interpreted, against attention by einsum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_jax import partitioning
from consensus_jax.model import splash
from consensus_jax.model.attention import KeyValues, attend
from consensus_jax.model.masks import Segments

LENGTH, HEAD_DIM = 256, 128


def arrays(rows, heads, kv_heads):
  keys = jax.random.split(jax.random.key(0), 3)
  query = jax.random.normal(keys[0], (rows, LENGTH, heads, HEAD_DIM))
  own = KeyValues(
    *(
      jax.random.normal(key, (kv_heads, rows, LENGTH, HEAD_DIM))
      for key in keys[1:]
    )
  )
  return query, own


def packed(rows):
  """Two sequences and padding, cut elsewhere in each row."""
  ids = np.zeros((rows, LENGTH), np.int32)
  for i, row in enumerate(ids):
    first, second = 60 + 20 * i, 150 + 30 * i
    row[:first], row[first:second] = 1, 2
  return jnp.asarray(ids)


@pytest.mark.parametrize(('heads', 'kv_heads'), [(2, 2), (4, 2)])
def test_mixes_as_einsum_does(heads, kv_heads):
  query, own = arrays(2, heads, kv_heads)
  ids = packed(2)
  wanted = attend(query, own, Segments(ids))
  mixed = splash.attend(query, own, ids, interpret=True)
  np.testing.assert_allclose(mixed, wanted, rtol=1e-5, atol=1e-5)


def test_has_the_gradients_of_einsum():
  query, own = arrays(1, 4, 2)
  ids = packed(1)
  towards = jax.random.normal(jax.random.key(1), query.shape)

  def gradients(mix):
    def towards_sum(query, key, value):
      return (mix(query, KeyValues(key, value)) * towards).sum()

    return jax.grad(towards_sum, argnums=(0, 1, 2))(query, own.key, own.value)

  kernel = gradients(
    lambda query, own: splash.attend(query, own, ids, interpret=True)
  )
  einsum = gradients(lambda query, own: attend(query, own, Segments(ids)))
  for gradient, wanted in zip(kernel, einsum):
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kv_heads', [2, 1])
def test_is_the_same_on_a_mesh(kv_heads):
  # One key-value head cannot be split over two devices; two can.
  query, own = arrays(4, 2, kv_heads)
  ids = packed(4)
  wanted = attend(query, own, Segments(ids))
  with jax.set_mesh(partitioning.make_mesh(data=2, fsdp=2, tensor=2)):
    mixed = jax.jit(lambda *args: splash.attend(*args, interpret=True))(
      query, own, ids
    )
  np.testing.assert_allclose(mixed, wanted, rtol=1e-5, atol=1e-5)


def test_blocks_divide_the_length():
  assert [splash.block_size(n) for n in (2048, 1536, 256, 384)] == [
    1024,
    512,
    256,
    128,
  ]
  with pytest.raises(ValueError, match='multiple of 128, got 200'):
    splash.block_size(200)


def test_refuses_a_shared_prefix():
  query, own = arrays(1, 2, 2)
  with pytest.raises(ValueError, match="need attention='einsum'"):
    splash.attend(query, own, packed(1), True)
