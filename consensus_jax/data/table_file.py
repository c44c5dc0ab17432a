"""Tables that people have, CSV, JSONL or parquet, as rows of text."""

import codecs
import csv
import dataclasses
import io
import math
import os
import pathlib
import unicodedata
from collections.abc import Iterator

from consensus_jax import strict_json
from consensus_jax.data import record_files
from consensus_jax.strict_json import InputError

FORMATS = ('.csv', '.tsv', '.txt', '.jsonl', '.parquet')
_DELIMITERS = ',;\t'
# Spreadsheets mark what they save as "Unicode".
_MARKS = (
  (codecs.BOM_UTF8, 'utf-8-sig'),
  (codecs.BOM_UTF16_LE, 'utf-16'),
  (codecs.BOM_UTF16_BE, 'utf-16'),
)

# The cells of a row by the name of the column, or why the row is none.
Row = dict[str, object] | InputError


@dataclasses.dataclass(frozen=True)
class Table:
  """A table whose rows are read one after the other.

  Attributes:
    header: the names of its columns.
    rows: each with its place, 'line 2' of a text file (from 1) or 'row 0'.
  """

  header: tuple[str, ...]
  rows: Iterator[tuple[str, Row]]


def read(path: str | os.PathLike[str], *, encoding: str = 'utf-8') -> Table:
  """Reads a table, by the end of the file's name.

  CSV has a heading, and commas, semicolons or tabs: what its heading has most
  of. A blank line is no row.

  Args:
    path: of the file.
    encoding: of a text file; a byte order mark goes before it.

  Raises:
    InputError: with the file, and the line where there is one.
  """
  suffix = pathlib.Path(path).suffix.lower()
  try:
    if suffix not in FORMATS:
      raise InputError(f'the name of a table ends in {" or ".join(FORMATS)}')
    if suffix == '.parquet':
      return _parquet(path)
    text = _text(path, encoding)
    return _jsonl(text) if suffix == '.jsonl' else _csv(text)
  except InputError as error:
    raise error.at(file=str(path)) from None


def cell(value: object) -> str:
  """A cell as text: no space around it, one form of writing, '' for none.

  Raises:
    InputError: if it holds more than a text or a number.
  """
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ''
  if isinstance(value, float) and value.is_integer():
    # Columns of whole numbers with gaps become floats in many tools.
    return str(int(value))
  if isinstance(value, str | int | float):
    return unicodedata.normalize('NFC', str(value).strip())
  raise InputError('is neither a text nor a number')


def _parquet(path: str | os.PathLike[str]) -> Table:
  header: tuple[str, ...] = ()

  def note(schema):
    nonlocal header
    header = tuple(schema.names)

  # All of it, so that damage is found before anything is made of it.
  rows: list[Row] = list(record_files.parquet_rows(path, check=note))
  return Table(header, ((f'row {i}', row) for i, row in enumerate(rows)))


def _jsonl(text: str) -> Table:
  rows: list[tuple[str, Row]] = []
  names: dict[str, None] = {}
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    try:
      row = strict_json.parse(line)
      if not isinstance(row, dict):
        raise InputError('must be an object')
      names |= dict.fromkeys(row)
      rows.append((f'line {number}', row))
    except InputError as error:
      rows.append((f'line {number}', error))
  return Table(tuple(names), iter(rows))


def _csv(text: str) -> Table:
  first = text.lstrip().split('\n', 1)[0]
  delimiter = max(_DELIMITERS, key=first.count)
  lines = _csv_lines(text, delimiter)
  place, header = next(lines, ('line 1', []))
  names = [name.strip() for name in header]
  for name in names:
    # Spreadsheets leave columns without a name at the end.
    if name and names.count(name) > 1:
      line = int(place.removeprefix('line '))
      raise InputError(f'two columns have the name {name!r}', line=line)

  def rows() -> Iterator[tuple[str, Row]]:
    for place, cells in lines:
      if len(cells) == len(names):
        yield place, dict(zip(names, cells, strict=True))
      else:
        yield place, InputError(f'has not {len(names)} cells, as the heading')

  return Table(tuple(names), rows())


def _csv_lines(text: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
  reader = csv.reader(
    io.StringIO(text, newline=''), delimiter=delimiter, strict=True
  )
  while True:
    line = reader.line_num + 1
    try:
      cells = next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      raise InputError(f'not CSV: {error}', line=line) from None
    if any(each.strip() for each in cells):
      yield f'line {line}', cells


def _text(path: str | os.PathLike[str], encoding: str) -> str:
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise InputError(f'cannot read: {error.strerror or error}') from None
  for mark, marked in _MARKS:
    if data.startswith(mark):
      encoding = marked
  try:
    return data.decode(encoding)
  except LookupError:
    raise InputError(f'there is no encoding {encoding!r}') from None
  except UnicodeDecodeError as error:
    raise InputError(
      f'byte {error.start + 1} of the file, 0x{data[error.start]:02x}, is not '
      f'{encoding}; save it as UTF-8 or name its encoding, such as cp1252',
      line=1 + data.count(b'\n', 0, error.start),
    ) from None
