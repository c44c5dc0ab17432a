"""Leximin, generalised Gini and majority judgment."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import ordered, welfare

INF = float('inf')
# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 5), (4, 3), (5, 6))

matrices = st.sampled_from(SHAPES).flatmap(
  lambda shape: st.tuples(
    st.lists(
      st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]),
      min_size=shape[0],
      max_size=shape[0],
    ),
    st.lists(st.integers(0, 3), min_size=shape[1], max_size=shape[1]).filter(
      any
    ),
  )
)


def ranked(keys):
  """Dense ranks of a list of keys, largest first."""
  distinct = sorted(set(keys), reverse=True)
  return [distinct.index(key) for key in keys]


def medians(grades):
  """Medians that are taken away one by one (Balinski and Laraki)."""
  left, taken = sorted(grades), []
  while left:
    taken.append(left.pop((len(left) - 1) // 2))
  return tuple(taken)


@given(matrices)
def test_definitions_written_out(case):
  values, weights = np.array(case[0]), np.array(case[1])
  for counts in (None, weights):
    times = np.ones_like(weights) if counts is None else counts
    rows = [np.repeat(row, times).tolist() for row in values]
    leximin = ordered.leximin(values, weights=counts)
    assert leximin.tolist() == ranked([tuple(sorted(row)) for row in rows])
    judgment = ordered.majority_judgment(values, weights=counts)
    assert judgment.tolist() == ranked([medians(row) for row in rows])


@given(matrices)
def test_leximin_refines_the_rawlsian_order(case):
  values = np.array(case[0], np.float32)
  place = np.asarray(ordered.leximin(values))
  least = np.asarray(welfare.rawlsian(values))
  for x in range(len(values)):
    for y in range(len(values)):
      if least[x] > least[y]:
        assert place[x] < place[y]
      # Strict Pareto, which the Rawlsian rule alone violates.
      if (values[x] >= values[y]).all() and (values[x] > values[y]).any():
        assert place[x] < place[y]


def test_members_of_a_large_group_take_the_other_path():
  values = np.random.default_rng(0).integers(0, 3, (4, 200))
  values[1] = np.random.default_rng(1).permutation(values[0])
  keys = [tuple(sorted(row)) for row in values.tolist()]
  assert ordered.leximin(values).tolist() == ranked(keys)
  keys = [medians(row) for row in values.tolist()]
  assert ordered.majority_judgment(values).tolist() == ranked(keys)


def test_gini_written_out():
  values = np.float32([[1, 5, 3], [2, 2, 2]])
  # Lorenz weights of three people, from the poorest up: 5/9, 3/9, 1/9.
  np.testing.assert_allclose(
    ordered.generalised_gini(values), [(5 + 9 + 5) / 9, 2], rtol=1e-6
  )
  mean = welfare.utilitarian(values)
  np.testing.assert_allclose(ordered.generalised_gini(values, 1), mean, 1e-6)
  assert ordered.generalised_gini(values, INF).tolist() == [1, 2]
  gaps = np.abs(values[:, :, None] - values[:, None, :]).mean((1, 2)) / 2
  np.testing.assert_allclose(
    ordered.generalised_gini(values, 2), mean - gaps, rtol=1e-6
  )


@given(matrices, st.sampled_from([1.0, 1.5, 2.0, 3.0, INF]))
def test_gini_properties(case, delta):
  values, weights = np.float32(case[0]), np.array(case[1])
  gini = functools.partial(ordered.generalised_gini, delta=delta)
  got = np.asarray(gini(values, weights=weights))
  repeated = np.stack([np.repeat(row, weights) for row in values])
  np.testing.assert_allclose(got, gini(repeated), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(
    gini(values + 7, weights=weights), got + 7, rtol=1e-5
  )
  counted = values[:, weights > 0]
  assert (got >= counted.min(1) - 1e-5).all()
  assert (got <= np.asarray(welfare.utilitarian(repeated)) + 1e-5).all()
  # Pigou-Dalton: halfway between the richest and the poorest.
  evened = np.sort(repeated, axis=1)
  evened[:, 0] = evened[:, -1] = (evened[:, 0] + evened[:, -1]) / 2
  assert (np.asarray(gini(evened)) >= np.asarray(gini(repeated)) - 1e-5).all()


def test_batches_jit_and_vmap_agree():
  random = np.random.default_rng(0)
  values = random.integers(0, 3, (4, 5, 6))
  weights = random.integers(1, 3, (4, 6))
  for rule in (ordered.leximin, ordered.majority_judgment):
    for counts in (None, weights):
      whole = rule(values, weights=counts)
      mapped = jax.jit(
        jax.vmap(
          lambda v, w, rule=rule: rule(v, weights=w),
          in_axes=(0, None if counts is None else 0),
        )
      )(values, counts)
      np.testing.assert_array_equal(whole, mapped)


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match='delta must be'):
    ordered.generalised_gini(np.ones(2), 0.5)
  with pytest.raises(ValueError, match=r'utilities\[0, 1\]'):
    ordered.leximin(np.float32([[1, np.nan]]))
  with pytest.raises(ValueError, match=r'grades\[0, 1\]'):
    ordered.majority_judgment(np.float32([[1, np.inf]]))
