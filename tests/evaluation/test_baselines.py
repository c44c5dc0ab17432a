"""Baselines by hand; logistic regression against scikit-learn."""

import dataclasses
import functools

import numpy as np
import pytest
from tiny_cases import case, language_model

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.evaluation import baselines, predict


def record(votes, id='c'):
  """Of {participant: votes on s0, s1, ...}."""
  width = max(map(len, votes.values()))
  return JudgedDeliberation(
    id=id,
    source='polis',
    question=Question(text='Q?'),
    statements=tuple(
      Statement(text=f'text {i}', id=f's{i}') for i in range(width)
    ),
    members=tuple(
      Member(
        participant=name,
        judged=tuple(range(len(given))),
        votes=given,
      )
      for name, given in votes.items()
    ),
  )


def test_popularity_leaves_out_the_persons_own_vote_and_passes():
  records = [
    record({'p': (1, -1), 'q': (1, 0), 'r': (1, None), 's': (-1, 0)}),
    record({'p': (1, -1)}, id='other'),
  ]
  cases = [case('p'), case('new'), case('q', votes=(1,)), case('p', 'third')]
  own, new, q, absent = baselines.popularity(cases, records)
  np.testing.assert_allclose(own, np.log([3 / 2, 1]))
  np.testing.assert_allclose(new, np.log([4 / 2, 1 / 2]))
  np.testing.assert_allclose(q, np.log([3 / 2]))
  np.testing.assert_allclose(absent, 0)
  # Under another id, but of the same group.
  same = [dataclasses.replace(each, group=each.id) for each in records]
  case_of_group = dataclasses.replace(case('new', 'c/2'), group='c')
  (found,) = baselines.popularity([case_of_group], same)
  np.testing.assert_allclose(found, new)
  # Somebody who stands in two records of a conversation is one person.
  twice = [records[0], records[0]]
  np.testing.assert_allclose(baselines.popularity(cases, twice)[1], new)


def test_length_and_chance():
  cases = [case(statements=('a', 'bcd')), case(votes=(1,), statements=('',))]
  lengths = baselines.length(cases)
  assert [each.tolist() for each in lengths] == [[0.01, 0.03], [0]]
  one, again = (baselines.chance(cases, seed=1) for _ in range(2))
  assert [*map(len, one)] == [2, 1]
  np.testing.assert_array_equal(np.concatenate(one), np.concatenate(again))
  other = baselines.chance(cases, seed=2)
  assert not np.array_equal(one[0], other[0])


def embedded(rng, people=40, each=10, width=6):
  return baselines.Embedded(
    opinions=rng.normal(size=(people, width)).astype(np.float32),
    statements=rng.normal(size=(people * each, width)).astype(np.float32),
    cases=np.repeat(np.arange(people), each),
    sizes=(each,) * people,
  )


def test_features_by_hand():
  texts = baselines.Embedded(
    opinions=np.array([[3.0, 4.0], [0.0, 2.0]], np.float32),
    statements=np.array([[4.0, 3.0], [3.0, 4.0], [1.0, 0.0]], np.float32),
    cases=np.array([0, 0, 1]),
    sizes=(2, 1),
  )
  one, two = baselines.cosine(texts)
  np.testing.assert_allclose(one, [24 / 25, 1], rtol=1e-6)
  np.testing.assert_allclose(two, [0])
  features = baselines.pair_features(texts)
  assert features[0].tolist() == [3, 4, 4, 3, 12, 12, 1, 1]
  assert features[2].tolist() == [0, 2, 1, 0, 0, 0, 1, 2]
  assert baselines.statement_features(texts)[2].tolist() == [1, 0]


def test_embedded_texts_are_those_of_the_cases():
  model = language_model('tiny_llama')
  cases = [
    case(opinion='trees', statements=('pay', 'trees')),
    case(opinion='never', votes=(1,), statements=('trees',)),
  ]
  embed = functools.partial(predict.embeddings, model)
  texts = baselines.embedded(embed, cases)
  assert texts.sizes == (2, 1)
  assert texts.cases.tolist() == [0, 0, 1]
  first, second = baselines.cosine(texts)
  assert first[1] == pytest.approx(1) and first[0] < 0.999
  np.testing.assert_allclose(texts.statements[2], texts.opinions[0])
  assert second[0] == pytest.approx(
    float(texts.opinions[1] @ texts.opinions[0]), rel=1e-5
  )


def votes_of(rng, features):
  slopes = rng.normal(size=features.shape[1])
  chances = 1 / (1 + np.exp(-(features - features.mean(0)) @ slopes / 2))
  return rng.random(len(features)) < chances


@pytest.mark.parametrize('penalty', [0.003, 0.3])
def test_logistic_regression_is_that_of_scikit_learn(penalty):
  linear_model = pytest.importorskip('sklearn.linear_model')
  rng = np.random.default_rng(0)
  # Features of very different means and sizes, one of them constant.
  features = embedded(rng).statements * [1, 10, 100, 1, 0.01, 0]
  features = (features + [0, 50, 0, -3, 0.1, 2]).astype(np.float32)
  agree = votes_of(rng, embedded(rng).statements)
  found = baselines.fit(
    features, agree, np.arange(len(agree)), penalties=[penalty]
  )
  scales = features.std(0, dtype=np.float64)
  scales[-1] = 1
  standard = (features - features.mean(0, dtype=np.float64)) / scales
  standard[:, -1] = 0
  oracle = linear_model.LogisticRegression(
    C=1 / (penalty * len(agree)), tol=1e-10, max_iter=1000
  ).fit(standard, agree)
  np.testing.assert_allclose(
    found.log_odds(features),
    oracle.decision_function(standard),
    atol=2e-3,
  )
  assert found.weights[-1] == 0


def test_the_penalty_is_chosen_on_groups_held_out(capsys):
  rng = np.random.default_rng(1)
  # Within a group, one feature gives the votes away; new groups differ.
  groups = np.repeat(np.arange(20), 20)
  marks = np.eye(20, dtype=np.float32)[groups]
  agree = rng.random(400) < rng.uniform(0.1, 0.9, 20)[groups]
  found = baselines.fit(marks, agree, groups, penalties=(1e-3, 10.0))
  assert found.penalty == 10
  assert 'penalty 10 of [0.001, 10.0]' in capsys.readouterr().err
  rows = baselines.fit(marks, agree, np.arange(400), penalties=(1e-3, 10.0))
  assert rows.penalty == 1e-3
  with pytest.raises(ValueError, match='agreements and disagreements'):
    baselines.fit(marks, agree | True, groups)


def test_logistic_regression_finds_what_is_there():
  rng = np.random.default_rng(2)
  texts = embedded(rng, people=200)
  product = (texts.opinions[texts.cases] * texts.statements).sum(1)
  agree = rng.random(len(product)) < 1 / (1 + np.exp(-2 * product))
  features = baselines.pair_features(texts)
  fitted = baselines.fit(features, agree, texts.cases)
  other = embedded(rng, people=50)
  expected = (other.opinions[other.cases] * other.statements).sum(1)
  found = fitted.log_odds(baselines.pair_features(other))
  assert np.corrcoef(found, expected)[0, 1] > 0.95
