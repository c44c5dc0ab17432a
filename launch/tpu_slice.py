"""A TPU slice, and the commands that make it and reach its hosts.

The commands are those of the gcloud reference as of November 2026, group
`gcloud compute tpus queued-resources`. A slice is one queued resource, whose
one node bears the same name. Every host runs the image, since the hosts' own
Python is older than what this library needs.
"""

import argparse
import dataclasses
import shlex
import time
from typing import Literal, get_args

from consensus_jax.training.topologies import Topology
from launch import job as jobs
from launch.checks import ANSWER
from launch.programs import LaunchError, Programs

Capacity = Literal['on_demand', 'spot', 'reserved']

_QUEUED = ('gcloud', 'compute', 'tpus', 'queued-resources')
_METADATA = 'http://metadata.google.internal/computeMetadata/v1/instance/'

# Seconds between looks at a state.
POLL = 20.0
# States in which a queued resource has lost its machines, or never had any.
GONE = ('FAILED', 'SUSPENDING', 'SUSPENDED')

# https://cloud.google.com/tpu/docs/runtimes
_RUNTIMES = {
  'v4': 'tpu-ubuntu2204-base',
  'v5e': 'v2-alpha-tpuv5-lite',
  'v5p': 'v2-alpha-tpuv5',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
  """A TPU slice and what its hosts run.

  Attributes:
    name: of the queued resource and its node.
    project: that has the TPUs.
    zone: where they are.
    topology: its chips.
    image: the container, REGISTRY/NAME:TAG.
    bucket: without gs://, mounted at `jobs.BUCKET_FOLDER`.
    capacity: how they are asked for.
    quota_project: whose quota gcloud's requests count against.
    service_account: of the hosts; must have access to bucket and image.
    wait: seconds until the slice must be there.
  """

  name: str
  project: str
  zone: str
  topology: Topology
  image: str
  bucket: str
  capacity: Capacity = 'on_demand'
  quota_project: str | None = None
  service_account: str | None = None
  wait: float = 3600.0

  @property
  def runtime(self) -> str:
    """The software of the hosts themselves."""
    return _RUNTIMES[self.topology.name.partition(':')[0]]

  @property
  def accelerator_type(self) -> str:
    """As gcloud names it: v4 and v5p count cores, two a chip, v5e chips."""
    kind, _, _ = self.topology.name.partition(':')
    chips = self.topology.num_chips
    return f'v5litepod-{chips}' if kind == 'v5e' else f'{kind}-{2 * chips}'

  @property
  def num_hosts(self) -> int:
    """Four chips a host; but gcloud's v5e:2x4 is one host of eight."""
    return max(1, self.topology.num_chips // self.chips_per_host)

  @property
  def chips_per_host(self) -> int:
    """Chips that a host has."""
    return 8 if self.topology.name == 'v5e:2x4' else 4

  @property
  def where(self) -> tuple[str, ...]:
    """The flags that every command takes."""
    flags = [f'--zone={self.zone}', f'--project={self.project}']
    if self.quota_project is not None:
      flags.append(f'--billing-project={self.quota_project}')
    return tuple(flags)


def create_command(tpu: Slice) -> list[str]:
  """What asks for the slice."""
  capacity = {'on_demand': [], 'spot': ['--spot'], 'reserved': ['--reserved']}
  account = (
    []
    if tpu.service_account is None
    else [f'--service-account={tpu.service_account}']
  )
  return [
    *_QUEUED,
    'create',
    tpu.name,
    f'--node-id={tpu.name}',
    f'--accelerator-type={tpu.accelerator_type}',
    f'--runtime-version={tpu.runtime}',
    # What is not there by then must not come, and cost, later.
    f'--valid-until-duration={tpu.wait:.0f}s',
    '--scopes=https://www.googleapis.com/auth/cloud-platform',
    '--async',
    *capacity[tpu.capacity],
    *account,
    *tpu.where,
  ]


def state(tpu: Slice, programs: Programs) -> str | None:
  """Of the queued resource, such as 'ACTIVE'; None if there is none.

  Raises:
    LaunchError: if gcloud does not know.
  """
  argv = [*_QUEUED, 'describe', tpu.name, *tpu.where]
  argv.append('--format=value(state.state)')
  try:
    return programs.run(argv, timeout=ANSWER).strip() or None
  except LaunchError as error:
    if 'NOT_FOUND' in str(error) or 'not found' in str(error).lower():
      return None
    raise


def wait_until_active(tpu: Slice, programs: Programs) -> None:
  """Returns when the slice is there.

  Raises:
    LaunchError: if it fails, or time is up.
  """
  deadline = time.monotonic() + tpu.wait
  last = ''
  while True:
    now = state(tpu, programs) or ('ACTIVE' if programs.dry_run else 'gone')
    if now != last:
      programs.note(f'{tpu.name}: {now}')
    last = now
    if now == 'ACTIVE':
      return
    if now in (*GONE, 'gone'):
      raise LaunchError(f'{tpu.name} is {now}: see {_described(tpu)}')
    if time.monotonic() > deadline:
      raise LaunchError(f'{tpu.name} was still {now} after {tpu.wait:.0f} s')
    time.sleep(POLL)


def _described(tpu: Slice) -> str:
  return shlex.join([*_QUEUED, 'describe', tpu.name, *tpu.where])


def delete(tpu: Slice, programs: Programs) -> None:
  """Deletes the slice, and makes sure that it is gone.

  Raises:
    LaunchError: if it is not, with the command that a person has to run.
  """
  argv = [*_QUEUED, 'delete', tpu.name, '--force', '--quiet', *tpu.where]
  problem = ''
  try:
    programs.run(argv, timeout=600)
  except (LaunchError, KeyboardInterrupt) as error:
    problem = str(error) or 'It was interrupted.'
  try:
    left = state(tpu, programs)
  except LaunchError as error:
    left = f'in a state that nobody knows: {error}'
  if left is not None and left != 'DELETING':
    raise LaunchError(
      f'{tpu.name} is NOT deleted and may cost money. It is {left}. {problem} '
      f'Run: {shlex.join(argv)}'
    )
  programs.note(f'{tpu.name} is deleted')


def ssh_command(tpu: Slice, script: str, worker: str = 'all') -> list[str]:
  """Runs a script on hosts of the slice, on all at the same time."""
  return [
    *_QUEUED,
    'ssh',
    tpu.name,
    '--node=all',
    f'--worker={worker}',
    # By default 64 at a time, and a job needs all of its hosts.
    f'--batch-size={tpu.num_hosts}',
    *tpu.where,
    f'--command={script}',
  ]


def on_host(script: str) -> str:
  """A script for bash on a host, which knows the number of its host."""
  lines = [
    'set -euo pipefail',
    'metadata() { curl --silent --fail --header "Metadata-Flavor: Google" \\',
    f'  "{_METADATA}attributes/$1"; }}',
    'WORKER="$(metadata agent-worker-number)"',
    script.strip(),
  ]
  return '\n'.join(line for line in lines if line)


def docker_run(tpu: Slice, job: jobs.Job) -> list[str]:
  """Options of a container that may use TPUs, and its image.

  https://cloud.google.com/tpu/docs/run-in-container
  """
  folder = jobs.BUCKET_FOLDER
  return [
    '--privileged',
    '--net=host',
    f'--volume={folder}:{folder}',
    *(f'--env={name}={value}' for name, value in job.environment),
    tpu.image,
  ]


def worker_command(tpu: Slice, job: jobs.Job, *options: str) -> list[str]:
  """What the container runs."""
  per_host = [] if job.trains else [f'--per_host={tpu.chips_per_host}']
  return job.worker(
    'tpu_vm', f'--writable={jobs.BUCKET_FOLDER}', *per_host, *options
  )


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what slices have in common, of gcloud and of a cluster."""

  def add(flag: str, metavar: str, text: str | None = None) -> None:
    parser.add_argument(flag, required=True, metavar=metavar, help=text)

  add('--project', 'NAME')
  add('--zone', 'NAME')
  add('--topology', 'KIND:SHAPE', 'such as v5p:4x4x8')
  add('--image', 'IMAGE', 'built by launch/Dockerfile, and pushed')
  add('--bucket', 'NAME', f'mounted at {jobs.BUCKET_FOLDER}')
  parser.add_argument(
    '--capacity', choices=get_args(Capacity), default='on_demand'
  )


def bucket_name(text: str) -> str:
  """Of a bucket that may be written as gs://NAME/."""
  return text.removeprefix('gs://').rstrip('/')
