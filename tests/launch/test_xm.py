"""The experiment that XManager is told to make, by one that only notes it."""

import sys
import types

import pytest

from launch import __main__ as command

JOB = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=meshes/all_devices.gin'),
  *("--gin.MODEL_DIR='/gcs/b/run'", "--gin.TRAIN_DATA='/gcs/b/examples'"),
)


class _Noted:
  """An object of XManager: what it was made of."""

  def __init__(self, name, /, **fields):
    self.name, self.fields = name, fields

  def Spec(self):
    return _Noted('Spec', of=self.name)


class _Experiment:
  def __init__(self):
    self.added, self.packaged = [], []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def package(self, packageables):
    self.packaged += packageables
    return ['executable']

  def add(self, job):
    self.added.append(job.fields)


@pytest.fixture
def experiment(monkeypatch):
  """What was made of the names that the library has, and of no others."""
  made = _Experiment()

  def module(name, *names):
    found = types.ModuleType(name)
    for each in names:
      setattr(found, each, lambda _name=each, **f: _Noted(_name, **f))
    monkeypatch.setitem(sys.modules, name, found)
    return found

  api = module('xmanager.xm', 'Container', 'Job', 'JobRequirements')
  api.Packageable = lambda **fields: _Noted('Packageable', **fields)
  local = module('xmanager.xm_local', 'DockerOptions', 'Local', 'Vertex')
  made.titles = []

  def create_experiment(experiment_title):
    made.titles.append(experiment_title)
    return made

  local.create_experiment = create_experiment
  parent = module('xmanager')
  parent.xm, parent.xm_local = api, local
  monkeypatch.setenv('PATH', '')  # No docker.
  return made


def run(*more, job=JOB):
  return command.main(
    ['xmanager', 'run', '--name=job', '--image=i:1', *more, *job]
  )


def test_a_job_on_vertex(experiment):
  assert run('--gpu=a100', '--gpus=2', '--env=A=b') == 0
  (added,) = experiment.added
  assert experiment.titles == ['job'] and added['env_vars'] == {'A': 'b'}
  assert added['args'][:3] == ['python', '-m', 'launch.worker']
  assert added['args'][-len(JOB) :] == list(JOB)
  executor = added['executor']
  assert executor.name == 'Vertex'
  assert executor.fields['requirements'].fields == {'a100': 2}
  (packaged,) = experiment.packaged
  assert packaged.fields['executable_spec'].fields == {'image_path': 'i:1'}


def test_a_job_in_docker_here(experiment):
  job = (*JOB[:3], *(value.replace('/gcs/b', '/bucket') for value in JOB[3:]))
  code = run('--executor=local', '--folder=/data', '--gpu=t4', job=job)
  assert code == 0
  executor = experiment.added[0]['executor']
  assert executor.name == 'Local'
  assert executor.fields['requirements'].fields == {'local_gpu': 1}
  options = executor.fields['docker_options'].fields
  assert options == {'volumes': {'/data': '/bucket'}}


def test_a_sweep_is_one_experiment(experiment, capsys):
  over = ['--over=SEED=0', '--over=SEED=1']
  told = ['xmanager', 'run', '--name=job', '--image=i:1', *JOB]
  assert command.main(['sweep', *over, *told]) == 0
  assert [added['name'] for added in experiment.added] == ['job-000', 'job-001']
  assert experiment.titles == ['job']
  assert 'not started' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (('--gpu=h100',), "no 'h100'; XManager knows p4, t4"),
    (('--folder=/data',), '--folder: goes with --executor=local'),
    (('--executor=local',), '--folder: goes with --executor=local'),
    (('--gpu=a100', '--gpus=3'), 'BATCH_SIZE'),
  ],
)
def test_bad_input(experiment, capsys, options, message):
  assert run(*options) == 2
  assert message in capsys.readouterr().err
  assert not experiment.titles


def test_a_folder_that_does_not_last_is_refused(experiment, capsys):
  job = (*JOB[:3], "--gin.MODEL_DIR='/tmp/run'", JOB[4])
  assert run(job=job) == 2
  assert 'lies in /gcs/' in capsys.readouterr().err


def test_without_xmanager(monkeypatch, capsys):
  monkeypatch.setenv('PATH', '')
  monkeypatch.setitem(sys.modules, 'xmanager', None)
  assert run() == 2
  assert 'pip install xmanager' in capsys.readouterr().err
