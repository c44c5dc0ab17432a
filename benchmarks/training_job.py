"""Rows of tokens for the training benchmark, the same for every program.

The ids are random: no program's time depends on them.
"""

import numpy as np

VOCAB = 49152


def separate_rows(rows: int, lengths: list[int], prefix: int) -> np.ndarray:
  """[rows x statements, prefix + longest]: each statement with its prefix."""
  rng = np.random.default_rng(0)
  shape = (rows * len(lengths), prefix + max(lengths))
  return rng.integers(100, VOCAB - 100, shape)


def shared_rows(rows: int, lengths: list[int], prefix: int) -> np.ndarray:
  """[rows, prefix + all]: the prefix once, then each statement."""
  rng = np.random.default_rng(0)
  return rng.integers(100, VOCAB - 100, (rows, prefix + sum(lengths)))
