"""What experiments on simulated participants must find, exactly.

Ratings of different people, and of different texts, are independent given the
rewards, so every expectation here is a sum over 7 answers, or over the sums of
a group's answers; nothing is drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy import special  # type: ignore[import-untyped]

from consensus_jax.evaluation.latent import ratings
from consensus_jax.evaluation.latent.groups import LatentGroup, Participant
from consensus_jax.evaluation.latent.ratings import LatentStatement, Raters
from consensus_jax.evaluation.ratings import NEUTRAL
from consensus_jax.social_choice.utilities import LIKERT_THRESHOLDS
from consensus_jax.social_choice.welfare import (
  TIE_TOLERANCE,
  isoelastic_welfare,
)
from consensus_jax.strict_json import InputError

_ANSWERS = np.arange(1, 8)


def probabilities(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  raters: Raters = Raters(),  # noqa: B008 (it is frozen)
) -> Float[np.ndarray, 'statements members answers']:
  """Of each answer, 1 to 7, on agreement."""
  rewards = ratings.rewards(participants, statements, raters)[..., None]
  if raters.noise:
    above = special.expit((rewards - LIKERT_THRESHOLDS) / raters.noise)
  else:
    above = (rewards > np.array(LIKERT_THRESHOLDS)).astype(float)
  # P(rating > 0) is 1, P(rating > 7) is 0.
  ends = np.ones_like(rewards)
  return -np.diff(np.concatenate([ends, above, 0 * ends], -1), axis=-1)


def agreement(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  raters: Raters = Raters(),  # noqa: B008
) -> Float[np.ndarray, 'statements members']:
  """Expected rating of agreement; its mean over members is a group's."""
  return probabilities(participants, statements, raters) @ _ANSWERS.astype(
    float
  )


def unanimity(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  raters: Raters = Raters(),  # noqa: B008
) -> Float[np.ndarray, 'statements']:
  """Probability that everybody agrees: each rating is above 4."""
  return (
    probabilities(participants, statements, raters)[..., 4:].sum(-1).prod(-1)
  )


def best(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  *,
  alpha: float | int,
  raters: Raters = Raters(),  # noqa: B008
) -> tuple[int, ...]:
  """The statements of greatest welfare; several if they are tied.

  The utility of a statement for a person is its expected rating.

  Args:
    participants: whose welfare counts.
    statements: to choose from.
    alpha: aversion to inequality, from 0 to inf.
    raters: how people rate.
  """
  utilities = agreement(participants, statements, raters)
  welfare = np.asarray(isoelastic_welfare(utilities, alpha), float)
  tied = welfare >= welfare.max() * (1 - TIE_TOLERANCE)
  return tuple(np.flatnonzero(tied).tolist())


def exclusion(
  group: LatentGroup,
  statement: LatentStatement,
  raters: Raters = Raters(),  # noqa: B008
) -> float:
  """Expected mean agreement of those heard, minus that of the silent.

  Raises:
    InputError: if nobody is silent.
  """
  if not group.silent:
    raise InputError(f'nobody of {group.id} is silent', field=('silent',))
  silent = [p for p in group.participants if p.name in group.silent]
  heard, others = (
    agreement(people, [statement], raters).mean()
    for people in (group.heard, silent)
  )
  return float(heard - others)


def win_probability(
  participants: Sequence[Participant],
  first: LatentStatement,
  second: LatentStatement,
  raters: Raters = Raters(),  # noqa: B008
) -> float:
  """That a group's mean agreement is higher with the first; ties one half.

  The expected win rate of one system over another is the mean of these over
  groups. Statements of one text are rated alike, and tie, if they have the same
  position and quality too.

  Raises:
    InputError: if two statements of one text are not the same.
  """
  if first.text == second.text:
    same = first.positions == second.positions
    if not same or first.quality != second.quality:
      raise InputError('two positions or qualities of one text')
    return 0.5
  one, other = (
    _of_sum(rows)
    for rows in probabilities(participants, [first, second], raters)
  )
  below = np.cumsum(other) - other
  return float(one @ (below + other / 2))


def positions_before(
  participants: Sequence[Participant],
) -> Float[np.ndarray, 'members']:
  """Expected rating of the affirming position statement, before anything."""
  return np.array(
    [ratings.position_rating(each.positions[0]) for each in participants]
  )


def levels_after(
  participants: Sequence[Participant],
  statement: LatentStatement,
  raters: Raters = Raters(),  # noqa: B008
) -> list[float]:
  """Levels on the main issue after a statement has moved people."""
  return [ratings.moved(each, statement, raters) for each in participants]


def positions_after(
  participants: Sequence[Participant],
  statement: LatentStatement,
  raters: Raters = Raters(),  # noqa: B008
) -> Float[np.ndarray, 'members']:
  """Expected rating of the affirming position statement, after a statement."""
  levels = levels_after(participants, statement, raters)
  return np.array([ratings.position_rating(level) for level in levels])


def sides(
  levels: Sequence[float],
) -> Float[np.ndarray, 'members sides']:
  """Probabilities that a rated position is below, at and above neutral."""
  expected = np.array([ratings.position_rating(level) for level in levels])
  low = np.floor(expected)
  # One of the two whole numbers around what is expected.
  found = np.zeros((len(levels), 3))
  rows = np.arange(len(levels))
  for rating, chance in ((low, low + 1 - expected), (low + 1, expected - low)):
    found[rows, np.sign(rating - NEUTRAL).astype(int) + 1] += chance
  return found


def of_sides(
  chances: Float[np.ndarray, 'members sides'],
  formula: Callable[
    [Float[np.ndarray, 'groups members']], Float[np.ndarray, 'groups']
  ],
) -> float:
  """The expectation of what depends on how many are on which side.

  Args:
    chances: of `sides`.
    formula: of ratings, in any order of members. Where it is NaN is left out.

  Returns:
    NaN if the formula is NaN everywhere.
  """
  counts = {(0, 0): 1.0}
  for below, at, above in chances.tolist():
    added: dict[tuple[int, int], float] = {}
    for (low, high), chance in counts.items():
      for place, part in (
        ((low + 1, high), below),
        ((low, high), at),
        ((low, high + 1), above),
      ):
        added[place] = added.get(place, 0.0) + chance * part
    counts = added
  size = len(chances)
  rows = np.array(
    [
      [NEUTRAL - 2] * low
      + [NEUTRAL] * (size - low - high)
      + [NEUTRAL + 2] * high
      for low, high in counts
    ],
    float,
  )
  values, weights = formula(rows), np.array([*counts.values()])
  defined = ~np.isnan(values) & (weights > 0)
  if not defined.any():
    return np.nan
  return float(np.average(values[defined], weights=weights[defined]))


def _of_sum(
  rows: Float[np.ndarray, 'members answers'],
) -> Float[np.ndarray, 'sums']:
  """Probabilities of the sum of independent answers, from the least up."""
  found = np.ones(1)
  for row in rows:
    found = np.convolve(found, row)
  return found
