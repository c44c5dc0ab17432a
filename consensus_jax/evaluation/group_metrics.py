"""What ratings say about a group, as formulas on arrays; numpy.

The last axis of ratings is that of a group's members; NaN is no rating. Each
formula is NaN where it is undefined. `rating_metrics` applies them to a table
and counts where that is.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize  # type: ignore[import-untyped]

from consensus_jax.evaluation.ratings import NEUTRAL

Members = Float[np.ndarray, 'deliberations members']
Groups = Float[np.ndarray, 'deliberations']


def wins(
  first: Float[np.ndarray, '*compared'], second: Float[np.ndarray, '*compared']
) -> Float[np.ndarray, '*compared']:
  """1 where the first is greater, 0 where it is less, 1/2 where they tie."""
  return (np.sign(first - second) + 1) / 2


def final_preference(
  revised: Float[np.ndarray, 'raters'], initial: Float[np.ndarray, 'raters']
) -> Float[np.ndarray, 'raters']:
  """1 for who ranks the revised consensus above the initial one, ties 1/2.

  Args:
    revised: ranks, 0 is best; NaN for none.
    initial: likewise, of the same ranking.
  """
  return wins(initial, revised)


def mean(ratings: Members) -> Groups:
  """Mean over members; NaN without any."""
  present = ~np.isnan(ratings)
  return _ratio(np.where(present, ratings, 0).sum(-1), present.sum(-1))


def least(ratings: Members) -> Groups:
  """The rating of the member who agrees least; NaN without any."""
  found = np.where(np.isnan(ratings), np.inf, ratings).min(-1)
  return np.where(np.isinf(found), np.nan, found)


def dissent(ratings: Members) -> Groups:
  """Share of members who disagree (< 4); NaN without any."""
  return _ratio((ratings < NEUTRAL).sum(-1), _number(ratings))


def unanimous(ratings: Members) -> Groups:
  """1 where every member who rated agrees (> 4), else 0; NaN without any."""
  number = _number(ratings)
  everybody = (ratings > NEUTRAL).sum(-1) == number
  return np.where(number > 0, everybody.astype(float), np.nan)


def divisive(positions: Members) -> Groups:
  """1 where a member is on the other side of another, else 0.

  Sides are those of the position statement, > 4 and < 4. A group that rejects
  it with one voice is not divided. NaN without any position.

  Source: Bakker et al. 2022, section 4, "divisive" questions; that a dissenter
  is who differs from another member, and not from the statement, is our own
  reading.
  """
  both = (positions > NEUTRAL).any(-1) & (positions < NEUTRAL).any(-1)
  return np.where(_number(positions) > 0, both.astype(float), np.nan)


def internal_agreement(ratings: Members) -> Groups:
  """Group Internal Agreement, signed: -1 all agree, 1 all disagree, 0 split.

  GIA = 2 (1/2 - n(r > 4) / (n(r > 4) + n(r < 4))). Neutral ratings do not
  count; NaN where there are no others.

  Source: Bakker et al. 2022, talk of 2023-02-22.
  """
  agree = (ratings > NEUTRAL).sum(-1)
  disagree = (ratings < NEUTRAL).sum(-1)
  return 2 * (0.5 - _ratio(agree, agree + disagree))


def absolute_internal_agreement(ratings: Members) -> Groups:
  """|GIA|: how much a group is of one mind, 0 (split) to 1, on either side."""
  return np.abs(internal_agreement(ratings))


def agreement_index(ratings: Members, before: Members) -> Groups:
  """Group Agreement Index, in percent: on the side that the majority was on.

  GAI = 100 (n(x > 4) - n(x < 4)) / n. x is the rating where as many members or
  more were above 4 before as below it, else 8 minus the rating. Neutral ratings
  count in n, other than in `internal_agreement`.

  Args:
    ratings: of the position statement, before or after.
    before: of the position statement, before the deliberation.

  Returns:
    -100 to 100; NaN without any rating, or without any from before.

  Source: Tessler et al. 2024, supplementary materials, "group agreement".
  """
  above = (before > NEUTRAL).sum(-1)
  side = np.where(above >= (before < NEUTRAL).sum(-1), 1, -1)
  toward = (ratings > NEUTRAL).sum(-1) - (ratings < NEUTRAL).sum(-1)
  index = 100 * _ratio(side * toward, _number(ratings))
  return np.where(_number(before) > 0, index, np.nan)


class Sides(NamedTuple):
  """Who is on which side of a position statement.

  Attributes:
    minority: whose side is smaller.
    majority: whose side is larger.
  """

  minority: Bool[np.ndarray, 'deliberations members']
  majority: Bool[np.ndarray, 'deliberations members']


def sides(positions: Members) -> Sides:
  """The minority and the majority, of those who are not neutral.

  Nobody is in either where nobody is on one of the sides, or both are of one
  size.
  """
  above, below = positions > NEUTRAL, positions < NEUTRAL
  more = above.sum(-1, keepdims=True) - below.sum(-1, keepdims=True)
  both = above.any(-1, keepdims=True) & below.any(-1, keepdims=True)
  return Sides(
    minority=both & np.where(more > 0, below, above & (more < 0)),
    majority=both & np.where(more > 0, above, below & (more < 0)),
  )


def opinion_weights(
  statement: Float[np.ndarray, 'dims'],
  opinions: Float[np.ndarray, 'members dims'],
) -> Float[np.ndarray, 'members']:
  """Of each opinion, how much of it is in a statement; they sum to one.

  The l >= 0 with sum l = 1 of least |statement - sum_i l_i opinion_i|^2. Of
  several, that nearest to equal weights (to 1e-4), as with opinions that are
  all one, or with positions on one axis.

  Args:
    statement: its embedding, or its position as a vector of one number.
    opinions: likewise, of the members.

  Raises:
    ValueError: without members, or if a number is not finite.

  Source: Tessler et al. 2024, supplementary materials, "minority weight". Least
  squares on the simplex by least squares on l >= 0: Lawson and Hanson 1974,
  "Solving least squares problems", chapter 23.
  """
  if not len(opinions) or not np.isfinite(opinions).all():
    raise ValueError(f'opinions must be one or more, finite; got {opinions}')
  if not np.isfinite(statement).all():
    raise ValueError(f'the statement must be finite, got {statement}')
  # With l summing to one the residual is sum_i l_i gap_i. A row of ones and a
  # target of one more turn the minimum on the simplex into one on l >= 0 of
  # the same direction: t^2 |residual|^2 + (t - 1)^2 is least where the residual
  # is, whatever t.
  gaps = (opinions - statement).T.astype(np.float64)
  scale = np.abs(gaps).max(initial=0) or 1.0
  count = len(opinions)
  # The middle rows choose between equals; small beside any real difference.
  rows = np.concatenate(
    [gaps / scale, 1e-5 * np.eye(count), np.ones((1, count))]
  )
  found, _ = optimize.nnls(rows, np.eye(len(rows))[-1])
  return found / found.sum()


class MinorityWeight(NamedTuple):
  """How much of a minority is in a statement.

  Attributes:
    weight: sum of the weights of its opinions; NaN without a minority.
    mean: of these weights.
    share: of the members: what `weight` would be if all weighed the same.
  """

  weight: float
  mean: float
  share: float


def minority_weight(
  statement: Float[np.ndarray, 'dims'],
  opinions: Float[np.ndarray, 'members dims'],
  positions: Float[np.ndarray, 'members'],
) -> MinorityWeight:
  """The weight of the minority's opinions in a statement.

  Neutral members have weights as well; they are in no minority.

  Args:
    statement: its embedding, or its position as a vector of one number.
    opinions: likewise, of the members.
    positions: 1 to 7, on the position statement; NaN if not known.

  Raises:
    ValueError: as `opinion_weights`.

  Source: Tessler et al. 2024, supplementary materials, "minority weight".
  """
  weights = opinion_weights(statement, opinions)
  minority = sides(positions[None]).minority[0]
  if not minority.any():
    return MinorityWeight(np.nan, np.nan, np.nan)
  of_minority = weights[minority]
  return MinorityWeight(
    weight=float(of_minority.sum()),
    mean=float(of_minority.mean()),
    share=float(minority.mean()),
  )


def _number(ratings):
  return (~np.isnan(ratings)).sum(-1)


def _ratio(above, below):
  with np.errstate(invalid='ignore', divide='ignore'):
    return above / below
