"""Reads files of deliberations: JSON or JSONL, one record or many."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable

from consensus_jax import strict_json
from consensus_jax.deliberation import Deliberation, InputError


@dataclasses.dataclass(frozen=True)
class Entry:
  """One record of the input: a deliberation, or the error that it is none.

  Attributes:
    line: where the record starts, from 1.
    content: what it holds.
    id: its own id, if it has a proper one.
  """

  line: int
  content: Deliberation | InputError
  id: str | None


@dataclasses.dataclass(frozen=True)
class Source:
  """The records of one input; `many` if their outcomes go one to a line."""

  name: str
  entries: tuple[Entry, ...]
  many: bool


def read(path: str) -> Source:
  """Reads deliberations from JSON (one record, or an array) or JSONL.

  The content decides which of them it is. A record that is none does not keep
  the others from being read, unless it is the only one.

  Args:
    path: a file, or '-' for standard input.

  Raises:
    InputError: if there is nothing to read, or the only record is bad.
  """
  name = '<stdin>' if path == '-' else path
  try:
    if path == '-':
      data = sys.stdin.buffer.read()
    else:
      data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise InputError(
      f'cannot read: {error.strerror or error}', file=name
    ) from None
  try:
    entries, many = _entries(data, lines=path.endswith('.jsonl'))
  except InputError as error:
    raise error.at(file=name) from None
  entries = tuple(
    dataclasses.replace(entry, content=entry.content.at(file=name))
    if isinstance(entry.content, InputError)
    else entry
    for entry in entries
  )
  if not many and isinstance(entries[0].content, InputError):
    raise entries[0].content
  return Source(name, entries, many)


def _entries(data: bytes, *, lines: bool) -> tuple[tuple[Entry, ...], bool]:
  if data.startswith((b'\xff\xfe', b'\xfe\xff')):
    raise InputError('is UTF-16; save it as UTF-8', line=1)
  if data.startswith(b'\xef\xbb\xbf'):
    raise InputError(
      'starts with a byte order mark; save it as UTF-8 without BOM', line=1
    )
  # A byte that is not UTF-8 spoils its own line only.
  text = data.decode(errors='surrogateescape')
  if not text.strip():
    raise InputError('is empty')
  try:
    value = strict_json.parse(text)
  except InputError:
    numbered = [
      (number, line)
      for number, line in enumerate(text.split('\n'), 1)
      if line.strip()
    ]
    if not lines and not any(_is_record(line) for _, line in numbered):
      raise
    entries = (_line_entry(number, line) for number, line in numbered)
    return _refuse_repeated(entries), True
  if isinstance(value, list):
    if not value:
      raise InputError('holds no deliberations', line=1)
    starts = zip(value, strict_json.item_starts(text), strict=True)
    entries = (_entry(text, item, start) for item, start in starts)
    return _refuse_repeated(entries), True
  return (_entry(text, value, 0),), lines


def _is_record(line: str) -> bool:
  # Pretty-printed JSON has small objects on lines too, but those are indented.
  try:
    return line.startswith('{') and isinstance(strict_json.parse(line), dict)
  except InputError:
    return False


def _line_entry(number: int, line: str) -> Entry:
  try:
    entry = _entry(line, strict_json.parse(line), 0)
  except InputError as error:
    return Entry(number, error.at(line=number), None)
  if isinstance(entry.content, InputError):
    entry = dataclasses.replace(entry, content=entry.content.at(line=number))
  return dataclasses.replace(entry, line=number)


def _entry(text: str, value: object, start: int) -> Entry:
  line = strict_json.line_of(text, (), start)
  name = value.get('id') if isinstance(value, dict) else None
  try:
    return Entry(line, Deliberation.from_json(value), _id(name))
  except InputError as error:
    place = strict_json.line_of(text, error.field, start)
    return Entry(line, error.at(line=place), _id(name))


def _id(value: object) -> str | None:
  try:
    return strict_json.check_text(value, ())
  except InputError:
    return None


def _refuse_repeated(entries: Iterable[Entry]) -> tuple[Entry, ...]:
  lines: dict[str, int] = {}
  unique = []
  for entry in entries:
    if entry.id is not None and isinstance(entry.content, Deliberation):
      first = lines.setdefault(entry.id, entry.line)
      if first != entry.line:
        error = InputError(
          f'{entry.id!r} is the id of line {first} already',
          field=('id',),
          line=entry.line,
        )
        entry = dataclasses.replace(entry, content=error)
    unique.append(entry)
  return tuple(unique)


def require_candidates(source: Source) -> Source:
  """The same source, where a record without candidates is an error.

  Raises:
    InputError: if that is the only record.
  """
  entries = []
  for entry in source.entries:
    if isinstance(entry.content, Deliberation) and not entry.content.candidates:
      error = InputError(
        'is missing: there is nothing to rank',
        field=('candidates',),
        line=entry.line,
        file=source.name,
      )
      if not source.many:
        raise error
      entry = dataclasses.replace(entry, content=error)
    entries.append(entry)
  return dataclasses.replace(source, entries=tuple(entries))


def shard(source: Source, index: int, count: int) -> Source:
  """Every `count`-th record of a source of many, from the one at `index`."""
  return dataclasses.replace(source, entries=source.entries[index::count])
