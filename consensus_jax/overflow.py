"""Opinions that are too long for a model: refused, or cut on request."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
  places = [starts(o.text, tokenizer) for o in deliberation.opinions]
  lengths = [len(each) for each in places]

  def cut_to(most: int) -> Deliberation:
    return dataclasses.replace(
      deliberation,
      opinions=tuple(
        dataclasses.replace(o, text=_head(o.text, each[most]))
        if len(each) > most
        else o
        for o, each in zip(deliberation.opinions, places)
      ),
    )

  # The longest common length that fits: from where the opinions' own tokens
  # put it in ever larger steps, then by bisection.
  fits, too_many = 0, max(lengths)
  guess, step = _common_length(lengths, excess), 1
  while too_many - fits > 1:
    near = fits < guess < too_many
    middle = guess if near else (fits + too_many) // 2
    if len(make_prompt(cut_to(middle))) <= room:
      fits, guess = middle, middle + step
    else:
      too_many, guess = middle, middle - step
    step *= 2
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


def _common_length(lengths: Sequence[int], excess: int) -> int:
  """The largest length to which cutting all takes away `excess` tokens."""
  over, remaining = 0, sorted(lengths)
  while remaining:
    longest = remaining.pop()
    over += 1
    # What `over` opinions lose if they come down to the next one's length.
    lost = over * (longest - (remaining[-1] if remaining else 0))
    if lost >= excess:
      return longest - -(-excess // over)
    excess -= lost
  return 0


@functools.lru_cache(maxsize=1024)
def starts(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
  """Where in the text each of its tokens starts."""
  encoding = tokenizer.plain.encode(text, add_special_tokens=False)
  return tuple(start for start, _ in encoding.offsets)


def _head(text: str, end: int) -> str:
  """The text up to a place, without white space there."""
  # A text of spaces is no opinion: keep at least its first character.
  return text[:end].rstrip() or text.strip()[:1]
