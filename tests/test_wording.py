import json
import math
import pathlib

import pytest

from consensus_jax import wording
from consensus_jax.deliberation import Outcome

_DATA = pathlib.Path(__file__).parent / 'data'


@pytest.mark.parametrize(
  ('value', 'plain', 'signed'),
  [
    (1.234, '1.23', '+1.23'),
    (-0.5, '−0.50', '−0.50'),
    (0.0, '0.00', '0.00'),
    (-0.001, '0.00', '0.00'),
    (None, '–', '–'),
  ],
)
def test_numbers(value, plain, signed):
  assert wording.number(value) == plain
  assert wording.number(value, sign=True) == signed


@pytest.mark.parametrize(
  ('map_', 'words'),
  [
    ('sigmoid', 'the sigmoid of the reward'),
    ({'map': 'softplus'}, 'the softplus of the reward'),
    (
      {'map': 'shift', 'low': -5.0, 'high': 5.0, 'constant': 6.0},
      'the reward, kept within −5 and 5, plus 6',
    ),
  ],
)
def test_utilities(map_, words):
  assert wording.utility({'utility': map_}) == words


@pytest.mark.parametrize(
  ('name', 'alpha', 'words'),
  [
    ('utilitarian', 0.0, 'utilitarian, the mean (alpha 0)'),
    ('nash', 1.0, 'Bernoulli-Nash, the geometric mean (alpha 1)'),
    ('rawlsian', 'inf', 'Rawlsian, the worst-off member (alpha ∞)'),
    ('isoelastic', 2.5, 'isoelastic (alpha 2.5)'),
  ],
)
def test_welfare(name, alpha, words):
  record = {'rule': 'isoelastic', 'name': name, 'alpha': alpha}
  assert wording.welfare(record) == words


def test_a_prompted_rater_is_called_one():
  prompted = {'kind': 'prompted_rater', 'name': 'M'}
  trained = {'kind': 'reward_head', 'name': 'M'}
  assert 'prompted rater, not a reward model' in wording.reward_meaning(
    prompted
  )
  assert 'prompted' not in wording.reward_meaning(trained)


def test_what_a_reader_must_not_miss():
  record = json.loads((_DATA / 'outcome.json').read_text())
  record['aggregation']['tied'] = [0, 3]
  outcome = Outcome.from_json(record)
  assert wording.remarks(outcome) == [
    'Tied for best: #0, #3.',
    'Broken off at the limit of tokens: 1 of 16 candidates.',
    'Refused: 1 of 16 candidates, #14 (empty statement).',
    'The opinion of Kwame did not fit when it was scored: 52 of 61 tokens were '
    'kept.',
  ]
  assert wording.changes(outcome.aggregation) == (
    'The winner changes at 6.49 from #0 to #9.'
  )
  assert wording.winners(outcome) == [
    (['0', '0.5', '1', '2', '5'], 0),
    (['10', '20', '∞'], 9),
  ]


def test_any_record_in_a_line():
  value = {'a': [1, 2.5], 'b': {'c': None, 'd': math.pi}}
  assert wording.record(value) == 'a: 1, 2.5, b: c: none, d: 3.14159'


def test_a_reward_models_adapters_are_named():
  plain = {'kind': 'reward_head', 'name': 'base'}
  assert 'how much base, a reward' in wording.reward_meaning(plain)
  adapted = plain | {'adapters': {'name': 'mine', 'sha256': 'ab'}}
  said = wording.reward_meaning(adapted)
  assert 'how much a reward model, the adapters mine of base, pred' in said
