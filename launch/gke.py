"""Jobs on a GKE cluster that xpk makes, lists the jobs of, and deletes.

xpk (github.com/AI-Hypercomputer/xpk, docs/usage) installs JobSet, Kueue and the
driver for buckets with the cluster; `jobset` describes what is run there.
"""

import argparse
import json
import time
from typing import Any

from consensus_jax.training import topologies
from consensus_jax.training.distributed import LOST
from launch import checks, tpu_slice
from launch import job as jobs
from launch.jobset import CONTAINER, QUEUE, Cluster, as_yaml, manifest
from launch.programs import LaunchError, Programs

VERBS = ('run', 'manifest', 'logs', 'delete')
VERBS_WITHOUT_JOB = ('create_cluster', 'status', 'delete_cluster')

# Seconds: for pods to run, and between looks at them.
_PODS = 60.0
_POLL = 5.0
_ANSWER = 120.0


def add_options(parser: argparse.ArgumentParser) -> None:
  """Declares what a cluster is made of."""
  tpu_slice.add_options(parser)
  parser.add_argument('--cluster', required=True, metavar='NAME')
  parser.add_argument(
    '--reservation', metavar='NAME', help='for --capacity=reserved'
  )
  parser.add_argument(
    '--service_account',
    default='xpk-sa',
    metavar='NAME',
    help='of Kubernetes, which may write to the bucket (default: xpk-sa)',
  )
  parser.add_argument(
    '--restarts',
    type=int,
    default=10,
    metavar='N',
    help='how often the job is started again, as after a preemption '
    '(default: 10)',
  )


def run_verb(
  args: argparse.Namespace, job: jobs.Job, programs: Programs
) -> int:
  """Does what a verb says; returns the exit code."""
  cluster = Cluster(
    name=args.cluster,
    project=args.project,
    zone=args.zone,
    topology=topologies.parse(args.topology),
    image=args.image,
    bucket=tpu_slice.bucket_name(args.bucket),
    service_account=args.service_account,
    capacity=args.capacity,
    reservation=args.reservation,
    restarts=args.restarts,
  )
  if args.verb == 'run':
    run(cluster, job, programs)
  elif args.verb == 'manifest':
    check_job(cluster, job)
    print(as_yaml(manifest(cluster, job)), end='')
  elif args.verb == 'logs':
    return logs(job, programs)
  elif args.verb == 'delete':
    return delete(cluster, job, programs)
  elif args.verb == 'create_cluster':
    create_cluster(cluster, programs)
  elif args.verb == 'status':
    return status(cluster, programs)
  else:
    return delete_cluster(cluster, programs)
  return 0


def create_cluster(cluster: Cluster, programs: Programs) -> None:
  """Makes the cluster, or brings one of this name to this size.

  Raises:
    LaunchError: if xpk does not; xpk goes on where it stopped if asked again,
      and `delete_cluster` deletes what there is.
  """
  capacity = {
    'on_demand': '--on-demand',
    'spot': '--spot',
    'reserved': f'--reservation={cluster.reservation}',
  }
  code = programs.follow(
    [
      'xpk',
      'cluster',
      'create',
      *cluster.where,
      f'--tpu-type={cluster.tpu_type}',
    ]
    + ['--num-slices=1', capacity[cluster.capacity]]
    + ['--enable-workload-identity', '--enable-gcsfuse-csi-driver']
  )
  if code:
    raise LaunchError(
      f'xpk ended with {code}: cluster {cluster.name} may be half made, and '
      'cost. The same command again goes on, `delete_cluster` deletes it'
    )


def delete_cluster(cluster: Cluster, programs: Programs) -> int:
  """Deletes the cluster and its machines; the exit code of xpk."""
  return programs.follow(['xpk', 'cluster', 'delete', *cluster.where])


def check_job(cluster: Cluster, job: jobs.Job) -> None:
  """Refuses a job that could not run on the slice.

  Raises:
    InputError: naming the setting.
  """
  jobs.check(
    job, num_devices=cluster.topology.num_chips, within=jobs.BUCKET_FOLDER
  )


def check(cluster: Cluster, job: jobs.Job, programs: Programs) -> None:
  """Everything that can be known before the job is handed over.

  Raises:
    InputError: if the job could not run on this slice.
    LaunchError: naming the cluster, bucket or image that does not do.
  """
  check_job(cluster, job)
  programs.run(
    ['gcloud', 'container', 'clusters', 'get-credentials', cluster.name]
    + [f'--region={cluster.zone.rpartition("-")[0]}']
    + [f'--project={cluster.project}'],
    timeout=_ANSWER,
    doing=f'cluster {cluster.name}',
  )
  programs.run(
    ['kubectl', 'get', 'crd', 'jobsets.jobset.x-k8s.io', '--output=name'],
    timeout=_ANSWER,
    doing=f'JobSet on cluster {cluster.name}',
  )
  checks.bucket(cluster.bucket, programs)
  checks.image(cluster.image, programs)


def run(cluster: Cluster, job: jobs.Job, programs: Programs) -> None:
  """Hands the job over, and looks whether its pods come to run.

  Raises:
    LaunchError: naming the pods that do not, and why.
  """
  check(cluster, job, programs)
  text = as_yaml(manifest(cluster, job))
  # `create` and not `apply`: a job of this name must not be changed.
  programs.run(
    ['kubectl', 'create', '--filename=-'],
    stdin=text,
    timeout=_ANSWER,
    doing=f'job {job.name}',
  )
  deadline = time.monotonic() + _PODS
  while True:
    pods = _pods(job, programs)
    if programs.dry_run:
      return
    waiting = {name: why for name, why in pods.items() if why}
    if len(pods) == cluster.num_hosts and not waiting:
      programs.note(f'{job.name} runs in {len(pods)} pods')
      return
    if time.monotonic() > deadline:
      break
    time.sleep(_POLL)
  if not pods:
    programs.note(
      f'{job.name} waits in the queue {QUEUE}: xpk workload list '
      f'{" ".join(cluster.where)} shows when it is its turn'
    )
    return
  reasons = ', '.join(f'{name}: {why}' for name, why in waiting.items())
  missing = cluster.num_hosts - len(pods)
  raise LaunchError(
    f'{job.name}: after {_PODS:.0f} s only {len(pods) - len(waiting)} of '
    f'{cluster.num_hosts} pods run; {reasons or f"{missing} were not made"}. '
    'It goes on trying; `delete` deletes it',
    code=LOST,
  )


def _pods(job: jobs.Job, programs: Programs) -> dict[str, str]:
  """Each pod, with what it waits for or died of; '' if it runs."""
  said = programs.run(
    ['kubectl', 'get', 'pods', _selector(job), '--output=json'],
    timeout=_ANSWER,
  )
  if programs.dry_run:
    return {}
  return {
    pod['metadata']['name']: _waits_for(pod['status'])
    for pod in json.loads(said)['items']
  }


def _waits_for(status: dict[str, Any]) -> str:
  if status['phase'] in ('Running', 'Succeeded'):
    return ''
  for container in status.get('containerStatuses', []):
    for kind in ('waiting', 'terminated'):
      why = container['state'].get(kind)
      if why:
        said = why.get('message') or f'exit code {why.get("exitCode")}'
        return f'{why.get("reason", kind)} ({said})'
  for condition in status.get('conditions', []):
    if condition['status'] == 'False' and condition.get('message'):
      return f'{condition.get("reason")} ({condition["message"]})'
  return status['phase']


def _selector(job: jobs.Job) -> str:
  return f'--selector=jobset.sigs.k8s.io/jobset-name={job.name}'


def status(cluster: Cluster, programs: Programs) -> int:
  """Shows the jobs of the cluster, and where each stands."""
  return programs.follow(['xpk', 'workload', 'list', *cluster.where])


def logs(job: jobs.Job, programs: Programs) -> int:
  """Follows what all pods say."""
  return programs.follow(
    ['kubectl', 'logs', _selector(job), f'--container={CONTAINER}']
    + ['--prefix', '--follow', '--tail=200', '--max-log-requests=2048']
  )


def delete(cluster: Cluster, job: jobs.Job, programs: Programs) -> int:
  """Deletes the job; its pods get SIGTERM, and time to save."""
  return programs.follow(
    ['xpk', 'workload', 'delete', f'--workload={job.name}', '--force']
    + [*cluster.where]
  )
