import csv
import io
import json
import zipfile

import pytest
import study_finished
import study_people as people
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.data import habermas, polis_export
from consensus_jax.data.habermas_schema import COHORTS, Cohort
from consensus_jax.data.plain_text import one_line
from consensus_jax.data.record_files import read_jsonl
from consensus_jax.strict_json import InputError
from consensus_jax.study import (
  database,
  export,
  export_habermas,
  export_records,
  export_tables,
  tables,
)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  return study_finished.finished(tmp_path_factory.mktemp('study'))


@pytest.fixture(scope='module')
def folder(study, tmp_path_factory):
  protocol, engine, _ = study
  target = tmp_path_factory.mktemp('exports') / 'export'
  export.write(target, export.files(engine, protocol))
  return target


def test_records_hold_what_people_said(study, folder):
  protocol, engine, _ = study
  records = [*read_jsonl(folder / 'records.jsonl')]
  rows = study_finished.read(engine, protocol)
  assert [record.id for record in records] == ['g1/q1', 'g2/q1']
  written = {
    one_line(answer.content['text'])
    for answers in rows.answers.values()
    for answer in answers
    if answer.kind == 'opinion'
  }
  members = [member for record in records for member in record.members]
  assert {member.opinion for member in members} == written
  assert {m.participant for m in members} == {*rows.names.values()}
  ratings = {
    (rows.names[name], f's{answer.content["statement"]}'): answer.content
    for name, answers in rows.answers.items()
    for answer in answers
    if answer.kind == 'rate'
  }
  seen = set()
  for record in records:
    for member in record.members:
      for place, index in enumerate(member.judged):
        key = member.participant, record.statements[index].id
        seen.add(key)
        assert member.agreement[place] == ratings[key]['agreement']
        assert member.quality[place] == ratings[key]['quality']
        vote = ratings[key]['agreement'] - 4
        assert member.votes[place] == (vote > 0) - (vote < 0)
  # All but ratings of one's own opinion, which was among the statements.
  assert 4 * len({*ratings} - seen) == len(ratings)
  authors = {
    statement.id: statement.author
    for record in records
    for statement in record.statements
  }
  assert all(authors[statement] == who for who, statement in {*ratings} - seen)


def test_a_position_is_that_of_the_affirming_statement(study, folder):
  protocol, engine, _ = study
  rows = study_finished.read(engine, protocol)
  given_positions = {
    (rows.names[name], answer.content['part']): (
      answer.content['position'],
      answer.content['side'],
    )
    for name, answers in rows.answers.items()
    for answer in answers
    if answer.kind == 'position'
  }
  for record in read_jsonl(folder / 'records.jsonl'):
    for member in record.members:
      for part in ('before', 'after'):
        position, side = given_positions[member.participant, part]
        expected = position if side == 'affirming' else 8 - position
        assert getattr(member, f'position_{part}') == expected


def test_the_habermas_columns_read_as_the_same_records(
  study, folder, monkeypatch
):
  # Their reader is the oracle: it was written for the published files.
  cohort = Cohort(rows=0, provenances=('MODEL_MEDIATOR', 'HUMAN_CITIZEN'))
  monkeypatch.setitem(COHORTS, export_habermas.VERSION, cohort)
  records, report = habermas.read(
    folder / 'habermas',
    habermas.HabermasSettings(versions=(export_habermas.VERSION,)),
  )
  assert {each.reason for each in report.excluded} == {'of their own opinion'}

  def comparable(record):
    members = {
      (member.participant, member.opinion, member.critique)
      + (member.position_before, member.position_after)
      for member in record.members
    }
    judged = {
      (member.participant, record.statements[i].id): said
      for member in record.members
      for i, *said in zip(
        member.judged, member.agreement, member.quality, member.ranking
      )
    }
    texts = {s.id: (s.text, s.round) for s in record.statements}
    return record.id, record.group, members, judged, texts

  own = [*read_jsonl(folder / 'records.jsonl')]
  by_id = {record.id: record for record in records}
  assert len(by_id) == len(own) > 0
  for record in own:
    assert comparable(record) == comparable(by_id[record.id])


def test_polis_reads_the_conversations(study, folder):
  protocol, engine, _ = study
  rows = study_finished.read(engine, protocol)
  folders = sorted((folder / 'polis').iterdir())
  asked = {row.question_id for row in rows.questions.values()}
  assert len(folders) == len(asked)
  votes = 0
  for each in folders:
    read = polis_export.read_export(each)
    assert read.warnings == ()
    for index, comment in enumerate(read.comments):
      column = read.votes[:, index]
      assert comment.agrees == (column == 1).sum()
      assert comment.disagrees == (column == -1).sum()
    votes += (read.votes != polis_export.NO_VOTE).sum()
  assert votes == sum(
    answer.kind == 'rate'
    for answers in rows.answers.values()
    for answer in answers
  )


def test_the_tables_hold_every_answer(study, folder):
  protocol, engine, _ = study
  rows = study_finished.read(engine, protocol)
  with (folder / 'answers.csv').open(newline='') as file:
    read = list(csv.DictReader(file))
  assert len(read) == sum(map(len, rows.answers.values()))
  for row in read:
    if row['kind'] == 'rank':
      assert json.loads(row['ranks']).keys() <= {
        f's{s.id}' for all_ in rows.statements.values() for s in all_
      }
  people_read = list(
    csv.DictReader(io.StringIO((folder / 'participants.csv').read_text()))
  )
  assert [row['survey.fair'] for row in people_read] == ['1'] * 4
  assert all(row['survey.more'] for row in people_read)


def test_no_file_says_who_people_are(tmp_path):
  protocol = people.protocol_of(entry=['recruitment'])
  engine = people.opened(tmp_path, protocol)
  name = people.join(
    engine,
    protocol,
    recruitment={'PROLIFIC_PID': 'Pelle', 'SESSION_ID': 'Sesam'},
  )
  secrets = ['Pelle', 'Sesam', name]
  with database.reading(engine) as connection:
    secrets.append(database.secret(connection))
  content = export.files(engine, protocol)
  for file, data in content.items():
    for secret in secrets:
      assert secret.encode() not in data, file
  with_ids = export.files(engine, protocol, with_recruitment_ids=True)
  assert with_ids.keys() - content.keys() == {'recruitment.csv'}
  assert b'Pelle' in with_ids['recruitment.csv']


@given(st.text(max_size=30))
def test_no_cell_is_a_formula(text):
  header, row = csv.reader(
    io.StringIO(
      export_tables.csv_bytes(['text'], [[text]]).decode(), newline=''
    )
  )
  assert header == ['text']
  (shown,) = row or ['']
  assert shown in (text, f"'{text}")
  assert shown.lstrip()[:1] not in ('=', '+', '-', '@', '＝', '＋', '－', '＠')


def test_formulas_are_guarded_and_numbers_are_not():
  for text in ('=1+1', '+1', '-1', '@x', ' =1', '\t=1', '\r1'):
    assert export_tables.cell(text) == f"'{text}"
  assert export_tables.cell(-1) == -1


def test_a_formula_of_a_participant_is_guarded_everywhere(tmp_path):
  protocol = people.protocol_of()
  engine = people.opened(tmp_path, protocol)
  names = [people.join(engine, protocol) for _ in range(3)]
  for name, step in people.go_to(engine, protocol, names, 'opinion').items():
    people.submit(engine, protocol, name, step.key, {'text': '=cmd|A0'})
  for name, data in export.files(engine, protocol).items():
    if name.endswith('.csv'):
      for row in csv.reader(io.StringIO(data.decode(), newline='')):
        assert not any(cell.startswith('=') for cell in row)
  rows = study_finished.read(engine, protocol)
  assert b"'=cmd" in export_tables.tables(rows)['answers.csv']


def test_an_export_of_nobody_is_whole(tmp_path):
  protocol = people.protocol_of()
  engine = people.opened(tmp_path, protocol)
  content = export.files(engine, protocol)
  assert content['records.jsonl'] == b''
  assert content['answers.csv'].count(b'\n') == 1


def test_writing_replaces_nothing(study, tmp_path):
  content = {'a/b.csv': b'1', 'c.csv': b'2'}
  export.write(tmp_path / 'new', content)
  assert (tmp_path / 'new' / 'a' / 'b.csv').read_bytes() == b'1'
  with pytest.raises(InputError, match='is there already'):
    export.write(tmp_path / 'new', content)
  with pytest.raises(InputError, match='is in no folder'):
    export.write(tmp_path / 'no' / 'new', content)
  assert [path.name for path in tmp_path.iterdir()] == ['new']


def test_an_archive_holds_the_files():
  packed = zipfile.ZipFile(io.BytesIO(export.archive({'a/b': b'1'})))
  assert packed.read('a/b') == b'1'


def test_pseudonyms_differ_between_studies(tmp_path):
  names = []
  for folder in ('one', 'two'):
    (tmp_path / folder).mkdir()
    protocol = people.protocol_of()
    engine = people.opened(tmp_path / folder, protocol)
    with database.writing(engine) as connection:
      connection.execute(
        tables.participants.insert().values(
          id='same',
          token_sha256='-',
          state='active',
          entry='open',
          created_at=0.0,
          last_seen=0.0,
          step_key='consent',
          step_since=0.0,
        )
      )
    names += study_finished.read(engine, protocol).names.values()
  assert len({*names, 'same'}) == 3


def test_a_record_has_no_statement_that_was_not_shown(study):
  protocol, engine, _ = study
  rows = study_finished.read(engine, protocol)
  for record in export_records.records(rows):
    count = sum(statement.round == 0 for statement in record.statements)
    assert count == protocol.candidates_shown


def test_who_was_not_heard_is_told(tmp_path):
  protocol = people.protocol_of(conditions=[{'name': 'out', 'exclude': 1}])
  engine = people.opened(tmp_path, protocol)
  names = [people.join(engine, protocol) for _ in range(3)]
  people.go_to(engine, protocol, names, 'rate', make=study_finished.make)
  content = export.files(engine, protocol)
  rows = study_finished.read(engine, protocol)
  (silent,) = [m for m in rows.memberships[1] if m.excluded]
  (record,) = map(json.loads, content['records.jsonl'].splitlines())
  written = [s for s in record['statements'] if s['author'] == 'model']
  assert [*map(json.loads, content['unheard.jsonl'].splitlines())] == [
    {
      'record': record['id'],
      'statement': statement['id'],
      'participant': rows.names[silent.participant_id],
    }
    for statement in written
  ]
  assert written
