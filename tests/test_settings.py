import dataclasses
import math
import types

import pytest

from consensus_jax.deliberation import InputError
from consensus_jax.settings import WELFARES, Settings


@pytest.mark.parametrize(
  ('name', 'good', 'bad'),
  [
    ('policy', ['zero_shot', 'few_shot', 'sft'], ['rl', '']),
    ('num_candidates', [1, 64], [0, -1, 2.0, True, '3', None]),
    ('max_tokens', [1], [0, 1.5]),
    ('temperature', [0, 0.7, 2], [-0.1, math.inf, math.nan, '1', True]),
    ('top_p', [1, 0.1], [0, 1.01, -1, math.nan, None]),
    ('top_k', [None, 1], [0, 1.5, True]),
    ('min_p', [0, 1], [-0.1, 1.1]),
    ('no_repeat_ngram_size', [None, 2], [1, 3.0, True]),
    ('no_copy_ngram_size', [None, 2, 1000], [0, '9']),
    ('alpha', [0, 1, 3.5, math.inf], [-1, math.nan, 'inf', None]),
    ('rule', ['isoelastic', 'schulze'], ['plurality', None]),
    ('delta', [1, 2.5, math.inf], [0.9, math.nan, '2']),
    ('strength', ['winning_votes', 'margins'], ['support']),
    ('threshold', [-3, 0.5], [math.inf, math.nan, '0']),
    ('tie_break', ['tbrc', 'random', 'first'], ['last']),
    ('utility', ['shift', 'expected_likert'], ['log']),
    ('overflow', ['error', 'truncate'], ['ignore']),
    ('seed', [0, 2**32 - 1], [-1, 2**32, 0.0]),
  ],
)
def test_values_out_of_range_are_refused_by_name(name, good, bad):
  for value in good:
    assert getattr(Settings(**{name: value}), name) == value
  for value in bad:
    # The check alone: where types are checked too, that would come first.
    wrong = types.SimpleNamespace(**{**vars(Settings()), name: value})
    with pytest.raises(InputError) as error:
      Settings.__post_init__(wrong)
    assert error.value.field == (name,)
    assert repr(value) in str(error.value)


def test_every_setting_is_tested_above():
  tested = test_values_out_of_range_are_refused_by_name.pytestmark[0].args[1]
  fields = {field.name for field in dataclasses.fields(Settings)}
  assert {row[0] for row in tested} == fields


def test_whole_numbers_are_floats_where_floats_are_meant():
  assert repr(Settings(alpha=1)) == repr(Settings(alpha=1.0))


def test_named_welfares():
  assert WELFARES == {'utilitarian': 0, 'nash': 1, 'rawlsian': math.inf}
