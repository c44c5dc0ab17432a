"""Adapters that come with the library; `defaults` makes them."""

import pathlib

_FOLDER = pathlib.Path(__file__).parent

# Adapters of the embedded model, as `interop.adapters` reads them.
REWARD_MODEL = _FOLDER / 'reward_model'


def name_of(folder: pathlib.Path) -> str | None:
  """What a shipped folder of adapters is called; None for any other."""
  return {REWARD_MODEL: 'default reward model'}.get(folder)
