"""The waiting room: who is there becomes a group as soon as enough are."""

from typing import Any

import sqlalchemy as sa

from consensus_jax.study import stages, steps, view
from consensus_jax.study.protocol import Condition, Protocol
from consensus_jax.study.tables import (
  group_questions,
  groups,
  memberships,
  participants,
)


def form_groups(
  connection: sa.Connection, protocol: Protocol, *, now: float
) -> None:
  """Makes all groups that can be made, those first who have waited longest.

  Who has not been seen lately is passed over. When the first of them has waited
  for `lobby.smaller_after`, a smaller group will do; nobody waits longer than
  `lobby.give_up_after`.
  """
  waiting = list(
    connection.execute(
      sa.select(participants)
      .where(
        participants.c.state == 'active', participants.c.step_key == 'lobby'
      )
      .order_by(participants.c.step_since, participants.c.id)
    )
  )
  there = [
    row for row in waiting if row.last_seen >= now - protocol.lobby.away_after
  ]
  while len(there) >= protocol.group_size:
    _make_group(connection, protocol, there[: protocol.group_size], now)
    there = there[protocol.group_size :]
  patience = now - protocol.lobby.smaller_after
  if len(there) >= protocol.min_group_size and there[0].step_since <= patience:
    _make_group(connection, protocol, there, now)
    there = []
  left = {row.id for row in there}
  for row in waiting:
    lone = row.id in left or row.last_seen < now - protocol.lobby.away_after
    if lone and row.step_since <= now - protocol.lobby.give_up_after:
      stages.end(connection, protocol, row.id, 'timed_out', now=now)


def condition_of(protocol: Protocol, group_id: int) -> Condition:
  """The condition of a group, drawn by weight."""
  (condition,) = steps.draw(protocol, 'condition', group_id).choices(
    protocol.conditions, [each.weight for each in protocol.conditions]
  )
  return condition


def _make_group(
  connection: sa.Connection,
  protocol: Protocol,
  rows: list[Any],
  now: float,
) -> None:
  last = connection.execute(sa.select(sa.func.max(groups.c.id))).scalar()
  group_id = (last or 0) + 1
  condition = condition_of(protocol, group_id)
  names = sorted(row.id for row in rows)
  chance = steps.draw(protocol, 'seats', group_id)
  chance.shuffle(names)
  excluded = set(chance.sample(names, condition.exclude))
  connection.execute(
    groups.insert().values(
      id=group_id, condition=condition.name, state='running', created_at=now
    )
  )
  connection.execute(
    memberships.insert(),
    [
      {
        'group_id': group_id,
        'participant_id': name,
        'seat': seat,
        'excluded': name in excluded,
        'state': 'active',
      }
      for seat, name in enumerate(names)
    ],
  )
  view.note(
    connection, 'group', now=now, group=group_id, condition=condition.name
  )
  questions = _questions(connection, protocol, group_id, names)
  stages.start(connection, protocol, group_id, questions, now=now)


def _questions(
  connection: sa.Connection,
  protocol: Protocol,
  group_id: int,
  names: list[str],
) -> list[tuple[str, str]]:
  """Ids and sides of position statements; what members know comes last."""
  known = set(
    connection.execute(
      sa.select(group_questions.c.question_id)
      .join(memberships, memberships.c.group_id == group_questions.c.group_id)
      .where(
        memberships.c.participant_id.in_(names),
        group_questions.c.stage != 'pending',
      )
    ).scalars()
  )
  chance = steps.draw(protocol, 'questions', group_id)
  ids = [question.id for question in protocol.questions]
  chance.shuffle(ids)
  ids.sort(key=known.__contains__)
  return [
    (name, chance.choice(('affirming', 'negating')))
    for name in ids[: protocol.questions_per_group]
  ]
