import csv
import dataclasses
import io
import json

import hypothesis
import judged_deliberations
import pyarrow
import pytest
from pyarrow import parquet

from consensus_jax.data import table_import
from consensus_jax.data.exclusions import Exclusion
from consensus_jax.data.records import JUDGEMENTS, Member, Question, Statement
from consensus_jax.strict_json import InputError

# beartype picks at random which items of a sequence it checks.
pytestmark = pytest.mark.filterwarnings('ignore:Do not use the `random` module')

TABLE = """\
question,participant,opinion,statement,agreement,quality,rank,vote,round,group
Open on Sundays?,Amira,"Yes, I work all week.",Open every Sunday.,7,5,1,,0,a
Open on Sundays?,Amira,,Open twice a month.,somewhat agree,GOOD_QUALITY,2,,0,a
Open on Sundays?,Ben,No.,Open every Sunday.,2,,1,disagree,0,a
Open on Sundays?,Ben,No.,Open twice a month.,MOCK,,1,pass,0,a
Open on Sundays?,Ben,No.,Open in the mornings.,6.0,,1,1,1,a
"""


def _read(tmp_path, text, name='ratings.csv', **settings):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return table_import.read(path, **settings)


def test_a_table_becomes_a_record(tmp_path):
  imported = _read(tmp_path, TABLE, source='ours')
  (record,) = imported.records
  assert record.source == 'ours'
  assert record.group == 'a'
  assert record.question == Question(text='Open on Sundays?')
  assert [(each.text, each.round) for each in record.statements] == [
    ('Open every Sunday.', 0),
    ('Open twice a month.', 0),
    ('Open in the mornings.', 1),
  ]
  assert record.members == (
    Member(
      participant='Amira',
      opinion='Yes, I work all week.',
      judged=(0, 1),
      agreement=(7, 5),
      quality=(5, 6),
      ranking=(0, 1),
    ),
    Member(
      participant='Ben',
      opinion='No.',
      judged=(0, 1, 2),
      agreement=(2, None, 6),
      ranking=(0, 0, 0),
      votes=(-1, 0, 1),
    ),
  )
  assert imported.num_rows == 5
  assert imported.num_judgements == 6 + 2 + 3 + 3
  assert imported.num_stripped == 0
  assert imported.unused_columns == ()
  assert imported.exclusions == ()


def test_a_record_keeps_its_id_when_rows_are_added(tmp_path):
  more = TABLE + 'Other?,Cem,,Yes.,4,4,1,,0,a\n'
  before = _read(tmp_path, TABLE).records
  after = _read(tmp_path, more).records
  assert after[0] == before[0]
  assert len({each.id for each in after}) == 2


@hypothesis.given(records=judged_deliberations.lists_of_deliberations())
def test_records_written_as_a_table_come_back(tmp_path_factory, records):
  """What a table can say of them, that is."""
  rows, expected = [], {}
  for index, record in enumerate(records):
    question = f'{record.question.text} {index}'
    for member in record.members:
      for place, statement in enumerate(member.judged):
        each = record.statements[statement]
        values = {
          name: (getattr(member, field) or (None,) * len(member.judged))[place]
          for name, field in zip(table_import.JUDGED_BY, JUDGEMENTS)
        }
        if {*values.values()} == {None}:
          continue
        text = f'{each.text} {statement}'
        rows.append(
          {
            'question': question,
            'participant': member.participant,
            'opinion': member.opinion,
            'statement': text,
            'round': each.round,
            **values,
          }
        )
        expected[question, member.participant, text] = values
  hypothesis.assume(rows)
  text = io.StringIO()
  writer = csv.DictWriter(text, list(rows[0]), delimiter=';')
  writer.writeheader()
  writer.writerows(rows)
  path = tmp_path_factory.mktemp('table') / 'ratings.csv'
  path.write_text(text.getvalue(), newline='')
  imported = table_import.read(path, best_rank=0)
  gaps = {each.reason for each in imported.exclusions}
  assert gaps <= {'has a gap'}  # Statements that were not judged leave gaps.
  found = {
    (record.question.text, member.participant, record.statements[s].text): {
      name: (getattr(member, field) or (None,) * len(member.judged))[place]
      for name, field in zip(table_import.JUDGED_BY, JUDGEMENTS)
    }
    for record in imported.records
    for member in record.members
    for place, s in enumerate(member.judged)
  }
  if not gaps:
    nfc = judged_deliberations.same_name
    assert found == {
      tuple(map(nfc, key)): values for key, values in expected.items()
    }


@pytest.mark.parametrize(
  ('name', 'encode', 'settings'),
  [
    ('r.csv', lambda text: text.encode('utf-8-sig'), {}),
    ('r.csv', lambda text: text.encode('utf-16'), {}),
    ('r.csv', lambda text: text.encode('cp1252'), {'encoding': 'cp1252'}),
    ('r.csv', lambda text: text.replace('\n', '\r\n').encode(), {}),
    ('r.tsv', lambda text: _with_delimiter(text, '\t'), {}),
    ('r.csv', lambda text: _with_delimiter(text, ';'), {}),
    ('r.jsonl', lambda text: _as_jsonl(text), {}),
    ('r.parquet', lambda text: _as_parquet(text), {}),
  ],
)
def test_every_form_of_a_table_gives_the_same(tmp_path, name, encode, settings):
  text = TABLE.replace('Amira', 'Amíra')
  expected = _read(tmp_path, text).records
  assert expected[0].members[0].participant == 'Amíra'
  assert _read(tmp_path, encode(text), name, **settings).records == expected


def _rows(text):
  return list(csv.DictReader(io.StringIO(text)))


def _with_delimiter(text, delimiter):
  out = io.StringIO()
  csv.writer(out, delimiter=delimiter).writerows(csv.reader(io.StringIO(text)))
  return out.getvalue().encode()


def _typed(text):
  for row in _rows(text):
    row['rank'] = int(row['rank'])
    row['round'] = float(row['round'])
    yield {name: None if cell == '' else cell for name, cell in row.items()}


def _as_jsonl(text):
  return ''.join(json.dumps(row) + '\n' for row in _typed(text)).encode()


def _as_parquet(text):
  out = pyarrow.BufferOutputStream()
  parquet.write_table(pyarrow.Table.from_pylist(list(_typed(text))), out)
  return out.getvalue().to_pybytes()


def test_columns_of_other_names(tmp_path):
  text = TABLE.replace('participant', 'PID').replace('group', 'Room', 1)
  imported = _read(tmp_path, text, columns={'participant': 'PID'})
  assert imported.unused_columns == ('Room',)
  assert imported.records[0].members[0].participant == 'Amira'


@pytest.mark.parametrize(
  ('text', 'columns', 'message'),
  [
    (
      TABLE,
      {'agreement': 'Agrement'},
      "agreement: has no column 'Agrement'; did you mean 'agreement'?; there",
    ),
    (
      TABLE,
      {'rating': 'rank'},
      "rating: unknown column; did you mean 'rank'?; there are: question,",
    ),
    (
      TABLE.replace('statement', 'Statements', 1),
      {},
      "has no column 'statement', and none was named for it; did you mean "
      "'Statements'?; there are: question, participant, opinion, Statements",
    ),
    ('question,participant,statement\n', {}, 'has none of the columns agreeme'),
    ('', {}, "has no column 'question'"),
    (TABLE.replace('quality', 'agreement', 1), {}, ':1: two columns have the'),
    (TABLE.split('\n')[0], {}, 'holds no judgement that can be used'),
    (TABLE + 'a,"b', {}, ':7: not CSV: unexpected end of data'),
    (TABLE.encode() + b'\n\xff', {}, ':8: byte'),
  ],
)
def test_a_fault_of_the_table_is_named(tmp_path, text, columns, message):
  with pytest.raises(InputError) as raised:
    _read(tmp_path, text, columns=columns)
  assert str(raised.value).startswith(f'{tmp_path}/ratings.csv')
  assert message in str(raised.value)


def test_other_files_are_refused(tmp_path):
  with pytest.raises(InputError, match=r'ends in \.csv or'):
    _read(tmp_path, TABLE, 'ratings.xlsx')
  with pytest.raises(InputError, match='cannot read: No such file'):
    table_import.read(tmp_path / 'none.csv')
  with pytest.raises(InputError, match="there is no encoding 'latin-0'"):
    _read(tmp_path, TABLE, encoding='latin-0')
  with pytest.raises(InputError, match=r'0xe9, is not utf-8; .* cp1252'):
    _read(tmp_path, TABLE.replace('Amira', 'Chloé').encode('cp1252'))
  with pytest.raises(InputError, match='is no parquet file, or a damaged one'):
    _read(tmp_path, TABLE, 'ratings.parquet')


def _row(**changes):
  cells = {
    'question': 'Open on Sundays?',
    'participant': 'Cem',
    'opinion': '',
    'statement': 'Open every Sunday.',
    'agreement': '4',
    'quality': '',
    'rank': '',
    'vote': '',
    'round': '0',
    'group': 'a',
  } | changes
  return ','.join(cells.values()) + '\n'


@pytest.mark.parametrize(
  ('row', 'reason', 'example'),
  [
    (_row(agreement='8'), 'agreement: is neither from 1 to 7', "line 7: '8'"),
    (_row(agreement='0'), 'agreement: is neither from 1 to 7', "line 7: '0'"),
    (_row(agreement='agre'), 'agreement: is neither from', "line 7: 'agre'"),
    (_row(quality='4.5'), 'quality: is neither from 1', "line 7: '4.5'"),
    (_row(quality='inf'), 'quality: is neither from 1', "line 7: 'inf'"),
    (_row(vote='2'), 'vote: is neither from -1 to 1', "line 7: '2'"),
    (_row(rank='0'), 'rank: is no whole number from 1', "line 7: '0'"),
    (_row(round='-1'), 'round: is no whole number from 0', "line 7: '-1'"),
    (_row(agreement=''), 'holds no judgement', 'line 7'),
    (_row(statement=' '), 'statement: is empty', "line 7: ''"),
    (_row(statement='Consensus: '), 'statement: is empty', 'line 7: '),
    (_row(participant=''), 'participant: is empty', "line 7: ''"),
    (_row(question=''), 'question: is empty', "line 7: ''"),
    (_row(participant='a\0'), 'participant: holds a NUL', 'line 7'),
    (_row(group='a,b'), 'has not 10 cells, as the heading', 'line 7'),
    (
      _row(participant='Ben', opinion='Well yes.'),
      'opinion: contradicts an earlier opinion of this participant',
      "line 7: 'Well yes.'",
    ),
    (
      _row(participant='Ben', agreement='2', rank='1', vote='-1'),
      'says again what an earlier row says',
      'line 7',
    ),
    (
      _row(participant='Ben', agreement='3'),
      'judges a statement that this participant judged otherwise before',
      'line 7',
    ),
  ],
)
def test_a_row_that_cannot_be_used_is_counted_and_shown(
  tmp_path, row, reason, example
):
  imported = _read(tmp_path, TABLE + row)
  (exclusion,) = imported.exclusions
  assert (exclusion.kind, exclusion.count) == ('row', 1)
  assert exclusion.reason.startswith(reason)
  assert exclusion.examples[0].startswith(example)
  assert imported.records == _read(tmp_path, TABLE).records
  assert imported.num_rows == 6


def test_a_ranking_with_a_gap_is_left_out_and_the_rest_stays(tmp_path):
  rows = _row(rank='1') + _row(statement='Open twice a month.', rank='3')
  imported = _read(tmp_path, TABLE + rows)
  assert imported.exclusions == (
    Exclusion('ranking', 'has a gap', 1, ("Cem on 'Open on Sundays?'",)),
  )
  cem = imported.records[0].members[2]
  assert cem.ranking == ()
  assert cem.agreement == (4, 4)


def test_a_person_with_nothing_but_a_bad_ranking_is_no_member(tmp_path):
  imported = _read(tmp_path, TABLE + _row(agreement='', rank='2'))
  assert [each.reason for each in imported.exclusions] == ['has a gap']
  assert imported.records == _read(tmp_path, TABLE).records


def test_leaked_headings_are_stripped_and_counted(tmp_path):
  text = TABLE.replace('Open every', 'Final consensus statement: Open every')
  imported = _read(tmp_path, text)
  assert imported.num_stripped == 2
  assert imported.records == _read(tmp_path, TABLE).records


def test_an_opinion_may_stand_alone_or_in_one_row_of_many(tmp_path):
  rows = _row() + _row(statement='', agreement='', opinion='Perhaps.')
  imported = _read(tmp_path, TABLE + rows)
  assert imported.exclusions == ()
  assert imported.records[0].members[2] == Member(
    participant='Cem', opinion='Perhaps.', judged=(0,), agreement=(4,)
  )


def test_topic_split_and_author(tmp_path):
  text = (
    'question,participant,statement,vote,topic,split,author\n'
    'Q?,a,S.,yes,,TRAIN,base\n'
    'Q?,b,S.,no,town,,base\n'
    'Q?,c,S.,no,sea,,base\n'
    'Q?,d,S.,no,,test,base\n'
    'Q?,a,S.,no,,,tuned\n'
  )
  imported = _read(tmp_path, text)
  (record,) = imported.records
  assert record.question == Question(text='Q?', topic='town', split='train')
  assert [dataclasses.replace(s, id='-') for s in record.statements] == [
    Statement(text='S.', id='-', author='base'),
    Statement(text='S.', id='-', author='tuned'),
  ]
  assert record.members[0].votes == (1, -1)
  assert [(each.reason, each.examples) for each in imported.exclusions] == [
    ('topic: is another than before', ("line 4: 'sea'",)),
    (
      'split: is none of train, validation, iid_test, ood_test',
      ("line 5: 'test'",),
    ),
  ]


def test_opinions_with_line_breaks_keep_the_count_of_lines(tmp_path):
  text = TABLE.replace('I work all week.', 'I work\nall week.')
  imported = _read(tmp_path, text + _row(agreement='9'))
  assert imported.exclusions[0].examples == ("line 8: '9'",)
  assert imported.records[0].members[0].opinion == 'Yes, I work\nall week.'


def test_rows_of_jsonl_that_are_none_are_counted(tmp_path):
  good = {'question': 'Q?', 'participant': 1, 'statement': 'S.', 'vote': -1}
  rows = [good, [1], good | {'participant': ['a']}, good | {'participant': 2.0}]
  lines = [*map(json.dumps, rows), '{"question": NaN}', '']
  imported = _read(tmp_path, '\n'.join(lines), 'ratings.jsonl')
  (record,) = imported.records
  assert [each.participant for each in record.members] == ['1', '2']
  assert [each.votes for each in record.members] == [(-1,), (-1,)]
  assert imported.num_rows == 5
  assert [(each.reason, each.examples) for each in imported.exclusions] == [
    ('must be an object', ('line 2',)),
    ('participant: is neither a text nor a number', ('line 3',)),
    ('not JSON: NaN is no number', ('line 5',)),
  ]


def test_columns_without_a_name_are_passed_over(tmp_path):
  text = '\n'.join(f'{line},,' for line in TABLE.splitlines())
  imported = _read(tmp_path, text)
  assert imported.records == _read(tmp_path, TABLE).records
  assert imported.unused_columns == ()
