"""From rewards to a choice: what is ranked, refused, tied and recorded."""

import json
import math

import numpy as np
import pytest

from consensus_jax.social_choice import aggregate as lib
from consensus_jax.social_choice import utilities, welfare

INF = float('inf')
TALK = [[-10, 9, 10], [0, 3, 5]]


def test_the_talks_example():
  result = lib.aggregate(TALK)
  assert result.winner == 0
  assert result.ranks == (1, 2)
  assert result.scores == pytest.approx((14, 13.666667))
  assert result.parameters == {'alpha': 0.0, 'name': 'utilitarian'}
  assert dict(result.sensitivity) == {
    0: 0, 0.5: 1, 1: 1, 2: 1, 5: 1, 10: 1, INF: 1,
  }  # fmt: skip
  (change,) = result.changes
  assert (change.before, change.after) == (0, 1)
  assert 0 < change.alpha < 0.1
  np.testing.assert_array_equal(result.utilities, [[1, 20, 21], [11, 14, 16]])
  assert lib.aggregate(TALK, alpha=INF).winner == 1
  sigmoid = lib.aggregate(TALK, utility=utilities.UtilityMap('sigmoid'))
  assert sigmoid.winner == 1 and sigmoid.changes == ()


def test_a_bad_reward_refuses_its_candidate_only():
  nan = math.nan
  result = lib.aggregate(
    [[9, 9, nan], [1, 2, 3], [None, 1, 1], [2, 3, 4], [1, -INF, 1]]
  )
  assert result.refused == (
    'NaN reward for member 3',
    None,
    'NaN reward for member 1',
    None,
    'infinite reward for member 2',
  )
  assert result.ranks == (None, 2, None, 1, None)
  assert result.winner == 3 and result.tied == (3,)
  assert result.scores[0] is None
  assert {winner for _, winner in result.sensitivity} == {3}
  assert np.isnan(result.utilities[0]).all()
  assert np.isfinite(result.utilities[3]).all()


def test_nothing_left_to_rank():
  result = lib.aggregate([[math.nan, 1]])
  assert result.winner is None
  assert result.ranks == (None,) and result.sensitivity == ()


def test_ties_stay_ties():
  # The same three people in another order; the sums differ in float32.
  rewards = [[0.1, 0.7, 0.3], [-3, 0, 0], [0.3, 0.1, 0.7], [-5, 0, 0]]
  for alpha in (0.0, 0.5, 1.0, 3.0, INF):
    result = lib.aggregate(rewards, alpha=alpha)
    assert result.tied == (0, 2), alpha
    assert result.ranks == (1, 3, 1, 4)
  winners = {lib.aggregate(rewards, seed=seed).winner for seed in range(20)}
  assert winners == {0, 2}
  assert lib.aggregate(rewards, tie_break='first').winner == 0


def test_the_winner_agrees_with_its_own_alpha():
  rewards = np.random.default_rng(0).integers(-2, 3, (6, 3))
  for alpha in welfare.ALPHAS:
    for seed in range(5):
      result = lib.aggregate(rewards, alpha=alpha, seed=seed)
      assert dict(result.sensitivity)[alpha] == result.winner


def test_weights_count_members():
  weighted = lib.aggregate(TALK, weights=[2, 0, 1], alpha=0.5)
  repeated = lib.aggregate([[-10, -10, 10], [0, 0, 5]], alpha=0.5)
  assert weighted.scores == pytest.approx(repeated.scores, rel=1e-6)
  assert weighted.weights == (2, 0, 1)


def test_the_record_is_complete():
  result = lib.aggregate(TALK, alpha=1, seed=7, tie_break='random')
  record = json.loads(json.dumps(result.to_json()))
  assert record.pop('changes')[0]['after'] == 1
  assert record == {
    'rule': 'isoelastic',
    'alpha': 1.0,
    'name': 'nash',
    'utility': {'map': 'shift', 'low': -10, 'high': 10, 'constant': 11},
    'weights': [1, 1, 1],
    'tied': [1],
    'tie_break': 'random',
    'seed': 7,
  }


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'rewards': [[]]}, 'rewards has an empty axis, members'),
    ({'rewards': []}, 'rewards must have the axes'),
    ({'rewards': [[[1.0]]]}, r'rewards must be \[candidates, members\]'),
    ({'rule': 'dictator'}, "rule must be .* got 'dictator'"),
    ({'alpha': -1.0}, 'alpha must be'),
    ({'alpha': math.nan}, 'alpha must be'),
    ({'weights': [1.0, 1.0]}, 'one number a member, 3'),
    ({'weights': [1.0, -1.0, 1.0]}, r'weights\[1\]'),
    ({'weights': [0.0, 0.0, 0.0]}, 'must not all be zero'),
    ({'tie_break': 'coin'}, 'tie_break must be'),
    ({'seed': -1}, 'seed must not be negative'),
    ({'alphas': (0.0, -2.0)}, r'alphas\[1\] must be'),
  ],
)
def test_bad_arguments_are_refused(arguments, message):
  rewards = arguments.pop('rewards', TALK)
  with pytest.raises(ValueError, match=message):
    lib.aggregate(rewards, **arguments)
