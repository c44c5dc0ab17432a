"""Writes new debate questions with a language model, after the paper.

Each call shows a model ten seed questions, drawn without replacement, and takes
the first line of what it writes. Prompt and filters as published by Liu, Zhang
and Liang 2023 (arXiv 2304.09848, "following the procedure of Bakker et al.");
near-duplicates are removed as well. The model is a function, so that this
module knows none.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.near_duplicates import NearDuplicates, normalised
from consensus_jax.data.question_seeds import SEEDS
from consensus_jax.data.records import Question
from consensus_jax.data.topics import Embed

INTRODUCTION = (
  'An intelligent computer system is constructed. It is friendly and safe. The '
  'system generates debate questions that can be used to have interesting '
  'discussions between people. The questions the system came up with are:'
)
SEEDS_PER_PROMPT = 10
# What the model should be given: room for a question, and where it ends.
MAX_TOKENS = 100
STOP_STRINGS = ('\n',)
_MIN_CHARACTERS = 16

# Prompts and the seed of each to what a model wrote after each.
Generate = Callable[[list[str], list[int]], list[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
  """New questions and what became of the others.

  Attributes:
    questions: in the order they were written; fewer than asked for if the
      calls ran out.
    num_calls: questions that the model wrote, kept or not.
    exclusions: why the others were left out, counted, with the first few.
  """

  questions: tuple[Question, ...]
  num_calls: int
  exclusions: tuple[Exclusion, ...]


def prompt(seeds: Sequence[str]) -> str:
  """What a model continues with a new question."""
  questions = ''.join(f'Question: {seed}\n' for seed in seeds)
  return f'{INTRODUCTION}\n\n{questions}Question:'


def generate(
  write: Generate,
  num_questions: int,
  *,
  seed: int,
  seeds: Sequence[str] = SEEDS,
  known: Sequence[str] = (),
  similarity: float = 0.7,
  embed: Embed | None = None,
  cosine: float = 0.9,
  max_calls: int | None = None,
  batch_size: int = 1,
  progress: Callable[[int, int], None] | None = None,
) -> Generated:
  """Writes questions until there are enough.

  What is written depends on the seed and the number of a call, so a larger
  batch changes nothing but the time.

  Args:
    write: the model: prompts and a seed for each to continuations, as many.
    num_questions: how many to keep.
    seed: of the draws and of the model's.
    seeds: ten or more questions to show.
    known: questions that must not come again, such as those held out.
    similarity: the share of word 3-grams with an earlier question from which
      a new one is a near-duplicate.
    embed: a sentence embedder to compare meanings by as well, if any.
    cosine: from which a question is a near-duplicate by its embedding, less
      the mean of the seeds' and known ones'; depends on the embedder.
    max_calls: when to give up; 10 a question by default.
    batch_size: prompts given to `write` at once.
    progress: called with (questions kept, num_questions).

  Raises:
    ValueError: for fewer than ten seeds, or if `write` returns another number
      of texts than it got prompts.
  """
  if len(seeds) < SEEDS_PER_PROMPT:
    raise ValueError(f'needs {SEEDS_PER_PROMPT} seeds, got {len(seeds)}')
  max_calls = 10 * num_questions if max_calls is None else max_calls
  earlier = [*seeds, *known]
  similar = NearDuplicates(similarity)
  for text in earlier:
    similar.add(text)
  exact = {normalised(text) for text in earlier}
  meanings = _Meanings(embed, earlier) if embed else None
  tally = Tally()
  kept: list[Question] = []
  num_calls = 0
  while num_calls < max_calls and len(kept) < num_questions:
    calls = range(num_calls, min(num_calls + batch_size, max_calls))
    prompts, draws = zip(*(_draw(seeds, seed, call) for call in calls))
    texts = write(list(prompts), list(draws))
    if len(texts) != len(prompts):
      raise ValueError(f'{len(prompts)} prompts gave {len(texts)} texts')
    for text in map(first_line, texts):
      if len(kept) == num_questions:
        break
      num_calls += 1
      reason = refusal(text)
      if reason is None and normalised(text) in exact:
        reason = 'is a question that there is already'
      if reason is None and similar.find(text) is not None:
        reason = 'is nearly one that there is already'
      if reason is None and meanings and meanings.add(text) >= cosine:
        reason = 'means nearly what another one does'
      if reason:
        tally.add('question', reason, text)
        continue
      similar.add(text)
      exact.add(normalised(text))
      kept.append(Question(text=text, id=_id(text)))
      if progress:
        progress(len(kept), num_questions)
  return Generated(
    questions=tuple(kept), num_calls=num_calls, exclusions=tally.exclusions()
  )


class _Meanings:
  """Embeddings of questions, less the mean of the first ones."""

  def __init__(self, embed: Embed, texts: Sequence[str]):
    self._embed = embed
    rows = embed(texts)
    self._mean = rows.mean(0)
    self._rows = self._directions(rows)

  def _directions(self, rows: np.ndarray) -> np.ndarray:
    rows = rows - self._mean
    return rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-9)[:, None]

  def add(self, text: str) -> float:
    """The largest cosine to an earlier question; remembers this one."""
    row = self._directions(self._embed([text]))
    largest = float((self._rows @ row[0]).max())
    self._rows = np.concatenate([self._rows, row])
    return largest


def first_line(text: str) -> str:
  """The question that a continuation begins with."""
  lines = text.strip().splitlines()
  return lines[0].strip() if lines else ''


def refusal(text: str) -> str | None:
  """Why a text is no debate question; None if it is one."""
  if not text.endswith('?'):
    return 'does not end with a question mark'
  if 'should' not in text.lower():
    return 'does not ask what should be'
  if len(text) < _MIN_CHARACTERS:
    return f'is shorter than {_MIN_CHARACTERS} characters'
  return None


def _draw(seeds: Sequence[str], seed: int, call: int) -> tuple[str, int]:
  """The prompt of one call, and the seed for the model."""
  random = np.random.default_rng((seed, call))
  chosen = random.choice(len(seeds), SEEDS_PER_PROMPT, replace=False)
  return prompt([seeds[i] for i in chosen]), int(random.integers(2**31))


def _id(text: str) -> str:
  return f'G{hashlib.sha256(text.encode()).hexdigest()[:12]}'
