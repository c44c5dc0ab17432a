"""Rows that teach what agreeing with one thing says about its opposite.

From a bank of questions with an affirming and a negating statement each: an
invented person took a side in eight questions of one topic, and is asked about
the other side, and about their own. No real person's judgement is in it.
"""

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import Question
from consensus_jax.data.verbalise import verbalise
from consensus_jax.defaults import vote_rows
from consensus_jax.tokenizer import Tokenizer

# Questions in which the invented person took a side.
NUM_SIDES = 8


def write(
  path: str | os.PathLike[str],
  questions: Sequence[Question],
  tokenizer: Tokenizer,
  *,
  num_rows: int,
  seed: int,
) -> None:
  """Writes rows in the form of `vote_rows`.

  Args:
    path: a folder that does not exist.
    questions: with positions, of the split to learn from.
    tokenizer: of the reward model.
    num_rows: how many; a multiple of the rows of a group.
    seed: of all draws.

  Raises:
    InputError: if it cannot be written.
  """
  about = {
    'judgement': 'votes',
    'block_rows': vote_rows.GROUP,
    'participants': [f'stances/{i}' for i in range(num_rows)],
    'questions': ['stances'],
    'seed': seed,
  }
  batches.write_examples(
    path,
    _rows(questions, tokenizer, num_rows, seed),
    about,
    kind='reward',
  )


def _rows(
  questions: Sequence[Question], tokenizer: Tokenizer, num_rows: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
  by_topic: dict[Any, list[Question]] = {}
  for question in questions:
    by_topic.setdefault(question.topic, []).append(question)
  topics = [each for each in by_topic.values() if len(each) >= NUM_SIDES]
  numbers: dict[str, int] = {}
  rng = random.Random(seed)
  for _ in range(num_rows // vote_rows.GROUP):
    # One topic and the same questions for a group, so that it is compared.
    chosen = rng.sample(rng.choice(topics), NUM_SIDES)
    for _ in range(vote_rows.GROUP):
      yield _row(chosen, tokenizer, numbers, rng)


def _row(chosen, tokenizer, numbers, rng) -> dict[str, np.ndarray]:
  told, asked = [], []
  for question in rng.sample(chosen, len(chosen)):
    sides = [question.affirming, question.negating.replace(' NOT ', ' not ')]
    side, vote = rng.randrange(2), rng.choice((1, -1))
    told.append((sides[side], vote))
    asked += [(sides[side], vote), (sides[1 - side], -vote)]
  rng.shuffle(asked)
  prefix = prompts.reward_prefix_ids(chosen[0].text, verbalise(told), tokenizer)
  row = vote_rows.encode(
    prefix,
    (
      (
        numbers.setdefault(text, len(numbers)),
        tokenizer.encode(prompts.reward_continuation(text)),
        vote,
      )
      for text, vote in asked
    ),
  )
  return {
    **{name: np.asarray(x)[None] for name, x in row.items()},
    'participants': np.zeros(1, np.int32),
    'questions': np.zeros(1, np.int32),
  }
