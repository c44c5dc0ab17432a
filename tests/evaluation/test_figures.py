"""Pictures: that they show the numbers, and are equal for equal numbers."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from tiny_cases import case, random_cases

from consensus_jax.evaluation import benchmark, figures

pytest.importorskip('matplotlib')


@pytest.fixture(scope='module')
def cases():
  return random_cases(np.random.default_rng(0), people=30)


@pytest.fixture(scope='module')
def rewards(cases):
  rng = np.random.default_rng(1)
  return [np.array(c.votes) + rng.normal(size=len(c.votes)) for c in cases]


def draw_all(folder, cases, rewards):
  comparison = benchmark.compare(
    cases, {'one': rewards, 'two': rewards}, num_draws=20
  )
  return [
    figures.calibration(folder / 'a.svg', cases, {'one': rewards}),
    figures.reward_by_length(folder / 'b.svg', cases, rewards),
    figures.bars(folder / 'c.svg', comparison),
  ]


def test_equal_numbers_give_equal_files(cases, rewards, tmp_path):
  (tmp_path / 'again').mkdir()
  first = draw_all(tmp_path, cases, rewards)
  again = draw_all(tmp_path / 'again', cases, rewards)
  for one, two in zip(first, again, strict=True):
    assert one.read_bytes() == two.read_bytes()
    assert ET.fromstring(one.read_text()).tag.endswith('svg')
    assert len(one.read_bytes()) < 200_000
  other = figures.calibration(
    tmp_path / 'a.svg', cases, {'one': [-each for each in rewards]}
  )
  assert other.read_bytes() != again[0].read_bytes()


def test_calibration_bins_by_hand():
  cases = [case(votes=(1, 1, -1, 1))]
  logit = np.log([0.3, 0.34, 0.92, 0.98]) - np.log([0.7, 0.66, 0.08, 0.02])
  said, real, counts = figures.calibration_bins(cases, [logit])
  np.testing.assert_allclose(said, [0.32, 0.95])
  np.testing.assert_allclose(real, [1, 0.5])
  assert counts.tolist() == [2, 2]
  silent = [np.where(logit > 0, np.nan, logit)]
  assert figures.calibration_bins(cases, silent)[2].tolist() == [2]


def test_length_bins_by_hand():
  count = 20
  texts = tuple('x' * (1 + i) for i in range(count))
  votes = tuple(1 if i < 10 else -1 for i in range(count))
  cases = [case(votes=votes, statements=texts)]
  found = figures.length_bins(cases, [np.arange(count)[::-1].astype(float)])
  lengths, quartiles, agree = found
  np.testing.assert_allclose(lengths, np.arange(1.5, 21, 2))
  np.testing.assert_allclose(quartiles[:, 1], np.arange(18.5, 0, -2))
  np.testing.assert_allclose(agree, [1] * 5 + [0] * 5)
