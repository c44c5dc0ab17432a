"""The picture of a run's curves."""

import json
import sys

import pytest

from consensus_jax import cli
from consensus_jax.strict_json import InputError
from consensus_jax.training import plot

matplotlib = pytest.importorskip('matplotlib')


@pytest.fixture
def run(tmp_path):
  lines = [
    {'kind': kind, 'step': step, 'loss': 1 / (1 + step), 'accuracy': None}
    for step in range(20)
    for kind in ('train', *(['validation'] if step % 5 == 0 else []))
  ]
  lines[0]['learning_rate'] = 1e-3
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (tmp_path / 'metrics.jsonl').write_text(text + '{"torn')
  return tmp_path


def test_curves_are_drawn(run):
  picture = plot.plot(run)
  data = picture.read_bytes()
  assert data.startswith(b'\x89PNG') and picture == run / 'curves.png'
  pixels = matplotlib.image.imread(picture)
  colours = {tuple(c) for c in pixels[::3, ::3, :3].reshape(-1, 3).round(2)}
  assert len(colours) > 4, 'curves of two colours on white'
  assert not list(run.glob('.*.tmp'))


def test_without_metrics_there_is_a_clear_error(tmp_path):
  with pytest.raises(InputError, match=r'metrics\.jsonl: cannot be read'):
    plot.plot(tmp_path)
  (tmp_path / 'metrics.jsonl').write_text('')
  with pytest.raises(InputError, match='holds no metrics yet'):
    plot.plot(tmp_path)


def test_a_place_that_cannot_be_written_is_a_clear_error(run):
  with pytest.raises(InputError, match='cannot be written'):
    plot.plot(run, run / 'absent' / 'curves.png')


def test_without_matplotlib_there_is_a_clear_error(run, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
  with pytest.raises(InputError, match='pip install matplotlib'):
    plot.plot(run)


def test_the_command_says_where_the_picture_is(run, tmp_path, capsys):
  picture = tmp_path / 'picture.png'
  assert cli.main(['plot', str(run), '--out', str(picture)]) == 0
  assert capsys.readouterr().out.strip() == str(picture)
  assert picture.exists()
  assert cli.main(['plot', str(tmp_path / 'absent')]) == 2
  assert 'cannot be read' in capsys.readouterr().err
