"""Several processes on this machine, which run what pods run.

With virtual devices each process is a host of a pod in small. If one dies, the
others of a training run end by themselves; started again, the job goes on.
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

from consensus_jax.strict_json import InputError
from launch import merge
from launch.job import Job, check
from launch.programs import Programs, note
from launch.worker import shell_code

VERBS = ('run',)
VERBS_WITHOUT_JOB = ()

# A process that hears that another is gone ends by itself, within 100 s.
_GRACE_SECONDS = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Here:
  """This machine as a cluster.

  Attributes:
    num_processes: how many hosts it plays.
    devices: virtual devices of each.
    port: where they meet; 0 finds a free one.
  """

  num_processes: int = 2
  devices: int = 1
  port: int = 0

  def __post_init__(self):
    for field in ('num_processes', 'devices'):
      if getattr(self, field) < 1:
        raise InputError('must be at least 1', field=(f'--{field}',))


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what this machine plays."""
  parser.add_argument(
    '--num_processes', type=int, default=2, metavar='N', help='(default: 2)'
  )
  parser.add_argument(
    '--devices',
    type=int,
    default=1,
    metavar='N',
    help='virtual devices of each process (default: 1)',
  )
  parser.add_argument(
    '--port', type=int, default=0, help='where they meet (default: a free one)'
  )


def run_verb(args: argparse.Namespace, job: Job, programs: Programs) -> int:
  """Does what a verb says; returns the exit code."""
  here = Here(
    num_processes=args.num_processes, devices=args.devices, port=args.port
  )
  return run(job, here, programs)


def commands(job: Job, here: Here) -> list[tuple[list[str], dict[str, str]]]:
  """Command and environment of each process."""
  environment = dict(job.environment)
  flags = [
    environment.get('XLA_FLAGS', os.environ.get('XLA_FLAGS', '')),
    f'--xla_force_host_platform_device_count={here.devices}',
  ]
  environment['JAX_PLATFORMS'] = 'cpu'
  # Of two of the same flag the last one counts.
  environment['XLA_FLAGS'] = ' '.join(flags).strip()
  port = here.port or _free_port()
  return [
    (
      job.worker(
        'told',
        f'--coordinator=localhost:{port}',
        f'--num_processes={here.num_processes}',
        f'--process_id={index}',
        python=sys.executable,
      ),
      environment,
    )
    for index in range(here.num_processes)
  ]


def run(job: Job, here: Here, programs: Programs) -> int:
  """Runs the job to its end; returns its exit code.

  Raises:
    InputError: before anything starts, if it could not work.
  """
  check(job, num_devices=here.num_processes * here.devices)
  if not job.trains:
    merge.check_target(job)
  if programs.dry_run:
    for argv, environment in commands(
      job, dataclasses.replace(here, port=8482)
    ):
      own = [f'{name}={value}' for name, value in environment.items()]
      programs.show(['env', *own, 'python', *argv[1:]])
    return 0
  code = _run_all(commands(job, here), alike=job.trains)
  if code:
    note(
      f'{job.name} ended with {code}. The same command again goes on with it'
    )
  elif not job.trains:
    return merge.run(job, programs)
  return code


def _run_all(
  told: list[tuple[list[str], dict[str, str]]], *, alike: bool
) -> int:
  processes: list[subprocess.Popen] = []
  with _signals_passed_on(processes):
    for argv, environment in told:
      processes.append(
        subprocess.Popen(
          argv,
          env=os.environ | environment,
          stdin=subprocess.DEVNULL,
          stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT,
          # Ctrl-C comes from us alone, and so once.
          start_new_session=True,
        )
      )
    readers = [
      threading.Thread(target=_relay, args=(index, process.stdout))
      for index, process in enumerate(processes)
    ]
    for reader in readers:
      reader.start()
    code = _wait(processes, alike=alike)
    for reader in readers:
      reader.join()
  return code


def _wait(processes: list[subprocess.Popen], *, alike: bool) -> int:
  """Waits for all; the exit code of the first that failed.

  Args:
    processes: those that run.
    alike: whether none of them can go on without the others.
  """
  first = 0
  deadline = None
  open_ones = dict(enumerate(processes))
  while open_ones:
    ended = {index: process.poll() for index, process in open_ones.items()}
    # Who was ended by a signal first: others fail because it is gone.
    for index, code in sorted(
      ended.items(), key=lambda each: (each[1] or 0) >= 0
    ):
      if code is None:
        continue
      del open_ones[index]
      if not code:
        continue
      note(f'process {index} of {len(processes)} {_ended(code)}')
      first = first or shell_code(code)
      if alike and deadline is None:
        deadline = time.monotonic() + _GRACE_SECONDS
    if deadline is not None and time.monotonic() > deadline:
      for index, process in open_ones.items():
        note(f'process {index} did not notice in {_GRACE_SECONDS} s: killed')
        process.kill()
      deadline = None
    time.sleep(0.05)
  return first


def _ended(code: int) -> str:
  if code < 0:
    return f'was ended by {signal.Signals(-code).name}'
  return f'ended with {code}'


@contextlib.contextmanager
def _signals_passed_on(processes: list[subprocess.Popen]) -> Iterator[None]:
  def pass_on(number, frame):
    for process in processes:
      with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)

  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, pass_on) for number in numbers]
  try:
    yield
  finally:
    for number, handler in zip(numbers, before):
      signal.signal(number, handler)
    for process in processes:
      if process.poll() is None:
        process.kill()


def _relay(index: int, lines: IO[bytes]) -> None:
  for line in lines:
    text = line.decode(errors='replace').rstrip('\n')
    print(f'[{index}] {text}', flush=True)


def _free_port() -> int:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]
