"""Statements with known positions: written for simulated groups, or read.

What is written here sees the opinions of those who are heard, as a system does:
positions of the silent have no part in it.
"""

import random
from collections.abc import Sequence

from consensus_jax.evaluation.latent import words
from consensus_jax.evaluation.latent.groups import LatentGroup, Participant
from consensus_jax.evaluation.latent.questions import LatentQuestion
from consensus_jax.evaluation.latent.ratings import LatentStatement
from consensus_jax.evaluation.latent.words import Positions
from consensus_jax.strict_json import InputError

KINDS = ('compromise', 'majority', 'minority', 'vague', 'off_topic')


def stated(
  question: LatentQuestion,
  positions: Positions,
  *,
  quality: int,
  seed: str,
  author: str = '',
) -> LatentStatement:
  """A statement of given positions and quality, in words.

  Raises:
    ValueError: as `words.statement`.
  """
  text = words.statement(question, positions, quality=quality, seed=seed)
  return LatentStatement(
    text=text, positions=positions, quality=quality, author=author
  )


def read(
  question: LatentQuestion, text: str, *, author: str = ''
) -> LatentStatement:
  """A statement of any text, its position read by the rule of `words`.

  Exact for what is put into words by `words`, people's opinions
  included; crude for what a model or a person writes.
  """
  return LatentStatement(
    text=text,
    positions=words.read_positions(question, text),
    quality=words.read_quality(text),
    author=author,
  )


def opinions(group: LatentGroup) -> tuple[LatentStatement, ...]:
  """The opinions of those who are heard, as statements of theirs."""
  return tuple(
    read(group.question, person.opinion, author=person.name)
    for person in group.heard
  )


def written(group: LatentGroup, kind: str, *, seed: int) -> LatentStatement:
  """A statement of one kind for a group; its author is the kind.

  'compromise': 0 where those who are heard are on both sides, else the level
  nearest to 0 that one of them has; with reasons. 'majority': strongly on the
  side of most, on every issue, 0 if there is none; 'minority': the other side,
  0 likewise. 'vague': a compromise on the last issue only, said twice.
  'off_topic': about no issue.

  Raises:
    InputError: for an unknown kind.
  """
  if kind not in KINDS:
    raise InputError(f'must be one of {", ".join(KINDS)}, got {kind!r}')
  name = f'{seed}/{group.id}/{kind}'
  if kind == 'off_topic':
    text = random.Random(name).choice(group.question.off_topic)
    return LatentStatement(
      text=text,
      positions=(None,) * len(group.question.issues),
      quality=words.read_quality(text),
      author=kind,
    )
  levels = tuple(zip(*(person.positions for person in group.heard)))
  positions: Positions
  quality = 0
  if kind == 'compromise':
    positions, quality = tuple(_between(each) for each in levels), 1
  elif kind == 'vague':
    positions, quality = (*(None,) * (len(levels) - 1), 0), -1
  else:
    way = 2 if kind == 'majority' else -2
    positions = tuple(way * _side(each) for each in levels)
  return stated(
    group.question, positions, quality=quality, seed=name, author=kind
  )


def candidates(
  group: LatentGroup, *, num: int, seed: int
) -> tuple[LatentStatement, ...]:
  """One of each kind, one-sided ones of each person heard, then anything.

  Args:
    group: for whom.
    num: how many; the first `num` of them.
    seed: of the choice of words, and of what is anything.
  """
  found = [written(group, kind, seed=seed) for kind in KINDS]
  found += [_one_sided(group, person, seed) for person in group.heard]
  rng = random.Random(f'{seed}/{group.id}/anything')
  while len(found) < num:
    positions = tuple(rng.randint(-2, 2) for _ in group.question.issues)
    found.append(
      stated(
        group.question,
        positions,
        quality=rng.randint(-1, 1),
        seed=f'{seed}/{group.id}/{len(found)}',
        author='anything',
      )
    )
  return tuple(found[:num])


def _one_sided(
  group: LatentGroup, person: Participant, seed: int
) -> LatentStatement:
  """What a person would say if only they were heard, and strongly."""
  return stated(
    group.question,
    tuple(2 * _side((level,)) for level in person.positions),
    quality=1,
    seed=f'{seed}/{person.name}/one_sided',
    author='one_sided',
  )


def _between(levels: Sequence[int]) -> int:
  if min(levels) <= 0 <= max(levels):
    return 0
  return min(levels, key=abs)


def _side(levels: Sequence[int]) -> int:
  """1, 0 or -1: where most are."""
  balance = sum((level > 0) - (level < 0) for level in levels)
  return (balance > 0) - (balance < 0)
