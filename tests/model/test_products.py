"""Products with weights and their gradients, against plain einsum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_jax.model.products import dense, look_up

F32 = jnp.dtype('float32')


def outcome(function, x, weight):
  """The product, and the gradients of a sum that weighs each entry."""

  def loss(x, weight):
    product = function(x, weight).astype(jnp.float32)
    weights = jnp.sin(jnp.arange(product.size)).reshape(product.shape)
    return (weights * product).sum(), product

  (_, product), gradients = jax.jit(
    jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  )(x, weight)
  return product, *gradients


@pytest.mark.parametrize('rows', [6, 7])  # four pieces divide 2 * 6 alone
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('out, inputs', [((3, 5), (4,)), ((5,), (4, 3))])
def test_gradients_are_those_of_einsum(rows, dtype, out, inputs):
  rng = np.random.default_rng(rows)
  x = jnp.asarray(rng.standard_normal((2, rows, *inputs)), F32)
  weight = jnp.asarray(rng.standard_normal((*out, *inputs)), dtype)
  contract = tuple(range(-len(inputs), 0))

  def plain(x, weight):
    x = x.astype(weight.dtype).astype(F32)
    return jnp.tensordot(x, weight.astype(F32), (contract, contract))

  found = outcome(lambda x, w: dense(x, w, F32, len(inputs)), x, weight)
  expected = outcome(plain, x, weight)
  assert [a.dtype for a in found] == [F32, F32, weight.dtype]
  for ours, theirs in zip(found, expected):
    scale = np.abs(np.asarray(theirs, np.float32)).max()
    tolerance = 1e-6 if dtype == 'float32' else 0.01
    np.testing.assert_allclose(
      np.asarray(ours, np.float32),
      np.asarray(theirs, np.float32),
      rtol=0,
      atol=tolerance * scale,
    )


def test_the_result_has_the_dtype_asked_for():
  x, weight = jnp.ones((2, 4)), jnp.ones((3, 4), jnp.bfloat16)
  assert dense(x, weight, jnp.dtype('bfloat16')).dtype == jnp.bfloat16
  assert dense(x, weight, F32).dtype == F32


def test_no_bfloat16_product_is_widened_in_either_direction():
  """All three products meet XLA as bfloat16 with a float32 sum."""
  x, weight = jnp.ones((8, 4)), jnp.ones((3, 4), jnp.bfloat16)
  function = jax.jit(
    jax.grad(lambda x, w: dense(x, w, F32).sum(), argnums=(0, 1))
  )
  text = function.lower(x, weight).as_text()
  products = [line for line in text.splitlines() if 'dot_general' in line]
  assert len(products) == 2  # the forward product is not needed
  for line in products:
    kinds = line.rsplit(' : ', 1)[1]
    assert kinds.count('xbf16>') == 2 and kinds.count('xf32>') == 1, line


def test_a_common_token_keeps_all_of_its_gradient():
  tokens = jnp.asarray([2] * 1000 + [0, 9], jnp.int32)  # 9 counts as the last

  def gradient(dtype):
    table = jnp.ones((4, 3), dtype)
    return jax.grad(lambda t: look_up(t, tokens).astype(F32).sum())(table)

  expected = np.repeat([[1.0], [0.0], [1000.0], [1.0]], 3, axis=1)
  np.testing.assert_array_equal(gradient('float32'), expected)
  np.testing.assert_allclose(
    np.asarray(gradient('bfloat16'), np.float32), expected, rtol=2**-8
  )
