"""`python -m launch TARGET VERB [options] KIND [arguments of the entry point]`.

KIND is sft, reward_model, deliberate or rank; what follows it is what the entry
point takes: --gin_file=FILE and --gin.NAME=VALUE for training, FILE, --out and
settings for outcomes. docs/launching.md has an example of each target.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import get_args

from consensus_jax.strict_json import InputError
from launch import gke, gpu_box, local, merge, slurm, sweep, tpu_vm, xm
from launch.job import Job, Kind
from launch.programs import BAD_INPUT, LaunchError, Programs

_TARGETS: dict[str, tuple[str, ModuleType]] = {
  'local': ('processes on this machine, with virtual devices', local),
  'tpu': ('a TPU slice of its own, through gcloud', tpu_vm),
  'gke': ('a JobSet on a GKE cluster, which xpk makes', gke),
  'gpu': ('a machine with GPUs and docker, here or over ssh', gpu_box),
  'slurm': ('a Slurm cluster, from its login node', slurm),
  'xmanager': ('an XManager experiment', xm),
}

# Verbs that end with the job, or hand it over to whatever waits for it.
_SWEPT = {
  'local': 'run',
  'tpu': 'all',
  'gke': 'run',
  'gpu': 'all',
  'slurm': 'run',
  'xmanager': 'run',
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the launcher; returns the exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    if argv[:1] == ['sweep']:
      return _sweep(argv[1:])
    args = _parser().parse_args(argv)
    job, programs = _job(args), Programs(dry_run=args.dry_run)
    if args.target == 'merge':
      return merge.run(job, programs, args.report)
    return _TARGETS[args.target][1].run_verb(args, job, programs)
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return BAD_INPUT
  except LaunchError as error:
    # One line, and nothing that a terminal would obey.
    print(f'error: {InputError(str(error))}', file=sys.stderr)
    return error.code
  except KeyboardInterrupt:
    return 130


def _sweep(argv: Sequence[str]) -> int:
  parser = argparse.ArgumentParser(
    prog='python -m launch sweep',
    description='Launches one job for each combination of gin bindings, and '
    'prints one table of their results.',
    allow_abbrev=False,
  )
  parser.add_argument(
    '--over',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='a binding; repeat it for each value of each name',
  )
  parser.add_argument(
    '--table',
    action='store_true',
    help='launch nothing, and only say what has become of the jobs',
  )
  parser.add_argument('launch', nargs=argparse.REMAINDER, metavar='TARGET ...')
  own = parser.parse_args(argv)
  args = _parser().parse_args(own.launch)
  verb = _SWEPT.get(args.target)
  if args.verb != verb:
    raise InputError(f'sweeps {args.target} with the verb {verb}, if at all')
  target = _TARGETS[args.target][1]
  job, programs = _job(args), Programs(dry_run=args.dry_run)
  points = sweep.points(job, own.over)
  code = 0
  if target is xm and not own.table:
    # One experiment, with a work unit for each.
    code = xm.run_all(args, [p.job for p in points], job.name, programs)
  elif not own.table:
    code = sweep.run(points, lambda one: target.run_verb(args, one, programs))
  if not programs.dry_run:
    print(sweep.table(points))
  return code


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m launch',
    description=__doc__,
    allow_abbrev=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  targets = parser.add_subparsers(
    dest='target', required=True, metavar='TARGET'
  )
  for name, (summary, module) in _TARGETS.items():
    target = targets.add_parser(name, help=summary, allow_abbrev=False)
    verbs = target.add_subparsers(dest='verb', required=True, metavar='VERB')
    for verb in (*module.VERBS, *module.VERBS_WITHOUT_JOB):
      options = verbs.add_parser(verb, allow_abbrev=False)
      module.add_options(options)
      _add_common(options, needs_job=verb in module.VERBS)
  joined = targets.add_parser(
    'merge', help='the outcomes of all processes, in one file'
  )
  joined.set_defaults(verb='run')
  joined.add_argument('--report', metavar='OUT.html')
  _add_common(joined, needs_job=True)
  # Read by `_sweep`; here so that --help lists it.
  targets.add_parser('sweep', help='a job for each combination of bindings')
  return parser


def _add_common(parser: argparse.ArgumentParser, *, needs_job: bool) -> None:
  parser.add_argument(
    '--dry_run',
    action='store_true',
    help='print the exact commands and manifests, and run nothing',
  )
  parser.add_argument('--name', default='consensus', help='of the job')
  parser.add_argument(
    '--env',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help="of the job's processes; repeatable",
  )
  parser.add_argument(
    '--start_timeout',
    type=float,
    default=45.0,
    metavar='SECONDS',
    help='that processes wait for each other (default: 45)',
  )
  if needs_job:
    parser.add_argument('kind', choices=get_args(Kind), metavar='KIND')
    parser.add_argument(
      'arguments', nargs=argparse.REMAINDER, metavar='ARGUMENTS'
    )


def _job(args: argparse.Namespace) -> Job:
  environment = []
  for each in args.env:
    name, separator, value = each.partition('=')
    if not separator or not name.isidentifier():
      raise InputError(f'must be NAME=VALUE, got {each!r}', field=('--env',))
    environment.append((name, value))
  return Job(
    name=args.name,
    # A verb without a job has a name only.
    kind=getattr(args, 'kind', 'sft'),
    arguments=tuple(getattr(args, 'arguments', ())),
    environment=tuple(environment),
    start_timeout=args.start_timeout,
  )


if __name__ == '__main__':
  # Whoever ends the launcher ends it as Ctrl-C does: after it has cleaned up.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  sys.exit(main())
