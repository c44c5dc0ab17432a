"""Schulze and Split Cycle: published elections and definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import pairwise, rankings, schulze

# Schulze 2011 and the cases released with the Habermas Machine; `voters` are
# (how many, the ranks that they give), d supports, p strongest paths.
CASES = {
  'schulze_30': {
    'voters': [
      *[(5, [0, 2, 1, 3]), (2, [0, 3, 1, 2]), (3, [0, 3, 2, 1])],
      *[(4, [1, 0, 2, 3]), (3, [3, 1, 0, 2]), (3, [3, 2, 0, 1])],
      *[(1, [1, 3, 2, 0]), (5, [2, 1, 3, 0]), (4, [3, 2, 1, 0])],
    ],
    'd': [[0, 11, 20, 14], [19, 0, 9, 12], [10, 21, 0, 17], [16, 18, 13, 0]],
    'p': [[0, 20, 20, 17], [19, 0, 19, 17], [19, 21, 0, 17], [18, 18, 18, 0]],
    'result': [1, 3, 2, 0],
  },
  'schulze_9_ties': {
    'voters': [
      *[(3, [0, 1, 2, 3]), (2, [1, 2, 3, 0])],
      *[(2, [3, 1, 2, 0]), (2, [3, 1, 0, 2])],
    ],
    'd': [[0, 5, 5, 3], [4, 0, 7, 5], [4, 2, 0, 5], [6, 4, 4, 0]],
    'p': [[0, 5, 5, 5], [5, 0, 7, 5], [5, 5, 0, 5], [6, 5, 5, 0]],
    'result': [1, 0, 1, 0],
  },
  'two_voters_ties': {
    'voters': [(1, [0, 0, 1, 2]), (1, [0, 1, 3, 2])],
    'd': [[0, 1, 2, 2], [0, 0, 2, 2], [0, 0, 0, 1], [0, 0, 1, 0]],
    'p': [[0, 1, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]],
    'result': [0, 1, 2, 2],
  },
  'five_voters': {
    'voters': [
      *[(2, [0, 1, 3, 2]), (1, [1, 3, 2, 0])],
      *[(1, [2, 3, 0, 1]), (1, [2, 0, 3, 1])],
    ],
    'd': [[0, 4, 4, 2], [1, 0, 3, 3], [1, 2, 0, 1], [3, 2, 4, 0]],
    'p': [[0, 4, 4, 3], [3, 0, 3, 3], [0, 0, 0, 0], [3, 3, 4, 0]],
    'result': [0, 1, 2, 0],
  },
  'opposed': {
    'voters': [(1, [0, 1]), (1, [1, 0])],
    'd': [[0, 1], [1, 0]],
    'p': [[0, 0], [0, 0]],
    'result': [0, 0],
  },
  'figure1_opinions': {
    'voters': [
      *[(1, [0, 1, 2, 3]), (1, [1, 0, 3, 2]), (1, [3, 0, 1, 2])],
      *[(1, [1, 2, 3, 0]), (1, [2, 1, 3, 0])],
    ],
    'result': [2, 0, 3, 1],
  },
  'figure1_critiques': {
    'voters': [
      *[(1, [2, 0, 1, 1]), (1, [0, 2, 1, 1]), (1, [2, 1, 1, 0])],
      *[(1, [1, 2, 0, 0]), (1, [3, 1, 0, 2])],
    ],
    'result': [2, 1, 0, 0],
  },
  'all_tied': {'voters': [(1, [0, 0, 0])], 'result': [0, 0, 0]},
}
UNLIKE = [[1, 0, 0, 0], [0, 1, 2, 2], [1, 2, 0, 2], [0, 2, 2, 1], [2, 0, 1, 0]]


def ballots(voters):
  """Ranks [candidates, members]."""
  return np.repeat([b for _, b in voters], [n for n, _ in voters], axis=0).T


@pytest.mark.parametrize('name', CASES)
def test_published_elections(name):
  case = CASES[name]
  ranks = ballots(case['voters'])
  support = pairwise.pairwise_support(ranks)
  if 'd' in case:
    assert support.tolist() == case['d']
    strengths = pairwise.majority_strengths(support)
    assert schulze.widest_paths(strengths).tolist() == case['p']
  assert schulze.schulze(ranks).tolist() == case['result']
  # As many members, as weights.
  distinct = np.array([b for _, b in case['voters']]).T
  weights = np.array([n for n, _ in case['voters']])
  weighted = schulze.schulze(distinct, weights=weights)
  assert weighted.tolist() == case['result']


def test_winning_votes_differ_from_margins():
  ranks = np.array(UNLIKE).T
  assert schulze.schulze(ranks).tolist() == [1, 2, 0, 2]
  assert schulze.schulze(ranks, strength='margins').tolist() == [0, 0, 0, 0]


# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 5), (4, 3), (5, 6))

profiles = st.sampled_from(SHAPES).flatmap(
  lambda shape: st.lists(
    st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]),
    min_size=shape[0],
    max_size=shape[0],
  )
)


@given(profiles, st.sampled_from(['winning_votes', 'margins']))
def test_equal_to_all_paths_written_out(profile, strength):
  ranks = np.array(profile)
  c = len(ranks)
  strengths = pairwise.majority_strengths(
    pairwise.pairwise_support(ranks), strength
  )
  edges = np.asarray(strengths)

  def strongest(x, y):
    others = [z for z in range(c) if z not in (x, y)]
    return max(
      min(edges[a, b] for a, b in itertools.pairwise((x, *middle, y)))
      for length in range(len(others) + 1)
      for middle in itertools.permutations(others, length)
    )

  want = np.zeros((c, c), int)
  for x, y in itertools.permutations(range(c), 2):
    want[x, y] = strongest(x, y)
  np.testing.assert_array_equal(schulze.widest_paths(strengths), want)
  # Schulze: above if the path there is stronger than the path back; this is
  # transitive, so ranks count who is above.
  place = (want.T > want).sum(axis=1)
  got = schulze.schulze(ranks, strength=strength)
  np.testing.assert_array_equal(got, np.unique(place, return_inverse=True)[1])
  # Split Cycle: a majority stands if no path leads back as strongly.
  defeats = (edges > 0) & (edges > want.T)
  split = np.asarray(schulze.split_cycle(ranks, strength=strength))
  np.testing.assert_array_equal(split == 0, ~defeats.any(axis=0))
  for x, y in np.argwhere(defeats):
    assert split[x] < split[y]


def test_batches_jit_and_vmap_agree():
  ranks = np.random.default_rng(0).integers(0, 4, (6, 2, 5, 7))
  for rule in (schulze.schulze, schulze.split_cycle, pairwise.minimax):
    whole = rule(ranks)
    assert whole.shape == (6, 2, 5)
    np.testing.assert_array_equal(jax.jit(rule)(ranks), whole)
    np.testing.assert_array_equal(jax.vmap(rule)(ranks), whole)
    for place in np.ndindex(6, 2):
      np.testing.assert_array_equal(rule(ranks[place]), whole[place])


def test_many_groups_are_taken_in_blocks():
  ranks = np.random.default_rng(0).integers(0, 4, (150, 5, 7))
  together = np.asarray(schulze.schulze(ranks))
  alone = [np.asarray(schulze.schulze(group)) for group in ranks]
  np.testing.assert_array_equal(together, alone)


def test_member_ranks():
  rewards = np.random.default_rng(0).integers(-2, 3, (4, 5, 7))
  got = np.asarray(rankings.member_ranks(rewards))
  for group, member in np.ndindex(4, 7):
    want = np.unique(-rewards[group, :, member], return_inverse=True)[1]
    np.testing.assert_array_equal(got[group, :, member], want)


def test_many_members_take_the_other_path():
  ranks = np.random.default_rng(0).integers(0, 9, (2, 5, 300))
  support = np.asarray(pairwise.pairwise_support(ranks))
  want = (ranks[:, :, None] < ranks[:, None]).sum(-1)
  np.testing.assert_array_equal(support, want)
  weights = np.random.default_rng(1).integers(0, 5, 300)
  support = np.asarray(pairwise.pairwise_support(ranks, weights=weights))
  want = ((ranks[:, :, None] < ranks[:, None]) * weights).sum(-1)
  np.testing.assert_array_equal(support, want)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_dense_ranks(scores):
  want = np.unique(-np.array(scores), return_inverse=True)[1]
  got = rankings.dense_ranks(jnp.array(scores))
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
  ('ranks', 'message'),
  [
    (np.array([[0.0, 1.0]]), 'ranks must be integers, got float64'),
    (np.array([[0, 1], [2, -1]]), r'ranks\[1, 1\] must be 0 or more, got -1'),
    (np.zeros((0, 3), int), 'ranks has an empty axis, candidates'),
    (np.zeros((3, 0), int), 'ranks has an empty axis, members'),
  ],
)
def test_bad_ranks_are_refused(ranks, message):
  for rule in (schulze.schulze, pairwise.borda, schulze.split_cycle):
    with pytest.raises(ValueError, match=message):
      rule(ranks)


def test_bad_arguments_are_refused():
  ranks = np.array([[0, 1], [1, 0]])
  with pytest.raises(ValueError, match="strength must be 'winning_votes' or"):
    schulze.schulze(ranks, strength='votes')
  with pytest.raises(ValueError, match=r'weights\[1\] must be finite'):
    schulze.schulze(ranks, weights=np.array([1, -1]))
