"""Formulas of groups: the cases of their sources, by hand, by brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus_jax.evaluation import group_metrics

NAN = np.nan

GROUPS = np.array(
  [[5, 6, 7, 6], [5, 5, 3, 3], [6, 6, 6, 2], [4, 4, 4, 4], [NAN] * 4]
)


def test_the_worked_cases_of_internal_agreement():
  found = group_metrics.internal_agreement(GROUPS)
  np.testing.assert_array_equal(found, [-1, 0, -0.5, NAN, NAN])
  found = group_metrics.absolute_internal_agreement(GROUPS)
  np.testing.assert_array_equal(found, [1, 0, 0.5, NAN, NAN])


def test_of_groups_by_hand():
  metrics = group_metrics
  np.testing.assert_array_equal(metrics.mean(GROUPS), [6, 4, 5, 4, NAN])
  np.testing.assert_array_equal(metrics.least(GROUPS), [5, 3, 2, 4, NAN])
  np.testing.assert_array_equal(metrics.dissent(GROUPS), [0, 0.5, 0.25, 0, NAN])
  np.testing.assert_array_equal(metrics.unanimous(GROUPS), [1, 0, 0, 0, NAN])
  np.testing.assert_array_equal(metrics.divisive(GROUPS), [0, 1, 1, 0, NAN])
  missing = np.array([[6.0, NAN, 5.0]])
  assert metrics.unanimous(missing) == 1
  assert metrics.mean(missing) == 5.5 and metrics.least(missing) == 5
  # With one voice against it, and neutral ones: nobody is on another side.
  assert metrics.divisive(np.array([[1.0, 2.0, 4.0]])) == 0


def test_agreement_index_by_hand():
  def index(ratings, before):
    (found,) = group_metrics.agreement_index(ratings[None], before[None])
    return found

  before = np.array([6, 6, 5, 7, 2.0])
  assert index(before, before) == 60  # 80 / 20
  after = np.array([6, 6, 5, 7, 6.0])
  assert index(after, before) == 100
  # A majority that disagrees: as many toward it.
  assert index(8 - before, 8 - before) == 60
  assert index(after, 8 - before) == -100
  # A tie goes to those who agree; neutral ratings are in the denominator.
  tied = np.array([6, 2, 4, 4.0])
  assert index(np.array([6, 6, 4, 4.0]), tied) == 50
  assert index(np.array([2, 4, NAN, NAN]), tied) == -50
  assert index(np.full(3, 4.0), np.array([2.0, 2.0, 2.0])) == 0
  assert np.isnan(index(np.full(3, NAN), np.full(3, 6.0)))
  assert np.isnan(index(np.full(3, 6.0), np.full(3, NAN)))


def test_wins_and_final_preference():
  first, second = np.array([5, 3, 4, NAN]), np.array([4, 4, 4, 4.0])
  found = group_metrics.wins(first, second)
  np.testing.assert_array_equal(found, [1, 0, 0.5, NAN])
  # Of ranks, 0 is best.
  revised, initial = np.array([0, 1, 0, NAN]), np.array([1, 0, 0, 0.0])
  found = group_metrics.final_preference(revised, initial)
  np.testing.assert_array_equal(found, [1, 0, 0.5, NAN])


def test_sides_by_hand():
  positions = np.array(
    [[6, 5, 2, 4], [1, 2, 7, NAN], [6, 2, 4, 4], [6, 7, 5, 4.0]]
  )
  minority, majority = group_metrics.sides(positions)
  np.testing.assert_array_equal(
    minority, np.array([[0, 0, 1, 0], [0, 0, 1, 0], [0] * 4, [0] * 4]) > 0
  )
  np.testing.assert_array_equal(
    majority, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]) > 0
  )


RATINGS = hnp.arrays(
  float,
  st.tuples(st.integers(1, 4), st.integers(1, 6)),
  elements=st.sampled_from([NAN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
)


@given(RATINGS, st.integers(0, 1000))
def test_metrics_know_no_order_of_members(ratings, seed):
  order = np.random.default_rng(seed).permutation(ratings.shape[1])
  for measure in (
    group_metrics.mean,
    group_metrics.least,
    group_metrics.dissent,
    group_metrics.unanimous,
    group_metrics.divisive,
    group_metrics.internal_agreement,
    group_metrics.absolute_internal_agreement,
  ):
    found = measure(ratings)
    np.testing.assert_allclose(measure(ratings[:, order]), found)
    # A member who says nothing is no member.
    absent = np.full((len(ratings), 1), NAN)
    np.testing.assert_array_equal(
      measure(np.concatenate([ratings, absent], 1)), found
    )
    for row, value in zip(ratings, found):
      np.testing.assert_array_equal(measure(row[None]), [value])


@given(RATINGS)
def test_what_turns_over_with_the_scale(ratings):
  signed = group_metrics.internal_agreement
  np.testing.assert_allclose(signed(8 - ratings), -signed(ratings))
  np.testing.assert_array_equal(
    group_metrics.divisive(8 - ratings), group_metrics.divisive(ratings)
  )
  index = group_metrics.agreement_index(ratings, ratings)
  # Toward the majority of the very same ratings.
  assert (index[~np.isnan(index)] >= 0).all()
  np.testing.assert_allclose(
    group_metrics.agreement_index(8 - ratings, 8 - ratings), index
  )
  # Unanimous groups are those in which the least agreement is agreement.
  unanimous = group_metrics.unanimous(ratings)
  known = ~np.isnan(unanimous)
  least = group_metrics.least(ratings)
  np.testing.assert_array_equal(unanimous[known] == 1, least[known] > 4)
  minority, majority = group_metrics.sides(ratings)
  assert (minority.any(-1) == majority.any(-1)).all()
  assert not (minority & majority).any()
  some = minority.any(-1)
  assert (minority.sum(-1)[some] < majority.sum(-1)[some]).all()


def simplex(members, parts):
  """All weights that are multiples of 1 / parts."""
  cuts = itertools.combinations(range(parts + members - 1), members - 1)
  rows = [np.diff([-1, *cut, parts + members - 1]) - 1 for cut in cuts]
  return np.array(rows) / parts


GRID = simplex(3, 60)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_opinion_weights_are_the_best_of_a_grid(seed, dims):
  rng = np.random.default_rng(seed)
  opinions = rng.normal(size=(3, dims))
  statement = rng.normal(size=dims)
  found = group_metrics.opinion_weights(statement, opinions)
  assert (found >= 0).all() and found.sum() == pytest.approx(1)

  def miss(weights):
    return ((weights @ opinions - statement) ** 2).sum(-1)

  assert miss(found) <= miss(GRID).min() + 1e-7
  # Of all that miss as little, the most even.
  equal = GRID[miss(GRID) <= miss(found) + 1e-9]
  if len(equal):
    assert (found**2).sum() <= (equal**2).sum(1).min() + 1e-3


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_what_was_mixed_is_found(seed, members):
  rng = np.random.default_rng(seed)
  opinions = rng.normal(size=(members, members + 2))
  weights = rng.dirichlet(np.ones(members))
  found = group_metrics.opinion_weights(weights @ opinions, opinions)
  np.testing.assert_allclose(found, weights, atol=1e-6)
  # Where embeddings lie and how long they are changes nothing.
  moved = 1000 * (opinions + 3)
  found = group_metrics.opinion_weights(weights @ moved, moved)
  np.testing.assert_allclose(found, weights, atol=1e-6)


def test_minority_weight_by_hand():
  opinions = np.array([[1.0, 0], [1, 0], [0, 1]])
  positions = np.array([6.0, 7.0, 2.0])
  found = group_metrics.minority_weight(
    np.array([0.75, 0.25]), opinions, positions
  )
  assert found == pytest.approx((0.25, 0.25, 1 / 3), abs=1e-6)
  # On one axis between them many weights fit; the most even are taken.
  axis = np.array([[-1.0], [0.0], [1.0]])
  found = group_metrics.opinion_weights(np.array([0.0]), axis)
  np.testing.assert_allclose(found, 1 / 3, atol=1e-4)
  # Beyond all opinions the nearest has all weight.
  found = group_metrics.opinion_weights(np.array([5.0]), axis)
  np.testing.assert_allclose(found, [0, 0, 1], atol=1e-4)
  # All of one opinion.
  found = group_metrics.opinion_weights(np.ones(2), np.ones((4, 2)))
  np.testing.assert_allclose(found, 0.25)
  two = group_metrics.minority_weight(
    np.array([0.0]), axis, np.array([2.0, 4.0, 6.0])
  )
  assert np.isnan(two).all()
  # Two of five, who weigh half together.
  found = group_metrics.minority_weight(
    np.full(5, 0.0),
    np.eye(5) - np.array([0.25, 0.25, 1 / 6, 1 / 6, 1 / 6]),
    np.array([2.0, 1.0, 5.0, 5.0, 5.0]),
  )
  assert found == pytest.approx((0.5, 0.25, 0.4), abs=1e-6)


def test_opinions_must_be_finite():
  with pytest.raises(ValueError, match='one or more'):
    group_metrics.opinion_weights(np.zeros(2), np.zeros((0, 2)))
  with pytest.raises(ValueError, match='opinions must be'):
    group_metrics.opinion_weights(np.zeros(1), np.array([[NAN], [1.0]]))
  with pytest.raises(ValueError, match='statement must be'):
    group_metrics.opinion_weights(np.array([np.inf]), np.ones((2, 1)))
