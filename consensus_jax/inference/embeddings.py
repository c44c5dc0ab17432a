"""Sentence embeddings: the policy's own hidden states, averaged."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from consensus_jax.inference.buckets import bucket
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params, causal_mask, hidden
from consensus_jax.partitioning import constrain

# Texts of like length travel together, so that little is padding.
_TEXTS_PER_CALL = 32
_SMALLEST_WIDTH = 16


def embed(
  params: Params,
  config: ModelConfig,
  texts: Sequence[Sequence[int]],
  *,
  progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, 'texts embed']:
  """The mean of a text's last hidden states, of length 1.

  What else is in a call, and how much of it is padding, changes nothing
  beyond rounding.

  Args:
    params: of the model, stacked or from `unstack_layers`.
    config: of the model.
    texts: token ids; none may be empty.
    progress: called with (texts done, texts in all).

  Returns:
    float32, in the order given.

  Raises:
    ValueError: for a text of no tokens, or of more than the model can read.
  """
  for index, text in enumerate(texts):
    if not 0 < len(text) <= config.max_length:
      raise ValueError(
        f'texts[{index}] must have 1 to {config.max_length} tokens, has '
        f'{len(text)}'
      )
  embeddings = np.zeros((len(texts), config.embed_dim), np.float32)
  order = np.argsort([len(text) for text in texts], kind='stable')
  for start in range(0, len(order), _TEXTS_PER_CALL):
    chosen = order[start : start + _TEXTS_PER_CALL]
    width = bucket(len(texts[chosen[-1]]), smallest=_SMALLEST_WIDTH)
    # A short last call is filled with rows of one token that nobody reads.
    tokens = np.zeros(
      (_TEXTS_PER_CALL, min(width, config.max_length)), np.int32
    )
    lengths = np.ones(_TEXTS_PER_CALL, np.int32)
    for row, index in enumerate(chosen):
      lengths[row] = len(texts[index])
      tokens[row, : lengths[row]] = texts[index]
    means = np.asarray(_mean_states(params, tokens, lengths, config=config))
    embeddings[chosen] = means[: len(chosen)]
    if progress:
      progress(start + len(chosen), len(texts))
  return embeddings


@functools.partial(jax.jit, static_argnames='config')
def _mean_states(
  params: Params,
  tokens: Int[Array, 'rows length'],
  lengths: Int[Array, 'rows'],
  *,
  config: ModelConfig,
) -> Float[Array, 'rows embed']:
  length = tokens.shape[1]
  tokens = constrain(tokens, 'batch', 'length')
  # Padding is on the right, where no token sees it.
  x, _ = hidden(
    params, config, tokens, jnp.arange(length)[None], causal_mask(length)
  )
  is_text = (jnp.arange(length) < lengths[:, None])[..., None]
  mean = jnp.where(is_text, x.astype(jnp.float32), 0).sum(1)
  mean /= lengths[:, None]
  return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)
