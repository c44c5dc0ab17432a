"""A user's own ratings: a table of one row for each person and statement.

    imported = table_import.read(
      'ratings.csv', columns={'participant': 'PID', 'agreement': 'Q7'}
    )
    record_files.write('ratings.jsonl', imported.records)

What cannot be used is left out, counted and shown; a fault of the table as a
whole is an error.
"""

import dataclasses
import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from consensus_jax.data import judgement_words, leaked_prefixes, table_file
from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.near_duplicates import normalised
from consensus_jax.data.records import (
  JUDGEMENTS,
  JudgedDeliberation,
  Member,
  Question,
  Split,
  Statement,
)
from consensus_jax.strict_json import InputError, check_string, check_text

REQUIRED = ('question', 'participant', 'statement')
JUDGED_BY = ('agreement', 'quality', 'rank', 'vote')
OPTIONAL = ('opinion', 'group', 'topic', 'split', 'round', 'author')
COLUMNS = (*REQUIRED, *JUDGED_BY, *OPTIONAL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
  """What came of a table.

  Attributes:
    records: one for each group and question, in the order of the table.
    num_rows: rows of the table, without its heading.
    num_judgements: ratings, ranks and votes in the records.
    num_stripped: rows whose statement lost a leaked heading.
    unused_columns: columns of the table that were not read.
    exclusions: what was left out, why, and the first places.
  """

  records: tuple[JudgedDeliberation, ...]
  num_rows: int
  num_judgements: int
  num_stripped: int
  unused_columns: tuple[str, ...]
  exclusions: tuple[Exclusion, ...]


def read(
  path: str | os.PathLike[str],
  *,
  columns: Mapping[str, str] | None = None,
  source: str = 'table',
  best_rank: int = 1,
  encoding: str = 'utf-8',
) -> Imported:
  """Reads a table of judgements.

  A row holds what one person said of one statement. The person's opinion need
  stand in one of the rows only, and a row may bring an opinion alone. Ratings
  are 1 to 7 or their words ("strongly agree", "good quality"), votes -1, 0, 1
  or words ("agree", "pass", "disagree").

  Args:
    path: CSV, JSONL or parquet; see `table_file.read`.
    columns: the table's name of any of `COLUMNS`; one that is not given has
      its own name, if the table has such a column.
    source: goes into the records.
    best_rank: the best rank in the table, 1 or 0.
    encoding: of a text file.

  Raises:
    InputError: if the file cannot be read, lacks a column, or holds no
      judgement that can be used.
  """
  table = table_file.read(path, encoding=encoding)
  try:
    used = _choose_columns(table.header, columns or {})
    collected = _Collected(best_rank)
    num_rows = 0
    for place, row in table.rows:
      num_rows += 1
      collected.add(place, row, used)
    records = collected.records(source)
    _check_any(records, collected.tally.exclusions())
  except InputError as error:
    raise error.at(file=str(path)) from None
  return Imported(
    records=records,
    num_rows=num_rows,
    num_judgements=_count_judgements(records),
    num_stripped=collected.num_stripped,
    unused_columns=tuple(
      name for name in table.header if name and name not in used.values()
    ),
    exclusions=collected.tally.exclusions(),
  )


def _choose_columns(
  header: Sequence[str], columns: Mapping[str, str]
) -> dict[str, str]:
  """The table's name of each of `COLUMNS` that it has."""
  for ours, theirs in columns.items():
    if ours not in COLUMNS:
      raise InputError(f'unknown column{_near(ours, COLUMNS)}', field=(ours,))
    if theirs not in header:
      raise InputError(
        f'has no column {theirs!r}{_near(theirs, header)}', field=(ours,)
      )
  used = {name: name for name in COLUMNS if name in header} | dict(columns)
  for name in REQUIRED:
    if name not in used:
      raise InputError(
        f'has no column {name!r}, and none was named for it'
        f'{_near(name, header)}'
      )
  if not any(name in used for name in JUDGED_BY):
    raise InputError(
      f'has none of the columns {", ".join(JUDGED_BY)}, and none was named for '
      f'them; there are: {", ".join(header)}'
    )
  return used


def _near(name: str, names: Sequence[str]) -> str:
  lower = {each.lower(): each for each in names}
  near = difflib.get_close_matches(name.lower(), lower, n=1)
  hint = f'; did you mean {lower[near[0]]!r}?' if near else ''
  return f'{hint}; there are: {", ".join(names) or "none"}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
  """One row, each cell understood."""

  group: str
  question: Question
  participant: str
  opinion: str
  statement: tuple[int, str, str] | None  # round, text, author
  judgements: dict[str, int | None]  # by field of a record


def _understand(cells: Mapping[str, str], best_rank: int) -> tuple[_Row, bool]:
  """The row, and whether a leaked heading was stripped.

  Raises:
    InputError: whose field is the column.
  """

  def read_with(name: str, read: Any) -> Any:
    try:
      return read(cells.get(name, ''))
    except InputError as error:
      raise error.at(within=(name,)) from None

  for name in ('question', 'participant'):
    read_with(name, lambda text: check_text(text, ()))
  question = Question(
    text=cells['question'],
    topic=cells.get('topic', ''),
    split=read_with('split', _split),
  )
  text = leaked_prefixes.strip(cells['statement'])
  statement = None
  if text:
    check_text(text, ('statement',))
    round_ = read_with('round', _round)
    statement = round_, text, cells.get('author', '')
  row = _Row(
    group=cells.get('group', ''),
    question=question,
    participant=cells['participant'],
    opinion=cells.get('opinion', ''),
    statement=statement,
    judgements={
      'agreement': read_with('agreement', judgement_words.likert_agreement),
      'quality': read_with('quality', judgement_words.likert_quality),
      'ranking': read_with(
        'rank', lambda text: judgement_words.rank(text, best_rank)
      ),
      'votes': read_with('vote', judgement_words.vote),
    },
  )
  if row.opinion:
    check_text(row.opinion, ('opinion',))
  return row, text != cells['statement']


def _split(text: str) -> Split | None:
  name = text.lower()
  for known in get_args(Split):
    if name == known:
      return known
  if name:
    raise InputError(f'is none of {", ".join(get_args(Split))}')
  return None


def _round(text: str) -> int:
  number = judgement_words.whole_number(text or '0')
  if number is None or number < 0:
    raise InputError('is no whole number from 0 on')
  return number


class _Person:
  """What the rows so far say of one member of a deliberation."""

  def __init__(self):
    self.opinion = ''
    self.judged: dict[int, dict[str, int | None]] = {}


class _Gathering:
  """What the rows so far say of one group and question."""

  def __init__(self):
    self.statements: dict[tuple[int, str, str], int] = {}
    self.people: dict[str, _Person] = {}


class _Collected:
  """What the rows so far say."""

  def __init__(self, best_rank: int):
    self.tally = Tally()
    self.num_stripped = 0
    self._best_rank = best_rank
    self._questions: dict[str, Question] = {}
    self._gatherings: dict[tuple[str, str], _Gathering] = {}

  def add(
    self, place: str, row: table_file.Row, used: Mapping[str, str]
  ) -> None:
    """Takes one row, or counts why it is left out."""
    cells: dict[str, str] = {}
    try:
      if isinstance(row, InputError):
        raise row
      for ours, theirs in used.items():
        try:
          cells[ours] = check_string(table_file.cell(row.get(theirs)), ())
        except InputError as error:
          raise error.at(within=(ours,)) from None
      understood, stripped = _understand(cells, self._best_rank)
      self._add(understood)
      self.num_stripped += stripped
    except InputError as error:
      value = cells.get(str(error.field[0])) if error.field else None
      example = place if value is None else f'{place}: {value!r}'
      self.tally.add('row', error.without_file, example)

  def _add(self, row: _Row) -> None:
    self._note_question(row.question)
    key = row.group, row.question.text
    gathering = self._gatherings.setdefault(key, _Gathering())
    person = gathering.people.setdefault(row.participant, _Person())
    if row.opinion:
      if not person.opinion:
        person.opinion = row.opinion
      elif normalised(person.opinion) != normalised(row.opinion):
        raise InputError(
          'contradicts an earlier opinion of this participant',
          field=('opinion',),
        )
    empty = all(value is None for value in row.judgements.values())
    if row.statement is None:
      if empty and row.opinion:
        return
      raise InputError('is empty', field=('statement',))
    if empty:
      raise InputError('holds no judgement')
    places = gathering.statements
    place = places.setdefault(row.statement, len(places))
    known = person.judged.setdefault(place, row.judgements)
    if known is not row.judgements:
      same = known == row.judgements
      raise InputError(
        'says again what an earlier row says'
        if same
        else 'judges a statement that this participant judged otherwise before'
      )

  def _note_question(self, question: Question) -> None:
    # The topic and split may stand in one of a question's rows only.
    known = self._questions.get(question.text, question)
    for field in ('topic', 'split'):
      new, old = getattr(question, field), getattr(known, field)
      if new and old and new != old:
        raise InputError('is another than before', field=(field,))
      if new:
        known = dataclasses.replace(known, **{field: new})
    self._questions[question.text] = known

  def records(self, source: str) -> tuple[JudgedDeliberation, ...]:
    """One for each group and question."""
    records = []
    for (group, question), gathering in self._gatherings.items():
      rounds = [round_ for round_, _, _ in gathering.statements]
      members = [
        self._member(name, person, rounds, question)
        for name, person in gathering.people.items()
      ]
      record = JudgedDeliberation(
        id=_digest(source, group, question),
        source=source,
        group=group,
        question=self._questions[question],
        statements=tuple(
          Statement(
            text=text,
            id=_digest(round_, text, author),
            author=author,
            round=round_,
          )
          for round_, text, author in gathering.statements
        ),
        members=tuple(member for member in members if _says(member)),
      )
      if record.members:
        records.append(record)
    return tuple(records)

  def _member(
    self, name: str, person: _Person, rounds: Sequence[int], question: str
  ) -> Member:
    judged = person.judged
    for round_ in sorted({*rounds}):
      ranked = [
        place
        for place, values in judged.items()
        if rounds[place] == round_ and values['ranking'] is not None
      ]
      ranks = {judged[place]['ranking'] for place in ranked}
      if ranks != {*range(len(ranks))}:
        self.tally.add('ranking', 'has a gap', f'{name} on {question!r}')
        for place in ranked:
          judged[place] = {**judged[place], 'ranking': None}
    said = {
      place: values
      for place, values in judged.items()
      if any(value is not None for value in values.values())
    }
    entries: dict[str, Any] = {
      field: tuple(values[field] for values in said.values())
      for field in JUDGEMENTS
    }
    return Member(
      participant=name,
      opinion=person.opinion,
      judged=tuple(said),
      **{field: each for field, each in entries.items() if {*each} - {None}},
    )


def _says(member: Member) -> bool:
  # All rows of a member may have been left out.
  return bool(member.opinion or member.judged)


def _digest(*parts: object) -> str:
  text = '\0'.join(map(str, parts))
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _count_judgements(records: Iterable[JudgedDeliberation]) -> int:
  return sum(
    entry is not None
    for record in records
    for member in record.members
    for field in JUDGEMENTS
    for entry in getattr(member, field)
  )


def _check_any(
  records: Sequence[JudgedDeliberation], exclusions: Sequence[Exclusion]
) -> None:
  if not _count_judgements(records):
    reasons = ''.join(
      f'; {each.count} x {each.kind}: {each.reason} ({each.examples[0]})'
      for each in exclusions
    )
    raise InputError(f'holds no judgement that can be used{reasons}')
