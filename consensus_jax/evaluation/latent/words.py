"""Positions in words, and positions read off words.

Reading is crude, and the same every time: no model has a part in it. A text is
cut into clauses, at full stops and at words such as "but" and "because". A
clause is about an issue if it holds one of the issue's words. Which side it is
on is shown by the issue's signs; without any, a word such as "should" is for
it. A denial turns the side round; signs of both sides, or words such as
"compromise", make it 0; words such as "firmly" make it strong. Clauses about
one issue are averaged; without any, the text has no position on it. So irony,
"it" for what was named before, and any wording without the words of
latent_questions.jsonl are read wrongly or not at all; what is put into words
here is read rightly, which a test shows.
"""

import functools
import random
import re
from collections.abc import Sequence

from consensus_jax.data.near_duplicates import normalised
from consensus_jax.evaluation.latent.questions import Issue, LatentQuestion

# A level of each issue; None where a text does not touch it.
Positions = tuple[float | int | None, ...]

MOST_WORDS = 60  # of an opinion

_SENTENCE = re.compile(r'(?<=[.!?])\s+')
_CLAUSE = re.compile(
  r'[.!?;]|\b(?:although|because|but|however|since|though|whereas|while|yet)\b',
  re.IGNORECASE,
)
_DENIALS = (
  *('against', 'cannot', 'neither', 'never', 'no', 'nobody', 'none', 'nor'),
  *('not', 'oppose', 'reject', 't', 'unacceptable', 'without', 'wrong'),
)
_STRONG = (
  *('absolutely', 'convinced', 'definitely', 'essential', 'firmly', 'must'),
  'strongly',
)
_IN_FAVOUR = (
  *('agree', 'favour', 'need', 'prefer', 'should', 'support', 'want'),
  'welcome',
)
_MIDDLE = ('both sides', 'compromise*', 'halfway', 'middle', 'trial')
_REASON = re.compile(r'\b(?:because|since|so that)\b', re.IGNORECASE)

_OPENERS = {
  2: (
    'I firmly believe that {}',
    'I am convinced that {}',
    'I feel strongly that {}',
  ),
  1: ('I tend to think that {}', 'I would say that {}', 'I think that {}'),
  0: (
    'I would like a compromise: {}',
    'I can see both sides: {}',
    'I would meet in the middle: {}',
  ),
}
_FIRST = ('Above all, ', 'First of all, ', 'Most of all, ', '')
_FURTHER = ('Also, ', 'Besides, ', '')
_OPENERS_TOGETHER = {
  2: ('We firmly believe that {}', 'We are convinced that {}'),
  1: ('We think that {}', 'We are inclined to say that {}'),
  0: ('As a compromise, we suggest that {}', 'We would meet halfway: {}'),
}
_CLOSINGS = (
  'We can live with this because nobody has to give up everything.',
  'We say so together because every one of us has been heard.',
)


def opinion(
  question: LatentQuestion,
  positions: Sequence[int],
  importance: Sequence[float | int],
  *,
  seed: str,
) -> str:
  """What somebody writes: the most important first, all issues of a question.

  Reasons are given, most important first, as far as `MOST_WORDS` allow; a
  position on an issue is never left out.

  Args:
    question: what it is about.
    positions: a level of each issue.
    importance: of each issue; equal ones in the order of the question.
    seed: of the choice of words.
  """
  rng = random.Random(seed)
  order = sorted(range(len(positions)), key=lambda i: -importance[i])
  sentences, reasons, leads = [], [], []
  for rank, index in enumerate(order):
    side = question.issues[index].side(positions[index])
    opener = rng.choice(_OPENERS[abs(positions[index])])
    sentences.append(opener.format(rng.choice(side.clauses)))
    reasons.append(rng.choice(side.reasons) if side.reasons else '')
    leads.append(rng.choice(_FURTHER if rank else _FIRST))
  left = MOST_WORDS - _count(' '.join(sentences))
  for rank, reason in enumerate(reasons):
    if reason and _count(reason) < left:
      sentences[rank] += f', because {reason}'
      left -= 1 + _count(reason)
  for rank, lead in enumerate(leads):
    if _count(lead) <= left:
      sentences[rank] = lead + sentences[rank]
      left -= _count(lead)
  return ' '.join(f'{each}.' for each in sentences)


def statement(
  question: LatentQuestion,
  positions: Positions,
  *,
  quality: int,
  seed: str,
) -> str:
  """What a group, or somebody for it, states.

  Args:
    question: what it is about.
    positions: a level of each issue; None leaves it out; one at least is there.
    quality: 1 gives reasons, 0 says what to do, -1 says one thing twice.
    seed: of the choice of words.

  Raises:
    ValueError: for a level that has no words, no level, or another quality.
  """
  if quality not in (-1, 0, 1):
    raise ValueError(f'quality must be -1, 0 or 1, got {quality}')
  if all(level is None for level in positions):
    raise ValueError('a statement takes a position on one issue at least')
  rng = random.Random(seed)
  sentences = []
  for issue, level in zip(question.issues, positions, strict=True):
    if level is None:
      continue
    if level not in range(-2, 3):
      raise ValueError(f'a level is a whole number from -2 to 2, got {level}')
    side = issue.side(level)
    opener = rng.choice(_OPENERS_TOGETHER[abs(int(level))])
    sentence = opener.format(rng.choice(side.clauses))
    if quality > 0 and side.reasons:
      sentence += f', because {rng.choice(side.reasons)}'
    sentences.append(f'{sentence}.')
  if quality > 0:
    sentences.append(rng.choice(_CLOSINGS))
  if quality < 0:
    sentences.append(sentences[0])
  return ' '.join(sentences)


def read_positions(question: LatentQuestion, text: str) -> Positions:
  """The position of any text on each issue, by the rule of this module.

  Returns:
    A level from -2 to 2, fractions included; None where no clause takes a side.
  """
  clauses = [normalised(clause) for clause in _CLAUSE.split(text)]
  found: list[float | None] = []
  for issue in question.issues:
    levels = [
      level
      for clause in clauses
      if (level := _level(issue, clause)) is not None
    ]
    found.append(sum(levels) / len(levels) if levels else None)
  return tuple(found)


def read_quality(text: str) -> int:
  """1 for a text that gives a reason, -1 for a poor one, 0 for others.

  Poor: fewer than 6 words, a sentence twice, or no full stop at the end. A
  reason counts in texts of 20 words or more.
  """
  sentences = [normalised(each) for each in _SENTENCE.split(text.strip())]
  length = _count(text)
  complete = text.rstrip().rstrip('"\'”’)').endswith(('.', '!', '?'))
  if length < 6 or len({*sentences}) < len(sentences) or not complete:
    return -1
  return int(length >= 20 and _REASON.search(text) is not None)


def _level(issue: Issue, clause: str) -> int | None:
  """The level that a clause takes on an issue; None if it takes none."""
  if not _holds(clause, issue.about):
    return None
  against, middle, in_favour = (
    _holds(clause, side.signs) for side in issue.sides
  )
  if middle or _holds(clause, _MIDDLE) or (in_favour and against):
    return 0
  if not in_favour and not against:
    if not _holds(clause, _IN_FAVOUR):
      return None
    in_favour = True
  denials = len(_pattern(_DENIALS).findall(clause))
  strength = 2 if _holds(clause, _STRONG) else 1
  return strength if in_favour == (denials % 2 == 0) else -strength


def _holds(clause: str, signs: tuple[str, ...]) -> bool:
  return _pattern(signs).search(clause) is not None


@functools.cache
def _pattern(signs: tuple[str, ...]) -> re.Pattern[str]:
  ends = '|'.join(re.escape(sign).replace(r'\*', r'\w*') for sign in signs)
  return re.compile(rf'\b(?:{ends})\b')


def _count(text: str) -> int:
  return len(text.split())
