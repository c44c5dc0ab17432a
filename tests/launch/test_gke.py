"""The JobSet against its schemas, and what is said of its pods."""

import copy
import importlib.util
import json
import pathlib

import fake_programs
import jsonschema
import kubernetes_validate
import pytest
import yaml

from consensus_jax.strict_json import InputError
from consensus_jax.training import distributed, topologies
from launch import __main__ as command
from launch import gke, jobset, programs
from launch import job as jobs

_FILE = pathlib.Path(__file__).with_name('jobset_schema.py')
_spec = importlib.util.spec_from_file_location('jobset_schema', _FILE)
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
SCHEMA = _module.SCHEMA

SFT = (
  *('--gin_file=runs/sft.gin', '--gin_file=meshes/v5e_4x4.gin'),
  *("--gin.MODEL_DIR='/bucket/run'", "--gin.TRAIN_DATA='/bucket/examples'"),
  '--gin.BATCH_SIZE=32',
)
OPTIONS = (
  *('--name=job', '--project=mine', '--zone=us-west4-a', '--cluster=c'),
  *('--topology=v5e:4x4', '--image=host/image:1', '--bucket=stuff'),
)


def cluster(topology='v5e:4x4', **more):
  return jobset.Cluster(
    name='c',
    project='mine',
    zone='us-west4-a',
    topology=topologies.parse(topology),
    image='host/image:1',
    bucket='stuff',
    **more,
  )


def job(kind='sft', arguments=SFT, **more):
  return jobs.Job(name='job', kind=kind, arguments=arguments, **more)


def validate(manifest):
  jsonschema.validate(manifest, SCHEMA)
  for replicated in manifest['spec']['replicatedJobs']:
    one = {
      'apiVersion': 'batch/v1',
      'kind': 'Job',
      'metadata': {'name': replicated['name']},
      **replicated['template'],
    }
    kubernetes_validate.validate(one, '1.33', strict=True)


OUTCOMES = ('/bucket/in.jsonl', '--out=/bucket/out.jsonl')


@pytest.mark.parametrize('topology', ['v4:4x4x8', 'v5e:16x16', 'v5p:4x4x8'])
@pytest.mark.parametrize(
  'what',
  [
    job(),
    job(environment=(('LIBTPU_INIT_ARGS', '--a=true --b=1'),)),
    job('deliberate', OUTCOMES),
  ],
)
def test_the_manifest_is_a_jobset_of_jobs(topology, what):
  manifest = jobset.manifest(cluster(topology), what)
  validate(manifest)
  # What kubectl reads is what was meant.
  assert yaml.safe_load(jobset.as_yaml(manifest)) == manifest
  spec = manifest['spec']['replicatedJobs'][0]['template']['spec']
  hosts = topologies.parse(topology).num_chips // 4
  assert spec['parallelism'] == spec['completions'] == hosts


@pytest.mark.parametrize(
  ('path', 'value'),
  [
    (('spec', 'failurePolicy', 'maxRestart'), 1),
    (('spec', 'failurePolicy', 'maxRestarts'), '1'),
    (('spec', 'failurePolicy', 'rules', 0, 'action'), 'FailJob'),
    (('metadata', 'name'), 'A Job'),
    (('spec', 'replicatedJobs', 0, 'replica'), 1),
  ],
)
def test_the_schema_sees_mistakes(path, value):
  manifest = copy.deepcopy(jobset.manifest(cluster(), job()))
  at = manifest
  for step in path[:-1]:
    at = at[step]
  at[path[-1]] = value
  with pytest.raises(jsonschema.ValidationError):
    validate(manifest)


def test_the_schema_of_jobs_sees_mistakes_too():
  manifest = jobset.manifest(cluster(), job())
  spec = manifest['spec']['replicatedJobs'][0]['template']['spec']
  spec['template']['spec']['containers'][0]['volumeMount'] = []
  with pytest.raises(kubernetes_validate.ValidationError):
    validate(manifest)


def test_exit_codes_that_another_start_would_not_mend_end_the_job():
  spec = jobset.manifest(cluster(), job())['spec']
  one = spec['replicatedJobs'][0]['template']['spec']
  codes = one['podFailurePolicy']['rules'][0]['onExitCodes']
  assert codes['operator'] == 'In' and distributed.LOST not in codes['values']
  assert {2, 3, 4} <= set(codes['values'])


@pytest.mark.parametrize(
  ('topology', 'more', 'message'),
  [
    ('v5e:2x2', {}, 'smallest is v5e:2x4'),
    ('v5e:4x4', {'capacity': 'reserved'}, '--reservation: goes with'),
    ('v5e:4x4', {'reservation': 'r'}, '--reservation: goes with'),
  ],
)
def test_clusters_that_cannot_be(topology, more, message):
  with pytest.raises(InputError, match=message):
    cluster(topology, **more)


@pytest.fixture
def fake(tmp_path, monkeypatch):
  fake = fake_programs.FakePrograms(tmp_path / 'fake')
  fake.add('gcloud', 'kubectl', 'xpk')
  monkeypatch.setenv('PATH', str(fake.bin))
  monkeypatch.setattr(gke, '_POLL', 0.01)
  monkeypatch.setattr(gke, '_PODS', 0.5)
  return fake


def run(verb, *more, what=('sft', *SFT)):
  return command.main(['gke', verb, *OPTIONS, *more, *what])


def pods(*statuses):
  items = [
    {'metadata': {'name': f'job-slice-0-{n}'}, 'status': status}
    for n, status in enumerate(statuses)
  ]
  return json.dumps({'items': items})


RUNS = {'phase': 'Running'}
UNSCHEDULED = {
  'phase': 'Pending',
  'conditions': [
    {'status': 'False', 'reason': 'Unschedulable', 'message': 'no nodes'}
  ],
}
NO_IMAGE = {
  'phase': 'Pending',
  'containerStatuses': [
    {'state': {'waiting': {'reason': 'ErrImagePull', 'message': 'denied'}}}
  ],
}
DIED = {
  'phase': 'Failed',
  'containerStatuses': [
    {'state': {'terminated': {'reason': 'Error', 'exitCode': 2}}}
  ],
}


def test_a_job_whose_pods_run(fake, capsys, monkeypatch):
  monkeypatch.setattr(gke, '_PODS', 60.0)  # A second look is needed.
  fake.rule('get pods', out=pods(RUNS, UNSCHEDULED, RUNS, RUNS), times=1)
  fake.rule('get pods', out=pods(RUNS, RUNS, RUNS, RUNS))
  assert run('run') == 0
  (created,) = [call for call in fake.calls if 'create' in call['args']]
  assert yaml.safe_load(created['stdin']) == jobset.manifest(cluster(), job())
  assert 'runs in 4 pods' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('status', 'why'),
  [
    (UNSCHEDULED, 'Unschedulable (no nodes)'),
    (NO_IMAGE, 'ErrImagePull (denied)'),
    (DIED, 'Error (exit code 2)'),
    ({'phase': 'Pending'}, 'Pending'),
  ],
)
def test_a_pod_that_does_not_run_is_named(fake, capsys, status, why):
  fake.rule('get pods', out=pods(RUNS, status, RUNS, RUNS))
  assert run('run') == distributed.LOST
  error = capsys.readouterr().err.splitlines()[-1]
  assert f'only 3 of 4 pods run; job-slice-0-1: {why}' in error


def test_pods_that_were_never_made_are_counted(fake, capsys):
  fake.rule('get pods', out=pods(RUNS, RUNS))
  assert run('run') == distributed.LOST
  assert 'only 2 of 4 pods run; 2 were not made' in capsys.readouterr().err


def test_a_job_in_the_queue_is_said_to_wait(fake, capsys):
  fake.rule('get pods', out=pods())
  assert run('run') == 0
  assert 'job waits in the queue multislice' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (('get-credentials',), 'cluster c: ERROR: no'),
    (('get', 'crd'), 'JobSet on cluster c: ERROR: no'),
    (('storage', 'cp'), 'bucket gs://stuff cannot be written to: ERROR: no'),
    (('kubectl', 'create'), 'job job: ERROR: no'),
  ],
)
def test_what_is_missing_is_named(fake, capsys, words, message):
  fake.rule(*words, err='ERROR: no\n', code=1)
  assert run('run') == programs.FAILED
  assert message in capsys.readouterr().err


def test_xpk_makes_the_cluster_and_deletes_it(fake, capsys):
  assert run('create_cluster', '--capacity=spot', what=()) == 0
  assert run('status', what=()) == 0
  assert run('delete') == 0
  assert run('delete_cluster', what=()) == 0
  where = '--cluster=c --project=mine --zone=us-west4-a'
  assert fake.lines() == [
    f'xpk cluster create {where} --tpu-type=v5litepod-4x4 --num-slices=1 '
    '--spot --enable-workload-identity --enable-gcsfuse-csi-driver',
    f'xpk workload list {where}',
    f'xpk workload delete --workload=job --force {where}',
    f'xpk cluster delete {where}',
  ]
  fake.rule('cluster create', code=1)
  assert run('create_cluster', what=()) == programs.FAILED
  assert 'may be half made, and cost' in capsys.readouterr().err


def test_logs_are_of_all_pods(fake):
  assert run('logs') == 0
  (line,) = fake.lines('kubectl logs')
  assert '--selector=jobset.sigs.k8s.io/jobset-name=job' in line
  assert '--follow' in line


def test_the_manifest_alone(capsys):
  assert run('manifest') == 0
  printed = yaml.safe_load(capsys.readouterr().out)
  assert printed == jobset.manifest(cluster(), job())
