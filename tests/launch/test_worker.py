"""What a host finds out and checks, and which processes it starts."""

import importlib.metadata
import pathlib
import subprocess
import sys
import time

import pytest

from consensus_jax.strict_json import InputError
from consensus_jax.training import distributed
from consensus_jax.training.distributed import Cluster
from launch import worker
from launch.job import Job

ROOT = pathlib.Path(__file__).parents[2]
JAX = importlib.metadata.version('jax')


def args(*more):
  return worker._parser().parse_args([f'--jax={JAX}', *more, 'sft'])


def found(*more, environment=()):
  cluster = worker.find_cluster(args(*more), dict(environment))
  return cluster.coordinator, cluster.num_processes, cluster.process_id


def test_a_process_is_told_which_one_it_is():
  assert found('--place=told') == (f'localhost:{worker.PORT}', 1, 0)
  told = ('--coordinator=a:1', '--num_processes=3', '--process_id=2')
  assert found('--place=told', *told) == ('a:1', 3, 2)


def test_gke_and_slurm_say_it_by_the_environment():
  gke = {'TPU_WORKER_HOSTNAMES': 'a.b,c.b', 'TPU_WORKER_ID': '1'}
  assert found('--place=gke', environment=gke) == (f'a.b:{worker.PORT}', 2, 1)
  slurm = {'SLURM_NTASKS': '4', 'SLURM_PROCID': '3'}
  told = ('--place=slurm', '--coordinator=node1:20001')
  assert found(*told, environment=slurm) == ('node1:20001', 4, 3)


@pytest.mark.parametrize(
  'endpoints', ['n:0:10.0.0.1,n:1:10.0.0.2', '10.0.0.1,10.0.0.2']
)
def test_a_tpu_vm_asks_the_metadata_server(monkeypatch, endpoints):
  said = {'worker-network-endpoints': endpoints, 'agent-worker-number': '1'}
  monkeypatch.setattr(worker, '_metadata', said.__getitem__)
  assert found('--place=tpu_vm') == (f'10.0.0.1:{worker.PORT}', 2, 1)


@pytest.mark.parametrize(
  ('place', 'environment', 'message'),
  [
    ('gke', {}, 'no host of gke.*TPU_WORKER_HOSTNAMES'),
    ('slurm', {'SLURM_NTASKS': '2'}, 'no host of slurm.*SLURM_PROCID'),
    ('slurm', {'SLURM_NTASKS': '2', 'SLURM_PROCID': '2'}, 'not in range'),
  ],
)
def test_surroundings_that_say_nothing(place, environment, message):
  with pytest.raises(InputError, match=message):
    found(f'--place={place}', environment=environment)


def test_another_jax_is_refused():
  with pytest.raises(InputError, match=rf'jax: is {JAX} here, and 0\.0\.1'):
    worker.check_host('0.0.1', None)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  worker.check_host(JAX, str(tmp_path))
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(InputError, match=r'absent: cannot be written.*bucket'):
    worker.check_host(JAX, str(tmp_path / 'absent'))


def told(kind, arguments, count=2, index=1, per_host=1):
  cluster = Cluster(
    coordinator='a:1', num_processes=count, process_id=index, timeout=45.0
  )
  job = Job(name='job', kind=kind, arguments=arguments)
  return worker.entry_arguments(job, cluster, per_host)


def test_processes_that_train_work_together():
  assert told('sft', ('--gin_file=x',)) == [
    (
      [
        *('train', 'sft', '--gin_file=x', '--coordinator=a:1'),
        *('--num_processes=2', '--process_id=1', '--start_timeout=45'),
      ],
      {},
    )
  ]
  alone = told('sft', ('--gin_file=x',), count=1, index=0)
  assert alone == [(['train', 'sft', '--gin_file=x'], {})]


def test_processes_that_write_have_a_shard_and_a_chip_each():
  shards = told('deliberate', ('in.jsonl', '--out', 'out'), per_host=2)
  assert [argv for argv, _ in shards] == [
    ['deliberate', 'in.jsonl', '--shard=2/4', '--out=out.2-of-4'],
    ['deliberate', 'in.jsonl', '--shard=3/4', '--out=out.3-of-4'],
  ]
  for name in ('TPU_VISIBLE_CHIPS', 'CUDA_VISIBLE_DEVICES'):
    assert [environment[name] for _, environment in shards] == ['0', '1']
  ports = {environment['TPU_PROCESS_PORT'] for _, environment in shards}
  assert len(ports) == 2
  # One for all that a host has sees all of it.
  (one,) = told('rank', ('in.jsonl', '--out', 'out'))
  assert one == (['rank', 'in.jsonl', '--shard=1/2', '--out=out.1-of-2'], {})


def run_worker(*more):
  argv = [sys.executable, '-m', 'launch.worker', f'--jax={JAX}', *more]
  return subprocess.run(
    argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
  )


@pytest.mark.slow
def test_a_host_that_never_joins_is_named():
  start = time.monotonic()
  done = run_worker(
    '--place=told',
    '--coordinator=localhost:0',
    '--num_processes=3',
    '--start_timeout=1',
    '--check_only',
    'sft',
  )
  assert done.returncode == distributed.LOST
  assert '1 of 3 processes came within 1 s' in done.stderr
  assert 'missing: 1, 2' in done.stderr and done.stderr.count('\n') == 1
  assert time.monotonic() - start < 60


def test_the_worst_exit_code_counts():
  processes = [
    ([sys.executable, '-c', f'import os; os._exit({code})'], {})
    for code in (0, 3, 1)
  ]
  assert worker._run_all(processes) == 3
  assert [worker.shell_code(code) for code in (0, 2, -9)] == [0, 2, 137]
