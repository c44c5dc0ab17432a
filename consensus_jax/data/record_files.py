"""Files of judged deliberations: JSONL and parquet, one record at a time.

    records = list(record_files.read('study.jsonl'))
    record_files.write('study.parquet', records)

A name that ends in .jsonl or .parquet says which of them it is. What is written
is whole or not there; what is read is checked, record by record.
"""

import contextlib
import dataclasses
import difflib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from consensus_jax import strict_json
from consensus_jax.data.records import SCHEMA, JudgedDeliberation
from consensus_jax.strict_json import InputError

# Records held at once; a conversation of Polis may be one of some megabytes.
_BATCH = 64
_FORMATS = ('.jsonl', '.parquet')

Path = str | os.PathLike[str]


def read(
  path: Path, *, excluded: list[InputError] | None = None
) -> Iterator[JudgedDeliberation]:
  """Reads records of either format, by the end of the file's name.

  Args:
    path: of a .jsonl or .parquet file.
    excluded: takes the error of each bad record, which is then left out;
      None raises the first one. A fault of the file as a whole always raises.

  Raises:
    InputError: with the file, and the line (JSONL) or row (parquet, counted
      from 0) and field of a bad record.
  """
  by_format = {'.jsonl': read_jsonl, '.parquet': read_parquet}
  return by_format[_format(path)](path, excluded=excluded)


def write(path: Path, records: Iterable[JudgedDeliberation]) -> int:
  """Writes records in either format, by the end of the name; how many."""
  by_format = {'.jsonl': write_jsonl, '.parquet': write_parquet}
  return by_format[_format(path)](path, records)


def _format(path: Path) -> str:
  suffix = pathlib.Path(path).suffix
  if suffix not in _FORMATS:
    raise InputError(
      f'a file of records ends in {" or ".join(_FORMATS)}', file=str(path)
    )
  return suffix


def read_jsonl(
  path: Path, *, excluded: list[InputError] | None = None
) -> Iterator[JudgedDeliberation]:
  """Reads records of JSON, one a line; see `read`."""
  places: dict[str, str] = {}
  with _reading(path) as file:
    for line, data in enumerate(file, 1):
      if line == 1:
        _check_byte_order_mark(data, path)
      if not data.strip():
        continue
      try:
        value = strict_json.parse(decoded(data))
        yield _checked(value, places, f'line {line}')
      except InputError as error:
        _refuse(error.at(file=str(path), line=line), excluded)
  if not places and not excluded:
    raise InputError('holds no records', file=str(path))


def decoded(line: bytes) -> str:
  """The text of one line.

  Raises:
    InputError: naming the byte that is not UTF-8.
  """
  try:
    return line.decode()
  except UnicodeDecodeError as error:
    raise InputError(
      f'not UTF-8: byte {error.start + 1} of the line is '
      f'0x{line[error.start]:02x}'
    ) from None


def write_jsonl(path: Path, records: Iterable[JudgedDeliberation]) -> int:
  """Writes records as JSON, one a line; returns how many.

  Raises:
    InputError: if there are none, two have one id, or the system refuses.
  """
  with replacing(path) as temporary, temporary.open('wb') as file:
    count = 0
    for record in _distinct(records, path):
      file.write(strict_json.dump(record.to_json()).encode() + b'\n')
      count += 1
  return count


def read_parquet(
  path: Path, *, excluded: list[InputError] | None = None
) -> Iterator[JudgedDeliberation]:
  """Reads records of parquet, one a row; see `read`."""
  places: dict[str, str] = {}
  for row, value in enumerate(parquet_rows(path, check=_check_columns)):
    try:
      yield _checked({'schema': SCHEMA, **value}, places, f'rows[{row}]')
    except InputError as error:
      _refuse(error.at(file=str(path), within=('rows', row)), excluded)
  if not places and not excluded:
    raise InputError('holds no records', file=str(path))


def parquet_rows(
  path: Path, *, check: Callable[[Any], None] = lambda schema: None
) -> Iterator[dict[str, Any]]:
  """The rows of any parquet file, as values of Python.

  Args:
    path: of the file.
    check: called with the file's Arrow schema before a row is read; raises
      InputError.

  Raises:
    InputError: if the file is no parquet, or damaged.
  """
  import pyarrow
  from pyarrow import parquet

  try:
    with _reading(path) as file:
      table = parquet.ParquetFile(file, page_checksum_verification=True)
      check(table.schema_arrow)
      for batch in table.iter_batches(batch_size=_BATCH):
        yield from batch.to_pylist()
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise InputError(
      f'is no parquet file, or a damaged one: {reason}', file=str(path)
    ) from None
  except InputError as error:
    raise error.at(file=str(path)) from None


def write_parquet(path: Path, records: Iterable[JudgedDeliberation]) -> int:
  """Writes records as parquet, one a row; returns how many.

  Raises:
    InputError: if there are none, two have one id, or the system refuses.
  """
  import pyarrow
  from pyarrow import parquet

  schema = _arrow_schema()
  rows = map(dataclasses.asdict, _distinct(records, path))
  with (
    replacing(path) as temporary,
    parquet.ParquetWriter(
      temporary, schema, compression='zstd', write_page_checksum=True
    ) as writer,
  ):
    count = 0
    while batch := list(itertools.islice(rows, _BATCH)):
      writer.write_table(pyarrow.Table.from_pylist(batch, schema))
      count += len(batch)
  return count


def make_folder(path: Path) -> pathlib.Path:
  """Makes a folder, and those above it, if it is not there.

  Raises:
    InputError: if the system does not let it.
  """
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f'cannot be made: {error.strerror}', file=str(path)
    ) from None
  return folder


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[pathlib.Path]:
  """A temporary file that takes the place of `path` when the block ends well.

  Until then, and if the block fails, what was at `path` stays.

  Raises:
    InputError: if the system does not let it.
  """
  target = pathlib.Path(path).resolve()
  temporary = target.with_name(f'.{target.name}.{os.getpid()}.part')
  try:
    temporary.touch()
    yield temporary
    with temporary.open('rb') as file:
      os.fsync(file.fileno())
    os.replace(temporary, target)
  except OSError as error:
    raise InputError(
      f'cannot write: {error.strerror or error}', file=str(path)
    ) from None
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(pathlib.Path(path).open('rb'))
    except OSError as error:
      raise InputError(
        f'cannot read: {error.strerror or error}', file=str(path)
      ) from None
    yield file


def _check_byte_order_mark(line: bytes, path: Path) -> None:
  message = None
  if line.startswith((b'\xff\xfe', b'\xfe\xff')):
    message = 'is UTF-16; save it as UTF-8'
  elif line.startswith(b'\xef\xbb\xbf'):
    message = 'starts with a byte order mark; save it as UTF-8 without BOM'
  if message:
    raise InputError(message, file=str(path), line=1)


def _checked(
  value: object, places: dict[str, str], place: str
) -> JudgedDeliberation:
  record = JudgedDeliberation.from_json(value)
  first = places.setdefault(record.id, place)
  if first != place:
    raise InputError(
      f'{record.id!r} is the id of {first} already', field=('id',)
    )
  return record


def _refuse(error: InputError, excluded: list[InputError] | None) -> None:
  if excluded is None:
    raise error from None
  excluded.append(error)


def _distinct(
  records: Iterable[JudgedDeliberation], path: Path
) -> Iterator[JudgedDeliberation]:
  ids: set[str] = set()
  for record in records:
    if record.id in ids:
      raise InputError(f'two records have the id {record.id!r}', file=str(path))
    ids.add(record.id)
    yield record
  if not ids:
    raise InputError('there are no records to write', file=str(path))


# Columns of each version; a list is written `members[].judged`.
_COLUMNS = {
  SCHEMA: (
    'id',
    'source',
    'group',
    'question.text',
    'question.id',
    'question.topic',
    'question.split',
    'question.affirming',
    'question.negating',
    'statements[].text',
    'statements[].id',
    'statements[].author',
    'statements[].provenance',
    'statements[].round',
    'members[].participant',
    'members[].opinion',
    'members[].opinion_provenance',
    'members[].judged',
    'members[].agreement',
    'members[].quality',
    'members[].ranking',
    'members[].votes',
    'members[].critique',
    'members[].position_before',
    'members[].position_after',
  )
}
_METADATA_KEY = b'consensus_jax.schema'


def _arrow_schema() -> Any:
  import pyarrow as pa

  small = {'round', 'position_before', 'position_after'}
  lists = {
    'judged': pa.int32(),
    'agreement': pa.int8(),
    'quality': pa.int8(),
    'ranking': pa.int32(),
    'votes': pa.int8(),
  }

  def field(name: str) -> tuple[str, Any]:
    if name in lists:
      return name, pa.list_(lists[name])
    return name, pa.int32() if name in small else pa.string()

  def struct(prefix: str) -> Any:
    names = [c for c in _COLUMNS[SCHEMA] if c.startswith(prefix)]
    return pa.struct([field(name.removeprefix(prefix)) for name in names])

  return pa.schema(
    [
      *map(field, ('id', 'source', 'group')),
      ('question', struct('question.')),
      ('statements', pa.list_(struct('statements[].'))),
      ('members', pa.list_(struct('members[].'))),
    ],
    metadata={_METADATA_KEY: SCHEMA},
  )


def _check_columns(schema: Any) -> None:
  metadata = schema.metadata or {}
  version = metadata.get(_METADATA_KEY, SCHEMA.encode()).decode(
    errors='replace'
  )
  if version not in _COLUMNS:
    raise InputError(
      f'is of version {version!r}; this program reads {", ".join(_COLUMNS)}'
    )
  have = [name for field in schema for name in _flat(field.name, field.type)]
  known = _COLUMNS[version]
  for column in known:
    if column not in have:
      near = difflib.get_close_matches(
        column, [name for name in have if name not in known], n=1
      )
      hint = f'; did {near[0]!r} have that name before?' if near else ''
      versions = [name for name, names in _COLUMNS.items() if column in names]
      raise InputError(
        f'has no column {column!r}, which {", ".join(versions)} has{hint}; '
        f'columns of the file: {", ".join(have)}'
      )
  for column in have:
    if column not in known:
      raise InputError(
        f'has a column {column!r}, which no version knows '
        f'({", ".join(_COLUMNS)})'
      )


def _flat(name: str, kind: Any) -> Iterator[str]:
  """Names of the leaves, as `_COLUMNS` writes them."""
  from pyarrow import types

  if types.is_struct(kind):
    for field in kind:
      yield from _flat(f'{name}.{field.name}', field.type)
  elif (types.is_list(kind) or types.is_large_list(kind)) and types.is_struct(
    kind.value_type
  ):
    for field in kind.value_type:
      yield from _flat(f'{name}[].{field.name}', field.type)
  else:
    yield name
