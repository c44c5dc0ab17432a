"""Bootstrap, tests and corrections against SciPy, statsmodels and by hand."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats import multitest

from consensus_jax.evaluation import intervals, statistics
from consensus_jax.evaluation.statistics import Bootstrap


def clustered(rng, groups=40, each=4, within=0.5):
  """Values around 0.3; those of a group have correlation `within`."""
  of = np.repeat(np.arange(groups), each)
  values = 0.3 + np.sqrt(within) * rng.normal(size=groups)[of]
  return values + np.sqrt(1 - within) * rng.normal(size=len(of)), of


def test_groups_of_their_own_are_drawn_as_people_are():
  values = np.array([0.0, 1.0, 3.0, 8.0])
  bootstrap = Bootstrap.of(list('abcd'), 500, seed=3)
  weights = intervals.draw(4, 500, seed=3)
  drawn = intervals.weighted_mean(values, weights)
  found = bootstrap.mean(values)
  # 0.9998: t of 3 degrees, 3.182, times the root of 4 / 3.
  level = 1 - 2 * stats.norm.sf(3.1824463 * np.sqrt(4 / 3))
  expected = intervals.percentile(3.0, drawn, level=level)
  assert found.interval == pytest.approx(expected)
  assert (found.number, found.undefined, found.groups) == (4, 0, 4)
  assert (found.num_draws, found.seed) == (500, 3)


def test_one_group_says_nothing_of_others_and_two_are_drawn_whole():
  values = np.array([1.0, 2.0, 6.0])
  one = Bootstrap.of('aaa', 50, seed=0).mean(values)
  assert one.interval.value == 3 and np.isnan(one.interval[1:]).all()
  two = Bootstrap.of('aab', 500, seed=0)
  assert two.mean(values).interval == pytest.approx((3, 1.5, 6))
  half = two.ratio(values, values * 2)
  assert half.interval == pytest.approx((0.5, 0.5, 0.5))
  assert np.isnan(two.ratio(values, np.zeros(3)).interval).all()
  with pytest.raises(ValueError, match='needs people'):
    Bootstrap.of([], 50, seed=0)


def test_what_is_undefined_is_left_out_and_counted():
  values = np.array([1.0, np.nan, 6.0, 2.0])
  found = Bootstrap.of('abcc', 200, seed=0).mean(values)
  assert found.interval.value == pytest.approx(3)
  assert (found.number, found.undefined, found.groups) == (3, 1, 2)
  nothing = Bootstrap.of('ab', 9, seed=0).mean(np.full(2, np.nan))
  assert np.isnan(nothing.interval).all() and nothing.number == 0


@given(st.integers(0, 10_000))
def test_any_statistic_gives_what_the_mean_gives(seed):
  rng = np.random.default_rng(seed)
  values, groups = clustered(rng, groups=9, each=3)
  values[rng.random(len(values)) < 0.2] = np.nan
  bootstrap = Bootstrap.of(groups, 50, seed=seed)
  found = bootstrap.statistic(
    lambda weights: weights @ np.nan_to_num(values) / weights.sum(1), values
  )
  expected = bootstrap.mean(values)
  np.testing.assert_allclose(found.interval, expected.interval, rtol=1e-9)
  assert (found.number, found.groups) == (expected.number, expected.groups)


def test_intervals_are_those_of_scipy():
  values, groups = clustered(np.random.default_rng(1), groups=300)
  found = Bootstrap.of(groups, 20_000, seed=0).mean(values).interval
  expected = stats.bootstrap(
    (values.reshape(300, 4).mean(1),),
    np.mean,
    n_resamples=20_000,
    method='BCa',
    rng=1,
  )
  # Two different sets of draws: a few hundredths of the interval's width.
  width = expected.confidence_interval.high - expected.confidence_interval.low
  np.testing.assert_allclose(
    found[1:], expected.confidence_interval, atol=0.03 * width
  )


@pytest.mark.slow
def test_95_of_100_intervals_cover_with_correlation_in_groups():
  rng = np.random.default_rng(0)
  runs, covered, naive = 800, 0, 0
  for run in range(runs):
    values, groups = clustered(rng, groups=30, each=6)
    whole = Bootstrap.of(groups, 800, seed=run).mean(values).interval
    covered += whole.low <= 0.3 <= whole.high
    if run < 200:
      # As if each value were of a group of its own.
      alone = Bootstrap.of(range(len(values)), 200, seed=run).mean(values)
      naive += alone.interval.low <= 0.3 <= alone.interval.high
  print('covered', covered / runs, 'naive', naive / 200)
  # Of 800 runs 0.95 has a standard error of 0.008.
  assert 0.93 <= covered / runs <= 0.97
  assert naive / 200 < 0.85


@pytest.mark.slow
def test_10_000_draws_of_1000_groups_take_seconds():
  values, groups = clustered(np.random.default_rng(0), groups=1000, each=3)
  start = time.process_time()
  Bootstrap.of(groups, 10_000, seed=0).mean(values)
  print('took', time.process_time() - start)
  assert time.process_time() - start < 5


@pytest.mark.parametrize('count', [3, 9])
def test_few_groups_are_tested_exactly(count):
  rng = np.random.default_rng(count)
  differences = rng.normal(0.4, 1, count)
  found = statistics.permutation_test(differences, range(count))
  expected = stats.permutation_test(
    (differences, np.zeros(count)),
    lambda a, b, axis: np.mean(a - b, axis=axis),
    permutation_type='samples',
    vectorized=True,
    n_resamples=10_000,
  )
  assert found.exact and found.num_draws == 2**count
  assert found.p_value == pytest.approx(expected.pvalue)
  assert found.difference == pytest.approx(expected.statistic)


def test_many_groups_are_tested_by_draws():
  rng = np.random.default_rng(5)
  differences = rng.normal(0.3, 1, 40)
  found = statistics.permutation_test(differences, range(40), seed=2)
  expected = stats.permutation_test(
    (differences, np.zeros(40)),
    lambda a, b, axis: np.mean(a - b, axis=axis),
    permutation_type='samples',
    vectorized=True,
    n_resamples=10_000,
    rng=0,
  )
  assert not found.exact and (found.num_draws, found.seed) == (10_000, 2)
  # Of 10 000 draws the p-value of either has a standard error of 0.002.
  assert found.p_value == pytest.approx(expected.pvalue, abs=0.012)
  again = statistics.permutation_test(differences, range(40), seed=2)
  assert again == found
  certain = statistics.permutation_test(np.ones(40), range(40), num_draws=99)
  assert certain.p_value == pytest.approx(1 / 100)


def test_a_permutation_by_hand():
  # Sums by group 3 and 1, flips 4, 2, -2 and -4 over three values.
  differences = np.array([1.0, 2.0, np.nan, 1.0])
  found = statistics.permutation_test(differences, list('aacb'))
  assert found.difference == pytest.approx(4 / 3)
  assert (found.p_value, found.groups) == (2 / 4, 2)
  assert (found.number, found.undefined) == (3, 1)
  # Ties in the sixteenth digit are ties: 0.1 + 0.2 and 0.3.
  tied = statistics.permutation_test(np.array([0.1, 0.2, -0.3]), list('abc'))
  assert tied.p_value == 1
  nothing = statistics.permutation_test(np.full(2, np.nan), list('ab'))
  assert np.isnan([nothing.p_value, nothing.difference]).all()
  assert nothing.num_draws == 0


@given(
  st.lists(st.integers(-3, 3), min_size=1, max_size=6), st.integers(0, 1000)
)
def test_permutations_know_no_order_and_no_sign(differences, seed):
  values = np.array(differences, float)
  order = np.random.default_rng(seed).permutation(len(values))
  found = statistics.permutation_test(values, range(len(values)))
  other = statistics.permutation_test(-values[order], range(len(values)))
  assert found.p_value == other.p_value
  assert 2 / 2 ** len(values) <= found.p_value <= 1
  # To write a group twice as two values of it changes nothing.
  twice = np.repeat(values, 2)
  found_twice = statistics.permutation_test(
    twice, np.repeat(np.arange(len(values)), 2)
  )
  assert found_twice.p_value == found.p_value
  assert found_twice.difference == pytest.approx(found.difference)


P_VALUES = st.lists(
  st.floats(0, 1) | st.just(0.05) | st.just(np.nan), min_size=1, max_size=9
)


@given(P_VALUES)
def test_corrections_are_those_of_statsmodels(p_values):
  values = np.array(p_values)
  known = values[~np.isnan(values)]
  for ours, name in (
    (statistics.holm, 'holm'),
    (statistics.benjamini_hochberg, 'fdr_bh'),
  ):
    found = ours(values)
    assert (np.isnan(found) == np.isnan(values)).all()
    if len(known):
      _, expected, *_ = multitest.multipletests(known, method=name)
      np.testing.assert_allclose(found[~np.isnan(values)], expected, rtol=1e-9)


def test_corrections_by_hand():
  values = np.array([0.01, 0.04, 0.03, np.nan])
  holm, found = statistics.holm(values), statistics.benjamini_hochberg(values)
  np.testing.assert_allclose(holm, [0.03, 0.06, 0.06, np.nan])
  np.testing.assert_allclose(found, [0.03, 0.04, 0.04, np.nan])


def penalised(wins, words, weights):
  """The same model by SciPy's minimiser."""
  x = np.tanh(words / words.std()) if words.std() else 0 * words

  def loss(both):
    z = both[0] + both[1] * x
    misses = wins * np.logaddexp(0, -z) + (1 - wins) * np.logaddexp(0, z)
    return weights @ misses + both[1] ** 2 / 200

  found = optimize.minimize(loss, np.zeros(2), method='BFGS', tol=1e-10)
  return 1 / (1 + np.exp(-found.x[0]))


@given(st.integers(0, 10_000))
def test_length_control_is_a_logistic_regression(seed):
  rng = np.random.default_rng(seed)
  wins = rng.choice([0, 0.5, 1], 14)
  wins[:2] = 0, 1
  words = rng.integers(-40, 60, 14).astype(float)
  weights = 1.0 + rng.integers(0, 3, (2, 14))
  found = statistics.length_controlled_win_rate(wins, words, weights)
  expected = [penalised(wins, words, row) for row in weights]
  np.testing.assert_allclose(found, expected, atol=2e-5)
  # The other way round it is the other's win rate.
  other = statistics.length_controlled_win_rate(1 - wins, -words, weights)
  np.testing.assert_allclose(found + other, 1, atol=1e-9)


def test_length_control_by_hand():
  ones = np.ones((1, 4))
  control = statistics.length_controlled_win_rate
  wins = np.array([1.0, 1.0, 1.0, 0.0])
  # Equally long: the plain win rate.
  assert control(wins, np.full(4, 7.0), ones) == pytest.approx(0.75)
  # Balanced: it wins by being longer, loses by being shorter.
  longer = np.array([30.0, 30.0, -30.0, -30.0])
  wins = np.array([1.0, 1.0, 0.0, 0.0])
  assert control(wins, longer, ones) == pytest.approx(0.5)
  # Whoever wins always, or never, does at any length.
  both = control(np.ones(4), longer, np.array([[1.0, 1, 1, 1], [2, 0, 0, 0]]))
  np.testing.assert_array_equal(both, 1)
  assert control(np.zeros(4), longer, ones) == 0
  assert np.isnan(control(wins, longer, 0 * ones))
  wins[0] = np.nan
  with pytest.raises(ValueError, match='finite'):
    control(wins, longer, ones)
  # A draw without the first value does not ask for it.
  less = np.array([[0.0, 1, 1, 1]])
  kept = control(wins[1:], longer[1:], np.ones((1, 3)))
  np.testing.assert_allclose(control(wins, longer, less), kept)


def test_an_advantage_of_length_alone_is_taken_away():
  rng = np.random.default_rng(0)
  words = rng.normal(20, 20, 600)
  said = 1 / (1 + np.exp(-0.05 * words))
  wins = (rng.random(600) < said).astype(float)
  found = Bootstrap.of(range(600), 300, seed=0).statistic(
    lambda w: statistics.length_controlled_win_rate(wins, words, w), wins
  )
  assert wins.mean() > 0.62
  assert found.interval.low < 0.5 < found.interval.high
