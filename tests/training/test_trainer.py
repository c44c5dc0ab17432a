"""The loop: nothing is lost by a stop, and no decision by a restart."""

import dataclasses
import json
import pathlib
import random
import shutil
import signal
import sys

import numpy as np
import pytest
import tiny_training as tiny
from orbax.checkpoint import v1 as ocp

from consensus_jax.data import batches
from consensus_jax.model.config import ModelConfig
from consensus_jax.training import command, launch, trainer
from consensus_jax.training.checkpoints import CheckpointError, Checkpoints
from consensus_jax.training.interruption import Interrupted, Interruption
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.progress import Diverged
from consensus_jax.training.settings import MeshShape, PolicyRun, RewardRun

TIMES = ('seconds', 'tokens_per_second')


@pytest.fixture(scope='module', autouse=True)
def _compilations():
  with tiny.compilations_kept():
    yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('examples')
  return {
    'sft': tiny.sft_examples(folder / 'sft'),
    'reward_model': tiny.reward_examples(folder / 'reward'),
    'validation': tiny.sft_examples(folder / 'validation', seed=1),
  }


def assert_same_bits(run, other, step):
  ours, theirs = tiny.arrays(run, step), tiny.arrays(other, step)
  assert ours.keys() == theirs.keys()
  for name, x in ours.items():
    np.testing.assert_array_equal(x, theirs[name], str(name))


def record(model_dir, step):
  path = pathlib.Path(model_dir, 'checkpoints', str(step), 'record/data.json')
  return json.loads(path.read_text())['record']


def untimed(model_dir):
  return [
    {name: value for name, value in line.items() if name not in TIMES}
    for line in tiny.lines(model_dir)
  ]


# Steps are made slow by saving after each.
SLOW = {'NUM_STEPS': 30, 'EVALUATE_EVERY': 10, 'SAVE_EVERY': 1}
RUNS = {
  'sft': ('sft', {}),
  'reward model with adapters': (
    'reward_model',
    {
      'VALIDATION_DATA': None,
      'LORA': tiny.Gin('@lora.LoraConfig()'),
      'LOSS': 'ordinal',
      'MICROBATCHES': 2,
    },
  ),
}


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
  finished = {}

  def run(name):
    if name not in finished:
      kind, macros = RUNS[name]
      folder = tmp_path_factory.mktemp('whole') / 'run'
      args = tiny.arguments(
        kind, folder, data[kind], data['validation'], **SLOW | macros
      )
      code, errors = tiny.run(kind, args)
      assert code == 0, errors
      finished[name] = folder
    return finished[name]

  return run


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_killed_at_random_steps_a_run_ends_in_the_same_bits(
  data, uninterrupted, tmp_path, name
):
  kind, macros = RUNS[name]
  folder = tmp_path / 'run'
  args = tiny.arguments(
    kind, folder, data[kind], data['validation'], **SLOW | macros
  )
  times = 2 if kind == 'sft' else 1
  steps = sorted(random.Random(f'{name} 5').sample(range(2, 27), times))
  killed = 0
  for step in steps:
    code, errors = tiny.kill_when(
      tiny.start(kind, args),
      lambda step=step: any(
        line['step'] >= step for line in tiny.lines(folder, 'train')
      ),
    )
    assert code in (0, -signal.SIGKILL), errors
    killed += code != 0
  assert killed, f'no run was slow enough to be killed at {steps}'
  code, errors = tiny.run(kind, args)
  assert code == 0, errors
  assert 'resuming' in errors
  assert_same_bits(folder, uninterrupted(name), 30)
  assert untimed(folder) == untimed(uninterrupted(name))


# Sends itself SIGTERM in one call of a function: whoever watches it may see too
# late that it is there.
_SIGNALLED = """
import os, signal, sys
from consensus_jax.training import command, trainer

calls, inner = [], {function}

def call(*args, **named):
  calls.append(None)
  if len(calls) == {number}:
    os.kill(os.getpid(), signal.SIGTERM)
  return inner(*args, **named)

{function} = call
# Before its arguments stands what would have been run: python -m MODULE.
sys.exit(command.main('sft', sys.argv[4:]))
"""


def signalled(args, function, number):
  """A run that gets SIGTERM in a call of a function of `trainer`.

  Args:
    args: of the run.
    function: its name in that module.
    number: of the call, from 1.

  Returns:
    Exit code and standard error.
  """
  code = _SIGNALLED.format(function=f'trainer.{function}', number=number)
  process = tiny.start('sft', args, before=[sys.executable, '-c', code])
  try:
    _, errors = process.communicate(timeout=240)
  finally:
    process.kill()
  return process.returncode, errors


@pytest.mark.slow
def test_sigterm_in_training_loses_nothing(data, uninterrupted, tmp_path):
  folder = tmp_path / 'run'
  args = tiny.arguments('sft', folder, data['sft'], data['validation'], **SLOW)
  args.append('--gin.SAVE_EVERY=1000')
  code, errors = signalled(args, 'Watch.step', 3)
  assert code == 128 + signal.SIGTERM, errors
  assert 'stopped by SIGTERM; saved' in errors
  last = tiny.lines(folder, 'train')[-1]['step']
  assert last == 4, 'the step under way is the last'
  assert record(folder, last)['progress']['step'] == last
  code, errors = tiny.run('sft', args)
  assert code == 0, errors
  assert_same_bits(folder, uninterrupted('sft'), 30)


@pytest.mark.slow
def test_sigterm_in_an_evaluation_saves_and_evaluates_again(data, tmp_path):
  folder = tmp_path / 'run'
  args = tiny.arguments(
    'sft',
    folder,
    data['sft'],
    data['validation'],
    NUM_STEPS=6,
    EVALUATE_EVERY=3,
    SAVE_EVERY=1000,
  )
  # After the first evaluation of five batches and three steps.
  code, errors = signalled(args, 'distributed.place', 5 + 3 + 2)
  assert code == 128 + signal.SIGTERM, errors
  progress = record(folder, 3)['progress']
  assert progress['step'] == 3 and progress['evaluated'] == 0
  assert command.main('sft', args) == 0
  validations = tiny.lines(folder, 'validation')
  assert [line['step'] for line in validations] == [0, 3, 6]
  trains = tiny.lines(folder, 'train')
  assert [line['step'] for line in trains] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_sigterm_in_warm_up_stops_at_once(data, tmp_path):
  folder = tmp_path / 'run'
  args = tiny.arguments('sft', folder, data['sft'])
  args.append('--gin.BATCH_SIZE=24')  # Not compiled yet.
  code, errors = signalled(args, 'steps.jit_train_step', 1)
  assert code == 128 + signal.SIGTERM, errors
  assert not tiny.lines(folder)
  # The loop would have saved what it starts from.
  assert not list((folder / 'checkpoints').iterdir())


MODEL = ModelConfig(
  vocab_size=tiny.VOCAB,
  num_layers=1,
  embed_dim=8,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  mlp_dim=16,
  max_length=64,
)


def policy_run(folder, data, **changes):
  given = {
    'model_dir': str(folder),
    'model': MODEL,
    'train_data': str(data['sft']),
    'mesh': MeshShape(data=1),
    'compute_dtype': 'float32',
    'num_steps': 6,
    'batch_size': 8,
    'save_every': 2,
    'evaluate_every': 2,
    **changes,
  }
  rate = given.pop('learning_rate', 1e-2)
  optimizer = OptimizerSettings(
    learning_rate=rate, num_steps=6, schedule='constant'
  )
  return PolicyRun(**given, optimizer=optimizer)


def test_a_loss_that_is_no_number_stops_with_its_position(
  data, tmp_path, capsys
):
  run = policy_run(tmp_path / 'run', data, learning_rate=1e30, save_every=1)
  with pytest.raises(Diverged, match='the loss is nan'):
    launch.train(run)
  failure = json.loads((tmp_path / 'run' / 'failure.json').read_text())
  step = failure['step']
  assert failure['position'] == 8 * step and failure['batch_size'] == 8
  with Checkpoints(tmp_path / 'run' / 'checkpoints') as saved:
    assert max(saved.steps) <= step, 'nothing is saved after it'


def test_it_stops_early_and_exports_the_best(data, tmp_path, capsys):
  run = policy_run(
    tmp_path / 'run',
    data,
    validation_data=str(data['validation']),
    learning_rate=0.0,
    patience=1,
    initial=dataclasses.replace(
      PolicyRun.__dataclass_fields__['initial'].default,
      tokenizer=str(tiny.GOLDEN / 'tiny_llama'),
    ),
    model=dataclasses.replace(MODEL, vocab_size=320),
  )
  launch.train(run)
  folder = pathlib.Path(run.model_dir)
  errors = capsys.readouterr().err
  assert 'stopped at step 2: 1 evaluations without a better loss' in errors
  assert record(folder, 2)['progress']['best_step'] == 0
  assert (folder / 'export' / 'model.safetensors').exists()
  # Started again, it knows that it has stopped.
  launch.train(run)
  assert [line['step'] for line in tiny.lines(folder, 'validation')] == [0, 2]


def test_a_checkpoint_that_cannot_be_written_stops_it(
  data, tmp_path, monkeypatch, capsys
):
  folder = tmp_path / 'run'
  launch.train(policy_run(folder, data, num_steps=4))

  def full(*args, **options):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(
    ocp.training.Checkpointer, 'save_checkpointables_async', full
  )
  with pytest.raises(CheckpointError, match=r'No space left.*step 4 is good'):
    launch.train(policy_run(folder, data))
  monkeypatch.undo()
  launch.train(policy_run(folder, data))
  assert [line['step'] for line in tiny.lines(folder)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_the_step_before(data, tmp_path, capsys):
  folder = tmp_path / 'run'
  args = tiny.arguments('sft', folder, data['sft'], NUM_STEPS=4, SAVE_EVERY=2)
  assert command.main('sft', args) == 0
  more = [*args, '--gin.NUM_STEPS=8']
  # No file can grow beyond this: what a full disk looks like to a writer.
  limited = ['bash', '-c', 'ulimit -f 16; exec "$@"', 'limited']
  process = tiny.start('sft', more, before=limited)
  _, errors = process.communicate(timeout=240)
  assert process.returncode == command.BAD_CHECKPOINTS, errors
  assert 'cannot be written' in errors and 'step 4 is good' in errors
  assert command.main('sft', more) == 0
  assert f'resuming {folder}, step 4' in capsys.readouterr().err


class _StopAfter(Interruption):
  """Signals that come when a loop has asked a number of times."""

  def __init__(self, times):
    super().__init__()
    self._left = times

  @property
  def signal(self):
    self._left -= 1
    return signal.SIGTERM if self._left < 0 else 0

  @signal.setter
  def signal(self, value):
    pass


@pytest.mark.parametrize('times', [3, 12, 17])
def test_wherever_a_signal_comes_the_run_goes_on_the_same(
  data, tmp_path, monkeypatch, times
):
  whole, stopped = (tmp_path / name for name in ('whole', 'stopped'))
  options = {'validation_data': str(data['validation']), 'num_steps': 4}
  launch.train(policy_run(whole, data, **options))
  compiled = []
  warm_up = trainer.warm_up

  def keep(*args):
    # The loop, and not the wait for the compiler, is what asks.
    compiled.append(warm_up(*args[:-1], Interruption()))
    return compiled[-1]

  monkeypatch.setattr(trainer, 'warm_up', keep)
  monkeypatch.setattr(launch, 'Interruption', lambda: _StopAfter(times))
  with pytest.raises(Interrupted) as caught:
    launch.train(policy_run(stopped, data, **options))
  assert caught.value.exit_code == 143
  monkeypatch.setattr(trainer, 'warm_up', lambda *args: compiled[0])
  monkeypatch.setattr(launch, 'Interruption', Interruption)
  launch.train(policy_run(stopped, data, **options))
  assert_same_bits(stopped, whole, 4)
  assert untimed(stopped) == untimed(whole)


def test_a_second_signal_acts_at_once():
  with Interruption() as interruption:
    signal.raise_signal(signal.SIGINT)
    assert interruption.signal == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize('loss', ['bradley_terry', 'plackett_luce', 'ordinal'])
def test_every_loss_of_a_reward_model_falls(data, tmp_path, loss):
  run = RewardRun(
    **{
      field.name: getattr(policy_run(tmp_path / 'run', data), field.name)
      for field in dataclasses.fields(PolicyRun)
    }
    | {
      'train_data': str(data['reward_model']),
      'num_steps': 40,
      'save_every': 40,
    },
    objective=RewardSettings(loss=loss),
  )
  launch.train(run)
  losses = [line['loss'] for line in tiny.lines(run.model_dir)]
  assert np.mean(losses[-8:]) < np.mean(losses[:8])


def test_resuming_after_damage_goes_on_from_the_step_before(
  data, tmp_path, capsys
):
  folder = tmp_path / 'run'
  run = policy_run(folder, data)
  launch.train(run)
  whole = shutil.copytree(folder, tmp_path / 'whole')
  # Not all of them hold what counts: small values lie beside the index.
  for shard in pathlib.Path(folder, 'checkpoints/6/state').rglob('d/*'):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
  launch.train(run)
  errors = capsys.readouterr().err
  assert 'step 6' in errors and 'set aside' in errors
  assert f'resuming {folder}, step 4' in errors
  assert_same_bits(folder, whole, 6)
  assert batches.open_examples(data['sft']).num_examples == 40
