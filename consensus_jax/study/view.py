"""Reads of the database that several parts of a study need."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from consensus_jax.study.steps import GroupQuestion, GroupView
from consensus_jax.study.tables import (
  answers,
  events,
  group_questions,
  groups,
  memberships,
  participants,
  statements,
  studies,
)

# Built once: making an expression takes as long as running it.
_NAME: sa.BindParameter[str] = sa.bindparam('name')
_GROUP: sa.BindParameter[int] = sa.bindparam('group')
_PARTICIPANT = sa.select(participants).where(participants.c.id == _NAME)
_PAUSED = sa.select(studies.c.paused_at)
_ANSWERS = sa.select(answers.c.step_key, answers.c.content).where(
  answers.c.participant_id == _NAME
)
_MEMBERSHIPS = sa.select(
  sa.func.max(memberships.c.group_id), sa.func.min(memberships.c.group_id)
).where(memberships.c.participant_id == _NAME)
_ANSWERED = (
  sa.select(answers.c.participant_id, answers.c.step_key)
  .join(memberships, memberships.c.participant_id == answers.c.participant_id)
  .where(memberships.c.group_id == _GROUP, memberships.c.state == 'active')
)
_MEMBERS = (
  sa.select(memberships)
  .where(memberships.c.group_id == _GROUP, memberships.c.state == 'active')
  .order_by(memberships.c.seat)
)
_SHOWN = (
  sa.select(statements.c.id, statements.c.position, statements.c.round)
  .where(statements.c.group_id == _GROUP, statements.c.shown)
  .order_by(statements.c.place)
)
_QUESTIONS = (
  sa.select(group_questions, groups.c.state)
  .join(groups, groups.c.id == group_questions.c.group_id)
  .where(group_questions.c.group_id == _GROUP)
  .order_by(group_questions.c.position)
)


def participant(connection: sa.Connection, name: str) -> Any:
  """The row of a participant."""
  return connection.execute(_PARTICIPANT, {'name': name}).one()


def is_paused(connection: sa.Connection) -> bool:
  """Whether the researcher has paused the study."""
  return connection.execute(_PAUSED).scalar() is not None


def answers_of(
  connection: sa.Connection, name: str
) -> dict[str, Mapping[str, Any]]:
  """What a participant has answered, by step key."""
  rows = connection.execute(_ANSWERS, {'name': name})
  return {row.step_key: row.content for row in rows}


def latest_group(connection: sa.Connection, name: str) -> int | None:
  """The id of the group that a participant came into last, if any."""
  return connection.execute(_MEMBERSHIPS, {'name': name}).one()[0]


def group_of(connection: sa.Connection, name: str) -> GroupView | None:
  """The latest group of a participant, running or over; None if in none."""
  latest, first = connection.execute(_MEMBERSHIPS, {'name': name}).one()
  if latest is None:
    return None
  return dataclasses.replace(
    group(connection, latest), prefix=_prefix(latest, first)
  )


def _prefix(group_id: int, first: int) -> str:
  # So that the keys of a participant's second group are others.
  return '' if group_id == first else f'g{group_id}/'


def members(connection: sa.Connection, group_id: int) -> list[Any]:
  """The active members of a group, by seat."""
  return list(connection.execute(_MEMBERS, {'group': group_id}))


def answered_by_members(
  connection: sa.Connection, group_id: int
) -> dict[str, tuple[str, set[str]]]:
  """Of active members, the prefix of their keys and the keys answered."""
  keys: defaultdict[str, set[str]] = defaultdict(set)
  for name, key in connection.execute(_ANSWERED, {'group': group_id}):
    keys[name].add(key)
  names = [member.participant_id for member in members(connection, group_id)]
  firsts = connection.execute(
    sa.select(memberships.c.participant_id, sa.func.min(memberships.c.group_id))
    .where(memberships.c.participant_id.in_(names))
    .group_by(memberships.c.participant_id)
  )
  return {
    name: (_prefix(group_id, first), keys[name]) for name, first in firsts
  }


def group(connection: sa.Connection, group_id: int) -> GroupView:
  """A group, with the keys of those for whom it is the first."""
  rows = connection.execute(_QUESTIONS, {'group': group_id}).all()
  shown: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
  for row in connection.execute(_SHOWN, {'group': group_id}):
    shown[row.position, row.round].append(row.id)
  return GroupView(
    id=group_id,
    prefix='',
    over=rows[0].state != 'running',
    abandoned=rows[0].state == 'abandoned',
    questions=tuple(
      GroupQuestion(
        position=row.position,
        question_id=row.question_id,
        side=row.side,
        stage=row.stage,
        shown=(tuple(shown[row.position, 0]), tuple(shown[row.position, 1])),
        winners=tuple(
          winner
          for winner in (row.winner, row.revised_winner)
          if winner is not None
        ),
      )
      for row in rows
    ),
  )


def texts(
  connection: sa.Connection, statement_ids: Collection[int]
) -> dict[int, str]:
  """Texts of statements, by id."""
  query = sa.select(statements.c.id, statements.c.text).where(
    statements.c.id.in_(statement_ids)
  )
  return {row.id: row.text for row in connection.execute(query)}


def note(
  connection: sa.Connection,
  kind: str,
  *,
  now: float,
  participant: str | None = None,
  group: int | None = None,
  **detail: Any,
) -> None:
  """Notes an event, for the researcher."""
  connection.execute(
    events.insert().values(
      at=now,
      kind=kind,
      participant_id=participant,
      group_id=group,
      detail=detail,
    )
  )
