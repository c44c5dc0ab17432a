"""Judged deliberations: what people wrote and how they judged statements.

One form for every source, the user's own study included: a question, the
statements about it, and for each person an opinion and judgements. Standard
library only.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, Self, TypeVar, get_args

from consensus_jax.strict_json import (
  InputError,
  Path,
  check_array,
  check_integer,
  check_object,
  check_string,
  check_text,
)

SCHEMA = 'consensus_jax/judged/v1'

Split = Literal['train', 'validation', 'iid_test', 'ood_test']
# Own words, comments of their own put together, or votes put into words.
OpinionProvenance = Literal['written', 'comments', 'votes']
# What a person may have said about a statement.
JUDGEMENTS = ('agreement', 'quality', 'ranking', 'votes')
LIKERT = range(1, 8)
VOTES = range(-1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """What a group deliberates on.

  Attributes:
    text: the question.
    id: of a question bank, if it comes from one.
    topic: what questions of one kind share; '' if not known.
    split: where its source puts it; None if nowhere.
    affirming: a position statement that says yes.
    negating: a position statement that says no.

  Raises:
    InputError: naming the field.
  """

  text: str
  id: str = ''
  topic: str = ''
  split: Split | None = None
  affirming: str = ''
  negating: str = ''

  def __post_init__(self):
    check_text(self.text, ('text',))
    for field in ('id', 'topic', 'affirming', 'negating'):
      _check_optional_text(getattr(self, field), (field,))
    if self.split is not None:
      _check_name(self.split, get_args(Split), ('split',))

  def to_json(self) -> dict[str, Any]:
    """The question as a record of JSON values; what is default is absent."""
    return _to_json(self)

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`."""
    return cls(**_object(cls, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
  """A text that people judged.

  Attributes:
    text: the statement.
    id: unique within its deliberation.
    author: who wrote it: a participant or a system; '' if not known.
    provenance: how it came about, in the words of its source.
    round: 0 for statements on opinions, 1 for those after critiques.

  Raises:
    InputError: naming the field.
  """

  text: str
  id: str
  author: str = ''
  provenance: str = ''
  round: int = 0

  def __post_init__(self):
    check_text(self.text, ('text',))
    check_text(self.id, ('id',))
    _check_optional_text(self.author, ('author',))
    _check_optional_text(self.provenance, ('provenance',))
    if check_integer(self.round, ('round',)) < 0:
      raise InputError(f'must be 0 or more, got {self.round}', field=('round',))

  def to_json(self) -> dict[str, Any]:
    """The statement as a record of JSON values; what is default is absent."""
    return _to_json(self)

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`."""
    return cls(**_object(cls, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
  """One person of the group: an opinion and judgements of statements.

  `agreement`, `quality`, `ranking` and `votes` are each empty or hold one
  entry for each of `judged`, None where the person said nothing.

  Attributes:
    participant: equal strings are the same person, across records too.
    opinion: what the person thinks; '' if they wrote nothing.
    opinion_provenance: whether these are their own words.
    judged: indices of statements of the deliberation, none twice.
    agreement: 1 (strongly disagree) to 7 (strongly agree).
    quality: 1 (terrible) to 7 (excellent).
    ranking: 0 = best; equal ranks are ties; dense within each round.
    votes: -1 (against), 0 (pass), 1 (for).
    critique: of the winner of the first round; '' if none.
    position_before: agreement with the affirming position statement, 1 to 7.
    position_after: the same after the deliberation.

  Raises:
    InputError: naming the field.
  """

  participant: str
  opinion: str = ''
  opinion_provenance: OpinionProvenance = 'written'
  judged: tuple[int, ...] = ()
  agreement: tuple[int | None, ...] = ()
  quality: tuple[int | None, ...] = ()
  ranking: tuple[int | None, ...] = ()
  votes: tuple[int | None, ...] = ()
  critique: str = ''
  position_before: int | None = None
  position_after: int | None = None

  def __post_init__(self):
    check_text(self.participant, ('participant',))
    _check_optional_text(self.opinion, ('opinion',))
    _check_optional_text(self.critique, ('critique',))
    _check_name(
      self.opinion_provenance,
      get_args(OpinionProvenance),
      ('opinion_provenance',),
    )
    _check_judged(self.judged)
    _check_scale(self.agreement, LIKERT, ('agreement',))
    _check_scale(self.quality, LIKERT, ('quality',))
    _check_scale(self.votes, VOTES, ('votes',))
    for index, rank in enumerate(self.ranking):
      if rank is not None and check_integer(rank, ('ranking', index)) < 0:
        raise InputError(
          f'must be 0 (best) or more, got {rank}', field=('ranking', index)
        )
    for field in JUDGEMENTS:
      values = getattr(self, field)
      if values and len(values) != len(self.judged):
        raise InputError(
          f'must hold one entry for each of the {len(self.judged)} judged '
          f'statements, got {len(values)}',
          field=(field,),
        )
    for field in ('position_before', 'position_after'):
      position = getattr(self, field)
      _check_scale((position,), LIKERT, (field,), indexed=False)

  def to_json(self) -> dict[str, Any]:
    """The member as a record of JSON values; what is default is absent."""
    return _to_json(self)

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`."""
    return cls(**_object(cls, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedDeliberation:
  """One question, one group, and all that its people wrote and judged.

  Attributes:
    id: unique within a file of records.
    source: 'habermas', 'polis', 'seed' or a name that the user chose.
    group: people who deliberated together share it; '' if not known.
    question: what they deliberated on.
    statements: what they judged, of all rounds.
    members: the people, none twice.

  Raises:
    InputError: naming the field.
  """

  id: str
  source: str
  question: Question
  group: str = ''
  statements: tuple[Statement, ...] = ()
  members: tuple[Member, ...] = ()

  def __post_init__(self):
    check_text(self.id, ('id',))
    check_text(self.source, ('source',))
    _check_optional_text(self.group, ('group',))
    ids = [statement.id for statement in self.statements]
    _check_distinct(ids, 'statements', 'id')
    # As people write a name, not as it happens to be encoded.
    people = [
      unicodedata.normalize('NFC', member.participant.strip())
      for member in self.members
    ]
    _check_distinct(people, 'members', 'participant')
    for index, member in enumerate(self.members):
      _check_member(member, self.statements, ('members', index))

  def to_json(self) -> dict[str, Any]:
    """The deliberation as a record of JSON values; defaults are absent."""
    return {
      'schema': SCHEMA,
      **_to_json(self),
      'question': self.question.to_json(),
      'statements': [each.to_json() for each in self.statements],
      'members': [member.to_json() for member in self.members],
    }

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`.

    Raises:
      InputError: naming the field; a key that this version does not know is
        an error too, so that nothing is lost.
    """
    record = _object(cls, value, also=('schema',))
    check_schema(record.pop('schema'))
    (record['question'],) = _parsed(Question, [record['question']], 'question')
    for field, kind in (('statements', Statement), ('members', Member)):
      items = check_array(record.get(field, []), (field,))
      record[field] = _parsed(kind, items, field, indexed=True)
    return cls(**record)


def check_schema(schema: object) -> None:
  """Refuses a record that is not of this version.

  Raises:
    InputError: naming both versions.
  """
  if schema != SCHEMA:
    raise InputError(f'must be {SCHEMA!r}, got {schema!r}', field=('schema',))


_Record = TypeVar('_Record', Question, Statement, Member)


def _parsed(
  kind: type[_Record],
  items: Sequence[object],
  field: str,
  indexed: bool = False,
) -> tuple[_Record, ...]:
  records: list[_Record] = []
  for index, item in enumerate(items):
    try:
      records.append(kind.from_json(item))
    except InputError as error:
      within = (field, index) if indexed else (field,)
      raise error.at(within=within) from None
  return tuple(records)


@functools.cache
def _keys(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
  fields = dataclasses.fields(kind)
  missing = dataclasses.MISSING
  required = tuple(f.name for f in fields if f.default is missing)
  return required, tuple(f.name for f in fields if f.name not in required)


def _object(
  kind: type, value: object, also: tuple[str, ...] = ()
) -> dict[str, Any]:
  required, optional = _keys(kind)
  record = check_object(value, required=(*also, *required), optional=optional)
  for field in dataclasses.fields(kind):
    if field.name in record and field.type in _READERS:
      read = _READERS[field.type]
      record[field.name] = read(record[field.name], (field.name,))
  return record


def _integers(value: object, path: Path) -> tuple[int, ...]:
  items = enumerate(check_array(value, path))
  return tuple(check_integer(item, (*path, index)) for index, item in items)


def _entries(value: object, path: Path) -> tuple[int | None, ...]:
  items = enumerate(check_array(value, path))
  return tuple(
    None if item is None else check_integer(item, (*path, index))
    for index, item in items
  )


def _integer_or_none(value: object, path: Path) -> int | None:
  return None if value is None else check_integer(value, path)


def _split_or_none(value: object, path: Path) -> object:
  return None if value is None else _check_name(value, get_args(Split), path)


def _opinion_provenance(value: object, path: Path) -> object:
  return _check_name(value, get_args(OpinionProvenance), path)


# How a field of JSON is read, by the annotation of the field.
_READERS: dict[Any, Callable[[object, Path], object]] = {
  str: check_string,
  int: check_integer,
  int | None: _integer_or_none,
  tuple[int, ...]: _integers,
  tuple[int | None, ...]: _entries,
  Split | None: _split_or_none,
  OpinionProvenance: _opinion_provenance,
}


def _to_json(record: Any) -> dict[str, Any]:
  values = {}
  for field in dataclasses.fields(record):
    value = getattr(record, field.name)
    if value != field.default:
      values[field.name] = list(value) if isinstance(value, tuple) else value
  return values


def _check_optional_text(value: object, path: Path) -> None:
  # Nothing at all, or something that says something.
  if check_string(value, path):
    check_text(value, path)


def _check_name(value: object, known: Collection[str], path: Path) -> object:
  if value not in known:
    names = ', '.join(map(repr, known))
    raise InputError(f'must be one of {names}, got {value!r}', field=path)
  return value


def _check_scale(
  values: Sequence[int | None],
  scale: range,
  path: Path,
  *,
  indexed: bool = True,
) -> None:
  # Sets first: a conversation may hold a million votes.
  if {*map(type, values)} <= {int, type(None)} and {*values} <= {*scale, None}:
    return
  for index, value in enumerate(values):
    if value is None:
      continue
    place = (*path, index) if indexed else path
    if check_integer(value, place) not in scale:
      raise InputError(
        f'must be from {scale[0]} to {scale[-1]}, got {value}', field=place
      )


def _check_judged(judged: Sequence[int]) -> None:
  seen: dict[int, int] = {}
  for index, statement in enumerate(judged):
    if check_integer(statement, ('judged', index)) < 0:
      raise InputError(
        f'must be the index of a statement, got {statement}',
        field=('judged', index),
      )
    first = seen.setdefault(statement, index)
    if first != index:
      raise InputError(
        f'statement {statement} is judged already, judged[{first}]',
        field=('judged', index),
      )


def _check_distinct(names: Sequence[str], items: str, field: str) -> None:
  first: dict[str, int] = {}
  for index, name in enumerate(names):
    if first.setdefault(name, index) != index:
      raise InputError(
        f'{name!r} is that of {items}[{first[name]}] already',
        field=(items, index, field),
      )


def _check_member(
  member: Member, statements: Sequence[Statement], path: Path
) -> None:
  for index, statement in enumerate(member.judged):
    if statement >= len(statements):
      raise InputError(
        f'there is no statement {statement}: the deliberation has '
        f'{len(statements)}',
        field=(*path, 'judged', index),
      )
  ranks: dict[int, set[int]] = {}
  for statement, rank in zip(member.judged, member.ranking):
    if rank is not None:
      ranks.setdefault(statements[statement].round, set()).add(rank)
  for round_, given in sorted(ranks.items()):
    missing = next((n for n in range(len(given)) if n not in given), None)
    if missing is not None:
      raise InputError(
        f'has a gap in round {round_}: a statement has rank {max(given)}, '
        f'none has {missing}; ranks start at 0, and ties share a rank',
        field=(*path, 'ranking'),
      )
