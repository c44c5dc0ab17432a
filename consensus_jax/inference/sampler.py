"""Samples continuations of one prompt: one prefill, shared by all of them.

The prompt's keys and values are computed once. Every candidate attends to
them and to its own short cache. Decoding runs on the device in pieces of a few
dozen steps; between pieces the host looks for stop strings and reports
progress. A candidate's random numbers depend on the seed, its index and the
step only, so that it is the same text alone or among others, on one device or
on many.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from consensus_jax.inference import filters, ngrams
from consensus_jax.inference.buckets import bucket, round_up
from consensus_jax.model.attention import KeyValues
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params, causal_mask, hidden, logits
from consensus_jax.partitioning import constrain
from consensus_jax.tokenizer import Tokenizer

# Steps between two looks of the host. Stop strings are found up to this late,
# and what was sampled past one is thrown away.
_PIECE = 16
_NEVER = np.iinfo(np.int32).max
_SENTENCE_END = re.compile(r'[.!?…。！？]["\'”’»)\]]*(?=\s|$)')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How tokens are drawn.

  Each filter looks at the whole tempered distribution of what is not barred,
  and a token must pass all of them. Tokens of equal probability are kept or
  dropped together.

  Attributes:
    temperature: divides the logits; 0 takes the likeliest token.
    top_p: keeps the likeliest tokens until their mass reaches this.
    top_k: keeps this many of the likeliest tokens; None keeps all.
    min_p: drops tokens below this share of the likeliest one's probability.
    no_repeat_ngram_size: bars words that begin where so many tokens in a row
      of the same text would come again; None bars none. Whatever goes on with
      a word or a number, or ends a text, is never barred.
    no_copy_ngram_size: the same for tokens in a row of the prompt, apart from
      what `sample` is told is free to copy.
  """

  temperature: float = 1.0
  top_p: float = 1.0
  top_k: int | None = None
  min_p: float = 0.0
  no_repeat_ngram_size: int | None = None
  no_copy_ngram_size: int | None = None

  def __post_init__(self):
    if not 0 <= self.temperature < float('inf'):
      raise ValueError(f'temperature must be >= 0, got {self.temperature}')
    if not 0 < self.top_p <= 1:
      raise ValueError(f'top_p must be in (0, 1], got {self.top_p}')
    if self.top_k is not None and self.top_k < 1:
      raise ValueError(f'top_k must be at least 1, got {self.top_k}')
    if not 0 <= self.min_p <= 1:
      raise ValueError(f'min_p must be in [0, 1], got {self.min_p}')
    for name in ('no_repeat_ngram_size', 'no_copy_ngram_size'):
      size = getattr(self, name)
      if size is not None and size < 2:
        raise ValueError(f'{name} must be at least 2, got {size}')


@dataclasses.dataclass(frozen=True)
class Sample:
  """One sampled continuation.

  Attributes:
    text: decoded, without the end token or stop string.
    tokens: the tokens of `text`.
    log_likelihood: sum of their log-probabilities under the model itself,
      before temperature and filters, in nats.
    finish_reason: 'stop' at an end token or stop string, else 'length'.
  """

  text: str
  tokens: tuple[int, ...]
  log_likelihood: float
  finish_reason: str


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """The decoding loop's state; `candidates` rows."""

  step: Int[Array, '']  # tokens drawn so far
  tokens: Int[Array, 'candidates max_tokens']
  log_probs: Float[Array, 'candidates max_tokens']
  done: Bool[Array, 'candidates']
  cache: Any  # own keys and values, in the form of params['layers']
  repeated: Int[Array, 'candidates max_tokens']  # `ngrams.runs` in the tokens
  copied: Int[Array, 'candidates length']  # and in the prompt


def sample(
  params: Params,
  config: ModelConfig,
  tokenizer: Tokenizer,
  prompt: Sequence[int],
  *,
  num_candidates: int,
  max_tokens: int,
  sampling: Sampling,
  seed: int,
  free_to_copy: Sequence[int] = (),
  stop_strings: Sequence[str] = (),
  whole_sentences: bool = False,
  progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
  """Draws `num_candidates` continuations of `prompt`.

  Args:
    params: of the policy, stacked or from `unstack_layers`.
    config: of the policy.
    tokenizer: turns tokens to text and knows which tokens end a text.
    prompt: token ids.
    num_candidates: how many continuations.
    max_tokens: the most tokens each may have.
    sampling: temperature and filters.
    seed: of every random draw.
    free_to_copy: tokens, such as a question's. Where the prompt has four in a
      row of them (or `no_copy_ngram_size`, if fewer), what is copied counts
      anew after the last.
    stop_strings: a text ends before the first of these that it contains,
      white space at its beginning aside.
    whole_sentences: whether a text that reaches `max_tokens` is cut after its
      last full sentence, if it has one.
    progress: called with (tokens drawn per candidate, max_tokens).

  Raises:
    ValueError: if the prompt is empty, or exceeds the model's context together
      with the continuation.
    FloatingPointError: if the model's logits are not finite.
  """
  if not len(prompt):
    raise ValueError('the prompt has no tokens')
  excess = len(prompt) + max_tokens - config.max_length
  if excess > 0:
    raise ValueError(
      f'prompt of {len(prompt)} tokens and {max_tokens} new ones exceed the '
      f"model's context of {config.max_length} by {excess}"
    )
  length = min(bucket(len(prompt)), round_up(config.max_length, 32))
  tokens = np.zeros((1, length), np.int32)
  tokens[0, : len(prompt)] = prompt
  prompt_length = jnp.int32(len(prompt))
  prefix, next_logits = prefill(params, tokens, prompt_length, config=config)
  draw = Draw.of(sampling, seed, num_candidates)
  greedy = sampling.temperature == 0
  # The cache is as long as the budget, rounded up so that budgets that differ
  # a little share one compilation; the true budget ends the loop.
  capacity = round_up(max_tokens, 32)
  ends = jnp.asarray(tokenizer.eos_ids, jnp.int32)
  source = jnp.asarray(
    ngrams.source(prompt, length, free_to_copy, sampling.no_copy_ngram_size)
  )
  starts = np.zeros(config.vocab_size, bool)
  starts[[i for i in tokenizer.word_starts if i < len(starts)]] = True
  word_starts = jnp.asarray(starts)
  state = start(
    params, next_logits, source, draw, ends, capacity=capacity, greedy=greedy
  )
  while True:
    step = int(state.step)
    if progress:
      progress(step, max_tokens)
    found = _stopped(
      np.asarray(state.tokens)[:, :step], tokenizer, stop_strings
    )
    done = np.asarray(state.done) | found
    if step >= max_tokens or done.all():
      break
    state = decode(
      params,
      dataclasses.replace(state, done=jnp.asarray(done)),
      prefix,
      prompt_length,
      source,
      word_starts,
      draw,
      ends,
      jnp.int32(min(step + _PIECE, max_tokens)),
      config=config,
      greedy=greedy,
    )
  log_probs = np.asarray(state.log_probs)[:, :step]
  if not np.isfinite(log_probs).all():
    raise FloatingPointError("the policy's logits are not finite")
  return [
    _finish(row, log_probs[i], tokenizer, stop_strings, whole_sentences)
    for i, row in enumerate(np.asarray(state.tokens)[:, :step].tolist())
  ]


@functools.partial(jax.jit, static_argnames='config')
def prefill(
  params: Params,
  tokens: Int[Array, 'groups length'],
  lengths: Int[Array, '*groups'],
  *,
  config: ModelConfig,
) -> tuple[Any, Float[Array, 'groups vocab']]:
  """Keys and values of prompts, and logits after each prompt's last token.

  Args:
    params: of the model.
    tokens: prompts, padded on the right with any token.
    lengths: tokens of each prompt; one number if all are alike.
    config: of the model.
  """
  length = tokens.shape[1]
  positions = jnp.arange(length)[None]
  x, prefix = hidden(params, config, tokens, positions, causal_mask(length))
  last = jnp.broadcast_to(lengths, tokens.shape[:1]) - 1
  x = jnp.take_along_axis(x, last[:, None, None], axis=1)
  return prefix, logits(params, x)[:, 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draw:
  """What a draw depends on, as arrays, so that no value recompiles."""

  keys: Key[Array, 'candidates']
  temperature: Float[Array, '']
  top_p: Float[Array, '']
  top_k: Int[Array, '']
  min_p: Float[Array, '']
  no_repeat_ngram_size: Int[Array, '']
  no_copy_ngram_size: Int[Array, '']

  @classmethod
  def of(cls, sampling: Sampling, seed: int, num_candidates: int) -> 'Draw':
    """The draws of `num_candidates`, each with a key of its own."""
    key = jax.random.key(seed)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(
      jnp.arange(num_candidates)
    )
    return cls(
      keys,
      jnp.float32(sampling.temperature or 1.0),
      # A mass of one must keep every token, whatever the rounding of its sum.
      jnp.float32(sampling.top_p if sampling.top_p < 1 else 2.0),
      jnp.int32(min(sampling.top_k or _NEVER, _NEVER)),
      jnp.float32(sampling.min_p),
      jnp.int32(min(sampling.no_repeat_ngram_size or _NEVER, _NEVER)),
      jnp.int32(min(sampling.no_copy_ngram_size or _NEVER, _NEVER)),
    )


@functools.partial(jax.jit, static_argnames=('capacity', 'greedy'))
def start(params, next_logits, source, draw, ends, *, capacity, greedy):
  """State after each candidate's first token."""
  candidates = draw.keys.shape[0]
  next_logits = jnp.broadcast_to(
    next_logits, (candidates, next_logits.shape[1])
  )
  token, log_prob = _next_token(next_logits, draw, 0, greedy)
  layers = params['layers']
  unstacked = isinstance(layers, tuple)
  *depth, kv_heads, head_dim, _ = (layers[0] if unstacked else layers)[
    'key'
  ].shape
  dtype = params['embedding'].dtype
  empty = jnp.zeros((*depth, kv_heads, candidates, capacity, head_dim), dtype)
  cache: Any = KeyValues(empty, empty)
  if unstacked:
    cache = (cache,) * len(layers)
  return State(
    step=jnp.int32(1),
    tokens=jnp.zeros((candidates, capacity), jnp.int32).at[:, 0].set(token),
    log_probs=jnp.zeros((candidates, capacity)).at[:, 0].set(log_prob),
    done=jnp.isin(token, ends),
    cache=cache,
    repeated=jnp.zeros((candidates, capacity), jnp.int32),
    copied=ngrams.runs(
      jnp.zeros((candidates, len(source)), jnp.int32), source, token
    ),
  )


@functools.partial(
  jax.jit, static_argnames=('config', 'greedy'), donate_argnames='state'
)
def decode(
  params,
  state,
  prefix,
  prompt_length,
  source,
  word_starts,
  draw,
  ends,
  until,
  *,
  config,
  greedy,
):
  """Draws tokens up to step `until`, or until every candidate is done."""
  keys = prefix[0].key if isinstance(prefix, tuple) else prefix.key
  prefix_mask = jnp.arange(keys.shape[-2])[None] < prompt_length
  capacity = state.tokens.shape[1]

  def one_step(state):
    newest = state.step - 1
    token = jax.lax.dynamic_index_in_dim(state.tokens, newest, 1)
    x, cache = hidden(
      params,
      config,
      constrain(token, 'batch', 'length'),
      (prompt_length + newest)[None, None],
      (jnp.arange(capacity) <= newest)[None, None],
      prefix=prefix,
      prefix_mask=prefix_mask,
      cache=state.cache,
      cache_index=newest,
    )
    next_logits = logits(params, x)[:, 0]
    vocab = next_logits.shape[1]
    barred = word_starts & (
      ngrams.would_go_on(state.copied, source, draw.no_copy_ngram_size, vocab)
      | ngrams.would_go_on(
        state.repeated, state.tokens, draw.no_repeat_ngram_size, vocab
      )
    )
    token, log_prob = _next_token(next_logits, draw, state.step, greedy, barred)
    before = jnp.arange(capacity) < state.step
    own = jnp.where(before, state.tokens, ngrams.PADDING)
    return State(
      step=state.step + 1,
      tokens=state.tokens.at[:, state.step].set(token),
      log_probs=state.log_probs.at[:, state.step].set(log_prob),
      done=state.done | jnp.isin(token, ends),
      cache=cache,
      repeated=ngrams.runs(state.repeated, own, token),
      copied=ngrams.runs(state.copied, source, token),
    )

  def more(state):
    return (state.step < until) & ~state.done.all()

  return jax.lax.while_loop(more, one_step, state)


def _next_token(next_logits, draw, step, greedy, barred=False):
  """One token a row, and its log-probability under the untempered model."""
  allowed = jnp.where(barred, -jnp.inf, next_logits)
  if greedy:
    token = jnp.argmax(allowed, axis=-1).astype(jnp.int32)
  else:
    keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(draw.keys)
    token = filters.draw_filtered(allowed / draw.temperature, keys, draw)
  chosen = jnp.take_along_axis(next_logits, token[:, None], axis=-1)[:, 0]
  return token, chosen - jax.nn.logsumexp(next_logits, axis=-1)


def _stopped(tokens, tokenizer, stop_strings):
  """Which rows contain a stop string."""
  if not stop_strings:
    return np.zeros(len(tokens), bool)
  texts = [tokenizer.decode(row).lstrip() for row in tokens.tolist()]
  return np.array([any(s in text for s in stop_strings) for text in texts])


def _finish(tokens, log_probs, tokenizer, stop_strings, whole_sentences):
  """Cuts a row at its end token, first stop string or last full sentence."""
  ends = set(tokenizer.eos_ids)
  length = next((i for i, t in enumerate(tokens) if t in ends), len(tokens))
  stopped = length < len(tokens)
  text = tokenizer.decode(tokens[:length])
  blank = len(text) - len(text.lstrip())
  found = [text.find(s, blank) for s in stop_strings]
  cut = min((place for place in found if place >= 0), default=-1)
  stopped = stopped or cut >= 0
  if whole_sentences and not stopped:
    ends_of_sentences = [m.end() for m in _SENTENCE_END.finditer(text)]
    cut = max(ends_of_sentences, default=-1)
  if cut >= 0:
    text = text[:cut]
    # The tokens that lie within the text; one that straddles the cut does not.
    while len(tokenizer.decode(tokens[:length])) > cut:
      length -= 1
  return Sample(
    text=text,
    tokens=tuple(tokens[:length]),
    log_likelihood=float(log_probs[:length].astype(np.float64).sum()),
    finish_reason='stop' if stopped else 'length',
  )
