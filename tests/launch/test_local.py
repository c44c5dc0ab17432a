"""Real processes on virtual devices: one is killed, and the job goes on."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_training as tiny

from consensus_jax.training import distributed
from launch import __main__ as command
from launch import local, merge
from launch.job import Job
from launch.programs import Programs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def launch(monkeypatch, capfd):
  """`python -m launch`, in this process, which has jax already.

  Gives its exit code, and what was said.
  """
  for name, value in tiny.environment().items():
    monkeypatch.setenv(name, value)
  return lambda *argv: (command.main(argv), ''.join(capfd.readouterr()))


@contextlib.contextmanager
def killed(victim, code):
  """Within, this worker runs `code` first, which makes it kill itself.

  It does so itself, as whoever watches it may see too late that it is time.
  """
  code = f'import os, sys, time\n{code}\nfrom launch import worker\n'
  code += 'sys.exit(worker.main())'
  commands = local.commands

  def changed(job, here):
    told = commands(job, here)
    (python, _, _, *argv), environment = told[victim]
    told[victim] = [python, '-c', code, *argv], environment
    return told

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(local, 'commands', changed)
    yield


def training(kind, folder):
  """Arguments of a smoke run of 40 steps with a checkpoint every 10."""
  make = tiny.sft_examples if kind == 'sft' else tiny.reward_examples
  examples = make(folder / 'examples', 24)
  macros = {'NUM_STEPS': 40, 'SAVE_EVERY': 10, 'EVALUATE_EVERY': 20}
  if kind == 'reward_model':
    macros['LOSS'] = 'ordinal'
  told = tiny.arguments(kind, folder / 'run', examples, examples, **macros)
  settings = 'PolicyRun' if kind == 'sft' else 'RewardRun'
  return [
    kind,
    told[0].replace('.gin', '_smoke.gin'),
    *told[1:],
    '--gin_file=meshes/all_devices.gin',
    f'--gin.settings.{settings}.log_every=1',
  ]


_IN_TRAINING = """
from consensus_jax.training.watch import Watch

def before_step(self, step):
  if step == 15:
    while not os.path.exists({saved!r}):
      time.sleep(0.01)
    os.kill(os.getpid(), 9)

Watch.before_step = before_step
"""


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'victim'), [('sft', 1), ('reward_model', 0)])
def test_training_is_killed_and_goes_on(launch, tmp_path, kind, victim):
  argv = ('local', 'run', '--num_processes=2', *training(kind, tmp_path))
  folder = tmp_path / 'run'
  saved = folder / 'checkpoints' / '10' / 'commit_success.txt'
  with killed(victim, _IN_TRAINING.format(saved=str(saved))):
    code, said = launch(*argv)
  assert code == 128 + signal.SIGKILL, said
  assert f'process {victim} of 2 was ended by SIGKILL' in said
  assert 'The same command again goes on with it' in said
  assert not (folder / 'checkpoints' / '40').exists()
  code, said = launch(*argv)
  assert code == 0, said
  assert f'[0] initialisation: resuming {folder}, step' in said
  steps = [line['step'] for line in tiny.lines(folder, 'train')]
  assert steps[-1] == 40
  assert [line['step'] for line in tiny.lines(folder, 'validation')][-1] == 40


def deliberations(folder, count):
  records = [
    {'id': str(n), 'question': f'Should {n}?', 'opinions': ['Yes.', 'No.']}
    for n in range(count)
  ]
  path = folder / 'in.jsonl'
  path.write_text(''.join(json.dumps(each) + '\n' for each in records))
  # Of a context long enough for prompts in letters.
  model = shutil.copytree(tiny.GOLDEN / 'tiny_qwen3', folder / 'model')
  config = json.loads((model / 'config.json').read_text())
  config['max_position_embeddings'] = 4096
  (model / 'config.json').write_text(json.dumps(config))
  return [
    *('deliberate', str(path), '--out', str(folder / 'out.jsonl')),
    *('--model', str(model), '--reward_model=prompted_rater'),
    *('--dtype=float32', '--num_candidates=2', '--max_tokens=8'),
  ]


def outcomes(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


# With the third outcome made, and two written.
_IN_OUTCOMES = """
from consensus_jax.outcome_file import OutcomeLines

put, puts = OutcomeLines.put, []

def put_two(*args):
  puts.append(put(*args) if len(puts) < 2 else os.kill(os.getpid(), 9))

OutcomeLines.put = put_two
"""


@pytest.mark.slow
def test_outcomes_are_killed_and_go_on(launch, tmp_path):
  argv = ('local', 'run', '--num_processes=2', *deliberations(tmp_path, 24))
  parts = [tmp_path / f'out.jsonl.{index}-of-2' for index in range(2)]
  with killed(1, _IN_OUTCOMES):
    code, said = launch(*argv)
  assert code == 128 + signal.SIGKILL, said
  # The other one knows nothing of it, and does its share.
  assert len(outcomes(parts[0])) == 12
  before = parts[1].read_bytes()
  assert before.count(b'\n') == 2
  assert not (tmp_path / 'out.jsonl').exists()
  code, said = launch(*argv)
  assert code == 0, said
  assert f'{parts[0]}: kept 12 of 12' in said
  assert parts[1].read_bytes().startswith(before)
  merged = outcomes(tmp_path / 'out.jsonl')
  assert [outcome['id'] for outcome in merged] == [str(n) for n in range(24)]


def test_processes_are_told_who_they_are():
  job = Job(name='job', kind='sft', arguments=('--gin_file=x',))
  here = local.Here(num_processes=3, devices=4, port=8482)
  told = local.commands(job, here)
  assert [argv[-4:-2] for argv, _ in told] == [
    ['--num_processes=3', f'--process_id={index}'] for index in range(3)
  ]
  for argv, environment in told:
    assert '--coordinator=localhost:8482' in argv
    flags = environment['XLA_FLAGS'].split()
    assert flags[-1] == '--xla_force_host_platform_device_count=4'
  ports = {
    argv[-5] for argv, _ in local.commands(job, local.Here(num_processes=2))
  }
  assert len(ports) == 1


def python(code):
  return [sys.executable, '-c', code], {}


def test_the_first_failure_is_what_the_job_ends_with(tmp_path, capfd):
  path = str(tmp_path / 'pipe')
  os.mkfifo(path)
  told = [
    python(
      # Reads until the other one is gone.
      f'print("a"); import time; open({path!r}).read(); time.sleep(0.5); '
      'raise SystemExit(5)'
    ),
    python(f'import os; pipe = open({path!r}, "w"); os.kill(os.getpid(), 9)'),
  ]
  assert local._run_all(told, alike=True) == 128 + signal.SIGKILL
  out, err = capfd.readouterr()
  assert out == '[0] a\n'
  assert 'process 1 of 2 was ended by SIGKILL' in err
  assert 'process 0 of 2 ended with 5' in err
  assert local._run_all([python('0'), python('0')], alike=True) == 0


def test_who_was_killed_is_named_before_who_failed_for_it():
  told = [
    python('raise SystemExit(5)'),
    python('import os; os.kill(os.getpid(), 9)'),
  ]
  processes = [subprocess.Popen(argv) for argv, _ in told]
  for process in processes:
    # Both are over before anybody looks, and still to be polled.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
  assert local._wait(processes, alike=True) == 128 + signal.SIGKILL


def test_one_that_does_not_notice_is_killed(monkeypatch, capfd):
  monkeypatch.setattr(local, '_GRACE_SECONDS', 0.2)
  told = [python('import time; time.sleep(60)'), python('raise SystemExit(3)')]
  start = time.monotonic()
  assert local._run_all(told, alike=True) == 3
  assert time.monotonic() - start < 30
  assert 'process 0 did not notice' in capfd.readouterr().err


@pytest.mark.slow
def test_signals_reach_all_processes(tmp_path):
  up = [tmp_path / str(index) for index in range(2)]
  told = [
    python(f'import time; open({str(path)!r}, "w"); time.sleep(200)')
    for path in up
  ]
  code = (
    'import sys; from launch import local\n'
    f'sys.exit(local._run_all({told}, alike=True))'
  )
  process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT)
  deadline = time.monotonic() + 60
  while not all(path.exists() for path in up):
    assert time.monotonic() < deadline, 'they never came up'
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=60) == 128 + signal.SIGINT


def test_a_refused_job_starts_nothing(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(local, '_run_all', lambda *_, **__: pytest.fail('ran'))
  run = ('local', 'run', '--num_processes=2', '--devices=4')
  job = ('sft', '--gin_file=runs/sft.gin', "--gin.MODEL_DIR='a'")
  assert command.main([*run, *job]) == 2
  assert "'TRAIN_DATA' must be set" in capsys.readouterr().err
  assert command.main([*run, *job, "--gin.TRAIN_DATA='b'"]) == 2
  assert 'does not make 8 devices' in capsys.readouterr().err
  assert command.main(['local', 'run', '--num_processes=0', *job]) == 2
  assert '--num_processes: must be' in capsys.readouterr().err
  (tmp_path / 'out').write_text('mine')
  outcomes = ('rank', 'in.jsonl', '--out', str(tmp_path / 'out'))
  assert command.main([*run, *outcomes]) == 2
  assert 'holds no outcomes' in capsys.readouterr().err


def test_outcomes_are_joined_at_the_end(monkeypatch):
  job = Job(name='job', kind='rank', arguments=('in', '--out', 'absent/out'))
  codes = iter([0, distributed.LOST])
  monkeypatch.setattr(local, '_run_all', lambda *_, **__: next(codes))
  monkeypatch.setattr(merge, 'run', lambda job, programs: 1)
  assert local.run(job, local.Here(), Programs()) == 1
  assert local.run(job, local.Here(), Programs()) == distributed.LOST
