"""Who comes into which group, when, and in which condition."""

import collections

import pytest
import sqlalchemy as sa
import study_people as people

from consensus_jax.study import database, entry, lobby, tables

STUDY = people.protocol_of(
  group_size=3,
  min_group_size=2,
  lobby={'smaller_after': 100, 'give_up_after': 200, 'away_after': 50},
)


@pytest.fixture
def engine(tmp_path):
  return people.opened(tmp_path, STUDY)


def wait(engine, count, now=0.0, study=STUDY):
  names = [people.join(engine, study, now) for _ in range(count)]
  for name in names:
    people.submit(engine, study, name, 'consent', {'consent': True}, now)
  return names


def see(engine, names, now):
  for name in names:
    entry.note_seen(engine, name, now=now)


def groups(engine):
  with database.reading(engine) as connection:
    found = collections.defaultdict(set)
    for row in connection.execute(sa.select(tables.memberships)):
      found[row.group_id].add(row.participant_id)
  return list(found.values())


def test_those_go_first_who_have_waited_longest(engine):
  early, late = wait(engine, 2, 0.0), wait(engine, 2, 5.0)
  people.tick(engine, STUDY, 6.0)
  (group,) = groups(engine)
  assert len(group) == 3
  assert group > set(early)
  (left,) = set(late) - group
  step = people.current(engine, STUDY, left, 6.0)
  assert step.kind == 'lobby'
  assert step.content == {'waiting': 1, 'needed': 3, 'since': 5.0}


def test_a_smaller_group_forms_in_the_end(engine):
  names = wait(engine, 2)
  see(engine, names, 99.0)
  people.tick(engine, STUDY, 99.0)
  assert groups(engine) == []
  people.tick(engine, STUDY, 100.0)
  assert groups(engine) == [set(names)]


def test_who_is_away_is_passed_over_and_may_come_back(engine):
  away, *there = wait(engine, 3)
  see(engine, there, 60.0)
  people.tick(engine, STUDY, 60.0)
  assert groups(engine) == []
  entry.note_seen(engine, away, now=70.0)
  people.tick(engine, STUDY, 70.0)
  assert groups(engine) == [{away, *there}]


@pytest.mark.parametrize('seen', [True, False])
def test_nobody_waits_for_ever(engine, seen):
  (name,) = wait(engine, 1)
  if seen:
    see(engine, [name], 199.0)
  people.tick(engine, STUDY, 199.0)
  assert people.current(engine, STUDY, name).kind == 'lobby'
  people.tick(engine, STUDY, 200.0)
  assert people.current(engine, STUDY, name).kind == 'timed_out'


def test_conditions_are_drawn_by_weight_and_seed():
  arms = [{'name': 'a', 'weight': 3}, {'name': 'b'}]

  def drawn(seed):
    study = people.protocol_of(conditions=arms, seed=seed)
    return [lobby.condition_of(study, i).name for i in range(1, 401)]

  assert 260 <= drawn(0).count('a') <= 340  # expected: 300
  assert drawn(0) == drawn(0) != drawn(1)


def test_so_many_are_silently_excluded(tmp_path):
  study = people.protocol_of(conditions=[{'name': 'a', 'exclude': 1}])
  engine = people.opened(tmp_path, study)
  wait(engine, 6, study=study)
  people.tick(engine, study)
  with database.reading(engine) as connection:
    rows = connection.execute(sa.select(tables.memberships)).all()
  assert [sum(r.excluded for r in rows if r.group_id == g) for g in (1, 2)] == [
    1,
    1,
  ]
