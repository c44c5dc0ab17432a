"""Candidates to be made: the queue, in the database, and what comes of it.

A job is claimed by one worker for the time of a lease, which its heartbeat
renews. When a worker dies, its lease runs out and another one claims the job; a
job that fails `MAX_ATTEMPTS` times, or takes longer than the protocol lets a
group wait, is given up, and the group goes on with what people have written.
"""

import dataclasses
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from consensus_jax.study import stages, steps, view
from consensus_jax.study.protocol import HUMAN, Condition, Protocol
from consensus_jax.study.tables import (
  answers,
  group_questions,
  groups,
  jobs,
  memberships,
  statements,
)

MAX_ATTEMPTS = 3
# Of what a worker reports of an error.
_LONGEST_ERROR = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is asked of those who make candidates.

  Attributes:
    group_id: of the group.
    position: of its question, from 1.
    round: 0, or 1 after critiques.
    question: its text.
    opinions: by participant id, of those who are not silently excluded.
    critiques: likewise, of the statement `winner`; empty in round 0.
    winner: of round 0; '' in round 0.
    condition: whose systems make candidates.
    seed: for all that is random in making them, from 0 to 2**32 - 1.
  """

  group_id: int
  position: int
  round: int
  question: str
  opinions: Mapping[str, str]
  critiques: Mapping[str, str]
  winner: str
  condition: Condition
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
  """A candidate.

  Attributes:
    text: of the statement.
    system: name of the system that made it.
    rewards: by participant id; empty if nothing predicted them.
    provenance: JSON values: how it came about.
  """

  text: str
  system: str
  rewards: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
  provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A job that a worker has claimed."""

  id: int
  worker: str
  attempt: int  # from 1
  request: Request


ReportProgress = Callable[[float], None]  # 0 to 1
# All statements, of each system the best first.
MakeCandidates = Callable[[Request, ReportProgress], list[Statement]]


def claim(
  connection: sa.Connection,
  protocol: Protocol,
  worker: str,
  *,
  now: float,
  lease_seconds: float,
) -> Job | None:
  """The job that waits longest, for this worker alone; None if none does."""
  if view.is_paused(connection):
    return None
  free = (jobs.c.state == 'queued') | (
    (jobs.c.state == 'running') & (jobs.c.lease_until < now)
  )
  row = connection.execute(
    sa.select(jobs)
    .where(free, jobs.c.attempts < MAX_ATTEMPTS)
    .order_by(jobs.c.created_at, jobs.c.id)
    .limit(1)
  ).one_or_none()
  if row is None:
    return None
  connection.execute(
    jobs.update()
    .where(jobs.c.id == row.id)
    .values(
      state='running',
      worker=worker,
      lease_until=now + lease_seconds,
      attempts=row.attempts + 1,
      progress=0.0,
    )
  )
  return Job(
    id=row.id,
    worker=worker,
    attempt=row.attempts + 1,
    request=_request(connection, protocol, row),
  )


def beat(
  connection: sa.Connection,
  job: Job,
  progress: float,
  *,
  now: float,
  lease_seconds: float,
) -> bool:
  """Renews the lease and notes the progress; False if the job is lost."""
  done = connection.execute(
    jobs.update()
    .where(_held(job))
    .values(
      lease_until=now + lease_seconds, progress=min(1.0, max(0.0, progress))
    )
  )
  return done.rowcount == 1


def finish(
  connection: sa.Connection,
  protocol: Protocol,
  job: Job,
  made: Sequence[Statement],
  *,
  now: float,
) -> bool:
  """Stores what was made and moves the group on; False if the job is lost.

  Raises:
    ValueError: if nothing that could be shown was made.
  """
  written = [each for each in made if _same(each.text)]
  if not written:
    raise ValueError('no statement was made')
  done = connection.execute(
    jobs.update()
    .where(_held(job))
    .values(state='done', progress=1.0, finished_at=now, lease_until=None)
  )
  if done.rowcount != 1:
    return False
  row = connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one()
  _keep(connection, protocol, row, written)
  stages.advance(connection, protocol, row.group_id, now=now)
  return True


def fail(
  connection: sa.Connection,
  protocol: Protocol,
  job: Job,
  error: str,
  *,
  now: float,
) -> None:
  """Notes that an attempt failed; the job is queued again, or given up."""
  done = connection.execute(
    jobs.update()
    .where(_held(job))
    .values(state='queued', lease_until=None, error=error[:_LONGEST_ERROR])
  )
  if done.rowcount == 1 and job.attempt >= MAX_ATTEMPTS:
    _give_up(connection, protocol, job.id, now=now)


def release(connection: sa.Connection, job: Job) -> None:
  """Hands a job back that a worker was asked to stop in."""
  connection.execute(
    jobs.update()
    .where(_held(job))
    .values(state='queued', lease_until=None, attempts=job.attempt - 1)
  )


def give_up_overdue(
  connection: sa.Connection, protocol: Protocol, *, now: float
) -> None:
  """Gives up jobs whose last attempt died, or that take too long."""
  died = (jobs.c.lease_until < now) & (jobs.c.attempts >= MAX_ATTEMPTS)
  waited = group_questions.c.stage_since < now - protocol.candidates_seconds
  overdue = connection.execute(
    sa.select(jobs.c.id)
    .join(
      group_questions,
      (group_questions.c.group_id == jobs.c.group_id)
      & (group_questions.c.position == jobs.c.position),
    )
    .where(jobs.c.state.in_(['queued', 'running']), died | waited)
  ).scalars()
  for job_id in list(overdue):
    _give_up(connection, protocol, job_id, now=now)


def deal(
  made: Sequence[Statement], systems: Sequence[str], shown: int
) -> tuple[list[Statement], list[Statement]]:
  """Which statements are shown, and the others.

  Systems take turns, each with its best that says something new.
  """
  queues: dict[str, list[Statement]] = {name: [] for name in systems}
  for statement in made:
    queues.setdefault(statement.system, []).append(statement)
  dealt: list[Statement] = []
  others: list[Statement] = []
  texts: set[str] = set()
  while any(queues.values()):
    for queue in queues.values():
      while queue:
        statement = queue.pop(0)
        text = _same(statement.text)
        if len(dealt) == shown or not text or text in texts:
          others.append(statement)
          continue
        texts.add(text)
        dealt.append(statement)
        break
  return dealt, others


def _held(job: Job) -> sa.ColumnElement[bool]:
  # An expired lease still holds until somebody else claims the job.
  return (
    (jobs.c.id == job.id)
    & (jobs.c.state == 'running')
    & (jobs.c.worker == job.worker)
    & (jobs.c.attempts == job.attempt)
  )


def _same(text: str) -> str:
  """Equal for texts that readers would take for the same; '' if empty."""
  return ' '.join(unicodedata.normalize('NFKC', text).casefold().split())


def _request(
  connection: sa.Connection, protocol: Protocol, row: Any
) -> Request:
  condition = connection.execute(
    sa.select(groups.c.condition).where(groups.c.id == row.group_id)
  ).scalar_one()
  question = _question(connection, row)
  winner = ''
  if row.round:
    winner = view.texts(connection, [question.winner])[question.winner]
  chance = steps.draw(
    protocol, 'candidates', row.group_id, row.position, row.round
  )
  return Request(
    group_id=row.group_id,
    position=row.position,
    round=row.round,
    question=protocol.question(question.question_id).text,
    opinions=_written(connection, row, 'opinion'),
    critiques=_written(connection, row, 'critique') if row.round else {},
    winner=winner,
    condition=protocol.condition(condition),
    seed=chance.getrandbits(32),
  )


def _question(connection: sa.Connection, row: Any) -> Any:
  return connection.execute(
    sa.select(group_questions).where(
      group_questions.c.group_id == row.group_id,
      group_questions.c.position == row.position,
    )
  ).one()


def _written(connection: sa.Connection, row: Any, kind: str) -> dict[str, str]:
  """Texts of active members by seat, without those silently excluded.

  If all who are not excluded have left, the others are all there is.
  """
  rows = connection.execute(
    sa.select(answers, memberships.c.excluded)
    .join(
      memberships,
      (memberships.c.group_id == answers.c.group_id)
      & (memberships.c.participant_id == answers.c.participant_id),
    )
    .where(
      answers.c.group_id == row.group_id,
      answers.c.position == row.position,
      answers.c.kind == kind,
      memberships.c.state == 'active',
    )
    .order_by(memberships.c.seat)
  ).all()
  heard = [each for each in rows if not each.excluded] or rows
  return {each.participant_id: each.content['text'] for each in heard}


def _keep(
  connection: sa.Connection,
  protocol: Protocol,
  row: Any,
  made: Sequence[Statement],
) -> None:
  request = _request(connection, protocol, row)
  systems = [system.name for system in request.condition.systems]
  shown, others = deal(made, systems, protocol.candidates_shown)
  # The order must not say which system was dealt first.
  steps.draw(protocol, 'places', row.group_id, row.position, row.round).shuffle(
    shown
  )
  connection.execute(
    statements.insert(),
    [
      {
        'group_id': row.group_id,
        'position': row.position,
        'round': row.round,
        'place': place,
        'shown': place < len(shown),
        'text': statement.text,
        'system': statement.system,
        'rewards': dict(statement.rewards),
        'provenance': dict(statement.provenance),
      }
      for place, statement in enumerate([*shown, *others])
    ],
  )


def _give_up(
  connection: sa.Connection, protocol: Protocol, job_id: int, *, now: float
) -> None:
  """Lets the group go on with what people wrote, or chose from before."""
  row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()
  connection.execute(
    jobs.update()
    .where(jobs.c.id == job_id)
    .values(
      state='failed',
      finished_at=now,
      lease_until=None,
      error=row.error or 'took too long',
    )
  )
  flag = {'fallback': True}
  if row.round:
    earlier = connection.execute(
      sa.select(statements)
      .where(
        statements.c.group_id == row.group_id,
        statements.c.position == row.position,
        statements.c.round == 0,
        statements.c.shown,
      )
      .order_by(statements.c.place)
    )
    made = [
      Statement(
        text=each.text,
        system=each.system,
        rewards=each.rewards,
        provenance={**each.provenance, **flag},
      )
      for each in earlier
    ]
  else:
    opinions = list(_written(connection, row, 'opinion').items())
    steps.draw(protocol, 'fallback', row.group_id, row.position).shuffle(
      opinions
    )
    made = [
      Statement(
        text=text, system=HUMAN, provenance={**flag, 'participant': name}
      )
      for name, text in opinions
    ]
  _keep(connection, protocol, row, made)
  view.note(
    connection,
    'candidates failed',
    now=now,
    group=row.group_id,
    position=row.position,
    round=row.round,
  )
  stages.advance(connection, protocol, row.group_id, now=now)
