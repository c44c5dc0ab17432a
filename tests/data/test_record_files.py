import dataclasses
import json

import damage
import hypothesis
import judged_deliberations
import pyarrow
import pytest
from pyarrow import parquet

from consensus_jax.data import record_files
from consensus_jax.strict_json import InputError

# beartype picks at random which items of a sequence it checks.
pytestmark = pytest.mark.filterwarnings('ignore:Do not use the `random` module')

FORMATS = pytest.mark.parametrize('suffix', ['.jsonl', '.parquet'])


def _line(**changes):
  record = judged_deliberations.example().to_json() | changes
  return json.dumps(record, ensure_ascii=False)


@FORMATS
@hypothesis.given(records=judged_deliberations.lists_of_deliberations())
def test_records_come_back_as_they_were(tmp_path_factory, suffix, records):
  path = tmp_path_factory.mktemp('records') / f'file{suffix}'
  assert record_files.write(path, iter(records)) == len(records)
  assert list(record_files.read(path)) == records
  assert [each.name for each in path.parent.iterdir()] == [path.name]


@FORMATS
def test_reading_holds_a_few_records_only(tmp_path, suffix):
  example = judged_deliberations.example()
  number = 3 * record_files._BATCH + 1
  path = tmp_path / f'file{suffix}'
  record_files.write(
    path, (dataclasses.replace(example, id=str(i)) for i in range(number))
  )
  reading = record_files.read(path)
  assert next(reading).id == '0'  # Before anything else is checked.
  assert [each.id for each in reading] == [str(i) for i in range(1, number)]


@FORMATS
def test_a_failed_write_leaves_what_was_there(tmp_path, suffix):
  path = tmp_path / f'file{suffix}'
  record_files.write(path, [judged_deliberations.example()])
  before = path.read_bytes()

  def interrupted():
    yield dataclasses.replace(judged_deliberations.example(), id='new')
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    record_files.write(path, interrupted())
  with pytest.raises(InputError, match="two records have the id 'library'"):
    record_files.write(path, [judged_deliberations.example()] * 2)
  with pytest.raises(InputError, match='there are no records to write'):
    record_files.write(path, [])
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


@FORMATS
def test_what_cannot_be_written_or_read_is_named(tmp_path, suffix):
  path = tmp_path / 'none' / f'file{suffix}'
  with pytest.raises(InputError, match=r'file.*: cannot write: No such file'):
    record_files.write(path, [judged_deliberations.example()])
  with pytest.raises(InputError, match=r'file.*: cannot read: No such file'):
    list(record_files.read(path))


def test_another_suffix_is_refused(tmp_path):
  with pytest.raises(InputError, match=r'ends in \.jsonl or \.parquet'):
    record_files.write(tmp_path / 'records.csv', [])


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    ('\n' + _line() + '\n{"id": 1}\n', ':3: schema: is missing'),
    (_line() + '\n' + _line(), ":2: id: 'library' is the id of line 1 already"),
    (_line(source=3), ':1: source: must be a text, got a number'),
    (_line()[:-9], ':1: not JSON'),
    ('[]', ':1: must be an object, got a list'),
    ('', ': holds no records'),
    (' \n\n', ': holds no records'),
    ('\ufeff' + _line(), ':1: starts with a byte order mark; save it as UTF-8'),
    (_line().encode('utf-16'), ':1: is UTF-16; save it as UTF-8'),
    (
      _line().encode() + b'\n' + _line(id='b').encode('latin-1'),
      'of the line is 0xe9',
    ),
  ],
)
def test_a_bad_line_is_named(tmp_path, data, message):
  path = tmp_path / 'records.jsonl'
  path.write_bytes(data if isinstance(data, bytes) else data.encode())
  with pytest.raises(InputError) as raised:
    list(record_files.read(path))
  assert str(raised.value).startswith(str(path))
  assert message in str(raised.value)


def test_the_place_of_a_byte_that_is_not_utf_8_is_exact(tmp_path):
  path = tmp_path / 'records.jsonl'
  path.write_bytes(_line().encode() + b'\n{"id": "\xff"}\n')
  with pytest.raises(InputError, match=r':2: not UTF-8: byte 9 .* 0xff'):
    list(record_files.read(path))


@pytest.mark.parametrize('bad', [b'{', b'{"id": "\xff"}', b'{"id": 3}'])
def test_bad_lines_can_be_collected(tmp_path, bad):
  path = tmp_path / 'records.jsonl'
  good = [_line().encode(), _line(id='other').encode()]
  path.write_bytes(b'\n'.join([good[0], bad, good[1], good[0]]))
  excluded = []
  records = list(record_files.read(path, excluded=excluded))
  assert [record.id for record in records] == ['library', 'other']
  assert [error.line for error in excluded] == [2, 4]
  assert 'is the id of line 1 already' in str(excluded[1])


def _table(tmp_path, change):
  path = tmp_path / 'records.parquet'
  examples = [
    dataclasses.replace(judged_deliberations.example(), id=str(i))
    for i in range(3)
  ]
  record_files.write(path, examples)
  parquet.write_table(change(parquet.read_table(path)), path)
  return path


def test_a_bad_row_and_field_are_named_or_collected(tmp_path):
  def change(table):
    rows = table.to_pylist()
    rows[1]['members'][0]['agreement'][1] = 9
    return pyarrow.Table.from_pylist(rows, table.schema)

  path = _table(tmp_path, change)
  with pytest.raises(InputError) as raised:
    list(record_files.read(path))
  assert str(raised.value) == (
    f'{path}: rows[1].members[0].agreement[1]: must be from 1 to 7, got 9'
  )
  excluded = []
  records = list(record_files.read(path, excluded=excluded))
  assert [record.id for record in records] == ['0', '2']
  assert len(excluded) == 1


def test_a_renamed_column_is_named_with_its_versions(tmp_path):
  path = _table(
    tmp_path, lambda table: table.rename_columns({'group': 'groups'})
  )
  with pytest.raises(InputError) as raised:
    list(record_files.read(path))
  assert "has no column 'group', which consensus_jax/judged/v1 has" in str(
    raised.value
  )
  assert "did 'groups' have that name before?" in str(raised.value)


def test_a_missing_field_of_a_list_is_named(tmp_path):
  def change(table):
    rows = table.to_pylist()
    for row in rows:
      for member in row['members']:
        del member['ranking']
    return pyarrow.Table.from_pylist(rows)

  path = _table(tmp_path, change)
  with pytest.raises(InputError, match=r"no column 'members\[\]\.ranking'"):
    list(record_files.read(path))


def test_an_unknown_column_is_named(tmp_path):
  path = _table(
    tmp_path, lambda table: table.append_column('mood', table['id'])
  )
  with pytest.raises(InputError, match="has a column 'mood', which no version"):
    list(record_files.read(path))


def test_another_version_is_named(tmp_path):
  version = {'consensus_jax.schema': 'consensus_jax/judged/v9'}
  path = _table(tmp_path, lambda table: table.replace_schema_metadata(version))
  with pytest.raises(InputError) as raised:
    list(record_files.read(path))
  assert "version 'consensus_jax/judged/v9'; this program reads" in str(
    raised.value
  )


def test_a_table_that_another_program_made_is_read(tmp_path):
  """Wider numbers and no version; only names count."""

  def change(table):
    wide = pyarrow.Table.from_pylist(table.to_pylist())
    assert wide.schema.metadata is None
    assert wide.schema != table.schema
    return wide

  path = _table(tmp_path, change)
  assert [each.id for each in record_files.read(path)] == ['0', '1', '2']


def test_a_damaged_parquet_file_never_passes_for_another(tmp_path):
  path = tmp_path / 'records.parquet'
  record_files.write(path, [judged_deliberations.example()])
  data = path.read_bytes()
  refused = 0
  for copy in [b'', data[: len(data) // 2], data[:-1], *_damaged(data)]:
    path.write_bytes(copy)
    try:
      assert list(record_files.read(path)) == [judged_deliberations.example()]
    except InputError as error:
      assert str(error).startswith(str(path))
      refused += 1
  assert refused > 100


def _damaged(data):
  return damage.copies(data, len(data), seed=0, number=150)
