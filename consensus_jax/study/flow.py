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

from consensus_jax.strict_json import InputError, plain
from consensus_jax.study import (
  candidates,
  contents,
  lobby,
  stages,
  steps,
  view,
  winners,
)
from consensus_jax.study.answers import check, check_draft
from consensus_jax.study.protocol import Ending, Protocol
from consensus_jax.study.steps import Step
from consensus_jax.study.tables import (
  answers,
  drafts,
  group_questions,
  participants,
  studies,
)

__all__ = [
  'Step',
  'Submission',
  'current_key',
  'current_step',
  'is_paused',
  'pause',
  'prepare',
  'resume',
  'save_draft',
  'submit',
  'tick',
  'withdraw',
]


# After a step's time is over, for an answer that is still under way.
GRACE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Submission:
  """What became of an answer.

  Attributes:
    status: 'stored'; 'same': stored before, as when a form is sent twice;
      'late': another step is current, and nothing has changed.
  """

  status: Literal['stored', 'same', 'late']


def prepare(protocol: Protocol) -> None:
  """Compiles what `submit` and `tick` need; to be called before serving.

  It takes seconds once in a process, which the first group would wait for.
  """
  winners.prepare(protocol)


def current_key(connection: sa.Connection, participant: str) -> str:
  """The key of the current step, or 'paused'; cheap, for pages that ask."""
  row = view.participant(connection, participant)
  if row.state == 'active' and view.is_paused(connection):
    return 'paused'
  return row.step_key


def current_step(
  connection: sa.Connection, protocol: Protocol, participant: str, *, now: float
) -> Step:
  """The page that the participant is to see; reads only."""
  at = contents.standing(connection, protocol, participant)
  if at.row.state == 'active' and view.is_paused(connection):
    return Step(
      key='paused', kind='paused', content={'text': ''}, seconds_left=None
    )
  return _step(connection, protocol, at, now)


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
  at = contents.standing(connection, protocol, participant)
  if at.place.key != key or at.place.kind in steps.WITHOUT_ANSWER:
    before = at.answers.get(key)
    same = before is not None and all(
      before.get(name) == (value.strip() if isinstance(value, str) else value)
      for name, value in answer.items()
    )
    return Submission('same' if same else 'late')
  step = _step(connection, protocol, at, now)
  content = check(protocol, step, answer)
  _store(connection, protocol, at, content, from_draft=False, now=now)
  return Submission('stored')


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
  at = contents.standing(connection, protocol, participant)
  if at.place.key != key:
    return
  content = check_draft(protocol, _step(connection, protocol, at, now), answer)
  _forget_draft(connection, at)
  connection.execute(
    drafts.insert().values(
      participant_id=participant, step_key=key, content=content, saved_at=now
    )
  )


def withdraw(
  connection: sa.Connection, protocol: Protocol, participant: str, *, now: float
) -> None:
  """The participant leaves; the group goes on if enough are left."""
  if view.participant(connection, participant).state == 'active':
    stages.end(connection, protocol, participant, 'withdrawn', now=now)


def tick(connection: sa.Connection, protocol: Protocol, *, now: float) -> None:
  """Does what is due by now: time-outs, groups, jobs that nobody finishes."""
  if view.is_paused(connection):
    return
  overdue = connection.execute(
    sa.select(participants.c.id)
    .where(
      participants.c.state == 'active',
      participants.c.deadline < now - GRACE_SECONDS,
    )
    .order_by(participants.c.deadline)
  ).scalars()
  for participant in list(overdue):
    _time_out(connection, protocol, participant, now=now)
  lobby.form_groups(connection, protocol, now=now)
  candidates.give_up_overdue(connection, protocol, now=now)


def is_paused(connection: sa.Connection) -> bool:
  """Whether the researcher has paused the study."""
  return view.is_paused(connection)


def pause(connection: sa.Connection, *, now: float) -> None:
  """Stops all timers; answers under way are still stored."""
  connection.execute(
    studies.update().where(studies.c.paused_at.is_(None)).values(paused_at=now)
  )


def resume(connection: sa.Connection, *, now: float) -> None:
  """Lets timers go on where they stopped."""
  since = connection.execute(sa.select(studies.c.paused_at)).scalar()
  if since is None:
    return
  pause_seconds = max(0.0, now - since)
  for column in (
    participants.c.step_since,
    participants.c.last_seen,
    group_questions.c.stage_since,
  ):
    # What has happened during the pause is not moved into the future.
    later = sa.case(
      (column + pause_seconds > now, now), else_=column + pause_seconds
    )
    connection.execute(column.table.update().values({column: later}))
  connection.execute(
    participants.update().values(
      deadline=participants.c.deadline + pause_seconds
    )
  )
  connection.execute(studies.update().values(paused_at=None))


def _step(
  connection: sa.Connection,
  protocol: Protocol,
  at: contents.Standing,
  now: float,
) -> Step:
  deadline = at.row.deadline
  return Step(
    key=at.place.key,
    kind=at.place.kind,
    content=plain(contents.content(connection, protocol, at, now), ()),
    seconds_left=None if deadline is None else max(0.0, deadline - now),
  )


def _store(
  connection: sa.Connection,
  protocol: Protocol,
  at: contents.Standing,
  content: dict[str, Any],
  *,
  from_draft: bool,
  now: float,
) -> None:
  """Stores what `check` has passed, and does what follows from it."""
  participant, place = at.row.id, at.place
  content = contents.stored(protocol, at, content)
  inside = place.position is not None and at.group is not None
  connection.execute(
    answers.insert().values(
      participant_id=participant,
      step_key=place.key,
      kind=place.kind,
      group_id=at.group.id if inside and at.group else None,
      position=place.position,
      round=place.round if inside else None,
      content=content,
      from_draft=from_draft,
      answered_at=now,
      seconds=max(0.0, now - at.row.step_since),
    )
  )
  _forget_draft(connection, at)
  if place.kind == 'consent' and not content['consent']:
    stages.end(connection, protocol, participant, 'declined', now=now)
  elif place.kind == 'comprehension' and _has_failed(protocol, at, content):
    stages.end(connection, protocol, participant, 'excluded', now=now)
  else:
    known = {**at.answers, place.key: content}
    place = steps.current(protocol, 'active', known, at.group)
    stages.come_to(connection, protocol, at.row, place, now=now)
    # A group moves on only when the last of its members waits for it.
    if place.kind == 'wait' and at.group:
      stages.advance(connection, protocol, at.group.id, now=now)


def _has_failed(
  protocol: Protocol, at: contents.Standing, content: Mapping[str, Any]
) -> bool:
  asked = protocol.comprehension[at.place.index]
  return content['choice'] != asked.answer and at.place.number >= asked.attempts


def _forget_draft(connection: sa.Connection, at: contents.Standing) -> None:
  connection.execute(
    drafts.delete().where(
      drafts.c.participant_id == at.row.id, drafts.c.step_key == at.place.key
    )
  )


def _time_out(
  connection: sa.Connection, protocol: Protocol, participant: str, *, now: float
) -> None:
  """Takes a valid draft as the answer; else the participant leaves."""
  at = contents.standing(connection, protocol, participant)
  if at.row.state != 'active' or (at.row.deadline or now) >= now:
    return  # What another's time-out has changed.
  if at.place.kind in ('opinion', 'critique', 'survey'):
    step = _step(connection, protocol, at, now)
    try:
      content = check(protocol, step, contents.draft(connection, at))
    except InputError:
      pass
    else:
      _store(connection, protocol, at, content, from_draft=True, now=now)
      return
  # Who has done all but the survey has taken part.
  ending: Ending = 'done' if at.place.kind == 'survey' else 'timed_out'
  stages.end(connection, protocol, participant, ending, now=now)
