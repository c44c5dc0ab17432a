"""Judged deliberations that tests make up, seeded."""

import random

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)

_SENTENCES = (
  'buses trains should be free for all children we want cleaner air and more '
  'trees naïve “quoted” 日本語 costs rise, taxes too! who pays? nobody knows'
)
_WORDS = _SENTENCES.split()


def text(rng, least=3, most=12):
  words = [rng.choice(_WORDS) for _ in range(rng.randint(least, most))]
  return ' '.join(words).capitalize()


def record(seed=0, members=4, statements=5, source='study', **question):
  """One deliberation in which everybody judged everything, more or less."""
  rng = random.Random(seed)
  name = f'{source}{seed}'

  def judged(values):
    return tuple(rng.choice([*values, None]) for _ in range(statements))

  def ranking():
    ranks = [rng.randrange(statements) for _ in range(statements)]
    dense = sorted(set(ranks))
    return tuple(dense.index(rank) for rank in ranks)

  question = {'text': f'Question {seed}: {text(rng)}?'} | question
  return JudgedDeliberation(
    id=name,
    source=source,
    group=name,
    question=Question(**question),
    statements=tuple(
      Statement(id=str(i), text=text(rng, 5, 25), author='system')
      for i in range(statements)
    ),
    members=tuple(
      Member(
        participant=f'{name}/{i}',
        opinion=text(rng, 5, 30),
        judged=tuple(range(statements)),
        agreement=judged(range(1, 8)),
        quality=judged(range(1, 8)),
        ranking=ranking(),
        votes=judged((-1, 0, 1)),
      )
      for i in range(members)
    ),
  )


def records(count=6, **kwargs):
  return [record(seed, **kwargs) for seed in range(count)]
