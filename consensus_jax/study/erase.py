"""Erases what a person wrote, at their wish; what is counted stays.

Gone are their texts (opinions, critiques, survey texts, drafts), statements
that are their words, their id at a recruitment platform, the label of their
invitation and the way back in. Ratings, rankings and choices stay, under the
same pseudonym. Statements that a model wrote stay too, even if they take up
what the person wrote, and so do exports made before.
"""

import dataclasses
import secrets

import sqlalchemy as sa

from consensus_jax.strict_json import InputError
from consensus_jax.study import collected, database, entry, flow
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.tables import (
  answers,
  drafts,
  invitations,
  jobs,
  memberships,
  participants,
  recruitment,
  statements,
)


@dataclasses.dataclass(frozen=True)
class Erased:
  """What was erased.

  Attributes:
    name: the person's pseudonym.
    texts: of answers and drafts.
    statements: that were the person's words.
    wiped: whether the texts are gone from the database's files too, and not
      only from its tables.
  """

  name: str
  texts: int
  statements: int
  wiped: bool


def find(connection: sa.Connection, person: str) -> str:
  """The id of a participant.

  Args:
    connection: that reads.
    person: the pseudonym in exports and on the researcher's pages, the id at a
      recruitment platform, or the personal link.

  Raises:
    InputError: if this is nobody, or more than one person.
  """
  secret = database.secret(connection)
  names = list(connection.execute(sa.select(participants.c.id)).scalars())
  found = {
    name for name in names if collected.pseudonym(secret, name) == person
  }
  found |= {
    *connection.execute(
      sa.select(recruitment.c.participant_id).where(
        recruitment.c.external_id == person
      )
    ).scalars(),
    *connection.execute(
      sa.select(participants.c.id).where(
        participants.c.token_sha256
        == entry.token_sha256(person.rstrip('/').rpartition('/')[2])
      )
    ).scalars(),
  }
  if len(found) != 1:
    message = 'is nobody here' if not found else 'is more than one person'
    raise InputError(message, field=('PARTICIPANT',))
  return found.pop()


def erase(
  engine: sa.Engine, protocol: Protocol, participant: str, *, now: float
) -> Erased:
  """Erases a person's texts; who still takes part leaves the study first.

  Args:
    engine: of the study.
    protocol: likewise.
    participant: the id, from `find`.
    now: Unix seconds.

  Raises:
    StorageError: if the database cannot be written; nothing has changed.
  """
  with database.writing(engine) as connection:
    flow.withdraw(connection, protocol, participant, now=now)
    secret = database.secret(connection)
    texts = _erase_answers(connection, protocol, participant)
    texts += connection.execute(
      drafts.delete().where(drafts.c.participant_id == participant)
    ).rowcount
    spoken = _erase_statements(connection, participant)
    _restart_jobs(connection, participant)
    connection.execute(
      recruitment.delete().where(recruitment.c.participant_id == participant)
    )
    connection.execute(
      invitations.update()
      .where(invitations.c.used_by == participant)
      .values(label='')
    )
    connection.execute(
      participants.update()
      .where(participants.c.id == participant)
      .values(token_sha256=entry.token_sha256(secrets.token_urlsafe(32)))
    )
  return Erased(
    name=collected.pseudonym(secret, participant),
    texts=texts,
    statements=spoken,
    wiped=_wipe(engine),
  )


def _erase_answers(
  connection: sa.Connection, protocol: Protocol, participant: str
) -> int:
  free = {item.id for item in protocol.survey if item.kind == 'text'}
  own = answers.c.participant_id == participant
  count = 0
  for row in connection.execute(sa.select(answers).where(own)).all():
    names = free if row.kind == 'survey' else {'text'}
    filled = [name for name in names if row.content.get(name)]
    if filled:
      count += len(filled)
      connection.execute(
        answers.update()
        .where(own, answers.c.step_key == row.step_key)
        .values(content={**row.content, **dict.fromkeys(filled, '')})
      )
  return count


def _erase_statements(connection: sa.Connection, participant: str) -> int:
  """Their opinions where these were shown as statements."""
  groups = sa.select(memberships.c.group_id).where(
    memberships.c.participant_id == participant
  )
  rows = connection.execute(
    sa.select(statements).where(statements.c.group_id.in_(groups))
  ).all()
  spoken = [row.id for row in rows if collected.author(row) == participant]
  connection.execute(
    statements.update().where(statements.c.id.in_(spoken)).values(text='')
  )
  return len(spoken)


def _restart_jobs(connection: sa.Connection, participant: str) -> None:
  """Takes jobs from workers that have read the person's texts."""
  groups = sa.select(memberships.c.group_id).where(
    memberships.c.participant_id == participant
  )
  connection.execute(
    jobs.update()
    .where(jobs.c.group_id.in_(groups), jobs.c.state == 'running')
    .values(
      state='queued',
      worker=None,
      lease_until=None,
      attempts=jobs.c.attempts - 1,
    )
  )


def _wipe(engine: sa.Engine) -> bool:
  """Rewrites SQLite's files, whose free pages keep what was deleted.

  PostgreSQL does so by itself, in time; that is not waited for.
  """
  if engine.dialect.name != 'sqlite':
    return False
  connection = engine.raw_connection()
  try:
    cursor = connection.cursor()
    cursor.execute('VACUUM')
    busy, *_ = cursor.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()
    return not busy
  except Exception as error:
    if 'locked' in str(error):
      return False
    raise
  finally:
    connection.close()
