"""Rewards of every candidate for every member, each prefix computed once.

A reward is a linear function of the hidden state after the last token of
prefix + candidate: the reward head of a reward model, or, for the prompted
rater, the difference of the embeddings of two answers, which makes the reward
their log-odds. The prefix (question and one member's opinion) and the
continuation (a candidate and what follows it) are tokenised apart and joined,
so that appending candidates to the prefix's keys and values is exact.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from consensus_jax.inference.buckets import bucket, round_up
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params, causal_mask, hidden
from consensus_jax.partitioning import constrain

# Candidates scored in one call. Fewer waste less padding, as candidates of one
# length travel together; more fill the matrix units better.
_CANDIDATES_PER_CALL = 8
_LENGTH_MULTIPLE = 16


def score(
  params: Params,
  config: ModelConfig,
  head: Float[Array, 'embed'],
  prefixes: Sequence[Sequence[int]],
  continuations: Sequence[Sequence[int]],
  *,
  progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, 'candidates members']:
  """Rewards of `continuations` after each of `prefixes`.

  Args:
    params: of the model, stacked or from `unstack_layers`.
    config: of the model.
    head: float32 weights of the linear reward.
    prefixes: token ids, one sequence a member; none may be empty.
    continuations: token ids, one sequence a candidate; none may be empty.
    progress: called with (rewards done, rewards in all).

  Returns:
    Rewards in float32, unbounded, in the order given.

  Raises:
    ValueError: for an empty sequence, or a prefix and continuation that
      together exceed the model's context.
  """
  for name, sequences in (
    ('prefixes', prefixes),
    ('continuations', continuations),
  ):
    for i, sequence in enumerate(sequences):
      if not len(sequence):
        raise ValueError(f'{name}[{i}] has no tokens')
  longest = max(map(len, prefixes), default=0)
  longest += max(map(len, continuations), default=0)
  if longest > config.max_length:
    raise ValueError(
      f'a prefix and a continuation of {longest} tokens together exceed the '
      f"model's context of {config.max_length} by {longest - config.max_length}"
    )
  rewards = np.zeros((len(continuations), len(prefixes)), np.float32)
  calls = _by_length(continuations)
  # One length for all prefixes, so that they share one compilation.
  width = bucket(max(map(len, prefixes), default=1))
  for member, prefix in enumerate(prefixes):
    tokens = np.zeros((1, width), np.int32)
    tokens[0, : len(prefix)] = prefix
    keys, length = (
      _prefill(params, tokens, config=config),
      np.int32(len(prefix)),
    )
    for chosen, padded, lengths in calls:
      values = _continue(
        params, head, keys, length, padded, lengths, config=config
      )
      rewards[chosen, member] = np.asarray(values)[: len(chosen)]
    if progress:
      done = (member + 1) * len(continuations)
      progress(done, rewards.size)
  return rewards


def _by_length(continuations):
  """Calls of like lengths: [(indices, padded tokens, lengths)]."""
  order = np.argsort([-len(tokens) for tokens in continuations], kind='stable')
  calls = []
  for start in range(0, len(order), _CANDIDATES_PER_CALL):
    chosen = order[start : start + _CANDIDATES_PER_CALL]
    longest = len(continuations[chosen[0]])
    # A short last call is filled with rows of one token that nobody reads.
    shape = (_CANDIDATES_PER_CALL, round_up(longest, _LENGTH_MULTIPLE))
    padded, lengths = np.zeros(shape, np.int32), np.ones(shape[0], np.int32)
    for row, i in enumerate(chosen):
      lengths[row] = len(continuations[i])
      padded[row, : lengths[row]] = continuations[i]
    calls.append((chosen, padded, lengths))
  return calls


@functools.partial(jax.jit, static_argnames='config')
def _prefill(params, tokens: Int[Array, '1 length'], *, config):
  length = tokens.shape[1]
  positions = jnp.arange(length)[None]
  return hidden(params, config, tokens, positions, causal_mask(length))[1]


@functools.partial(jax.jit, static_argnames='config')
def _continue(params, head, prefix, prefix_length, tokens, lengths, *, config):
  """Rewards of one member for a few candidates."""
  keys = prefix[0].key if isinstance(prefix, tuple) else prefix.key
  length = tokens.shape[1]
  x, _ = hidden(
    params,
    config,
    constrain(tokens, 'batch', 'length'),
    prefix_length + jnp.arange(length)[None],
    causal_mask(length),
    prefix=prefix,
    prefix_mask=jnp.arange(keys.shape[-2])[None] < prefix_length,
  )
  last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0]
  return reward(last, head)


def reward(
  x: Float[Array, '*batch embed'], head: Float[Array, 'embed']
) -> Float[Array, '*batch']:
  """The linear reward of hidden states, in float32."""
  return (x.astype(jnp.float32) * head.astype(jnp.float32)).sum(-1)
