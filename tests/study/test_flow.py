"""What one participant sees and may answer, step by step."""

import json

import pytest
import sqlalchemy as sa
import study_people as people

from consensus_jax.strict_json import InputError
from consensus_jax.study import candidates, database, flow, tables

FULL = people.protocol_of(
  instructions='Read this.',
  comprehension=[{'prompt': '?', 'options': ['a', 'b'], 'answer': 1}],
  attention=[{'prompt': 'Choose 2.', 'answer': 2}],
  position=True,
  critique_round=True,
  opinion={'min_words': 2, 'max_words': 5},
  survey=[
    {'id': 'fair', 'prompt': 'Fair?'},
    {'id': 'best', 'prompt': '?', 'kind': 'choice', 'options': ['x', 'y']},
    {'id': 'more', 'prompt': '?', 'kind': 'text'},
  ],
  endings={'done': {'code': 'C0DE'}},
)


@pytest.fixture
def engine(tmp_path):
  return people.opened(tmp_path, FULL)


def make(engine, study, now):
  with database.writing(engine) as connection:
    job = candidates.claim(connection, study, 'w', now=now, lease_seconds=60.0)
    if job:
      made = people.statements_of(job.request)
      candidates.finish(connection, study, job, made, now=now)


def at(engine, kind, study=FULL, now=0.0):
  names = [people.join(engine, study, now) for _ in range(3)]
  people.go_to(engine, study, names, kind, now, make)
  return names


def stored(engine, name):
  with database.reading(engine) as connection:
    rows = connection.execute(
      sa.select(tables.answers).where(tables.answers.c.participant_id == name)
    )
    return {row.step_key: row for row in rows}


def test_the_whole_way(engine):
  name, *_ = at(engine, 'done')
  rows = stored(engine, name)
  assert {row.kind for row in rows.values()} == {
    'consent',
    'instructions',
    'comprehension',
    'position',
    'opinion',
    'rate',
    'critique',
    'final',
    'result',
    'survey',
  }
  assert {key for key in rows if key.startswith('q1/revised/')} == {
    'q1/revised/rate/1',
    'q1/revised/rate/2',
  }
  before, after = rows['q1/position'], rows['q1/position_after']
  assert (before.content['part'], after.content['part']) == ('before', 'after')
  assert before.content['side'] == after.content['side']
  assert rows['q1/final'].content['preferred'] in ('initial', 'revised')
  rated = [rows[f'q1/rate/{number}'].content for number in (1, 2)]
  assert rated[0]['statement'] != rated[1]['statement']
  assert [r.get('attention_item') for r in rated].count(0) == 1
  assert people.current(engine, FULL, name).content['code'] == 'C0DE'


def test_content_is_plain_json(engine):
  names = [people.join(engine, FULL) for _ in range(3)]
  seen = set()
  while 'done' not in seen:
    for name in names:
      # The one who answers first of all waits for the others.
      for _ in range(4):
        step = people.current(engine, FULL, name)
        seen.add(step.kind)
        content = dict(step.content)
        assert json.loads(json.dumps(content)) == content
        answer = people.reply(step, FULL)
        if answer is not None:
          people.submit(engine, FULL, name, step.key, answer)
    people.tick(engine, FULL)
    make(engine, FULL, 0.0)
  assert {'lobby', 'wait', 'rate', 'critique', 'final', 'done'} <= seen


def test_a_bad_answer_changes_nothing(engine):
  name = people.join(engine, FULL)
  with pytest.raises(InputError, match='consent'):
    people.submit(engine, FULL, name, 'consent', {})
  assert stored(engine, name) == {}
  assert people.current(engine, FULL, name).key == 'consent'


def test_rankings_are_whole_and_may_have_ties(tmp_path):
  study = people.protocol_of(rank=True)
  engine = people.opened(tmp_path, study)
  name, *_ = at(engine, 'rank', study)
  step = people.current(engine, study, name)
  first, second = (each['id'] for each in step.content['statements'])
  for ranks in ({first: 1}, {first: 1, second: 3}, {first: 1, '0': 1}):
    with pytest.raises(InputError, match='ranks'):
      people.submit(engine, study, name, step.key, {'ranks': ranks})
  ranks = {first: 1, second: 1}
  assert (
    people.submit(engine, study, name, step.key, {'ranks': ranks}) == 'stored'
  )


def test_wrong_twice_is_excluded_and_a_double_click_is_not(engine):
  name = people.join(engine, FULL)
  people.submit(engine, FULL, name, 'consent', {'consent': True})
  people.submit(engine, FULL, name, 'instructions', {})
  wrong = {'choice': 0}
  assert people.current(engine, FULL, name).content['attempts_left'] == 2
  key = people.current(engine, FULL, name).key
  assert people.submit(engine, FULL, name, key, wrong) == 'stored'
  assert people.submit(engine, FULL, name, key, wrong) == 'same'
  assert people.current(engine, FULL, name).content['attempts_left'] == 1
  key = people.current(engine, FULL, name).key
  assert people.submit(engine, FULL, name, key, wrong) == 'stored'
  assert people.current(engine, FULL, name).kind == 'excluded'


def test_who_does_not_consent_is_asked_nothing(engine):
  name = people.join(engine, FULL)
  people.submit(engine, FULL, name, 'consent', {'consent': False})
  step = people.current(engine, FULL, name)
  assert (step.kind, step.key) == ('declined', 'declined')
  assert people.submit(engine, FULL, name, 'declined', {}) == 'late'


def test_a_draft_counts_when_the_time_is_over(engine):
  name, other, _ = at(engine, 'opinion')
  with database.writing(engine) as connection:
    for who, text in ((name, 'Only half of'), (other, 'short')):
      flow.save_draft(
        connection, FULL, who, 'q1/opinion', {'text': text}, now=10.0
      )
  step = people.current(engine, FULL, name, 100.0)
  assert (step.content['draft'], step.seconds_left) == ('Only half of', 200.0)
  people.tick(engine, FULL, 304.0)
  assert people.current(engine, FULL, name).kind == 'opinion'
  people.tick(engine, FULL, 306.0)
  row = stored(engine, name)['q1/opinion']
  assert (row.content, row.from_draft) == ({'text': 'Only half of'}, True)
  assert people.current(engine, FULL, other).kind == 'timed_out'
  # Of three, one is left: too few.
  assert people.current(engine, FULL, name).kind == 'survey'


def test_sent_twice_is_stored_once_and_changed_is_late(engine):
  name, *_ = at(engine, 'opinion')
  first, other = {'text': ' some words\n'}, {'text': 'other words'}
  assert people.submit(engine, FULL, name, 'q1/opinion', first) == 'stored'
  assert people.submit(engine, FULL, name, 'q1/opinion', first) == 'same'
  assert people.submit(engine, FULL, name, 'q1/opinion', other) == 'late'
  assert stored(engine, name)['q1/opinion'].content == {'text': 'some words'}
  # Nor can a step be answered that has not come yet.
  assert people.submit(engine, FULL, name, 'q1/rate/1', {}) == 'late'


def test_a_group_goes_on_without_a_member(engine):
  name, other, third = at(engine, 'opinion')
  for who in (name, other):
    people.submit(engine, FULL, who, 'q1/opinion', {'text': 'some words'})
  wait = people.current(engine, FULL, name)
  assert wait.content['what'] == 'opinions'
  assert wait.content['progress'] == pytest.approx(2 / 3)
  with database.writing(engine) as connection:
    flow.withdraw(connection, FULL, third, now=1.0)
  assert people.current(engine, FULL, third).kind == 'withdrawn'
  assert people.current(engine, FULL, name).content['what'] == 'candidates'
  people.go_to(engine, FULL, [name, other], 'done', make=make)
  with database.writing(engine) as connection:
    flow.withdraw(connection, FULL, name, now=2.0)
  assert people.current(engine, FULL, name).kind == 'done'


def test_who_is_left_may_go_into_another_group(tmp_path):
  study = people.protocol_of(after_abandoned='lobby', group_size=2)
  engine = people.opened(tmp_path, study)
  first = [people.join(engine, study) for _ in range(2)]
  people.go_to(engine, study, first, 'opinion')
  people.submit(engine, study, first[0], 'q1/opinion', {'text': 'a b'})
  known = people.current(engine, study, first[0]).content['question']
  with database.writing(engine) as connection:
    flow.withdraw(connection, study, first[1], now=1.0)
  assert people.current(engine, study, first[0]).kind == 'lobby'
  pair = [first[0], people.join(engine, study, 1.0)]
  people.go_to(engine, study, pair, 'opinion', 1.0)
  step = people.current(engine, study, first[0], 1.0)
  assert step.key == 'g2/q1/opinion'
  assert step.content['question'] != known
  people.go_to(engine, study, pair, 'done', 1.0, make)
  assert {'q1/opinion', 'g2/q1/opinion'} <= stored(engine, first[0]).keys()


def test_a_pause_stops_every_clock(engine):
  name, other, _ = at(engine, 'opinion')
  with database.writing(engine) as connection:
    flow.pause(connection, now=100.0)
    flow.pause(connection, now=5000.0)
  people.tick(engine, FULL, 9000.0)
  step = people.current(engine, FULL, name, 9000.0)
  assert (step.kind, step.key, step.seconds_left) == ('paused', 'paused', None)
  # What is under way is not lost.
  answer = {'text': 'some words'}
  assert people.submit(engine, FULL, name, 'q1/opinion', answer) == 'stored'
  with database.writing(engine) as connection:
    flow.resume(connection, now=10_000.0)
  people.tick(engine, FULL, 10_100.0)
  with database.reading(engine) as connection:
    rows = connection.execute(sa.select(tables.participants)).all()
  assert {row.state for row in rows} == {'active'}
  assert max(row.last_seen for row in rows) <= 10_000.0
  left = people.current(engine, FULL, other, 10_100.0).seconds_left
  assert left == 100.0  # of 300: 100 before the pause, 100 after


def test_statements_come_in_an_order_of_ones_own(tmp_path):
  study = people.protocol_of(
    rank=True, candidates_shown=3, group_size=10, min_group_size=10
  )
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(10)]
  people.go_to(engine, study, names, 'rate', make=make)
  firsts = {
    people.current(engine, study, name).content['statement'] for name in names
  }
  assert len(firsts) > 1
