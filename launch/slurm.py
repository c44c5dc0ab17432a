"""A batch job of Slurm: one task a node, restarted where it stood.

Options are those of sbatch(1) and srun(1). There is no container: the
environment and the checkout lie on a file system that all nodes share.
"""

import argparse
import dataclasses
import pathlib
import re
import shlex

from consensus_jax.strict_json import InputError
from launch import job as jobs
from launch import merge
from launch.programs import LaunchError, Programs

VERBS = ('run', 'script')
VERBS_WITHOUT_JOB = ('status', 'delete')

_ANSWER = 60.0
# A process that hears of it, jax's own word for it, and SIGKILL.
_LOST = '5|134|137'
_JOB_ID = re.compile(r'(\d+)(;.*)?')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """What is asked of Slurm.

  Attributes:
    nodes: how many; one process of a training run on each.
    gpus_per_node: GPUs of each node.
    time: the limit, HH:MM:SS.
    partition: None is the cluster's default.
    account: whom it is charged to; None is the user's default.
    python: the interpreter, of an environment that all nodes see.
    restarts: how often the job is queued again after it was stopped.
  """

  nodes: int = 1
  gpus_per_node: int = 8
  time: str = '24:00:00'
  partition: str | None = None
  account: str | None = None
  python: str = '.venv-train/bin/python'
  restarts: int = 10

  def __post_init__(self):
    for field in ('nodes', 'gpus_per_node'):
      if getattr(self, field) < 1:
        raise InputError('must be at least 1', field=(f'--{field}',))


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what is asked of Slurm."""
  defaults = Batch()
  for name, kind, metavar, text in (
    ('nodes', int, 'N', 'one process of a training run on each'),
    ('gpus_per_node', int, 'N', 'GPUs of each node'),
    ('time', str, 'HH:MM:SS', 'the limit, after which the job is queued again'),
    ('partition', str, 'NAME', 'where to run'),
    ('account', str, 'NAME', 'whom it is charged to'),
    ('python', str, 'PATH', 'of an environment that all nodes see'),
    ('restarts', int, 'N', 'how often it is queued again'),
  ):
    default = getattr(defaults, name)
    shown = '' if default is None else f' (default: {default})'
    parser.add_argument(
      f'--{name}',
      type=kind,
      default=default,
      metavar=metavar,
      help=text + shown,
    )


def run_verb(
  args: argparse.Namespace, job: jobs.Job, programs: Programs
) -> int:
  """Does what a verb says; returns the exit code."""
  names = [field.name for field in dataclasses.fields(Batch)]
  batch = Batch(**{name: getattr(args, name) for name in names})
  if args.verb == 'run':
    run(batch, job, programs)
  elif args.verb == 'script':
    check_job(batch, job)
    print(script(batch, job), end='')
  elif args.verb == 'status':
    return status(job.name, programs)
  else:
    return delete(job.name, programs)
  return 0


def check_job(batch: Batch, job: jobs.Job) -> None:
  """Refuses a job that could not run on so many devices.

  Raises:
    InputError: naming the setting.
  """
  jobs.check(job, num_devices=batch.nodes * batch.gpus_per_node)


def script(batch: Batch, job: jobs.Job) -> str:
  """What sbatch reads."""
  options = [
    f'--job-name={job.name}',
    f'--nodes={batch.nodes}',
    '--ntasks-per-node=1',
    f'--gpus-per-node={batch.gpus_per_node}',
    f'--time={batch.time}',
    f'--output={job.name}.%j.log',
    '--open-mode=append',
    # Queued again after a preemption or the loss of a node ...
    '--requeue',
    # ... and told in time to save, before time is up.
    '--signal=B:USR1@180',
  ]
  if batch.partition is not None:
    options.append(f'--partition={batch.partition}')
  if batch.account is not None:
    options.append(f'--account={batch.account}')
  per_host = [] if job.trains else [f'--per_host={batch.gpus_per_node}']
  worker = shlex.join(job.worker('slurm', *per_host, python=batch.python))
  # The one argument that a node has to find out.
  place = '--place=slurm'
  worker = worker.replace(place, f'{place} --coordinator="$coordinator"', 1)
  lines = [
    '#!/bin/bash',
    *(f'#SBATCH {option}' for option in options),
    'set -uo pipefail',
    f'cd {shlex.quote(str(jobs.ROOT))} || exit 2',
    *(f'export {k}={shlex.quote(v)}' for k, v in job.environment),
    '# Ports of its own, as jobs may share nodes.',
    'port=$((20000 + SLURM_JOB_ID % 20000))',
    'host="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
    'coordinator="$host:$port"',
    'again=""',
    # srun passes on to its tasks what it is sent.
    'trap \'again=yes; kill -TERM "$step"\' USR1',
    f'srun {"--kill-on-bad-exit=1 " if job.trains else ""}--label \\',
    f'  {worker} &',
    'step=$!',
    'wait "$step"',
    'code=$?',
    '# The trap ends `wait` early.',
    'if [ -n "$again" ]; then wait "$step"; code=$?; fi',
    '# Time was up, or a process was lost. Not so if someone cancelled it.',
    f'case "$code" in {_LOST}) again=yes ;; esac',
    f'if [ -n "$again" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt '
    f'{batch.restarts} ]; then',
    '  echo "ended with $code: queued again, to go on"',
    '  scontrol requeue "$SLURM_JOB_ID"',
    'fi',
    'exit "$code"',
  ]
  return '\n'.join(lines) + '\n'


def run(batch: Batch, job: jobs.Job, programs: Programs) -> str:
  """Hands the job to Slurm; its number.

  Raises:
    InputError: if it could not run on so many devices.
    LaunchError: with Slurm's reason, such as a partition that does not exist.
  """
  check_job(batch, job)
  if not job.trains:
    merge.check_target(job)
  python = pathlib.Path(jobs.ROOT, batch.python)
  if not programs.dry_run and not python.exists():
    raise InputError(f'there is no {batch.python}', field=('--python',))
  text = script(batch, job)
  # Says whether, and when, it could run; submits nothing.
  programs.run(
    ['sbatch', '--test-only'], stdin=text, timeout=_ANSWER, doing=job.name
  )
  said = programs.run(
    ['sbatch', '--parsable'], stdin=text, timeout=_ANSWER, doing=job.name
  )
  if programs.dry_run:
    return 'ID'
  match = _JOB_ID.fullmatch(said.strip())
  if match is None:
    raise LaunchError(
      f'sbatch answered {said.strip()!r}, which is no number of a job. It may '
      'have been submitted: look at squeue --me'
    )
  programs.note(f'{job.name} is job {match[1]}; log: {job.name}.{match[1]}.log')
  return match[1]


def status(name: str, programs: Programs) -> int:
  """Shows where the job stands."""
  return programs.follow(['squeue', '--me', f'--name={name}'])


def delete(name: str, programs: Programs) -> int:
  """Cancels the job; its processes get SIGTERM first, and save."""
  return programs.follow(['scancel', '--me', f'--name={name}'])
