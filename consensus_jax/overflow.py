"""Opinions that are too long for a model: refused, or cut on request."""

import dataclasses
from collections.abc import Callable
from typing import Any

from consensus_jax.deliberation import Deliberation, InputError
from consensus_jax.settings import Overflow
from consensus_jax.tokenizer import Tokenizer


def fit(
  deliberation: Deliberation,
  make_prompt: Callable[[Deliberation], list[int]],
  tokenizer: Tokenizer,
  room: int,
  overflow: Overflow,
) -> tuple[Deliberation, tuple[dict[str, Any], ...]]:
  """The deliberation with a prompt of at most `room` tokens.

  Cutting takes from the end of the longest opinions first, down to a common
  length, so that the short ones stay whole.

  Args:
    deliberation: whose opinions may be too long.
    make_prompt: turns it into token ids.
    tokenizer: counts an opinion's tokens.
    room: tokens that the prompt may have.
    overflow: 'error' or 'truncate'.

  Returns:
    The deliberation, and for each opinion that was cut its participant, the
    tokens it had and kept, and the text that was lost.

  Raises:
    InputError: if it does not fit and may not be cut, or not even with every
      opinion cut to one token.
  """
  excess = len(make_prompt(deliberation)) - room
  if excess <= 0:
    return deliberation, ()
  too_long = f'the prompt is {excess} tokens longer than the model can read'
  if overflow == 'error':
    raise InputError(
      f'{too_long}; shorten the opinions, or cut the longest with '
      '--overflow truncate',
      field=('opinions',),
    )
  lengths = [len(tokenizer.encode(o.text)) for o in deliberation.opinions]

  def cut_to(most: int) -> Deliberation:
    return dataclasses.replace(
      deliberation,
      opinions=tuple(
        dataclasses.replace(o, text=_head(o.text, most, tokenizer))
        if length > most
        else o
        for o, length in zip(deliberation.opinions, lengths)
      ),
    )

  # The longest common length that fits, by bisection.
  fits, too_many = 0, max(lengths)
  while too_many - fits > 1:
    middle = (fits + too_many) // 2
    if len(make_prompt(cut_to(middle))) <= room:
      fits = middle
    else:
      too_many = middle
  if not fits:
    raise InputError(
      f'{too_long}, even with every opinion cut', field=('question',)
    )
  fitted = cut_to(fits)
  return fitted, tuple(
    {
      'participant': before.participant,
      'tokens': length,
      'kept_tokens': len(tokenizer.encode(after.text)),
      'lost': before.text[len(after.text) :].strip(),
    }
    for before, after, length in zip(
      deliberation.opinions, fitted.opinions, lengths
    )
    if after is not before
  )


def _head(text: str, num_tokens: int, tokenizer: Tokenizer) -> str:
  """The longest start of `text` of at most `num_tokens` tokens."""
  few, many = 0, len(text)
  while many - few > 1:
    middle = (few + many) // 2
    if len(tokenizer.encode(text[:middle])) <= num_tokens:
      few = middle
    else:
      many = middle
  # A text of spaces is no opinion: keep at least its first character.
  return text[:few].rstrip() or text.strip()[:1]
