"""What ARCHITECTURE.md promises and import-linter cannot see."""

import pathlib
import subprocess
import sys

import jax.numpy as jnp
import jaxtyping
import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_LIBRARY = _ROOT / 'consensus_jax'
_FOLDERS = 'benchmarks colabs consensus_jax docs examples gin launch tests'
_TEXT = {'.gin', '.html', '.ipynb', '.json', '.jsonl', '.md', '.py', '.toml'}

# Rooms and modules that inference does without.
_NOT_INFERENCE = {'data', 'training', 'evaluation', 'study', 'gin_utils'}

# Notes every attempt to import one of these, installed or not.
_WATCH = """
import importlib.abc, sys
tried = []
class Watch(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path, target=None):
    if name.partition('.')[0] in sys.argv[1].split(','):
      tried.append(name)
sys.meta_path.insert(0, Watch())
"""


def _tried_imports(code, watched):
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      f'{_WATCH}\n{code}\nprint("tried", *tried)',
      ','.join(watched),
    ],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()[-1].split()[1:]


def _inference_modules():
  for path in sorted(_LIBRARY.rglob('*.py')):
    parts = path.relative_to(_ROOT).with_suffix('').parts
    if parts[1] not in _NOT_INFERENCE and parts[-1] != '__main__':
      yield '.'.join(parts).removesuffix('.__init__')


def test_inference_never_imports_tensorflow():
  modules = list(_inference_modules())
  assert 'consensus_jax.model.config' in modules
  tried = _tried_imports(
    '\n'.join(f'import {module}' for module in modules),
    ['gin', 'seqio', 'tensorflow', 'tensorflow_datasets', 'torch'],
  )
  assert not tried


def test_the_watch_sees_imports():
  code = 'try:\n  import tensorflow.data\nexcept ImportError: pass'
  assert _tried_imports(code, ['tensorflow'])[0] == 'tensorflow'


@pytest.mark.parametrize('module', ['consensus_jax', 'consensus_jax.cli'])
def test_starting_is_light(module):
  heavy = ['jax', 'jaxlib', 'flax', 'numpy', 'scipy', 'tokenizers', 'rich']
  assert not _tried_imports(f'import {module}', heavy)


def test_public_names_are_found_on_first_use():
  import consensus_jax
  from consensus_jax import deliberation, mediator, settings

  assert consensus_jax.Mediator is mediator.Mediator
  assert consensus_jax.Settings is settings.Settings
  for name in ('Deliberation', 'Opinion', 'Outcome'):
    assert getattr(consensus_jax, name) is getattr(deliberation, name)
  with pytest.raises(AttributeError, match='no attribute'):
    _ = consensus_jax.Absent


def test_annotations_are_checked_in_every_test():
  from consensus_jax.social_choice import welfare

  utilities = jnp.ones((2, 3))
  with pytest.raises(jaxtyping.TypeCheckError, match='weights'):
    welfare.isoelastic_welfare(utilities, 0.0, weights=jnp.ones((2, 4)))
  with pytest.raises(jaxtyping.TypeCheckError, match='alpha'):
    welfare.isoelastic_welfare(utilities, 'nash')


def test_files_can_be_read_in_one_sitting():
  lengths = {
    str(path.relative_to(_ROOT)): len(path.read_text().splitlines())
    for path in _LIBRARY.rglob('*.py')
  }
  assert {name: n for name, n in lengths.items() if n > 450} == {}


def test_no_drawer_for_everything():
  names = {path.stem for path in _LIBRARY.rglob('*.py')}
  assert not names & {'utils', 'util', 'helpers', 'misc', 'common', 'base'}


def test_no_path_of_one_machine():
  paths = [path for path in _ROOT.iterdir() if path.is_file()]
  for folder in _FOLDERS.split():
    paths += (_ROOT / folder).rglob('*')
  local = ['/' + name + '/' for name in ('work', 'root', 'home', 'Users')]
  found = {
    f'{path.relative_to(_ROOT)}: {word}'
    for path in paths
    if path.suffix in _TEXT | {''} and path.is_file()
    for word in local
    if word in path.read_text(encoding='utf-8', errors='replace')
  }
  assert not found
