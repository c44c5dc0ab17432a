"""What makes a participant's answers look careless. Signs, and no verdicts.

Nobody is excluded by them: they are for the researcher to look at.
"""

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import sqlalchemy as sa

from consensus_jax.data.near_duplicates import shingles, words
from consensus_jax.study.collected import Collected

Sign = Literal[
  'failed attention check', 'too fast', 'straight-lining', 'near copy'
]

# Nobody reads ten words a second, or writes five.
READING = 10.0
WRITING = 5.0
# So many equal ratings in a row are a line.
LINE = 6
# Of three-word sequences that two texts have in common.
COPY = 0.5
# Shorter texts are alike by chance.
_COPY_WORDS = 8


@dataclasses.dataclass(frozen=True)
class Flag:
  """A sign of carelessness.

  Attributes:
    sign: which.
    detail: what was seen, for the researcher.
  """

  sign: Sign
  detail: str

  def __str__(self):
    return f'{self.sign}: {self.detail}'


def flags(study: Collected) -> dict[str, list[Flag]]:
  """Flags by participant id, of those who have any."""
  texts = {
    row.id: row.text for rows in study.statements.values() for row in rows
  }
  found: dict[str, list[Flag]] = defaultdict(list)
  for name, answers in study.answers.items():
    rates = [answer for answer in answers if answer.kind == 'rate']
    own = [
      *_attention(study, rates),
      *_speed(answers, rates, texts),
      *_line(rates),
    ]
    if own:
      found[name] += own
  for name, flag in _copies(study, texts):
    found[name].append(flag)
  return dict(found)


def _attention(study: Collected, rates: Sequence[sa.Row]) -> list[Flag]:
  asked = [rate.content for rate in rates if 'attention_item' in rate.content]
  failed = sum(
    content['attention']
    != study.protocol.attention[content['attention_item']].answer
    for content in asked
  )
  if not failed:
    return []
  return [Flag('failed attention check', f'{failed} of {len(asked)}')]


def _speed(
  answers: Sequence[sa.Row],
  rates: Sequence[sa.Row],
  texts: Mapping[int, str],
) -> list[Flag]:
  found = []
  read = [
    len(words(texts.get(rate.content['statement'], '')))
    / max(rate.seconds, 1e-3)
    for rate in rates
  ]
  if read and statistics.median(read) > READING:
    speed = statistics.median(read)
    found.append(Flag('too fast', f'reads {speed:.0f} words a second'))
  written = [
    len(words(answer.content['text'])) / max(answer.seconds, 1e-3)
    for answer in answers
    if answer.kind in ('opinion', 'critique')
  ]
  if written and max(written) > WRITING:
    found.append(Flag('too fast', f'writes {max(written):.0f} words a second'))
  return found


def _line(rates: Sequence[sa.Row]) -> list[Flag]:
  longest, length, before = 0, 0, None
  for rate in rates:
    given = rate.content['agreement'], rate.content['quality']
    length = length + 1 if given == before else 1
    longest, before = max(longest, length), given
  if longest < LINE:
    return []
  return [Flag('straight-lining', f'{longest} equal ratings in a row')]


def _copies(
  study: Collected, statements: Mapping[int, str]
) -> list[tuple[str, Flag]]:
  """Opinions and critiques much like somebody else's, or a statement shown."""
  written: dict[str, list[tuple[float, str, frozenset]]] = defaultdict(list)
  found = []
  for name, answers in study.answers.items():
    for answer in answers:
      if answer.kind not in ('opinion', 'critique'):
        continue
      text = answer.content['text']
      if len(words(text)) < _COPY_WORDS:
        continue
      question = study.questions[answer.group_id, answer.position].question_id
      written[f'{answer.kind} {question}'].append(
        (answer.answered_at, name, shingles(text))
      )
      if answer.kind == 'critique':
        shown = study.statements[answer.group_id, answer.position]
        for row in shown:
          if _alike(shingles(text), shingles(row.text)) >= COPY:
            found.append((name, Flag('near copy', f'critique of s{row.id}')))
            break
  for what, texts in written.items():
    texts.sort(key=lambda each: each[0])
    for index, (_, name, own) in enumerate(texts):
      for _, other, theirs in texts[:index]:
        if other != name and _alike(own, theirs) >= COPY:
          flag = Flag('near copy', f'{what}, of {study.names[other]}')
          found.append((name, flag))
          break
  return found


def _alike(first: frozenset, second: frozenset) -> float:
  """The share of three-word sequences in common (Jaccard)."""
  return len(first & second) / max(1, len(first | second))
