"""The JobSet of a job, for a cluster that xpk has made.

It has the labels that xpk knows its own by. It is not made by `xpk workload
create`, which would not mount a bucket without objects of its own in the
cluster, puts pods on the network of their hosts, where the driver for buckets
does not know their service account, and tells exit codes that another start
mends from others in one way only. Fields: jobset.x-k8s.io/v1alpha2,
jobset_types.go; what xpk writes, in its
recipes/Workload_create_with_output-manifest-file.md.
"""

import dataclasses
from typing import Any

import yaml

from consensus_jax.strict_json import InputError
from consensus_jax.training.topologies import Topology
from launch import job as jobs
from launch.tpu_slice import Capacity
from launch.tpu_vm import FINAL_CODES
from launch.worker import PORT

# https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
_ACCELERATORS = {
  'v4': 'tpu-v4-podslice',
  'v5e': 'tpu-v5-lite-podslice',
  'v5p': 'tpu-v5p-slice',
}
# As xpk knows slices by their shape (core/system_characteristics.py).
_PREFIXES = {'v4': 'v4', 'v5e': 'v5litepod', 'v5p': 'v5p'}
_CHIPS_PER_HOST = 4
QUEUE = 'multislice-queue'
CONTAINER = 'worker'
_SAVE_SECONDS = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
  """A cluster with one slice, and what runs on it.

  Attributes:
    name: of the cluster.
    project: that has it.
    zone: of its TPUs; the cluster itself spans the region.
    topology: the slice.
    image: the container.
    bucket: without gs://, mounted at `jobs.BUCKET_FOLDER`.
    service_account: of Kubernetes, which may read and write the bucket.
    capacity: how TPUs are asked for when the cluster is made.
    reservation: its name, for capacity 'reserved'.
    restarts: how often a job is started again, as after a preemption.
  """

  name: str
  project: str
  zone: str
  topology: Topology
  image: str
  bucket: str
  service_account: str = 'xpk-sa'
  capacity: Capacity = 'on_demand'
  reservation: str | None = None
  restarts: int = 10

  def __post_init__(self):
    if self.topology.name == 'v5e:2x2':
      raise InputError(
        'xpk has no clusters of v5e:2x2; the smallest is v5e:2x4',
        field=('--topology',),
      )
    if (self.capacity == 'reserved') != (self.reservation is not None):
      raise InputError(
        'goes with --capacity=reserved, and only with it',
        field=('--reservation',),
      )

  @property
  def kind(self) -> str:
    """Of the chips, such as 'v5p'."""
    return self.topology.name.partition(':')[0]

  @property
  def shape(self) -> str:
    """Of the slice, such as '4x4x8'."""
    return self.topology.name.partition(':')[2]

  @property
  def tpu_type(self) -> str:
    """Of the slice, as xpk has it."""
    return f'{_PREFIXES[self.kind]}-{self.shape}'

  @property
  def num_hosts(self) -> int:
    """One pod each, of four chips."""
    return max(1, self.topology.num_chips // _CHIPS_PER_HOST)

  @property
  def where(self) -> tuple[str, ...]:
    """What every command of xpk is told."""
    return (
      f'--cluster={self.name}',
      f'--project={self.project}',
      f'--zone={self.zone}',
    )


def manifest(cluster: Cluster, job: jobs.Job) -> dict[str, Any]:
  """The JobSet."""
  folder = jobs.BUCKET_FOLDER
  per_host = [] if job.trains else [f'--per_host={_CHIPS_PER_HOST}']
  container = {
    'name': CONTAINER,
    'image': cluster.image,
    'command': job.worker('gke', f'--writable={folder}', *per_host),
    'env': [{'name': k, 'value': v} for k, v in job.environment],
    'ports': [{'containerPort': PORT}],
    'securityContext': {'privileged': True},
    'resources': {'limits': {'google.com/tpu': _CHIPS_PER_HOST}},
    'volumeMounts': [{'name': 'bucket', 'mountPath': folder}],
  }
  pod = {
    'restartPolicy': 'Never',
    'serviceAccountName': cluster.service_account,
    'nodeSelector': {
      'cloud.google.com/gke-tpu-accelerator': _ACCELERATORS[cluster.kind],
      'cloud.google.com/gke-tpu-topology': cluster.shape,
    },
    'tolerations': [{'key': 'google.com/tpu', 'operator': 'Exists'}],
    # SIGTERM, and time to save, before a node goes.
    'terminationGracePeriodSeconds': _SAVE_SECONDS,
    'containers': [container],
    'volumes': [
      {
        'name': 'bucket',
        'csi': {
          'driver': 'gcsfuse.csi.storage.gke.io',
          'volumeAttributes': {
            'bucketName': cluster.bucket,
            'mountOptions': 'implicit-dirs,rename-dir-limit=1000000',
          },
        },
      }
    ],
  }
  labels = {'xpk.google.com/workload': job.name}
  one_job = {
    'completionMode': 'Indexed',
    'parallelism': cluster.num_hosts,
    'completions': cluster.num_hosts,
    'backoffLimit': 0,  # One pod that fails takes all along.
    'podFailurePolicy': {
      'rules': [
        {
          # What another start would not mend; anything else restarts all.
          'action': 'FailJob',
          'onExitCodes': {
            'containerName': CONTAINER,
            'operator': 'In',
            'values': list(FINAL_CODES),
          },
        }
      ]
    },
    'template': {
      'metadata': {
        'labels': labels,
        'annotations': {'gke-gcsfuse/volumes': 'true'},
      },
      'spec': pod,
    },
  }
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': {
      'name': job.name,
      'labels': {'kueue.x-k8s.io/queue-name': QUEUE, **labels},
      'annotations': {
        'alpha.jobset.sigs.k8s.io/exclusive-topology': (
          'cloud.google.com/gke-nodepool'
        )
      },
    },
    'spec': {
      'ttlSecondsAfterFinished': 24 * 60 * 60,
      'failurePolicy': {
        'maxRestarts': cluster.restarts,
        'rules': [
          {
            'name': 'final',
            'action': 'FailJobSet',
            'onJobFailureReasons': ['PodFailurePolicy'],
          }
        ],
      },
      'replicatedJobs': [
        {'name': 'slice', 'replicas': 1, 'template': {'spec': one_job}}
      ],
    },
  }


def as_yaml(value: dict[str, Any]) -> str:
  """A manifest as kubectl reads it."""
  return yaml.safe_dump(value, sort_keys=False, width=1000)
