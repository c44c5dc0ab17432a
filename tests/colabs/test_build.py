"""The notebooks: paired with their scripts, pinned, and the first two run."""

import asyncio
import importlib.util
import json
import pathlib
import queue
import re
import time

import pytest

pytest.importorskip('jupytext')
pytest.importorskip('nbclient')

import zmq
import zmq.asyncio
from jupyter_client import session

from consensus_jax.deliberation import Outcome

ROOT = pathlib.Path(__file__).parents[2]
COLABS = ROOT / 'colabs'


def _load(name):
  spec = importlib.util.spec_from_file_location(name, COLABS / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


build, page = _load('build'), _load('page')
every_notebook = pytest.mark.parametrize('name', [*build.NOTEBOOKS])


def _committed(name):
  return json.loads((COLABS / f'{name}.ipynb').read_text())


def _source(cell):
  return ''.join(cell['source'])


def test_there_is_a_notebook_of_each_script_and_no_other():
  assert {path.stem for path in COLABS.glob('*.ipynb')} == {*build.NOTEBOOKS}


@every_notebook
def test_script_and_notebook_are_as_build_writes_them(name):
  again = 'run `python colabs/build.py --only_write`'
  assert build.script(name).read_text() == build.refreshed(name), again
  notebook = build.as_text(build.notebook(name))
  assert (COLABS / f'{name}.ipynb').read_text() == notebook, again


@every_notebook
def test_a_badge_opens_this_notebook(name):
  first = _source(_committed(name)['cells'][0])
  (target,) = re.findall(
    r'\]\((https://colab[^()\s]+/colabs/[^()\s]+)\)', first
  )
  assert target.startswith('https://colab.research.google.com/github/')
  assert target.endswith(f'/blob/main/colabs/{name}.ipynb')


@every_notebook
def test_the_first_code_cell_installs_what_is_locked(name):
  cells = _committed(name)['cells']
  install = next(_source(c) for c in cells if c['cell_type'] == 'code')
  pinned = re.findall(r"'([\w-]+)(?:\[\w+\])?==([\w.]+)'", install)
  lock = (ROOT / 'requirements.lock').read_text()
  locked = {
    re.sub('[_-]', '', package.lower()): version
    for package, version in re.findall(r'^([\w.-]+)==(\S+)', lock, re.MULTILINE)
  }
  makefile = (ROOT / 'Makefile').read_text()
  (model,) = re.findall(r'^MODEL := (\S+)$', makefile, re.MULTILINE)
  assert f"MODEL = '{model}'" in install
  locked['llmsmollm2'] = model.partition('==')[2]
  assert {'flax', 'jax', 'jaxlib', 'tokenizers'} <= {p for p, _ in pinned}
  for package, version in pinned:
    assert locked[re.sub('[_-]', '', package.lower())] == version, package
  assert '--no-deps' in install
  assert 'git+' not in install and '.git' not in install


@every_notebook
def test_install_cell_does_nothing_where_the_package_is(name, monkeypatch):
  install = _source(_committed(name)['cells'][1])

  def run(*args, **kwargs):
    raise AssertionError('installs')

  monkeypatch.setattr('subprocess.run', run)
  exec(compile(install, name, 'exec'), {})


@pytest.mark.parametrize('name', [*build.NOTEBOOKS])
def test_size_is_one_field_that_can_be_seen(name):
  cells = [_source(c) for c in _committed(name)['cells']]
  sized = [each for each in cells if 'COLAB_SIZE' in each]
  assert len(sized) == 1
  assert sized[0].startswith('# @title Size')
  assert re.search(r"^size = 'default'  # @param ", sized[0], re.MULTILINE)


def test_no_output_is_committed():
  for name in build.NOTEBOOKS:
    for cell in _committed(name)['cells']:
      assert not cell.get('outputs') and not cell.get('execution_count')


def test_a_message_is_found_whose_wake_up_was_swallowed(tmp_path):
  async def took():
    context = zmq.asyncio.Context()
    address = f'ipc://{tmp_path}/socket'
    with (
      zmq.Context() as other,
      other.socket(zmq.PAIR) as kernel,
      context.socket(zmq.PAIR) as socket,
    ):
      kernel.bind(address)
      socket.connect(address)
      sessions = session.Session(key=b'key')
      channel = build.Channel(socket, sessions, None)
      waits = asyncio.create_task(channel.get_msg(timeout=60))
      await asyncio.sleep(0.1)  # Until it waits.
      sessions.send(kernel, 'status')
      # Whoever asks takes the wake-up away.
      assert zmq.Socket.shadow(socket.underlying).poll(timeout=60_000)
      start = time.monotonic()
      message = await waits
      assert message['msg_type'] == 'status'
      return time.monotonic() - start

  assert asyncio.run(took()) < 30


def test_no_message_is_an_error_when_time_is_over(tmp_path):
  async def message():
    with zmq.asyncio.Context() as context, context.socket(zmq.PAIR) as socket:
      socket.bind(f'ipc://{tmp_path}/socket')
      await build.Channel(socket, None, None).get_msg(timeout=1.1)

  with pytest.raises(queue.Empty):
    asyncio.run(message())


def _execute(name, folder, monkeypatch):
  monkeypatch.setenv('COLAB_SIZE', 'test')
  # pytest's eight devices are of no use here, and cost memory.
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  return build.execute(name, folder, timeout=600)


def _outputs(notebook):
  return [o for c in notebook.cells for o in c.get('outputs', ())]


def _pictures(notebook):
  return sum('image/png' in o.get('data', {}) for o in _outputs(notebook))


def _printed(notebook):
  return ''.join(o.get('text', '') for o in _outputs(notebook))


@pytest.mark.slow
def test_find_agreement_finds_a_statement(tmp_path, monkeypatch):
  notebook = _execute('find_agreement', tmp_path, monkeypatch)
  outcome = Outcome.from_json(
    json.loads((tmp_path / 'outcome.json').read_text())
  )
  assert [p.participant for p in outcome.participants] == [
    *('Maya', 'Oskar', 'Lena', 'Tariq')
  ]
  assert len(outcome.candidates) == 3
  assert outcome.consensus is not None
  best = outcome.candidates[outcome.consensus]
  assert best.rank == 1
  assert f'candidate #{outcome.consensus}, welfare {best.welfare:.2f}' in (
    _printed(notebook)
  )
  assert '<html' in (tmp_path / 'outcome.html').read_text()
  # The heat map, and the winners; the slider's picture lives in its widget.
  assert _pictures(notebook) == 2
  assert any(
    'application/vnd.jupyter.widget-view+json' in o.get('data', {})
    for o in _outputs(notebook)
  )
  shown = page.render(notebook)
  assert shown.count('<img') == _pictures(notebook) + 1  # and the badge
  assert 'value="Should our town close its main street to cars?"' in shown


@pytest.mark.slow
def test_reward_model_says_what_it_learned(tmp_path, monkeypatch):
  notebook = _execute('reward_model', tmp_path, monkeypatch)
  printed = _printed(notebook)
  metrics = json.loads((ROOT / 'docs' / 'models' / 'metrics.json').read_text())
  systems = {
    row['system']: row['measures']['auc']['value']
    for row in metrics['sections'][0]['rows']
  }
  gain = systems['reward model'] - systems["reward model, another's opinion"]
  (said,) = re.findall(
    r'^New conversations, described by votes: the own opinion is worth (\S+)',
    printed,
    re.MULTILINE,
  )
  assert float(said) == pytest.approx(gain, abs=0.0011)  # of rounded numbers
  spreads = re.findall(r'spread between statements[^0-9]*([\d.]+)', printed)
  assert spreads[0] == spreads[1]
  assert float(spreads[0]) > 0
  for who in ('own opinion', "another's opinion", 'mean over all opinions'):
    assert re.search(rf'^{who}: .* who differ more, ', printed, re.MULTILINE)
  assert _pictures(notebook) == 4
