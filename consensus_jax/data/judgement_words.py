"""Ratings and votes as people and their tools write them, made numbers."""

from collections.abc import Mapping

from consensus_jax.data.near_duplicates import words
from consensus_jax.strict_json import InputError

# What stands for no answer; MOCK does in the data of the Habermas Machine.
_MISSING = frozenset(('', 'mock', 'na', 'n a', 'nan', 'none', 'null'))
_AGREEMENT = {
  'strongly disagree': 1,
  'disagree': 2,
  'somewhat disagree': 3,
  'slightly disagree': 3,
  'neutral': 4,
  'neither agree nor disagree': 4,
  'somewhat agree': 5,
  'slightly agree': 5,
  'agree': 6,
  'strongly agree': 7,
}
_QUALITY = {
  'terrible': 1,
  'poor': 2,
  'somewhat poor': 3,
  'neutral': 4,
  'somewhat good': 5,
  'good': 6,
  'excellent': 7,
}
_VOTES = {
  'disagree': -1,
  'against': -1,
  'no': -1,
  'pass': 0,
  'abstain': 0,
  'unsure': 0,
  'agree': 1,
  'for': 1,
  'yes': 1,
}


def likert_agreement(text: str) -> int | None:
  """1 (strongly disagree) to 7 (strongly agree); None for no answer.

  Raises:
    InputError: if it is neither a number of the scale nor one of its words.
  """
  return _judgement(text, range(1, 8), _AGREEMENT)


def likert_quality(text: str) -> int | None:
  """1 (terrible quality) to 7 (excellent quality); None for no answer.

  Raises:
    InputError: if it is neither a number of the scale nor one of its words.
  """
  return _judgement(text, range(1, 8), _QUALITY)


def vote(text: str) -> int | None:
  """-1 (against), 0 (pass) or 1 (for); None for no answer.

  Raises:
    InputError: if it is neither such a number nor a word for one.
  """
  return _judgement(text, range(-1, 2), _VOTES)


def rank(text: str, best: int) -> int | None:
  """0 for the best; None for no answer.

  Raises:
    InputError: if it is no whole number from `best` on.
  """
  if _plain(text) in _MISSING:
    return None
  number = whole_number(text)
  if number is None or number < best:
    raise InputError(f'is no whole number from {best} (the best) on')
  return number - best


def whole_number(text: str) -> int | None:
  """The number, also as spreadsheets write it, '5.0'; None if it is none."""
  try:
    number = float(text)
    return int(number) if number == int(number) else None
  except (ValueError, OverflowError):
    return None


def _plain(text: str) -> str:
  return ' '.join(words(text.replace('_', ' '))).removesuffix(' quality')


def _judgement(
  text: str, scale: range, by_words: Mapping[str, int]
) -> int | None:
  plain = _plain(text)
  if plain in _MISSING:
    return None
  number = by_words.get(plain, whole_number(text))
  if number not in scale:
    raise InputError(
      f'is neither from {scale[0]} to {scale[-1]} nor one of '
      f'{", ".join(by_words)}'
    )
  return number
