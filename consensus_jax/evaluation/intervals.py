"""Bootstrap intervals over people, as weights; numpy.

What one person says hangs together, so whole people are drawn, with
replacement. A draw is a row of weights: how often each person is in it. A
statistic takes all draws at once, and returns one value a draw; two systems
are compared on the same draws.

Source: Davison and Hinkley 1997, "Bootstrap methods and their application",
sections 3.8 (clusters) and 5.3 (percentile intervals).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

Weights = Real[np.ndarray, 'draws people']

# Bytes of one array of a chunk: small enough for a processor's cache.
_CHUNK_BYTES = 2**22


class Interval(NamedTuple):
  """An estimate, and where it would be in 95 of 100 studies like this one.

  Attributes:
    value: of the people there are; NaN where the statistic is undefined.
    low: of the interval.
    high: of the interval.
  """

  value: float
  low: float
  high: float


def draw(num_people: int, num_draws: int, *, seed: int) -> Weights:
  """Weights of bootstrap samples: how often each draw holds each person."""
  if num_people < 1 or num_draws < 1:
    raise ValueError(
      f'needs people and draws, got {num_people} and {num_draws}'
    )
  rng = np.random.default_rng(seed)
  shares = np.full(num_people, 1 / num_people)
  return rng.multinomial(num_people, shares, size=num_draws)


def percentile(
  value: float,
  values: Float[np.ndarray, 'draws'],
  *,
  level: float = 0.95,
) -> Interval:
  """The interval that holds the middle `level` of the values of draws.

  Draws in which the statistic is undefined (NaN) are left out.
  """
  defined = values[~np.isnan(values)]
  if np.isnan(value) or not len(defined):
    return Interval(float(value), np.nan, np.nan)
  tails = [(1 - level) / 2, (1 + level) / 2]
  low, high = np.quantile(defined, tails)
  return Interval(float(value), float(low), float(high))


def weighted_mean(
  values: Float[np.ndarray, 'people'], weights: Weights
) -> Float[np.ndarray, 'draws']:
  """Mean over people, NaN of whom are left out."""
  present = ~np.isnan(values)
  return ratio(np.where(present, values, 0.0), present, weights)


def ratio(
  numerators: Real[np.ndarray, 'people'] | Bool[np.ndarray, 'people'],
  denominators: Real[np.ndarray, 'people'] | Bool[np.ndarray, 'people'],
  weights: Weights,
) -> Float[np.ndarray, 'draws']:
  """Sum over people of numerators, divided by that of denominators."""
  weights = weights.astype(np.float64)
  with np.errstate(invalid='ignore', divide='ignore'):
    return (weights @ numerators.astype(float)) / (
      weights @ denominators.astype(float)
    )


def weighted_auc(
  scores: Float[np.ndarray, 'judged'],
  positive: Bool[np.ndarray, 'judged'],
  people: Int[np.ndarray, 'judged'],
  weights: Weights,
) -> Float[np.ndarray, 'draws']:
  """P(a positive has a higher score than a negative), people weighted.

  Exact, ties counting one half: the Mann-Whitney statistic of the sample in
  which everything of a person stands as often as their weight says. NaN
  without positives or without negatives.

  Args:
    scores: finite.
    positive: what should have the higher score.
    people: whose each score is, as a place in `weights`.
    weights: of people.
  """
  order = np.argsort(scores, kind='stable')
  scores, positive, people = scores[order], positive[order], people[order]
  negatives = people[~positive]
  # Of each positive, how many negatives are below, and how many not above.
  of_negatives, of_positives = scores[~positive], scores[positive]
  below = np.searchsorted(of_negatives, of_positives, 'left')
  not_above = np.searchsorted(of_negatives, of_positives, 'right')
  found = np.full(len(weights), np.nan)
  for chunk in chunks(len(weights), len(scores)):
    some = weights[chunk].astype(np.float64)
    total = np.zeros((len(some), len(negatives) + 1))
    np.cumsum(some[:, negatives], axis=1, out=total[:, 1:])
    won = some[:, people[positive]]
    pairs = won.sum(1) * total[:, -1]
    wins = (won * (total[:, below] + total[:, not_above])).sum(1) / 2
    with np.errstate(invalid='ignore', divide='ignore'):
      found[chunk] = np.where(pairs > 0, wins / pairs, np.nan)
  return found


def chunks(num_draws: int, width: int) -> Iterator[slice]:
  """Slices of draws whose arrays [draws, width] fit a processor's cache."""
  size = max(_CHUNK_BYTES // (8 * max(width, 1)), 1)
  for start in range(0, num_draws, size):
    yield slice(start, start + size)
