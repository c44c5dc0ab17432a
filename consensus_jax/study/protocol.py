"""A study's protocol: everything that a researcher decides, read from YAML.

Standard library and strict checks only; YAML is read where a file is.
"""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, TypeVar, get_args

from consensus_jax import settings
from consensus_jax.strict_json import (
  InputError,
  Path,
  check_array,
  check_integer,
  check_number,
  check_object,
  check_string,
  check_text,
  dump,
  plain,
)

_FOLDER = pathlib.Path(__file__).parent / 'protocols'

SurveyKind = Literal['scale7', 'choice', 'text']
Entry = Literal['open', 'invitation', 'recruitment']
# What happens to those who are left when too many others have gone.
AfterAbandoned = Literal['lobby', 'survey']
# How a study can end for a participant.
Ending = Literal['done', 'declined', 'excluded', 'withdrawn', 'timed_out']
# The opinions themselves, instead of what a policy writes.
HUMAN = 'human'

AGREEMENT = (
  'Strongly disagree',
  'Disagree',
  'Somewhat disagree',
  'Neutral',
  'Somewhat agree',
  'Agree',
  'Strongly agree',
)
QUALITY = (
  'Terrible',
  'Poor',
  'Somewhat poor',
  'Neutral',
  'Somewhat good',
  'Good',
  'Excellent',
)
IMPORTANCE = (
  'Not important',
  'Slightly important',
  'Moderately important',
  'Important',
  'Very important',
)

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """What groups deliberate on.

  Attributes:
    id: unique in the protocol.
    text: the question.
    affirming: a position statement that says yes; needed if `position` is on.
    negating: one that says no.
  """

  id: str
  text: str
  affirming: str = ''
  negating: str = ''

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"id", "text", "affirming"?, "negating"?}`."""
    record = _object(cls, value, path)
    for name in ('id', 'text'):
      check_text(record[name], (*path, name))
    for name in ('affirming', 'negating'):
      check_string(record.get(name, ''), (*path, name))
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comprehension:
  """A check that the instructions were understood.

  Attributes:
    prompt: what is asked.
    options: to choose from.
    answer: the right option, from 0.
    attempts: after which a participant is excluded.
  """

  prompt: str
  options: tuple[str, ...]
  answer: int
  attempts: int = 2

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"prompt", "options", "answer", "attempts"?}`."""
    record = _object(cls, value, path)
    check_text(record['prompt'], (*path, 'prompt'))
    record['options'] = _texts(record['options'], (*path, 'options'), least=2)
    last = len(record['options']) - 1
    _whole(record['answer'], (*path, 'answer'), 0, last)
    _whole(record.get('attempts', 2), (*path, 'attempts'), 1, 10)
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
  """A question among the ratings whose right answer is known.

  Attributes:
    prompt: says which point of the agreement scale to choose.
    answer: that point, 1 to 7.
  """

  prompt: str
  answer: int

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"prompt", "answer"}`."""
    record = _object(cls, value, path)
    check_text(record['prompt'], (*path, 'prompt'))
    _whole(record['answer'], (*path, 'answer'), 1, 7)
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurveyItem:
  """One question of the exit survey; a text may be left empty.

  Attributes:
    id: unique in the survey.
    prompt: what is asked.
    kind: 'scale7' (the agreement scale), 'choice' or 'text'.
    options: of a choice.
  """

  id: str
  prompt: str
  kind: SurveyKind = 'scale7'
  options: tuple[str, ...] = ()

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"id", "prompt", "kind"?, "options"?}`."""
    record = _object(cls, value, path)
    for name in ('id', 'prompt'):
      check_text(record[name], (*path, name))
    kind = _name(record.get('kind', 'scale7'), SurveyKind, (*path, 'kind'))
    least = 2 if kind == 'choice' else 0
    options = _texts(record.get('options', []), (*path, 'options'), least=least)
    if options and kind != 'choice':
      raise InputError('only a choice has options', field=(*path, 'options'))
    return cls(**{**record, 'options': options})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
  """Limits of a text that a participant writes, in words."""

  min_words: int = 10
  max_words: int = 200

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"min_words"?, "max_words"?}`."""
    words = cls(**_object(cls, value, path))
    _whole(words.min_words, (*path, 'min_words'), 1, 1000)
    _whole(words.max_words, (*path, 'max_words'), words.min_words, 1000)
    return words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timers:
  """Seconds for each step. Who takes longer leaves the study.

  A valid draft of an opinion or a critique is taken as the answer first.
  """

  consent: float = 1800.0
  instructions: float = 1800.0
  comprehension: float = 900.0
  position: float = 180.0
  opinion: float = 300.0
  rate: float = 180.0
  rank: float = 300.0
  critique: float = 300.0
  final: float = 180.0
  result: float = 180.0
  survey: float = 1800.0

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads an object of seconds."""
    return cls(
      **{
        name: _seconds(seconds, (*path, name))
        for name, seconds in _object(cls, value, path).items()
      }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lobby:
  """The waiting room, in seconds.

  Attributes:
    smaller_after: when the one who waits longest has waited this long, a group
      of at least `min_group_size` forms.
    give_up_after: after which nobody has to wait any longer.
    away_after: who has not been seen for so long is not put into a group.
  """

  smaller_after: float = 300.0
  give_up_after: float = 900.0
  away_after: float = 90.0

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads an object of seconds."""
    record = _object(cls, value, path)
    for name, seconds in record.items():
      record[name] = _seconds(seconds, (*path, name))
    lobby = cls(**record)
    if lobby.give_up_after < lobby.smaller_after:
      raise InputError(
        f'must be at least smaller_after, {lobby.smaller_after:g}',
        field=(*path, 'give_up_after'),
      )
    return lobby


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
  """What makes candidates: how a mediator is called, or the people themselves.

  Attributes:
    name: for the researcher; participants never see it.
    policy: 'zero_shot', 'few_shot', 'sft', or 'human': the opinions themselves.
    alpha: aversion to inequality of the welfare that ranks candidates.
    num_candidates: how many a policy writes.
  """

  name: str
  policy: str = 'sft'
  alpha: float = 0.0
  num_candidates: int = 16

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"name", "policy"?, "alpha"? or "welfare"?, ...}`."""
    record = check_object(
      value,
      required=('name',),
      optional=('policy', 'alpha', 'welfare', 'num_candidates'),
      path=path,
    )
    check_text(record['name'], (*path, 'name'))
    policies = (*get_args(settings.Policy), HUMAN)
    if record.setdefault('policy', 'sft') not in policies:
      raise InputError(
        f'must be one of {", ".join(policies)}', field=(*path, 'policy')
      )
    if 'welfare' in record:
      if 'alpha' in record:
        raise InputError(
          'give welfare or alpha, not both', field=(*path, 'welfare')
        )
      welfare = record.pop('welfare')
      if welfare not in settings.WELFARES:
        raise InputError(
          f'must be one of {", ".join(settings.WELFARES)}',
          field=(*path, 'welfare'),
        )
      record['alpha'] = settings.WELFARES[welfare]
    alpha = record.get('alpha', 0.0)
    # Strict JSON, which the database keeps, has no infinity.
    if alpha in ('inf', math.inf):
      record['alpha'] = math.inf
    else:
      record['alpha'] = check_number(alpha, (*path, 'alpha'))
      if record['alpha'] < 0:
        raise InputError('must be 0 or more', field=(*path, 'alpha'))
    _whole(record.get('num_candidates', 16), (*path, 'num_candidates'), 1, 256)
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
  """An arm of the study, to which whole groups are assigned at random.

  Attributes:
    name: for the researcher; participants never see it.
    weight: how often, relative to the others.
    systems: whose candidates are shown, dealt in turns.
    exclude: how many members are silently left out of what makes candidates.
  """

  name: str
  weight: float = 1.0
  systems: tuple[System, ...] = (System(name='sft'),)
  exclude: int = 0

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"name", "weight"?, "systems"?, "exclude"?}`."""
    record = _object(cls, value, path)
    check_text(record['name'], (*path, 'name'))
    if 'weight' in record:
      record['weight'] = check_number(record['weight'], (*path, 'weight'))
      if record['weight'] <= 0:
        raise InputError('must be above 0', field=(*path, 'weight'))
    if 'systems' in record:
      record['systems'] = _items(
        System.from_json, record['systems'], (*path, 'systems'), least=1
      )
      _distinct(record['systems'], 'name', (*path, 'systems'))
    _whole(record.get('exclude', 0), (*path, 'exclude'), 0, 11)
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Farewell:
  """What a participant sees at the end.

  Attributes:
    text: '' for the words of the message catalogue.
    code: to be typed into a recruitment platform.
    link: back to a recruitment platform, https.
  """

  text: str = ''
  code: str = ''
  link: str = ''

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads `{"text"?, "code"?, "link"?}`."""
    record = _object(cls, value, path)
    for name, text in record.items():
      check_string(text, (*path, name))
    link = record.get('link', '')
    if link and not link.startswith('https://'):
      raise InputError('must start with https://', field=(*path, 'link'))
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recruitment:
  """Names of the parameters with which a recruitment platform sends people."""

  platform: str = 'prolific'
  participant: str = 'PROLIFIC_PID'
  study: str = 'STUDY_ID'
  session: str = 'SESSION_ID'

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads an object of names."""
    record = _object(cls, value, path)
    for name, text in record.items():
      check_text(text, (*path, name))
    return cls(**record)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
  """Wording of the scales, from the first point to the last."""

  agreement: tuple[str, ...] = AGREEMENT
  quality: tuple[str, ...] = QUALITY
  importance: tuple[str, ...] = IMPORTANCE

  @classmethod
  def from_json(cls, value: object, path: Path) -> Self:
    """Reads an object of lists of texts."""
    record = _object(cls, value, path)
    for name, labels in record.items():
      points = 5 if name == 'importance' else 7
      record[name] = _texts(labels, (*path, name), least=points)
      if len(record[name]) > points:
        raise InputError(f'must hold {points} texts', field=(*path, name))
    return cls(**record)


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
  recruitment: Recruitment = Recruitment()
  consent: str = 'I agree to take part in this study.'
  instructions: str = ''
  comprehension: tuple[Comprehension, ...] = ()
  lobby: Lobby = Lobby()
  group_size: int = 5
  min_group_size: int = 3
  after_abandoned: AfterAbandoned = 'survey'
  questions_per_group: int = 4
  position: bool = True
  importance: bool = True
  opinion: Words = Words()
  candidates_shown: int = 4
  candidates_seconds: float = 900.0
  attention: tuple[Attention, ...] = ()
  rank: bool = True
  critique_round: bool = False
  critique: Words = Words()
  final: bool = True
  survey: tuple[SurveyItem, ...] = ()
  conditions: tuple[Condition, ...] = (Condition(name='default'),)
  timers: Timers = Timers()
  labels: Labels = Labels()
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
    record = _object(cls, value, ())
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
        record[name] = _items(each, record[name], (name,), least=least)
    for name, low, high in (
      ('seed', 0, 2**32 - 1),
      ('group_size', 2, 12),
      ('min_group_size', 2, 12),
      ('questions_per_group', 1, 50),
      ('candidates_shown', 1, 12),
    ):
      if name in record:
        _whole(record[name], (name,), low, high)
    if 'candidates_seconds' in record:
      record['candidates_seconds'] = _seconds(
        record['candidates_seconds'], ('candidates_seconds',)
      )
    if 'after_abandoned' in record:
      _name(record['after_abandoned'], AfterAbandoned, ('after_abandoned',))
    if 'entry' in record:
      record['entry'] = _texts(record['entry'], ('entry',), least=1)
      for index, name in enumerate(record['entry']):
        _name(name, Entry, ('entry', index))
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
    _check_whole(protocol)
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


def _check_whole(protocol: Protocol) -> None:
  """What no field alone can tell."""
  for field, key in (('questions', 'id'), ('survey', 'id')):
    _distinct(getattr(protocol, field), key, (field,))
  _distinct(protocol.conditions, 'name', ('conditions',))
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


def _object(cls: type, value: object, path: Path) -> dict[str, Any]:
  fields = dataclasses.fields(cls)
  needed = [
    field.name
    for field in fields
    if field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  others = [field.name for field in fields if field.name not in needed]
  return check_object(value, required=needed, optional=others, path=path)


def _items(
  each: Callable[[object, Path], _T], value: object, path: Path, *, least: int
) -> tuple[_T, ...]:
  items = check_array(value, path)
  if len(items) < least:
    raise InputError(f'must hold at least {least}', field=path)
  return tuple(each(item, (*path, index)) for index, item in enumerate(items))


def _texts(value: object, path: Path, *, least: int) -> tuple[str, ...]:
  return _items(check_text, value, path, least=least)


def _whole(value: object, path: Path, low: int, high: int) -> int:
  number = check_integer(value, path)
  if not low <= number <= high:
    raise InputError(f'must be from {low} to {high}, got {number}', field=path)
  return number


def _seconds(value: object, path: Path) -> float:
  seconds = check_number(value, path)
  if not 1 <= seconds <= 30 * 24 * 3600:
    raise InputError(
      f'must be from 1 second to 30 days, got {seconds:g}', field=path
    )
  return seconds


def _name(value: object, known: Any, path: Path) -> Any:
  if value not in get_args(known):
    names = ', '.join(get_args(known))
    raise InputError(f'must be one of {names}, got {value!r}', field=path)
  return value


def _distinct(items: tuple[Any, ...], key: str, path: Path) -> None:
  seen: set[str] = set()
  for index, item in enumerate(items):
    name = getattr(item, key)
    if name in seen:
      raise InputError(f'{name!r} stands twice', field=(*path, index, key))
    seen.add(name)
