"""The process that makes candidates: takes jobs from the database, one by one.

Any number of workers may run beside each other, on one database.
"""

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from consensus_jax import settings
from consensus_jax.deliberation import Deliberation, Opinion, Outcome
from consensus_jax.study import candidates, database
from consensus_jax.study.candidates import (
  Job,
  MakeCandidates,
  ReportProgress,
  Request,
  Statement,
)
from consensus_jax.study.database import StorageError
from consensus_jax.study.protocol import HUMAN, Protocol, System

_log = logging.getLogger(__name__)

# How far each stage of a mediation reaches, of 1.
_REACH = {
  'load': (0.0, 0.0),
  'prefill': (0.0, 0.05),
  'generate': (0.05, 0.75),
  'score': (0.75, 1.0),
  'aggregate': (1.0, 1.0),
}


def run(
  engine: sa.Engine,
  protocol: Protocol,
  make_candidates: MakeCandidates,
  *,
  stop: threading.Event,
  lease_seconds: float = 60.0,
  poll_seconds: float = 0.5,
  clock: Callable[[], float] = time.time,
) -> None:
  """Makes candidates until `stop` is set; a job under way is finished first.

  A failure of a job, or of the database, is logged and tried again.

  Args:
    engine: from `database.open_database`.
    protocol: the one that the database was made for.
    make_candidates: makes the statements; reports progress from 0 to 1.
    stop: ends the loop.
    lease_seconds: after which another worker takes the job of one that died.
    poll_seconds: between looks at an empty queue.
    clock: the time, in Unix seconds.
  """
  name = secrets.token_hex(8)
  while not stop.is_set():
    try:
      with database.writing(engine) as connection:
        job = candidates.claim(
          connection,
          protocol,
          name,
          now=clock(),
          lease_seconds=lease_seconds,
        )
      if job is not None:
        _work(engine, protocol, job, make_candidates, lease_seconds, clock)
        continue
    except StorageError:
      _log.exception('The database of the study cannot be used.')
    stop.wait(poll_seconds)


def from_mediators(
  load: Callable[[settings.Policy], Any],
) -> MakeCandidates:
  """Candidates from mediators, and from the people themselves.

  In the second round, what a member's critique says is read as part of the
  opinion, both where statements are written and where they are scored.

  Args:
    load: gives the mediator for a policy; called when one is first needed.
  """
  mediator = functools.cache(load)

  def make(request: Request, report: ReportProgress) -> list[Statement]:
    made: list[Statement] = []
    systems = request.condition.systems
    for index, system in enumerate(systems):
      if system.policy == HUMAN:
        made += _own_opinions(request, system)
        continue

      def told(progress: settings.Progress, index: int = index) -> None:
        start, end = _REACH[progress.stage]
        part = start + (end - start) * progress.done / max(1, progress.total)
        report((index + part) / len(systems))

      outcome = mediator(system.policy).mediate(
        _deliberation(request),
        _settings(request, system, index),
        progress=told,
      )
      made += _statements(outcome, system)
    return made

  return make


def _work(
  engine: sa.Engine,
  protocol: Protocol,
  job: Job,
  make_candidates: MakeCandidates,
  lease_seconds: float,
  clock: Callable[[], float],
) -> None:
  try:
    with _heartbeat(engine, job, lease_seconds, clock) as report:
      made = make_candidates(job.request, report)
    with database.writing(engine) as connection:
      candidates.finish(connection, protocol, job, made, now=clock())
  except StorageError:
    raise  # The lease runs out, and the job is claimed again.
  except Exception as error:
    _log.exception('Candidates could not be made.')
    with database.writing(engine) as connection:
      candidates.fail(
        connection,
        protocol,
        job,
        f'{type(error).__name__}: {error}',
        now=clock(),
      )
  except BaseException:
    with database.writing(engine) as connection:
      candidates.release(connection, job)
    raise


@contextmanager
def _heartbeat(
  engine: sa.Engine,
  job: Job,
  lease_seconds: float,
  clock: Callable[[], float],
) -> Iterator[ReportProgress]:
  """Renews the lease beside the work; gives what the work reports to."""
  over = threading.Event()
  latest = [0.0]

  def report(progress: float) -> None:
    latest[0] = progress

  def beat() -> None:
    # Often enough for a page that shows the progress, too.
    while not over.wait(min(2.0, lease_seconds / 3)):
      try:
        with database.writing(engine) as connection:
          held = candidates.beat(
            connection,
            job,
            latest[0],
            now=clock(),
            lease_seconds=lease_seconds,
          )
      except StorageError:
        continue  # There are beats left before the lease is over.
      if not held:
        return

  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield report
  finally:
    over.set()
    thread.join()


def _deliberation(request: Request) -> Deliberation:
  return Deliberation(
    id=f'group {request.group_id}, question {request.position}',
    question=request.question,
    opinions=tuple(
      Opinion(name, _with_critique(request, name, text))
      for name, text in request.opinions.items()
    ),
  )


def _with_critique(request: Request, name: str, opinion: str) -> str:
  critique = request.critiques.get(name)
  if not critique:
    return opinion
  return f'{opinion} About the statement "{request.winner}": {critique}'


def _settings(
  request: Request, system: System, index: int
) -> settings.Settings:
  return settings.Settings(
    policy=system.policy,  # type: ignore[arg-type]
    alpha=system.alpha,
    num_candidates=system.num_candidates,
    overflow='truncate',
    # Systems must not draw alike.
    seed=(request.seed + index) % 2**32,
  )


def _statements(outcome: Outcome, system: System) -> list[Statement]:
  return [
    Statement(
      text=candidate.text,
      system=system.name,
      rewards={
        opinion.participant: reward
        for opinion, reward in zip(
          outcome.participants, candidate.rewards, strict=True
        )
      },
      provenance={
        'policy': outcome.policy,
        'reward_model': outcome.reward_model,
        'aggregation': outcome.aggregation,
        'seed': outcome.seed,
        'rank': candidate.rank,
        'welfare': candidate.welfare,
        'log_likelihood': candidate.log_likelihood,
        'truncations': list(outcome.truncations),
      },
    )
    for candidate in (outcome.candidates[i] for i in outcome.ranked)
    if candidate.refused is None
  ]


def _own_opinions(request: Request, system: System) -> list[Statement]:
  import random

  names = sorted(request.opinions)
  random.Random(f'{request.seed}/human').shuffle(names)
  return [
    Statement(
      text=request.opinions[name],
      system=system.name,
      provenance={'participant': name},
    )
    for name in names
  ]
