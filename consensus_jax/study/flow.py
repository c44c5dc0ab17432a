"""What a participant does: the interface between pages and database.

Every function takes a connection inside a transaction of `database.reading` or
`database.writing`, and the time in Unix seconds. Pages and answers by kind, all
JSON values; `labels` are `{'agreement': [7 texts], 'quality': [7],
'importance': [5]}`:

| kind | content | answer |
|---|---|---|
| consent | title, text | consent: bool; false leaves the study |
| instructions | text | |
| comprehension | prompt, options, attempts_left | choice: index from 0 |
| lobby | waiting, needed, since | no form |
| position | question, statement, labels, ask_importance, part: 'before' or \
'after' | position: 1..7; importance: 1..5 if asked |
| opinion | question, min_words, max_words, draft: text | text |
| wait | what: a value of `steps.WAITS`, progress 0..1, question | no form |
| rate | question, own_opinion, statement, number, of, labels, \
attention: None or {prompt} | agreement, quality: 1..7; attention: 1..7 if \
shown |
| rank | question, own_opinion, statements: [{id, text}] | \
ranks: {id: 1..number of statements}, 1 = best, ties allowed |
| critique | question, own_opinion, statement, min_words, max_words, draft | \
text |
| final | question, own_opinion, first, second: texts | choice: 'first', \
'second' or 'same' |
| result | question, statement | |
| survey | items: [{id, prompt, kind, options}], labels, draft: an answer | \
by item id: 1..7, index of the option from 0, or a text that may be absent |
| paused | text | no form |
| done, declined, excluded, withdrawn, timed_out | text, code, link | no form |

What is stored as the answer has more where the form alone does not tell: a
`rate` has `statement` (its id) and `attention_item` (its index), a `position`
its `side` and `part`, a `final` has `preferred`: 'initial', 'revised' or
'same'; a `rank` is `{'ranks': {statement id as text: 1..}}`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa

from consensus_jax.study.protocol import Protocol
from consensus_jax.study.steps import Step

__all__ = [
  'Step',
  'Submission',
  'current_key',
  'current_step',
  'is_paused',
  'pause',
  'resume',
  'save_draft',
  'submit',
  'tick',
  'withdraw',
]


@dataclasses.dataclass(frozen=True)
class Submission:
  """What became of an answer.

  Attributes:
    status: 'stored'; 'same': stored before, as when a form is sent twice;
      'late': another step is current, and nothing has changed.
  """

  status: Literal['stored', 'same', 'late']


def current_key(connection: sa.Connection, participant: str) -> str:
  """The key of the current step, or 'paused'; cheap, for pages that ask."""
  raise NotImplementedError


def current_step(
  connection: sa.Connection, protocol: Protocol, participant: str, *, now: float
) -> Step:
  """The page that the participant is to see; reads only."""
  raise NotImplementedError


def submit(
  connection: sa.Connection,
  protocol: Protocol,
  participant: str,
  key: str,
  answer: Mapping[str, Any],
  *,
  now: float,
) -> Submission:
  """Stores the answer to the step `key` and moves the group on.

  Raises:
    InputError: naming the field of a bad answer; nothing has changed.
  """
  raise NotImplementedError


def save_draft(
  connection: sa.Connection,
  protocol: Protocol,
  participant: str,
  key: str,
  answer: Mapping[str, Any],
  *,
  now: float,
) -> None:
  """Keeps what is written so far; nothing if another step is current.

  Raises:
    InputError: naming the field if a text is far too long or no text.
  """
  raise NotImplementedError


def withdraw(
  connection: sa.Connection, protocol: Protocol, participant: str, *, now: float
) -> None:
  """The participant leaves; the group goes on if enough are left."""
  raise NotImplementedError


def tick(connection: sa.Connection, protocol: Protocol, *, now: float) -> None:
  """Does what is due by now: time-outs, groups, jobs that nobody finishes."""
  raise NotImplementedError


def is_paused(connection: sa.Connection) -> bool:
  """Whether the researcher has paused the study."""
  raise NotImplementedError


def pause(connection: sa.Connection, *, now: float) -> None:
  """Stops all timers; answers under way are still stored."""
  raise NotImplementedError


def resume(connection: sa.Connection, *, now: float) -> None:
  """Lets timers go on where they stopped."""
  raise NotImplementedError
