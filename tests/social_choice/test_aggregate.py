"""From rewards to a choice: what is ranked, refused, tied and recorded."""

import json
import math
import typing

import jax
import numpy as np
import pytest

from consensus_jax.social_choice import aggregate as lib
from consensus_jax.social_choice import (
  ballots,
  lottery,
  ordered,
  pairwise,
  ranked_pairs,
  rules,
  schulze,
  utilities,
  welfare,
)

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


RULES = typing.get_args(rules.Rule)
ORDINAL = {
  'schulze': schulze.schulze,
  'split_cycle': schulze.split_cycle,
  'minimax': pairwise.minimax,
  'copeland': pairwise.copeland,
  'borda': pairwise.borda,
  'instant_runoff': ballots.instant_runoff,
}


def some_rewards(seed, candidates=5, members=7):
  random = np.random.default_rng(seed)
  return random.integers(-3, 4, (candidates, members)).astype(np.float32)


def competition(dense):
  dense = np.asarray(dense)
  return tuple(1 + (dense[None] < dense[:, None]).sum(1))


@pytest.mark.parametrize('seed', range(4))
def test_every_rule_ranks_as_its_function(seed):
  rewards = some_rewards(seed)
  ranks = np.stack(
    [np.unique(-row, return_inverse=True)[1] for row in rewards.T], axis=1
  )
  weights = np.array([2, 1, 1, 0, 1, 3, 1])
  mapped = utilities.UtilityMap()(rewards)

  def ranked(rule):
    return lib.aggregate(rewards, rule=rule, weights=weights).ranks

  for rule, function in ORDINAL.items():
    assert ranked(rule) == competition(function(ranks, weights=weights)), rule
  leximin = ordered.leximin(mapped, weights=weights)
  assert ranked('leximin') == competition(leximin)
  judgment = ordered.majority_judgment(rewards, weights=weights)
  assert ranked('majority_judgment') == competition(judgment)
  approval = ballots.approval(rewards > 0, weights=weights)
  assert ranked('approval') == competition(approval)
  result = lib.aggregate(rewards, rule='gini', delta=3, weights=weights)
  gini = ordered.generalised_gini(mapped, 3, weights=weights)
  assert result.scores == pytest.approx(gini.tolist())
  result = lib.aggregate(rewards, rule='maximal_lottery', weights=weights)
  chances = lottery.maximal_lottery(ranks, weights=weights)
  assert result.scores == pytest.approx(chances.tolist())
  assert result.tied == tuple(np.flatnonzero(chances))


@pytest.mark.parametrize('rule', RULES)
def test_what_every_rule_records(rule):
  nan = math.nan
  rewards = np.insert(some_rewards(5), 2, [nan] * 7, axis=0)
  for seed in range(3):
    result = lib.aggregate(rewards, rule=rule, seed=seed)
    again = lib.aggregate(rewards, rule=rule, seed=seed)
    assert result.winner == again.winner and result.ranks == again.ranks
    assert result.winner in result.tied
    assert result.ranks[2] is None and result.scores[2] is None
    assert result.tied == tuple(
      i for i, rank in enumerate(result.ranks) if rank == 1
    )
    assert result.rule == rule and 'alpha' in result.parameters
    json.dumps(result.to_json())
    assert [w is None for w in result.welfare] == [i == 2 for i in range(6)]


@pytest.mark.parametrize('rule', RULES)
def test_chunks_and_meshes_change_nothing(rule):
  rewards = some_rewards(11, members=21)
  weights = np.arange(21) % 4
  whole = lib.aggregate(rewards, rule=rule, alpha=2, weights=weights)
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  for options in ({'chunk': 4}, {'chunk': 21}, {'chunk': 16, 'mesh': mesh}):
    other = lib.aggregate(
      rewards, rule=rule, alpha=2, weights=weights, **options
    )
    assert other.ranks == whole.ranks
    assert other.winner == whole.winner
    assert other.sensitivity == whole.sensitivity
    assert other.welfare == pytest.approx(whole.welfare, rel=2e-6)
    assert other.utilities is None and other.changes is None


def test_large_groups_are_read_in_chunks(tmp_path):
  path = tmp_path / 'rewards.npy'
  on_disk = np.lib.format.open_memmap(path, 'w+', np.float16, (6, 20_000))
  on_disk[:] = np.random.default_rng(0).normal(size=(6, 20_000))
  on_disk.flush()
  read = np.load(path, mmap_mode='r')
  for rule in ('isoelastic', 'schulze', 'leximin'):
    whole = lib.aggregate(np.array(read, np.float32), rule=rule, alpha=1)
    parts = lib.aggregate(read, rule=rule, alpha=1, chunk=1500)
    assert parts.ranks == whole.ranks
  spoilt = np.array(read, np.float32)
  spoilt[3, 15_000] = math.nan
  assert lib.aggregate(spoilt, chunk=1500).refused[3] == (
    'NaN reward for member 15001'
  )


def test_decimal_weights_are_counted_exactly():
  # 0.1 + 0.2 members want the first, 0.3 the second: a tie.
  rewards = [[1, 1, 0], [0, 0, 1]]
  for rule in ('schulze', 'copeland', 'borda', 'approval', 'instant_runoff'):
    result = lib.aggregate(rewards, rule=rule, weights=[0.1, 0.2, 0.3])
    assert result.tied == (0, 1), rule


@pytest.mark.parametrize('scale', [1e-60, 1e60, 1 / 3])
def test_only_the_ratio_of_weights_counts(scale):
  rewards, weights = some_rewards(3), np.array([2, 1, 1, 0, 1, 3, 1])
  for rule in ('isoelastic', 'schulze', 'gini', 'majority_judgment'):
    want = lib.aggregate(rewards, rule=rule, weights=weights)
    got = lib.aggregate(rewards, rule=rule, weights=weights * scale)
    assert got.ranks == want.ranks, rule
    assert got.welfare == pytest.approx(want.welfare, rel=1e-6)


def test_ranked_pairs_reports_all_possible_winners():
  cycle = [[2, 1, 0], [1, 0, 2], [0, 2, 1]]
  result = lib.aggregate(cycle, rule='ranked_pairs')
  assert result.tied == (0, 1, 2)
  decided = lib.aggregate(cycle, rule='ranked_pairs', weights=[4, 3, 2])
  place = ranked_pairs.ranked_pairs(
    np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]), weights=np.array([4, 3, 2])
  )
  assert decided.ranks == competition(place)


def test_the_lottery_draws_by_its_chances():
  cycle = [[2, 1, 0], [1, 0, 2], [0, 2, 1], [-1, -1, -1]]
  results = [
    lib.aggregate(cycle, rule='maximal_lottery', seed=seed)
    for seed in range(60)
  ]
  wins = [result.winner for result in results]
  assert {0, 1, 2} == set(wins) and min(map(wins.count, range(3))) > 8
  assert results[0].ranks == (1, 1, 1, 4)
  assert results[0].tie_break == 'lottery'


def test_rules_differ():
  # Three like the first best and two hate it; all can live with the second.
  rewards = [[3, 3, 3, -3, -3], [2, 2, 2, 2, 2], [-2, -2, -2, 1, 3]]
  for rule, winner in (
    ('schulze', 0),
    ('majority_judgment', 0),
    ('approval', 1),
    ('leximin', 1),
    ('gini', 1),
  ):
    assert lib.aggregate(rewards, rule=rule).winner == winner, rule


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'rule': 'gini', 'delta': 0.5}, 'delta must be'),
    ({'rule': 'gini', 'delta': math.nan}, 'delta must be'),
    ({'rule': 'schulze', 'strength': 'votes'}, 'strength must be'),
    ({'rule': 'approval', 'threshold': math.nan}, 'threshold must be finite'),
    ({'chunk': 0}, 'chunk must be 1 or more'),
  ],
)
def test_bad_parameters_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    lib.aggregate(np.float32(TALK), **arguments)
