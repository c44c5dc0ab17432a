"""Metrics against scipy, scikit-learn and counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from consensus_jax.training import metrics

NAN = np.nan


def random_split(seed=0, rows=200, statements=5):
  rng = np.random.default_rng(seed)
  levels = rng.integers(1, 8, (rows, statements)).astype(float)
  levels[rng.random(levels.shape) < 0.2] = NAN
  rewards = np.nan_to_num(levels) / 3 + rng.normal(size=levels.shape) * 2
  rewards = np.round(rewards, 1)  # some are equal
  rewards[np.isnan(levels)] = NAN
  return {
    'rewards': rewards,
    'levels': levels,
    'participants': rng.integers(0, 40, rows),
    'questions': rng.integers(0, 15, rows),
    'lengths': rng.integers(5, 100, levels.shape).astype(float),
  }


def found(split=None, **kwargs):
  return metrics.judgement_metrics(**(split or random_split()), **kwargs)


def loop_pairs(split):
  """(reward of the better, of the worse, participant), one by one."""
  for row, (rewards, levels) in enumerate(
    zip(split['rewards'], split['levels'])
  ):
    for i in range(len(levels)):
      for j in range(len(levels)):
        if levels[i] > levels[j]:
          yield rewards[i], rewards[j], split['participants'][row]


def test_pairs_are_counted_as_one_by_one():
  split = random_split()
  report = found(split)
  pairs = list(loop_pairs(split))
  right = [(a > b) + (a == b) / 2 for a, b, _ in pairs]
  assert report['num_pair_accuracy'] == len(pairs) > 900
  assert report['pair_accuracy'] == pytest.approx(np.mean(right))
  by = {}
  for (_, _, who), value in zip(pairs, right):
    by.setdefault(who, []).append(value)
  assert report['num_pair_accuracy_by_participant'] == len(by) == 40
  assert report['pair_accuracy_by_participant'] == pytest.approx(
    np.mean([np.mean(values) for values in by.values()])
  )
  losses = [-special.log_expit(a - b) for a, b, _ in pairs]
  assert report['pair_log_loss'] == pytest.approx(np.mean(losses))


def test_rank_correlation_is_that_of_scipy():
  split = random_split()
  values = []
  for rewards, levels in zip(split['rewards'], split['levels']):
    judged = ~np.isnan(levels)
    if len(set(levels[judged])) < 2:
      continue
    if len(set(rewards[judged])) < 2:
      values.append(0.0)
    else:
      values.append(stats.spearmanr(rewards[judged], levels[judged]).statistic)
  report = found(split)
  assert report['num_rank_correlation'] == len(values) > 150
  assert report['rank_correlation'] == pytest.approx(np.mean(values))


def test_length_correlation_is_that_of_centred_rows():
  split = random_split()
  split['rewards'] += split['lengths'] / 20
  by = {}
  for row in range(len(split['levels'])):
    judged = ~np.isnan(split['levels'][row])
    if judged.any():
      rewards, lengths = (
        split[name][row, judged] for name in ('rewards', 'lengths')
      )
      pair = np.stack([rewards - rewards.mean(), lengths - lengths.mean()])
      by.setdefault(split['questions'][row], []).append(pair)
  values = [
    stats.pearsonr(*np.concatenate(rows, axis=1)).statistic
    for rows in by.values()
  ]
  report = found(split)
  assert report['num_length_correlation'] == len(values) == 15
  assert report['length_correlation'] == pytest.approx(np.mean(values))
  assert report['length_correlation'] > 0.3


def test_agreement_is_that_of_scikit_learn():
  sklearn = pytest.importorskip('sklearn.metrics')
  split = random_split()
  report = found(split, neutral=4)
  sided = ~np.isnan(split['levels']) & (split['levels'] != 4)
  agree, rewards = split['levels'][sided] > 4, split['rewards'][sided]
  assert report['num_agreement_auc'] == sided.sum()
  assert report['agreement_auc'] == pytest.approx(
    sklearn.roc_auc_score(agree, rewards)
  )
  assert report['agreement_log_loss'] == pytest.approx(
    sklearn.log_loss(agree, special.expit(rewards))
  )
  who = np.repeat(split['participants'], 5).reshape(-1, 5)[sided]
  values = [
    sklearn.roc_auc_score(agree[who == person], rewards[who == person])
    for person in set(who)
    if len(set(agree[who == person])) == 2
  ]
  assert report['num_agreement_auc_by_participant'] == len(values)
  assert report['agreement_auc_by_participant'] == pytest.approx(
    np.mean(values)
  )


def test_calibration_error_by_hand():
  probabilities = np.array([0.05, 0.08, 0.31, 0.99, 1.0])
  outcomes = np.array([False, True, False, True, True])
  error = metrics.calibration_error(probabilities, outcomes)
  expected = (abs(0.13 - 1) + 0.31 + abs(1.99 - 2)) / 5
  assert error == (pytest.approx(expected), 5)


def test_honest_probabilities_are_calibrated():
  rng = np.random.default_rng(0)
  rewards = rng.normal(size=(50_000, 2)) * 2
  better = rng.random(50_000) < special.expit(rewards[:, 0] - rewards[:, 1])
  levels = np.stack([better, ~better], 1).astype(float)
  error = metrics.pair_calibration_error(metrics.find_pairs(rewards, levels))
  assert error.value < 0.01
  assert error.number == 50_000
  boastful = metrics.pair_calibration_error(
    metrics.find_pairs(rewards * 5, levels)
  )
  assert boastful.value > 0.1


def test_numbers_of_nothing_are_nan():
  for rows in (0, 3):
    split = random_split(rows=rows)
    split['levels'][:] = NAN
    report = found(split, neutral=0)
    for name, value in report.items():
      if name.startswith('num_'):
        assert value == 0
      else:
        assert np.isnan(value), name
  # Judged, but all the same.
  split = random_split()
  split['levels'][~np.isnan(split['levels'])] = 1
  report = found(split, neutral=0)
  assert report['num_pair_accuracy'] == report['num_rank_correlation'] == 0
  assert report['num_agreement_auc'] == 0
  assert report['num_agreement_log_loss'] > 700


def test_a_model_that_says_nothing_is_at_chance():
  split = random_split()
  split['rewards'] = np.zeros_like(split['levels'])
  report = found(split, neutral=4)
  assert report['pair_accuracy'] == 0.5
  assert report['pair_accuracy_by_participant'] == 0.5
  assert report['agreement_auc'] == 0.5
  assert report['rank_correlation'] == report['length_correlation'] == 0
  assert report['pair_log_loss'] == pytest.approx(np.log(2))
  assert report['pair_calibration_error'] == 0


@given(seed=st.integers(0, 99), scale=st.floats(0.1, 5), shift=st.floats(-3, 3))
def test_ranks_do_not_see_scale_and_shift(seed, scale, shift):
  split = random_split(seed, rows=20)
  split['rewards'] = np.round(split['rewards'])
  moved = {**split, 'rewards': split['rewards'] * scale + shift}
  before, after = found(split, neutral=4), found(moved, neutral=4)
  for name in (
    'pair_accuracy',
    'pair_accuracy_by_participant',
    'rank_correlation',
    'length_correlation',
    'agreement_auc',
  ):
    assert after[name] == pytest.approx(before[name], abs=1e-9), name


@given(seed=st.integers(0, 99))
def test_what_was_not_judged_does_not_matter(seed):
  split = random_split(seed, rows=20)
  absent = np.isnan(split['levels'])
  other = {**split, 'rewards': np.where(absent, 1e9, split['rewards'])}
  other['lengths'] = np.where(absent, NAN, split['lengths'])
  np.testing.assert_equal(found(split, neutral=4), found(other, neutral=4))


@pytest.mark.parametrize('name', ['rewards', 'lengths'])
def test_a_judged_statement_without_a_number_is_an_error(name):
  split = random_split()
  split['levels'][3, 1] = 2
  split['rewards'][3, 1] = 0
  split[name][3, 1] = NAN
  with pytest.raises(ValueError, match=rf'{name}\[3, 1\] is nan'):
    found(split)
