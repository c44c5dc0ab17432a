"""Runs of tokens that a text says again, as the sampler bars them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


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
