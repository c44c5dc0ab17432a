"""What is run, whatever it is run on."""

import argparse
import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from consensus_jax.strict_json import InputError
from consensus_jax.training import command

Kind = Literal['sft', 'reward_model', 'deliberate', 'rank']

ROOT = pathlib.Path(__file__).parents[1]

# Where a job finds what has to outlast its machines.
BUCKET_FOLDER = '/bucket'

# Kubernetes wants this of names, and the other targets are content with it.
_NAME = re.compile(r'[a-z]([-a-z0-9]{0,38}[a-z0-9])?')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """One run of an entry point, by one process or several.

  Attributes:
    name: of the job, where the target has names.
    kind: the entry point: `consensus train KIND`, or `consensus KIND`.
    arguments: those of the entry point, such as --gin_file and --gin.NAME.
    environment: variables of its processes.
    start_timeout: seconds that processes wait for each other.
  """

  name: str
  kind: Kind
  arguments: tuple[str, ...]
  environment: tuple[tuple[str, str], ...] = ()
  start_timeout: float = 45.0

  def __post_init__(self):
    if not _NAME.fullmatch(self.name):
      raise InputError(
        f'{self.name!r} must be lower case letters, digits and hyphens, begin '
        'with a letter, and have at most 40 characters',
        field=('--name',),
      )
    if self.kind not in get_args(Kind):
      raise InputError(
        f'there is no kind of job {self.kind!r}; there are '
        f'{", ".join(get_args(Kind))}'
      )

  @property
  def trains(self) -> bool:
    """Whether its processes work on one thing, and not each on its own."""
    return self.kind in ('sft', 'reward_model')

  def worker(self, place: str, *options: str, python: str = 'python') -> list:
    """The command that every host runs, the same on all.

    Args:
      place: where a process finds which one it is (`worker.PLACES`).
      options: more of the worker's own.
      python: the interpreter.
    """
    return [
      python,
      '-m',
      'launch.worker',
      f'--place={place}',
      f'--jax={locked_version("jax")}',
      f'--start_timeout={self.start_timeout:g}',
      *options,
      self.kind,
      *self.arguments,
    ]


def locked_version(package: str) -> str:
  """The version in requirements.lock."""
  lock = (ROOT / 'requirements.lock').read_text(encoding='utf-8')
  found = re.search(rf'^{package}==(\S+)', lock, re.MULTILINE)
  if found is None:
    raise InputError(f'has no {package}', file='requirements.lock')
  return found.group(1)


def entry_point(kind: str) -> list[str]:
  """What `consensus` is told to do."""
  return ['train', kind] if kind in ('sft', 'reward_model') else [kind]


def check(
  job: Job, *, num_devices: int | None = None, within: str | None = None
) -> None:
  """Refuses what would fail after machines have been paid for.

  Args:
    job: what is to be run.
    num_devices: how many it will have; None if nobody knows yet.
    within: the only folder that outlasts the machines.

  Raises:
    InputError: naming the setting.
  """
  if job.trains:
    _check_training(job, num_devices, within)
  else:
    _check_outcomes(job, within)


def _check_training(
  job: Job, num_devices: int | None, within: str | None
) -> None:
  from consensus_jax import gin_utils
  from consensus_jax.training import settings

  args = training_arguments(job.arguments)
  elsewhere = [
    file
    for file in args.gin_file
    if within and not (gin_utils.shipped_directory() / file).is_file()
  ]
  for file in elsewhere:
    _check_within(file, within, '--gin_file')
  if elsewhere:
    return  # They lie where only the job can read them.
  try:
    run, _ = gin_utils.build(
      'RUN', args.gin_file, args.gin_binding, args.gin_search_paths
    )
  except ValueError as error:
    raise InputError(str(error)) from error
  wanted = settings.PolicyRun if job.kind == 'sft' else settings.RewardRun
  if not isinstance(run, wanted):
    raise InputError(
      f'RUN must be @settings.{wanted.__name__}() for {job.kind}',
      field=('--gin_file',),
    )
  _check_within(run.model_dir, within, 'MODEL_DIR')
  if isinstance(run.train_data, str):
    _check_within(run.train_data, within, 'TRAIN_DATA')
  if num_devices is not None:
    _check_mesh(run, num_devices)


def training_arguments(arguments: Sequence[str]) -> argparse.Namespace:
  """Those of an entry point that trains, as it reads them itself.

  Raises:
    InputError: if it would not take them, or the launcher sets them.
  """
  parser = _Parser(allow_abbrev=False)
  command.add_gin_arguments(parser)
  return parser.parse_args(command.arguments_with_bindings(arguments))


def _check_mesh(run: Any, num_devices: int) -> None:
  mesh = run.mesh
  others = mesh.fsdp * mesh.tensor
  data = num_devices // others if mesh.data is None else mesh.data
  if data * others != num_devices:
    raise InputError(
      f'data={mesh.data} x fsdp={mesh.fsdp} x tensor={mesh.tensor} does not '
      f'make {num_devices} devices; name a file of gin/meshes that does, such '
      'as --gin_file=meshes/all_devices.gin',
      field=('mesh',),
    )
  if run.batch_size % (data * mesh.fsdp):
    raise InputError(
      f'{run.batch_size} rows do not divide among {data * mesh.fsdp} devices',
      field=('BATCH_SIZE',),
    )


def _check_outcomes(job: Job, within: str | None) -> None:
  files = outcome_files(job)
  _check_within(files.file, within, 'FILE')
  _check_within(files.out, within, '--out')


@dataclasses.dataclass(frozen=True)
class OutcomeFiles:
  """What a job reads and writes that makes outcomes.

  Attributes:
    file: the deliberations.
    out: the outcomes.
    others: all arguments but --out.
  """

  file: str
  out: str
  others: tuple[str, ...]

  def part(self, index: int, count: int) -> str:
    """Where one of `count` processes writes."""
    return f'{self.out}.{index}-of-{count}'


def outcome_files(job: Job) -> OutcomeFiles:
  """The files of a job that makes outcomes.

  Raises:
    InputError: if it names none, or what only one process can write.
  """
  from consensus_jax import cli_arguments

  parser = _Parser(allow_abbrev=False, add_help=False)
  parser.add_argument('--out')
  own, others = parser.parse_known_args(job.arguments)
  if own.out is None:
    raise InputError('is missing: where outcomes go', field=('--out',))
  args = cli_arguments.parse([job.kind, *others])
  if args.report is not None or args.shard is not None:
    raise InputError(
      'is for one process; the launcher gives each its shard, and '
      '`python -m launch merge --report=OUT.html KIND ...` makes the page',
      field=('--report' if args.report is not None else '--shard',),
    )
  if args.file == '-':
    raise InputError('must be a file that every process can read')
  return OutcomeFiles(args.file, own.out, tuple(others))


def _check_within(path: str, within: str | None, field: str) -> None:
  if within is None:
    return
  if not pathlib.PurePosixPath(path).is_relative_to(within):
    raise InputError(
      f'{path} would be gone with the machine: what a job reads and writes '
      f'lies in {within}/, where its bucket or folder is mounted',
      field=(field,),
    )


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    raise InputError(message)
