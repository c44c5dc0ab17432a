"""The job that every program in the comparison does, as token ids.

Sizes of a real deliberation with SmolLM2: a question and five opinions in the
prompt, sixteen statements. The ids are random: no program's time depends on
them, and end-of-text is ignored so that all write the same number.
"""

import numpy as np

VOCAB = 49152
PROMPT_TOKENS = 497
NUM_CANDIDATES = 16
NEW_TOKENS = 96
TEMPERATURE = 0.8
TOP_P = 0.95
NUM_MEMBERS = 5


def prompt(length: int = PROMPT_TOKENS) -> list[int]:
  """A prompt of ordinary tokens."""
  return np.random.default_rng(0).integers(100, VOCAB - 100, length).tolist()


def members(number: int = NUM_MEMBERS) -> list[list[int]]:
  """Each member's question and opinion: 98 to 114 tokens."""
  rng = np.random.default_rng(1)
  lengths = np.linspace(98, 114, number).round().astype(int)
  return [rng.integers(100, VOCAB - 100, n).tolist() for n in lengths]


def candidates(number: int = NUM_CANDIDATES) -> list[list[int]]:
  """Statements of 33 to 96 tokens, 72 on average, in no order of length."""
  rng = np.random.default_rng(2)
  # Rising steeply to the longest: the mean is 72, not halfway.
  lengths = 33 + 63 * np.linspace(0, 1, number) ** 0.6
  lengths = rng.permutation(lengths.round().astype(int))
  return [rng.integers(100, VOCAB - 100, n).tolist() for n in lengths]
