"""Measures of a table of ratings: values, whose they are, what has none.

won = rating_metrics.wins_by_group(ratings, 'ours', 'theirs')
won.mean, won.left_out

Every measure of groups has one value a deliberation, in the order of the table,
so that the difference of two systems is the difference of their values. NaN is
no value, and `left_out` says why, each once. A deliberation in which only one
person rated has no value: that is no group.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.evaluation import group_metrics
from consensus_jax.evaluation.ratings import Column, Grid, Position, Ratings
from consensus_jax.training.metrics import Mean

Measure = Callable[[Grid], Float[np.ndarray, 'deliberations']]

# Why deliberations have no value, in the order in which it is asked.
_Reasons = Mapping[str, Bool[np.ndarray, 'deliberations']]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Values:
  """What a measure says, before it is averaged.

  Attributes:
    values: one a deliberation, member or rating; NaN where undefined.
    groups: whose each is, as places in the table's `group_names`.
    left_out: why NaN is NaN; the counts sum up to theirs.
  """

  values: Float[np.ndarray, 'values']
  groups: Int[np.ndarray, 'values']
  left_out: tuple[Exclusion, ...] = ()

  @property
  def mean(self) -> Mean:
    """Of what is defined, and how much that is."""
    defined = self.values[~np.isnan(self.values)]
    value = float(defined.mean()) if len(defined) else np.nan
    return Mean(value, len(defined))


def differences(
  ratings: Ratings, first: str, second: str, *, column: Column = 'agreement'
) -> Values:
  """How much more a group likes the first system than the second.

  Of each deliberation the mean over members who rated both.

  Raises:
    ValueError: if a system is not in the table.
  """
  a, b = ratings.grid(column, first), ratings.grid(column, second)
  return _by_group(
    ratings,
    group_metrics.mean(a - b),
    _one_sided(a, b, first, second)
    | {'was rated for both systems by one member': _number(a - b) == 1},
  )


def wins_by_group(
  ratings: Ratings, first: str, second: str, *, column: Column = 'agreement'
) -> Values:
  """Win rate of the first system over the second, by group.

  A deliberation counts 1 if the mean of its members who rated both is higher
  for the first, 1/2 if they tie, else 0.

  Raises:
    ValueError: if a system is not in the table.
  """
  ahead = differences(ratings, first, second, column=column)
  # Means of ratings are fractions of small numbers: less than this is rounding.
  lead = np.where(np.abs(ahead.values) < 1e-9, 0, ahead.values)
  won = group_metrics.wins(lead, np.zeros_like(lead))
  return dataclasses.replace(ahead, values=won)


def wins_by_rater(
  ratings: Ratings, first: str, second: str, *, column: Column = 'agreement'
) -> Values:
  """Win rate of the first system over the second, one value a member.

  Raises:
    ValueError: if a system is not in the table.
  """
  a, b = ratings.grid(column, first), ratings.grid(column, second)
  members = np.arange(a.shape[1]) < ratings.num_members[:, None]
  values = group_metrics.wins(a, b)[members]
  deliberations, _ = np.nonzero(members)
  rated = ~np.isnan(a[members]), ~np.isnan(b[members])
  tally = Tally()
  for reason, where in (
    (f'rated {first!r} only', rated[0] & ~rated[1]),
    (f'rated {second!r} only', rated[1] & ~rated[0]),
    ('rated neither system', ~rated[0] & ~rated[1]),
  ):
    for place in deliberations[where]:
      tally.add('member', reason, _name(ratings, place))
  return Values(
    values=values,
    groups=ratings.group_of[deliberations],
    left_out=tally.exclusions(),
  )


def scores(
  ratings: Ratings, system: str, *, column: Column = 'agreement'
) -> Values:
  """All ratings of a system, one value a rating: their mean is its score.

  Raises:
    ValueError: if the system is not in the table.
  """
  chosen = ratings.of(system)
  values = getattr(ratings, column)[chosen]
  places = {name: place for place, name in enumerate(ratings.group_names)}
  rows = np.flatnonzero(chosen)
  tally = Tally()
  for row in rows[np.isnan(values)]:
    name = f'{ratings.groups[row]} {ratings.raters[row]}'
    tally.add('rating', 'is missing', name)
  return Values(
    values=values,
    groups=np.array([places[ratings.groups[row]] for row in rows], int),
    left_out=tally.exclusions(),
  )


def by_group(
  ratings: Ratings,
  system: str,
  measure: Measure,
  *,
  column: Column = 'agreement',
) -> Values:
  """A measure of `group_metrics` on the ratings of each deliberation.

  Args:
    ratings: the table.
    system: whose statements.
    measure: `mean`, `least`, `dissent`, `internal_agreement`, ...
    column: what it takes.

  Raises:
    ValueError: if the system is not in the table.
  """
  grid = ratings.grid(column, system)
  return _by_group(ratings, measure(grid), _few(grid, 'rating'))


def of_positions(
  ratings: Ratings, measure: Measure, *, when: Position = 'position_before'
) -> Values:
  """A measure of `group_metrics` on the members' position statement."""
  grid = ratings.positions(when)
  return _by_group(ratings, measure(grid), _few(grid, 'position'))


def agreement_index(ratings: Ratings, *, when: Position) -> Values:
  """The Group Agreement Index of each deliberation, before or after it."""
  before, grid = ratings.positions('position_before'), ratings.positions(when)
  return _by_group(
    ratings,
    group_metrics.agreement_index(grid, before),
    _few(grid, 'position') | _few(before, 'position before'),
  )


def unanimity(ratings: Ratings, system: str) -> Values:
  """1 where all members agree with a statement on a divisive question, else 0.

  Raises:
    ValueError: if the system is not in the table.
  """
  positions = ratings.positions('position_before')
  divisive = group_metrics.divisive(positions)
  grid = ratings.grid('agreement', system)
  return _by_group(
    ratings,
    group_metrics.unanimous(grid),
    _few(positions, 'position')
    | {'is not divisive': np.isin(divisive, [0])}
    | _few(grid, 'rating'),
  )


def by_side(
  ratings: Ratings,
  system: str,
  side: Literal['minority', 'majority'],
  *,
  column: Column = 'agreement',
) -> Values:
  """Mean rating of the members who are on one side of the question.

  Raises:
    ValueError: if the system is not in the table.
  """
  sides = group_metrics.sides(ratings.positions('position_before'))
  grid = ratings.grid(column, system)
  chosen = np.where(getattr(sides, side), grid, np.nan)
  return _by_group(
    ratings,
    group_metrics.mean(chosen),
    {'has no minority': np.logical_not(sides.minority.any(-1))}
    | _few(grid, 'rating')
    | {f'has no rating of the {side}': _number(chosen) == 0},
  )


def exclusion_gap(
  ratings: Ratings, system: str, *, column: Column = 'agreement'
) -> Values:
  """Mean rating of members included in making a statement, less of others.

  Raises:
    ValueError: if the system is not in the table.
  """
  included = ratings.grid(column, system, excluded=False)
  excluded = ratings.grid(column, system, excluded=True)
  return _by_group(
    ratings,
    group_metrics.mean(included) - group_metrics.mean(excluded),
    {
      'has no rating of a member who was excluded': _number(excluded) == 0,
      'has no rating of a member who was included': _number(included) == 0,
    },
  )


def words(ratings: Ratings, first: str, second: str) -> Values:
  """How many more words the first system's statement has than the second's.

  Of several in a deliberation the mean, over all that somebody saw.

  Raises:
    ValueError: if a system is not in the table.
  """
  a, b = (_words(ratings, system) for system in (first, second))
  return _by_group(
    ratings,
    a - b,
    _one_sided(a[:, None], b[:, None], first, second, what='known words'),
  )


def problems(ratings: Ratings) -> tuple[Exclusion, ...]:
  """What a reader of any comparison of these systems should know of.

  Groups with one member; questions that a system has no statement on; members
  who rated one of several systems only, which takes them out of comparisons;
  groups all of whose ratings of a system are neutral, which leaves their
  internal agreement undefined; and judgements without a rating.
  """
  tally = Tally()
  grids = {
    name: ratings.grid('agreement', name) for name in ratings.system_names
  }
  members: dict[str, set[str]] = {name: set() for name in ratings.group_names}
  asked: dict[str, set[str]] = {name: set() for name in grids}
  for group, rater, system, question in zip(
    ratings.groups, ratings.raters, ratings.systems, ratings.questions
  ):
    members[group].add(rater)
    asked[system].add(question)
  for group, people in members.items():
    if len(people) == 1:
      tally.add('group', 'has one member', group)
  questions = dict.fromkeys(ratings.questions)
  for system, of_system in asked.items():
    for question in questions:
      if question not in of_system:
        tally.add('question', f'has no statement of {system!r}', question)
  if len(grids) > 1:
    rated = ~np.isnan(np.stack([*grids.values()]))
    for index, system in enumerate(grids):
      alone = rated[index] & (rated.sum(0) == 1)
      for place, _ in np.argwhere(alone):
        tally.add('member', f'rated {system!r} only', _name(ratings, place))
  for system, grid in grids.items():
    undefined = np.isnan(group_metrics.internal_agreement(grid))
    for place in np.flatnonzero(undefined & (_number(grid) > 0)):
      reason = f'has neutral ratings of {system!r} only'
      tally.add('deliberation', reason, _name(ratings, place))
  for row in np.flatnonzero(
    np.isnan(ratings.agreement) & np.isnan(ratings.quality)
  ):
    name = f'{ratings.groups[row]} {ratings.raters[row]}'
    tally.add('judgement', 'is without a rating', name)
  return tally.exclusions()


def _by_group(ratings, values, reasons: _Reasons) -> Values:
  tally = Tally()
  unknown = np.zeros(len(values), bool)
  # Whatever else a formula cannot say is said of groups without a side.
  neutral = {'has neutral ratings only': np.isnan(values)}
  for reason, where in (*reasons.items(), *neutral.items()):
    for place in np.flatnonzero(where & ~unknown):
      tally.add('deliberation', reason, _name(ratings, place))
    unknown |= where
  return Values(
    values=np.where(unknown, np.nan, values),
    groups=ratings.group_of,
    left_out=tally.exclusions(),
  )


def _few(grid, what: str) -> dict[str, np.ndarray]:
  number = _number(grid)
  return {f'has no {what}': number == 0, f'has one {what}': number == 1}


def _one_sided(a, b, first, second, what='ratings') -> dict[str, np.ndarray]:
  of_first, of_second = _number(a) > 0, _number(b) > 0
  return {
    f'has {what} of {first!r} only': of_first & ~of_second,
    f'has {what} of {second!r} only': of_second & ~of_first,
    f'has {what} of neither system': ~of_first & ~of_second,
    'has no member who rated both systems': _number(a - b) == 0,
  }


def _words(ratings: Ratings, system: str) -> np.ndarray:
  lengths: dict[tuple[str, str], dict[str, float]] = {}
  for row in np.flatnonzero(ratings.of(system)):
    key = ratings.groups[row], ratings.questions[row]
    lengths.setdefault(key, {})[ratings.statements[row]] = ratings.words[row]
  return np.array(
    [
      np.mean([*lengths[key].values()]) if key in lengths else np.nan
      for key in ratings.deliberations
    ]
  )


def _number(grid) -> np.ndarray:
  return (~np.isnan(grid)).sum(-1)


def _name(ratings, place) -> str:
  group, question = ratings.deliberations[place]
  return f'{group}: {question}'
