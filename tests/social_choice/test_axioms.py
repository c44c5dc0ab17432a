"""Axioms of voting rules, each named in its test, and known failures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import (
  ballots,
  lottery,
  ordered,
  pairwise,
  ranked_pairs,
  schulze,
)


def judgment(ranks):
  return ordered.majority_judgment(-np.asarray(ranks))


def approval(ranks):
  return ballots.approval(np.asarray(ranks) <= 1)


def lottery_support(ranks):
  return np.asarray(lottery.maximal_lottery(ranks)) <= 1e-6


RULES = {
  'schulze': schulze.schulze,
  'split_cycle': schulze.split_cycle,
  'minimax': pairwise.minimax,
  'copeland': pairwise.copeland,
  'borda': pairwise.borda,
  'instant_runoff': ballots.instant_runoff,
  'majority_judgment': judgment,
  'approval': approval,
  'ranked_pairs': ranked_pairs.ranked_pairs,
  'maximal_lottery': lottery_support,
}
# Ranked Pairs breaks ties by the order of the list, and so is left out where
# candidates change places.
NEUTRAL = [name for name in RULES if name != 'ranked_pairs']
CONDORCET = (
  *('schulze', 'split_cycle', 'minimax', 'copeland'),
  *('ranked_pairs', 'maximal_lottery'),
)
MONOTONE = (
  *('schulze', 'split_cycle', 'minimax', 'copeland', 'borda'),
  *('majority_judgment', 'approval'),
)


def profiles(candidates, members):
  return st.lists(
    st.lists(
      st.integers(0, candidates - 1), min_size=members, max_size=members
    ),
    min_size=candidates,
    max_size=candidates,
  ).map(np.array)


# Few shapes, as each is compiled anew.
some_profiles = st.sampled_from([(3, 5), (4, 4)]).flatmap(
  lambda shape: profiles(*shape)
)


def winners(rule, ranks):
  return set(np.flatnonzero(np.asarray(RULES[rule](ranks)) == 0).tolist())


@pytest.mark.parametrize('rule', RULES)
@given(some_profiles, st.randoms(use_true_random=False))
def test_anonymity(rule, ranks, random):
  order = list(range(ranks.shape[1]))
  random.shuffle(order)
  np.testing.assert_array_equal(
    RULES[rule](ranks), RULES[rule](ranks[:, order])
  )


@pytest.mark.parametrize('rule', NEUTRAL)
@given(some_profiles, st.randoms(use_true_random=False))
def test_neutrality(rule, ranks, random):
  order = list(range(len(ranks)))
  random.shuffle(order)
  there = np.asarray(RULES[rule](ranks))[order]
  np.testing.assert_array_equal(there, RULES[rule](ranks[order]))


@pytest.mark.parametrize('rule', [r for r in RULES if r != 'approval'])
@given(some_profiles)
def test_pareto(rule, ranks):
  # Preferred by all: not among the winners. (Approval cannot tell.)
  won = winners(rule, ranks)
  for x in range(len(ranks)):
    for y in won:
      assert not (ranks[x] < ranks[y]).all()


@pytest.mark.parametrize('rule', CONDORCET)
@given(some_profiles)
def test_condorcet_consistency(rule, ranks):
  support = np.asarray(pairwise.pairwise_support(ranks))
  beats = support > support.T
  for x in range(len(ranks)):
    if beats[x].sum() == len(ranks) - 1:
      assert winners(rule, ranks) == {x}


@pytest.mark.parametrize('rule', ['schulze', 'split_cycle', 'ranked_pairs'])
@given(some_profiles)
def test_a_condorcet_loser_never_wins_alone(rule, ranks):
  support = np.asarray(pairwise.pairwise_support(ranks))
  loses = (support < support.T).sum(axis=1) == len(ranks) - 1
  assert not any(loses[x] for x in winners(rule, ranks))


@pytest.mark.parametrize('rule', MONOTONE)
@given(some_profiles, st.data())
def test_monotonicity(rule, ranks, data):
  # A winner that one member likes better stays a winner.
  for winner in winners(rule, ranks):
    member = data.draw(st.integers(0, ranks.shape[1] - 1))
    raised = ranks * 2
    raised[winner, member] -= data.draw(st.integers(1, 4))
    if rule == 'approval':
      raised = ranks.copy()
      raised[winner, member] -= 1
    raised = np.maximum(raised, 0)
    assert winner in winners(rule, raised)


@pytest.mark.parametrize('rule', ['schulze', 'split_cycle'])
@given(profiles(3, 5), st.integers(0, 2), st.data())
def test_independence_of_clones(rule, ranks, cloned, data):
  # A near-copy, next to its original on every ballot, helps and harms nobody.
  # Members who rank the original alike with others do so with the copy.
  sides = data.draw(
    st.lists(st.integers(-1, 1), min_size=5, max_size=5).map(np.array)
  )
  alone = (ranks == ranks[cloned]).sum(axis=0) == 1
  copy = 3 * ranks[cloned] + np.where(alone, sides, 0)
  copied = np.concatenate([3 * ranks, copy[None]]) + 1
  before, after = winners(rule, ranks), winners(rule, copied)
  assert after - {cloned, 3} == before - {cloned}
  assert bool(after & {cloned, 3}) == (cloned in before)


@given(
  st.lists(st.permutations(range(3)), min_size=5, max_size=5),
  st.integers(0, 2),
  st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_independence_of_clones_of_instant_runoff(ballot_list, cloned, worse):
  # Weights of which no two sums are equal: ties would leave together.
  weights, ranks = 2 ** np.arange(5), np.array(ballot_list).T
  copy = 2 * ranks[cloned] + np.where(worse, 1, -1)
  copied = np.concatenate([2 * ranks, copy[None]]) + 1
  rule = ballots.instant_runoff
  before = elect(rule, ranks, weights)
  after = elect(rule, copied, weights)
  assert after == before or {before, after} == {cloned, 3}


@given(profiles(4, 5))
def test_reversal_symmetry_of_schulze_and_borda(ranks):
  # A lone winner does not win when everybody turns its ballot over.
  for rule in ('schulze', 'borda', 'copeland'):
    won = winners(rule, ranks)
    if len(won) == 1:
      assert winners(rule, ranks.max() - ranks) != won


def test_clones_decide_borda():
  # 3 : 2 for the first; with a worse copy of the second, the second wins.
  ranks = np.array([[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]])
  assert winners('borda', ranks) == {0}
  copied = np.array([[0, 0, 0, 2, 2], [1, 1, 1, 0, 0], [2, 2, 2, 1, 1]])
  assert winners('borda', copied) == {1}
  assert winners('schulze', copied) == {0}


def elect(rule, ranks, weights):
  """The lone winner, or None."""
  places = np.asarray(rule(ranks, weights=weights))
  return int(places.argmin()) if (places == 0).sum() == 1 else None


def test_instant_runoff_is_not_monotone():
  # Two members move the winner to the top of their ballots, and it loses.
  ranks = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2]]).T
  rule = ballots.instant_runoff
  assert elect(rule, ranks, np.array([6, 5, 4, 2])) == 0
  assert elect(rule, ranks, np.array([8, 5, 4, 0])) == 2


@pytest.mark.parametrize(
  'rule', [schulze.schulze, pairwise.copeland, pairwise.minimax]
)
def test_participation_fails_for_condorcet_rules(rule):
  # Moulin 1988: members who stay at home may get what they like better.
  random = np.random.default_rng(0)
  everybody = random.permuted(
    np.tile(np.arange(4)[None, :, None], (60_000, 1, 8)), axis=1
  )
  weights = random.integers(1, 6, (60_000, 8))
  at_home = weights * (np.arange(8) > 0)
  full = np.asarray(rule(everybody, weights=weights))
  part = np.asarray(rule(everybody, weights=at_home))
  lone = ((full == 0).sum(1) == 1) & ((part == 0).sum(1) == 1)
  theirs = everybody[:, :, 0]
  place = np.arange(60_000)
  better = theirs[place, part.argmin(1)] < theirs[place, full.argmin(1)]
  assert (lone & better).any()


@given(profiles(4, 5), st.permutations(range(4)))
def test_participation_holds_for_borda(ranks, ballot):
  # One more member never makes its own result worse.
  joined = np.concatenate([ranks, np.array(ballot)[:, None]], axis=1)
  before = min(ballot[x] for x in winners('borda', ranks))
  after = min(ballot[x] for x in winners('borda', joined))
  assert after <= before
