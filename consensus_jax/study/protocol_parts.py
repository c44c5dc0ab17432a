"""The parts of a protocol, each read strictly from parsed JSON or YAML."""

import dataclasses
import math
from typing import Literal, Self, get_args

from consensus_jax import settings
from consensus_jax.strict_json import (
  InputError,
  Path,
  check_number,
  check_object,
  check_string,
  check_text,
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
    record = fields_of(cls, value, path)
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
    record = fields_of(cls, value, path)
    check_text(record['prompt'], (*path, 'prompt'))
    record['options'] = texts_of(record['options'], (*path, 'options'), least=2)
    last = len(record['options']) - 1
    check_whole(record['answer'], (*path, 'answer'), 0, last)
    check_whole(record.get('attempts', 2), (*path, 'attempts'), 1, 10)
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
    record = fields_of(cls, value, path)
    check_text(record['prompt'], (*path, 'prompt'))
    check_whole(record['answer'], (*path, 'answer'), 1, 7)
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
    record = fields_of(cls, value, path)
    for name in ('id', 'prompt'):
      check_text(record[name], (*path, name))
    kind = check_name(record.get('kind', 'scale7'), SurveyKind, (*path, 'kind'))
    least = 2 if kind == 'choice' else 0
    options = texts_of(
      record.get('options', []), (*path, 'options'), least=least
    )
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
    words = cls(**fields_of(cls, value, path))
    check_whole(words.min_words, (*path, 'min_words'), 1, 1000)
    check_whole(words.max_words, (*path, 'max_words'), words.min_words, 1000)
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
        name: check_seconds(seconds, (*path, name))
        for name, seconds in fields_of(cls, value, path).items()
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
    record = fields_of(cls, value, path)
    for name, seconds in record.items():
      record[name] = check_seconds(seconds, (*path, name))
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
    check_whole(
      record.get('num_candidates', 16), (*path, 'num_candidates'), 1, 256
    )
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
    record = fields_of(cls, value, path)
    check_text(record['name'], (*path, 'name'))
    if 'weight' in record:
      record['weight'] = check_number(record['weight'], (*path, 'weight'))
      if record['weight'] <= 0:
        raise InputError('must be above 0', field=(*path, 'weight'))
    if 'systems' in record:
      record['systems'] = items_of(
        System.from_json, record['systems'], (*path, 'systems'), least=1
      )
      check_distinct(record['systems'], 'name', (*path, 'systems'))
    check_whole(record.get('exclude', 0), (*path, 'exclude'), 0, 11)
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
    record = fields_of(cls, value, path)
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
    record = fields_of(cls, value, path)
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
    record = fields_of(cls, value, path)
    for name, labels in record.items():
      points = 5 if name == 'importance' else 7
      record[name] = texts_of(labels, (*path, name), least=points)
      if len(record[name]) > points:
        raise InputError(f'must hold {points} texts', field=(*path, name))
    return cls(**record)
