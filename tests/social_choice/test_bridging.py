"""Bridging scores: what unites scores above what divides."""

import jax
import numpy as np
import pytest

from consensus_jax.social_choice import bridging as lib


def two_camps(per_side=20, missing=0.3, seed=0):
  """Candidates: liked by one side, by the other, mildly by all, by none."""
  random = np.random.default_rng(seed)
  liked = np.array([[0.95, 0.05], [0.05, 0.95], [0.7, 0.7], [0.1, 0.1]])
  ratings = np.repeat(liked, per_side, axis=1)
  ratings = np.clip(ratings + random.normal(0, 0.05, ratings.shape), 0, 1)
  ratings[random.random(ratings.shape) < missing] = np.nan
  return ratings.astype(np.float32)


def loss(numbers, ratings):
  candidates, members = ratings.shape
  cuts = np.cumsum([1, candidates, candidates, members])
  mean, scores, sides, generous, member_sides = np.split(numbers, cuts)
  total = 0.0
  for c, m in np.argwhere(~np.isnan(ratings)):
    error = (
      ratings[c, m]
      - (mean[0] + scores[c] + generous[m])
      - sides[c] * member_sides[m]
    )
    total += error**2
    total += 0.15 * (mean[0] ** 2 + scores[c] ** 2 + generous[m] ** 2)
    total += 0.03 * (sides[c] ** 2 + member_sides[m] ** 2)
  return total / (~np.isnan(ratings)).sum()


def test_what_unites_beats_what_divides():
  result = lib.bridging(two_camps())
  one, other, mild, none = result.scores.tolist()
  assert mild > max(one, other) > none
  assert abs(one - other) < 0.05
  sides = np.asarray(result.sides)
  assert sides[0] * sides[1] < 0
  assert min(abs(sides[:2])) > 3 * abs(sides[2])


@pytest.mark.parametrize('seed', range(3))
def test_a_crowd_of_one_side_does_not_carry_its_candidate(seed):
  ratings = two_camps(seed=seed)
  crowd = np.concatenate([ratings] + [ratings[:, :15]] * 4, axis=1)
  # The mean is carried past the candidate that unites; the score is not.
  assert np.nanmean(crowd[0]) > np.nanmean(crowd[2])
  before, after = lib.bridging(ratings), lib.bridging(crowd)
  assert after.scores[2] > after.scores[0] + 0.05
  lift = np.nanmean(crowd[0]) - np.nanmean(ratings[0])
  assert after.scores[0] - before.scores[0] < lift / 3


def test_the_loss_written_out_has_no_better_neighbour():
  ratings = two_camps(per_side=5)
  result = lib.bridging(ratings)
  found = np.concatenate(
    [
      np.atleast_1d(np.asarray(part, float))
      for part in (
        result.mean,
        result.scores,
        result.sides,
        result.member_intercepts,
        result.member_sides,
      )
    ]
  )
  at = loss(found, ratings)
  assert float(result.loss) == pytest.approx(at, rel=1e-4)
  for index in range(len(found)):
    for step in (-0.01, 0.01):
      other = found.copy()
      other[index] += step
      assert loss(other, ratings) > at


def test_the_order_of_members_and_the_seed_do_not_matter():
  ratings = two_camps()
  result = lib.bridging(ratings)
  shuffled = lib.bridging(ratings[:, ::-1], seed=5)
  np.testing.assert_allclose(result.scores, shuffled.scores, atol=2e-3)
  np.testing.assert_allclose(
    np.abs(result.sides), np.abs(shuffled.sides), atol=5e-3
  )
  assert result.sides[np.argmax(np.abs(result.sides))] > 0


def test_group_informed_consensus_written_out():
  agrees = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]], bool)
  groups = np.array([0, 0, 0, 1, 1])
  got = lib.group_informed_consensus(agrees, groups, 2)
  np.testing.assert_allclose(got, [4 / 5 * 1 / 4, 3 / 5 * 2 / 4], rtol=1e-6)
  seen = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
  got = lib.group_informed_consensus(agrees, groups, 2, seen=seen)
  np.testing.assert_allclose(got, [3 / 4 * 1 / 3, 3 / 5 * 2 / 4], rtol=1e-6)
  mapped = jax.jit(
    jax.vmap(lambda a: lib.group_informed_consensus(a[None], groups, 2)[0])
  )(agrees)
  np.testing.assert_allclose(mapped, [0.2, 0.3], rtol=1e-6)


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match=r'ratings\[0, 1\] must be from 0 to 1'):
    lib.bridging(np.float32([[0.5, 1.5]]))
  with pytest.raises(ValueError, match='starts must be'):
    lib.bridging(np.float32([[0.5, 0.5]]), starts=0)
  with pytest.raises(ValueError, match=r'groups\[1\] must be from 0 to 1'):
    lib.group_informed_consensus(np.ones((1, 2), bool), np.array([0, 2]), 2)
