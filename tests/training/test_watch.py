"""What is written of a run: no step lost, none twice."""

import sys
import types

import pytest

from consensus_jax.strict_json import InputError
from consensus_jax.training import hardware, journal, watch
from consensus_jax.training.journal import Journal


def written(path, steps, kind='train', **options):
  log = Journal(path, step=options.get('step', 0), evaluated=-1)
  for step in steps:
    log.write({'kind': kind, 'step': step, 'loss': step / 3})
  log.close()


def steps(path):
  return [line['step'] for line in journal.read(path)]


def test_a_resumed_run_goes_on_where_its_checkpoint_was(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  written(path, range(1, 8))
  written(path, range(6, 9), step=5)
  assert steps(path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_evaluation_that_is_done_again_stands_there_once(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  written(path, [1, 2])
  log = Journal(path, step=2, evaluated=-1)
  log.write({'kind': 'validation', 'step': 2, 'loss': 1.0})
  log.close()
  Journal(path, step=2, evaluated=-1).close()
  assert [line['kind'] for line in journal.read(path)] == ['train', 'train']


@pytest.mark.parametrize('cut', range(1, 40, 3))
def test_a_torn_last_line_is_dropped(tmp_path, cut):
  path = tmp_path / 'metrics.jsonl'
  written(path, [1, 2, 3])
  path.write_bytes(path.read_bytes()[:-cut])
  assert steps(path) == [1, 2]
  written(path, [4], step=3)
  assert steps(path) == [1, 2, 4]


def test_a_damaged_line_within_is_an_error_with_its_number(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"kind": "train", "step": 1}\n{oops}\n{}\n')
  with pytest.raises(InputError, match=r'metrics\.jsonl:2: not JSON'):
    steps(path)


def watched(folder, **options):
  given = {'num_steps': 10, 'step': 0, 'evaluated': -1, **options}
  return watch.Watch(folder, **given)


def test_every_step_is_written_with_its_speed(tmp_path, capsys):
  with watched(tmp_path) as seen:
    for step in (1, 2):
      seen.step(
        step,
        {'loss': 2.0, 'gradient_norm': 1.0, 'accuracy': float('nan')},
        seconds=0.5,
        tokens=100.0,
        log=step == 2,
      )
    seen.evaluation(2, {'loss': 1.5, 'num_pairs': 3.0})
  train, validation = journal.read(tmp_path / watch.METRICS)
  assert train['tokens_per_second'] == 200 and train['accuracy'] is None
  assert 'mfu' not in train, 'a CPU has no known peak'
  assert validation == {
    'kind': 'validation',
    'step': 2,
    'loss': 1.5,
    'num_pairs': 3.0,
  }
  errors = capsys.readouterr().err
  assert 'step 1/10  loss 2.0000' in errors and '200 tokens/s' in errors
  assert 'validation: loss 1.5\n' in errors


def test_utilisation_is_of_all_devices(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(hardware, 'peak_flops', lambda kind: 1000.0)
  with watched(tmp_path, flops_per_token=6.0, num_devices=4) as seen:
    seen.step(
      1,
      {'loss': 1.0, 'gradient_norm': 1.0},
      seconds=1.0,
      tokens=500.0,
      log=True,
    )
  (line,) = journal.read(tmp_path / watch.METRICS)
  assert line['mfu'] == pytest.approx(6 * 500 / 4000)
  assert '75.0% of peak' in capsys.readouterr().err


def test_peaks_are_known_by_the_names_that_jax_gives():
  assert hardware.peak_flops('TPU v5 lite') == hardware.peak_flops('TPU v5e')
  assert hardware.peak_flops('NVIDIA H200') == 989e12
  assert hardware.peak_flops('cpu') is None


def test_tensorboard_hides_what_is_done_again(tmp_path, monkeypatch):
  calls = []

  class Writer:
    def __init__(self, folder, purge_step):
      calls.append((folder, purge_step))

    def add_scalar(self, name, value, step):
      calls.append((name, value, step))

    def close(self):
      calls.append('closed')

  fake = types.SimpleNamespace(SummaryWriter=Writer)
  monkeypatch.setitem(sys.modules, 'tensorboardX', fake)
  with watched(tmp_path, step=5, tensorboard=True) as seen:
    seen.evaluation(6, {'loss': 1.0})
  folder = str(tmp_path / 'tensorboard')
  assert calls == [(folder, 6), ('validation/loss', 1.0, 6), 'closed']


def test_tensorboard_that_is_not_installed_is_a_clear_error(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(InputError, match='pip install tensorboardX'):
    watched(tmp_path, tensorboard=True)


def test_the_profiler_runs_over_the_steps_that_are_named(tmp_path, monkeypatch):
  calls = []
  profiler = watch.jax.profiler
  monkeypatch.setattr(profiler, 'start_trace', lambda folder: calls.append('a'))
  monkeypatch.setattr(profiler, 'stop_trace', lambda: calls.append('z'))
  with watched(tmp_path, profile=(3, 5)) as seen:
    for step in range(10):
      seen.before_step(step)
      calls.append(step)
  assert calls == [0, 1, 2, 'a', 3, 4, 5, 'z', 6, 7, 8, 9]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
  with pytest.raises(InputError, match=r'metrics\.jsonl: cannot be written'):
    Journal(tmp_path / 'absent' / 'metrics.jsonl', step=0, evaluated=-1)
