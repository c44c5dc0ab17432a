"""Says in words what votes say: an opinion for people who wrote none.

A statement is given whole and its vote after it, `We need more buses. Agree.`,
and not built into a sentence, `I agree that we need more buses`: what people
write may be a question, a command, two sentences or half of one, may start with
a name or an acronym, and may deny something itself.

The vote comes after the statement because a language model reads one way: after
a statement like one that it has read before it expects what followed then. With
`I agree:` before each statement, a small model did not learn to use it at all.
"""

import random
from collections.abc import Sequence

from consensus_jax.prompts import sentence
from consensus_jax.tokenizer import Tokenizer

_VOTES = {1: 'Agree.', -1: 'Disagree.'}


def verbalise(votes: Sequence[tuple[str, int]]) -> str:
  """One line that says how somebody voted.

  Args:
    votes: pairs of a statement and 1 (agrees) or -1 (disagrees).
  """
  return ' '.join(f'{sentence(text)} {_VOTES[vote]}' for text, vote in votes)


def first_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
  """The tokens that the votes for and against begin with, after a statement.

  Raises:
    ValueError: if both begin alike.
  """
  agree, disagree = (
    tokenizer.encode(f' {_VOTES[vote]}')[0] for vote in (1, -1)
  )
  if agree == disagree:
    raise ValueError(f'the tokenizer begins {[*_VOTES.values()]} alike')
  return agree, disagree


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
  sided = [index for index, vote in enumerate(votes) if vote in _VOTES]
  shuffled = random.Random(seed).sample(sided, len(sided))
  firsts = {votes[index]: index for index in reversed(shuffled)}
  # The first of either side goes to the front, in the order of the draw.
  ordered = sorted(shuffled, key=lambda index: index != firsts[votes[index]])
  return tuple(sorted(ordered[:count]))
