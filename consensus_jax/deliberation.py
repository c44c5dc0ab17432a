"""What goes in and what comes out: deliberations, outcomes and their JSON.

Standard library only, so that bad input is refused before anything heavy is
imported.
"""

import copy
import dataclasses
import hashlib
import json
import math
import unicodedata
from typing import Any, Self

from consensus_jax.strict_json import (
  InputError,
  check_array,
  check_integer,
  check_number,
  check_number_or_none,
  check_object,
  check_string,
  check_text,
  plain,
)

__all__ = ['Candidate', 'Deliberation', 'InputError', 'Opinion', 'Outcome']

OUTCOME_SCHEMA = 'consensus_jax/outcome/v1'


@dataclasses.dataclass(frozen=True)
class Opinion:
  """What one participant wrote, and how much this participant counts.

  Raises:
    InputError: if a text is empty or no text, or the weight is negative, not
      finite or of an absurd size.
  """

  participant: str
  text: str
  weight: float | int = 1.0

  def __post_init__(self):
    check_text(self.participant, ('participant',))
    check_text(self.text, ('text',))
    weight = check_number(self.weight, ('weight',))
    if weight and not 1e-9 <= weight <= 1e9:
      # Welfare is computed in float32, where such weights drown the others.
      raise InputError(
        f'must be 0 or from 1e-9 to 1e9, got {weight:g}', field=('weight',)
      )
    object.__setattr__(self, 'weight', weight)

  def to_json(self) -> dict[str, Any]:
    """The opinion as a record of JSON values."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, value: object, *, participant: str = '') -> Self:
    """Reads `{"participant", "text", "weight"?}`, or a text alone.

    Args:
      value: parsed JSON.
      participant: the name where `value` is a text alone; '' refuses that.
    """
    if isinstance(value, str) and participant:
      return cls(participant, value)
    record = check_object(
      value, required=('participant', 'text'), optional=('weight',)
    )
    return cls(
      check_text(record['participant'], ('participant',)),
      check_text(record['text'], ('text',)),
      check_number(record.get('weight', 1.0), ('weight',)),
    )


@dataclasses.dataclass(frozen=True)
class Deliberation:
  """One question, one group and its opinions.

  `candidates` are statements that the group brings itself.

  Raises:
    InputError: if a text is empty, there is no opinion, two opinions belong to
      one participant or all weights are zero.
  """

  id: str
  question: str
  opinions: tuple[Opinion, ...]
  candidates: tuple[str, ...] = ()

  def __post_init__(self):
    check_text(self.id, ('id',))
    check_text(self.question, ('question',))
    if not self.opinions:
      raise InputError('holds no opinions', field=('opinions',))
    first: dict[str, int] = {}
    for index, opinion in enumerate(self.opinions):
      name = unicodedata.normalize('NFC', opinion.participant.strip())
      if name in first:
        raise InputError(
          f'{name!r} has an opinion already, opinions[{first[name]}]',
          field=('opinions', index, 'participant'),
        )
      first[name] = index
    if not any(opinion.weight for opinion in self.opinions):
      raise InputError('all weights are zero', field=('opinions',))
    for index, candidate in enumerate(self.candidates):
      check_text(candidate, ('candidates', index))

  @property
  def fingerprint(self) -> str:
    """SHA-256 over the content: equal only for the same deliberation."""
    return _sha256(self.to_json())

  def to_json(self) -> dict[str, Any]:
    """The deliberation as a record of JSON values."""
    record: dict[str, Any] = {'id': self.id, 'question': self.question}
    record['opinions'] = [opinion.to_json() for opinion in self.opinions]
    if self.candidates:
      record['candidates'] = list(self.candidates)
    return record

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Reads one record of parsed JSON.

    `{"id"?, "question", "opinions": ["..."] or [{"participant", "text",
    "weight"?}], "candidates"?: ["..."]}`. Opinions without a participant are
    named by their place, "1", "2", ...; a record without an id gets one from
    its content, the same every time.

    Raises:
      InputError: naming the field; an unknown key is an error too, so that
        nothing is lost by a slip of the pen.
    """
    record = check_object(
      value,
      required=('question', 'opinions'),
      optional=('id', 'candidates'),
    )
    opinions = []
    for index, opinion in enumerate(
      check_array(record['opinions'], ('opinions',))
    ):
      try:
        opinions.append(Opinion.from_json(opinion, participant=str(index + 1)))
      except InputError as error:
        raise error.at(within=('opinions', index)) from None
    candidates = tuple(
      check_text(candidate, ('candidates', index))
      for index, candidate in enumerate(
        check_array(record.get('candidates', []), ('candidates',))
      )
    )
    question = check_text(record['question'], ('question',))
    deliberation = cls('-', question, tuple(opinions), candidates)
    name = record.get('id', _sha256(deliberation.to_json())[:12])
    return dataclasses.replace(deliberation, id=check_text(name, ('id',)))


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One statement with every number that led to its rank.

  Attributes:
    text: the statement.
    rewards: one a participant; None where the reward model gave no number.
    utilities: positive numbers made from the rewards, one a participant.
    welfare: the group's aggregate utility; None if refused.
    rank: 1 = best, equal candidates share a rank; None if refused.
    num_tokens: length in tokens of the model that wrote or read it.
    log_likelihood: natural log, summed over its tokens; None if not known.
    finish_reason: 'stop', 'length' (cut at the limit) or 'given' (by people).
    refused: why it takes no part in the ranking, if so.
  """

  text: str
  rewards: tuple[float | None, ...]
  utilities: tuple[float | None, ...]
  welfare: float | None
  rank: int | None
  num_tokens: int
  log_likelihood: float | None
  finish_reason: str
  refused: str | None = None

  def __post_init__(self):
    for field in ('rewards', 'utilities'):
      for index, value in enumerate(getattr(self, field)):
        check_number_or_none(value, (field, index))
    for field in ('welfare', 'log_likelihood'):
      check_number_or_none(getattr(self, field), (field,))
    if self.finish_reason not in ('stop', 'length', 'given'):
      raise InputError(
        f"must be 'stop', 'length' or 'given', got {self.finish_reason!r}",
        field=('finish_reason',),
      )
    if (self.refused is None) != (self.rank is not None):
      raise InputError(
        'a candidate is either ranked or refused', field=('rank',)
      )

  def to_json(self) -> dict[str, Any]:
    """The candidate as a record of JSON values."""
    record = plain(dataclasses.asdict(self), ())
    if self.refused is None:
      del record['refused']
    return record

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`."""
    names = tuple(field.name for field in dataclasses.fields(cls))
    record = check_object(value, required=names[:-1], optional=names[-1:])
    numbers: dict[str, Any] = {
      field: tuple(
        check_number_or_none(number, (field, index))
        for index, number in enumerate(check_array(record[field], (field,)))
      )
      for field in ('rewards', 'utilities')
    }
    numbers |= {
      field: check_number_or_none(record[field], (field,))
      for field in ('welfare', 'log_likelihood')
    }
    if record['rank'] is not None:
      numbers['rank'] = check_integer(record['rank'], ('rank',))
    numbers['num_tokens'] = check_integer(record['num_tokens'], ('num_tokens',))
    # A model may write nothing at all; such a candidate is kept, and refused.
    for field in ('text', 'finish_reason'):
      check_string(record[field], (field,))
    if record.get('refused') is not None:
      check_text(record['refused'], ('refused',))
    return cls(**{**record, **numbers})


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The ranked result of a deliberation: plain values, ready for JSON.

  Attributes:
    id: of the deliberation.
    question: of the deliberation.
    participants: the opinions, in the order of every list of rewards.
    candidates: in the order they were made.
    consensus: index of the winner; None if every candidate was refused.
    aggregation: rule, alpha ('inf' for infinity), its name, the utility map,
      weights and the candidates tied for best.
    sensitivity: the winner at other alphas, `{'alpha', 'winner'}` each.
    policy: which model wrote, with which settings.
    reward_model: which model scored, and what kind of score that is.
    seed: of the sampler.
    timings: seconds by stage.
    truncations: what was cut because a prompt was too long, if asked for.
    run: what produced this record, for an interrupted run to go on.
  """

  id: str
  question: str
  participants: tuple[Opinion, ...]
  candidates: tuple[Candidate, ...]
  consensus: int | None
  aggregation: dict[str, Any]
  sensitivity: tuple[dict[str, Any], ...]
  policy: dict[str, Any]
  reward_model: dict[str, Any]
  seed: int
  timings: dict[str, Any]
  truncations: tuple[Any, ...] = ()
  run: dict[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for field in ('aggregation', 'policy', 'reward_model', 'timings', 'run'):
      object.__setattr__(self, field, plain(getattr(self, field), (field,)))
    for field in ('sensitivity', 'truncations'):
      values = plain(list(getattr(self, field)), (field,))
      object.__setattr__(self, field, tuple(values))
    for index, candidate in enumerate(self.candidates):
      for field in ('rewards', 'utilities'):
        if len(getattr(candidate, field)) != len(self.participants):
          raise InputError(
            f'must hold one number a participant, {len(self.participants)}',
            field=('candidates', index, field),
          )
    ranks = [c.rank for c in self.candidates if c.rank is not None]
    for rank in ranks:
      if rank != 1 + sum(other < rank for other in ranks):
        raise InputError(
          f'ranks must start at 1 and skip one for each tie, got {ranks}',
          field=('candidates',),
        )
    if self.consensus is None:
      consistent = not ranks
    else:
      consistent = (
        0 <= self.consensus < len(self.candidates)
        and self.candidates[self.consensus].rank == 1
      )
    if not consistent:
      raise InputError(
        'must be the index of a candidate of rank 1, or null if there is none, '
        f'got {self.consensus}',
        field=('consensus',),
      )

  @property
  def ranked(self) -> tuple[int, ...]:
    """Indices of the candidates: the consensus, then by rank, then refused."""

    def place(index: int) -> tuple[float, bool]:
      rank = self.candidates[index].rank
      return (
        math.inf if rank is None else float(rank),
        index != self.consensus,
      )

    return tuple(sorted(range(len(self.candidates)), key=place))

  def to_json(self) -> dict[str, Any]:
    """The outcome as a record of JSON values, without NaN or infinity."""
    winner = self.consensus
    record: dict[str, Any] = {
      'schema': OUTCOME_SCHEMA,
      'id': self.id,
      'question': self.question,
      'participants': [opinion.to_json() for opinion in self.participants],
      'candidates': [candidate.to_json() for candidate in self.candidates],
      'consensus': winner
      if winner is None
      else {'candidate': winner, 'text': self.candidates[winner].text},
      'aggregation': self.aggregation,
      'sensitivity': list(self.sensitivity),
      'policy': self.policy,
      'reward_model': self.reward_model,
      'seed': self.seed,
      'timings': self.timings,
    }
    if self.truncations:
      record['truncations'] = list(self.truncations)
    if self.run:
      record['run'] = self.run
    # The caller may change what it is given; an outcome does not change.
    return copy.deepcopy(record)

  @classmethod
  def from_json(cls, value: object) -> Self:
    """Inverse of `to_json`.

    Raises:
      InputError: if `value` is no outcome of this version.
    """
    names = tuple(field.name for field in dataclasses.fields(cls))
    record = check_object(
      value, required=('schema', *names[:-2]), optional=names[-2:]
    )
    schema = record.pop('schema')
    if schema != OUTCOME_SCHEMA:
      raise InputError(
        f'must be {OUTCOME_SCHEMA!r}, got {schema!r}', field=('schema',)
      )
    for field in ('id', 'question'):
      check_text(record[field], (field,))
    for field, parse in (
      ('participants', Opinion.from_json),
      ('candidates', Candidate.from_json),
    ):
      items = []
      for index, item in enumerate(check_array(record[field], (field,))):
        try:
          items.append(parse(item))
        except InputError as error:
          raise error.at(within=(field, index)) from None
      record[field] = tuple(items)
    for field in ('sensitivity', 'truncations'):
      if field in record:
        record[field] = tuple(check_array(record[field], (field,)))
    for index, step in enumerate(record['sensitivity']):
      path = ('sensitivity', index)
      check_object(step, required=('alpha', 'winner'), path=path)
    for field in ('aggregation', 'policy', 'reward_model', 'timings', 'run'):
      if field in record and not isinstance(record[field], dict):
        raise InputError('must be an object', field=(field,))
    record['seed'] = check_integer(record['seed'], ('seed',))
    if record['consensus'] is not None:
      consensus = check_object(
        record['consensus'],
        required=('candidate', 'text'),
        path=('consensus',),
      )
      record['consensus'] = check_integer(
        consensus['candidate'], ('consensus', 'candidate')
      )
    return cls(**record)


def _sha256(value: object) -> str:
  text = json.dumps(value, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()
