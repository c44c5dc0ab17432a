"""Ranked Pairs: published elections and what every ranking must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import pairwise, ranked_pairs, schulze

# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 5), (4, 3), (5, 6))

profiles = st.sampled_from(SHAPES).flatmap(
  lambda shape: st.tuples(
    st.lists(
      st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]),
      min_size=shape[0],
      max_size=shape[0],
    ),
    st.permutations(range(shape[0])),
  )
)


def test_tennessee():
  # Memphis, Nashville, Chattanooga, Knoxville; the well-known example.
  ranks = np.array([[0, 1, 2, 3], [3, 0, 1, 2], [3, 2, 0, 1], [3, 2, 1, 0]]).T
  weights = np.array([42, 26, 15, 17])
  got = ranked_pairs.ranked_pairs(ranks, weights=weights)
  assert got.tolist() == [3, 0, 1, 2]


def test_a_cycle_loses_its_weakest_majority():
  ranks = np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]]).T
  weights = np.array([4, 3, 2])  # 0 > 1 by 6 : 3, 1 > 2 by 7, 2 > 0 by 5
  got = ranked_pairs.ranked_pairs(ranks, weights=weights)
  assert got.tolist() == [0, 1, 2]


@given(profiles, st.sampled_from(['winning_votes', 'margins']))
def test_every_lower_place_is_explained(case, strength):
  profile, tie_order = case
  ranks, tie_order = np.array(profile), np.array(tie_order)
  place = np.asarray(
    ranked_pairs.ranked_pairs(ranks, strength=strength, tie_order=tie_order)
  )
  candidates = len(ranks)
  assert sorted(place.tolist()) == list(range(candidates))
  # A majority is overruled only by a path of at least equal majorities along
  # the result (Tideman's "stack").
  strengths = np.asarray(
    pairwise.majority_strengths(pairwise.pairwise_support(ranks), strength)
  )
  along = np.where(place[:, None] < place[None, :], strengths, 0)
  paths = np.asarray(schulze.widest_paths(along))
  for x in range(candidates):
    for y in range(candidates):
      if strengths[x, y] > 0 and place[x] > place[y]:
        assert paths[y, x] >= strengths[x, y]


def test_the_tie_order_decides_between_equals():
  ranks = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
  for tie_order in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
    got = ranked_pairs.ranked_pairs(ranks, tie_order=np.array(tie_order))
    assert int(got[tie_order.index(0)]) == 0


def test_bad_orders_are_refused():
  with pytest.raises(ValueError, match='tie_order must be a permutation'):
    ranked_pairs.ranked_pairs(np.eye(2, dtype=int), tie_order=np.array([1, 1]))
