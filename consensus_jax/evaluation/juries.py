"""Juries of a stated composition, and what they would say.

Whose voice a prediction follows is a choice: a jury makes it explicit, as
numbers of jurors by an attribute. Many juries are drawn from a pool of people
whose ratings are predicted; each says the mean of its jurors.

Source: Gordon et al. 2022, "Jury learning: integrating dissenting voices into
machine learning models": the median of means over juries, and juries that would
decide otherwise. The search for the nearest of these is our own.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from consensus_jax.evaluation.intervals import Interval
from consensus_jax.strict_json import InputError

# Jurors by value of the attribute.
Composition = Mapping[str, int]

# Expected verdicts closer than this are tied: they are sums in another order.
_TIE = 1e-9
_MOST_COMPOSITIONS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """People who may be drawn, and what they would say.

  Attributes:
    ratings: of each statement by each juror, predicted or real.
    attributes: a value for each juror, such as an opinion group of Polis.

  Raises:
    InputError: if there are no statements or jurors, a rating is not finite or
      there are not as many values as jurors.
  """

  ratings: Float[np.ndarray, 'statements jurors']
  attributes: tuple[str, ...]

  def __post_init__(self):
    if not self.ratings.size:
      raise InputError('holds no statements or no jurors', field=('ratings',))
    if len(self.attributes) != self.ratings.shape[1]:
      raise InputError(
        f'must hold one value for each of {self.ratings.shape[1]} jurors, got '
        f'{len(self.attributes)}',
        field=('attributes',),
      )
    bad = np.argwhere(~np.isfinite(self.ratings))
    if len(bad):
      raise InputError(
        f'juror {bad[0][1]} has no finite rating of statement {bad[0][0]}: a '
        'juror rates everything',
        field=('ratings',),
      )

  @property
  def sizes(self) -> dict[str, int]:
    """How many people have each value, by value in alphabetical order."""
    values = sorted({*self.attributes})
    return {value: self.attributes.count(value) for value in values}

  def with_value(self, value: str) -> Int[np.ndarray, 'jurors']:
    """Places of the people with a value."""
    return np.flatnonzero(np.array(self.attributes) == value)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
  """What juries of one composition say.

  Attributes:
    composition: jurors by value.
    means: the verdict of each jury on each statement: the mean of its jurors.
    verdicts: of each statement, the median of the means, and the middle of them
      that `level` of the juries are in.
    expected: mean verdict over all juries of this composition, not only those
      drawn.
    best: share of the juries in which each statement has the greatest mean; a
      jury in which several are tied is shared between them.
  """

  composition: Composition
  means: Float[np.ndarray, 'statements juries']
  verdicts: tuple[Interval, ...]
  expected: Float[np.ndarray, 'statements']
  best: Float[np.ndarray, 'statements']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """The smallest change of a jury after which another statement wins.

  Attributes:
    moved: how many jurors have another value.
    composition: the new jury; of those equally near, the one that favours the
      new winner most.
    winners: of the new jury, as `winners` tells.
  """

  moved: int
  composition: Composition
  winners: tuple[int, ...]


def draw(
  pool: Pool,
  composition: Composition,
  *,
  num_juries: int,
  seed: int,
) -> Int[np.ndarray, 'juries seats']:
  """Draws juries: places of people, nobody twice in one jury.

  All sets of people that fit are equally likely (Floyd's algorithm; Bentley
  1987, "Programming pearls: a sample of brilliance").

  Args:
    pool: whom to draw from.
    composition: jurors by value; 0 is allowed.
    num_juries: how many, each drawn anew.
    seed: of the draws.

  Raises:
    InputError: if the pool has no such jury.
    ValueError: if no jury is wanted.
  """
  _check(pool, composition)
  if num_juries < 1:
    raise ValueError(f'num_juries must be 1 or more, got {num_juries}')
  rng = np.random.default_rng(seed)
  seats = []
  for value in sorted(composition):
    people = pool.with_value(value)
    count = composition[value]
    places = np.full((num_juries, count), -1)
    for seat, last in enumerate(range(len(people) - count, len(people))):
      drawn = rng.integers(0, last + 1, num_juries)
      taken = (places == drawn[:, None]).any(1)
      places[:, seat] = np.where(taken, last, drawn)
    seats.append(people[places])
  return np.concatenate(seats, axis=1)


def deliver(
  pool: Pool,
  composition: Composition,
  *,
  num_juries: int = 10_000,
  seed: int,
  level: float = 0.95,
) -> Verdicts:
  """Draws juries, and lets them say what they think.

  Args:
    pool: whom to draw from.
    composition: jurors by value.
    num_juries: how many.
    seed: of the draws.
    level: share of the juries that is within an interval.

  Raises:
    InputError: if the pool has no such jury.
    ValueError: if no jury is wanted, or a level is not between 0 and 1.
  """
  if not 0 < level < 1:
    raise ValueError(f'level must be between 0 and 1, got {level}')
  juries = draw(pool, composition, num_juries=num_juries, seed=seed)
  means = np.stack([ratings[juries].mean(1) for ratings in pool.ratings])
  ends = [0.5, (1 - level) / 2, (1 + level) / 2]
  verdicts = np.quantile(means, ends, axis=1).T.tolist()
  first = means >= means.max(0) - _TIE
  return Verdicts(
    composition=dict(composition),
    means=means,
    verdicts=tuple(Interval(*each) for each in verdicts),
    expected=expected(pool, composition),
    best=(first / first.sum(0)).mean(1),
  )


def expected(
  pool: Pool, composition: Composition
) -> Float[np.ndarray, 'statements']:
  """Mean verdict of all juries of a composition: exact, nothing is drawn.

  Raises:
    InputError: if the pool has no such jury.
  """
  _check(pool, composition)
  by_value = _by_value(pool)
  counts = np.array([composition.get(value, 0) for value in pool.sizes])
  return by_value @ counts / counts.sum()


def winners(pool: Pool, composition: Composition) -> tuple[int, ...]:
  """The statements of greatest expected verdict; several if they are tied.

  Raises:
    InputError: if the pool has no such jury.
  """
  return _best(expected(pool, composition))


def smallest_change(pool: Pool, composition: Composition) -> Change | None:
  """The fewest jurors to replace, by people of another value, for a new winner.

  Winners are by expected verdict. A new one is none of those that win, or are
  tied for it, now, and is better than all of these. Every jury of the same
  size that the pool has is looked at, so the answer is exact.

  Returns:
    None if no jury of this size has another winner.

  Raises:
    InputError: if the pool has no such jury, or too many to look at.
  """
  current = [*winners(pool, composition)]
  sizes = pool.sizes
  counts = np.array([composition.get(value, 0) for value in sizes])
  juries = _compositions([*sizes.values()], int(counts.sum()))
  moved = np.abs(juries - counts).sum(1) // 2
  verdicts = juries @ _by_value(pool).T / counts.sum()
  others = np.delete(verdicts, current, axis=1)
  if not others.shape[1]:
    return None
  lead = others.max(1) - verdicts[:, current].max(1)
  changed = lead > _TIE
  if not changed.any():
    return None
  near = np.flatnonzero(changed & (moved == moved[changed].min()))
  place = near[lead[near].argmax()]
  return Change(
    moved=int(moved[place]),
    composition=dict(zip(sizes, juries[place].tolist(), strict=True)),
    winners=_best(verdicts[place]),
  )


def _check(pool: Pool, composition: Composition) -> None:
  sizes = pool.sizes
  for value, count in composition.items():
    if count < 0:
      raise InputError(f'must be 0 or more, got {count}', field=(value,))
    if count > sizes.get(value, 0):
      raise InputError(
        f'{count} jurors are wanted, and the pool has {sizes.get(value, 0)}',
        field=(value,),
      )
  if not sum(composition.values()):
    raise InputError('a jury needs at least one juror')


def _by_value(pool: Pool) -> Float[np.ndarray, 'statements values']:
  """Mean rating of the people with each value."""
  means = [
    pool.ratings[:, pool.with_value(each)].mean(1) for each in pool.sizes
  ]
  return np.stack(means, axis=1)


def _best(verdicts: Float[np.ndarray, 'statements']) -> tuple[int, ...]:
  return tuple(np.flatnonzero(verdicts >= verdicts.max() - _TIE).tolist())


def _compositions(
  sizes: Sequence[int], seats: int
) -> Int[np.ndarray, 'compositions values']:
  """All ways to seat a jury, in the order of their counts."""
  # Ways to fill so many seats with the values from one on, by seats.
  ways = [[1] + [0] * seats]
  for size in reversed(sizes):
    last = ways[-1]
    ways.append(
      [sum(last[max(left - size, 0) : left + 1]) for left in range(seats + 1)]
    )
  if ways[-1][seats] > _MOST_COMPOSITIONS:
    raise InputError(
      f'there are {ways[-1][seats]} juries of {seats}, more than '
      f'{_MOST_COMPOSITIONS} to look at'
    )
  found = np.zeros((1, 0), int)
  for place, size in enumerate(sizes):
    left = seats - found.sum(1)
    rest = np.array(ways[len(sizes) - place - 1])
    counts = np.arange(min(size, seats) + 1)
    # Only beginnings that can be completed are kept.
    ends = left[:, None] - counts
    fits = (ends >= 0) & (rest[np.maximum(ends, 0)] > 0)
    rows, columns = np.nonzero(fits)
    found = np.concatenate([found[rows], counts[columns][:, None]], axis=1)
  return found
