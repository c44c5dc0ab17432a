"""Maximal lotteries: what makes them maximal, and unique."""

import jax
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import lottery, pairwise

# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 5), (4, 3), (5, 6))

profiles = st.sampled_from(SHAPES).flatmap(
  lambda shape: st.lists(
    st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]),
    min_size=shape[0],
    max_size=shape[0],
  )
)


def margins_of(ranks):
  support = np.asarray(pairwise.pairwise_support(ranks))
  return support - support.T


@given(profiles)
def test_no_candidate_beats_the_lottery(profile):
  ranks = np.array(profile)
  chances = np.asarray(lottery.maximal_lottery(ranks))
  assert chances.sum() == pytest.approx(1, abs=1e-6)
  assert (chances >= 0).all()
  assert (chances @ margins_of(ranks)).min() >= -1e-5


def test_equal_to_the_linear_program_where_that_is_unique():
  # Strict ballots of an odd number of members: Laffond, Laslier, Le Breton.
  random = np.random.default_rng(0)
  for _ in range(100):
    candidates, members = random.integers(2, 9), 2 * random.integers(0, 5) + 1
    ranks = random.permuted(
      np.tile(np.arange(candidates)[:, None], members), axis=0
    )
    margins = margins_of(ranks)
    program = scipy.optimize.linprog(
      [0] * candidates + [-1],
      A_ub=np.column_stack([-margins.T, np.ones(candidates)]),
      b_ub=np.zeros(candidates),
      A_eq=[[1] * candidates + [0]],
      b_eq=[1],
      bounds=[(0, 1)] * candidates + [(None, None)],
      method='highs',
    )
    np.testing.assert_allclose(
      lottery.maximal_lottery(ranks), program.x[:-1], atol=1e-5
    )


@given(profiles, st.randoms(use_true_random=False))
def test_neutrality_even_where_many_qualify(profile, random):
  ranks = np.array(profile)
  order = list(range(len(ranks)))
  random.shuffle(order)
  there = np.asarray(lottery.maximal_lottery(ranks))[order]
  back = np.asarray(lottery.maximal_lottery(ranks[order]))
  np.testing.assert_allclose(there, back, atol=1e-5)


def test_known_lotteries():
  condorcet = np.array([[0, 0, 1], [1, 1, 0]])
  assert lottery.maximal_lottery(condorcet).tolist() == [1, 0]
  cycle = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
  np.testing.assert_allclose(lottery.maximal_lottery(cycle), [1 / 3] * 3, 1e-6)
  unequal = lottery.maximal_lottery(cycle, weights=np.array([3, 2, 2]))
  margins = np.array([[0, 3, -1], [-3, 0, 3], [1, -3, 0]])
  assert np.abs(np.asarray(unequal) @ margins).max() < 1e-5


def test_batches_jit_and_vmap_agree():
  ranks = np.random.default_rng(0).integers(0, 4, (3, 2, 5, 6))
  whole = lottery.maximal_lottery(ranks)
  assert whole.shape == (3, 2, 5)
  np.testing.assert_allclose(jax.jit(lottery.maximal_lottery)(ranks), whole)
  np.testing.assert_allclose(jax.vmap(lottery.maximal_lottery)(ranks), whole)
