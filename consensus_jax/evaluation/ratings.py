"""People's ratings of statements by several systems, as one table; numpy.

ratings, left_out = ratings.from_records(records)
ours = ratings.grid('agreement', 'ours')  # [deliberations, members]

A row is a rating: one person, one statement. A deliberation is one group and
one question; its members are those who have a row in it. All grids of a table
have the same axes, so that systems are compared member by member.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.records import (
  LIKERT,
  JudgedDeliberation,
  Member,
  Statement,
)

# Neither agrees nor disagrees.
NEUTRAL = 4

Column = Literal['agreement', 'quality']
Position = Literal['position_before', 'position_after']
Grid = Float[np.ndarray, 'deliberations members']
Numbers = Sequence[float | int | None] | np.ndarray

_NAMES = ('systems', 'questions', 'groups', 'raters', 'statements')
_SCALES = ('agreement', 'quality', 'position_before', 'position_after')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ratings:
  """A table of ratings, column by column.

  Attributes:
    systems: what wrote the statement.
    questions: what it is about.
    groups: people who deliberated together, over one or several questions.
    raters: who rates; equal names in a group are the same person.
    statements: names, different within a group and question.
    agreement: 1 (strongly disagree) to 7 (strongly agree), NaN for none.
    quality: 1 (terrible) to 7 (excellent), NaN for none.
    words: of the statement, how many; NaN if not known.
    excluded: whether the statement was made without the rater's opinion.
    position_before: the rater's agreement with the position statement, 1 to 7,
      before the deliberation; NaN if not known.
    position_after: the same after it.

  Raises:
    ValueError: naming column and row, if there are no rows, a column is
      shorter, a name is blank, a number is off its scale, a person rates a
      statement twice, a statement is of two systems or lengths, or a person has
      two positions on one question.
  """

  systems: tuple[str, ...]
  questions: tuple[str, ...]
  groups: tuple[str, ...]
  raters: tuple[str, ...]
  statements: tuple[str, ...]
  agreement: Float[np.ndarray, 'ratings']
  quality: Float[np.ndarray, 'ratings']
  words: Float[np.ndarray, 'ratings']
  excluded: Bool[np.ndarray, 'ratings']
  position_before: Float[np.ndarray, 'ratings']
  position_after: Float[np.ndarray, 'ratings']

  def __post_init__(self):
    if not self.raters:
      raise ValueError('there are no ratings')
    for field in dataclasses.fields(self):
      column = getattr(self, field.name)
      if len(column) != len(self):
        raise ValueError(
          f'{field.name} has {len(column)} rows, raters has {len(self)}'
        )
    for name in _NAMES:
      for row, value in enumerate(getattr(self, name)):
        if not value.strip():
          raise ValueError(f'{name}[{row}] is blank')
    for name in _SCALES:
      _check_likert(name, getattr(self, name))
    bad = np.flatnonzero((self.words < 0) | np.isinf(self.words))
    if len(bad):
      raise ValueError(f'words[{bad[0]}] is {self.words[bad[0]]}')
    where = list(zip(self.groups, self.questions))
    texts = list(zip(where, self.statements))
    people = list(zip(where, self.raters))
    _check_once(zip(texts, self.raters))
    lengths = [None if np.isnan(n) else float(n) for n in self.words]
    _check_one('system', texts, self.systems)
    _check_one('number of words', texts, lengths)
    for name in ('position_before', 'position_after'):
      values = getattr(self, name)
      known = np.flatnonzero(~np.isnan(values))
      _check_one(name, [people[i] for i in known], values[known].tolist())

  def __len__(self) -> int:
    return len(self.raters)

  @functools.cached_property
  def system_names(self) -> tuple[str, ...]:
    """The systems, in the order of their first rows."""
    return tuple(dict.fromkeys(self.systems))

  @functools.cached_property
  def group_names(self) -> tuple[str, ...]:
    """The groups, in the order of their first rows."""
    return tuple(dict.fromkeys(self.groups))

  @functools.cached_property
  def deliberations(self) -> tuple[tuple[str, str], ...]:
    """Group and question of each, in the order of their first rows."""
    return self._places.deliberations

  @functools.cached_property
  def group_of(self) -> Int[np.ndarray, 'deliberations']:
    """The group of each deliberation, as a place in `group_names`."""
    places = {name: place for place, name in enumerate(self.group_names)}
    return np.array([places[group] for group, _ in self.deliberations], int)

  @functools.cached_property
  def num_members(self) -> Int[np.ndarray, 'deliberations']:
    """How many members of each deliberation have a row."""
    seated = np.zeros(self._shape, bool)
    seated[self._places.deliberation, self._places.seat] = True
    return seated.sum(1)

  def of(self, system: str) -> Bool[np.ndarray, 'ratings']:
    """Which rows are about statements of a system.

    Raises:
      ValueError: if there are none.
    """
    found = np.array([name == system for name in self.systems])
    if not found.any():
      raise ValueError(
        f'no ratings of {system!r}; there are those of '
        f'{", ".join(map(repr, self.system_names))}'
      )
    return found

  def grid(
    self, column: Column, system: str, *, excluded: bool | None = None
  ) -> Grid:
    """Ratings of a system, members by deliberations, NaN where there is none.

    Where a person rated several statements of the system, their mean.

    Args:
      column: which ratings.
      system: whose statements.
      excluded: only of people who were, or were not, left out of making the
        statement; None for all.
    """
    chosen = self.of(system)
    if excluded is not None:
      chosen &= self.excluded == excluded
    return self._mean(getattr(self, column), chosen)

  def positions(self, when: Position) -> Grid:
    """Members' positions, NaN where not known."""
    return self._mean(getattr(self, when), np.ones(len(self), bool))

  def by_statement(
    self, column: Column
  ) -> Float[np.ndarray, 'statements members']:
    """Ratings of each statement, for measures of reliability.

    A column is a seat in the group, so in another group another person.
    """
    values = getattr(self, column)
    texts = zip(self._places.deliberation.tolist(), self.statements)
    names, rows = _codes(texts)
    found = np.full((len(names), self._shape[1]), np.nan)
    found[rows, self._places.seat] = values
    return found

  @functools.cached_property
  def _places(self) -> '_Places':
    deliberations, of = _codes(zip(self.groups, self.questions))
    members, member = _codes(zip(of.tolist(), self.raters))
    taken = [0] * len(deliberations)
    seats = []
    for deliberation, _ in members:
      seats.append(taken[deliberation])
      taken[deliberation] += 1
    return _Places(deliberations, of, np.array(seats, int)[member])

  @functools.cached_property
  def _shape(self) -> tuple[int, int]:
    return len(self.deliberations), int(self._places.seat.max()) + 1

  def _mean(self, values, chosen) -> Grid:
    chosen = chosen & ~np.isnan(values)
    rows = self._places.deliberation[chosen], self._places.seat[chosen]
    total, count = np.zeros(self._shape), np.zeros(self._shape)
    np.add.at(total, rows, values[chosen])
    np.add.at(count, rows, 1)
    with np.errstate(invalid='ignore'):
      return total / count


class _Places(NamedTuple):
  deliberations: tuple[tuple[str, str], ...]
  deliberation: Int[np.ndarray, 'ratings']
  seat: Int[np.ndarray, 'ratings']


def from_arrays(
  *,
  systems: Sequence[str],
  questions: Sequence[str],
  groups: Sequence[str],
  raters: Sequence[str],
  agreement: Numbers,
  statements: Sequence[str] | None = None,
  quality: Numbers | None = None,
  words: Numbers | None = None,
  excluded: Numbers | None = None,
  position_before: Numbers | None = None,
  position_after: Numbers | None = None,
) -> Ratings:
  """A table of columns; those that are not given are not known, nor is None.

  Without `statements` each system has one on each question in each group;
  without `excluded` nobody was.

  Raises:
    ValueError: as `Ratings`.
  """

  def numbers(column: Numbers | None) -> np.ndarray:
    if column is None:
      return np.full(len(raters), np.nan)
    return np.asarray(column, np.float64)

  return Ratings(
    systems=tuple(systems),
    questions=tuple(questions),
    groups=tuple(groups),
    raters=tuple(raters),
    statements=tuple(systems if statements is None else statements),
    agreement=numbers(agreement),
    quality=numbers(quality),
    words=numbers(words),
    excluded=np.zeros(len(raters), bool)
    if excluded is None
    else np.asarray(excluded, bool),
    position_before=numbers(position_before),
    position_after=numbers(position_after),
  )


def system_of(statement: Statement) -> str:
  """What wrote a statement: its author, else its provenance.

  What was revised after critiques is another system's. '' if not known.
  """
  name = statement.author or statement.provenance
  return f'{name}, revised' if name and statement.round else name


def from_records(
  records: Iterable[JudgedDeliberation],
  *,
  system: Callable[[Statement], str] = system_of,
  excluded: Collection[tuple[str, str, str]] = (),
) -> tuple[Ratings, tuple[Exclusion, ...]]:
  """The ratings of judged deliberations.

  A judgement without a rating has a row as well, for the person's position.

  Args:
    records: with `agreement` or `quality`.
    system: names what wrote a statement, '' to leave it out.
    excluded: (id of the record, id of the statement, participant) of those
      whose opinion a statement was made without.

  Returns:
    The table, and what was left out and why.

  Raises:
    ValueError: if an entry of `excluded` is none of the judgements, and as
      `Ratings`.
  """
  tally, rows, unseen = Tally(), [], {*excluded}
  for record in records:
    names = [system(statement) for statement in record.statements]
    for index, name in enumerate(names):
      if not name:
        example = f'{record.id} {record.statements[index].id}'
        tally.add('statement', 'is of no known system', example)
    for member in record.members:
      person = f'{record.id} {member.participant}'
      if not member.judged:
        tally.add('member', 'judged no statement', person)
      for place, index in enumerate(member.judged):
        statement = record.statements[index]
        key = record.id, statement.id, member.participant
        unseen.discard(key)
        if not names[index]:
          tally.add('judgement', 'is of a statement of no known system', person)
        elif statement.author == member.participant:
          tally.add('judgement', "is of the rater's own statement", person)
        else:
          row = _row(record, member, place, statement)
          rows.append((names[index], *row, key in excluded))
  if unseen:
    raise ValueError(f'nobody judged {min(unseen)} of `excluded`')
  if not rows:
    raise ValueError('there are no ratings of statements of known systems')
  columns = dict(zip(_COLUMNS, zip(*rows), strict=True))
  return from_arrays(**columns), tally.exclusions()


_COLUMNS = (
  *('systems', 'questions', 'groups', 'raters', 'statements'),
  *('agreement', 'quality', 'words', 'position_before', 'position_after'),
  'excluded',
)


def _row(
  record: JudgedDeliberation, member: Member, place: int, statement: Statement
) -> tuple:
  return (
    record.question.text,
    record.group or record.id,
    member.participant,
    # Two records may be of one group and question.
    f'{record.id}/{statement.id}',
    member.agreement[place] if member.agreement else None,
    member.quality[place] if member.quality else None,
    len(statement.text.split()),
    member.position_before,
    member.position_after,
  )


def _codes(keys: Iterable[Hashable]) -> tuple[tuple, np.ndarray]:
  places: dict[Hashable, int] = {}
  codes = [places.setdefault(key, len(places)) for key in keys]
  return tuple(places), np.array(codes, int)


def _check_likert(name, values) -> None:
  bad = np.flatnonzero(~np.isnan(values) & ~np.isin(values, [*LIKERT]))
  if len(bad):
    raise ValueError(
      f'{name}[{bad[0]}] must be a whole number from {LIKERT[0]} to '
      f'{LIKERT[-1]}, or NaN for none; got {values[bad[0]]:g}'
    )


def _check_once(keys) -> None:
  first: dict[Hashable, int] = {}
  for row, key in enumerate(keys):
    if first.setdefault(key, row) != row:
      ((group, question), statement), rater = key
      raise ValueError(
        f'rows {first[key]} and {row}: {rater} of {group} rates {statement} '
        f'twice, on {question!r}'
      )


def _check_one(what, keys, values) -> None:
  first: dict[Hashable, object] = {}
  for key, value in zip(keys, values):
    if first.setdefault(key, value) != value:
      (group, question), name = key
      raise ValueError(
        f'{name} of {group} has more than one {what} on {question!r}: '
        f'{first[key]} and {value}'
      )
