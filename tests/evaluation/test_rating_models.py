"""Regressions recover what ratings were made with, and match statsmodels."""

import sys

import numpy as np
import pytest
from scipy import stats

from consensus_jax.evaluation import rating_models, ratings

EFFECT, GROUP_DEVIATION = 1.0, 0.8


def simulated(seed=0, groups=80, members=5, by_word=0.0):
  """Statements of A are liked more than those of B, more in some groups."""
  rng = np.random.default_rng(seed)
  rows = []
  for group in range(groups):
    likes = rng.normal(0, GROUP_DEVIATION)
    lengths = {'A': rng.integers(80, 160), 'B': rng.integers(60, 140)}
    for rater in range(members):
      for system, words in lengths.items():
        latent = likes + EFFECT * (system == 'A') + by_word * (words - 110)
        level = np.digitize(
          latent + rng.logistic(), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
        )
        rows.append(
          (system, 'q', f'g{group}', f'r{rater}', int(level) + 1, words)
        )
  system, question, group, rater, agreement, words = zip(*rows)
  return ratings.from_arrays(
    systems=system,
    questions=question,
    groups=group,
    raters=rater,
    agreement=agreement,
    words=np.array(words, float),
  )


def test_odds_of_a_higher_rating_are_recovered():
  found = rating_models.cumulative_link(simulated(), baseline='B')
  (effect,) = found.effects
  assert effect.name == 'A' and effect.low < effect.value < effect.high
  # Without groups' intercepts the effect is a little nearer to zero.
  assert effect.value == pytest.approx(EFFECT, abs=0.3)
  assert effect.odds_ratio == pytest.approx(np.exp(effect.value))
  assert effect.p_value < 1e-6
  assert found.converged and np.isnan(found.group_deviation)
  assert (found.number, found.missing, found.groups) == (800, 0, 80)
  other = rating_models.cumulative_link(simulated(), baseline='A')
  assert other.effects[0].value == pytest.approx(-effect.value, abs=1e-3)


def test_two_levels_are_a_logistic_regression():
  # Of 10 ratings of A 7 are high, of 10 of B 4.
  found = rating_models.cumulative_link(
    ratings.from_arrays(
      systems=['A'] * 10 + ['B'] * 10,
      questions=['q'] * 20,
      groups=[f'g{i % 5}' for i in range(20)],
      raters=[f'r{i}' for i in range(20)],
      agreement=[6] * 7 + [2] * 3 + [6] * 4 + [2] * 6,
    ),
    baseline='B',
  )
  odds_ratio = (7 / 3) / (4 / 6)
  assert found.effects[0].odds_ratio == pytest.approx(odds_ratio, rel=1e-3)


def test_a_balanced_mixed_model_is_a_paired_comparison():
  of = simulated(seed=1)
  found = rating_models.mixed(of, baseline='B')
  (effect,) = found.effects
  a, b = of.grid('agreement', 'A'), of.grid('agreement', 'B')
  assert effect.value == pytest.approx((a - b).mean(), rel=1e-5)
  # Groups of one size: the deviation of analysis of variance.
  values = np.concatenate([a - a.mean(), b - b.mean()], 1)
  between = 10 * values.mean(1).var(ddof=1)
  within = ((values - values.mean(1, keepdims=True)) ** 2).sum()
  within /= 800 - 80 - 1
  deviation = np.sqrt((between - within) / 10)
  assert found.group_deviation == pytest.approx(deviation, rel=1e-3)
  error = np.sqrt(within * 2 / 400)
  reach = stats.norm.ppf(0.975) * error
  assert effect.high - effect.value == pytest.approx(reach, rel=1e-3)
  assert found.converged and found.model == 'mixed'


def test_length_is_held_equal():
  of = simulated(seed=2, by_word=0.03)
  plain = rating_models.mixed(of, baseline='B')
  held = rating_models.mixed(of, baseline='B', words=True)
  assert [each.name for each in held.effects] == ['A', '100 words']
  system, length = held.effects
  # A is twenty words longer, worth 0.6 of the latent scale.
  assert system.value < plain.effects[0].value - 0.3
  assert length.low > 0
  ordinal = rating_models.cumulative_link(of, baseline='B', words=True)
  assert ordinal.effects[0].value == pytest.approx(EFFECT, abs=0.3)
  assert ordinal.effects[1].value == pytest.approx(3.0, abs=0.8)


def small(**changes):
  columns = {
    'systems': ['A', 'B', 'A', 'B'],
    'questions': ['q'] * 4,
    'groups': ['g', 'g', 'h', 'h'],
    'raters': ['ann', 'ann', 'bob', 'bob'],
    'agreement': [5, 3, 6, 4],
  }
  return ratings.from_arrays(**(columns | changes))


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'systems': ['A'] * 4, 'statements': list('stst')}, 'two systems, got 1'),
    ({'groups': ['g'] * 4}, 'two groups, got 1'),
    ({'agreement': [4] * 4}, 'two different ratings, got 1'),
    ({'agreement': [5, None, 6, None]}, 'two systems, got 1'),
    (
      {
        'systems': ['A', 'B', 'A', 'C'],
        'agreement': [5, 3, 6, None],
      },
      "no agreement of 'C'",
    ),
  ],
)
def test_what_cannot_be_fitted_is_refused(changes, message):
  for model in (rating_models.cumulative_link, rating_models.mixed):
    with pytest.raises(ValueError, match=message):
      model(small(**changes), baseline='A')
  with pytest.raises(ValueError, match="no ratings of 'Z'"):
    rating_models.mixed(small(), baseline='Z')


def test_lengths_that_tell_the_system_are_refused():
  of = small(words=[10, 20, 10, 20])
  with pytest.raises(ValueError, match='cannot be told apart'):
    rating_models.mixed(of, baseline='A', words=True)


def test_without_statsmodels_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'statsmodels', None)
  for name in [n for n in sys.modules if n.startswith('statsmodels.')]:
    monkeypatch.delitem(sys.modules, name)
  with pytest.raises(ModuleNotFoundError, match=r'consensus_jax\[evaluate\]'):
    rating_models.mixed(small(), baseline='A')
