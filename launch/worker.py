"""What every host of every target runs: checks, then the entry point.

  python -m launch.worker --place=PLACE [options] KIND [its arguments]

PLACE says how a process learns which one it is. A training job is one process
a host, which work together. Outcomes are made by processes that know nothing of
each other, each with its shard of the file: with --per_host=N there are N of
them on each host, with one chip each.
"""

import argparse
import contextlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence

from consensus_jax import cli
from consensus_jax.strict_json import InputError
from consensus_jax.training import distributed
from consensus_jax.training.distributed import Cluster
from launch import job as jobs

PLACES = ('told', 'tpu_vm', 'gke', 'slurm')
# The port where processes meet: jax's own choice on Cloud TPU.
PORT = 8482

_METADATA = 'http://metadata.google.internal/computeMetadata/v1/instance/'


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a worker; returns the exit code."""
  args = _parser().parse_args(argv)
  try:
    cluster = find_cluster(args, os.environ)
    check_host(args.jax, args.writable)
  except InputError as error:
    return _failed(error, 2)
  try:
    distributed.roll_call(cluster)
  except InputError as error:
    return _failed(error, distributed.LOST)
  if args.check_only:
    print(f'process {cluster.process_id} is ready', flush=True)
    return 0
  job = jobs.Job(
    name='worker',
    kind=args.kind,
    arguments=tuple(args.arguments),
    start_timeout=args.start_timeout,
  )
  processes = entry_arguments(job, cluster, args.per_host)
  if len(processes) == 1:
    # Becomes the entry point, so that signals reach it.
    return cli.main(processes[0][0])
  entry = [sys.executable, '-m', 'consensus_jax']
  return _run_all([([*entry, *told], own) for told, own in processes])


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m launch.worker', allow_abbrev=False
  )
  parser.add_argument('--place', choices=PLACES, required=True)
  parser.add_argument('--coordinator', metavar='HOST:PORT')
  parser.add_argument('--num_processes', type=int, default=1)
  parser.add_argument('--process_id', type=int, default=0)
  parser.add_argument('--start_timeout', type=float, default=45.0)
  parser.add_argument('--jax', required=True, help='the version to expect')
  parser.add_argument('--writable', metavar='FOLDER', help='to be checked')
  parser.add_argument('--per_host', type=int, default=1, metavar='N')
  parser.add_argument('--check_only', action='store_true')
  parser.add_argument('kind', metavar='KIND')
  parser.add_argument('arguments', nargs=argparse.REMAINDER)
  return parser


def find_cluster(
  args: argparse.Namespace, environment: Mapping[str, str]
) -> Cluster:
  """Where this process stands among those of its job.

  Raises:
    InputError: if its surroundings do not say.
  """
  coordinator, count, index = (
    args.coordinator,
    args.num_processes,
    args.process_id,
  )
  try:
    if args.place == 'tpu_vm':
      hosts = [
        # As jax reads it: a name, or name:id:address.
        each.split(':')[-1]
        for each in _metadata('worker-network-endpoints').split(',')
      ]
      coordinator, count = f'{hosts[0]}:{PORT}', len(hosts)
      index = int(_metadata('agent-worker-number'))
    elif args.place == 'gke':
      # GKE sets both for pods that ask for TPUs.
      hosts = environment['TPU_WORKER_HOSTNAMES'].split(',')
      coordinator, count = f'{hosts[0]}:{PORT}', len(hosts)
      index = int(environment['TPU_WORKER_ID'])
    elif args.place == 'slurm':
      count = int(environment['SLURM_NTASKS'])
      index = int(environment['SLURM_PROCID'])
    return Cluster(
      coordinator=coordinator or f'localhost:{PORT}',
      num_processes=count,
      process_id=index,
      timeout=args.start_timeout,
    )
  except (KeyError, OSError, ValueError) as error:
    raise InputError(
      f'this is no host of {args.place}: {type(error).__name__}: {error}',
      field=('--place',),
    ) from error


def _metadata(name: str) -> str:
  request = urllib.request.Request(
    f'{_METADATA}attributes/{name}', headers={'Metadata-Flavor': 'Google'}
  )
  with urllib.request.urlopen(request, timeout=10) as answer:
    return answer.read().decode()


def check_host(jax_version: str, writable: str | None) -> None:
  """Refuses a host that could not do the job.

  Raises:
    InputError: naming the package, or the folder.
  """
  found = importlib.metadata.version('jax')
  if found != jax_version:
    raise InputError(
      f'is {found} here, and {jax_version} in the requirements.lock that this '
      'job was launched with: build the image, or the environment, again',
      field=('jax',),
    )
  if writable is None:
    return
  try:
    with tempfile.NamedTemporaryFile(dir=writable, prefix='.write_test_') as x:
      x.write(b'x')
  except OSError as error:
    raise InputError(
      f'cannot be written: {error.strerror}. Is the bucket mounted, and may '
      'the service account of this machine write to it?',
      file=writable,
    ) from error


def entry_arguments(
  job: jobs.Job, cluster: Cluster, per_host: int = 1
) -> list[tuple[list[str], dict[str, str]]]:
  """What `consensus` is told in each process of this host.

  Returns:
    Arguments, and what each process has in its environment alone.
  """
  entry = jobs.entry_point(job.kind)
  if job.trains:
    place = [
      f'--coordinator={cluster.coordinator}',
      f'--num_processes={cluster.num_processes}',
      f'--process_id={cluster.process_id}',
      f'--start_timeout={cluster.timeout:g}',
    ]
    several = cluster.num_processes > 1
    return [([*entry, *job.arguments, *(place if several else [])], {})]
  files = jobs.outcome_files(job)
  count = cluster.num_processes * per_host
  processes = []
  for chip in range(per_host):
    index = cluster.process_id * per_host + chip
    told = [
      *entry,
      *files.others,
      f'--shard={index}/{count}',
      f'--out={files.part(index, count)}',
    ]
    processes.append((told, one_chip(chip) if per_host > 1 else {}))
  return processes


def one_chip(chip: int) -> dict[str, str]:
  """The environment of a process that is to see one chip of its host only.

  For TPUs as in jax/_src/test_multiprocess.py, for GPUs as CUDA has it.
  """
  port = PORT + 1 + chip
  return {
    'CUDA_VISIBLE_DEVICES': str(chip),
    'TPU_VISIBLE_CHIPS': str(chip),
    'TPU_CHIPS_PER_PROCESS_BOUNDS': '1,1,1',
    'TPU_PROCESS_BOUNDS': '1,1,1',
    'TPU_PROCESS_ADDRESSES': f'localhost:{port}',
    'TPU_PROCESS_PORT': str(port),
    'CLOUD_TPU_TASK_ID': '0',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }


def _run_all(commands: Sequence[tuple[list[str], dict[str, str]]]) -> int:
  """Runs processes side by side; the worst exit code."""
  processes = [
    subprocess.Popen(argv, env=os.environ | environment)
    for argv, environment in commands
  ]

  def pass_on(number, frame):
    for process in processes:
      with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)

  numbers = (signal.SIGTERM, signal.SIGINT)
  before = [signal.signal(number, pass_on) for number in numbers]
  try:
    return max(shell_code(process.wait()) for process in processes)
  finally:
    for number, handler in zip(numbers, before):
      signal.signal(number, handler)


def shell_code(code: int) -> int:
  """An exit code as a shell has it: 128 + N for signal N."""
  return code if code >= 0 else 128 - code


def _failed(error: InputError, code: int) -> int:
  print(f'error: {error}', file=sys.stderr, flush=True)
  return code


if __name__ == '__main__':
  sys.exit(main())
