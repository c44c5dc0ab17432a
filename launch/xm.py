"""An XManager experiment: the image on Vertex AI or in docker here.

github.com/google-deepmind/xmanager, release 0.7: its open-source executors know
GPUs up to the A100 and TPUs up to v3, and run a container on one machine. So an
experiment here is one process for each point of a sweep; pods are for the
launchers beside this one.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

from consensus_jax.strict_json import InputError
from launch import checks
from launch import job as jobs
from launch.programs import Programs, note

VERBS = ('run',)
VERBS_WITHOUT_JOB = ()

_GPUS = ('p4', 't4', 'p100', 'v100', 'a100')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """What XManager is asked for.

  Attributes:
    title: of the experiment.
    image: the container.
    executor: 'vertex', or 'local' for docker on this machine.
    gpu: its kind, in XManager's words, or None.
    gpus: how many.
    folder: for 'local', what is mounted at `jobs.BUCKET_FOLDER`; on Vertex AI
      buckets are mounted at /gcs/NAME.
  """

  title: str
  image: str
  executor: Literal['vertex', 'local'] = 'vertex'
  gpu: str | None = None
  gpus: int = 1
  folder: str | None = None

  def __post_init__(self):
    if self.gpu is not None and self.gpu not in _GPUS:
      raise InputError(
        f'there is no {self.gpu!r}; XManager knows {", ".join(_GPUS)}',
        field=('--gpu',),
      )
    if (self.folder is None) == (self.executor == 'local'):
      raise InputError(
        'goes with --executor=local, and only with it', field=('--folder',)
      )

  @property
  def within(self) -> str:
    """The folder that outlasts the machine."""
    return '/gcs' if self.executor == 'vertex' else jobs.BUCKET_FOLDER

  @property
  def requirements(self) -> dict[str, int]:
    """Arguments of `xm.JobRequirements`."""
    if self.gpu is None:
      return {}
    return {'local_gpu' if self.executor == 'local' else self.gpu: self.gpus}


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what XManager is asked for."""
  parser.add_argument('--image', required=True)
  parser.add_argument(
    '--executor', choices=('vertex', 'local'), default='vertex'
  )
  parser.add_argument('--gpu', metavar='KIND', help=', '.join(_GPUS))
  parser.add_argument('--gpus', type=int, default=1, metavar='N')
  parser.add_argument(
    '--folder',
    metavar='PATH',
    help=f'for --executor=local, mounted at {jobs.BUCKET_FOLDER}',
  )


def run_verb(
  args: argparse.Namespace, job: jobs.Job, programs: Programs
) -> int:
  """Does what a verb says; returns the exit code."""
  return run_all(args, [job], job.name, programs)


def run_all(
  args: argparse.Namespace,
  work: Sequence[jobs.Job],
  title: str,
  programs: Programs,
) -> int:
  """One experiment of many jobs; returns the exit code."""
  experiment = Experiment(
    title=title,
    image=args.image,
    executor=args.executor,
    gpu=args.gpu,
    gpus=args.gpus,
    folder=args.folder,
  )
  run(experiment, work, programs)
  return 0


def plan(experiment: Experiment, work: Sequence[jobs.Job]) -> dict[str, Any]:
  """What XManager is told, as one value of JSON."""
  return {
    'experiment_title': experiment.title,
    'image_path': experiment.image,
    'executor': experiment.executor,
    'requirements': experiment.requirements,
    'volumes': {}
    if experiment.folder is None
    else {experiment.folder: jobs.BUCKET_FOLDER},
    'jobs': [
      {
        'name': job.name,
        # The image has no entry point, so they are the whole command.
        'args': job.worker('told', f'--per_host={_per_host(experiment, job)}'),
        'env_vars': dict(job.environment),
      }
      for job in work
    ],
  }


def _per_host(experiment: Experiment, job: jobs.Job) -> int:
  return 1 if job.trains or experiment.gpu is None else experiment.gpus


def run(
  experiment: Experiment, work: Sequence[jobs.Job], programs: Programs
) -> None:
  """Makes the experiment, with a work unit for each job.

  Raises:
    InputError: if a job could not run on it, or XManager is not installed.
    LaunchError: if the image does not do.
  """
  devices = experiment.gpus if experiment.gpu else 1
  for job in work:
    jobs.check(job, num_devices=devices, within=experiment.within)
  checks.image(experiment.image, programs)
  told = plan(experiment, work)
  if programs.dry_run:
    print(json.dumps(told, indent=2))
    return
  try:
    from xmanager import xm, xm_local  # type: ignore[import-not-found]
  except ImportError as error:
    raise InputError(
      f'needs XManager ({error}): pip install xmanager'
    ) from error
  requirements = xm.JobRequirements(**told['requirements'])
  if experiment.executor == 'vertex':
    executor = xm_local.Vertex(requirements=requirements)
  else:
    executor = xm_local.Local(
      requirements=requirements,
      docker_options=xm_local.DockerOptions(volumes=told['volumes']),
    )
  with xm_local.create_experiment(
    experiment_title=told['experiment_title']
  ) as e:
    (executable,) = e.package(
      [
        xm.Packageable(
          executable_spec=xm.Container(image_path=told['image_path']),
          executor_spec=executor.Spec(),
        )
      ]
    )
    for each in told['jobs']:
      e.add(
        xm.Job(
          executable=executable,
          executor=executor,
          name=each['name'],
          args=each['args'],
          env_vars=each['env_vars'],
        )
      )
  note(f'{experiment.title}: {len(work)} work units')
