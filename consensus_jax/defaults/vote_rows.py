"""Rows of the reward model from votes: full ones, and in groups.

What a row costs is its length, so it is filled with as many statements as fit.
The rows of a group are people of one conversation who voted on the same
statements: what they are compared on is personal.
"""

import dataclasses
import itertools
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int8

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import JudgedDeliberation, Member
from consensus_jax.data.reward_examples import question_name
from consensus_jax.tokenizer import Tokenizer

ROW_LENGTH = 576
MAX_STATEMENTS = 32
# People with fewer judgements that take a side teach little.
MIN_JUDGED = 8
# Rows of a group.
GROUP = 4
_NEUTRAL = 4  # of ratings from 1 to 7

_NONE = 2  # in a table of votes


def write(
  path: str | os.PathLike[str],
  records: Sequence[JudgedDeliberation],
  tokenizer: Tokenizer,
  *,
  seed: int,
  min_judged: int = MIN_JUDGED,
  max_rows: int | None = None,
) -> None:
  """Writes one row a member, in groups; see `batches.write_examples`.

  Args:
    path: a folder that does not exist.
    records: of people who voted.
    tokenizer: of the reward model.
    seed: of the groups.
    min_judged: people who took a side less often are left out.
    max_rows: of a record, by draw; None takes all.

  Raises:
    InputError: if nobody is left, or it cannot be written.
  """
  participants = _numbered(m.participant for r in records for m in r.members)
  questions = _numbered(map(question_name, records))
  first = 0
  rows: list[dict[str, Any]] = []
  for record in records:
    drawn = _rows_of(record, tokenizer, seed, min_judged)
    for row in itertools.islice(drawn, max_rows):
      there = row['statements'] >= 0
      row['statements'] = np.where(there, row['statements'] + first, -1)
      row['participants'] = participants[row['participants']]
      row['questions'] = questions[question_name(record)]
      rows.append(row)
    first += len(record.statements)
  about = {
    'judgement': 'votes',
    'block_rows': GROUP,
    'participants': list(participants),
    'questions': list(questions),
    'seed': seed,
  }
  batches.write_examples(path, map(arrays, rows), about, kind='reward')


def count(
  records: Iterable[JudgedDeliberation],
  *,
  min_judged: int = MIN_JUDGED,
  max_rows: int | None = None,
) -> int:
  """How many rows `write` makes of records, before it makes them."""
  total = 0
  for record in records:
    rows = len(judging(record, min_judged)) // GROUP * GROUP
    total += rows if max_rows is None else min(rows, max_rows)
  return total


def join(
  path: str | os.PathLike[str], parts: Sequence[str | os.PathLike[str]]
) -> None:
  """Writes the examples of several sets as one, in their order.

  Args:
    path: a folder that does not exist.
    parts: sets of equal features, of different people and statements.

  Raises:
    InputError: if one cannot be read, or the whole cannot be written.
  """
  sets = [batches.open_examples(part) for part in parts]
  names = {
    name: _numbered(each for part in sets for each in part.meta[name])
    for name in ('participants', 'questions')
  }

  def rows() -> Iterator[dict[str, np.ndarray]]:
    first = 0
    for part in sets:
      moved = {
        name: np.array([names[name][each] for each in part.meta[name]])
        for name in names
      }
      for i in range(part.num_examples):
        row = {name: x[i : i + 1] for name, x in part.features.items()}
        for name, places in moved.items():
          row[name] = places[row[name]].astype(np.int32)
        here = row['statements']
        row['statements'] = np.where(here >= 0, here + first, -1)
        yield row
      first += int(part.features['statements'].max()) + 1

  lists = {name: list(each) for name, each in names.items()}
  about = sets[0].description | lists
  batches.write_examples(path, rows(), about, kind='reward')


def as_votes(record: JudgedDeliberation) -> JudgedDeliberation:
  """Ratings of agreement as votes: above the middle for, below it against."""
  return dataclasses.replace(
    record,
    members=tuple(
      dataclasses.replace(
        member,
        agreement=(),
        quality=(),
        ranking=(),
        votes=tuple(
          None if rating is None else int(np.sign(rating - _NEUTRAL))
          for rating in member.agreement
        ),
      )
      for member in record.members
    ),
  )


def encode(
  prefix: Sequence[int],
  statements: Iterable[tuple[int, Sequence[int], float]],
) -> dict[str, Any]:
  """A row of a prefix and as many statements as fit.

  Args:
    prefix: token ids of the question and the opinion.
    statements: number, token ids and vote, or mean of votes, of each, the most
      wanted first.
  """
  tokens, positions = [*prefix], [*range(len(prefix))]
  segments = [1] * len(prefix)
  ends: list[int] = []
  votes: list[float] = []
  numbers: list[int] = []
  for number, ids, vote in statements:
    if len(tokens) + len(ids) > ROW_LENGTH or len(ends) == MAX_STATEMENTS:
      continue
    positions += range(len(prefix), len(prefix) + len(ids))
    segments += [2 + len(ends)] * len(ids)
    tokens += ids
    ends.append(len(tokens) - 1)
    votes.append(vote)
    numbers.append(number)
  return {
    'tokens': _padded(tokens, ROW_LENGTH, 0, np.int32),
    'segment_ids': _padded(segments, ROW_LENGTH, 0, np.int32),
    'positions': _padded(positions, ROW_LENGTH, 0, np.int32),
    'ends': _padded(ends, MAX_STATEMENTS, 0, np.int32),
    'levels': _padded(votes, MAX_STATEMENTS, np.nan, np.float32),
    'statements': _padded(numbers, MAX_STATEMENTS, -1, np.int32),
    'weights': np.float32(1),
  }


def _rows_of(
  record: JudgedDeliberation,
  tokenizer: Tokenizer,
  seed: int,
  min_judged: int,
) -> Iterator[dict[str, Any]]:
  texts = [prompts.reward_continuation(s.text) for s in record.statements]
  statements = [tokenizer.encode(text) for text in texts]
  members = judging(record, min_judged)
  table = np.full((len(members), len(statements)), _NONE, np.int8)
  for place, member in enumerate(members):
    for index, vote in zip(member.judged, member.votes, strict=True):
      table[place, index] = _NONE if vote is None else vote
  rng = random.Random(f'{seed}/{record.id}')
  for group in _groups(table, rng):
    wanted = _most_wanted(table[group], rng)
    for place in group:
      member = members[place]
      prefix = prompts.reward_prefix_ids(
        record.question.text, member.opinion, tokenizer
      )
      row = encode(
        _cut(prefix, tokenizer),
        (
          (index, statements[index], int(table[place, index]))
          for index in wanted
          if table[place, index] != _NONE
        ),
      )
      yield row | {'participants': member.participant}


def judging(
  record: JudgedDeliberation, min_judged: int = MIN_JUDGED
) -> list[Member]:
  """Members who took a side often enough to teach, or to be measured on."""
  return [
    member
    for member in record.members
    if sum(vote in (-1, 1) for vote in member.votes) >= min_judged
  ]


def _groups(
  table: Int8[np.ndarray, 'members statements'], rng: random.Random
) -> Iterator[list[int]]:
  """Members who voted on much of the same; who is left over is left out."""
  sided = (np.abs(table) == 1).astype(np.float32)
  left = list(range(len(table)))
  rng.shuffle(left)
  while len(left) >= GROUP:
    pivot = left.pop()
    # Shared statements, but nobody is always with the same others.
    shared = sided[left] @ sided[pivot]
    noise = np.array([rng.random() for _ in left])
    near = np.argsort(-shared * (0.5 + noise))[: GROUP - 1]
    group = [pivot, *(left[place] for place in near)]
    left = [member for member in left if member not in group]
    yield group


def _most_wanted(
  votes: Int8[np.ndarray, 'group statements'], rng: random.Random
) -> list[int]:
  """Statements, those on which the group differs and any other in turns.

  Only the former say what is personal; without the latter, rewards would know
  nothing of statements that all like or nobody does.
  """
  for_, against = (votes == 1).sum(0), (votes == -1).sum(0)
  judged = (votes != _NONE).sum(0)
  order = [int(index) for index in np.flatnonzero(judged)]
  rng.shuffle(order)
  contested = sorted(
    order,
    key=lambda index: (-min(for_[index], against[index]), -judged[index]),
  )
  shared = sorted(order, key=lambda index: -judged[index] + rng.random())
  in_turns = itertools.chain.from_iterable(zip(contested, shared, strict=True))
  return list(dict.fromkeys(in_turns))


def _cut(prefix: list[int], tokenizer: Tokenizer) -> list[int]:
  """A very long opinion loses its end."""
  most = ROW_LENGTH // 2
  if len(prefix) <= most:
    return prefix
  end = tokenizer.encode('\n\nConsensus:')
  return [*prefix[: most - len(end)], *end]


def _numbered(names: Iterable[str]) -> Mapping[str, int]:
  return {name: place for place, name in enumerate(dict.fromkeys(names))}


def arrays(row: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """A row of `encode`, and what else belongs to it, as a set of one example."""
  features = {name: np.asarray(x)[None] for name, x in row.items()}
  return {
    name: x.astype(np.int32) if x.dtype == np.int64 else x
    for name, x in features.items()
  }


def _padded(values, length, fill, dtype):
  return np.array([*values, *[fill] * (length - len(values))], dtype)
