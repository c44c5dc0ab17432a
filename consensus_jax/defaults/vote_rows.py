"""Rows of the reward model that are full: as many statements as fit.

A person who voted on hundreds of statements gives one row, of a seeded draw
among them. What a row costs is mostly its length, so none of it is left empty.
"""

import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import JudgedDeliberation, Member
from consensus_jax.data.reward_examples import question_name
from consensus_jax.tokenizer import Tokenizer

ROW_LENGTH = 768
# Among the statements of a row; most are shorter than twenty tokens by far.
MAX_STATEMENTS = 40
# People with fewer judgements that take a side teach little.
MIN_JUDGED = 8


def write(
  path: str | os.PathLike[str],
  records: Sequence[JudgedDeliberation],
  tokenizer: Tokenizer,
  *,
  seed: int,
  with_opinion: bool = True,
) -> None:
  """Writes one row a member; see `batches.write_examples`.

  Args:
    path: a folder that does not exist.
    records: of people who voted.
    tokenizer: of the reward model.
    seed: of which statements of a person are taken.
    with_opinion: False hides what people think: for a model of statements.

  Raises:
    InputError: if nobody is left, or it cannot be written.
  """
  participants = _names(m.participant for r in records for m in r.members)
  questions = _names(map(question_name, records))
  rows = [
    {
      **row,
      'participants': np.int32(participants[member.participant]),
      'questions': np.int32(questions[question_name(record)]),
    }
    for record in records
    for member, row in _rows_of(record, tokenizer, seed, with_opinion)
  ]
  batches.write_examples(
    path,
    ({name: np.asarray(x)[None] for name, x in row.items()} for row in rows),
    {
      'judgement': 'votes',
      'participants': list(participants),
      'questions': list(questions),
      'seed': seed,
    },
    kind='reward',
  )


def join(
  path: str | os.PathLike[str], parts: Sequence[str | os.PathLike[str]]
) -> None:
  """Writes the examples of several sets as one, in their order.

  Args:
    path: a folder that does not exist.
    parts: sets of equal features, of different people.

  Raises:
    InputError: if one cannot be read, or the whole cannot be written.
  """
  sets = [batches.open_examples(part) for part in parts]
  names = {
    name: _names(each for part in sets for each in part.meta[name])
    for name in ('participants', 'questions')
  }

  def rows() -> Iterator[dict[str, np.ndarray]]:
    for part in sets:
      moved = {
        name: np.array([names[name][each] for each in part.meta[name]])
        for name in names
      }
      for i in range(part.num_examples):
        row = {name: x[i : i + 1] for name, x in part.features.items()}
        for name, places in moved.items():
          row[name] = places[row[name]].astype(np.int32)
        yield row

  about = {
    name: value
    for name, value in sets[0].meta.items()
    if name not in ('schema', 'kind', 'num_examples', 'features')
  }
  lists = {name: list(each) for name, each in names.items()}
  batches.write_examples(path, rows(), about | lists, kind='reward')


def _names(names: Iterable[str]) -> Mapping[str, int]:
  return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _rows_of(
  record: JudgedDeliberation,
  tokenizer: Tokenizer,
  seed: int,
  with_opinion: bool,
) -> Iterator[tuple[Member, dict[str, np.ndarray]]]:
  texts = [prompts.reward_continuation(s.text) for s in record.statements]
  statements = [tokenizer.encode(text) for text in texts]
  for member in record.members:
    if sum(vote != 0 for vote in member.votes) < MIN_JUDGED:
      continue
    opinion = member.opinion if with_opinion else ''
    prefix = prompts.reward_prefix_ids(record.question.text, opinion, tokenizer)
    # A very long opinion loses its end.
    prefix = _cut(prefix, tokenizer)
    order = list(zip(member.judged, member.votes, strict=True))
    random.Random(f'{seed}/{member.participant}').shuffle(order)
    yield member, _row(prefix, order, statements)


def _cut(prefix: list[int], tokenizer: Tokenizer) -> list[int]:
  most = ROW_LENGTH // 2
  if len(prefix) <= most:
    return prefix
  end = tokenizer.encode('\n\nConsensus:')
  return [*prefix[: most - len(end)], *end]


def _row(
  prefix: Sequence[int],
  order: Sequence[tuple[int, int | None]],
  statements: Sequence[Sequence[int]],
) -> dict[str, np.ndarray]:
  tokens, positions = [*prefix], [*range(len(prefix))]
  segments = [1] * len(prefix)
  ends: list[int] = []
  levels: list[int | None] = []
  for index, vote in order:
    ids = statements[index]
    if len(tokens) + len(ids) > ROW_LENGTH or len(ends) == MAX_STATEMENTS:
      continue
    positions += range(len(prefix), len(prefix) + len(ids))
    segments += [2 + len(ends)] * len(ids)
    tokens += ids
    ends.append(len(tokens) - 1)
    levels.append(vote)
  return {
    'tokens': _padded(tokens, ROW_LENGTH, 0, np.int32),
    'segment_ids': _padded(segments, ROW_LENGTH, 0, np.int32),
    'positions': _padded(positions, ROW_LENGTH, 0, np.int32),
    'ends': _padded(ends, MAX_STATEMENTS, 0, np.int32),
    'levels': _padded(levels, MAX_STATEMENTS, np.nan, np.float32),
    'weights': np.float32(1),
  }


def _padded(values, length, fill, dtype):
  return np.array([*values, *[fill] * (length - len(values))], dtype)
