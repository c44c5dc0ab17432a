"""Slices through a gcloud that answers as it likes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fake_programs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.training import distributed
from launch import __main__ as command
from launch import job as jobs
from launch import programs, tpu_slice, tpu_vm

ROOT = pathlib.Path(__file__).parents[2]
SFT = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=meshes/v5e_4x4.gin'),
  *("--gin.MODEL_DIR='/bucket/run'", "--gin.TRAIN_DATA='/bucket/examples'"),
  '--gin.BATCH_SIZE=32',
)
SLICE = (
  *('--name=pod', '--project=mine', '--zone=us-west4-a'),
  *('--topology=v5e:4x4', '--image=host/image:1', '--bucket=gs://stuff'),
)
IMAGE = {
  'config': {'Labels': {'consensus_jax.jax': jobs.locked_version('jax')}}
}
ABSENT = {'err': 'ERROR: NOT_FOUND: Resource was not found', 'code': 1}


def all_say(what, hosts=range(4)):
  return ''.join(f'worker {host} {what}\n' for host in hosts)


@pytest.fixture
def fake(tmp_path, monkeypatch):
  fake = fake_programs.FakePrograms(tmp_path / 'fake')
  fake.add('gcloud', 'docker')
  monkeypatch.setenv('PATH', str(fake.bin))
  monkeypatch.setattr(tpu_slice, 'POLL', 0.01)
  fake.rule('imagetools', out=json.dumps(IMAGE))
  return fake


def healthy(fake):
  """Hosts that do whatever they are asked."""
  for what in ('is here', 'is set up', 'is ready', 'is running'):
    fake.rule(f'echo "worker $WORKER {what}"', out=all_say(what))


def run(verb, *more, job=SFT):
  return command.main(['tpu', verb, *SLICE, *more, *job])


def verbs(fake):
  """What was done to the queued resource, in order."""
  lines = fake.lines('queued-resources')
  return [line.split()[4] for line in lines]


def test_a_whole_job(fake, capsys):
  fake.rule('describe pod', **ABSENT, times=1)
  fake.rule('describe pod', out='WAITING_FOR_RESOURCES\n', times=2)
  fake.rule('describe pod', out='ACTIVE\n', times=3)
  fake.rule('describe pod', **ABSENT)
  fake.rule('docker inspect', out=all_say('job running 0'), times=1)
  fake.rule('docker inspect', out=all_say('job exited 0'))
  healthy(fake)
  assert run('all', '--capacity=spot') == 0
  assert verbs(fake) == [
    *('describe', 'create', *['describe'] * 3),
    *('ssh', 'ssh', 'ssh', 'ssh'),
    *('describe', 'ssh') * 2,
    *('delete', 'describe'),
  ]
  (create,) = fake.lines(' create ')
  assert '--accelerator-type=v5litepod-16' in create and '--spot' in create
  assert all('--batch-size=4' in line for line in fake.lines(' ssh '))
  said = capsys.readouterr().err
  assert 'pod: WAITING_FOR_RESOURCES' in said and 'pod is deleted' in said


@pytest.mark.parametrize(
  ('words', 'said', 'message'),
  [
    (('projects',), 'ERROR: denied', 'project mine: ERROR: denied'),
    (('accelerator-types',), 'ERROR: none', 'v5litepod-16 in us-west4-a: ERR'),
    (('versions',), 'ERROR: none', 'runtime v2-alpha-tpuv5-lite in us-west4-a'),
    (('storage', 'cp'), 'ERROR: 403', 'gs://stuff cannot be written to: ERR'),
    (('imagetools',), 'ERROR: no such', 'image host/image:1: ERROR: no such'),
  ],
)
def test_what_is_missing_is_named_before_anything_is_made(
  tmp_path, fake, capsys, words, said, message
):
  fake._rules.insert(0, fake._rules[0] | {'words': words, 'err': said})
  fake._rules[0] |= {'code': 1, 'out': ''}
  fake._write()
  start = time.monotonic()
  assert run('create') == programs.FAILED
  assert time.monotonic() - start < 60
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line and 'exited with 1' in line
  assert not fake.lines('queued-resources')


@pytest.mark.parametrize(
  ('image', 'found'),
  [
    ({'config': {'Labels': {'consensus_jax.jax': '0.4.1'}}}, '0.4.1'),
    ({'config': {}}, 'of no known version'),
    ({'linux/amd64': {'config': {'Labels': None}}}, 'of no known version'),
  ],
)
def test_an_image_with_another_jax_is_refused(fake, capsys, image, found):
  fake._rules[0]['out'] = json.dumps(image)
  fake._write()
  assert run('create') == programs.BAD_INPUT
  said = capsys.readouterr().err
  assert f'image host/image:1 has jax {found}, requirements.lock' in said
  assert not fake.lines('queued-resources')


def test_an_image_of_several_platforms_is_known_by_any(fake):
  fake._rules[0]['out'] = json.dumps({'linux/amd64': IMAGE})
  fake._write()
  fake.rule('describe pod', out='ACTIVE')
  assert run('create') == programs.BAD_INPUT  # It is there already.
  assert verbs(fake) == ['describe']


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('--topology=v5e:4x5',), 'v5e: 2x2, 2x4, 4x4'),
    (('--topology=v5p:4x4x4',), 'mesh: data=1 x fsdp=16 x tensor=1 does not'),
    (('--name=Pod',), '--name: '),
  ],
)
def test_bad_input_is_one_line(fake, capsys, arguments, message):
  assert run('create', *arguments) == programs.BAD_INPUT
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('error: ') and message in line
  assert not fake.calls


def test_without_gcloud_it_says_where_to_get_it(fake, capsys):
  (fake.bin / 'gcloud').unlink()
  assert run('create') == programs.BAD_INPUT
  assert "no program 'gcloud' on the PATH (https" in capsys.readouterr().err


def test_what_is_there_already_is_not_touched(fake, capsys):
  fake.rule('describe pod', out='SUSPENDED\n')
  assert run('all') == programs.BAD_INPUT
  assert verbs(fake) == ['describe']
  assert 'pod already, SUSPENDED: `resume`' in capsys.readouterr().err


def broken(fake, where):
  fake.rule('describe pod', **ABSENT, times=1)
  if where == 'create':
    fake.rule(' create ', err='ERROR: quota exceeded', code=1)
  elif where == 'fails':
    fake.rule('describe pod', out='FAILED\n', times=1)
  else:
    fake.rule('describe pod', out='ACTIVE\n', times=1)
  if where == 'host':
    fake.rule('is here', out=all_say('is here', (0, 1, 3)), code=1)
  elif where == 'set-up':
    fake.rule('is here', out=all_say('is here'))
    fake.rule('is set up', err='E: apt\nerror: gs://stuff no', code=1)


@pytest.mark.parametrize(
  ('where', 'message'),
  [
    ('create', 'creating pod: ERROR: quota exceeded'),
    ('fails', 'pod is FAILED: see gcloud'),
    ('host', 'not every host is here: '),
    ('set-up', 'not every host is set up: error: gs://stuff no (gcloud'),
  ],
)
def test_half_a_pod_is_deleted(fake, capsys, where, message):
  broken(fake, where)
  fake.rule('describe pod', **ABSENT)
  assert run('create') == programs.FAILED
  assert verbs(fake)[-2:] == ['delete', 'describe']
  *_, noted, error = capsys.readouterr().err.splitlines()
  assert message in error
  assert noted == 'pod is deleted'


def test_a_host_that_is_not_there_is_named(fake, capsys):
  broken(fake, 'host')
  fake.rule('describe pod', **ABSENT)
  run('create')
  assert 'no word of it from host 2 of 4' in capsys.readouterr().err


def test_a_host_that_hangs_is_named(fake, capsys, monkeypatch):
  broken(fake, 'nothing')
  set_up = tpu_vm.set_up

  def impatient(*args):
    # Only here: what answers has all the time that it needs.
    monkeypatch.setattr(tpu_vm.checks, 'ANSWER', 5.0)
    set_up(*args)

  monkeypatch.setattr(tpu_vm, 'set_up', impatient)
  fake.rule('is here', out=all_say('is here', (0, 2)), seconds=120)
  fake.rule('describe pod', **ABSENT)
  start = time.monotonic()
  assert run('create') == programs.FAILED
  assert time.monotonic() - start < 100
  said = capsys.readouterr().err
  assert 'took longer than 5 s; no word of it from host 1, 3 of 4' in said


@pytest.mark.parametrize('where', ['create', 'fails', 'host', 'set-up'])
def test_half_a_pod_that_cannot_be_deleted_is_shouted_about(
  fake, capsys, where
):
  broken(fake, where)
  fake.rule(' delete ', err='ERROR: no network', code=1)
  fake.rule('describe pod', out='PROVISIONING')
  assert run('create') == programs.FAILED
  error = capsys.readouterr().err.splitlines()[-1]
  assert 'pod is NOT deleted and may cost money. It is PROVISIONING' in error
  assert 'no network' in error
  assert 'Run: gcloud compute tpus queued-resources delete pod' in error


def test_time_runs_out(fake, capsys):
  fake.rule('describe pod', **ABSENT, times=1)
  fake.rule('describe pod', out='WAITING_FOR_RESOURCES', times=2)
  fake.rule(' delete ')
  fake.rule('describe pod', **ABSENT)
  assert run('create', '--wait=0') == programs.FAILED
  (create,) = fake.lines(' create ')
  assert '--valid-until-duration=0s' in create
  assert 'still WAITING_FOR_RESOURCES after 0 s' in capsys.readouterr().err


@pytest.mark.slow
def test_a_launcher_that_is_interrupted_cleans_up(fake):
  fake.rule('describe pod', **ABSENT, times=1)
  fake.rule(' create ', seconds=60)
  fake.rule('describe pod', **ABSENT)
  process = subprocess.Popen(
    [sys.executable, '-m', 'launch', 'tpu', 'create', *SLICE, *SFT],
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 60
  while not fake.lines(' create ') and time.monotonic() < deadline:
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate(timeout=60)
  assert process.returncode == 130, said
  assert verbs(fake)[-2:] == ['delete', 'describe']
  assert 'Traceback' not in said


def test_hosts_that_do_not_find_each_other_start_nothing(fake, capsys):
  why = 'error: 3 of 4 processes came within 45 s: 0 on a; missing: 2\n'
  fake.rule('is ready', err=why * 3, code=5)
  healthy(fake)
  assert run('run') == programs.FAILED
  said = capsys.readouterr().err
  assert said.count('missing: 2') == 1
  assert not fake.lines('--detach')


def test_a_preempted_job_goes_on_on_a_new_slice(fake, capsys):
  fake.rule('describe pod', out='SUSPENDED\n', times=2)
  fake.rule('describe pod', **ABSENT, times=2)
  fake.rule('describe pod', out='ACTIVE\n')
  fake.rule('docker inspect', out=all_say('job exited 0'))
  healthy(fake)
  assert run('watch', '--resumes=1') == 0
  assert verbs(fake)[:6] == [
    *('describe', 'describe', 'delete', 'describe', 'describe', 'create')
  ]
  assert 'pod is SUSPENDED: resuming, 0 more' in capsys.readouterr().err


def test_it_is_not_resumed_for_ever(fake, capsys):
  fake.rule('describe pod', out='ACTIVE\n')
  fake.rule('docker inspect', out=all_say('job exited 5'))
  healthy(fake)
  assert run('watch', '--resumes=2') == distributed.LOST
  assert len(fake.lines('--detach')) == 2
  assert '`resume` goes on with it' in capsys.readouterr().err


def test_a_job_that_cannot_succeed_is_not_resumed(fake):
  fake.rule('describe pod', out='ACTIVE\n')
  fake.rule('docker inspect', out='worker 2 job exited 3\n')
  assert run('watch') == 3
  assert not fake.lines('--detach')


def test_looks_may_fail_as_networks_do(fake):
  fake.rule('describe pod', err='ERROR: no network', code=1, times=5)
  fake.rule('describe pod', out='ACTIVE\n')
  fake.rule('docker inspect', out=all_say('job exited 0'))
  assert run('watch') == 0
  fake.rule('describe', err='ERROR: no network', code=1)
  fake._rules = fake._rules[-1:]
  fake._write()
  for path in fake.bin.parent.glob('used.*'):
    path.unlink()
  assert run('watch') == programs.FAILED


def test_status_says_how_each_host_does(fake, capsys):
  fake.rule('describe pod', out='ACTIVE\n')
  fake.rule(
    'docker inspect', out='worker 1 job running 0\nworker 0 job absent 0'
  )
  assert run('status') == 0
  assert capsys.readouterr().out == 'host 0: absent 0\nhost 1: running 0\n'


def test_stop_logs_and_delete(fake):
  fake.rule('has stopped', out=all_say('has stopped'))
  assert run('stop') == 0
  assert run('logs', '--worker=all', job=()) == 0
  assert '--worker=all' in fake.lines('docker logs --follow')[0]
  fake.rule('describe pod', **ABSENT)
  assert run('delete', job=()) == 0


said = st.sampled_from(
  ['running 0', 'absent 0', *(f'exited {code}' for code in (0, 1, 2, 5, 137))]
)


@given(st.lists(said, min_size=4, max_size=4))
def test_the_verdict_on_a_job(hosts):
  code = tpu_vm.verdict(dict(enumerate(hosts)), 4)
  final = {f'exited {code}' for code in tpu_vm.FINAL_CODES} & set(hosts)
  if final:
    assert f'exited {code}' in final
  elif 'running 0' in hosts:
    assert code is None
  elif set(hosts) == {'exited 0'}:
    assert code == 0
  else:
    assert code in (5, 137)


def test_a_host_of_which_nothing_is_known_is_no_success():
  hosts = {0: 'exited 0', 1: 'exited 0'}
  assert tpu_vm.verdict(hosts, 3) == distributed.LOST


@pytest.mark.parametrize(
  ('topology', 'type_', 'hosts'),
  [
    ('v4:2x2x1', 'v4-8', 1),
    ('v5p:4x4x8', 'v5p-256', 32),
    ('v5e:2x2', 'v5litepod-4', 1),
    ('v5e:2x4', 'v5litepod-8', 1),
    ('v5e:16x16', 'v5litepod-256', 64),
  ],
)
def test_slices_as_gcloud_names_them(topology, type_, hosts):
  tpu = tpu_slice.Slice(
    name='a',
    project='b',
    zone='c',
    topology=tpu_vm.topologies.parse(topology),
    image='d',
    bucket='e',
  )
  assert (tpu.accelerator_type, tpu.num_hosts) == (type_, hosts)


def test_outcomes_take_a_process_for_each_chip(fake):
  healthy(fake)
  job = ('deliberate', '/bucket/in.jsonl', '--out=/bucket/out.jsonl')
  assert run('run', job=job) == 0
  assert '--per_host=4' in fake.lines('--detach')[0]
