"""Draws tokens from what temperature and filters leave of a distribution."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

# Draws that the filters may reject before the rows sort their vocabulary:
# worth a sort, and reached by one row in a thousand if a tenth of the mass
# passes.
_MAX_DRAWS = 64
_VOCAB_BLOCK = 128


def draw_filtered(
  scaled: Float[Array, 'rows vocab'], keys: Key[Array, 'rows'], draw: Any
) -> Int[Array, 'rows']:
  """Draws from the distribution that the filters leave, without sorting it.

  A token is drawn from the whole distribution and kept if it passes the
  filters, which takes two sums over the vocabulary; rows whose token does not
  pass draw again. That is exactly a draw from the filtered distribution.

  Args:
    scaled: logits over the temperature; minus infinity is never drawn.
    keys: of this step's draws.
    draw: the `sampler.Draw` that holds `top_p`, `top_k` and `min_p`.
  """
  probs = jax.nn.softmax(scaled, axis=-1)
  rows, vocab = probs.shape
  likeliest = probs.max(-1)
  # Inverse of the cumulative distribution, in two levels.
  padding = -vocab % _VOCAB_BLOCK
  blocks = jnp.pad(probs, ((0, 0), (0, padding)))
  blocks = blocks.reshape(rows, -1, _VOCAB_BLOCK)
  block_ends = jnp.cumsum(blocks.sum(-1), axis=-1)

  def invert(uniform):
    target = uniform * block_ends[:, -1]
    block = _first_above(block_ends, target)
    before = jnp.take_along_axis(block_ends, block[:, None] - 1, axis=1)[:, 0]
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    target = target - jnp.where(block > 0, before, 0)
    token = _first_above(jnp.cumsum(inside, axis=-1), target)
    return jnp.minimum(block * _VOCAB_BLOCK + token, vocab - 1)

  def attempt(carry):
    number, token, accepted = carry
    uniform = jax.vmap(
      lambda key: jax.random.uniform(jax.random.fold_in(key, number))
    )(keys)
    drawn = invert(uniform)
    prob = jnp.take_along_axis(probs, drawn[:, None], axis=1)
    above = probs > prob
    passes = (jnp.where(above, probs, 0).sum(-1) < draw.top_p) & (
      above.sum(-1) < draw.top_k
    )
    passes &= (prob[:, 0] > 0) & (prob[:, 0] >= draw.min_p * likeliest)
    return number + 1, jnp.where(accepted, token, drawn), accepted | passes

  def again(carry):
    number, _, accepted = carry
    return (number < _MAX_DRAWS) & ~accepted.all()

  first = (0, jnp.zeros((rows,), jnp.int32), jnp.zeros((rows,), bool))
  _, token, accepted = jax.lax.while_loop(again, attempt, first)
  return jax.lax.cond(
    accepted.all(),
    lambda: token,
    lambda: jnp.where(accepted, token, _draw_sorted(probs, keys, draw)),
  )


def _draw_sorted(probs, keys, draw):
  """The same draw at the cost of a sort, however little the filters leave."""
  tokens = jnp.argsort(-probs, axis=-1)
  probs = jnp.take_along_axis(probs, tokens, axis=1)
  # Equal tokens share the place of their first, and the mass before it.
  place = jax.vmap(lambda row: jnp.searchsorted(-row, -row))(probs)
  mass = jnp.take_along_axis(jnp.cumsum(probs, -1) - probs, place, axis=1)
  passes = (mass < draw.top_p) & (place < draw.top_k)
  passes &= (probs > 0) & (probs >= draw.min_p * probs[:, :1])
  ends = jnp.cumsum(jnp.where(passes, probs, 0), axis=-1)
  uniform = jax.vmap(
    lambda key: jax.random.uniform(jax.random.fold_in(key, _MAX_DRAWS))
  )(keys)
  index = _first_above(ends, uniform * ends[:, -1])
  index = jnp.minimum(index, passes.sum(-1) - 1)
  return jnp.take_along_axis(tokens, index[:, None], axis=1)[:, 0]


def _first_above(cumulative, target):
  """Index of the first entry above `target`, or, by rounding, the last."""
  index = (cumulative <= target[:, None]).sum(-1)
  return jnp.minimum(index, cumulative.shape[-1] - 1).astype(jnp.int32)
