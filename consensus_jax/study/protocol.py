"""A study's protocol: everything that a researcher decides, read from YAML."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self, get_args

from consensus_jax.strict_json import (
  InputError,
  Path,
  check_object,
  check_string,
  check_text,
  dump,
  plain,
)
from consensus_jax.study.protocol_fields import (
  check_distinct,
  check_name,
  check_seconds,
  check_whole,
  fields_of,
  items_of,
  texts_of,
)
from consensus_jax.study.protocol_parts import (
  HUMAN,
  AfterAbandoned,
  Attention,
  Comprehension,
  Condition,
  Ending,
  Entry,
  Farewell,
  Labels,
  Lobby,
  Question,
  Recruitment,
  SurveyItem,
  System,
  Timers,
  Words,
)

__all__ = [
  'HUMAN',
  'AfterAbandoned',
  'Attention',
  'Comprehension',
  'Condition',
  'Ending',
  'Entry',
  'Farewell',
  'Labels',
  'Lobby',
  'Protocol',
  'Question',
  'Recruitment',
  'SurveyItem',
  'System',
  'Timers',
  'Words',
  'default',
  'load',
  'short',
]

_FOLDER = pathlib.Path(__file__).parent / 'protocols'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """All of a study; the order of the attributes is that of its steps.

  Attributes:
    title: of the study, for participants.
    language: of the pages; a catalogue of messages.
    seed: of everything that is random, from 0 to 2**32 - 1.
    entry: ways in that are open.
    recruitment: parameters of a recruitment platform.
    consent: what participants consent to, paragraphs parted by blank lines.
    instructions: likewise; '' leaves them out.
    comprehension: checks of the instructions.
    lobby: the waiting room.
    group_size: 2 to 12.
    min_group_size: with so many a group goes on after drop-outs.
    after_abandoned: where those go who are left of a smaller group.
    questions: to choose from.
    questions_per_group: drawn at random for each group.
    position: whether to ask for agreement with a position statement, before
      and after.
    importance: whether to ask how important the question is, too.
    opinion: limits of an opinion.
    candidates_shown: how many statements of a round are shown.
    candidates_seconds: after which a group does not wait for them any longer.
    attention: checks among the ratings, one a question at most.
    rank: whether statements are ranked; if not, mean agreement chooses.
    critique_round: whether the winner is criticised and a second round follows.
    critique: limits of a critique.
    final: whether to ask which round's winner is better.
    survey: asked at the end.
    conditions: the arms of the study.
    timers: seconds for each step.
    labels: wording of the scales.
    endings: what participants see at each end.
  """

  questions: tuple[Question, ...]
  title: str = 'Finding common ground'
  language: str = 'en'
  seed: int = 0
  entry: tuple[str, ...] = ('open',)
  recruitment: Recruitment = Recruitment()  # noqa: RUF009 (frozen)
  consent: str = 'I agree to take part in this study.'
  instructions: str = ''
  comprehension: tuple[Comprehension, ...] = ()
  lobby: Lobby = Lobby()  # noqa: RUF009 (frozen)
  group_size: int = 5
  min_group_size: int = 3
  after_abandoned: AfterAbandoned = 'survey'
  questions_per_group: int = 4
  position: bool = True
  importance: bool = True
  opinion: Words = Words()  # noqa: RUF009 (frozen)
  candidates_shown: int = 4
  candidates_seconds: float = 900.0
  attention: tuple[Attention, ...] = ()
  rank: bool = True
  critique_round: bool = False
  critique: Words = Words()  # noqa: RUF009 (frozen)
  final: bool = True
  survey: tuple[SurveyItem, ...] = ()
  conditions: tuple[Condition, ...] = (Condition(name='default'),)
  timers: Timers = Timers()  # noqa: RUF009 (frozen)
  labels: Labels = Labels()  # noqa: RUF009 (frozen)
  endings: Mapping[str, Farewell] = dataclasses.field(default_factory=dict)

  @property
  def sha256(self) -> str:
    """Equal only for equal protocols."""
    return hashlib.sha256(dump(self.to_json()).encode()).hexdigest()

  def question(self, name: str) -> Question:
    """The question of that id."""
    return next(each for each in self.questions if each.id == name)

  def condition(self, name: str) -> Condition:
    """The condition of that name."""
    return next(each for each in self.conditions if each.name == name)

  def farewell(self, ending: str) -> Farewell:
    """What is shown at that end."""
    return self.endings.get(ending, Farewell())

  def to_json(self) -> dict[str, Any]:
    """The protocol as a record of JSON values."""
    return plain(dataclasses.asdict(self), ())

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Reads parsed JSON or YAML.

    Raises:
      InputError: naming the field.
    """
    record = fields_of(cls, value, ())
    for name in ('title', 'language', 'consent'):
      check_text(record.get(name, '-'), (name,))
    check_string(record.get('instructions', ''), ('instructions',))
    for name in ('position', 'importance', 'rank', 'critique_round', 'final'):
      if not isinstance(record.get(name, True), bool):
        raise InputError('must be true or false', field=(name,))
    for name, one in _OBJECTS.items():
      if name in record:
        record[name] = one(record[name], (name,))
    for name, (each, least) in _LISTS.items():
      if name in record:
        record[name] = items_of(each, record[name], (name,), least=least)
    for name, low, high in (
      ('seed', 0, 2**32 - 1),
      ('group_size', 2, 12),
      ('min_group_size', 2, 12),
      ('questions_per_group', 1, 50),
      ('candidates_shown', 1, 12),
    ):
      if name in record:
        check_whole(record[name], (name,), low, high)
    if 'candidates_seconds' in record:
      record['candidates_seconds'] = check_seconds(
        record['candidates_seconds'], ('candidates_seconds',)
      )
    if 'after_abandoned' in record:
      check_name(
        record['after_abandoned'], AfterAbandoned, ('after_abandoned',)
      )
    if 'entry' in record:
      record['entry'] = texts_of(record['entry'], ('entry',), least=1)
      for index, name in enumerate(record['entry']):
        check_name(name, Entry, ('entry', index))
    if 'endings' in record:
      endings = check_object(
        record['endings'],
        required=(),
        optional=get_args(Ending),
        path=('endings',),
      )
      record['endings'] = {
        name: Farewell.from_json(farewell, ('endings', name))
        for name, farewell in endings.items()
      }
    protocol = cls(**record)
    _check_consistent(protocol)
    return protocol


_OBJECTS: dict[str, Callable[[object, Path], Any]] = {
  'recruitment': Recruitment.from_json,
  'lobby': Lobby.from_json,
  'opinion': Words.from_json,
  'critique': Words.from_json,
  'timers': Timers.from_json,
  'labels': Labels.from_json,
}
# How to read an item, and how many there must be at least.
_LISTS: dict[str, tuple[Callable[[object, Path], Any], int]] = {
  'questions': (Question.from_json, 1),
  'comprehension': (Comprehension.from_json, 0),
  'attention': (Attention.from_json, 0),
  'survey': (SurveyItem.from_json, 0),
  'conditions': (Condition.from_json, 1),
}


def load(path: str) -> Protocol:
  """Reads a protocol from a YAML file.

  Raises:
    InputError: naming the file and the field.
  """
  import yaml

  from consensus_jax.study import yaml_file

  try:
    return Protocol.from_json(yaml_file.read(pathlib.Path(path)))
  except yaml.YAMLError as error:
    raise InputError(f'not YAML: {error}', file=path) from None
  except InputError as error:
    raise error.at(file=path) from None


def default() -> Protocol:
  """The protocol that ships: the paper's study on questions of our own."""
  return load(str(_FOLDER / 'default.yaml'))


def short() -> Protocol:
  """A protocol of minutes, to try things out."""
  return load(str(_FOLDER / 'short.yaml'))


def _check_consistent(protocol: Protocol) -> None:
  """What no field alone can tell."""
  for field, key in (('questions', 'id'), ('survey', 'id')):
    check_distinct(getattr(protocol, field), key, (field,))
  check_distinct(protocol.conditions, 'name', ('conditions',))
  if protocol.min_group_size > protocol.group_size:
    raise InputError(
      f'must be at most group_size, {protocol.group_size}',
      field=('min_group_size',),
    )
  if protocol.questions_per_group > len(protocol.questions):
    raise InputError(
      f'must be at most {len(protocol.questions)}, the number of questions',
      field=('questions_per_group',),
    )
  if len(protocol.attention) > protocol.questions_per_group:
    raise InputError(
      f'must hold at most one a question, {protocol.questions_per_group}',
      field=('attention',),
    )
  for index, condition in enumerate(protocol.conditions):
    if condition.exclude >= protocol.min_group_size:
      raise InputError(
        f'must be below min_group_size, {protocol.min_group_size}',
        field=('conditions', index, 'exclude'),
      )
  if protocol.position:
    for index, question in enumerate(protocol.questions):
      for side in ('affirming', 'negating'):
        check_text(getattr(question, side), ('questions', index, side))
