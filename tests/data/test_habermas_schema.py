import pyarrow as pa
import pytest
from data.habermas_files import as_published
from pyarrow import parquet

from consensus_jax.data import habermas_schema as schema
from consensus_jax.strict_json import InputError


def write(path, columns):
  parquet.write_table(pa.schema(columns).empty_table(), path)
  return path


def test_what_is_known_of_the_published_files():
  assert len(schema.POSITIONS.columns) == schema.POSITIONS.num_columns == 26
  assert [file.rows for file in schema.FILES] == [39955, 45976, 21608, 10455]
  for file in schema.FILES:
    assert file.name.startswith('hm_all_') and file.name.endswith('.parquet')
    assert (
      len(file.sha256 or '0' * 64) == 64 and len(file.md5 or '0' * 32) == 32
    )
  assert schema.IMPORTANCE['MODRATELY_IMPORTANT'] == 3
  for names in (schema.AGREEMENT, schema.QUALITY):
    assert sorted(names.values()) == [-1, *range(1, 8)]


@pytest.mark.parametrize('file', schema.FILES)
def test_files_with_all_columns_fit(tmp_path, file):
  opened = schema.open_file(write(tmp_path / 'x', as_published(file)), file)
  assert opened.schema_arrow.names == [*file.columns]


@pytest.mark.parametrize('file', schema.FILES)
def test_columns_that_are_not_needed_may_be_absent(tmp_path, file):
  columns = [
    each for each in as_published(file) if file.columns[each.name].needed
  ]
  schema.open_file(write(tmp_path / 'x', columns), file)


def renamed(file, old, new):
  return [
    pa.field(new if each.name == old else each.name, each.type)
    for each in as_published(file)
  ]


def test_a_renamed_column(tmp_path):
  columns = renamed(
    schema.COMPARISONS, 'candidates.text', 'candidates.statement_text'
  )
  with pytest.raises(InputError) as error:
    schema.open_file(write(tmp_path / 'x', columns), schema.COMPARISONS)
  assert str(error.value) == (
    f'{tmp_path / "x"}: candidates.text: the column is missing; did you mean '
    "'candidates.statement_text'? (the published "
    'hm_all_candidate_comparisons.parquet, 39955 rows, 104 columns, has it)'
  )


def test_the_wrong_file(tmp_path):
  path = write(tmp_path / 'x', as_published(schema.POSITIONS))
  with pytest.raises(InputError, match=r'is missing.*position_statement_rati'):
    schema.open_file(path, schema.COMPARISONS)


@pytest.mark.parametrize(
  'name, kind, fits',
  [
    ('launch_id', pa.large_string(), True),
    ('launch_id', pa.dictionary(pa.int32(), pa.string()), True),
    ('launch_id', pa.int64(), False),
    ('worker_id', pa.null(), True),
    ('iteration_index', pa.float64(), True),
    ('iteration_index', pa.string(), False),
    ('candidates.text', pa.large_list(pa.large_string()), True),
    ('candidates.text', pa.string(), False),
    ('rankings.numerical_ranks', pa.list_(pa.int8()), True),
    ('rankings.numerical_ranks', pa.list_(pa.string()), False),
  ],
)
def test_types(tmp_path, name, kind, fits):
  columns = [
    pa.field(each.name, kind if each.name == name else each.type)
    for each in as_published(schema.COMPARISONS)
  ]
  path = write(tmp_path / 'x', columns)
  if fits:
    schema.open_file(path, schema.COMPARISONS)
  else:
    with pytest.raises(InputError, match=f'{name}: must be '):
      schema.open_file(path, schema.COMPARISONS)


def test_no_whole_parquet_file(tmp_path):
  path = write(tmp_path / 'x', as_published(schema.POSITIONS))
  whole = path.read_bytes()
  for size in (0, 3, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:size])
    with pytest.raises(InputError, match='is not a whole parquet file'):
      schema.open_file(path, schema.POSITIONS)
  with pytest.raises(InputError, match='there is no such file'):
    schema.open_file(tmp_path / 'y', schema.POSITIONS)
