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

# Members and candidates scored in one call. Few candidates waste little padding
# as those of one length travel together; many rows fill the processor.
_MEMBERS_PER_CALL = 8
_CANDIDATES_PER_CALL = 4
# Lengths are padded to multiples of this. Every other length is another
# program, which a CPU compiles in the time of some rows, an accelerator in that
# of thousands. 120 calls of `score`, of 2 to 10 members and 16 statements of 10
# to 200 tokens: 187 programs with 8; 52 with 64, and a third more tokens.
_MULTIPLE_ON_CPU, _MULTIPLE_ELSEWHERE = 8, 64


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
  done = 0
  for first in range(0, len(prefixes), _MEMBERS_PER_CALL):
    members = slice(first, first + _MEMBERS_PER_CALL)
    tokens, prefix_lengths = _padded(prefixes[members], width)
    prefix = _prefill(params, tokens, config=config)
    for chosen, padded, lengths in calls:
      values = _continue(
        params,
        head,
        prefix,
        prefix_lengths,
        padded,
        lengths,
        config=config,
      )
      rewards[chosen, members] = np.asarray(values).T[: len(chosen)]
      done += len(chosen) * len(prefix_lengths)
      if progress:
        progress(done, rewards.size)
  return rewards


def _by_length(continuations):
  """Calls of like lengths: [(indices, padded tokens, lengths)]."""
  on_cpu = jax.default_backend() == 'cpu'
  multiple = _MULTIPLE_ON_CPU if on_cpu else _MULTIPLE_ELSEWHERE
  order = np.argsort([-len(tokens) for tokens in continuations], kind='stable')
  calls = []
  for start in range(0, len(order), _CANDIDATES_PER_CALL):
    chosen = order[start : start + _CANDIDATES_PER_CALL]
    longest = len(continuations[chosen[0]])
    width = round_up(longest, multiple)
    rows = [continuations[i] for i in chosen]
    # A short last call is filled with rows of one token that nobody reads.
    rows += [[0]] * (_CANDIDATES_PER_CALL - len(rows))
    calls.append((chosen, *_padded(rows, width)))
  return calls


def _padded(sequences, width):
  """Sequences as one array, filled up on the right, and their lengths."""
  tokens = np.zeros((len(sequences), width), np.int32)
  for row, sequence in enumerate(sequences):
    tokens[row, : len(sequence)] = sequence
  return tokens, np.array([len(s) for s in sequences], np.int32)


@functools.partial(jax.jit, static_argnames='config')
def _prefill(params, tokens: Int[Array, 'members length'], *, config):
  length = tokens.shape[1]
  positions = jnp.arange(length)[None]
  tokens = constrain(tokens, 'batch', 'length')
  return hidden(params, config, tokens, positions, causal_mask(length))[1]


@functools.partial(jax.jit, static_argnames='config')
def _continue(params, head, prefix, prefix_lengths, tokens, lengths, *, config):
  """Rewards [members, candidates] of a few candidates for a few members."""
  keys = prefix[0].key if isinstance(prefix, tuple) else prefix.key
  members, (candidates, length) = len(prefix_lengths), tokens.shape
  starts = jnp.repeat(prefix_lengths, candidates)
  x, _ = hidden(
    params,
    config,
    constrain(jnp.tile(tokens, (members, 1)), 'batch', 'length'),
    starts[:, None] + jnp.arange(length),
    causal_mask(length),
    prefix=prefix,
    prefix_mask=jnp.arange(keys.shape[-2]) < prefix_lengths[:, None],
  )
  last = jnp.tile(lengths - 1, members)[:, None, None]
  x = jnp.take_along_axis(x, last, axis=1)[:, 0]
  return reward(x, head).reshape(members, candidates)


def reward(
  x: Float[Array, '*batch embed'], head: Float[Array, 'embed']
) -> Float[Array, '*batch']:
  """The linear reward of hidden states, in float32."""
  return (x.astype(jnp.float32) * head.astype(jnp.float32)).sum(-1)
