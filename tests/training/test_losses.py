"""Losses against closed forms, enumeration and finite differences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from consensus_jax.training import losses

NAN = np.nan


def each(function, **settings):
  """The loss of one row, and whether it counts."""
  function = jitted(function, **settings)

  def one(rewards, levels, *args):
    loss, counts = function(
      jnp.asarray([rewards], float), jnp.asarray([levels], float), *args
    )
    return float(loss[0]), bool(counts[0])

  return one


@functools.cache
def jitted(function, **settings):
  return jax.jit(functools.partial(function, **settings))


REWARD_LOSSES = {
  'bradley_terry': losses.bradley_terry,
  'bradley_terry, margin and soft ties': lambda rewards, levels: (
    losses.bradley_terry(rewards, levels, margin_scale=0.7, soft_ties=True)
  ),
  'plackett_luce': losses.plackett_luce,
  'ordinal': lambda rewards, levels: losses.ordinal(
    rewards, levels, jnp.asarray([-2.0, 0.3, -1.0, 0.2, 1.5, -3.0])
  ),
  'logistic': lambda rewards, levels: losses.logistic(
    rewards, jnp.sign(levels - 3)
  ),
  'centring': lambda rewards, levels: (
    losses.centring(rewards, levels),
    (~jnp.isnan(levels)).sum(1) > 1,
  ),
}
every_loss = pytest.mark.parametrize('name', REWARD_LOSSES)

levels_of = st.lists(
  st.sampled_from([1, 2, 3, 6, 7, NAN]), min_size=5, max_size=5
)
rewards_of = st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5)


@functools.partial(jax.jit, static_argnums=0)
def total(name, rewards, levels):
  loss, counts = REWARD_LOSSES[name](rewards, levels)
  return jnp.where(counts, loss, 0).sum()


value_and_grad = jax.jit(jax.value_and_grad(total, 1), static_argnums=0)


def finite_differences(function, x, step=1e-6):
  gradient = np.zeros_like(x)
  for index in np.ndindex(*x.shape):
    ahead, behind = x.copy(), x.copy()
    ahead[index] += step
    behind[index] -= step
    gradient[index] = (function(ahead) - function(behind)) / (2 * step)
  return gradient


@every_loss
def test_gradients_are_those_of_finite_differences(name):
  rng = np.random.default_rng(1)
  rewards = rng.normal(size=(40, 5)) * 3
  levels = rng.integers(1, 8, (40, 5)).astype(float)
  levels[:20] = np.ceil(levels[:20] / 3)  # many ties
  levels[rng.random((40, 5)) < 0.3] = NAN
  with jax.enable_x64(True):
    function = jax.jit(lambda x: total(name, x, jnp.asarray(levels)))
    found = jax.grad(function)(rewards)
    assert found.dtype == np.float64
    # Rows do not touch each other: differ in all of them at once.
    by_row = jax.jit(lambda x: REWARD_LOSSES[name](x, jnp.asarray(levels))[0])
    expected = np.zeros_like(rewards)
    for i in range(5):
      step = np.zeros(5)
      step[i] = 1e-5
      expected[:, i] = (by_row(rewards + step) - by_row(rewards - step)) / 2e-5
  assert np.abs(expected).max() > 0.1
  np.testing.assert_allclose(found, expected, atol=2e-9, rtol=1e-7)


def test_gradient_of_the_cut_points_is_that_of_finite_differences():
  rng = np.random.default_rng(2)
  rewards = rng.normal(size=(30, 3)) * 3
  levels = rng.integers(1, 8, (30, 3)).astype(float)
  free = rng.normal(size=6)
  with jax.enable_x64(True):
    function = jax.jit(
      lambda free: losses.ordinal(
        jnp.asarray(rewards), jnp.asarray(levels), free
      )[0].sum()
    )
    found = jax.grad(function)(free)
    expected = finite_differences(function, free)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@every_loss
@given(
  rewards=rewards_of,
  levels=levels_of,
  garbage=st.sampled_from([1e30, np.inf, NAN]),
)
def test_what_was_not_judged_does_not_matter(name, rewards, levels, garbage):
  levels = np.array([levels], np.float32)
  rewards = np.array([rewards], np.float32)
  absent = np.isnan(levels)
  value, gradient = value_and_grad(
    name, np.where(absent, np.float32(garbage), rewards), levels
  )
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()
  assert (np.asarray(gradient)[absent] == 0).all()
  assert value == total(name, rewards, levels)


@every_loss
@given(rewards=rewards_of, levels=levels_of, order=st.permutations(range(5)))
def test_the_order_of_statements_does_not_matter(name, rewards, levels, order):
  rewards = np.array([rewards], np.float32)
  levels = np.array([levels], np.float32)
  np.testing.assert_allclose(
    total(name, rewards[:, order], levels[:, order]),
    total(name, rewards, levels),
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize('name', list(REWARD_LOSSES)[:3])
@given(rewards=rewards_of, levels=levels_of, shift=st.floats(-5, 5, width=32))
def test_comparisons_do_not_see_a_shift(name, rewards, levels, shift):
  rewards = np.array([rewards], np.float32)
  levels = np.array([levels], np.float32)
  np.testing.assert_allclose(
    total(name, rewards + np.float32(shift), levels),
    total(name, rewards, levels),
    rtol=1e-4,
    atol=1e-5,
  )


@every_loss
@pytest.mark.parametrize('size', [0.0, 1e3, 3e4])
def test_large_rewards_stay_finite(name, size):
  rewards = np.float32([[size, -size, 0, size], [-size, 0, size, 1]])
  levels = np.float32([[1, 7, 4, 1], [3, 3, 3, 1]])
  value, gradient = value_and_grad(name, rewards, levels)
  assert np.isfinite(value) and value >= -1e-6
  assert np.isfinite(gradient).all()


def test_bradley_terry_in_closed_form():
  loss = each(losses.bradley_terry)
  assert loss([2.0, -1.0], [5, 3]) == (
    pytest.approx(np.log1p(np.exp(-3))),
    True,
  )
  assert loss([2.0, -1.0], [3, 5]) == (pytest.approx(np.log1p(np.exp(3))), True)
  # Three statements, one absent pair: the mean over pairs.
  pairs = [1.0 - 0.5, 1.0 - 3.0, 0.5 - 3.0]
  assert loss([1, 0.5, 3, 9], [3, 2, 1, NAN])[0] == pytest.approx(
    np.mean([-special.log_expit(d) for d in pairs])
  )
  assert loss([1.0, 2.0], [4, 4]) == (0, False)
  assert loss([1.0, 2.0], [4, NAN]) == (0, False)


def test_the_margin_grows_with_the_distance_of_levels():
  loss = each(losses.bradley_terry, margin_scale=0.5)
  for distance in (1, 3, 6):
    assert loss([2.0, -1.0], [1 + distance, 1])[0] == pytest.approx(
      -special.log_expit(3 - 0.5 * distance)
    )


def test_soft_ties_draw_rewards_together():
  loss = each(losses.bradley_terry, soft_ties=True, margin_scale=2.0)
  expected = -(special.log_expit(3) + special.log_expit(-3)) / 2
  assert loss([2.0, -1.0], [4, 4]) == (pytest.approx(expected), True)
  assert loss([1.0, 1.0], [4, 4])[0] == pytest.approx(np.log(2))
  # One tie and one pair.
  expected = (expected - special.log_expit(2 - 2.0 * 1)) * 1
  third = -special.log_expit(-1 - 2.0)
  assert loss([2.0, -1.0, 0.0], [4, 4, 3])[0] == pytest.approx(
    (expected + third) / 3
  )


def of_any_order(rewards, levels):
  """-log of the sum of Plackett and Luce over orders that fit, and choices."""
  judged = [i for i in range(len(levels)) if not np.isnan(levels[i])]
  log_probs = []
  for order in itertools.permutations(judged):
    if any(levels[a] < levels[b] for a, b in itertools.pairwise(order)):
      continue
    log_probs.append(
      sum(
        rewards[order[i]] - special.logsumexp([rewards[j] for j in order[i:]])
        for i in range(len(order))
      )
    )
  return -special.logsumexp(log_probs), len({levels[i] for i in judged}) - 1


@settings(max_examples=150)
@given(
  rewards=st.lists(st.floats(-15, 15), min_size=6, max_size=6),
  levels=st.lists(st.sampled_from([1, 2, 3, 4, NAN]), min_size=6, max_size=6),
)
def test_plackett_luce_is_the_sum_over_orders(rewards, levels):
  expected, choices = of_any_order(rewards, levels)
  with jax.enable_x64(True):
    loss, counts = each(losses.plackett_luce)(rewards, levels)
  assert counts == (choices > 0)
  if counts:
    assert loss == pytest.approx(expected / choices, rel=1e-6, abs=5e-8)


def test_plackett_luce_with_many_ties():
  # All of one reward: 1 over the number of ways to choose who comes first.
  for first, rest in [(2, 1), (8, 8), (1, 15), (30, 2)]:
    loss, _ = each(losses.plackett_luce)(
      [1.0] * (first + rest), [2] * first + [1] * rest
    )
    assert loss == pytest.approx(
      np.log(special.comb(first + rest, first)), rel=1e-5
    )


@given(
  rewards=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=2),
  levels=st.lists(st.sampled_from([1, 2, NAN]), min_size=2, max_size=2),
)
def test_plackett_luce_of_two_is_bradley_terry(rewards, levels):
  assert each(losses.plackett_luce)(rewards, levels) == each(
    losses.bradley_terry
  )(rewards, levels)


def test_without_knowledge_every_rating_is_as_likely():
  free = losses.initial_cut_points()
  for rating in range(1, 8):
    loss, _ = each(losses.ordinal)([0.0], [rating], free)
    assert loss == pytest.approx(np.log(7), rel=1e-5)


@given(
  reward=st.floats(-30, 30, width=32),
  free=st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6),
)
def test_ratings_have_the_probabilities_of_proportional_odds(reward, free):
  cuts = np.asarray(jitted(losses.cut_points)(np.float32(free)))
  assert (np.diff(cuts) > 0).all() or min(free[1:]) < -8  # 1e-4 beside 100
  exact = free[0] + np.concatenate([[0], np.cumsum(np.logaddexp(0, free[1:]))])
  np.testing.assert_allclose(cuts, exact, rtol=1e-5, atol=1e-5)
  rows = np.full((7, 1), reward, np.float32)
  found, counts = jitted(losses.ordinal)(
    rows, np.arange(1, 8, dtype=np.float32)[:, None], np.float32(free)
  )
  assert counts.all()
  probabilities = np.exp(-np.asarray(found, np.float64))
  assert probabilities.sum() == pytest.approx(1, abs=1e-5)
  at_most = np.concatenate([[0], special.expit(exact - reward), [1]])
  np.testing.assert_allclose(probabilities, np.diff(at_most), atol=1e-5)


def test_a_rating_out_of_range_is_seen():
  free = losses.initial_cut_points()
  for level in (0, 8, -1):
    assert np.isnan(each(losses.ordinal)([0.0, 1.0], [level, 3], free)[0])


@given(reward=st.floats(-30, 30, width=32))
def test_a_vote_has_the_probability_of_a_sigmoid_of_the_reward(reward):
  rows = np.full((3, 1), reward, np.float32)
  votes = np.float32([[1], [-1], [0]])
  found, counts = jitted(losses.logistic)(rows, votes)
  assert counts.all()
  agree, disagree, either = np.asarray(found, np.float64)
  exact = -special.log_expit(np.float64([reward, -reward]))
  np.testing.assert_allclose([agree, disagree], exact, rtol=1e-5, atol=1e-5)
  assert either == pytest.approx(exact.mean(), rel=1e-5)


@given(
  reward=st.floats(-30, 30, width=32),
  votes=st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=9),
)
def test_a_mean_of_votes_is_worth_its_votes(reward, votes):
  """Their mean loss, and so its gradient too, is the loss of their mean."""
  loss = each(losses.logistic)
  one_by_one = [float(loss([reward], [vote])[0]) for vote in votes]
  together = float(loss([reward], [np.mean(votes)])[0])
  assert together == pytest.approx(np.mean(one_by_one), rel=1e-4, abs=1e-4)


def test_a_vote_out_of_range_is_seen():
  for level in (1.5, 2, -7):
    assert np.isnan(each(losses.logistic)([0.0, 1.0], [level, 1])[0])


def test_contrast_compares_people_on_the_same_statement():
  rewards = np.float32([[1, 2, 5], [0.5, 4, 9]])
  levels = np.float32([[1, -1, 1], [-1, 1, NAN]])
  numbers = np.int32([[7, 8, 9], [7, 8, 9]])
  found, counts = jitted(losses.contrast)(rewards, levels, numbers)
  pairs = -special.log_expit(np.array([1 - 0.5, 4 - 2]))
  np.testing.assert_allclose(found, [pairs.mean()] * 2, rtol=1e-6)
  assert counts.all()
  # Other statements, equal votes or one person: nothing to compare.
  for levels, numbers in (
    ([[1, -1, 1], [-1, 1, 1]], [[1, 2, 3], [4, 5, 6]]),
    ([[1, 1, 1], [1, 1, 1]], [[1, 2, 3], [1, 2, 3]]),
    ([[1, -1, 1], [NAN] * 3], [[1, 1, 1], [1, 1, 1]]),
  ):
    found, counts = jitted(losses.contrast)(
      rewards, np.float32(levels), np.int32(numbers)
    )
    assert not np.asarray(counts).any() and not np.asarray(found).any()


@given(
  shift=st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4),
  seed=st.integers(0, 100),
)
def test_contrast_does_not_see_what_makes_a_statement_popular(shift, seed):
  rng = np.random.default_rng(seed)
  rewards = rng.normal(size=(3, 4)).astype(np.float32)
  levels = rng.choice([-1, 0, 1, NAN], (3, 4)).astype(np.float32)
  numbers = np.broadcast_to(np.arange(4, dtype=np.int32), (3, 4))
  before, _ = jitted(losses.contrast)(rewards, levels, numbers)
  after, _ = jitted(losses.contrast)(
    rewards + np.float32(shift), levels, numbers
  )
  np.testing.assert_allclose(after, before, atol=1e-5)


def test_centring_of_a_pair_is_the_square_of_its_sum():
  rewards = np.float32([[1, 2, 9], [1, 2, 4], [5, 1, 1]])
  levels = np.float32([[1, 2, NAN], [1, 1, 1], [1, NAN, NAN]])
  np.testing.assert_allclose(
    jitted(losses.centring)(rewards, levels), [9, (9 + 25 + 36) / 3, 0]
  )


def arrays_of_tokens(dtype=np.float32):
  rng = np.random.default_rng(3)
  x = rng.normal(size=(3, 10, 4)).astype(dtype)
  head = rng.normal(size=(7, 4)).astype(dtype)
  targets = rng.integers(0, 7, (3, 10)).astype(np.int32)
  weights = rng.choice([0, 1, 0.5], (3, 10)).astype(dtype)
  return x, head, targets, weights


def entropy(x, head, targets, weights, **kwargs):
  arrays = map(jnp.asarray, (x, targets, weights))
  return losses.cross_entropy(lambda x: x @ head.T, *arrays, **kwargs)


@pytest.mark.parametrize('block', [1, 3, 5, 10, 256])
def test_cross_entropy_in_blocks_is_that_of_all_logits(block):
  x, head, targets, weights = arrays_of_tokens()

  def plain(x, head):
    log_probs = jax.nn.log_softmax(x @ head.T)
    chosen = jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    return -(weights * chosen).sum()

  def ours(x, head):
    return entropy(x, head, targets, weights, block=block)[0]

  expected = jax.value_and_grad(plain, (0, 1))(x, head)
  found = jax.value_and_grad(ours, (0, 1))(x, head)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    found,
    expected,
  )
  right = (x @ head.T).argmax(-1) == targets
  _, found = entropy(x, head, targets, weights, block=block)
  assert found == pytest.approx((right * weights).sum())


def test_gradient_of_cross_entropy_is_that_of_finite_differences():
  with jax.enable_x64(True):
    x, head, targets, weights = arrays_of_tokens(np.float64)
    function = jax.jit(
      lambda head: entropy(x, head, targets, weights, block=4)[0]
    )
    found = jax.grad(function)(head)
    expected = finite_differences(function, head)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_a_token_of_no_weight_costs_nothing_whatever_it_is():
  x, head, targets, weights = arrays_of_tokens()
  weights[1] = 0
  x[1, 2] = 1e30
  value, gradient = jax.value_and_grad(
    lambda x: entropy(x, head, targets, weights, block=4)[0]
  )(x)
  assert np.isfinite(value)
  assert (np.asarray(gradient)[1] == 0).all()


def test_logits_of_all_tokens_are_never_in_memory():
  rows, length, vocab, embed = 2, 2048, 4096, 8
  x = jnp.ones((rows, length, embed))
  head = jnp.ones((vocab, embed))
  targets = jnp.zeros((rows, length), jnp.int32)
  weights = jnp.ones((rows, length))

  def memory(block):
    def loss(x, head):
      return entropy(x, head, targets, weights, block=block)[0]

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, head).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  whole = rows * length * vocab * 4
  assert memory(length) >= whole
  assert memory(256) < whole / 2
