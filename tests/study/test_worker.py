"""The worker: real threads, a real queue, and a mediator that is none."""

import dataclasses
import threading
import time

import pytest
import sqlalchemy as sa
import study_people as people

from consensus_jax.deliberation import Candidate, Outcome
from consensus_jax.settings import Progress
from consensus_jax.study import candidates, database, tables, worker
from consensus_jax.study.candidates import Request
from consensus_jax.study.protocol import Condition, System

STUDY = people.protocol_of(group_size=2)
LEASE = 0.3


@pytest.fixture
def engine(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  names = [people.join(engine, STUDY, time.time()) for _ in range(2)]
  people.go_to(engine, STUDY, names, 'wait', time.time())
  return engine


def job(engine):
  with database.reading(engine) as connection:
    return connection.execute(sa.select(tables.jobs)).one()


def until(holds, seconds=60.0):
  """Waits for what holds soon, if it ever does."""
  end = time.monotonic() + seconds
  while not holds() and time.monotonic() < end:
    time.sleep(0.01)
  assert holds()


def run_until(engine, make, state, workers=1, clock=time.time):
  """Runs workers until the job's state is reached."""
  stop = threading.Event()
  threads = [
    threading.Thread(
      target=worker.run,
      args=(engine, STUDY, make),
      kwargs={
        'stop': stop,
        'poll_seconds': 0.01,
        'lease_seconds': LEASE,
        'clock': clock,
      },
    )
    for _ in range(workers)
  ]
  for thread in threads:
    thread.start()
  try:
    until(lambda: job(engine).state == state)
  finally:
    stop.set()
    for thread in threads:
      thread.join()


def test_workers_make_candidates_once_however_long_it_takes(engine):
  now = time.time()
  calls = []

  def make(request, report):
    nonlocal now
    calls.append(request)
    report(0.5)
    for _ in range(4):  # More than three leases, which heartbeats renew.
      now += 0.9 * LEASE
      until(lambda end=now + LEASE: job(engine).lease_until == end)
    return people.statements_of(request)

  # Their clock waits for a heartbeat, which may be late on a busy machine.
  run_until(engine, make, 'done', workers=3, clock=lambda: now)
  assert len(calls) == 1


def test_errors_are_tried_again_a_few_times(engine):
  calls = []

  def make(request, report):
    calls.append(request)
    raise RuntimeError('out of memory')

  run_until(engine, make, 'failed')
  assert len(calls) == candidates.MAX_ATTEMPTS
  assert job(engine).error == 'RuntimeError: out of memory'


def test_an_interrupt_hands_the_job_back(engine):
  def make(request, report):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    worker.run(engine, STUDY, make, stop=threading.Event())
  assert (job(engine).state, job(engine).attempts) == ('queued', 0)


class FakeMediator:
  """Writes what it was asked, and likes its last statement best."""

  def __init__(self):
    self.calls = []

  def mediate(self, deliberation, settings, *, progress):
    self.calls.append((deliberation, settings))
    for stage in ('prefill', 'generate', 'score', 'aggregate'):
      progress(Progress(stage=stage, done=1, total=1))
    count, members = settings.num_candidates, len(deliberation.opinions)
    return Outcome(
      id=deliberation.id,
      question=deliberation.question,
      participants=deliberation.opinions,
      candidates=tuple(
        Candidate(
          text=f'{settings.policy} {index}',
          rewards=(float(index),) * members,
          utilities=(1.0,) * members,
          welfare=float(index),
          rank=count - index,
          num_tokens=2,
          log_likelihood=None,
          finish_reason='stop',
        )
        for index in range(count)
      ),
      consensus=count - 1,
      aggregation={'rule': 'isoelastic'},
      sensitivity=(),
      policy={'policy': settings.policy},
      reward_model={},
      seed=settings.seed,
      timings={},
    )


REQUEST = Request(
  group_id=3,
  position=2,
  round=0,
  question='Buses?',
  opinions={'p': 'Yes, buses.', 'q': 'No buses.'},
  critiques={},
  winner='',
  condition=Condition(
    name='c',
    systems=(
      System(name='one', policy='sft', alpha=1.0, num_candidates=3),
      System(name='two', policy='zero_shot', num_candidates=2),
      System(name='them', policy='human'),
    ),
  ),
  seed=2**32 - 1,
)


def test_candidates_come_from_mediators_best_first():
  mediators = {'sft': FakeMediator(), 'zero_shot': FakeMediator()}
  loaded = []

  def load(policy):
    loaded.append(policy)
    return mediators[policy]

  make = worker.from_mediators(load)
  told = []
  made = make(REQUEST, told.append)
  make(REQUEST, told.append)
  assert loaded == ['sft', 'zero_shot']
  assert [(each.system, each.text) for each in made[:5]] == [
    ('one', 'sft 2'),
    ('one', 'sft 1'),
    ('one', 'sft 0'),
    ('two', 'zero_shot 1'),
    ('two', 'zero_shot 0'),
  ]
  assert {each.text for each in made[5:]} == {'Yes, buses.', 'No buses.'}
  assert made[0].rewards == {'p': 2.0, 'q': 2.0}
  assert made[0].provenance['rank'] == 1
  first = told[: len(told) // 2]
  assert first == sorted(first)
  assert 0 < first[-1] <= 1
  (deliberation, settings), *_ = mediators['sft'].calls
  assert [each.text for each in deliberation.opinions] == [
    'Yes, buses.',
    'No buses.',
  ]
  assert (settings.alpha, settings.num_candidates) == (1.0, 3)
  assert mediators['zero_shot'].calls[0][1].seed != settings.seed


def test_critiques_are_heard_in_the_second_round():
  mediator = FakeMediator()
  request = dataclasses.replace(
    REQUEST, round=1, critiques={'p': 'Who pays?'}, winner='Buses for all.'
  )
  make = worker.from_mediators(lambda policy: mediator)
  make(request, lambda progress: None)
  texts = [each.text for each in mediator.calls[0][0].opinions]
  assert texts == [
    'Yes, buses. About the statement "Buses for all.": Who pays?',
    'No buses.',
  ]
