"""Influence, dissent and inequality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import aggregate
from consensus_jax.social_choice import influence as lib

REWARDS = np.float32([[-10, 9, 10], [0, 3, 5]])


def test_leaving_out_one_member_each():
  result = lib.influence(REWARDS, alpha=0)
  assert result.winner == 0
  assert result.left_out == ((0,), (1,), (2,))
  # Without either friend of the first candidate, the mild one wins.
  assert result.winners == (0, 1, 1)
  assert result.decisive == (1, 2)
  for member, changes in enumerate(result.changes):
    rest = np.delete(REWARDS, member, axis=1)
    want = aggregate.aggregate(rest).welfare
    full = aggregate.aggregate(REWARDS).welfare
    got = np.array(changes) + full
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize('rule', ['schulze', 'leximin', 'instant_runoff'])
def test_leaving_out_groups_under_any_rule(rule):
  rewards = np.random.default_rng(0).normal(size=(4, 6))
  groups = ['b', 'a', 'b', 'a', 'a', 'c']
  result = lib.influence(rewards, groups=groups, rule=rule)
  assert result.left_out == ((1, 3, 4), (0, 2), (5,))
  for absent, winner in zip(result.left_out, result.winners, strict=True):
    rest = np.delete(rewards, absent, axis=1)
    assert aggregate.aggregate(rest, rule=rule).winner == winner


def test_nobody_left_and_refused_candidates():
  alone = lib.influence([[1.0], [2.0]])
  assert alone.winners == (None,) and alone.changes == ((None, None),)
  result = lib.influence([[1.0, 2.0], [np.nan, 2.0]])
  assert result.winners == (0, 0)
  assert [row[1] for row in result.changes] == [None, None]
  with pytest.raises(ValueError, match='groups must hold one label a member'):
    lib.influence(REWARDS, groups=[1, 2])


def test_dissent_is_below_the_threshold():
  assert lib.dissent(REWARDS).tolist() == [[True, False, False], [False] * 3]
  assert lib.dissent(REWARDS, 4).tolist() == [
    [True, False, False],
    [True, True, False],
  ]


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=6))
def test_gini_written_out(values):
  values = np.float32(values)
  differences = np.abs(values[:, None] - values[None, :]).mean()
  want = differences / 2 / values.mean() if values.mean() > 0 else 0
  assert float(lib.gini(values)) == pytest.approx(want, abs=1e-5)
  assert float(lib.min_max_gap(values)) == values.max() - values.min()


def test_gini_of_one_who_has_all():
  assert float(lib.gini(np.float32([0, 0, 0, 8]))) == pytest.approx(0.75)
  weighted = lib.gini(np.float32([0, 8]), weights=np.array([3.0, 1.0]))
  assert float(weighted) == pytest.approx(0.75)
  with pytest.raises(ValueError, match=r'utilities\[0\]'):
    lib.gini(np.float32([-1, 2]))
  with pytest.raises(ValueError, match=r'utilities\[1\]'):
    lib.min_max_gap(np.float32([1, np.nan]))
