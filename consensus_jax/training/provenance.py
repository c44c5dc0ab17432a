"""What a result came from: settings, versions, revision of the code."""

import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any

import consensus_jax

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def provenance() -> dict[str, Any]:
  """Versions, and the revision of a checkout; None of an installed package."""
  return {
    'consensus_jax': consensus_jax.__version__,
    'git': _revision(),
    'python': platform.python_version(),
    'packages': {name: importlib.metadata.version(name) for name in _PACKAGES},
  }


def _revision() -> str | None:
  folder = pathlib.Path(__file__).parent
  try:
    # Only if this file is tracked: not that of a repository around it.
    subprocess.run(
      ['git', 'ls-files', '--error-unmatch', __file__],
      cwd=folder,
      check=True,
      capture_output=True,
      timeout=10,
    )
    found = subprocess.run(
      ['git', 'describe', '--always', '--abbrev=40', '--dirty', '--exclude=*'],
      cwd=folder,
      check=True,
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return found.stdout.strip()
