"""Reads the files of a Polis export, whatever program last saved them.

summary.csv, comments.csv and participants-votes.csv, as
https://compdemocracy.org/export describes them.
"""

import csv
import dataclasses
import difflib
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int8

from consensus_jax.data.plain_text import one_line
from consensus_jax.strict_json import InputError

# In a matrix of votes: the statement was not shown, or not answered.
NO_VOTE = 2

_FILES = {
  'summary': ('summary.csv',),
  'comments': ('comments.csv',),
  'votes': ('participants-votes.csv', 'participant-votes.csv'),
}
# The name in an export, then others that exports and tools have used.
_COMMENT_COLUMNS = {
  'comment-id': ('commentid', 'tid'),
  'author-id': ('authorid', 'pid'),
  'moderated': ('moderation', 'mod'),
  'comment-body': ('commentbody', 'comment', 'body', 'txt'),
}
_OPTIONAL_COMMENT_COLUMNS: dict[str, tuple[str, ...]] = {
  'timestamp': ('created',),
  'agrees': ('agree', 'n-agree'),
  'disagrees': ('disagree', 'n-disagree'),
  'is-meta': ('meta',),
}
_PARTICIPANT_COLUMN = {
  'participant': ('participant-id', 'participantid', 'voter-id', 'pid')
}
# Columns of participants that are no votes; not needed.
_ABOUT_PARTICIPANTS = (
  *('xid', 'group-id', 'n-comments', 'n-votes', 'n-agree', 'n-disagree'),
)
# Programs that know only floats write 1 as 1.0.
_VOTES = {
  '': NO_VOTE,
  '1': 1,
  '0': 0,
  '-1': -1,
  '1.0': 1,
  '0.0': 0,
  '-0.0': 0,
  '-1.0': -1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comment:
  """One row of comments.csv.

  Attributes:
    id: comment-id.
    author: author-id; '' if the export does not say.
    text: comment-body, on one line, without control characters.
    moderated: 1 accepted, 0 not moderated, -1 rejected.
    meta: says who people are, as 'I live here'; newer exports know.
    timestamp: for order only; 0 if the export does not say.
    agrees: as the export counts them; None if it does not.
    disagrees: likewise.
  """

  id: str
  author: str
  text: str
  moderated: int
  meta: bool
  timestamp: float
  agrees: int | None
  disagrees: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
  """A Polis export.

  Attributes:
    topic: '' if there is none.
    description: with its paragraphs; '' if there is none.
    comments: by id.
    participants: by their row in the file.
    votes: 1 agree, -1 disagree, 0 pass, NO_VOTE; a row a participant, a
      column a comment.
    warnings: what was read, but is not as an export should be.
  """

  topic: str
  description: str
  comments: tuple[Comment, ...]
  participants: tuple[str, ...]
  votes: Int8[np.ndarray, 'participants comments']
  warnings: tuple[str, ...]


def read_export(folder: str | pathlib.Path) -> Export:
  """Reads the three files of an export.

  Tolerated: byte order marks, UTF-16, Windows-1252, semicolons or tabs for
  commas, any line ends, names in front of the files' names, a missing
  summary, columns in another order or of older names, votes as 1.0.

  Raises:
    InputError: with file, line and column, for what cannot be understood.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise InputError('is not a folder', file=str(folder))
  warnings: list[str] = []
  summary = _find(folder, 'summary')
  topic, description = '', ''
  if summary is None:
    warnings.append('there is no summary.csv, so the topic is not known')
  else:
    topic, description = _read_summary(_Table(summary, warnings))
  tables = {}
  for kind in ('comments', 'votes'):
    path = _find(folder, kind)
    if path is None:
      raise InputError(f'holds no {_FILES[kind][0]}', file=str(folder))
    tables[kind] = _Table(path, warnings)
  comments = _read_comments(tables['comments'])
  participants, votes = _read_votes(tables['votes'], comments, warnings)
  return Export(
    topic=topic,
    description=description,
    comments=comments,
    participants=participants,
    votes=votes,
    warnings=tuple(warnings),
  )


def read_opinion_groups(folder: str | pathlib.Path) -> dict[str, str]:
  """The group that Polis puts each participant in, '' for none, by their id.

  Raises:
    InputError: with file, line and column, for what cannot be understood.
  """
  path = _find(pathlib.Path(folder), 'votes')
  if path is None:
    raise InputError(f'holds no {_FILES["votes"][0]}', file=str(folder))
  table = _Table(path, [])
  places = table.places({**_PARTICIPANT_COLUMN, 'group-id': ()})
  return {
    _number_name(row[places['participant']].strip()): _number_name(
      row[places['group-id']].strip()
    )
    for _, row in table.body()
  }


class _Table:
  """A CSV file: rows with the line each starts on."""

  def __init__(self, path: pathlib.Path, warnings: list[str]):
    self.file = str(path)
    try:
      data = path.read_bytes()
    except OSError as error:
      message = f'cannot read: {error.strerror or error}'
      raise InputError(message, file=self.file) from None
    text = self._decoded(data, warnings)
    first = text[: text.find('\n') + 1] or text
    delimiter = max(',;\t', key=first.count)
    self.rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter)
    line = 1
    try:
      for row in reader:
        if any(row):
          self.rows.append((line, row))
        line = reader.line_num + 1
    except csv.Error as error:
      raise self.error(f'not CSV: {error}', line) from None
    if not self.rows:
      raise self.error('is empty', 1)

  def _decoded(self, data: bytes, warnings: list[str]) -> str:
    if data.startswith((b'\xff\xfe', b'\xfe\xff')):
      encoding = 'utf-16'
    else:
      encoding = 'utf-8-sig'
    try:
      return data.decode(encoding)
    except UnicodeDecodeError as error:
      line = 1 + data.count(b'\n', 0, error.start)
    name = pathlib.Path(self.file).name
    if encoding == 'utf-16':
      raise self.error('is cut off: not whole UTF-16', line)
    try:
      text = data.decode('cp1252')
    except UnicodeDecodeError:
      raise self.error('is neither UTF-8 nor Windows-1252', line) from None
    warnings.append(f'{name}:{line}: not UTF-8; read as Windows-1252')
    return text

  def error(
    self, message: str, line: int, column: str | None = None
  ) -> InputError:
    field = () if column is None else (column,)
    return InputError(message, field=field, line=line, file=self.file)

  @property
  def header(self) -> list[str]:
    return [_column(name) for name in self.rows[0][1]]

  def body(self) -> Sequence[tuple[int, list[str]]]:
    width = len(self.rows[0][1])
    for line, row in self.rows[1:]:
      if len(row) != width:
        raise self.error(f'has {len(row)} fields, the header has {width}', line)
    return self.rows[1:]

  def places(
    self,
    required: Mapping[str, tuple[str, ...]],
    optional: Mapping[str, tuple[str, ...]] | None = None,
  ) -> dict[str, int]:
    # Where each column stands; those that are missing and optional do not.
    header = self.header
    places = {}
    for name, others in {**required, **(optional or {})}.items():
      found = [each for each in (name, *others) if each in header]
      if found:
        places[name] = header.index(found[0])
      elif name in required:
        near = difflib.get_close_matches(name, header, n=1)
        hint = f'did you mean {near[0]!r}' if near else f'it has {header[:12]}'
        raise self.error(f'the column is missing ({hint})', 1, name)
    for name, place in places.items():
      if header.count(header[place]) > 1:
        raise self.error('the column stands there twice', 1, name)
    return places

  def integer(self, line: int, column: str, text: str) -> int:
    try:
      number = float(text)
      if number.is_integer():
        return int(number)
    except ValueError:
      pass
    raise self.error(f'must be a whole number, got {text!r}', line, column)


def _column(name: str) -> str:
  return re.sub('[ _]', '-', name.strip().casefold())


def _find(folder: pathlib.Path, kind: str) -> pathlib.Path | None:
  for name in _FILES[kind]:
    if (folder / name).is_file():
      return folder / name
  # Downloads from a report have a name in front: 2020-01-01-topic-votes.csv
  found = sorted(
    path
    for path in folder.iterdir()
    if any(path.name.casefold().endswith(f'-{name}') for name in _FILES[kind])
  )
  if len(found) > 1:
    names = ', '.join(path.name for path in found)
    raise InputError(
      f'holds several: {names}; one conversation has a folder of its own',
      file=str(folder),
    )
  return found[0] if found else None


def _read_summary(table: _Table) -> tuple[str, str]:
  values = {_column(row[0]): ' '.join(row[1:]) for _, row in table.rows}
  description = values.get('conversation-description', '')
  return one_line(values.get('topic', '')), description


def _read_comments(table: _Table) -> tuple[Comment, ...]:
  places = table.places(_COMMENT_COLUMNS, _OPTIONAL_COMMENT_COLUMNS)
  comments: dict[str, Comment] = {}
  lines: dict[str, int] = {}
  for line, row in table.body():
    cells = {name: row[place].strip() for name, place in places.items()}
    id = _number_name(cells['comment-id'])
    if not id:
      raise table.error('is empty', line, 'comment-id')
    if id in comments:
      message = f'comment {id} stands on line {lines[id]} already'
      raise table.error(message, line, 'comment-id')
    moderated = table.integer(line, 'moderated', cells['moderated'])
    if moderated not in (-1, 0, 1):
      message = f'must be -1, 0 or 1, got {moderated}'
      raise table.error(message, line, 'moderated')
    counts = [
      table.integer(line, name, cells[name]) if cells.get(name) else None
      for name in ('agrees', 'disagrees')
    ]
    # A date in words is not needed: ids are given in the order of time.
    timestamp = cells.get('timestamp', '')
    lines[id] = line
    comments[id] = Comment(
      id=id,
      author=_number_name(cells['author-id']),
      text=one_line(row[places['comment-body']]),
      moderated=moderated,
      meta=cells.get('is-meta', '').casefold() in ('true', 't', '1'),
      timestamp=float(timestamp) if timestamp.isdecimal() else 0.0,
      agrees=counts[0],
      disagrees=counts[1],
    )
  return tuple(sorted(comments.values(), key=lambda each: natural(each.id)))


def natural(id: str) -> tuple[int, str]:
  """A key that sorts numbers by value and before other names."""
  return (int(id), '') if id.isdecimal() else (1 << 62, id)


def _number_name(text: str) -> str:
  # Programs that know only floats write person 12 as 12.0.
  return text.removesuffix('.0') if re.fullmatch(r'\d+\.0', text) else text


def _read_votes(
  table: _Table, comments: Sequence[Comment], warnings: list[str]
) -> tuple[tuple[str, ...], Int8[np.ndarray, 'participants comments']]:
  places = table.places(_PARTICIPANT_COLUMN)
  header = [_number_name(name) for name in table.header]
  known = {comment.id: index for index, comment in enumerate(comments)}
  columns: dict[str, int] = {}  # Of votes: id -> place in a row.
  for place, name in enumerate(header):
    if name in columns:
      raise table.error('the column stands there twice', 1, name)
    if name in known:
      columns[name] = place
    elif name.isdecimal():
      raise table.error('comments.csv has no comment of this id', 1, name)
    elif place != places['participant'] and name not in _ABOUT_PARTICIPANTS:
      file = pathlib.Path(table.file).name
      warnings.append(f'{file}: column {name!r} is not known and not read')
  for comment in comments:
    if comment.moderated == 1 and comment.id not in columns:
      file = pathlib.Path(table.file).name
      warnings.append(f'{file}: no column for accepted comment {comment.id}')

  votes = np.full((len(table.rows) - 1, len(comments)), NO_VOTE, np.int8)
  targets = [known[name] for name in columns]
  first_line: dict[str, int] = {}
  for index, (line, row) in enumerate(table.body()):
    participant = _number_name(row[places['participant']].strip())
    if not participant:
      raise table.error('is empty', line, 'participant')
    if participant in first_line:
      raise table.error(
        f'participant {participant} stands on line '
        f'{first_line[participant]} already',
        line,
        'participant',
      )
    first_line[participant] = line
    cells = [row[place].strip() for place in columns.values()]
    try:
      votes[index, targets] = [_VOTES[cell] for cell in cells]
    except KeyError:
      name, cell = next(
        (name, cell) for name, cell in zip(columns, cells) if cell not in _VOTES
      )
      raise table.error(
        f'must be 1, 0, -1 or empty, got {cell!r}', line, name
      ) from None
  return tuple(first_line), votes
