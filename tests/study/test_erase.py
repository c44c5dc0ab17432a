import pytest
import sqlalchemy as sa
import study_finished
import study_people as people

from consensus_jax.strict_json import InputError
from consensus_jax.study import (
  candidates,
  collected,
  database,
  entry,
  erase,
  export,
  export_records,
  flow,
  tables,
)


@pytest.fixture
def study(tmp_path):
  return study_finished.finished(tmp_path)


def rows(engine, table):
  with database.reading(engine) as connection:
    return connection.execute(sa.select(table)).all()


def counts(engine):
  return {
    table.name: len(rows(engine, table))
    for table in (tables.participants, tables.answers, tables.statements)
  }


def test_texts_are_gone_and_counts_stay(study, tmp_path):
  protocol, engine, names = study
  before = counts(engine)
  content = {
    (row.participant_id, row.step_key): row.content
    for row in rows(engine, tables.answers)
  }
  # Enough of each text to know it, in the words of these tests.
  texts = {
    value
    for (name, _), answer in content.items()
    for value in answer.values()
    if name == names[0] and isinstance(value, str) and ' ' in value
  }
  assert len(texts) == 3  # An opinion, a critique, and of the survey.
  erased = erase.erase(engine, protocol, names[0], now=9e9)
  assert (erased.texts, erased.statements, erased.wiped) == (3, 2, True)
  assert counts(engine) == before
  for path in tmp_path.iterdir():
    for text in texts:
      assert text.encode() not in path.read_bytes()
  for file, data in export.files(engine, protocol).items():
    for text in texts:
      assert text.encode() not in data, file
  for row in rows(engine, tables.answers):
    old = content[row.participant_id, row.step_key]
    if row.participant_id != names[0]:
      assert row.content == old
    else:
      assert row.content.keys() == old.keys()
      assert {k: v for k, v in row.content.items() if v != ''} == {
        k: v for k, v in old.items() if v not in [*texts]
      }


def test_records_can_be_made_after_an_erasure(study):
  protocol, engine, names = study
  erase.erase(engine, protocol, names[0], now=9e9)
  rows_ = study_finished.read(engine, protocol)
  records = export_records.records(rows_)
  name = rows_.names[names[0]]
  (own,) = [m for r in records for m in r.members if m.participant == name]
  assert (own.opinion, own.critique) == ('', '')
  assert len(own.judged) > 0
  assert all(s.author != name for r in records for s in r.statements)


def test_who_takes_part_leaves_and_the_group_goes_on(tmp_path):
  study = people.protocol_of(group_size=3, min_group_size=2)
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(3)]
  people.go_to(engine, study, names, 'wait')
  # A worker has read what all of them wrote, and will write it down.
  with database.writing(engine) as connection:
    job = candidates.claim(
      connection, study, 'one', now=1.0, lease_seconds=60.0
    )
  assert names[0] in job.request.opinions
  erase.erase(engine, study, names[0], now=2.0)
  made = [candidates.Statement(text='All said this.', system='default')]
  with database.writing(engine) as connection:
    assert not candidates.finish(connection, study, job, made, now=3.0)
    again = candidates.claim(
      connection, study, 'two', now=3.0, lease_seconds=60.0
    )
    assert {*again.request.opinions} == {*names[1:]}
    assert candidates.finish(connection, study, again, made, now=3.0)
  assert people.current(engine, study, names[0]).kind == 'withdrawn'
  assert people.current(engine, study, names[1]).kind == 'rate'


def test_drafts_and_the_way_back_are_gone(tmp_path):
  study = people.protocol_of(entry=['recruitment', 'invitation'])
  engine = people.opened(tmp_path, study)
  with database.writing(engine) as connection:
    (invitation,) = entry.invite(connection, ['Olga Ohm'], now=0.0)
    name, token = entry.join(connection, study, now=0.0, invitation=invitation)
  other = people.join(engine, study, recruitment={'PROLIFIC_PID': 'Pelle'})
  for each in (name, other):
    erase.erase(engine, study, each, now=1.0)
  with database.reading(engine) as connection:
    assert entry.find(connection, token, now=1.0) is None
  assert rows(engine, tables.recruitment) == []
  assert [row.label for row in rows(engine, tables.invitations)] == ['']


def test_a_draft_is_erased(tmp_path):
  study = people.protocol_of()
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(3)]
  step = people.go_to(engine, study, names, 'opinion')[names[0]]
  with database.writing(engine) as connection:
    flow.save_draft(
      connection, study, names[0], step.key, {'text': 'Not yet'}, now=1.0
    )
  assert erase.erase(engine, study, names[0], now=2.0).texts == 1
  assert rows(engine, tables.drafts) == []


def test_people_are_found_by_any_of_their_names(tmp_path):
  study = people.protocol_of(entry=['recruitment', 'open'])
  engine = people.opened(tmp_path, study)
  with database.writing(engine) as connection:
    name, token = entry.join(
      connection, study, now=0.0, recruitment={'PROLIFIC_PID': 'Pelle'}
    )
    entry.join(connection, study, now=0.0)
    secret = database.secret(connection)
    for text in (
      collected.pseudonym(secret, name),
      'Pelle',
      f'https://example.org/continue/{token}',
    ):
      assert erase.find(connection, text) == name
    for text in ('', 'nobody', name):
      with pytest.raises(InputError, match='is nobody here'):
        erase.find(connection, text)


def test_a_database_in_use_is_erased_but_not_wiped(study):
  protocol, engine, names = study
  engine.dispose()
  reader = database.open_database(str(engine.url), protocol)
  with database.reading(reader) as connection:
    connection.execute(sa.select(tables.answers)).first()
    fast = database.open_database(str(engine.url), protocol)
    sa.event.listen(
      fast, 'connect', lambda raw, _: raw.execute('PRAGMA busy_timeout = 1')
    )
    fast.dispose()
    assert not erase.erase(fast, protocol, names[0], now=9e9).wiped
  assert erase.erase(engine, protocol, names[0], now=9e9).wiped
