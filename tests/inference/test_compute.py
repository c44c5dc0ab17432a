import os
import pathlib
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest

from consensus_jax.inference import compute

FOLDER = 'jax_compilation_cache_dir'
SECONDS = 'jax_persistent_cache_min_compile_time_secs'


@pytest.fixture
def cache_settings():
  """jax's settings of the cache, as they were before, after the test."""
  before = {name: jax.config.values[name] for name in (FOLDER, SECONDS)}
  jax.config.update(FOLDER, None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_a_named_dtype_is_taken():
  assert compute.choose_dtype('float32') == np.float32
  assert compute.choose_dtype('bfloat16') == ml_dtypes.bfloat16
  with pytest.raises(ValueError, match="'float16'"):
    compute.choose_dtype('float16')


@pytest.mark.parametrize(
  'text, expected',
  [
    ('processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n', 'bfloat16'),
    ('flags : fpu amx_bf16 amx_tile\n', 'bfloat16'),
    ('processor : 0\nFeatures : fp asimd bf16\n', 'bfloat16'),
    ('flags : fpu avx512f avx2\nbugs : bf16\n', 'float32'),
    # A name that begins alike is another flag.
    ('Features : fp asimd bf16x\n', 'float32'),
    ('', 'float32'),
    (None, 'float32'),
  ],
)
def test_the_processor_decides(monkeypatch, text, expected):
  real = pathlib.Path.read_text

  def read_text(path, *args, **kwargs):
    if str(path) != '/proc/cpuinfo':
      return real(path, *args, **kwargs)  # jax looks for its plugins so
    if text is None:
      raise FileNotFoundError(path)
    return text

  monkeypatch.setattr(pathlib.Path, 'read_text', read_text)
  assert compute.choose_dtype().name == expected


def test_compilations_are_kept_in_the_cache_folder(
  monkeypatch, tmp_path, cache_settings
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  compute.keep_compilations()
  folder = tmp_path / 'consensus_jax' / 'xla'
  assert jax.config.values[FOLDER] == str(folder) and folder.is_dir()


def test_a_folder_that_the_user_chose_stays(
  monkeypatch, tmp_path, cache_settings
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  jax.config.update(FOLDER, str(tmp_path / 'own'))
  compute.keep_compilations()
  assert jax.config.values[FOLDER] == str(tmp_path / 'own')
  assert not (tmp_path / 'cache').exists()


def test_without_a_folder_nothing_is_kept(
  monkeypatch, tmp_path, cache_settings
):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  compute.keep_compilations()
  assert jax.config.values[FOLDER] is None


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
  """And a process of a home that cannot be written runs without."""
  program = (
    'import jax, sys\n'
    'from consensus_jax.inference import compute\n'
    'hits = []\n'
    'jax.monitoring.register_event_listener(\n'
    "  lambda event, **_: 'cache_hits' in event and hits.append(event))\n"
    'compute.keep_compilations()\n'
    "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
    'print(jax.jit(lambda x: x * 2)(21), len(hits))\n'
  )
  environment = os.environ | {
    'XDG_CACHE_HOME': str(tmp_path / 'cache'),
    'JAX_ENABLE_COMPILATION_CACHE': 'true',
  }

  def run():
    result = subprocess.run(
      [sys.executable, '-c', program],
      env=environment,
      capture_output=True,
      text=True,
      check=True,
    )
    return result.stdout.split()

  assert run() == ['42', '0']
  value, hits = run()
  assert value == '42' and int(hits) > 0
