"""How a study holds out: many people at once, and processes that are killed.

  python benchmarks/study_load.py load --people 200
  python benchmarks/study_load.py crash --people 200

Server and worker run in processes of their own, on SQLite and over loopback,
as `consensus study serve` runs them; only the candidates come from a fake that
sleeps instead of a model. Simulated people take part through HTTP as browsers
do, and poll as study.js does. What the server acknowledged is held against the
database at the end. `crash` kills the server or the worker with signal 9 at
random moments, and starts the server again, as a service manager does; the
server itself starts the worker again.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import httpx2
import sqlalchemy as sa

from consensus_jax.study import (
  database,
  serve,
  simulate,
  tables,
  visitors,
  worker,
)
from consensus_jax.study.candidates import Statement
from consensus_jax.study.protocol import Protocol, Timers

_ROOT = pathlib.Path(__file__).parents[1]
_HOST = '127.0.0.1'


def protocol(questions_per_group=2, group_size=5, **fields):
  """Every kind of step, and times that nobody runs out of."""
  long = 24 * 3600.0
  names = [field.name for field in dataclasses.fields(Timers)]
  return Protocol.from_json(
    {
      'title': 'A study under load',
      'instructions': 'Read, write and judge.',
      'comprehension': [
        {'prompt': 'What is asked?', 'options': ['This', 'That'], 'answer': 1}
      ],
      'attention': [{'prompt': 'Please choose 2.', 'answer': 2}],
      'group_size': group_size,
      'min_group_size': 2,
      'questions_per_group': questions_per_group,
      'questions': [
        {
          'id': f'q{index}',
          'text': f'Should buses be free, and why? ({index})',
          'affirming': 'Buses should be free.',
          'negating': 'Buses should not be free.',
        }
        for index in range(max(4, questions_per_group))
      ],
      'opinion': {'min_words': 5, 'max_words': 100},
      'critique': {'min_words': 5, 'max_words': 100},
      'critique_round': True,
      'timers': dict.fromkeys(names, long),
      'candidates_seconds': long,
      # A test must end, whoever is away.
      'lobby': {'smaller_after': 180, 'give_up_after': 300, 'away_after': 300},
      'survey': [
        {'id': 'heard', 'prompt': 'I felt heard.'},
        {'id': 'more', 'prompt': 'What else?', 'kind': 'text'},
      ],
      **fields,
    }
  )


def fake_candidates(request, report):
  """Statements of what people wrote, after a while, as a model takes one."""
  rng = random.Random(request.seed)
  for step in range(4):
    time.sleep(rng.uniform(0.1, 0.6))
    report(step / 4)
  sentences = [
    sentence
    for text in (*request.opinions.values(), *request.critiques.values())
    for sentence in text.split('. ')
  ]
  return [
    Statement(
      text=f'{number}: {". ".join(rng.sample(sentences, 2))}',
      system=request.condition.systems[0].name,
      rewards={name: rng.gauss(0, 1) for name in request.opinions},
    )
    for number in range(8)
  ]


class Servers:
  """A server with its worker, in processes of their own."""

  def __init__(self, folder, study):
    self.folder = pathlib.Path(folder)
    self.engine = database.open_database(self.database, study)
    self.protocol = study
    with socket.socket() as free:
      free.bind((_HOST, 0))
      self.port = free.getsockname()[1]
    self.process = None
    self.kills = {'server': 0, 'worker': 0}
    self.cpu_seconds = 0.0  # of the server, when it is stopped
    self._turn = threading.Lock()

  @property
  def database(self):
    """URL of the database."""
    return f'sqlite:///{self.folder / "study.db"}'

  @property
  def url(self):
    """Where the server listens."""
    return f'http://{_HOST}:{self.port}'

  def start(self):
    """Starts the server, which starts the worker."""
    self.process = subprocess.Popen(
      [
        *(sys.executable, str(pathlib.Path(__file__).resolve()), '_serve'),
        *(str(self.folder), str(self.port)),
      ],
      cwd=_ROOT,
      env=os.environ | {'PYTHONPATH': str(_ROOT), 'JAX_PLATFORMS': 'cpu'},
    )

  def wait(self, seconds=180.0):
    """Waits until the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      with contextlib.suppress(httpx2.TransportError):
        if httpx2.get(f'{self.url}/health').status_code == 200:
          return
      assert self.process.poll() is None, 'the server ended'
      time.sleep(0.1)
    raise TimeoutError('the server does not answer')

  def kill_server(self):
    """Kills the server with signal 9, and starts the next one."""
    with self._turn:
      self.process.kill()
      self.process.wait()
      self.kills['server'] += 1
      self.start()

  def kill_worker(self, stop):
    """Kills the worker with signal 9, as soon as there is one."""
    mark = self.folder / 'worker'
    while not stop.is_set():
      try:
        pid = int(mark.read_text())
        # Numbers of processes are used again.
        command = pathlib.Path(f'/proc/{pid}/cmdline').read_text()
        if str(self.folder) not in command:
          raise ValueError('is another process')
        os.kill(pid, signal.SIGKILL)
      except (OSError, ValueError):
        stop.wait(0.1)
        continue
      mark.unlink()
      self.kills['worker'] += 1
      return

  def stop(self):
    """Ends the server, which ends the worker."""
    with self._turn:
      self.cpu_seconds = _cpu_seconds(self.process.pid)
      self.process.terminate()
      try:
        self.process.wait(30)
      except subprocess.TimeoutExpired:
        self.process.kill()
        self.process.wait()
    self.engine.dispose()

  def stored(self, report):
    """What is stored of what was acknowledged."""
    with database.reading(self.engine) as connection:
      return simulate.compare(connection, report)

  def jobs(self):
    """States of jobs, and how many statements each has."""
    t = tables
    with database.reading(self.engine) as connection:
      jobs = connection.execute(sa.select(t.jobs)).all()
      made = connection.execute(
        sa.select(
          t.statements.c.group_id,
          t.statements.c.position,
          t.statements.c.round,
          sa.func.count(),
        ).group_by(
          t.statements.c.group_id, t.statements.c.position, t.statements.c.round
        )
      ).all()
    return jobs, {tuple(row[:3]): row[3] for row in made}


def _cpu_seconds(pid):
  """Processor time of a process since it started; Linux only."""
  fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  user, system = fields.split()[11:13]
  return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


def kill_at_random(servers, kills, seed, stop, mean_seconds=10.0):
  """Kills server or worker in turns, at random moments, until `stop`."""
  rng = random.Random(seed)
  for index in range(kills):
    if stop.wait(rng.uniform(0.3, 1.7) * mean_seconds):
      return
    if index % 2:
      servers.kill_worker(stop)
      continue
    servers.kill_server()
    # What is not up yet cannot be hit: else nothing would ever happen.
    with contextlib.suppress(TimeoutError):
      servers.wait()


def run(folder, study, plan, *, kills=0, mean_seconds=10.0, tell=print):
  """Takes people through a study; the report, what is stored, the servers."""
  servers = Servers(folder, study)
  servers.start()
  stop = threading.Event()
  killer = threading.Thread(
    target=kill_at_random, args=(servers, kills, plan.seed, stop, mean_seconds)
  )
  try:
    servers.wait()
    killer.start()
    report = simulate.run(servers.url, plan, tell=tell)
    stop.set()
    killer.join()
    return report, servers.stored(report), servers
  finally:
    stop.set()
    servers.stop()


def _serve(folder, port):
  """The server process."""
  url = f'sqlite:///{pathlib.Path(folder) / "study.db"}'
  engine = database.open_database(url)
  serve.serve(
    engine,
    database.stored_protocol(engine),
    host=_HOST,
    port=int(port),
    https=False,
    worker=[sys.executable, str(pathlib.Path(__file__)), '_worker', folder],
    num_workers=1,
    ready=lambda: None,
  )


def _worker(folder):
  """The worker process."""
  serve.exit_on_sigterm()
  serve.end_with_parent()
  (pathlib.Path(folder) / 'worker').write_text(str(os.getpid()))
  url = f'sqlite:///{pathlib.Path(folder) / "study.db"}'
  engine = database.open_database(url)
  worker.run(
    engine,
    database.stored_protocol(engine),
    fake_candidates,
    stop=threading.Event(),
    lease_seconds=10.0,
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('what', choices=('load', 'crash'))
  parser.add_argument('--people', type=int, default=200)
  parser.add_argument('--think', type=float, default=10.0)
  parser.add_argument('--questions', type=int, default=2)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--limit', type=float, default=1800.0)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  study = protocol(questions_per_group=args.questions)
  plan = visitors.Plan.of(
    study,
    people=args.people,
    seed=args.seed,
    think_seconds=args.think,
    arrive_seconds=30.0,
    patience_seconds=300.0,
    limit_seconds=args.limit,
  )
  print(f'load before    {os.getloadavg()[0]:.1f} (mean of a minute)')
  kills = args.kills if args.what == 'crash' else 0
  with tempfile.TemporaryDirectory(prefix='study_load_') as folder:
    report, stored, servers = run(folder, study, plan, kills=kills)
    jobs, made = servers.jobs()
    servers.engine.dispose()
  print('\n'.join(report.lines()))
  print(
    f'in database    lost {len(stored.lost)}, duplicated '
    f'{len(stored.duplicated)}, stored without an acknowledgement that '
    f'arrived {len(stored.unacknowledged)}'
  )
  print(
    f'candidates     {len(jobs)} jobs, of which done '
    f'{sum(job.state == "done" for job in jobs)}, in '
    f'{sum(job.attempts for job in jobs)} attempts; statements a job: '
    f'{sorted({*made.values()})}'
  )
  print(f'killed         {servers.kills}')
  print(f'server         {servers.cpu_seconds:.0f} s of processor time')
  print(f'load after     {os.getloadavg()[0]:.1f}')
  return 1 if stored.lost or stored.duplicated or report.asked_again else 0


if __name__ == '__main__':
  if sys.argv[1:2] == ['_serve']:
    _serve(*sys.argv[2:])
  elif sys.argv[1:2] == ['_worker']:
    _worker(*sys.argv[2:])
  else:
    sys.exit(main())
