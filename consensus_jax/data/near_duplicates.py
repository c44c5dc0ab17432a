"""Texts that say nearly the same in the same words, or mean nearly the same.

Two texts are near-duplicates by the share of word 3-grams that they have in
common (Jaccard; Broder 1997, "On the resemblance and containment of
documents"). An inverted index finds them exactly: there is no hashing by
chance, and the same texts give the same answer in every run.
"""

import collections
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_SHINGLE = 3
_WORD = re.compile(r'\w+')
Shingle = tuple[str, ...]


def words(text: str) -> list[str]:
  """The words of a text without case, punctuation and forms of writing."""
  return _WORD.findall(unicodedata.normalize('NFKC', text).casefold())


def normalised(text: str) -> str:
  """Equal for texts that differ in case, punctuation and white space only."""
  return ' '.join(words(text)) or text.strip()


def shingles(text: str) -> frozenset[Shingle]:
  """Its word 3-grams, with a mark at either end, so that no text has none."""
  marked = ['^', *words(text), '$']
  size = min(_SHINGLE, len(marked))
  return frozenset(
    tuple(marked[start : start + size])
    for start in range(len(marked) - size + 1)
  )


class NearDuplicates:
  """Texts seen so far, to be asked whether a new one is much like one of them.

  Asking costs as much as there are shared 3-grams, not as there are texts.
  """

  def __init__(self, threshold: float):
    """`threshold`: the least share of 3-grams, in (0, 1], that makes two
    texts near-duplicates.
    """
    if not 0 < threshold <= 1:
      raise ValueError(f'threshold must be in (0, 1], got {threshold}')
    self._threshold = threshold
    self._sizes: list[int] = []
    self._places: dict[Shingle, list[int]] = {}

  def find(self, text: str) -> tuple[int, float] | None:
    """The number of the most similar text, and its similarity.

    None if no text reaches the threshold. Of equally similar ones the first.
    """
    own = shingles(text)
    shared = collections.Counter(
      place for shingle in own for place in self._places.get(shingle, ())
    )
    best = max(
      (
        (count / (len(own) + self._sizes[place] - count), -place)
        for place, count in shared.items()
      ),
      default=(0.0, 0),
    )
    if best[0] < self._threshold:
      return None
    return -best[1], best[0]

  def add(self, text: str) -> None:
    """Remembers a text; texts are numbered from 0."""
    own = shingles(text)
    for shingle in own:
      self._places.setdefault(shingle, []).append(len(self._sizes))
    self._sizes.append(len(own))


def distinct(texts: Sequence[str], threshold: float) -> list[int]:
  """Indices of the texts that are no near-duplicate of an earlier kept one."""
  kept: list[int] = []
  seen = NearDuplicates(threshold)
  for index, text in enumerate(texts):
    if seen.find(text) is None:
      seen.add(text)
      kept.append(index)
  return kept


def distinct_by_cosine(
  embeddings: Float[np.ndarray, 'texts embed'], threshold: float
) -> list[int]:
  """Indices of the rows whose cosine to every earlier kept one is lower.

  Args:
    embeddings: of length 1 each.
    threshold: a cosine; what means the same depends on the embedder.
  """
  kept: list[int] = []
  for index, row in enumerate(embeddings):
    if not kept or (embeddings[kept] @ row).max() < threshold:
      kept.append(index)
  return kept
