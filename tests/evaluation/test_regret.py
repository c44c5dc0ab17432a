"""Groups of real people, and what systems choose for them."""

import dataclasses

import numpy as np
import pytest
import tiny_judged
from tiny_cases import conversation

from consensus_jax.evaluation import groups as groups_
from consensus_jax.evaluation import regret, report
from consensus_jax.evaluation.groups import Group
from consensus_jax.social_choice.aggregate import aggregate
from consensus_jax.social_choice.utilities import UtilityMap

INF = float('inf')


def group(utilities, name='c', people=None):
  utilities = np.array(utilities, float)
  count, size = utilities.shape
  people = people or [f'{name}{i}' for i in range(size)]
  return Group(
    conversation=name,
    group=name,
    question='Q?',
    participants=tuple(people),
    opinions=('o',) * size,
    statements=tuple(f'text {i}' for i in range(count)),
    statement_ids=tuple(f's{i}' for i in range(count)),
    utilities=utilities,
  )


def test_members_of_a_group_judged_all_candidates():
  record = conversation()
  found, missing = groups_.draw_groups(
    [record], per_conversation=25, size=4, fewest=5, most=7, seed=3
  )
  assert len(found) == 25 and not missing
  members = {member.participant: member for member in record.members}
  texts = {each.id: each for each in record.statements}
  for each in found:
    assert len({*each.participants}) == 4
    assert 5 <= len(each.statements) <= 7
    for row, (id, text) in enumerate(zip(each.statement_ids, each.statements)):
      assert texts[id].text == text
      assert not any(text in opinion for opinion in each.opinions)
      for column, name in enumerate(each.participants):
        assert texts[id].author != name
        vote = members[name].votes[int(id[1:])]
        assert each.utilities[row, column] == (vote + 1) / 2
        assert each.opinions[column] == members[name].opinion
  assert len({each.participants for each in found}) == 25


def test_groups_are_seeded_and_of_the_people_allowed():
  record = conversation()
  few = {('town', f'p{i}') for i in range(9)} | {('other', 'p20')}
  arguments = {'per_conversation': 10, 'size': 3, 'fewest': 4}
  found, _ = groups_.draw_groups([record], people=few, **arguments)
  names = {name for each in found for name in each.participants}
  assert names <= {f'p{i}' for i in range(9)}
  again, _ = groups_.draw_groups([record], people=few, **arguments)
  assert [g.participants for g in again] == [g.participants for g in found]
  other, _ = groups_.draw_groups([record], people=few, seed=1, **arguments)
  assert [g.participants for g in other] != [g.participants for g in found]


def test_what_is_missing_is_told():
  record = tiny_judged.record(0, members=3)
  found, missing = groups_.draw_groups([record], per_conversation=7)
  assert found == () and missing[0].count == 7
  assert missing[0].examples == (record.id,)


def test_rewards_go_the_way_through_cases_and_back():
  found, _ = groups_.draw_groups(
    [conversation(), conversation(1, name='city')], per_conversation=12
  )
  cases = groups_.cases_of(found)
  people = [(case.conversation, case.participant) for case in cases]
  assert len({*people}) == len(people)

  def reward(town, person, text):
    return float(len(town) * 1000 + int(person[1:]) + int(text[15:-1]) / 100)

  rewards = [
    np.array(
      [reward(c.conversation, c.participant, text) for text in c.statements]
    )
    for c in cases
  ]
  back = groups_.rewards_by_group(found, cases, rewards)
  for each, values in zip(found, back, strict=True):
    for row, text in enumerate(each.statements):
      for column, name in enumerate(each.participants):
        expected = reward(each.conversation, name, text)
        assert values[row, column] == expected
  # What people are asked is no more than what groups need.
  needed = {
    (g.conversation, p, s)
    for g in found
    for p in g.participants
    for s in g.statement_ids
  }
  assert sum(len(case.statements) for case in cases) == len(needed)


def test_regret_by_hand():
  # Utilitarian welfare 1, 1/2, 0; Rawlsian 1, 0, 0.
  one = group([[1, 1], [1, 0], [0, 0]], 'a')
  # 3/4, 1/2, 1/2, 1/4 and 1/2, 1/2, 0, 0.
  two = group([[1, 0.5], [0.5, 0.5], [1, 0], [0.5, 0]], 'b')
  # Nothing at stake.
  three = group([[1, 0], [0, 1]], 'c')
  systems = {
    'right': [each.utilities for each in (one, two, three)],
    'wrong': [-each.utilities for each in (one, two, three)],
    'equal': [0 * each.utilities for each in (one, two, three)],
    'second': [
      np.array([[0, 0], [2, 2], [1, 1.0]]),
      np.array([[0, 0], [2, 2], [1, 1.0], [0, 0]]),
      np.zeros((2, 2)),
    ],
  }
  found = regret.measure(
    [one, two, three], systems, differences=[('right', 'second')]
  )
  assert found.groups == {'utilitarian': 2, 'rawlsian': 2}
  assert found.gaps == pytest.approx(
    {'utilitarian': (0.5 + 0.25) / 2, 'rawlsian': (2 / 3 + 0.25) / 2}
  )
  assert (found.all_groups, found.people) == (3, 6)
  rows = {(row.system, row.welfare): row for row in found.rows}
  means = {
    ('right', 'utilitarian'): 1,
    ('right', 'rawlsian'): 1,
    ('equal', 'utilitarian'): 0,
    ('equal', 'rawlsian'): 0,
    ('wrong', 'utilitarian'): -1,
    # Of a 0 of 1, 0, 0; of b one of two, which are worth 1/2 and 0.
    ('wrong', 'rawlsian'): (-1 / 2 + 0) / 2,
    # Of a 1/2 where the mean is 1/2; of b likewise.
    ('second', 'utilitarian'): 0,
    ('second', 'rawlsian'): (-1 / 2 + 1) / 2,
  }
  for key, mean in means.items():
    assert rows[key].mean_share.value == pytest.approx(mean, abs=1e-6), key
  second = rows['second', 'rawlsian']
  assert second.share.value == pytest.approx((-1 / 3 + 1 / 4) / (2 / 3 + 1 / 4))
  assert second.conversations == pytest.approx({'a': -0.5, 'b': 1})
  # Groups of different people: the usual standard error of a mean.
  reach = 1.959964 * np.std([-0.5, 1], ddof=1) / np.sqrt(2)
  assert second.mean_share.low == pytest.approx(0.25 - reach, rel=1e-5)
  apart = {row.welfare: row for row in found.differences}
  assert apart['rawlsian'].system == 'right minus second'
  assert apart['rawlsian'].mean_share.value == pytest.approx(0.75)
  text = report.markdown(report.document({'Groups': found}, about={}))
  assert '| right | rawlsian | 1.000 [1.000, 1.000] |' in text
  assert '| right minus second | rawlsian | +0.750 [' in text


@pytest.mark.parametrize('alpha', [0.0, INF])
@pytest.mark.parametrize('name', ['shift', 'sigmoid'])
def test_choices_are_those_of_aggregate(alpha, name):
  rng = np.random.default_rng(0)
  utility = UtilityMap(name)
  rewards = [rng.integers(-2, 3, (6, 4)).astype(float) for _ in range(6)]
  for values, chosen in zip(
    rewards, regret.choices(rewards, alpha, utility), strict=True
  ):
    found = aggregate(values, alpha=alpha, utility=utility)
    assert found.tied == tuple(chosen.tolist())


def test_standard_errors_of_groups_that_share_members():
  rng = np.random.default_rng(0)
  people, size, count, runs = 80, 5, 100, 2000
  picks = [rng.choice(people, size, replace=False) for _ in range(count)]
  sharing = regret._sharing(
    [
      group(np.zeros((1, size)), people=[f'p{i}' for i in pick])
      for pick in picks
    ]
  )
  assert sharing.diagonal().all() and (sharing == sharing.T).all()
  for i, j in ((0, 1), (3, 17), (20, 99)):
    assert sharing[i, j] == bool({*picks[i]} & {*picks[j]})
  means, robust, naive = [], [], []
  for _ in range(runs):
    # Additive in people, and some chance of its own.
    effects = rng.normal(size=people)
    values = np.array([effects[pick].sum() for pick in picks])
    values += rng.normal(size=count)
    means.append(values.mean())
    off = values - values.mean()
    robust.append(regret.standard_error(off, sharing) ** 2)
    naive.append(off @ off / count**2)
  truth = np.var(means)
  # Unbiased, but for the draws in which independence would say more.
  assert 0.9 < np.mean(robust) / truth < 1.2
  assert np.mean(naive) / truth < 0.3


def test_of_groups_of_different_people_it_is_the_usual_one():
  values = np.array([1.0, 2.0, 4.0])
  found = regret.standard_error(values - values.mean(), np.eye(3, dtype=bool))
  assert found == pytest.approx(values.std(ddof=1) / np.sqrt(3))
  assert np.isnan(regret.standard_error(values, np.ones((3, 3), bool)))


def test_nothing_to_choose_for_is_refused():
  with pytest.raises(ValueError, match='no groups'):
    regret.measure([], {})
  bad = group([[1, 0], [0, 0]])
  with pytest.raises(ValueError, match='finite'):
    regret.measure([bad], {'x': [np.full((2, 2), np.nan)]})
  flat = dataclasses.replace(bad, utilities=np.ones((2, 2)))
  found = regret.measure([flat], {'x': [np.zeros((2, 2))]})
  assert found.groups == {'utilitarian': 0, 'rawlsian': 0}
  assert np.isnan(found.rows[0].mean_share.value)
  text = report.markdown(report.document({'Groups': found}, about={}))
  assert (
    'none has a rawlsian gap' in text and '| x | rawlsian | – | – |' in text
  )
