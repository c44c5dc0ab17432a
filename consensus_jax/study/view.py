"""Reads of the database that several parts of a study need."""

from collections import defaultdict
from collections.abc import Mapping
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


def participant(connection: sa.Connection, name: str) -> sa.Row:
  """The row of a participant."""
  query = sa.select(participants).where(participants.c.id == name)
  return connection.execute(query).one()


def is_paused(connection: sa.Connection) -> bool:
  """Whether the researcher has paused the study."""
  return connection.execute(sa.select(studies.c.paused_at)).scalar() is not None


def answers_of(
  connection: sa.Connection, name: str
) -> dict[str, Mapping[str, Any]]:
  """What a participant has answered, by step key."""
  query = sa.select(answers.c.step_key, answers.c.content).where(
    answers.c.participant_id == name
  )
  return {row.step_key: row.content for row in connection.execute(query)}


def answered_keys(
  connection: sa.Connection, names: list[str]
) -> dict[str, set[str]]:
  """The keys of what participants have answered."""
  keys: dict[str, set[str]] = {name: set() for name in names}
  query = sa.select(answers.c.participant_id, answers.c.step_key).where(
    answers.c.participant_id.in_(names)
  )
  for name, key in connection.execute(query):
    keys[name].add(key)
  return keys


def latest_group(connection: sa.Connection, name: str) -> int | None:
  """The id of the group that a participant came into last, if any."""
  query = sa.select(sa.func.max(memberships.c.group_id)).where(
    memberships.c.participant_id == name
  )
  return connection.execute(query).scalar()


def members(connection: sa.Connection, group_id: int) -> list[sa.Row]:
  """The active members of a group, by seat."""
  query = (
    sa.select(memberships)
    .where(memberships.c.group_id == group_id, memberships.c.state == 'active')
    .order_by(memberships.c.seat)
  )
  return list(connection.execute(query))


def prefix(connection: sa.Connection, name: str, group_id: int) -> str:
  """What the keys of a member's steps in this group begin with."""
  query = sa.select(sa.func.min(memberships.c.group_id)).where(
    memberships.c.participant_id == name
  )
  first = connection.execute(query).scalar()
  return '' if first == group_id else f'g{group_id}/'


def group(connection: sa.Connection, group_id: int) -> GroupView:
  """A group, with the keys of those for whom it is the first."""
  state = connection.execute(
    sa.select(groups.c.state).where(groups.c.id == group_id)
  ).scalar_one()
  shown = defaultdict(list)
  for row in connection.execute(
    sa.select(statements.c.id, statements.c.position, statements.c.round)
    .where(statements.c.group_id == group_id, statements.c.shown)
    .order_by(statements.c.place)
  ):
    shown[row.position, row.round].append(row.id)
  questions = connection.execute(
    sa.select(group_questions)
    .where(group_questions.c.group_id == group_id)
    .order_by(group_questions.c.position)
  )
  return GroupView(
    id=group_id,
    prefix='',
    over=state != 'running',
    abandoned=state == 'abandoned',
    questions=tuple(
      GroupQuestion(
        position=row.position,
        question_id=row.question_id,
        side=row.side,
        stage=row.stage,
        shown=(
          tuple(shown[row.position, 0]),
          tuple(shown[row.position, 1]),
        ),
        winners=tuple(
          winner
          for winner in (row.winner, row.revised_winner)
          if winner is not None
        ),
      )
      for row in questions
    ),
  )


def texts(
  connection: sa.Connection, statement_ids: list[int]
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
