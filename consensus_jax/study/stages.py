"""How groups move on: from stage to stage, and when members leave.

`participants.step_key` always names the step that `steps.current` finds; every
function here that changes what that depends on brings it up to date.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from consensus_jax.study import steps, view, winners
from consensus_jax.study.protocol import Ending, Protocol
from consensus_jax.study.steps import GroupQuestion, GroupView, Place
from consensus_jax.study.tables import (
  group_questions,
  groups,
  jobs,
  memberships,
  participants,
)

# Stages that end when a job does, and the round of its candidates.
MAKING = {'candidates': 0, 'revisions': 1}
_JUDGING = {'ratings': 0, 'revised_ratings': 1}


def come_to(
  connection: sa.Connection,
  protocol: Protocol,
  row: Any,
  place: Place,
  *,
  now: float,
) -> None:
  """Brings a participant's `row` up to date with the step they stand at."""
  if place.key == row.step_key:
    return
  limit = steps.seconds(protocol, place.kind)
  values = {
    'step_key': place.key,
    'step_since': now,
    'deadline': None if limit is None else now + limit,
  }
  if place.kind == 'done':
    values |= {'state': 'done', 'ended_at': now}
    view.note(connection, 'done', now=now, participant=row.id)
  connection.execute(
    participants.update().where(participants.c.id == row.id).values(**values)
  )


def _refresh(
  connection: sa.Connection, protocol: Protocol, group_id: int, *, now: float
) -> None:
  """Brings the rows of all members up to date."""
  for member in view.members(connection, group_id):
    row = view.participant(connection, member.participant_id)
    place = steps.current(
      protocol,
      row.state,
      view.answers_of(connection, row.id),
      view.group_of(connection, row.id),
    )
    come_to(connection, protocol, row, place, now=now)


def end(
  connection: sa.Connection,
  protocol: Protocol,
  participant: str,
  ending: Ending,
  *,
  now: float,
) -> None:
  """Ends an active participant's study; the group goes on or is abandoned."""
  connection.execute(
    participants.update()
    .where(participants.c.id == participant)
    .values(
      state=ending,
      ended_at=now,
      step_key=ending,
      step_since=now,
      deadline=None,
    )
  )
  group_id = view.latest_group(connection, participant)
  view.note(
    connection, ending, now=now, participant=participant, group=group_id
  )
  if group_id is None or ending == 'done':
    return
  connection.execute(
    memberships.update()
    .where(
      memberships.c.group_id == group_id,
      memberships.c.participant_id == participant,
    )
    .values(state='left')
  )
  advance(connection, protocol, group_id, now=now)


def advance(
  connection: sa.Connection, protocol: Protocol, group_id: int, *, now: float
) -> None:
  """Moves a group on as far as it can go."""
  moved = False
  while True:
    group = view.group(connection, group_id)
    members = view.members(connection, group_id)
    if group.over:
      break
    names = [member.participant_id for member in members]
    moved = True
    if len(names) < protocol.min_group_size:
      _abandon(connection, group_id, now=now)
    elif _may_go_on(connection, protocol, group):
      _next_stage(connection, protocol, group, names, now=now)
    else:
      break
  # Most often nothing has moved, and only who has answered needs a new page;
  # that is for the caller, who knows.
  if moved:
    _refresh(connection, protocol, group_id, now=now)


def start(
  connection: sa.Connection,
  protocol: Protocol,
  group_id: int,
  questions: Iterable[tuple[str, str]],
  *,
  now: float,
) -> None:
  """Begins a group's first question.

  Args:
    connection: that writes.
    protocol: of the study.
    group_id: of a group that has its members.
    questions: id, and side of the position statement, in order.
    now: Unix seconds.
  """
  connection.execute(
    group_questions.insert(),
    [
      {
        'group_id': group_id,
        'position': position,
        'question_id': question,
        'side': side,
        'stage': 'opinions' if position == 1 else 'pending',
        'stage_since': now,
      }
      for position, (question, side) in enumerate(questions, start=1)
    ],
  )
  _refresh(connection, protocol, group_id, now=now)


def open_question(group: GroupView) -> GroupQuestion:
  """The question that a running group is at."""
  return next(
    each for each in group.questions if each.stage not in ('pending', 'done')
  )


def _may_go_on(
  connection: sa.Connection, protocol: Protocol, group: GroupView
) -> bool:
  question = open_question(group)
  if question.stage in MAKING:
    state = connection.execute(
      sa.select(jobs.c.state).where(
        jobs.c.group_id == group.id,
        jobs.c.position == question.position,
        jobs.c.round == MAKING[question.stage],
      )
    ).scalar_one()
    return state in ('done', 'failed')
  answered = view.answered_by_members(connection, group.id)
  for prefix, keys in answered.values():
    own = dataclasses.replace(group, prefix=prefix)
    if any(place.key not in keys for place in steps.of_group(protocol, own)):
      return False
  return True


def _next_stage(
  connection: sa.Connection,
  protocol: Protocol,
  group: GroupView,
  names: list[str],
  *,
  now: float,
) -> None:
  question = open_question(group)
  order = steps.stages(protocol)
  stage = order[order.index(question.stage) + 1]
  values: dict[str, object] = {}
  if question.stage in _JUDGING:
    round_ = _JUDGING[question.stage]
    winner = winners.of_round(
      connection, protocol, group, question, round_, names
    )
    values[('winner', 'revised_winner')[round_]] = winner
  _set_stage(connection, group.id, question.position, stage, now, **values)
  if stage in MAKING:
    connection.execute(
      jobs.insert().values(
        group_id=group.id,
        position=question.position,
        round=MAKING[stage],
        state='queued',
        created_at=now,
        attempts=0,
        progress=0.0,
      )
    )
  elif stage == 'done':
    if question.position < len(group.questions):
      _set_stage(connection, group.id, question.position + 1, 'opinions', now)
    else:
      _end_group(connection, group.id, 'done', now=now)


def _set_stage(
  connection: sa.Connection,
  group_id: int,
  position: int,
  stage: str,
  now: float,
  **values: object,
) -> None:
  connection.execute(
    group_questions.update()
    .where(
      group_questions.c.group_id == group_id,
      group_questions.c.position == position,
    )
    .values(stage=stage, stage_since=now, **values)
  )
  view.note(
    connection, 'stage', now=now, group=group_id, position=position, stage=stage
  )


def _abandon(connection: sa.Connection, group_id: int, *, now: float) -> None:
  _end_group(connection, group_id, 'abandoned', now=now)
  connection.execute(
    jobs.update()
    .where(jobs.c.group_id == group_id, jobs.c.state.in_(['queued', 'running']))
    .values(state='failed', error='the group has ended', finished_at=now)
  )


def _end_group(
  connection: sa.Connection, group_id: int, state: str, *, now: float
) -> None:
  connection.execute(
    groups.update()
    .where(groups.c.id == group_id)
    .values(state=state, ended_at=now)
  )
  view.note(connection, f'group {state}', now=now, group=group_id)
