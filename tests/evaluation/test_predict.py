"""Rewards of cases against the scorer that ranks, and against the mediator."""

import dataclasses

import numpy as np
import pytest
import tiny_models
from tiny_cases import language_model

from consensus_jax import mediator, prompts
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.evaluation import predict
from consensus_jax.evaluation.cases import Case
from consensus_jax.inference.embeddings import embed

WORDS = ('buses', 'trains', 'taxes', 'trees', 'pay', 'free', 'never')


def random_cases(number=5, seed=0, count=None):
  rng = np.random.default_rng(seed)

  def text(least, most):
    return ' '.join(rng.choice(WORDS, rng.integers(least, most)))

  found = []
  for i in range(number):
    size = count or int(rng.integers(1, 12))
    found.append(
      Case(
        conversation='c',
        participant=f'p{i}',
        question='Should buses be free?',
        opinion=text(3, 15),
        statements=tuple(text(2, 20) for _ in range(size)),
        votes=(1,) * size,
        statement_ids=tuple(map(str, range(size))),
      )
    )
  return found


@pytest.mark.parametrize(
  ('name', 'stacked'),
  [
    ('tiny_llama_reward', False),
    ('tiny_llama_reward', True),
    ('tiny_llama', False),
  ],
)
def test_rewards_are_those_of_the_mediator(name, stacked):
  model = language_model(name, stacked=stacked)
  cases = random_cases(3, count=4)
  found = predict.rewards(model, cases, row_length=600, tokens_per_call=1200)
  both = mediator.Mediator(language_model(name), language_model(name))
  for case, values in zip(cases, found, strict=True):
    deliberation = Deliberation(
      'd',
      case.question,
      (Opinion(case.participant, case.opinion),),
      case.statements,
    )
    expected, _ = both._rewards(deliberation, case.statements, 'error', None)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected[:, 0], rtol=2e-4, atol=2e-4)


def test_rows_and_calls_change_nothing():
  model = language_model('tiny_llama_reward')
  cases = random_cases(4, seed=1)
  wide = predict.rewards(model, cases, row_length=1024)
  narrow = predict.rewards(model, cases, row_length=256, tokens_per_call=700)
  for one, two in zip(wide, narrow, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
  (alone,) = predict.rewards(model, cases[1:2], row_length=256)
  np.testing.assert_allclose(alone, wide[1], rtol=1e-4, atol=1e-4)
  assert predict.rewards(model, []) == []


def test_a_long_opinion_is_cut_and_told(capsys):
  model = language_model('tiny_llama_reward')
  (case,) = random_cases(1)
  long = dataclasses.replace(case, opinion='trees ' * 500)
  found = predict.rewards(model, [long], row_length=256)
  assert '1 opinions cut to fit into 256 tokens' in capsys.readouterr().err
  assert np.isfinite(found[0]).all()
  # What is cut off does not matter, what is kept does.
  for opinion, same in (
    ('trees ' * 500 + 'never', True),
    ('never ' + 'trees ' * 500, False),
  ):
    other = dataclasses.replace(case, opinion=opinion)
    again = predict.rewards(model, [other], row_length=256)
    assert np.allclose(found[0], again[0]) == same


def test_what_cannot_be_read_is_an_error():
  model = language_model('tiny_llama_reward')
  cases = random_cases(1)
  with pytest.raises(ValueError, match='p0: the question and a statement'):
    predict.rewards(model, cases, row_length=40)


def test_without_an_opinion_there_is_a_reward():
  model = language_model('tiny_llama_reward')
  case = dataclasses.replace(random_cases(1)[0], opinion='')
  (values,) = predict.rewards(model, [case])
  tokenizer = model.tokenizer
  ids = prompts.reward_prefix_ids(case.question, '', tokenizer)
  ids += tokenizer.encode(prompts.reward_continuation(case.statements[0]))
  params = tiny_models.load('tiny_llama_reward').params
  last = tiny_models.plain_hidden(params, model.config, ids)[-1]
  head = np.asarray(params['reward_head'], np.float64)
  np.testing.assert_allclose(values[0], last @ head, rtol=1e-3, atol=1e-3)


def test_a_quoted_statement_is_passed_over():
  case = dataclasses.replace(random_cases(1)[0], opinion='')
  quoting = dataclasses.replace(case, opinion=f'I say {case.statements[0]}!')
  rewards = [np.ones(len(case.statements))]
  assert not np.isnan(predict.silent_where_quoted(rewards, [case])).any()
  (found,) = predict.silent_where_quoted(rewards, [quoting])
  assert np.isnan(found[0])
  texts = [text in case.statements[0] for text in case.statements]
  assert np.isnan(found).sum() == sum(texts)


def test_embeddings_are_those_of_the_texts():
  model = language_model('tiny_llama')
  texts = ['trees', 'free buses', 'trees', '', 'never ' * 50]
  found = predict.embeddings(model, texts, max_tokens=20)
  tokens = [
    model.tokenizer.encode(text)[:20]
    for text in ('trees', 'free buses', 'trees', '.', ('never ' * 50).strip())
  ]
  expected = embed(model.params, model.config, tokens)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_rows_hold_every_statement_once_and_no_more_than_they_can():
  model = language_model('tiny_llama_reward')
  cases = random_cases(6, seed=3) + random_cases(1, seed=4, count=100)
  for row_length in (256, 2048):
    rows = predict._rows(model, cases, row_length)
    places = [[] for _ in cases]
    for row in rows:
      assert row.length <= row_length
      assert len(row.places) == len(row.statements) <= predict._STATEMENTS
      places[row.case] += row.places
    assert places == [[*range(len(case.statements))] for case in cases]
