"""Utility maps: their ranges, inverse images and what they refuse."""

import json
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.social_choice import utilities

NAMES = ('shift', 'sigmoid', 'softplus', 'expected_likert')
rewards = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=6)


@pytest.mark.parametrize('name', NAMES)
@given(rewards)
def test_order_is_kept_and_utilities_are_positive(name, values):
  values = np.sort(np.float32(values))
  mapped = np.asarray(utilities.UtilityMap(name)(values))
  assert (np.diff(mapped) >= 0).all()
  assert (mapped > 0).all()


@given(st.floats(-10, 10, width=32))
def test_inverse_images(reward):
  value = np.float32(reward)
  assert float(utilities.shift(value)) - 11 == pytest.approx(reward, abs=2e-6)
  odds = float(utilities.sigmoid(value))
  assert math.log(odds / (1 - odds)) == pytest.approx(reward, abs=2e-3)
  soft = float(utilities.softplus(value))
  assert math.log(math.expm1(soft)) == pytest.approx(reward, abs=1e-4)


def test_ranges():
  ends = np.float32([-1e4, 0, 1e4])
  assert utilities.shift(ends).tolist() == [1, 11, 21]
  assert utilities.sigmoid(ends).tolist() == [0, 0.5, 1]
  assert utilities.softplus(ends).tolist() == [
    0,
    pytest.approx(math.log(2)),
    1e4,
  ]
  assert utilities.expected_likert(ends).tolist() == [1, 4, 7]


def test_expected_likert_is_the_mean_of_the_ordinal_model():
  thresholds, reward = (-2.0, -1.5, 0.0, 0.5, 1.0, 4.0), 0.7
  above = [1.0, *(1 / (1 + math.exp(t - reward)) for t in thresholds), 0.0]
  mean = sum(k * (above[k - 1] - above[k]) for k in range(1, 8))
  got = utilities.expected_likert(np.float32(reward), thresholds=thresholds)
  assert float(got) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('name', NAMES)
def test_non_finite_rewards_are_refused(name, bad):
  values = np.float32([[0, 1], [2, bad]])
  with pytest.raises(ValueError, match=rf'rewards\[1, 1\] .* got {bad}'):
    utilities.UtilityMap(name)(values)


@pytest.mark.parametrize(
  ('name', 'parameters', 'message'),
  [
    ('minmax', {}, 'must be one of'),
    ('sigmoid', {'low': 1}, "no parameter 'low'"),
    ('shift', {'low': 3.0, 'high': 3.0}, 'low must be below high'),
    ('shift', {'constant': 10.0}, 'constant must lift low above 0'),
    ('expected_likert', {'thresholds': (1.0, 1.0)}, 'must increase'),
    ('expected_likert', {'thresholds': ()}, 'must increase'),
  ],
)
def test_bad_maps_are_refused(name, parameters, message):
  with pytest.raises(ValueError, match=message):
    utilities.UtilityMap(name, parameters)


@pytest.mark.parametrize(
  'utility',
  [
    *(utilities.UtilityMap(name) for name in NAMES),
    utilities.UtilityMap('shift', {'low': -2.0, 'high': 2.0, 'constant': 3}),
    utilities.UtilityMap('expected_likert', {'thresholds': (0.0, 1.0)}),
  ],
)
def test_a_stored_map_is_complete(utility):
  stored = json.loads(json.dumps(utility.to_json()))
  again = utilities.UtilityMap.from_json(stored)
  assert again == utility
  values = np.float32([-12, -1.5, 0, 3])
  np.testing.assert_array_equal(again(values), utility(values))


@pytest.mark.parametrize('name', NAMES)
def test_under_jit_and_vmap(name):
  values = np.float32([[-12, -1.5, 0], [3, 11, 2]])
  utility = utilities.UtilityMap(name)
  np.testing.assert_allclose(jax.jit(utility)(values), utility(values), 1e-6)
  np.testing.assert_allclose(jax.vmap(utility)(values), utility(values), 1e-6)
