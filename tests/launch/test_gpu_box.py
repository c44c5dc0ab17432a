"""A box whose docker answers as it likes."""

import fake_programs
import pytest

from launch import __main__ as command
from launch import programs

JOB = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=meshes/all_devices.gin'),
  *("--gin.MODEL_DIR='/bucket/run'", "--gin.TRAIN_DATA='/bucket/examples'"),
)
BOX = (
  '--name=job',
  '--host=me@box',
  '--image=i:1',
  '--folder=/data',
  '--gpus=2',
)


@pytest.fixture
def fake(tmp_path, monkeypatch):
  fake = fake_programs.FakePrograms(tmp_path / 'fake')
  fake.add('docker')
  monkeypatch.setenv('PATH', str(fake.bin))
  fake.rule('nvidia-smi', out='GPU 0: H100\nGPU 1: H100\n')
  return fake


def run(verb, *more, job=JOB):
  return command.main(['gpu', verb, *BOX, *more, *job])


def verbs(fake):
  return [call['args'][1] for call in fake.calls]


def test_a_job_is_followed_to_its_end(fake):
  fake.rule('inspect', err='Error: No such object: job', code=1)
  fake.rule(' wait ', out='3\n')
  assert run('all') == 3
  assert verbs(fake) == [
    *('pull', 'run', 'run', 'inspect', 'run', 'logs', 'wait')
  ]
  assert all(call['args'][0] == '--host=ssh://me@box' for call in fake.calls)
  check, start = fake.lines('launch.worker')
  assert '--check_only' in check and '--rm' in check
  assert '--detach --name=job' in start
  assert '--volume=/data:/bucket' in start and '--gpus=all' in start


def test_one_that_has_ended_makes_room(fake):
  fake.rule('inspect', out='exited\n')
  assert run('run') == 0
  assert verbs(fake)[-2:] == ['rm', 'run']


def test_one_that_runs_is_not_touched(fake, capsys):
  fake.rule('inspect', out='running\n')
  assert run('run') == programs.BAD_INPUT
  assert 'job runs on me@box already' in capsys.readouterr().err
  assert not fake.lines('--detach') and 'rm' not in verbs(fake)


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (('pull',), 'image i:1 on me@box: error: no (docker exited with 125)'),
    (('--check_only',), 'i:1 on me@box: error: no'),
    (('inspect',), 'error: no'),
    (('--detach',), 'job: error: no'),
  ],
)
def test_what_is_missing_is_named(fake, capsys, words, message):
  fake.rule(*words, err='error: no\n', code=125)
  assert run('run') == programs.FAILED
  assert message in capsys.readouterr().err


def test_another_number_of_gpus_is_refused(fake, capsys):
  assert run('run', '--gpus=8') == programs.BAD_INPUT
  assert 'me@box has 2 GPUs, --gpus says 8' in capsys.readouterr().err


def test_logs_and_delete(fake):
  assert run('logs', job=()) == 0
  assert run('delete', job=()) == 0
  assert verbs(fake) == ['logs', 'stop', 'rm']
