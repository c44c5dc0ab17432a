"""Small sets of examples, and runs on them in processes of their own."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from orbax.checkpoint import v1 as ocp

from consensus_jax.data import batches

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / 'tests' / 'golden'
VOCAB = 64
LENGTH = 16
STATEMENTS = 3
# Compiled programs, for all processes that tests start.
_cache = tempfile.TemporaryDirectory(prefix='consensus_jax_training_')

MODEL = f"""
from __gin__ import dynamic_registration
from consensus_jax.model import config
MODEL = @config.ModelConfig()
config.ModelConfig:
  vocab_size = {VOCAB}
  num_layers = 2
  embed_dim = 16
  num_heads = 4
  num_kv_heads = 2
  head_dim = 4
  mlp_dim = 32
  max_length = 64
"""


def sft_examples(path, num_examples=40, seed=0):
  """Packed rows of two counting sequences each: something can be learnt."""
  rng = np.random.default_rng(seed)
  start = rng.integers(1, VOCAB, (num_examples, 2, 1))
  half = LENGTH // 2
  ids = 1 + (start + np.arange(half + 1)) % (VOCAB - 1)
  segments = np.repeat([[1, 2]], half, axis=1).repeat(num_examples, axis=0)
  weights = np.ones((num_examples, LENGTH), np.float32)
  weights[:, [0, half]] = 0
  segments[::4, half:], weights[::4, half:] = 0, 0
  features = {
    'tokens': ids[:, :, :-1].reshape(num_examples, LENGTH),
    'targets': ids[:, :, 1:].reshape(num_examples, LENGTH),
    'segment_ids': segments,
    'positions': np.tile(np.arange(half), 2)[None].repeat(num_examples, 0),
  }
  features = {name: x.astype(np.int32) for name, x in features.items()}
  features['loss_weights'] = weights
  batches.write_examples(path, [features], kind='sft')
  return path


def reward_examples(path, num_examples=40, seed=0, judgement='agreement'):
  """Members who like statements by how large their one token is."""
  rng = np.random.default_rng(seed)
  prefix, of_one = 4, 4
  lengths = [prefix, *[of_one] * STATEMENTS]
  segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)
  positions = [np.arange(prefix)]
  positions += [prefix + np.arange(of_one)] * STATEMENTS
  tokens = rng.integers(1, VOCAB, (num_examples, LENGTH))
  ends = prefix + of_one * np.arange(1, STATEMENTS + 1) - 1
  levels = 1 + np.floor(6.9 * tokens[:, ends] / VOCAB)
  levels[::5, -1] = np.nan
  count = np.arange(num_examples)
  features = {
    'tokens': tokens,
    'segment_ids': np.tile(segments, (num_examples, 1)),
    'positions': np.tile(np.concatenate(positions), (num_examples, 1)),
    'ends': np.tile(ends, (num_examples, 1)),
    'participants': count % 7,
    'questions': count % 3,
  }
  features = {name: x.astype(np.int32) for name, x in features.items()}
  features['levels'] = levels.astype(np.float32)
  features['weights'] = np.ones(num_examples, np.float32)
  batches.write_examples(
    path, [features], {'judgement': judgement}, kind='reward'
  )
  return path


def environment(devices=1):
  """Of a process with this many devices, which compiles little and once."""
  return os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_ENABLE_COMPILATION_CACHE': 'true',
    'JAX_COMPILATION_CACHE_DIR': _cache.name,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
    'XLA_FLAGS': (
      f'--xla_force_host_platform_device_count={devices} '
      '--xla_backend_optimization_level=0 '
      '--xla_llvm_disable_expensive_passes=true'
    ),
  }


@contextlib.contextmanager
def compilations_kept():
  """Compiles each program of this process once, for all tests of a module."""
  wanted = {
    'jax_enable_compilation_cache': True,
    'jax_compilation_cache_dir': _cache.name,
    'jax_persistent_cache_min_compile_time_secs': 0.0,
  }
  before = {name: jax.config.values[name] for name in wanted}
  for name, value in wanted.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def arguments(kind, model_dir, train, validation=None, **macros):
  """Of an entry point, for a tiny run."""
  given = {
    'MODEL_DIR': str(model_dir),
    'TRAIN_DATA': str(train),
    'VALIDATION_DATA': None if validation is None else str(validation),
    'COMPUTE_DTYPE': 'float32',
    'PRETRAINED': None,
    'BATCH_SIZE': 8,
    'NUM_STEPS': 10,
    'WARMUP_STEPS': 2,
    'LEARNING_RATE': 1e-2,
    **macros,
  }
  # In the folder's parent, so that the run's folder stays its own.
  model = pathlib.Path(model_dir).parent / 'tiny.gin'
  model.write_text(MODEL)
  return [
    f'--gin_file=runs/{kind}.gin',
    f'--gin_file={model}',
    *(
      f'--gin.{name}={value if isinstance(value, Gin) else repr(value)}'
      for name, value in given.items()
    ),
  ]


class Gin(str):
  """A value in gin's own words."""


def start(kind, args, devices=1, before=()):
  return subprocess.Popen(
    [*before, sys.executable, '-m', f'consensus_jax.train_{kind}', *args],
    env=environment(devices),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(kind, args, devices=1, timeout=240):
  """Runs an entry point to its end; (exit code, standard error)."""
  process = start(kind, args, devices)
  try:
    _, errors = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, errors


def kill_when(process, condition, number=signal.SIGKILL, timeout=240):
  """Sends a signal as soon as `condition()` holds; (exit code, errors)."""
  deadline = time.monotonic() + timeout
  while not condition() and process.poll() is None:
    assert time.monotonic() < deadline, 'it never came to that'
    time.sleep(0.002)
  if process.poll() is None:
    process.send_signal(number)
  try:
    _, errors = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, errors


def lines(model_dir, kind=None):
  """Those of metrics.jsonl that are whole."""
  path = pathlib.Path(model_dir, 'metrics.jsonl')
  if not path.exists():
    return []
  text = path.read_text()
  whole = text[: text.rfind('\n') + 1].splitlines()
  values = [json.loads(line) for line in whole]
  return [value for value in values if kind in (None, value['kind'])]


def arrays(model_dir, step):
  """All arrays of a checkpoint, as they are on disk."""
  path = pathlib.Path(model_dir, 'checkpoints', str(step))
  # As numpy: the devices may not be those that it was saved from.
  metadata = ocp.checkpointables_metadata(path).metadata['state']
  empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), metadata)
  state = ocp.load_checkpointables(path, {'state': empty})['state']
  leaves = {}

  def walk(tree, place):
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, child in children:
      if isinstance(child, dict | list | tuple):
        walk(child, (*place, name))
      elif child is not None:
        leaves[(*place, name)] = np.asarray(child)

  walk(state, ())
  assert len(leaves) > 10
  return leaves
