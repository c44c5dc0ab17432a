"""Weighted statistics against a slow loop, and how often intervals cover."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.evaluation import intervals
from consensus_jax.training import metrics


def judged(rng, people=12, most=6, levels=5):
  """Scores with many ties, by person."""
  who = np.repeat(np.arange(people), rng.integers(0, most + 1, people))
  scores = rng.integers(0, levels, len(who)).astype(float)
  return scores, rng.random(len(who)) < 0.5, who


@given(st.integers(0, 10_000))
def test_auc_is_that_of_a_sample_with_people_repeated(seed):
  rng = np.random.default_rng(seed)
  scores, positive, who = judged(rng)
  weights = intervals.draw(12, 7, seed=seed)
  found = intervals.weighted_auc(scores, positive, who, weights)
  for counts, value in zip(weights, found, strict=True):
    places = np.repeat(np.arange(len(who)), counts[who])
    expected = metrics.auc(scores[places], positive[places]).value
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_auc_by_hand():
  scores = np.array([3.0, 1.0, 2.0, 2.0])
  positive = np.array([True, True, False, False])
  who = np.array([0, 1, 0, 1])
  # Of two positives and two negatives: 3 > 2 twice, 1 > 2 never.
  weights = np.array([[1, 1], [2, 0], [0, 2], [2, 1]])
  found = intervals.weighted_auc(scores, positive, who, weights)
  # With person 0 twice: positives 3, 3, 1; negatives 2, 2, 2.
  np.testing.assert_allclose(found, [0.5, 1, 0, 2 / 3])
  tied = intervals.weighted_auc(np.zeros(4), positive, who, weights)
  np.testing.assert_allclose(tied, 0.5)
  one_kind = intervals.weighted_auc(scores, positive | True, who, weights)
  assert np.isnan(one_kind).all()


def test_means_and_ratios_by_hand():
  weights = np.array([[1, 1, 1], [0, 2, 1], [0, 0, 3]])
  values = np.array([1.0, 4.0, np.nan])
  found = intervals.weighted_mean(values, weights)
  np.testing.assert_allclose(found, [2.5, 4, np.nan])
  found = intervals.ratio(np.array([1, 2, 3]), np.array([1, 1, 4]), weights)
  np.testing.assert_allclose(found, [1, 7 / 6, 3 / 4])


def test_draws_are_of_everybody_and_seeded():
  weights = intervals.draw(40, 500, seed=3)
  assert (weights.sum(1) == 40).all()
  np.testing.assert_array_equal(weights, intervals.draw(40, 500, seed=3))
  assert (weights != intervals.draw(40, 500, seed=4)).any()
  # Of a multinomial: variance 1 - 1/n.
  np.testing.assert_allclose(weights.var(), 1 - 1 / 40, rtol=0.03)
  with pytest.raises(ValueError, match='needs people'):
    intervals.draw(0, 10, seed=0)


def test_a_percentile_interval_by_hand():
  values = np.append(np.arange(1001.0), [np.nan] * 5)
  found = intervals.percentile(400.0, values)
  assert found == pytest.approx((400.0, 25.0, 975.0))
  found = intervals.percentile(400.0, values, level=0.8)
  assert found == pytest.approx((400.0, 100.0, 900.0))
  undefined = intervals.percentile(np.nan, values)
  assert np.isnan(undefined).all()


def simulated(rng, people=60, each=8):
  """People differ in how well their votes are predicted."""
  who = np.repeat(np.arange(people), each)
  positive = rng.random(people * each) < 0.6
  skill = rng.normal(0.8, 1.0, people)[who]
  bias = rng.normal(0.0, 0.8, people)[who]
  scores = skill * positive + bias + rng.normal(size=len(who))
  return scores, positive, who


@pytest.mark.slow
def test_95_of_100_intervals_cover():
  rng = np.random.default_rng(0)
  truth = metrics.auc(*simulated(rng, people=100_000)[:2]).value
  covered, naive, runs = 0, 0, 400
  for run in range(runs):
    scores, positive, who = simulated(rng)
    value = metrics.auc(scores, positive).value
    weights = intervals.draw(60, 400, seed=run)
    found = intervals.weighted_auc(scores, positive, who, weights)
    interval = intervals.percentile(value, found)
    covered += interval.low <= truth <= interval.high
    # As if each vote were of another person.
    weights = intervals.draw(len(who), 100, seed=run)
    found = intervals.weighted_auc(
      scores, positive, np.arange(len(who)), weights
    )
    interval = intervals.percentile(value, found)
    naive += interval.low <= truth <= interval.high
  # Of 400 runs 0.95 has a standard error of 0.011.
  assert 0.915 <= covered / runs <= 0.98
  assert naive < covered - 0.05 * runs


def test_2000_draws_of_1000_people_take_seconds():
  scores, positive, who = simulated(
    np.random.default_rng(0), people=1000, each=24
  )
  start = time.process_time()
  weights = intervals.draw(1000, 2000, seed=0)
  intervals.weighted_auc(scores, positive, who, weights)
  assert time.process_time() - start < 20
