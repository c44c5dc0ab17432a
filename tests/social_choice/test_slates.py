"""Slates: balanced justified representation, by definition and by oracle."""

import itertools

import jax
import numpy as np
import pytest
import scipy.optimize

from consensus_jax.social_choice import slates

SHAPES = ((3, 4, 2), (5, 7, 3), (4, 12, 4), (6, 9, 2))


def random_utilities(random, candidates, members):
  if random.random() < 0.5:  # with many ties
    return random.integers(0, 4, (candidates, members)).astype(np.float32)
  return random.random((candidates, members), np.float32)


def violated(utilities, own, k):
  """All groups of the least size that could complain, one after the other."""
  candidates, members = utilities.shape
  size = -(-members // k)
  for group in itertools.combinations(range(members), size):
    for candidate in range(candidates):
      level = min(utilities[candidate, i] for i in group)
      if all(level > utilities[own[i], i] for i in group):
        return True
  return False


def best_by_mean(utilities, k):
  """The k most liked, and the balanced assignment that pleases most."""
  members = utilities.shape[1]
  top = np.argsort(-utilities.mean(axis=1))[:k]
  sizes = [members // k + (place < members % k) for place in range(k)]
  seats = np.repeat(top, sizes)
  who, seat = scipy.optimize.linear_sum_assignment(-utilities[seats].T)
  return seats[seat[np.argsort(who)]]


def test_the_process_never_violates_bjr_and_the_mean_does():
  random = np.random.default_rng(0)
  caught = 0
  for _ in range(150):
    for candidates, members, k in SHAPES:
      utilities = random_utilities(random, candidates, members)
      slate = slates.proportional_slate(utilities, k)
      own = np.asarray(slate.candidates)[np.asarray(slate.places)]
      assert bool(slates.satisfies_bjr(utilities, own, k))
      counts = np.bincount(np.asarray(slate.places), minlength=k)
      assert counts.max() - counts.min() <= 1 and len(counts) == k
      by_mean = best_by_mean(utilities, k)
      caught += not bool(slates.satisfies_bjr(utilities, by_mean, k))
  assert caught > 3


def test_the_checker_agrees_with_all_groups_written_out():
  random = np.random.default_rng(1)
  results = []
  for _ in range(200):
    candidates, members, k = 4, 6, 3
    utilities = random_utilities(random, candidates, members)
    own = random.integers(0, candidates, members)
    results.append(bool(slates.satisfies_bjr(utilities, own, k)))
    assert results[-1] == (not violated(utilities, own, k))
  assert 10 < sum(results) < 190


def test_each_camp_gets_its_own():
  # Six of nine love the first two, three love the third, which no mean finds.
  camp = np.float32([1, 1, 1, 1, 1, 1, 0, 0, 0])
  utilities = np.stack([camp, camp * 0.9, (1 - camp) * 0.8])
  slate = slates.proportional_slate(utilities, 3)
  assert sorted(slate.candidates.tolist()) == [0, 0, 2]
  own = np.asarray(slate.candidates)[np.asarray(slate.places)]
  assert (own[6:] == 2).all()


def test_justified_representation_by_abcvoting():
  preferences = pytest.importorskip('abcvoting.preferences')
  properties = pytest.importorskip('abcvoting.properties')
  random = np.random.default_rng(2)
  for _ in range(50):
    candidates, members, k = 5, 7, 3
    approves = random.random((candidates, members)) < 0.4
    slate = slates.proportional_slate(approves.astype(np.float32), k)
    profile = preferences.Profile(candidates)
    for member in range(members):
      profile.add_voter(np.flatnonzero(approves[:, member]).tolist())
    # More candidates never take representation away.
    chosen = set(slate.candidates.tolist())
    others = [c for c in range(candidates) if c not in chosen]
    committee = chosen | set(others[: k - len(chosen)])
    assert properties.check_JR(profile, committee)


def test_batches_jit_and_vmap_agree():
  utilities = np.random.default_rng(0).random((4, 5, 7), np.float32)
  whole = slates.proportional_slate(utilities, 3)
  assert whole.candidates.shape == (4, 3) and whole.places.shape == (4, 7)
  mapped = jax.jit(jax.vmap(lambda u: slates.proportional_slate(u, 3)))(
    utilities
  )
  np.testing.assert_array_equal(whole.candidates, mapped.candidates)
  np.testing.assert_array_equal(whole.places, mapped.places)
  own = np.take_along_axis(np.asarray(whole.candidates), whole.places, 1)
  assert slates.satisfies_bjr(utilities, own, 3).tolist() == [True] * 4


@pytest.mark.parametrize('k', [0, 3, -1])
def test_bad_sizes_are_refused(k):
  with pytest.raises(ValueError, match=r'k must be from 1 to 2 .* got'):
    slates.proportional_slate(np.ones((2, 5), np.float32), k)
