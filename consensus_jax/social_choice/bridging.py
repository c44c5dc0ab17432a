"""Bridging: candidates that people who usually disagree both like."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Real

from consensus_jax.social_choice import checks

__all__ = ['Bridging', 'bridging', 'group_informed_consensus']


class Bridging(NamedTuple):
  """What explains the ratings; `scores` is what to rank candidates by.

  Attributes:
    scores: how much a candidate is liked beyond its side: its intercept.
    sides: the side on which a candidate is; of which sign is arbitrary, and
      chosen so that the most one-sided candidate is positive.
    member_sides: likewise for members.
    member_intercepts: how generous a member is.
    mean: the common intercept.
    loss: what was minimised, a rating.
  """

  scores: Float[Array, 'candidates']
  sides: Float[Array, 'candidates']
  member_sides: Float[Array, 'members']
  member_intercepts: Float[Array, 'members']
  mean: Float[Array, '']
  loss: Float[Array, '']


def bridging(
  ratings: Real[ArrayLike, 'candidates members'],
  *,
  intercept_penalty: float = 0.15,
  side_penalty: float = 0.03,
  starts: int = 8,
  rounds: int = 200,
  seed: int = 0,
) -> Bridging:
  """Explains ratings by generosity, quality and one opposition of two sides.

  rating = mean + member's intercept + candidate's intercept + product of their
  sides. What one side's members like is explained by the sides, which cost
  little; only what both like is left to a candidate's intercept. Minimises the
  sum over ratings of the squared error and the penalties of the numbers
  involved, by alternating least squares from several seeded starts, of which
  the best counts.

  Args:
    ratings: from 0 to 1; NaN where a member has not rated.
    intercept_penalty: of all squared intercepts.
    side_penalty: of all squared sides.
    starts: how many.
    rounds: of least squares, each.
    seed: of the starts.

  Raises:
    ValueError: naming a rating outside of [0, 1].

  Source: Community Notes; Wojcik et al. 2022, "Birdwatch: crowd wisdom and
  bridging algorithms can inform understanding and reduce the spread of
  misinformation".
  """
  checks.check_axes('ratings', ratings, ('candidates', 'members'))
  if not checks.is_traced(ratings):
    values = np.asarray(ratings)
    good = np.isnan(values) | ((values >= 0) & (values <= 1))
    checks.check_values('ratings', values, good, 'from 0 to 1, or NaN')
  if starts < 1:
    raise ValueError(f'starts must be 1 or more, got {starts}')
  penalties = jnp.array([intercept_penalty, side_penalty])
  return _bridging(ratings, penalties, jax.random.key(seed), starts, rounds)


def group_informed_consensus(
  agrees: Bool[ArrayLike, '*batch candidates members'],
  groups: Int[ArrayLike, 'members'],
  num_groups: int,
  *,
  seen: Bool[ArrayLike, '*batch candidates members'] | None = None,
) -> Float[Array, '*batch candidates']:
  """Product over groups of the chance that one of its members agrees.

  A group's chance is (agreeing + 1) / (seen + 2), so that little evidence
  counts little. One group that disagrees is enough to sink a candidate.

  Args:
    agrees: who agrees with what.
    groups: the group of each member, from 0.
    num_groups: how many groups there are.
    seen: who has answered at all; None is all.

  Raises:
    ValueError: naming a group outside of [0, num_groups).

  Source: Polis; Small et al. 2021, "Polis: scaling deliberation by mapping
  high dimensional opinion spaces".
  """
  checks.check_axes('agrees', agrees, ('candidates', 'members'))
  if not checks.is_traced(groups):
    values = np.asarray(groups)
    good = (values >= 0) & (values < num_groups)
    checks.check_values('groups', values, good, f'from 0 to {num_groups - 1}')
  agrees = jnp.asarray(agrees)
  seen = jnp.ones_like(agrees) if seen is None else jnp.asarray(seen)
  belongs = jax.nn.one_hot(jnp.asarray(groups), num_groups, dtype=jnp.float32)
  agreeing = (agrees & seen).astype(jnp.float32) @ belongs
  answered = seen.astype(jnp.float32) @ belongs
  return ((agreeing + 1) / (answered + 2)).prod(axis=-1)


@jax.jit(static_argnames=('starts', 'rounds'))
def _bridging(ratings, penalties, key, starts, rounds):
  ratings = jnp.asarray(ratings).astype(jnp.float32)
  rated = ~jnp.isnan(ratings)
  ratings = jnp.where(rated, ratings, 0)

  def solve(errors, rated, sides):
    """Intercepts and sides of rows, given the sides of columns."""
    count = jnp.maximum(rated.sum(axis=1), 1)
    sides = jnp.where(rated, sides[None, :], 0)
    one = count * (1 + penalties[0])
    cross = sides.sum(axis=1)
    both = (sides**2).sum(axis=1) + count * penalties[1]
    total, along = errors.sum(axis=1), (errors * sides).sum(axis=1)
    # `both` has a penalty in it: the determinant is positive.
    determinant = one * both - cross**2
    return (
      (total * both - along * cross) / determinant,
      (along * one - total * cross) / determinant,
    )

  def errors_of(state):
    mean, of_candidates, sides, of_members, member_sides = state
    explained = (
      mean
      + of_candidates[:, None]
      + of_members[None, :]
      + sides[:, None] * member_sides[None, :]
    )
    return jnp.where(rated, ratings - explained, 0)

  def improve(_, state):
    mean, of_candidates, sides, of_members, member_sides = state
    rest = jnp.where(rated, ratings - mean - of_members[None, :], 0)
    of_candidates, sides = solve(rest, rated, member_sides)
    rest = jnp.where(rated, ratings - mean - of_candidates[:, None], 0)
    of_members, member_sides = solve(rest.T, rated.T, sides)
    without = jnp.zeros_like(mean)
    left = errors_of((without, of_candidates, sides, of_members, member_sides))
    mean = left.sum() / (rated.sum() * (1 + penalties[0]))
    return mean, of_candidates, sides, of_members, member_sides

  def loss_of(state):
    mean, of_candidates, sides, of_members, member_sides = state
    costs = (
      penalties[0]
      * (mean**2 + of_candidates[:, None] ** 2 + of_members[None, :] ** 2)
    ) + penalties[1] * (sides[:, None] ** 2 + member_sides[None, :] ** 2)
    total = errors_of(state) ** 2 + jnp.where(rated, costs, 0)
    return total.sum() / rated.sum()

  def run(key):
    candidates, members = ratings.shape
    start = (
      ratings.sum() / rated.sum(),
      jnp.zeros(candidates),
      jnp.zeros(candidates),
      jnp.zeros(members),
      jax.random.normal(key, (members,)),
    )
    state = jax.lax.fori_loop(0, rounds, improve, start)
    return state, loss_of(state)

  states, losses = jax.vmap(run)(jax.random.split(key, starts))
  best = jnp.argmin(losses)
  mean, scores, sides, of_members, member_sides = (x[best] for x in states)
  sign = jnp.where(sides[jnp.argmax(jnp.abs(sides))] < 0, -1.0, 1.0)
  return Bridging(
    scores, sign * sides, sign * member_sides, of_members, mean, losses[best]
  )
