"""One machine with GPUs: the image in docker, here or over ssh.

https://docs.docker.com/engine/containers/resource_constraints/#gpu and, for
another machine, `docker --host ssh://`.
"""

import argparse
import dataclasses

from launch import job as jobs
from launch.programs import LaunchError, Programs

VERBS = ('run', 'all')
VERBS_WITHOUT_JOB = ('logs', 'delete')

_ANSWER = 60.0
_PULL = 1200.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
  """A machine with GPUs.

  Attributes:
    host: user@machine, or None for this one.
    image: the container, built with ACCELERATOR=cuda13.
    folder: of that machine, mounted at `jobs.BUCKET_FOLDER`.
    gpus: how many it has.
  """

  host: str | None
  image: str
  folder: str
  gpus: int = 1

  @property
  def docker(self) -> list[str]:
    """How its docker is reached."""
    there = [] if self.host is None else [f'--host=ssh://{self.host}']
    return ['docker', *there]


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what a box is."""
  parser.add_argument(
    '--host', metavar='USER@MACHINE', help='(default: this machine)'
  )
  parser.add_argument(
    '--image', required=True, help='built with ACCELERATOR=cuda13'
  )
  parser.add_argument(
    '--folder',
    required=True,
    metavar='PATH',
    help=f'of that machine, mounted at {jobs.BUCKET_FOLDER}',
  )
  parser.add_argument('--gpus', type=int, default=1, metavar='N')


def run_verb(
  args: argparse.Namespace, job: jobs.Job, programs: Programs
) -> int:
  """Does what a verb says; returns the exit code."""
  box = Box(
    host=args.host, image=args.image, folder=args.folder, gpus=args.gpus
  )
  if args.verb == 'run':
    run(box, job, programs)
  elif args.verb == 'all':
    run(box, job, programs)
    return wait(box, job.name, programs)
  elif args.verb == 'logs':
    return logs(box, job.name, programs)
  else:
    return delete(box, job.name, programs)
  return 0


def container(box: Box, job: jobs.Job) -> list[str]:
  """Options of the container, and its image."""
  return [
    '--gpus=all',
    '--ipc=host',
    f'--volume={box.folder}:{jobs.BUCKET_FOLDER}',
    *(f'--env={name}={value}' for name, value in job.environment),
    box.image,
  ]


def worker(box: Box, job: jobs.Job, *options: str) -> list[str]:
  """What the container runs: one process of a training run for all GPUs."""
  per_host = [] if job.trains else [f'--per_host={box.gpus}']
  return job.worker(
    'told', f'--writable={jobs.BUCKET_FOLDER}', *per_host, *options
  )


def run(box: Box, job: jobs.Job, programs: Programs) -> None:
  """Starts the job, which goes on when this program has ended.

  Raises:
    InputError: if it could not run on so many GPUs.
    LaunchError: if docker, the image, the GPUs or the folder do not do.
  """
  jobs.check(job, num_devices=box.gpus, within=jobs.BUCKET_FOLDER)
  place = box.host or 'this machine'
  programs.run(
    [*box.docker, 'pull', '--quiet', box.image],
    timeout=_PULL,
    doing=f'image {box.image} on {place}',
  )
  seen = programs.run(
    [*box.docker, 'run', '--rm', '--gpus=all', box.image]
    + ['nvidia-smi', '--list-gpus'],
    timeout=_ANSWER,
    doing=f'GPUs of {place}',
  )
  found = len(seen.splitlines())
  if not programs.dry_run and found != box.gpus:
    raise LaunchError(
      f'{place} has {found} GPUs, --gpus says {box.gpus}', code=2
    )
  options = container(box, job)
  programs.run(
    [*box.docker, 'run', '--rm', *options] + worker(box, job, '--check_only'),
    timeout=_ANSWER,
    doing=f'{box.image} on {place}',
  )
  if _state(box, job.name, programs) == 'running':
    raise LaunchError(f'{job.name} runs on {place} already', code=2)
  programs.run(
    [*box.docker, 'run', '--detach', f'--name={job.name}']
    + ['--stop-timeout=120', *options, *worker(box, job)],
    timeout=_ANSWER,
    doing=job.name,
  )
  programs.note(f'{job.name} runs on {place}')


def _state(box: Box, name: str, programs: Programs) -> str:
  """Of the container; one that has ended is removed, as it keeps its name."""
  if programs.dry_run:
    return 'absent'
  try:
    state = programs.run(
      [*box.docker, 'inspect', '--format={{.State.Status}}', name],
      timeout=_ANSWER,
    ).strip()
  except LaunchError as error:
    if 'no such object' in str(error).lower():
      return 'absent'
    raise
  if state != 'running':
    programs.run([*box.docker, 'rm', name], timeout=_ANSWER)
  return state


def wait(box: Box, name: str, programs: Programs) -> int:
  """Follows what it says to its end; the job's exit code."""
  logs(box, name, programs)
  said = programs.run([*box.docker, 'wait', name])
  return int(said.strip() or 0)


def logs(box: Box, name: str, programs: Programs) -> int:
  """Follows what it says."""
  return programs.follow([*box.docker, 'logs', '--follow', name])


def delete(box: Box, name: str, programs: Programs) -> int:
  """Stops the job, which saves, and removes its container."""
  code = programs.follow([*box.docker, 'stop', '--time=120', name])
  return code or programs.follow([*box.docker, 'rm', name])
