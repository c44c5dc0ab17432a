"""Rows of a model of statements: each with the mean of all its votes.

Who sees no opinion can only learn what people in general like. A row a person
says that thousands of times over, every time with the noise of one vote; a mean
says it at once.
"""

import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.defaults import vote_rows
from consensus_jax.tokenizer import Tokenizer

# Votes that every statement has beside its own, at the conversation's mean.
_PRIOR_VOTES = 2
# A row of fewer statements waits for the last pass: it costs as much as others.
_FEW = 8

# Of what a set was made, in its `meta.json`: people, statements, rows and votes
# of each record.
VOTED = 'voted'


def write(
  path: str | os.PathLike[str],
  records: Sequence[JudgedDeliberation],
  tokenizer: Tokenizer,
  *,
  passes: int,
  seed: int,
) -> None:
  """Writes rows of statements; see `batches.write_examples`.

  Args:
    path: a folder that does not exist.
    records: of people who voted, each of another conversation.
    tokenizer: of the reward model.
    passes: how often each statement is drawn, in rows of always other ones.
    seed: of the draws.

  Raises:
    InputError: if nobody voted, or it cannot be written.
  """
  rows = make(records, tokenizer, passes=passes, seed=seed)
  about = {
    'judgement': 'votes',
    # Their voters, all together.
    'participants': [record.id for record in records],
    'questions': [record.question.text for record in records],
    VOTED: [
      _counts(place, record, rows) for place, record in enumerate(records)
    ],
    'passes': passes,
    'seed': seed,
  }
  batches.write_examples(
    path, map(vote_rows.arrays, rows), about, kind='reward'
  )


def make(
  records: Sequence[JudgedDeliberation],
  tokenizer: Tokenizer,
  *,
  passes: int,
  seed: int,
) -> list[dict[str, Any]]:
  """The rows that `write` writes, in their order."""
  firsts = np.cumsum([0, *(len(record.statements) for record in records)])
  prefixes = [
    prompts.reward_prefix_ids(record.question.text, '', tokenizer)
    for record in records
  ]
  judged = [_judged(record, tokenizer) for record in records]
  rows = []
  for number in range(passes):
    for place, record in enumerate(records):
      order = [*judged[place]]
      random.Random(f'{seed}/{number}/{record.id}').shuffle(order)
      few = 0 if number == passes - 1 else min(_FEW, len(order))
      for row in _filled(prefixes[place], order):
        there = row['statements'] >= 0
        if there.sum() >= few:
          numbers = np.where(there, row['statements'] + firsts[place], -1)
          here = {'statements': numbers.astype(np.int32)}
          rows.append(row | here | {'participants': place, 'questions': place})
  random.Random(seed).shuffle(rows)
  return rows


def mean_votes(record: JudgedDeliberation) -> Mapping[int, float]:
  """The mean vote on each statement that has any, from -1 to 1, by its place.

  Drawn to the mean of all votes of the record, the more the fewer votes.
  """
  votes = _votes(record)
  if not votes:
    return {}
  mean = np.mean([vote for each in votes.values() for vote in each])
  return {
    place: float((sum(each) + _PRIOR_VOTES * mean) / (len(each) + _PRIOR_VOTES))
    for place, each in votes.items()
  }


def _votes(record: JudgedDeliberation) -> Mapping[int, list[int]]:
  """All votes on each statement that has any, by its place."""
  votes: dict[int, list[int]] = defaultdict(list)
  for member in record.members:
    for place, vote in zip(member.judged, member.votes, strict=True):
      if vote is not None:
        votes[place].append(vote)
  return votes


def _counts(
  place: int, record: JudgedDeliberation, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
  votes = _votes(record)
  voters = [m for m in record.members if any(v is not None for v in m.votes)]
  return {
    'source': record.id,
    'people': len(voters),
    'statements': len(votes),
    'rows': sum(row['questions'] == place for row in rows),
    'votes': sum(map(len, votes.values())),
  }


def _judged(
  record: JudgedDeliberation, tokenizer: Tokenizer
) -> list[tuple[int, list[int], float]]:
  """Place, token ids and mean vote of each statement that has votes."""
  return [
    (
      place,
      tokenizer.encode(
        prompts.reward_continuation(record.statements[place].text)
      ),
      level,
    )
    for place, level in mean_votes(record).items()
  ]


def _filled(
  prefix: Sequence[int], statements: Sequence[tuple[int, list[int], float]]
) -> Iterator[dict[str, Any]]:
  """Rows of all statements, in their order; one too long for any is left."""
  while statements:
    row = vote_rows.encode(prefix, statements)
    used = {*row['statements'].tolist()} - {-1}
    if not used:
      return
    yield row
    statements = [each for each in statements if each[0] not in used]
