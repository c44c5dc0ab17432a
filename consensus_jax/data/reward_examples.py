"""Judged deliberations as examples for a reward model.

One example is one member of one deliberation: the question and the member's
opinion, then statements that the member judged. All of it is encoded as the
scorer encodes it, so that a model is trained on what it will read.
"""

import dataclasses
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from consensus_jax import prompts
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import JudgedDeliberation, Member
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.overflow import fit
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer

_Row = list[int]  # Places among the judged statements of a member.


@dataclasses.dataclass(frozen=True)
class RewardExample:
  """A prefix and statements that follow it, as token ids, and judgements.

  Attributes:
    prefix: the question and one member's opinion.
    statements: each of them directly follows the prefix.
    levels: the member's judgement of each statement, higher = better.
    weight: of the example; those of one member of one deliberation sum to 1.
    participant: who judged.
    question: id of the question, or its text.
  """

  prefix: tuple[int, ...]
  statements: tuple[tuple[int, ...], ...]
  levels: tuple[float, ...]
  weight: float
  participant: str
  question: str


@dataclasses.dataclass(frozen=True)
class _Judged:
  """What one member judged: statements' ids, rounds and levels."""

  statements: list[tuple[int, ...]]
  rounds: np.ndarray
  levels: np.ndarray


def question_name(record: JudgedDeliberation) -> str:
  """What a question is known by: its id, or else its text."""
  return record.question.id or prompts.one_line(record.question.text)


def encode(
  records: Iterable[JudgedDeliberation],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  excluded: Tally,
) -> Iterator[RewardExample]:
  """Examples of how people judged statements.

  Which statements share a row depends on the seed, the deliberation and the
  member alone.

  Args:
    records: the judged deliberations.
    tokenizer: of the reward model.
    settings: what to learn, and how long a row is.
    excluded: counts what is left out or cut.
  """
  for record in records:
    texts = [prompts.reward_continuation(s.text) for s in record.statements]
    encoded = tokenizer.plain.encode_batch_fast(texts, add_special_tokens=False)
    statements = [tuple(encoding.ids) for encoding in encoded]
    for member in record.members:
      yield from _encode_member(
        record, member, statements, tokenizer, settings, excluded
      )


def _encode_member(
  record: JudgedDeliberation,
  member: Member,
  statements: Sequence[tuple[int, ...]],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  excluded: Tally,
) -> Iterator[RewardExample]:
  name = f'{record.id}: {member.participant}'
  if not member.opinion:
    return excluded.add('member', 'wrote no opinion', name)
  if member.opinion_provenance not in settings.opinions:
    reason = f'opinion is of the kind {member.opinion_provenance!r}'
    return excluded.add('member', reason, name)
  judged = _judged(record, member, statements, settings, excluded, name)
  if not judged.statements:
    return excluded.add('member', f'no judgement: {settings.judgement}', name)
  seed = seed_of(settings.seed, record.id, member.participant)
  rows = _rows(judged, settings, seed)
  if not rows:
    reason = 'judged fewer than two statements, or all alike'
    return excluded.add('member', reason, name)
  prefix, rows = _fit(
    record, member, judged, rows, tokenizer, settings, excluded, name
  )
  for row in rows:
    yield RewardExample(
      prefix,
      tuple(judged.statements[place] for place in row),
      tuple(float(judged.levels[place]) for place in row),
      1 / len(rows),
      member.participant,
      question_name(record),
    )


def _judged(
  record: JudgedDeliberation,
  member: Member,
  statements: Sequence[tuple[int, ...]],
  settings: ExampleSettings,
  excluded: Tally,
  name: str,
) -> _Judged:
  given = getattr(member, settings.judgement)
  sign = -1 if settings.judgement == 'ranking' else 1
  chosen: list[int] = []
  levels: list[float] = []
  for index, value in zip(member.judged, given):
    if value is None:
      continue
    if record.statements[index].author == member.participant:
      excluded.add('judgement', "of the member's own statement", name)
      continue
    chosen.append(index)
    levels.append(sign * value)
  # Ranks compare the statements of one round; ratings and votes all of them.
  ranked = settings.judgement == 'ranking'
  return _Judged(
    [statements[index] for index in chosen],
    np.array([record.statements[i].round if ranked else 0 for i in chosen]),
    np.array(levels),
  )


def _rows(judged: _Judged, settings: ExampleSettings, seed: int) -> list[_Row]:
  """Which of a member's statements share a row."""
  if settings.task == 'consensus_reward_pairs':
    return _pairs(judged, settings, seed)
  needed = 1 if settings.task == 'consensus_reward_ordinal' else 2
  rows: list[_Row] = []
  for each in np.unique(judged.rounds):
    places = np.flatnonzero(judged.rounds == each)
    rows += _chunks(places, judged.levels, settings.row_statements, seed)
  drops_ties = needed == 2 and settings.ties == 'drop'
  return [
    row
    for row in rows
    if len(row) >= needed
    and not (drops_ties and len(set(judged.levels[row])) == 1)
  ]


def _pairs(judged: _Judged, settings: ExampleSettings, seed: int) -> list[_Row]:
  """A sample of the pairs, all alike likely."""
  first, second = np.triu_indices(len(judged.levels), 1)
  chosen = judged.rounds[first] == judged.rounds[second]
  if settings.ties == 'drop':
    chosen &= judged.levels[first] != judged.levels[second]
  places = np.flatnonzero(chosen)
  if len(places) > settings.max_pairs:
    rng = np.random.default_rng(seed)
    places = rng.choice(places, settings.max_pairs, replace=False)
  return [[int(first[i]), int(second[i])] for i in places]


def _chunks(
  places: np.ndarray, levels: np.ndarray, size: int, seed: int
) -> list[_Row]:
  """Rows of at most `size` statements, of about equal length.

  Dealt like cards that are sorted by level, so that as many rows as possible
  hold statements that were not judged alike.
  """
  shuffled = places.tolist()
  random.Random(seed).shuffle(shuffled)
  ordered = sorted(shuffled, key=lambda place: levels[place])
  count = -(-len(ordered) // size)
  return [ordered[start::count] for start in range(count)]


def _fit(
  record: JudgedDeliberation,
  member: Member,
  judged: _Judged,
  rows: Sequence[_Row],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  excluded: Tally,
  name: str,
) -> tuple[tuple[int, ...], list[_Row]]:
  """A member's prefix, and the rows that fit beside it."""

  def make_prefix(d: Deliberation) -> list[int]:
    return prompts.reward_prefix_ids(d.question, d.opinions[0].text, tokenizer)

  deliberation = Deliberation(
    record.id,
    record.question.text,
    (Opinion(member.participant, member.opinion),),
  )
  prefix = make_prefix(deliberation)
  lengths = [
    sum(len(judged.statements[place]) for place in row) for row in rows
  ]
  # Statements of more than half a row are left out rather than the opinion.
  room = max(settings.row_length - max(lengths), settings.row_length // 2)
  if len(prefix) > room and settings.long_examples == 'truncate':
    try:
      fitted, _ = fit(deliberation, make_prefix, tokenizer, room, 'truncate')
      prefix = make_prefix(fitted)
      reason = f'cut to fit into {settings.row_length} tokens'
      excluded.add('end of an opinion', reason, name)
    except InputError:
      pass  # Not even the question fits.
  fitting = [
    row
    for row, length in zip(rows, lengths)
    if len(prefix) + length <= settings.row_length
  ]
  reason = f'longer than {settings.row_length} tokens'
  excluded.add('row', reason, name, len(rows) - len(fitting))
  return tuple(prefix), fitting
