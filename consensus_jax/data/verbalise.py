"""Says in words what votes say: an opinion for people who wrote none.

A statement is quoted whole, `I agree: "We need more buses."`, and not built
into a sentence, `I agree that we need more buses`: what people write may be a
question, a command, two sentences or half of one, may start with a name or an
acronym, and may deny something itself. Quoted, each of them stays English and
keeps its meaning.
"""

import random
import re
from collections.abc import Sequence

_VERBS = {1: 'I agree', -1: 'I disagree'}
_QUOTES = re.compile('["“”„«»]')
_ENDS = re.compile(r'[.!?…][\'’)\]]*$')


def verbalise(votes: Sequence[tuple[str, int]]) -> str:
  """One line that says how somebody voted.

  Args:
    votes: pairs of a statement and 1 (agrees) or -1 (disagrees).
  """
  return ' '.join(f'{_VERBS[vote]}: {quoted(text)}' for text, vote in votes)


def quoted(text: str) -> str:
  """`text` as one quoted sentence; quotation marks inside become single."""
  text = _QUOTES.sub("'", ' '.join(text.split()))
  return f'"{text}"' if _ENDS.search(text) else f'"{text}."'


def choose(votes: Sequence[int], count: int, seed: str) -> tuple[int, ...]:
  """Which votes to put into words: a seeded draw among those with a side.

  Args:
    votes: 1, -1, and anything else for a vote without a side.
    count: how many to choose, at most; from two on, one of each side is among
      them if there is one of each side.
    seed: equal seeds choose alike.

  Returns:
    Indices of `votes`, ascending.
  """
  sided = [index for index, vote in enumerate(votes) if vote in _VERBS]
  shuffled = random.Random(seed).sample(sided, len(sided))
  firsts = {votes[index]: index for index in reversed(shuffled)}
  # The first of either side goes to the front, in the order of the draw.
  ordered = sorted(shuffled, key=lambda index: index != firsts[votes[index]])
  return tuple(sorted(ordered[:count]))
