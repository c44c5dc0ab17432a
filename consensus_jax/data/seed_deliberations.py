"""The seed deliberations that ship with the library; docs/data/seed.md."""

from importlib import resources

from consensus_jax.data import record_files
from consensus_jax.data.records import JudgedDeliberation


def read() -> tuple[JudgedDeliberation, ...]:
  """All of them, in order."""
  file = resources.files('consensus_jax.data') / 'seed/deliberations.jsonl'
  with resources.as_file(file) as path:
    return tuple(record_files.read(path))
