"""The seed deliberations that ship with the library; docs/data/seed.md."""

from importlib import resources

from consensus_jax.data import record_files
from consensus_jax.data.records import JudgedDeliberation


def read() -> tuple[JudgedDeliberation, ...]:
  """Those whose statements are rated, in order."""
  return _read('deliberations.jsonl')


def read_unrated() -> tuple[JudgedDeliberation, ...]:
  """Others, with statements in their members' own words alone, in order."""
  return _read('unrated.jsonl')


def _read(name: str) -> tuple[JudgedDeliberation, ...]:
  file = resources.files('consensus_jax.data') / 'seed' / name
  with resources.as_file(file) as path:
    return tuple(record_files.read(path))
