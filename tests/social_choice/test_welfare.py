"""Welfare: against mpmath, published examples and the properties it has."""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consensus_jax.social_choice import utilities as utility_maps
from consensus_jax.social_choice import welfare

# Relative, in float32: about ten times the distance of neighbouring numbers.
CLOSE = 1.5e-6
INF = float('inf')

positive = st.floats(2**-10, 2**10, width=32)
groups = st.lists(positive, min_size=1, max_size=8)
aversions = st.sampled_from(
  [0.0, 0.1, 0.5, 0.9, 0.9999, 0.999999, 1.0, 1.000001, 1.0001]
  + [1.1, 1.5, 2.0, 5.0, 10.0, 50.0, 400.0, INF]
)


def exact(values, alpha, weights=None):
  """The definition in 60 digits, at the float32 value of `alpha`."""
  with mpmath.workdps(60):
    numbers = [mpmath.mpf(float(v)) for v in values]
    shares = [mpmath.mpf(float(w)) for w in weights or [1] * len(numbers)]
    pairs = [
      (u, w / sum(shares)) for u, w in zip(numbers, shares, strict=True) if w
    ]
    alpha = mpmath.mpf(float(np.float32(alpha)))
    least = min(u for u, _ in pairs)
    if alpha == mpmath.inf or (least == 0 and alpha >= 1):
      return float(least)
    if alpha == 1:
      return float(mpmath.fprod(u**w for u, w in pairs))
    power = 1 - alpha
    return float(mpmath.fsum(w * u**power for u, w in pairs) ** (1 / power))


def of(values, alpha, weights=None):
  if weights is not None:
    weights = jnp.array(weights, jnp.float32)
  return float(
    welfare.isoelastic_welfare(
      jnp.array(values, jnp.float32), alpha, weights=weights
    )
  )


@pytest.mark.parametrize(
  ('values', 'want'),
  [
    ((0, 19, 20), (13.0, 8.6652, 0, 0, 0)),
    ((10, 13, 15), (12.6667, 12.5808, 12.4933, 12.3158, 10)),
    ((1, 2, 4), (2.3333, 2.1650, 2.0, 1.7143, 1)),
    ((2, 2, 2.5), (2.1667, 2.1605, 2.1544, 2.1429, 2)),
  ],
)
def test_published_values(values, want):
  got = [of(values, alpha) for alpha in (0, 0.5, 1, 2, INF)]
  np.testing.assert_allclose(got, want, atol=5e-5)


@pytest.mark.parametrize(
  ('utility', 'want'),
  [
    (
      'shift',
      {
        'A': (14, 13.544004, 11.233025, 7.488872, 2.733189, 1.129831, 1),
        'B': (13.666667, 13.650911, 13.587289, 13.506627, 13.34296, 12.238482)
        + (11,),
      },
    ),
    (
      'sigmoid',
      {
        'A': (0.666626, None, 0.447406, 0.035671, 1.3618e-4, 5.1292e-5)
        + (4.5398e-5,),
        'B': (0.815294, None, 0.797898, 0.779203, 0.739549, 0.564596, 0.5),
      },
    ),
    (
      'softplus',
      {
        'A': (6.3334047, 6.0536075, 4.2285661, 0.15986937, 1.3619539e-4)
        + (5.1293082e-5, 4.5398899e-5),
        'B': (2.91615, 2.8533117, 2.5772493, 2.1952922, 1.5224967, 0.783139)
        + (0.69314718,),
      },
    ),
    (
      'expected_likert',
      {
        'A': (4.9930511, 4.8870529, 4.3959573, 3.6637324, 2.3462938)
        + (1.1385833, 1.0077466),
        'B': (5.2797211, 5.2704661, 5.2329093, 5.1849424, 5.0869706)
        + (4.4834815, 4.0),
      },
    ),
  ],
)
def test_example_of_the_talk_under_each_map(utility, want):
  # A pleases two people and appals one; B is mildly liked by all.
  rewards = {'A': np.float32([-10, 9, 10]), 'B': np.float32([0, 3, 5])}
  for candidate, values in want.items():
    utilities = utility_maps.UtilityMap(utility)(rewards[candidate])
    for alpha, value in zip((0, 0.1, 0.5, 1, 2, 10, INF), values, strict=True):
      if value is not None:
        got = float(welfare.isoelastic_welfare(utilities, alpha))
        assert got == pytest.approx(value, rel=5e-5), (candidate, alpha)


def test_the_winner_of_the_talks_example_depends_on_alpha_and_map():
  rewards = np.float32([[-10, 9, 10], [0, 3, 5]])
  winners = {
    name: welfare.welfare_curve(utility_maps.UtilityMap(name)(rewards)).winners
    for name in ('shift', 'sigmoid', 'softplus')
  }
  assert winners['shift'].tolist() == [0, 1, 1, 1, 1, 1, 1]
  assert winners['sigmoid'].tolist() == [1] * 7
  assert winners['softplus'].tolist() == [0, 0, 1, 1, 1, 1, 1]


@given(groups, aversions)
@example([0.01, 0.02, 0.9], 30.0)  # naive float32 gives 0
@example([11.0, 12.0, 13.0], 400.0)  # naive float64 gives inf
@example([1e-3, 1e3], 0.999999)
@example([1e-3, 1e3], 1.000001)
def test_equals_high_precision(values, alpha):
  assert of(values, alpha) == pytest.approx(exact(values, alpha), rel=CLOSE)


@given(
  st.lists(
    st.tuples(positive, st.floats(0, 1e3, width=32)), min_size=1, max_size=8
  ).filter(lambda pairs: any(w > 1e-3 for _, w in pairs)),
  aversions,
)
def test_weighted_equals_high_precision(pairs, alpha):
  values, weights = zip(*pairs, strict=True)
  want = exact(values, alpha, weights)
  # Weights below the tiniest share of float32 may drop out of it.
  assert of(values, alpha, weights) == pytest.approx(want, rel=4 * CLOSE)


@pytest.mark.parametrize('alpha', [0.0, 0.3, 0.99, 1.0, 1.01, 3.0, 200.0])
def test_tiny_and_huge_utilities(alpha):
  for values in ([1e-30, 3e-30, 2e-29], [1e-35, 1.0, 1e35], [1e30, 3e30, 9e30]):
    # The logs of float32 themselves are known to 4e-6 at these magnitudes.
    want = pytest.approx(exact(np.float32(values), alpha), rel=2e-5)
    assert of(values, alpha) == want


@pytest.mark.parametrize('alpha', [0.0, 0.5, 0.999, 1.0, 1.001, 2.0, 50.0, INF])
def test_zero_utilities(alpha):
  want = exact([0.0, 4.0, 9.0], alpha)
  assert of([0.0, 4.0, 9.0], alpha) == pytest.approx(want, rel=CLOSE)
  assert of([0.0, 0.0], alpha) == 0.0
  assert (want == 0) == (alpha >= 1)


def test_as_accurate_for_a_million_members():
  values = np.random.default_rng(0).uniform(0.1, 21, 2**20).astype(np.float32)
  for alpha in (0.5, 1.0, 2.0, 50.0):
    wide = values.astype(np.float64)
    if alpha == 1:
      want = np.exp(np.log(wide).mean())
    else:
      low = wide.min()
      want = low * ((wide / low) ** (1 - alpha)).mean() ** (1 / (1 - alpha))
    assert of(values, alpha) == pytest.approx(want, rel=1e-5)


@given(positive, st.integers(1, 7), aversions)
def test_consistency_of_equals(value, size, alpha):
  assert of([value] * size, alpha) == value


@given(groups, aversions, st.floats(2**-8, 2**8))
def test_homogeneity(values, alpha, scale):
  scaled = of([v * scale for v in values], alpha)
  assert scaled == pytest.approx(scale * of(values, alpha), rel=2 * CLOSE)


@given(groups, aversions)
def test_lies_between_the_extremes(values, alpha):
  assert min(values) <= of(values, alpha) <= max(values)


@given(groups, aversions, st.data())
def test_monotonicity(values, alpha, data):
  index = data.draw(st.integers(0, len(values) - 1))
  more = list(values)
  more[index] *= 1.25
  before, after = of(values, alpha), of(more, alpha)
  assert after >= before * (1 - CLOSE)
  if alpha <= 2 and max(values) < 4 * min(values):  # enough to see in float32
    assert after > before


@given(groups)
def test_never_increases_with_alpha(values):
  steps = sorted({0, 0.3, 0.999, 1, 1.001, 1.7, 3, 20, 300, INF})
  results = [of(values, alpha) for alpha in steps]
  for one, other in itertools.pairwise(results):
    assert other <= one * (1 + CLOSE)


@given(groups)
def test_continuity_at_one(values):
  at_one = of(values, 1.0)
  for alpha in (1 - 1e-6, 1 + 1e-6):
    assert abs(of(values, alpha) - at_one) < 1e-4 * at_one


@given(groups)
def test_tends_to_the_minimum(values):
  assert of(values, 1e6) == pytest.approx(min(values), rel=1e-5)
  assert of(values, INF) == min(values)


@given(groups, aversions, st.randoms(use_true_random=False))
def test_anonymity(values, alpha, random):
  other = list(values)
  random.shuffle(other)
  assert of(other, alpha) == pytest.approx(of(values, alpha), rel=CLOSE)


@given(st.lists(groups.map(lambda g: (g * 4)[:4]), min_size=2), aversions)
def test_neutrality(candidates, alpha):
  array = jnp.array(candidates, jnp.float32)
  there = welfare.isoelastic_welfare(array, alpha)
  back = welfare.isoelastic_welfare(array[::-1], alpha)[::-1]
  np.testing.assert_array_equal(there, back)


@given(groups.filter(lambda g: len(g) > 1), aversions, st.floats(0, 0.5))
def test_pigou_dalton(values, alpha, share):
  poor, rich = int(np.argmin(values)), int(np.argmax(values))
  gift = np.float32(share * (values[rich] - values[poor]))
  fairer = list(values)
  fairer[poor] += gift
  fairer[rich] -= gift
  before, after = of(values, alpha), of(fairer, alpha)
  assert after >= before * (1 - CLOSE)
  if alpha == 0:
    assert after == pytest.approx(before, rel=CLOSE)
  elif alpha <= 10 and values[rich] > 2 * values[poor] and share > 0.1:
    # The smallest effect is of one part in eight of a power of the ratio.
    wide = exact(fairer, alpha) > exact(values, alpha) * (1 + 4 * CLOSE)
    assert not wide or after > before


@given(
  st.lists(
    st.tuples(positive, st.integers(0, 4)), min_size=1, max_size=5
  ).filter(lambda pairs: any(w for _, w in pairs)),
  aversions,
  st.sampled_from([1e-20, 0.5, 3.0, 1e30]),
)
def test_weights_are_repeated_voters_and_scale_free(pairs, alpha, scale):
  values, counts = zip(*pairs, strict=True)
  repeated = [v for v, count in pairs for _ in range(count)]
  want = pytest.approx(of(repeated, alpha), rel=2 * CLOSE)
  assert of(values, alpha, counts) == want
  assert of(values, alpha, [scale * count for count in counts]) == want


@given(groups, aversions, st.integers(2, 5))
def test_replication_invariance(values, alpha, times):
  want = pytest.approx(of(values, alpha), rel=CLOSE)
  assert of(values * times, alpha) == want


@given(groups, groups, st.floats(0.5, 2), st.floats(0, 10))
def test_shifting_keeps_only_utilitarian_differences(one, other, scale, offset):
  # Cardinal unit comparability: differences of means survive u -> su + o.
  before = of(one, 0) - of(other, 0)
  after = of([scale * v + offset for v in one], 0) - of(
    [scale * v + offset for v in other], 0
  )
  assert after == pytest.approx(scale * before, abs=2e-3)


def test_rawlsian_alone_violates_strict_pareto():
  assert of([1, 5], INF) == of([1, 9], INF)
  assert of([1, 5], 3) < of([1, 9], 3)


def test_named_cases():
  values = jnp.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])
  np.testing.assert_allclose(welfare.utilitarian(values), [7 / 3, 3], rtol=1e-6)
  np.testing.assert_allclose(welfare.nash(values), [2, 3], rtol=1e-6)
  np.testing.assert_allclose(welfare.rawlsian(values), [1, 3], rtol=1e-6)
  absent = jnp.array([0.0, 1.0, 1.0])
  np.testing.assert_allclose(
    welfare.rawlsian(values, weights=absent), [2, 3], rtol=1e-6
  )


def test_batches_jit_and_vmap_agree():
  values = np.random.default_rng(1).uniform(0, 9, (4, 3, 5)).astype(np.float32)
  weights = np.random.default_rng(2).uniform(0, 2, (4, 1, 5)).astype(np.float32)
  for alpha in (0.0, 0.7, 1.0, 3.0, INF):
    whole = welfare.isoelastic_welfare(values, alpha, weights=weights)
    assert whole.shape == (4, 3)
    jitted = jax.jit(
      lambda v, a, w: welfare.isoelastic_welfare(v, a, weights=w)
    )(values, alpha, weights)
    mapped = jax.vmap(
      lambda v, w, a=alpha: welfare.isoelastic_welfare(v, a, weights=w)
    )(values, weights)
    np.testing.assert_allclose(jitted, whole, rtol=CLOSE)
    np.testing.assert_allclose(mapped, whole, rtol=CLOSE)


@pytest.mark.parametrize('alpha', [0.0, 0.5, 1.0, 2.0, 10.0, INF])
def test_gradients_are_the_shares_of_welfare(alpha):
  # Euler: a function that scales with its arguments is the sum of u dW/du.
  values = jnp.array([0.5, 2.0, 3.0, 3.5])
  gradient = jax.grad(welfare.isoelastic_welfare)(values, alpha)
  assert (gradient >= 0).all()
  np.testing.assert_allclose(gradient @ values, of(values, alpha), rtol=1e-5)
  if alpha not in (0.0, INF):
    want = 0.25 * (of(values, alpha) / values) ** alpha
    np.testing.assert_allclose(gradient, want, rtol=1e-4)


def test_curve_and_changes_of_the_winner():
  # a wins for the many, b for the fair, c in between.
  values = np.float32([[1, 9, 9], [4, 4, 4], [2.5, 5.5, 8]])
  curve = welfare.welfare_curve(values)
  assert curve.alphas.tolist() == [0, 0.5, 1, 2, 5, 10, INF]
  assert curve.welfare.shape == (7, 3)
  assert curve.winners.tolist()[0] == 0 and curve.winners.tolist()[-1] == 1
  changes = welfare.winner_changes(values)
  assert [(c.before, c.after) for c in changes] == [(0, 2), (2, 1)]
  for change in changes:
    below = exact(values[change.before], change.alpha * 0.999)
    assert below > exact(values[change.after], change.alpha * 0.999)
    above = exact(values[change.before], change.alpha * 1.001)
    assert above < exact(values[change.after], change.alpha * 1.001)


def test_changes_near_the_ends():
  assert welfare.winner_changes(np.float32([[1, 2], [3, 4]])) == ()
  # The means are equal and the first is listed first; any aversion sees more.
  (change,) = welfare.winner_changes(np.float32([[1, 3], [2, 2]]))
  assert 0 < change.alpha < 1e-3
  # Only the very worst-off prefers the second.
  values = np.float32([[1, 50, 50], [1.0001, 1.1, 1.1]])
  (change,) = welfare.winner_changes(values)
  for alpha, better in ((change.alpha * 0.99, 0), (change.alpha * 1.01, 1)):
    assert exact(values[better], alpha) > exact(values[1 - better], alpha)


def test_curve_of_a_batch_under_jit():
  values = np.random.default_rng(0).uniform(1, 9, (6, 4, 5)).astype(np.float32)
  curve = jax.jit(welfare.welfare_curve)(values)
  assert curve.welfare.shape == (7, 6, 4)
  assert curve.winners.shape == (7, 6)
  for group in range(6):
    alone = welfare.welfare_curve(values[group])
    np.testing.assert_array_equal(curve.winners[:, group], alone.winners)


@pytest.mark.parametrize(
  ('values', 'alpha', 'weights', 'message'),
  [
    ([[1.0, 2.0], [3.0, -1.0]], 0.0, None, r'utilities\[1, 1\] .* got -1\.0'),
    ([1.0, math.nan], 0.0, None, r'utilities\[1\] .* got nan'),
    ([1.0, INF], 0.0, None, r'utilities\[1\] .* got inf'),
    ([1.0, 2.0], -0.5, None, r'alpha must be .* got -0\.5'),
    ([1.0, 2.0], math.nan, None, r'alpha must be .* got nan'),
    ([1.0, 2.0], 0.0, [1.0, -1.0], r'weights\[1\] .* got -1\.0'),
    ([1.0, 2.0], 0.0, [1.0, INF], r'weights\[1\] .* got inf'),
    ([1.0, 2.0], 0.0, [0.0, 0.0], r'weights\[:\] must not all be zero'),
  ],
)
def test_bad_values_are_refused(values, alpha, weights, message):
  values = np.float32(values)
  weights = None if weights is None else np.float32(weights)
  with pytest.raises(ValueError, match=message):
    welfare.isoelastic_welfare(values, alpha, weights=weights)


@pytest.mark.parametrize('shape', [(0,), (0, 3), (2, 0)])
def test_empty_axes_are_refused(shape):
  with pytest.raises(ValueError, match='utilities has an empty axis'):
    welfare.isoelastic_welfare(jnp.zeros(shape), 0.0)


def test_no_alphas_are_refused():
  with pytest.raises(ValueError, match='alphas has an empty axis'):
    welfare.welfare_curve(jnp.ones((2, 2)), jnp.zeros(0))
  with pytest.raises(ValueError, match=r'alphas\[1\] must be'):
    welfare.welfare_curve(jnp.ones((2, 2)), (0.0, -1.0))
