"""ICC and alpha on published examples and by their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus_jax.evaluation import reliability

NAN = np.nan

# Shrout and Fleiss 1979, table 2: six targets, four judges.
JUDGES = np.array(
  [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7.0],
  ]
)

# Krippendorff 2011, section D: four observers, twelve units.
OBSERVERS = np.array(
  [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
  ]
).T


def test_shrout_and_fleiss():
  found = reliability.intraclass(JUDGES)
  # Their table 4.
  expected = [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]
  np.testing.assert_allclose(found, expected, atol=0.005)
  one_way = reliability.one_way_intraclass(JUDGES)
  assert one_way.value == pytest.approx(found.one_way)
  assert (one_way.targets, one_way.ratings) == (6, 24)


def test_krippendorff():
  for level, expected in (
    ('nominal', 0.743),
    ('ordinal', 0.815),
    ('interval', 0.849),
  ):
    found = reliability.alpha(OBSERVERS, level)
    assert found.value == pytest.approx(expected, abs=0.0005)
    # One unit has one value.
    assert found[1:] == (11, 40, 1)


def test_unequal_numbers_of_raters_by_hand():
  ratings = np.array([[1, 3, NAN], [5, 6, 7], [4, NAN, NAN], [NAN] * 3])
  # Means 2, 6, 4 of 2, 3, 1 ratings; their mean 26/6; squares between
  # 2 (7/3)^2 + 3 (5/3)^2 + (1/3)^2 = 58/3, within 2 + 2 = 4;
  # MSB = 29/3, MSW = 4/3, k0 = (6 - 14/6) / 2 = 11/6.
  found = reliability.one_way_intraclass(ratings)
  assert found.value == pytest.approx((25 / 3) / (29 / 3 + 5 / 6 * 4 / 3))
  assert (found.targets, found.ratings) == (3, 6)


def test_alpha_by_hand():
  # Pairs (1, 1), (1, 2), (2, 2): of six values three are 1, three are 2.
  # Observed 2 of 6 coincidences differ, expected 18 of 30.
  ratings = np.array([[1, 1], [1, 2], [2, 2.0]])
  for level in ('nominal', 'ordinal', 'interval'):
    found = reliability.alpha(ratings, level).value
    assert found == pytest.approx(1 - (2 / 6) / (18 / 30))


def test_what_is_undefined():
  with pytest.raises(ValueError, match='two targets and raters, got 1 and 3'):
    reliability.intraclass(np.ones((1, 3)))
  with pytest.raises(ValueError, match='a rating is missing'):
    reliability.intraclass(OBSERVERS)
  assert np.isnan(reliability.intraclass(np.full((3, 3), 0.1))).all()
  alone = np.array([[1, NAN], [NAN, 4], [NAN, NAN]])
  one_way = reliability.one_way_intraclass(alone)
  assert np.isnan(one_way.value) and one_way[1:] == (2, 2, 0)
  nothing = reliability.one_way_intraclass(np.full((2, 2), NAN))
  assert np.isnan(nothing.value) and nothing.ratings == 0
  for level in ('nominal', 'ordinal', 'interval'):
    found = reliability.alpha(alone, level)
    assert np.isnan(found.value) and found[1:] == (0, 0, 2)
    assert np.isnan(reliability.alpha(np.full((3, 2), 4.0), level).value)


COMPLETE = hnp.arrays(
  float,
  st.tuples(st.integers(2, 6), st.integers(2, 5)),
  elements=st.integers(1, 7).map(float),
).filter(lambda ratings: np.ptp(ratings.mean(1)) > 0)


@given(COMPLETE, st.integers(0, 1000), st.floats(0.1, 9), st.floats(-9, 9))
def test_intraclass_properties(ratings, seed, scale, shift):
  rng = np.random.default_rng(seed)
  found = np.array(reliability.intraclass(ratings))
  rows, columns = map(rng.permutation, ratings.shape)
  other = reliability.intraclass(ratings[rows][:, columns] * scale + shift)
  np.testing.assert_allclose(other, found, rtol=1e-6, atol=1e-6)
  k = ratings.shape[1]
  # Spearman and Brown: of one rating, and of a mean of k.
  single, averaged = found[:3], found[3:]
  usable = ~np.isnan(averaged) & (single > -1 / (k - 1) + 1e-6)
  np.testing.assert_allclose(
    averaged[usable],
    (k * single / (1 + (k - 1) * single))[usable],
    rtol=1e-6,
    atol=1e-6,
  )
  assert (found[~np.isnan(found)] <= 1 + 1e-9).all()
  # Judges who differ by a constant agree in consistency.
  bias = reliability.intraclass(ratings + np.arange(k))
  np.testing.assert_allclose(bias.two_way_mixed, found[2], atol=1e-9)


@given(COMPLETE)
def test_raters_who_say_the_same_are_reliable(ratings):
  same = np.repeat(ratings[:, :1], 3, axis=1)
  if np.ptp(same):
    np.testing.assert_allclose(reliability.intraclass(same), 1)
    assert reliability.one_way_intraclass(same).value == pytest.approx(1)
    for level in ('nominal', 'ordinal', 'interval'):
      assert reliability.alpha(same, level).value == pytest.approx(1)


MISSING = hnp.arrays(
  float,
  st.tuples(st.integers(1, 7), st.integers(1, 5)),
  elements=st.sampled_from([NAN, NAN, 1.0, 2.0, 3.0, 5.0, 7.0]),
)


def slow_alpha(ratings, distance):
  """By pairs of values, as the definition says it."""
  units = [row[~np.isnan(row)] for row in ratings]
  units = [unit for unit in units if len(unit) > 1]
  values = np.concatenate([*units, np.zeros(0)])
  observed = sum(
    distance(a, b, values) / (len(unit) - 1)
    for unit in units
    for a in unit
    for b in unit
  )
  expected = sum(distance(a, b, values) for a in values for b in values)
  if not expected:
    return NAN
  return 1 - (len(values) - 1) * observed / expected


def ordinal(a, b, values):
  a, b = sorted((a, b))
  between = ((values >= a) & (values <= b)).sum()
  return (between - ((values == a).sum() + (values == b).sum()) / 2) ** 2


@given(MISSING, st.integers(0, 1000))
def test_alpha_is_its_definition_and_knows_no_order(ratings, seed):
  for level, distance in (
    ('nominal', lambda a, b, _: float(a != b)),
    ('ordinal', ordinal),
    ('interval', lambda a, b, _: (a - b) ** 2),
  ):
    found = reliability.alpha(ratings, level)
    np.testing.assert_allclose(
      found.value, slow_alpha(ratings, distance), atol=1e-9
    )
    shuffled = np.random.default_rng(seed).permuted(ratings, axis=1)
    other = reliability.alpha(shuffled, level)
    np.testing.assert_allclose(other.value, found.value, atol=1e-9)
    assert found.ratings + found.left_out == (~np.isnan(ratings)).sum()


@given(MISSING.filter(lambda r: r.shape[1] > 1))
def test_one_way_intraclass_is_an_analysis_of_variance(ratings):
  units = [row[~np.isnan(row)] for row in ratings]
  units = [unit for unit in units if len(unit)]
  found = reliability.one_way_intraclass(ratings)
  sizes = np.array([len(unit) for unit in units])
  values = np.concatenate([*units, np.zeros(0)])
  if len(units) < 2 or (sizes == 1).all() or not np.ptp(values):
    assert np.isnan(found.value)
    return
  n, total = len(units), sizes.sum()
  between = sum(len(u) * (u.mean() - values.mean()) ** 2 for u in units)
  within = sum(((u - u.mean()) ** 2).sum() for u in units)
  between, within = between / (n - 1), within / (total - n)
  k = (total - (sizes**2).sum() / total) / (n - 1)
  expected = (between - within) / (between + (k - 1) * within)
  assert found.value == pytest.approx(expected, abs=1e-9)
