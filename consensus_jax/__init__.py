"""Finds statements that a group with diverse opinions agrees on.

>>> import consensus_jax
>>> mediator = consensus_jax.Mediator.from_pretrained()
>>> deliberation = consensus_jax.Deliberation(...)
>>> outcome = mediator.mediate(deliberation, consensus_jax.Settings(seed=1))
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from consensus_jax.deliberation import Deliberation, Opinion, Outcome
  from consensus_jax.mediator import Mediator
  from consensus_jax.settings import Settings

__version__ = '0.1.0.dev0'
__all__ = ['Deliberation', 'Mediator', 'Opinion', 'Outcome', 'Settings']

_HOMES = {
  'Deliberation': 'consensus_jax.deliberation',
  'Mediator': 'consensus_jax.mediator',
  'Opinion': 'consensus_jax.deliberation',
  'Outcome': 'consensus_jax.deliberation',
  'Settings': 'consensus_jax.settings',
}


def __getattr__(name: str) -> object:
  # Imported on first use: `import consensus_jax` alone does not start jax.
  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
