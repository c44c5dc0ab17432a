"""Words that the sampler bars, so that texts neither repeat nor copy."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_models

from consensus_jax import partitioning
from consensus_jax.inference.sampler import Sampling, sample
from consensus_jax.model import transformer

VOCAB = 32
EVERY = range(VOCAB)
# By the last token. Sharp enough that texts go in circles.
LOGITS = 6 * np.random.default_rng(5).standard_normal((VOCAB, VOCAB))


def tokenizer(word_starts):
  """One whose texts nobody reads, with these tokens that begin a word."""
  found = dataclasses.replace(
    tiny_models.load('tiny_llama').tokenizer, eos_ids=()
  )
  vars(found)['word_starts'] = frozenset(word_starts)
  return found


def draw(prompt, sampling, *, word_starts=EVERY, number=1, length=60, free=()):
  """Tokens of each text of the model, whose next token the last one decides."""
  config, params = tiny_models.markov(LOGITS)
  samples = sample(
    params,
    config,
    tokenizer(word_starts),
    prompt,
    num_candidates=number,
    max_tokens=length,
    sampling=sampling,
    seed=2,
    free_to_copy=free,
  )
  return [each.tokens for each in samples]


def greedy(repeat=None, copy=None):
  return Sampling(
    temperature=0.0, no_repeat_ngram_size=repeat, no_copy_ngram_size=copy
  )


def ngrams(tokens, size):
  return [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]


def barred(prompt, own, repeat, copy):
  """Tokens that would complete a run again, looked for place by place."""
  found = set()
  for text, size in ((own, repeat), (prompt, copy)):
    if size is not None and len(own) >= size - 1:
      newest = tuple(own[len(own) - size + 1 :])
      found |= {run[-1] for run in ngrams(text, size) if run[:-1] == newest}
  return found


def follow(own, last, prompt, repeat, copy, word_starts):
  """How often the likeliest token was barred; each is the likeliest not so."""
  hits = 0
  for place, token in enumerate(own):
    held = barred(prompt, own[:place], repeat, copy) & {*word_starts}
    allowed = LOGITS[last].copy()
    hits += int(allowed.argmax()) in held
    allowed[[*held]] = -np.inf
    assert token == allowed.argmax()
    last = token
  return hits


def circle(length=40):
  """What the model says of itself, as people might have said it before."""
  return list(draw([3], greedy(), length=length)[0])


@pytest.mark.parametrize('word_starts', [EVERY, range(0, VOCAB, 2)])
@pytest.mark.parametrize(
  'repeat, copy', [(2, None), (None, 2), (None, 6), (3, 4), (5, 10)]
)
@pytest.mark.parametrize('length', [1, 32, 40])
def test_the_likeliest_word_that_is_not_barred_comes(
  length, repeat, copy, word_starts
):
  prompt = circle(length)
  (own,) = draw(prompt, greedy(repeat, copy), word_starts=word_starts)
  hits = follow(own, prompt[-1], prompt, repeat, copy, word_starts)
  # The bars did something, where there was anything to copy.
  assert hits or (repeat is None and length == 1)


def test_what_is_drawn_neither_repeats_nor_copies():
  prompt = circle()

  def faults(sampling):
    texts = draw(prompt, sampling, number=8)
    theirs = {*ngrams(prompt, 4)}
    return (
      sum(len(ngrams(t, 3)) - len({*ngrams(t, 3)}) for t in texts),
      sum(run in theirs for t in texts for run in ngrams(t, 4)),
    )

  free = faults(Sampling(temperature=0.5))
  held = faults(
    Sampling(temperature=0.5, no_repeat_ngram_size=3, no_copy_ngram_size=4)
  )
  assert min(free) > 0 and held == (0, 0)


@pytest.mark.parametrize('size', [2, 3, 4, 7])
def test_a_question_is_free_to_copy(size):
  prompt = circle()
  unbarred = draw(prompt, greedy())
  held = draw(prompt, greedy(copy=size))
  assert held != unbarred
  assert draw(prompt, greedy(copy=size), free=prompt) == unbarred
  # Fewer than four in a row, or than are barred, free nothing.
  few = prompt[: min(size, 4) - 1]
  assert draw(prompt, greedy(copy=size), free=few) == held


@pytest.mark.parametrize('start, end', [(0, 12), (14, 20), (30, 40)])
def test_what_is_copied_counts_from_what_is_free(start, end):
  prompt, size = circle(), 5
  free = prompt[start:end]
  runs = {*ngrams(free, 4)}
  compared = [
    None if tuple(prompt[max(i - 3, 0) : i + 1]) in runs else token
    for i, token in enumerate(prompt)
  ]
  (own,) = draw(prompt, greedy(copy=size), free=free)
  assert None in compared
  assert follow(own, prompt[-1], compared, None, size, EVERY)


def test_what_goes_on_with_a_word_is_free():
  free = circle()
  sampling = greedy(repeat=2, copy=2)
  assert draw(free, sampling, word_starts=()) == draw(free, greedy())


@pytest.mark.parametrize('number', [1, 4, 16])
def test_a_text_is_the_same_among_others_and_on_every_mesh(number):
  prompt = circle()
  sampling = Sampling(no_repeat_ngram_size=3, no_copy_ngram_size=3)
  alone = draw(prompt, sampling, number=16)
  assert draw(prompt, sampling, number=number) == alone[:number]
  config, params = tiny_models.markov(LOGITS)
  mesh = partitioning.make_mesh(data=4, fsdp=2)
  params = jax.device_put(params, transformer.param_shardings(config, mesh))
  with jax.set_mesh(mesh):
    samples = sample(
      params,
      config,
      tokenizer(EVERY),
      prompt,
      num_candidates=number,
      max_tokens=60,
      sampling=sampling,
      seed=2,
    )
  assert [each.tokens for each in samples] == alone[:number]


def test_words_begin_with_a_space():
  found = tiny_models.load('smollm2').tokenizer
  starts = found.word_starts
  for text, first in (('a word', False), (' word', True), ('25,000', False)):
    ids = found.encode(text)
    assert (ids[0] in starts) == first
  assert not {*found.encode('25,000\n\n(x).')} & starts
  assert not {*found.eos_ids} & starts
