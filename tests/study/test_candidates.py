"""The queue of candidates: one worker a job, none made twice, nobody hangs."""

import pytest
import sqlalchemy as sa
import study_people as people
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.study import candidates, database, tables
from consensus_jax.study.candidates import Statement, deal

STUDY = people.protocol_of(critique_round=True, group_size=2)
LEASE = 60.0


@pytest.fixture
def engine(tmp_path):
  return people.opened(tmp_path, STUDY)


@pytest.fixture
def names(engine):
  """Two people whose opinions are written."""
  names = [people.join(engine, STUDY) for _ in range(2)]
  people.go_to(engine, STUDY, names, 'wait')
  return names


def claim(engine, worker='w', now=0.0):
  with database.writing(engine) as connection:
    return candidates.claim(
      connection, STUDY, worker, now=now, lease_seconds=LEASE
    )


def finish(engine, job, made=None, now=0.0):
  made = people.statements_of(job.request) if made is None else made
  with database.writing(engine) as connection:
    return candidates.finish(connection, STUDY, job, made, now=now)


def fail(engine, job):
  with database.writing(engine) as connection:
    candidates.fail(connection, STUDY, job, 'no luck', now=0.0)


def beat(engine, job, progress, now):
  with database.writing(engine) as connection:
    return candidates.beat(
      connection, job, progress, now=now, lease_seconds=LEASE
    )


def statements(engine):
  with database.reading(engine) as connection:
    query = sa.select(tables.statements).order_by(tables.statements.c.id)
    return connection.execute(query).all()


def test_a_job_is_claimed_once(engine, names):
  job = claim(engine)
  assert job.request.opinions == {n: f'words of {n}' for n in names}
  assert job.request.round == 0
  assert claim(engine, 'other') is None
  assert finish(engine, job)
  assert claim(engine, 'other') is None
  assert not finish(engine, job)
  assert len(statements(engine)) == 3
  assert sum(row.shown for row in statements(engine)) == 2


def test_the_job_of_a_dead_worker_is_claimed_again(engine, names):
  dead = claim(engine, 'dead')
  assert claim(engine, 'other', LEASE) is None
  job = claim(engine, 'other', LEASE + 1)
  assert (job.id, job.attempt) == (dead.id, 2)
  assert job.request == dead.request
  # The dead one comes back, to no effect.
  assert not beat(engine, dead, 0.9, LEASE + 2)
  assert not finish(engine, dead)
  fail(engine, dead)
  assert finish(engine, job)
  assert len(statements(engine)) == 3


def test_a_heartbeat_keeps_the_lease_and_shows_progress(engine, names):
  job = claim(engine)
  assert beat(engine, job, 0.25, LEASE - 1)
  assert claim(engine, 'other', LEASE + 1) is None
  step = people.current(engine, STUDY, names[0])
  assert step.content['progress'] == 0.25


def test_what_fails_for_good_lets_the_group_go_on(engine, names):
  for _ in range(candidates.MAX_ATTEMPTS):
    fail(engine, claim(engine))
  assert claim(engine) is None
  rows = statements(engine)
  assert {row.text for row in rows} == {f'words of {n}' for n in names}
  assert all(row.provenance['fallback'] for row in rows)
  assert {row.provenance['participant'] for row in rows} == set(names)
  assert people.current(engine, STUDY, names[0]).kind == 'rate'
  people.go_to(engine, STUDY, names, 'wait')
  job = claim(engine)
  # Critiques are heard, and only of the statement that won.
  assert job.request.round == 1
  assert set(job.request.critiques) == set(names)
  assert job.request.winner in {row.text for row in rows}
  # If the second round fails, what was shown before is shown again.
  for _ in range(candidates.MAX_ATTEMPTS):
    fail(engine, job)
    job = claim(engine)
  again = [row for row in statements(engine) if row.round == 1]
  assert {row.text for row in again} == {row.text for row in rows}
  people.go_to(engine, STUDY, names, 'done')


def test_the_last_attempt_may_die_too(engine, names):
  now = 0.0
  for _ in range(candidates.MAX_ATTEMPTS):
    assert claim(engine, now=now)
    now += LEASE + 1
  assert claim(engine, now=now) is None
  people.tick(engine, STUDY, now)
  assert people.current(engine, STUDY, names[0]).kind == 'rate'


def test_without_a_worker_nobody_waits_for_ever(engine, names):
  people.tick(engine, STUDY, STUDY.candidates_seconds)
  assert people.current(engine, STUDY, names[0]).kind == 'wait'
  people.tick(engine, STUDY, STUDY.candidates_seconds + 1)
  assert people.current(engine, STUDY, names[0]).kind == 'rate'


def test_a_worker_that_stops_hands_its_job_back(engine, names):
  job = claim(engine)
  with database.writing(engine) as connection:
    candidates.release(connection, job)
  assert claim(engine, 'other').attempt == 1


def test_nothing_made_is_refused(engine, names):
  job = claim(engine)
  with pytest.raises(ValueError, match='no statement'):
    finish(engine, job, [Statement(text=' \n', system='sft')])
  assert finish(engine, job)


def test_a_pause_lets_no_job_begin(engine, names):
  from consensus_jax.study import flow

  with database.writing(engine) as connection:
    flow.pause(connection, now=0.0)
  assert claim(engine) is None


def test_the_excluded_are_not_heard_and_judge_all_the_same(tmp_path):
  study = people.protocol_of(
    critique_round=True, conditions=[{'name': 'a', 'exclude': 1}]
  )
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(3)]
  for round_ in (0, 1):
    people.go_to(engine, study, names, 'wait')
    with database.writing(engine) as connection:
      job = candidates.claim(
        connection, study, 'w', now=0.0, lease_seconds=LEASE
      )
      assert len(job.request.opinions) == 2
      assert len(job.request.critiques) == 2 * round_
      made = people.statements_of(job.request)
      candidates.finish(connection, study, job, made, now=0.0)
    kinds = {people.current(engine, study, name).kind for name in names}
    assert kinds == {'rate'}


@given(
  st.lists(st.tuples(st.sampled_from('abc'), st.sampled_from('uvwxyz '))),
  st.integers(1, 4),
)
def test_dealing(made, shown):
  made = [Statement(text=text, system=system) for system, text in made]
  dealt, others = deal(made, ['a', 'b'], shown)

  def sort(statements):
    return sorted((each.system, each.text) for each in statements)

  # All are kept, and nothing is shown twice or empty.
  assert sort(dealt + others) == sort(made)
  texts = [each.text for each in dealt]
  assert len(set(texts)) == len(texts)
  assert ' ' not in texts
  assert len(dealt) == min(shown, len({m.text for m in made} - {' '}))


def test_systems_take_turns_with_their_best():
  made = [
    *(Statement(text=f'a{i}', system='a') for i in range(3)),
    Statement(text='A0 ', system='b'),
    Statement(text='b1', system='b'),
  ]
  dealt, others = deal(made, ['a', 'b'], 3)
  # What only differs in case and space says nothing new.
  assert [each.text for each in dealt] == ['a0', 'b1', 'a1']
  assert [each.text for each in others] == ['A0 ', 'a2']
