"""Several processes: who is missing, who has which rows, the same losses."""

import concurrent.futures
import contextlib
import random
import shutil
import signal
import socket
import sys
import time

import jax
import numpy as np
import pytest
import tiny_training as tiny

from consensus_jax import partitioning
from consensus_jax.strict_json import InputError
from consensus_jax.training import distributed
from consensus_jax.training import step as steps
from consensus_jax.training.distributed import Cluster

# Where jax puts the coordinator of a Slurm job.
_SLURM_PORTS = range(61440, 65536)


def free_port(among=(0,)):
  """One that nobody listens at; 0 stands for any."""
  for port in random.sample(among, len(among)):
    with contextlib.suppress(OSError), socket.socket() as found:
      found.bind(('localhost', port))
      return found.getsockname()[1]
  raise AssertionError('no port is free')


def called(*indices, num_processes=3, timeout=10.0, port=None):
  """What each of these processes hears: None if all are there."""
  port = port or free_port()

  def call(index):
    cluster = Cluster(
      coordinator=f'localhost:{port}',
      num_processes=num_processes,
      process_id=index,
      timeout=timeout,
    )
    try:
      distributed.roll_call(cluster)
    except InputError as error:
      return str(error)

  with concurrent.futures.ThreadPoolExecutor(len(indices)) as pool:
    return list(pool.map(call, indices))


def test_all_are_there():
  assert called(2, 0, 1) == [None, None, None]


def test_everyone_hears_who_is_missing():
  start = time.monotonic()
  answers = called(0, 2, num_processes=4, timeout=5.0)
  assert time.monotonic() - start < 60
  host = socket.gethostname()
  wanted = (
    f'2 of 4 processes came within 5 s: 0 on {host}, 2 on {host}; missing: 1, 3'
  )
  assert answers == [wanted, wanted]


def test_a_missing_first_process_is_named():
  (answer,) = called(1, timeout=0.5)
  assert 'process 0 at localhost:' in answer and '0.5 s' in answer


def test_the_same_index_twice_is_noticed():
  answers = called(0, 1, 1)
  assert all('are process 1' in answer for answer in answers)


def test_a_stranger_at_the_door_is_ignored():
  port = free_port()

  def knock():
    for _ in range(50):
      time.sleep(0.02)
      with (
        contextlib.suppress(OSError),
        socket.create_connection(('localhost', port), 1) as call,
      ):
        call.sendall(b'GET / HTTP/1.1\r\n\r\n')
        return

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    knocking = pool.submit(knock)
    answers = called(0, 1, num_processes=2, port=port)
    knocking.result()
  assert answers == [None, None]


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'coordinator': 'localhost'}, 'HOST:PORT'),
    ({'process_id': 2}, 'range'),
    ({'timeout': 0.0}, 'positive'),
  ],
)
def test_a_cluster_that_cannot_be_is_an_error(change, message):
  given = {
    'coordinator': 'localhost:1',
    'num_processes': 2,
    'process_id': 0,
    **change,
  }
  with pytest.raises(ValueError, match=message):
    Cluster(**given)


class _Process:
  """A sharding as a process sees it that has only some of the devices."""

  def __init__(self, sharding, devices):
    self._sharding, self._devices = sharding, devices

  def addressable_devices_indices_map(self, shape):
    found = self._sharding.devices_indices_map(shape)
    return {d: i for d, i in found.items() if d in self._devices}


def rows_of(shape, groups, rows=16):
  mesh = partitioning.make_mesh(*shape)
  batch = {'x': np.zeros((rows, 3))}
  sharding = steps.batch_shardings(batch, mesh)['x']
  each = mesh.size // groups
  devices = np.array(jax.devices()[: mesh.size]).reshape(groups, each)
  return [
    distributed.local_rows(_Process(sharding, list(mine)), rows)
    for mine in devices
  ]


def test_rows_come_from_the_sharding():
  halves = [slice(0, 8), slice(8, 16)]
  assert rows_of((8, 1, 1), 2) == halves
  assert rows_of((2, 2, 2), 2) == halves
  # Both processes have devices of each row: the tensor axis lies across them.
  assert rows_of((1, 1, 8), 2) == [slice(0, 16)] * 2
  # Rows that the mesh does not divide are everyone's.
  assert rows_of((8, 1, 1), 2, rows=6) == [slice(0, 6)] * 2


def test_one_process_decides_for_itself():
  assert distributed.decided(3) == 3 and distributed.largest(2) == 2
  assert distributed.is_writer()
  distributed.wait_for_all('nothing')


def test_one_of_several_that_fails_alone_ends_at_once(monkeypatch, capsys):
  class Ended(BaseException):
    pass

  def end(code):
    raise Ended(code)

  def fail(error):
    with distributed.together((KeyError,)):
      raise error

  monkeypatch.setattr(distributed.os, '_exit', end)
  with pytest.raises(OSError, match='full'):
    fail(OSError('full'))
  monkeypatch.setattr(jax, 'process_count', lambda: 3)
  with pytest.raises(KeyError):
    fail(KeyError('everyone has it'))
  assert capsys.readouterr().err == ''
  with pytest.raises(Ended, match=str(distributed.LOST)):
    fail(OSError('the disk is full.\nAnd more.'))
  (line,) = capsys.readouterr().err.splitlines()
  assert 'process 0 of 3 cannot go on: the disk is full. If another' in line
  # Nobody expects this one: it comes with where it was.
  with pytest.raises(Ended):
    fail(AssertionError())
  errors = capsys.readouterr().err
  assert 'Traceback' in errors and 'cannot go on: AssertionError. If' in errors


def mesh_of(data, fsdp, tensor):
  return [
    f'--gin.settings.MeshShape.{name}={size}'
    for name, size in zip(('data', 'fsdp', 'tensor'), (data, fsdp, tensor))
  ]


RUN = {'NUM_STEPS': 10, 'EVALUATE_EVERY': 5, 'SAVE_EVERY': 5}


@pytest.fixture(scope='module')
def examples(tmp_path_factory):
  folder = tmp_path_factory.mktemp('examples')
  return [
    tiny.sft_examples(folder / str(seed), 24, seed=seed) for seed in (0, 1)
  ]


@pytest.fixture(scope='module')
def four_by_two(examples, tmp_path_factory):
  """A whole run in one process of eight devices."""
  folder = tmp_path_factory.mktemp('one') / 'run'
  args = tiny.arguments('sft', folder, *examples, **RUN)
  code, errors = tiny.run('sft', args + mesh_of(4, 1, 2), devices=8)
  assert code == 0, errors
  return folder


def losses(folder):
  lines = tiny.lines(folder)
  return {(line['kind'], line['step']): line['loss'] for line in lines}


def assert_close(folder, other):
  ours, theirs = losses(folder), losses(other)
  assert ours.keys() == theirs.keys() and len(ours) == 13
  for name, loss in ours.items():
    assert abs(loss - theirs[name]) < 1e-5, name
  return max(abs(ours[name] - theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize('mesh', [(2, 1, 4), (8, 1, 1)])
def test_a_run_goes_on_on_another_mesh(examples, four_by_two, tmp_path, mesh):
  folder = tmp_path / 'run'
  shutil.copytree(four_by_two, folder)
  shutil.rmtree(folder / 'checkpoints' / '10')
  args = tiny.arguments('sft', folder, *examples, **RUN)
  code, errors = tiny.run('sft', args + mesh_of(*mesh), devices=8)
  assert code == 0 and 'step 5' in errors, errors
  assert_close(folder, four_by_two)
  ours, theirs = tiny.arrays(folder, 10), tiny.arrays(four_by_two, 10)
  for name, x in ours.items():
    np.testing.assert_allclose(x, theirs[name], atol=1e-5, err_msg=str(name))


def told(index, port):
  """What a person tells a process; its environment stays as it is."""
  return [
    f'--coordinator=localhost:{port}',
    '--num_processes=2',
    f'--process_id={index}',
  ], ()


def detected(index, port):
  """What Slurm tells a process: by its environment."""
  variables = {
    # jax makes the port of the job's number.
    'SLURM_JOB_ID': port - _SLURM_PORTS.start,
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': 2,
    'SLURM_PROCID': index,
    'SLURM_LOCALID': index,
  }
  given = [f'{name}={value}' for name, value in variables.items()]
  return ['--autodetect'], ('env', *given)


@contextlib.contextmanager
def two_processes(args, devices, how=told):
  port = free_port(_SLURM_PORTS if how is detected else (0,))
  with contextlib.ExitStack() as stack:
    processes = []
    for index in range(2):
      more, before = how(index, port)
      more = [*args, *more, '--start_timeout=120']
      processes.append(tiny.start('sft', more, devices, before))
      stack.callback(processes[-1].kill)
    yield processes


def run_two(args, devices, how=told):
  """Runs both to their end; what each said."""
  said = []
  with two_processes(args, devices, how) as processes:
    for process in processes:
      said.append(process.communicate(timeout=300)[1])
      assert process.returncode == 0, said[-1]
  return said


@pytest.mark.slow
def test_two_processes_lose_what_one_loses(examples, four_by_two, tmp_path):
  folder = tmp_path / 'run'
  args = tiny.arguments('sft', folder, *examples, **RUN) + mesh_of(4, 1, 2)
  run_two(args, devices=4)
  print('largest difference', assert_close(folder, four_by_two))
  # One writes; and another number of processes can go on from there.
  assert [path.name for path in folder.glob('metrics*')] == ['metrics.jsonl']
  ours, theirs = tiny.arrays(folder, 10), tiny.arrays(four_by_two, 10)
  for name, x in ours.items():
    np.testing.assert_allclose(x, theirs[name], atol=1e-5, err_msg=str(name))


def killable(examples, folder):
  """Of a run with a checkpoint to go back to, and steps to be killed in."""
  macros = {'NUM_STEPS': 60, 'SAVE_EVERY': 20}
  args = tiny.arguments('sft', folder, examples[0], **macros)
  return [*args, *mesh_of(2, 1, 1), '--gin.settings.PolicyRun.log_every=1']


# Kills itself once step 20 is saved: whoever watches it may see that too late.
_KILLED = """
import os, pathlib, signal, sys, time
from consensus_jax.training import command, watch

def before_step(self, step):
  if step == 25:
    while not pathlib.Path({saved!r}).exists():
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

watch.Watch.before_step = before_step
# Before its arguments stands what would have been run: python -m MODULE.
sys.exit(command.main('sft', sys.argv[4:]))
"""


@pytest.fixture(scope='module')
def undisturbed(examples, tmp_path_factory):
  """The last arrays of a run of two processes that nobody killed."""
  folder = tmp_path_factory.mktemp('undisturbed') / 'run'
  run_two(killable(examples, folder), devices=1)
  return tiny.arrays(folder, 60)


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_one_that_is_killed_ends_the_other(
  examples, undisturbed, tmp_path, victim
):
  folder = tmp_path / 'run'
  args = killable(examples, folder)
  saved = folder / 'checkpoints' / '20' / 'commit_success.txt'
  code = _KILLED.format(saved=str(saved))

  def how(index, port):
    before = (sys.executable, '-c', code) if index == victim else ()
    return told(index, port)[0], before

  with two_processes(args, devices=1, how=how) as processes:
    killed, other = processes[victim], processes[1 - victim]
    _, errors = killed.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL, errors
    start = time.monotonic()
    # jax gives up on a process after 100 s without a sign of life.
    _, errors = other.communicate(timeout=240)
    print('ended after', time.monotonic() - start, errors)
  assert not (folder / 'checkpoints/60').exists()
  # Of the first process jax itself hears too, and may be the first to say so.
  ours = other.returncode == distributed.LOST
  assert ours or (victim == 0 and other.returncode == -signal.SIGABRT), errors
  if ours:
    assert f'error: process {1 - victim} of 2 cannot go on' in errors
    assert 'If another process has ended' in errors
  else:
    assert 'another task died' in errors
  said = run_two(args, devices=1)
  assert f'resuming {folder}, step' in said[0]
  ours = tiny.arrays(folder, 60)
  assert ours.keys() == undisturbed.keys()
  for name, x in ours.items():
    np.testing.assert_array_equal(x, undisturbed[name], err_msg=str(name))


@pytest.mark.slow
def test_slurm_says_who_is_there(examples, undisturbed, tmp_path):
  folder = tmp_path / 'run'
  run_two(killable(examples, folder), devices=1, how=detected)
  for name, x in tiny.arrays(folder, 60).items():
    np.testing.assert_array_equal(x, undisturbed[name], err_msg=str(name))
