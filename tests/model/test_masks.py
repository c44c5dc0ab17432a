"""Who sees whom, against the rule written out token by token."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.model.masks import Segments

ids = st.lists(st.integers(0, 4), min_size=1, max_size=12)


def may_see(ids, query, key, shared_prefix):
  if key > query:
    return False
  if ids[query] == ids[key]:
    return True
  return shared_prefix and ids[key] == 1


@given(ids, st.booleans())
def test_dense_is_the_rule_for_each_two_tokens(ids, shared_prefix):
  found = Segments(jnp.asarray([ids], jnp.int32), shared_prefix).dense()
  expected = [
    [may_see(ids, q, k, shared_prefix) for k in range(len(ids))]
    for q in range(len(ids))
  ]
  np.testing.assert_array_equal(found[0], expected)
  assert np.diagonal(found[0]).all()  # so that no softmax is over nothing


def test_a_block_is_a_part_of_the_dense_mask():
  rng = np.random.default_rng(0)
  segments = Segments(jnp.asarray(rng.integers(0, 4, (3, 20), np.int32)), True)
  np.testing.assert_array_equal(
    segments.block(5, 13), segments.dense()[:, 5:13, :13]
  )
  assert not segments.dense()[:, 5:13, 13:].any()


def test_goes_through_jit_with_its_flag_static():
  segments = Segments(jnp.ones((2, 3), jnp.int32), True)
  again = jax.jit(lambda x: x)(segments)
  assert again.shared_prefix is True
  assert len(jax.tree.leaves(segments)) == 1
