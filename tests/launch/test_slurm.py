"""The batch script: what Slurm is asked for, and when it is queued again."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import fake_programs
import pytest

from consensus_jax.strict_json import InputError
from launch import __main__ as command
from launch import job as jobs
from launch import programs, slurm

SFT = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=meshes/all_devices.gin'),
  *("--gin.MODEL_DIR='run'", "--gin.TRAIN_DATA='examples'"),
)


@pytest.fixture
def fake(tmp_path, monkeypatch):
  fake = fake_programs.FakePrograms(tmp_path / 'fake')
  fake.add('sbatch', 'squeue', 'scancel', 'srun', 'scontrol')
  return fake


@pytest.fixture
def on_path(fake, monkeypatch):
  monkeypatch.setenv('PATH', str(fake.bin))
  return fake


def run(verb, *more, job=SFT):
  python = f'--python={sys.executable}'
  return command.main(['slurm', verb, python, '--nodes=2', *more, *job])


def test_a_job_is_handed_over(on_path, capsys):
  on_path.rule('--parsable', out='4711;cluster\n')
  assert run('run', '--partition=gpu', '--env=NCCL_DEBUG=INFO') == 0
  test, submit = on_path.calls
  assert test['args'] == ['--test-only'] and submit['args'] == ['--parsable']
  assert test['stdin'] == submit['stdin']
  for line in ('#SBATCH --nodes=2', '#SBATCH --partition=gpu', '--requeue'):
    assert line in submit['stdin']
  assert 'export NCCL_DEBUG=INFO' in submit['stdin']
  assert 'is job 4711; log: consensus.4711.log' in capsys.readouterr().err


def test_what_slurm_refuses_is_said(on_path, capsys):
  on_path.rule('--test-only', err='sbatch: error: invalid partition', code=1)
  assert run('run') == programs.FAILED
  said = capsys.readouterr().err
  assert 'invalid partition (sbatch exited with 1)' in said
  assert len(on_path.calls) == 1


def test_an_answer_that_is_no_number_is_no_success(on_path, capsys):
  on_path.rule('--parsable', out='hello')
  assert run('run') == programs.FAILED
  assert 'may have been submitted' in capsys.readouterr().err


def test_bad_input_submits_nothing(on_path, capsys):
  assert run('run', '--gpus_per_node=0') == programs.BAD_INPUT
  assert run('run', '--gpus_per_node=3') == programs.BAD_INPUT
  assert command.main(['slurm', 'run', '--python=absent/python', *SFT]) == 2
  said = capsys.readouterr().err.splitlines()
  assert [line.split(': ')[1] for line in said] == [
    *('--gpus_per_node', 'BATCH_SIZE', '--python')
  ]
  assert not on_path.calls


def test_status_and_delete(on_path):
  assert run('status', job=()) == 0
  assert run('delete', job=()) == 0
  assert on_path.lines() == [
    'squeue --me --name=consensus',
    'scancel --me --name=consensus',
  ]


def run_script(fake, *, code, restarts=0, number=None):
  """The script itself, in bash; whether it was queued again, and its code."""
  batch = slurm.Batch(nodes=2, gpus_per_node=1, restarts=1)
  job = jobs.Job(name='job', kind='sft', arguments=SFT[1:])
  fake.rule('show hostnames', out='node1\nnode2\n')
  fake.rule('srun', code=code, seconds=0 if number is None else 20)
  process = subprocess.Popen(
    ['bash', '-c', slurm.script(batch, job)],
    env=os.environ
    | {
      'PATH': f'{fake.bin}{os.pathsep}{os.environ["PATH"]}',
      'SLURM_JOB_ID': '21234',
      'SLURM_JOB_NODELIST': 'node[1-2]',
      'SLURM_RESTART_COUNT': str(restarts),
    },
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    text=True,
  )
  if number is not None:
    while not fake.lines('srun'):
      time.sleep(0.02)
    process.send_signal(number)
  process.communicate(timeout=60)
  return bool(fake.lines('requeue 21234')), process.returncode


def test_every_task_meets_on_the_first_node(fake):
  assert run_script(fake, code=0) == (False, 0)
  (srun,) = fake.lines('srun')
  assert '--coordinator=node1:21234' in srun
  assert '--kill-on-bad-exit=1' in srun


@pytest.mark.parametrize(
  ('code', 'again'),
  [(2, False), (3, False), (4, False), (5, True), (134, True), (143, False)],
)
def test_it_is_queued_again_if_that_may_help(fake, code, again):
  assert run_script(fake, code=code) == (again, code)


def test_it_is_not_queued_for_ever(fake):
  assert run_script(fake, code=5, restarts=1) == (False, 5)


def test_when_time_is_up_it_saves_and_is_queued_again(fake):
  again, code = run_script(fake, code=143, number=signal.SIGUSR1)
  assert again and code == 143  # SIGTERM, which srun passed on.


def test_outcomes_go_on_where_one_process_fails():
  job = jobs.Job(name='job', kind='rank', arguments=('in', '--out', 'out'))
  text = slurm.script(slurm.Batch(gpus_per_node=4), job)
  assert '--kill-on-bad-exit' not in text and '--per_host=4' in text
  assert pathlib.Path(text.split('cd ')[1].split(' ||')[0]) == jobs.ROOT


@pytest.mark.parametrize('field', ['nodes', 'gpus_per_node'])
def test_a_batch_of_nothing(field):
  with pytest.raises(InputError, match=f'--{field}: must be at least 1'):
    slurm.Batch(**{field: 0})
