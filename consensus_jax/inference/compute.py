"""What this machine computes with: number type, and where compilations stay."""

import os
import pathlib

import jax
import ml_dtypes
import numpy as np

# Processor flags, any of which makes bfloat16 products faster than float32.
_BFLOAT16_FLAGS = frozenset({'avx512_bf16', 'amx_bf16', 'bf16', 'svebf16'})


def choose_dtype(name: str | None = None) -> np.dtype:
  """The dtype of weights and products: `name`, or what the hardware does best.

  Raises:
    ValueError: if `name` is neither 'float32' nor 'bfloat16'.
  """
  if name is None:
    fast = jax.default_backend() != 'cpu' or _cpu_has_bfloat16()
    name = 'bfloat16' if fast else 'float32'
  if name == 'bfloat16':
    return np.dtype(ml_dtypes.bfloat16)
  if name == 'float32':
    return np.dtype(np.float32)
  raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {name!r}")


def _cpu_has_bfloat16() -> bool:
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return False
  for line in text.splitlines():
    name, _, flags = line.partition(':')
    if name.strip() in ('flags', 'Features'):
      return not _BFLOAT16_FLAGS.isdisjoint(flags.split())
  return False


def keep_compilations() -> None:
  """Keeps compiled programs on disk, so that a second run starts at once.

  In `$XDG_CACHE_HOME/consensus_jax/xla`. Does nothing if the user has set
  jax's own `jax_compilation_cache_dir`, or if no such folder can be made.
  """
  if jax.config.values['jax_compilation_cache_dir']:
    return
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  try:
    folder = pathlib.Path(base).expanduser() / 'consensus_jax' / 'xla'
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
