"""Systems by name, and what is compared with what."""

import numpy as np
import pytest
from tiny_cases import case, language_model

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.evaluation import predict, systems

CASES = [
  case('p', opinion='pay for trees', statements=('trees', 'buses never')),
  case('q', opinion='buses never!', statements=('trees', 'buses never')),
]


def test_a_model_is_there_with_its_own_anothers_and_no_opinion():
  model = language_model('tiny_llama_reward')
  found = systems.of_model('ours', model)
  assert [*found] == [
    'ours',
    "ours, another's opinion",
    'ours, no opinion',
  ]
  own, anothers, nobodys = (each(CASES) for each in found.values())
  for one, two in zip(own, predict.rewards(model, CASES), strict=True):
    np.testing.assert_array_equal(one, two)
  # Of two people each gets the other's opinion, which may quote a statement.
  assert np.isnan(anothers[0]).tolist() == [False, True]
  assert np.isnan(anothers[1]).tolist() == [True, False]
  exchanged = [
    case('p', opinion='buses never!', statements=('trees',), votes=(1,)),
    case('q', opinion='pay for trees', statements=('buses never',), votes=(1,)),
  ]
  for one, two in zip(anothers, predict.rewards(model, exchanged)):
    np.testing.assert_allclose(one[~np.isnan(one)], two, rtol=1e-4, atol=1e-4)
  # Nothing is left that tells two people apart.
  np.testing.assert_allclose(nobodys[0], nobodys[1], rtol=1e-4, atol=1e-4)
  assert not np.allclose(own[0], own[1])


def test_baselines_are_there_if_they_have_what_they_need():
  model = language_model('tiny_llama')
  few = systems.baselines(model)
  assert {*few} == {
    systems.CHANCE,
    systems.LENGTH,
    systems.COSINE,
    systems.PROMPTED_RATER,
  }
  record = JudgedDeliberation(
    id='c',
    source='polis',
    question=Question(text='Q?'),
    statements=(Statement(text='trees', id='s0'),),
    members=(Member(participant='new', judged=(0,), votes=(1,)),),
  )
  found = systems.baselines(model, train=CASES, records=[record])
  assert {*found} == {*systems.BASELINES}
  for name, predicted in found.items():
    if name != systems.PROMPTED_RATER:  # compared in test_predict.py
      values = predicted(CASES)
      assert [len(each) for each in values] == [2, 2]
      assert np.isfinite(values).all()
  popular = found[systems.POPULARITY](CASES)
  np.testing.assert_allclose(popular, [[np.log(2), 0]] * 2)
  # It learns from these votes: for one statement, against the other.
  alone = found[systems.LOGISTIC_ALONE](CASES)
  assert alone[0][0] > alone[0][1]
  # Of the statement alone: equal for two people; with the opinion it is not.
  np.testing.assert_allclose(alone[0], alone[1], rtol=1e-4)


@pytest.mark.parametrize('held_out', ['conversation', 'participant'])
def test_the_penalty_is_chosen_on_what_is_held_out(held_out, monkeypatch):
  seen = []
  fit = systems.rules.fit

  def spy(features, agree, groups, **kwargs):
    seen.append(groups.tolist())
    return fit(features, agree, groups, **kwargs)

  monkeypatch.setattr(systems.rules, 'fit', spy)
  monkeypatch.setattr(
    systems.rules,
    'embedded',
    lambda _, cases: systems.rules.Embedded(
      opinions=np.eye(len(cases), dtype=np.float32),
      statements=np.ones((2 * len(cases), len(cases)), np.float32),
      cases=np.repeat(np.arange(len(cases)), 2),
      sizes=(2,) * len(cases),
    ),
  )
  train = [case('p'), case('q'), case('p', 'other')]
  model = language_model('tiny_llama')
  found = systems.baselines(model, train=train, held_out=held_out)
  found[systems.LOGISTIC](train)
  by_conversation = [0, 0, 0, 0, 1, 1]
  expected = (
    by_conversation if held_out == 'conversation' else [0, 0, 1, 1, 2, 2]
  )
  assert seen == [expected]


def test_log_odds_and_differences():
  names = ['ours', systems.of_nobody('ours'), systems.LENGTH, systems.LOGISTIC]
  assert systems.log_odds(names) == {*names} - {systems.LENGTH}
  assert systems.differences(names, ['ours']) == [
    ('ours', systems.LENGTH),
    ('ours', systems.LOGISTIC),
    ('ours', systems.of_nobody('ours')),
  ]


def test_halves_are_joined():
  one = {'a': [np.zeros(1)], 'b': [np.ones(2)]}
  two = {'b': [np.ones(3), np.zeros(1)]}
  found = systems.joined([one, two])
  assert [*found] == ['b'] and [*map(len, found['b'])] == [2, 3, 1]
