"""What changes of texts are, and what they do to rewards."""

import dataclasses

import numpy as np
import pytest
from tiny_cases import case, language_model

from consensus_jax.data.verbalise import verbalise
from consensus_jax.evaluation import predict, report, robustness


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ("We don't want it.", 'We do not want it.'),
    ("Don't! It's bad", 'Do not! It is bad'),
    ('Everyone cannot pay a lot of rent', "Everybody can't pay much rent"),
    ('Nothing here', 'Nothing here'),
    ('We need to act', 'We have to act'),
    # No words within words, and nothing done twice.
    ('this notary is', 'this notary is'),
  ],
)
def test_paraphrases(text, expected):
  assert robustness.paraphrase(text) == expected


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('The bus is late.', 'I think that the bus is late.'),
    ('I want a bus', 'I think that I want a bus'),
    ('UBI works', 'I think that UBI works'),
    ('I think that buses help', 'Buses help'),
    ('I believe it', 'It'),
    ('I think', 'I think that I think'),
  ],
)
def test_thoughts(text, expected):
  assert robustness.thought(text) == expected


def test_votes_are_put_in_another_order():
  votes = [('More buses', 1), ('He said "no".', -1), ('Why?', 1)]
  opinion = verbalise(votes)
  found = robustness.reordered(case(opinion=opinion), seed=0)
  assert found.opinion != opinion
  orders = {
    verbalise([votes[i] for i in order])
    for order in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
  }
  assert found.opinion in orders
  assert dataclasses.replace(found, opinion=opinion) == case(opinion=opinion)
  for same in (verbalise(votes[:1]), 'Own words. x. Agree. And more.', ''):
    assert robustness.reordered(case(opinion=same), seed=0).opinion == same


def fake(cases):
  """Three for capitals, the number of letters in the opinion for the rest."""
  return [
    np.array([3.0 if s.isupper() else float(len(s)) for s in c.statements])
    for c in cases
  ]


def test_moves_by_hand():
  cases = [
    case(statements=('a', 'bcde', '!'), votes=(1, -1, -1)),
    case('q', statements=('abc.', 'ABC'), votes=(1, -1)),
  ]
  found = robustness.measure(cases, fake)
  before = np.array([1, 4, 1, 4, 3.0])
  assert found.deviation == pytest.approx(before.std()) and found.cases == 2
  by_name = {each.change: each for each in found.changes}
  upper = by_name['statement in upper case']
  # Of 'a', 'bcde' and 'abc.', which it alters, the rewards become 3.
  assert (upper.cases, upper.rewards) == (2, 3)
  assert upper.mean_change == pytest.approx((2 + 1 + 1) / 3 / before.std())
  # Only the first person has rewards to rank, and they become all one.
  assert (upper.rank_agreement, upper.people_ranked) == (0, 1)
  # Agreed: a (1), abc. (4); disagreed: bcde (4).
  assert (upper.auc, upper.auc_changed) == (0.25, 0.5)
  end = by_name['no punctuation at the end']
  assert (end.cases, end.rewards) == (1, 1)
  assert end.mean_change == pytest.approx(1 / before.std())
  assert np.isnan(end.rank_agreement) and np.isnan(end.auc)
  order = by_name['votes of the opinion in another order']
  assert order.cases == 0 and np.isnan(order.mean_change)
  text = report.markdown(report.document({'Moves': found}, about={}))
  assert '| statement in upper case | 0.983 | 0.000 | 0.250 | 0.500 |' in text
  assert (
    '| votes of the opinion in another order | – | – | – | – | 0 | 0 |' in text
  )


def test_rewards_that_do_not_differ_are_refused():
  with pytest.raises(ValueError, match='do not differ'):
    robustness.measure([case()], lambda cases: [np.ones(2)] * len(cases))


def test_white_space_moves_no_model():
  model = language_model('tiny_llama_reward')
  cases = [case(statements=('buses and trees', 'never pay.'))]
  found = robustness.measure(cases, lambda some: predict.rewards(model, some))
  by_name = {each.change: each for each in found.changes}
  assert by_name['white space around and within'].mean_change < 1e-5
  assert by_name['statement in upper case'].mean_change > 1e-3
