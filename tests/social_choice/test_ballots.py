"""Approval and instant runoff."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import ballots

# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 5), (4, 3), (5, 6))


def written_out(ranks):
  """Rounds by hand: sets of candidates in the order in which they leave."""
  left, rounds = set(range(len(ranks))), []
  while left:
    counts = dict.fromkeys(left, 0)
    for ballot in ranks.T:
      best = min(ballot[c] for c in left)
      for c in left:
        counts[c] += ballot[c] == best
    out = {c for c in left if counts[c] == min(counts.values())}
    rounds.append(out)
    left -= out
  place = np.zeros(len(ranks), int)
  for number, out in enumerate(reversed(rounds)):
    place[list(out)] = number
  return place


@given(
  st.sampled_from(SHAPES).flatmap(
    lambda shape: st.lists(
      st.lists(st.integers(0, 5), min_size=shape[1], max_size=shape[1]),
      min_size=shape[0],
      max_size=shape[0],
    )
  )
)
def test_rounds_written_out(profile):
  ranks = np.array(profile)
  np.testing.assert_array_equal(
    ballots.instant_runoff(ranks), written_out(ranks)
  )


def test_burlington_2009():
  # Kiss, Montroll, Wright: instant runoff passes over the Condorcet winner.
  ranks = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]]).T
  weights = np.array([2981, 1332 + 455, 767, 1513 + 1782])
  assert ballots.instant_runoff(ranks, weights=weights).tolist() == [0, 2, 1]


def test_approval_counts_members():
  approvals = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], bool)
  assert ballots.approval(approvals).tolist() == [0, 1, 0]
  weighted = ballots.approval(approvals, weights=np.array([1.0, 0.5, 3.0]))
  assert weighted.tolist() == [2, 1, 0]


def test_batches_and_weights():
  random = np.random.default_rng(0)
  ranks = random.integers(0, 4, (5, 6, 7))
  weights = random.integers(0, 3, (5, 7)) + np.eye(5, 7, dtype=int)
  got = ballots.instant_runoff(ranks, weights=weights)
  mapped = jax.jit(jax.vmap(lambda r, w: ballots.instant_runoff(r, weights=w)))(
    ranks, weights
  )
  np.testing.assert_array_equal(got, mapped)
  for one, weight, places in zip(ranks, weights, got, strict=True):
    repeated = np.repeat(one, weight, axis=1)
    np.testing.assert_array_equal(places, written_out(repeated))


def test_bad_ballots_are_refused():
  with pytest.raises(ValueError, match='ranks must be integers'):
    ballots.instant_runoff(np.ones((2, 2)))
  with pytest.raises(ValueError, match='approvals has an empty axis'):
    ballots.approval(np.ones((2, 0), bool))
