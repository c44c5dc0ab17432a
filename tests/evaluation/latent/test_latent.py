"""Simulated people: seeded, anonymous, and as their numbers say."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.evaluation import group_metrics
from consensus_jax.evaluation import ratings as tables
from consensus_jax.evaluation.latent import (
  groups,
  questions,
  ratings,
  statements,
  truth,
)
from consensus_jax.evaluation.latent.groups import Participant, Population
from consensus_jax.evaluation.latent.ratings import LatentStatement, Raters
from consensus_jax.social_choice import utilities
from consensus_jax.strict_json import InputError

QUESTIONS = questions.read()


def person(name='p', positions=(2, 0, -1), importance=(0.5, 0.25, 0.25)):
  return Participant(
    name=name,
    positions=positions,
    importance=importance,
    leniency=0.0,
    opinion='o',
  )


def said(positions, quality=0, text='t', author='a'):
  return LatentStatement(
    text=text, positions=positions, quality=quality, author=author
  )


def test_rewards_by_hand():
  people = [person(), dataclasses.replace(person('q'), leniency=1.5)]
  found = ratings.rewards(
    people,
    [
      said((2, 0, -1)),
      said((-2, 0, -1), 1),
      said((None, 1, None)),
      said((None, None, None), -1),
    ],
  )
  # 5, less 10 x importance x distance, plus quality.
  expected = np.array(
    [5, 5 - 10 * 0.5 + 1, 5 - 10 * (0.25 + 0.25 / 4 + 0.125), 5 - 5 - 1]
  )
  np.testing.assert_allclose(found, expected[:, None] + [[0, 1.5]])


def test_expected_agreement_is_that_of_the_ordinal_model():
  group = groups.draw_groups(QUESTIONS, num_groups=1, seed=0)[0]
  found = statements.candidates(group, num=16, seed=0)
  rewards = ratings.rewards(group.participants, found)
  np.testing.assert_allclose(
    truth.agreement(group.participants, found),
    utilities.expected_likert(rewards),
    rtol=1e-5,
  )
  chances = truth.probabilities(group.participants, found)
  np.testing.assert_allclose(chances.sum(-1), 1)
  certain = truth.probabilities(group.participants, found, Raters(noise=0.0))
  assert {*np.unique(certain)} == {0, 1}
  drawn = ratings.rate(
    group.participants, found, seed=1, raters=Raters(noise=0.0)
  )
  np.testing.assert_array_equal(drawn.agreement, certain.argmax(-1) + 1)


LEVELS = st.integers(-2, 2)
POSITIONS = st.tuples(LEVELS, LEVELS, LEVELS)


@given(POSITIONS, POSITIONS, st.integers(0, 2), st.integers(0, 99))
def test_nobody_likes_what_is_farther_away(own, told, issue, seed):
  farther = list(told)
  farther[issue] += 1 if told[issue] >= own[issue] else -1
  if abs(farther[issue]) > 2:
    return
  people = [person(positions=own)]
  pair = [said(told), said(tuple(farther))]
  near, far = ratings.rewards(people, pair)[:, 0]
  assert near > far
  near, far = truth.agreement(people, pair)[:, 0]
  assert near > far
  near, far = ratings.rate(people, pair, seed=seed).agreement[:, 0]
  assert near >= far


@given(st.permutations(range(4)), st.permutations(range(6)), st.integers(0, 9))
def test_who_else_is_there_changes_nothing(order, texts, seed):
  group = groups.draw_groups(
    QUESTIONS, num_groups=1, seed=seed, population=Population(sizes=(4,))
  )[0]
  found = statements.candidates(group, num=6, seed=seed)
  people = [group.participants[i] for i in order]
  shuffled = [found[i] for i in texts]
  whole = ratings.rate(group.participants, found, seed=3)
  other = ratings.rate(people, shuffled, seed=3)
  one = ratings.rate(people[:1], shuffled[:1], seed=3)
  for one_, other_, whole_ in zip(one, other, whole, strict=True):
    np.testing.assert_array_equal(other_, whole_[np.ix_(texts, order)])
    assert one_[0, 0] == whole_[texts[0], order[0]]
  names = {p.name: f'x{i}' for i, p in enumerate(group.participants)}
  renamed = [dataclasses.replace(p, name=names[p.name]) for p in people]
  np.testing.assert_array_equal(
    truth.agreement(renamed, shuffled), truth.agreement(people, shuffled)
  )


def test_equal_seeds_draw_equal_groups():
  one, same, other = (
    groups.draw_groups(QUESTIONS, num_groups=9, seed=seed) for seed in (3, 3, 4)
  )
  assert one == same != other
  longer = groups.draw_groups(QUESTIONS, num_groups=12, seed=3)
  assert longer[:9] == one
  assert [g.question for g in one] == [*QUESTIONS, QUESTIONS[0]]


def test_half_of_the_groups_have_a_dissenter():
  drawn = groups.draw_groups(QUESTIONS, num_groups=400, seed=0)
  assert np.mean([g.divided for g in drawn]) == pytest.approx(0.5, abs=0.08)
  assert {len(g.participants) for g in drawn} == {4, 5}
  for group in drawn:
    main = [p.positions[0] for p in group.participants]
    minority = min(sum(x > 0 for x in main), sum(x < 0 for x in main))
    assert minority < len(main) / 2 and 0 not in main
    assert sum(group.participants[0].importance) == pytest.approx(1)
    record = ratings.judge(
      group, [said((0,) * len(group.question.issues))], seed=5
    )
    before = np.array([m.position_before for m in record.members], float)
    assert group_metrics.divisive(before[None])[0] == group.divided
  for share in (0.0, 1.0):
    drawn = groups.draw_groups(
      QUESTIONS, num_groups=20, seed=0, population=Population(dissent=share)
    )
    assert {g.divided for g in drawn} == {bool(share)}


def test_the_silent_rate_but_are_not_heard():
  group = groups.draw_groups(QUESTIONS, num_groups=1, seed=0)[0]
  silent = groups.silencing(group, count=2, seed=0)
  assert silent == groups.silencing(group, count=2, seed=0)
  assert len(silent.silent) == 2
  heard = {each.participant for each in silent.deliberation().opinions}
  assert heard == {p.name for p in group.participants} - {*silent.silent}
  assert silent.deliberation().question == group.question.question.text
  # What is written for those who are heard depends on nobody else.
  others = tuple(
    p
    if p.name in heard
    else dataclasses.replace(p, positions=tuple(-x for x in p.positions))
    for p in group.participants
  )
  found = statements.candidates(silent, num=12, seed=0)
  changed = dataclasses.replace(silent, participants=others)
  assert statements.candidates(changed, num=12, seed=0) == found
  whole = ratings.judge(group, found, seed=0)
  assert ratings.judge(silent, found, seed=0) == whole
  table, _ = tables.from_records(
    [whole], excluded=ratings.unheard(silent, whole)
  )
  rows = dict(zip(table.raters, table.excluded, strict=True))
  assert {name for name, out in rows.items() if out} == {*silent.silent}


def test_records_hold_what_was_said():
  group = groups.draw_groups(QUESTIONS, num_groups=1, seed=2)[0]
  found = statements.candidates(group, num=8, seed=0)
  record = ratings.judge(group, found, seed=0, consensus=0)
  drawn = ratings.rate(group.participants, found, seed=0)
  assert record.question == group.question.question
  for column, member in enumerate(record.members):
    assert member.opinion == group.participants[column].opinion
    assert member.agreement == tuple(drawn.agreement[:, column])
    assert member.quality == tuple(drawn.quality[:, column])
    assert None not in (member.position_before, member.position_after)
  assert [s.author for s in record.statements] == [s.author for s in found]
  without = ratings.judge(group, found, seed=0)
  assert {m.position_after for m in without.members} == {None}


def test_statements_for_a_group_by_hand():
  group = groups.LatentGroup(
    id='g',
    question=QUESTIONS[0],
    participants=(
      person('a', (2, 1, -1)),
      person('b', (1, 1, -2)),
      person('c', (-1, 2, -2)),
    ),
  )
  expected = {
    'compromise': (0, 1, -1),
    'majority': (2, 2, -2),
    'minority': (-2, -2, 2),
    'vague': (None, None, 0),
    'off_topic': (None, None, None),
  }
  for kind, positions in expected.items():
    found = statements.written(group, kind, seed=1)
    assert found.positions == positions and found.author == kind
    again = statements.read(group.question, found.text, author=kind)
    assert again == found
  twelve = statements.candidates(group, num=12, seed=1)
  assert len(twelve) == 12
  assert twelve[:5] == statements.candidates(group, num=5, seed=1)
  assert twelve[5].positions == (2, 2, -2)
  with pytest.raises(InputError, match='must be one of compromise'):
    statements.written(group, 'best', seed=0)


def test_opinions_are_statements_of_their_authors_position():
  group = groups.draw_groups(QUESTIONS, num_groups=2, seed=0)[1]
  for each, who in zip(statements.opinions(group), group.participants):
    assert each.positions == who.positions and each.author == who.name


def test_bad_input_is_refused():
  group = groups.draw_groups(QUESTIONS, num_groups=1, seed=0)[0]
  names = tuple(p.name for p in group.participants)
  with pytest.raises(InputError, match='not in the group'):
    dataclasses.replace(group, silent=('x',))
  with pytest.raises(InputError, match=r'nobody of .* is heard'):
    dataclasses.replace(group, silent=names)
  with pytest.raises(InputError, match='cannot be silent'):
    groups.silencing(group, count=len(names), seed=0)
  with pytest.raises(InputError, match=r'nobody of .* is silent'):
    truth.exclusion(group, said((0, 0, 0)))
  with pytest.raises(InputError, match=r'statements\[0\]: has 1 positions'):
    ratings.rewards(group.participants, [said((0,))])
  with pytest.raises(InputError, match=r'positions\[1\]: must be from -2'):
    said((0, 3, 0))
  with pytest.raises(InputError, match='quality: must be from -1'):
    said((0,), 2)
  with pytest.raises(InputError, match='of one text'):
    truth.win_probability(group.participants, said((0,) * 3), said((1,) * 3))
  for bad in ({'sizes': (2,)}, {'dissent': 1.5}, {'leniency': -1.0}):
    with pytest.raises(ValueError, match=next(iter(bad))):
      Population(**bad)
  for bad in ({'noise': -1.0}, {'silence': 2.0}, {'slope': float('nan')}):
    with pytest.raises(ValueError, match=next(iter(bad))):
      Raters(**bad)
  with pytest.raises(ValueError, match='needs questions'):
    groups.draw_groups([], num_groups=1, seed=0)
