"""Runs of tokens that a text says again, as the sampler bars them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

# No token is as large, so that none equals it.
PADDING = np.iinfo(np.int32).max
# So many tokens in a row of a question name it, in an opinion as well.
_FREE_RUN = 4


def source(
  prompt: Sequence[int],
  length: int,
  free: Sequence[int],
  size: int | None,
) -> Int[np.ndarray, 'length']:
  """The prompt as texts are compared with, padded to `length`.

  Padding also takes the place of the last token of each run that is free: what
  is copied counts anew then.

  Args:
    prompt: token ids.
    length: at least that of the prompt.
    free: tokens, such as a question's.
    size: of a run that is barred; None if none is.
  """
  found = np.full(length, PADDING, np.int32)
  found[: len(prompt)] = prompt
  run = min(size or _FREE_RUN, _FREE_RUN)
  free_runs = {tuple(free[i : i + run]) for i in range(len(free) - run + 1)}
  for end in range(run, len(prompt) + 1):
    if tuple(prompt[end - run : end]) in free_runs:
      found[end - 1] = PADDING
  return found


def runs(
  before: Int[Array, 'rows length'],
  text: Int[Array, '*texts length'],
  token: Int[Array, 'rows'],
) -> Int[Array, 'rows length']:
  """How many tokens of `text`, up to each place, equal a row's newest tokens.

  Args:
    before: the same before the newest token.
    text: one for all rows, or one of each.
    token: the newest of each row.
  """
  longer = 1 + jnp.pad(before, ((0, 0), (1, 0)))[:, :-1]
  return jnp.where(text == token[:, None], longer, 0)


def would_go_on(
  found: Int[Array, 'rows length'],
  text: Int[Array, '*texts length'],
  size: Int[Array, ''],
  vocab: int,
) -> Bool[Array, 'rows vocab']:
  """Tokens with which `size` or more in a row would equal a text's.

  Args:
    found: `runs` in the text.
    text: one for all rows, or one of each; tokens beyond `vocab` are none.
    size: of a run, at least 2.
    vocab: how many tokens there are.
  """
  following = jnp.broadcast_to(text, found.shape)[:, 1:]
  rows = jnp.arange(len(found))[:, None]
  none = jnp.zeros((len(found), vocab), bool)
  return none.at[rows, following].max(found[:, :-1] >= size - 1, mode='drop')
