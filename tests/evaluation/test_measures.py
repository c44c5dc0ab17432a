"""Measures by hand, against scipy, and against `training.metrics`."""

import dataclasses

import numpy as np
import pytest
from scipy import special, stats
from tiny_cases import case, random_cases

from consensus_jax.evaluation import intervals, measures
from consensus_jax.training import metrics

ONCE = np.ones


def random_rewards(rng, cases):
  return [rng.integers(-3, 4, len(c.votes)).astype(float) for c in cases]


def as_rows(cases, rewards):
  """The arrays of `training.metrics`, a person a row."""
  width = max(len(c.votes) for c in cases)

  def padded(values):
    return np.array(
      [np.pad(v, (0, width - len(v)), constant_values=np.nan) for v in values]
    )

  return (
    padded(rewards),
    padded([np.array(c.votes, float) for c in cases]),
    np.arange(len(cases)),
    np.array([int(c.conversation[1]) for c in cases]),
    padded([np.array([float(len(s)) for s in c.statements]) for c in cases]),
  )


@pytest.mark.parametrize('seed', range(5))
def test_of_everybody_once_they_are_the_metrics_of_training(seed):
  rng = np.random.default_rng(seed)
  cases = random_cases(rng)
  rewards = random_rewards(rng, cases)
  of = measures.judgements(cases, rewards)
  once = ONCE((1, len(cases)))
  rows = as_rows(cases, rewards)
  expected = metrics.judgement_metrics(*rows, neutral=0)
  for name, theirs in (
    ('auc', 'agreement_auc'),
    ('pair_accuracy', 'pair_accuracy_by_participant'),
    ('log_loss', 'agreement_log_loss'),
    ('calibration_error', 'agreement_calibration_error'),
  ):
    measure = (measures.MEASURES | measures.OF_LOG_ODDS)[name]
    (found,) = measure(of, once)
    np.testing.assert_allclose(found, expected[theirs], rtol=1e-9)
  by_conversation = metrics.auc_by(of.rewards, of.agree, of.conversations)
  (found,) = measures.auc_by_conversation(of, once)
  np.testing.assert_allclose(found, by_conversation.value)


@pytest.mark.parametrize('name', [*measures.MEASURES, *measures.OF_LOG_ODDS])
def test_a_draw_is_the_measure_of_people_repeated(name):
  rng = np.random.default_rng(7)
  cases = random_cases(rng)
  rewards = random_rewards(rng, cases)
  measure = (measures.MEASURES | measures.OF_LOG_ODDS)[name]
  weights = intervals.draw(len(cases), 20, seed=0)
  found = measure(measures.judgements(cases, rewards), weights)
  for counts, value in zip(weights, found, strict=True):
    places = np.repeat(np.arange(len(cases)), counts)
    copies = [
      dataclasses.replace(cases[i], participant=f'{place}')
      for place, i in enumerate(places)
    ]
    of = measures.judgements(copies, [rewards[i] for i in places])
    (expected,) = measure(of, ONCE((1, len(places))))
    np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_by_hand():
  cases = [
    case('a', 'x', votes=(1, 1, -1), statements=('1', '22', '333')),
    case('b', 'x', votes=(-1, -1), statements=('1', '22')),
    case('c', 'y', votes=(1, -1), statements=('1', '4444')),
  ]
  of = measures.judgements(
    cases, [np.array([2.0, 0.0, 1.0]), np.array([0.0, 3.0]), np.zeros(2)]
  )
  once = ONCE((1, 3))
  # Positives 2, 0, 0 against negatives 1, 0, 3, 0: 3 + (1/2 + 1/2) * 2 of 12.
  np.testing.assert_allclose(measures.auc(of, once), 5 / 12)
  # x: positives 2, 0 against 1, 0, 3: 2 + 1/2 of 6. y: a tie.
  np.testing.assert_allclose(
    measures.auc_by_conversation(of, once), (2.5 / 6 + 0.5) / 2
  )
  # a: one of two; b: no pair; c: a tie.
  np.testing.assert_allclose(measures.pair_accuracy(of, once), 0.5)
  np.testing.assert_allclose(measures.pair_accuracies(of), [0.5, np.nan, 0.5])
  # a: ranks 1 2 3 and 3 1 2; b: two only; c: two only.
  np.testing.assert_allclose(measures.length_correlation(of, once), -0.5)
  signed = np.array([2, 0, -1, 0, -3, 0, 0.0])
  np.testing.assert_allclose(
    measures.log_loss(of, once), -np.log(special.expit(signed)).mean()
  )
  # Bins: 0.5 holds four, of whom two agree; 0.73, 0.88 and 0.95 one each.
  gaps = abs(special.expit([1.0, 2.0, 3.0]) - [0, 1, 0]).sum()
  np.testing.assert_allclose(
    measures.calibration_error(of, once), (gaps + 0) / 7
  )


def test_length_correlation_is_spearmans():
  rng = np.random.default_rng(1)
  cases = random_cases(rng, people=6, most=12)
  rewards = [rng.normal(size=len(c.votes)) for c in cases]
  expected = [
    stats.spearmanr(values, [len(s) for s in c.statements]).statistic
    for c, values in zip(cases, rewards)
    if len(values) >= 3 and len({*map(len, c.statements)}) > 1
  ]
  of = measures.judgements(cases, rewards)
  (found,) = measures.length_correlation(of, ONCE((1, 6)))
  np.testing.assert_allclose(found, np.mean(expected))


def test_what_is_undefined_is_nan():
  of = measures.judgements([case(votes=(1, 1))], [np.array([1.0, 2.0])])
  once = ONCE((1, 1))
  for name in measures.MEASURES:
    assert np.isnan(measures.MEASURES[name](of, once)).all()
  nothing = of.where(np.zeros(2, bool))
  for measure in (measures.MEASURES | measures.OF_LOG_ODDS).values():
    assert np.isnan(measure(nothing, once)).all()


def test_rewards_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='rewards of 0 cases, not of 1'):
    measures.judgements([case()], [])
  for bad in (np.zeros(3), np.array([0.0, np.inf])):
    with pytest.raises(ValueError, match='p: 2 finite rewards'):
      measures.judgements([case()], [bad])


def test_a_person_of_two_conversations_is_drawn_as_one():
  cases = [
    case('p', 'x', votes=(1, -1)),
    case('q', 'x', votes=(1, -1)),
    case('p', 'y', votes=(1, -1)),
  ]
  rewards = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 0.0])]
  of = measures.judgements(cases, rewards)
  assert of.num_people == 2 and of.people.tolist() == [0, 0, 1, 1, 0, 0]
  weights = np.array([[1, 1], [2, 0], [1, 2]])
  found = measures.pair_accuracy(of, weights)
  np.testing.assert_allclose(found, [2 / 3, 1, 1 / 2])
  # Pairs are of one question: 1, 1 and 0 of three.
  np.testing.assert_allclose(measures.pair_accuracies(of), [1, 0, 1])
