"""All that a study has collected, read at one moment, under other names.

In exports and on the researcher's pages people go by pseudonyms, which are of
one study only.
"""

import dataclasses
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from consensus_jax.study import database, tables
from consensus_jax.study.protocol import Protocol

# A group, and the position of a question in it, from 1.
Place = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Collected:
  """Rows of the tables, by what they are about.

  Attributes:
    protocol: of the study.
    names: pseudonyms by participant id, in order of joining.
    participants: by id, likewise.
    groups: by id.
    memberships: of a group, by seat.
    questions: by place.
    statements: of a place, by round and place.
    answers: of a participant, in the order in which they were given.
  """

  protocol: Protocol
  names: Mapping[str, str]
  participants: Mapping[str, sa.Row]
  groups: Mapping[int, sa.Row]
  memberships: Mapping[int, list[sa.Row]]
  questions: Mapping[Place, sa.Row]
  statements: Mapping[Place, list[sa.Row]]
  answers: Mapping[str, list[sa.Row]]

  def answers_at(self, participant: str, place: Place) -> list[sa.Row]:
    """What a participant answered to one question of a group."""
    return [
      each
      for each in self.answers.get(participant, ())
      if (each.group_id, each.position) == place
    ]


def pseudonym(secret: str, participant: str) -> str:
  """The name of a participant in exports; without the secret, no way back."""
  message = b'pseudonym\0' + participant.encode()
  digest = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
  return f'p{digest[:12]}'


def author(statement: sa.Row) -> str | None:
  """The id of the participant whose words a statement is, if any."""
  return statement.provenance.get('participant')


def read(connection: sa.Connection, protocol: Protocol) -> Collected:
  """Reads the whole study, from a transaction of `database.reading`."""
  secret = database.secret(connection)

  def rows(table: sa.Table, *order: sa.ColumnElement[Any]) -> Iterable[sa.Row]:
    return connection.execute(sa.select(table).order_by(*order)).all()

  t = tables
  people = {
    row.id: row
    for row in rows(
      t.participants, t.participants.c.created_at, t.participants.c.id
    )
  }
  memberships = defaultdict(list)
  for row in rows(t.memberships, t.memberships.c.seat):
    memberships[row.group_id].append(row)
  statements = defaultdict(list)
  for row in rows(t.statements, t.statements.c.round, t.statements.c.place):
    statements[row.group_id, row.position].append(row)
  answers = defaultdict(list)
  for row in rows(t.answers, t.answers.c.answered_at, t.answers.c.step_key):
    answers[row.participant_id].append(row)
  questions = rows(
    t.group_questions,
    t.group_questions.c.group_id,
    t.group_questions.c.position,
  )
  return Collected(
    protocol=protocol,
    names={name: pseudonym(secret, name) for name in people},
    participants=people,
    groups={row.id: row for row in rows(t.groups, t.groups.c.id)},
    memberships=memberships,
    questions={(row.group_id, row.position): row for row in questions},
    statements=statements,
    answers=answers,
  )
