"""Drawn tokens against the exact distribution that temperature and filters
leave, by chi-square tests over thousands of draws with fixed seeds."""

import numpy as np
import pytest
import scipy.stats
import tiny_models

from consensus_jax.inference.sampler import Sampling, sample

VOCAB = 200  # no multiple of 128


def filtered(logits, sampling):
  """Probabilities after each filter, in the way of sorting.

  As `transformers` has it, but each filter looks at the whole distribution.
  """
  scaled = np.asarray(logits, np.float64) / sampling.temperature
  probs = np.exp(scaled - scaled.max())
  probs /= probs.sum()
  order = np.argsort(-probs, kind='stable')
  keep = np.ones(len(probs), bool)
  if sampling.top_k is not None:
    keep[order[sampling.top_k :]] = False
  if sampling.top_p < 1:
    ahead = np.cumsum(probs[order]) - probs[order]
    keep[order[ahead >= sampling.top_p]] = False
  keep &= probs >= sampling.min_p * probs.max()
  return np.where(keep, probs, 0) / probs[keep].sum()


def draw(logits, sampling, num_candidates=4000, max_tokens=1, seed=0):
  """Tokens [candidates, max_tokens], each drawn from the same logits."""
  config, params = tiny_models.markov(np.tile(logits, (len(logits), 1)))
  samples = sample(
    params,
    config,
    tiny_models.endless(tiny_models.load('tiny_llama').tokenizer),
    [0],
    num_candidates=num_candidates,
    max_tokens=max_tokens,
    sampling=sampling,
    seed=seed,
  )
  return np.array([each.tokens for each in samples])


def check(tokens, expected):
  """That independent draws have this distribution, rare tokens pooled."""
  counts = np.bincount(tokens.ravel(), minlength=len(expected))
  assert not counts[expected == 0].any(), 'a filtered token was drawn'
  means = expected * tokens.size
  common = means >= 5
  pooled = [np.append(x[common], x[~common].sum()) for x in (counts, means)]
  if pooled[1][-1] < 5:  # too few even together: part of the commonest
    for x in pooled:
      x[np.argmax(pooled[1])] += x[-1]
    pooled = [x[:-1] for x in pooled]
  counts, means = pooled
  if len(means) > 1:
    # Seeds are fixed, so that this cannot fail by chance alone tomorrow.
    assert scipy.stats.chisquare(counts, means).pvalue > 1e-3


def logits_of(spread, seed=0, vocab=VOCAB):
  return spread * np.random.default_rng(seed).standard_normal(vocab)


SETTINGS = [
  Sampling(),
  Sampling(temperature=0.5),
  Sampling(temperature=3.0),
  Sampling(top_p=0.9),
  Sampling(top_p=0.3),
  Sampling(top_p=1e-6),
  Sampling(top_k=1),
  Sampling(top_k=20),
  Sampling(top_k=VOCAB + 1),
  Sampling(min_p=0.1),
  Sampling(min_p=1.0),
  Sampling(temperature=0.7, top_p=0.95),
  Sampling(temperature=1.5, top_p=0.8, top_k=50),
  Sampling(temperature=2.0, top_p=0.9, top_k=30, min_p=0.2),
  Sampling(temperature=1.0, top_p=0.5, min_p=0.01),
]


@pytest.mark.parametrize('sampling', SETTINGS, ids=str)
@pytest.mark.parametrize('spread', [1.0, 3.0])
def test_first_tokens_have_the_exact_distribution(sampling, spread):
  logits = logits_of(spread)
  tokens = draw(logits, sampling)
  check(tokens, filtered(logits, sampling))


@pytest.mark.parametrize('vocab', [2, 127, 128, 129, 256])
def test_every_token_of_any_vocabulary_can_be_drawn(vocab):
  logits = logits_of(0.3, seed=vocab, vocab=vocab)
  tokens = draw(logits, Sampling())
  check(tokens, filtered(logits, Sampling()))
  assert {0, vocab - 1} <= set(tokens.ravel().tolist())


@pytest.mark.parametrize(
  'sampling, kept',
  [
    (Sampling(top_k=2), 2),
    (Sampling(top_k=3, min_p=0.5), 3),
    (Sampling(top_p=0.002), 2),
    (Sampling(min_p=0.97), 3),
    (Sampling(top_k=20), 20),
  ],
  ids=str,
)
def test_filters_that_keep_a_thousandth_of_the_mass(sampling, kept):
  """Among many tokens of nearly the same probability."""
  logits = logits_of(0.05, vocab=1000)
  logits[[3, 150]] = logits.max() + [0.02, 0.03]
  expected = filtered(logits, sampling)
  assert np.count_nonzero(expected) == kept
  check(draw(logits, sampling), expected)


def test_steps_and_candidates_are_independent():
  logits = logits_of(1.5, vocab=150)
  sampling = Sampling(top_p=0.8)
  expected = filtered(logits, sampling)
  tokens = draw(logits, sampling, num_candidates=2000, max_tokens=4, seed=7)
  check(tokens, expected)
  for step in range(4):
    check(tokens[:, step], expected)
  # Pairs of adjacent tokens, of the eight likeliest and the rest.
  rank = np.minimum(np.argsort(np.argsort(-expected))[tokens], 8)
  shares = np.array(
    [*np.sort(expected)[::-1][:8], np.sort(expected)[::-1][8:].sum()]
  )
  both = np.outer(shares, shares).ravel()
  for first, second in ((0, 1), (1, 2), (0, 3)):
    check(9 * rank[:, first] + rank[:, second], both)
  # A candidate and the next one.
  check(9 * rank[:-1:2, 0] + rank[1::2, 0], both)


def test_the_next_token_follows_the_last_one():
  rng = np.random.default_rng(3)
  logits = 2 * rng.standard_normal((30, 30))
  config, params = tiny_models.markov(logits)
  samples = sample(
    params,
    config,
    tiny_models.endless(tiny_models.load('tiny_llama').tokenizer),
    [4, 11],
    num_candidates=4000,
    max_tokens=2,
    sampling=Sampling(top_k=5),
    seed=1,
  )
  tokens = np.array([each.tokens for each in samples])
  first = filtered(logits[11], Sampling(top_k=5))
  check(tokens[:, 0], first)
  for token in np.flatnonzero(first):
    after = tokens[tokens[:, 0] == token, 1]
    check(after, filtered(logits[token], Sampling(top_k=5)))


@pytest.mark.parametrize(
  'sampling, kept',
  [
    (Sampling(top_k=1), [5, 9, 140]),
    (Sampling(top_p=0.01), [5, 9, 140]),
    (Sampling(top_k=4), [5, 9, 140, 7, 80]),
    (Sampling(min_p=0.5), [5, 9, 140, 7, 80]),
  ],
  ids=str,
)
def test_equal_tokens_are_kept_or_dropped_together(sampling, kept):
  logits = np.full(VOCAB, -4.0)
  logits[[5, 9, 140]] = 2.0
  logits[[7, 80]] = 1.5
  expected = np.zeros(VOCAB)
  expected[kept] = np.exp(logits[kept])
  check(draw(logits, sampling), expected / expected.sum())
