"""What simulated participants say of systems, beside what is true of them.

rated = findings.rate(groups, {'ours': statements, 'theirs': others}, seed=0)
findings.measured(rated, 'mean agreement', 'ours', draws)
findings.compared(rated, 'ours', 'theirs', draws)

Every finding is a mean over groups, with the interval of a bootstrap of whole
groups, and the same mean of what these ratings are expected to be, in closed
form: the interval is to hold it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.evaluation import group_metrics, rating_metrics, statistics
from consensus_jax.evaluation.latent import ratings as latent_ratings
from consensus_jax.evaluation.latent import truth
from consensus_jax.evaluation.latent.groups import LatentGroup, Participant
from consensus_jax.evaluation.latent.ratings import LatentStatement
from consensus_jax.evaluation.rating_metrics import Values
from consensus_jax.evaluation.ratings import Ratings, from_records
from consensus_jax.evaluation.statistics import Bootstrap, Estimate
from consensus_jax.strict_json import InputError

# One statement a group; None where a system has none for it.
Chosen = Sequence[LatentStatement | None]
Chances = Float[np.ndarray, 'members answers']

WIN_RATE = 'win rate'
DIFFERENCE = 'difference in mean agreement'
EXCLUSION_GAP = 'mean agreement, included minus excluded'


class Draws(NamedTuple):
  """Of bootstrap and permutations: how many, and their seed."""

  number: int
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """One number of an experiment.

  Attributes:
    measure: what it is.
    system: of whose statements.
    against: the system that it is compared with, if any.
    estimate: the number and its interval.
    truth: what it is expected to be; NaN where that is not known.
    p_value: of no difference; NaN without a test.
    adjusted: the same, corrected for all tests of the experiment.
    left_out: groups without a value, and why.
  """

  measure: str
  system: str
  against: str = ''
  estimate: Estimate
  truth: float
  p_value: float = np.nan
  adjusted: float = np.nan
  left_out: tuple[Exclusion, ...] = ()

  @property
  def recovered(self) -> bool | None:
    """Whether the interval holds the truth; None where that says nothing.

    That is if either is not known, and if all groups have one value: the
    bootstrap then gives an interval without width.
    """
    low, high = self.estimate.interval[1:]
    if np.isnan([low, high, self.truth]).any() or low == high:
      return None
    return bool(low <= self.truth <= high)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rated:
  """Groups that have rated the statements of systems.

  Attributes:
    table: what they said.
    left_out: what was not rated, and why.
    groups: who rated, in the order of the table's deliberations; none if they
      are real people, of whom nothing is known but what they say.
    chosen: what they rated, by system; likewise.
  """

  table: Ratings
  left_out: tuple[Exclusion, ...]
  groups: tuple[LatentGroup, ...] = ()
  chosen: Mapping[str, Chosen] = dataclasses.field(default_factory=dict)

  @property
  def systems(self) -> tuple[str, ...]:
    """What they rated."""
    return tuple(self.chosen) or self.table.system_names

  def expected(
    self, formula: Callable[..., float], *systems: str
  ) -> list[float]:
    """What is true of each deliberation.

    Args:
      formula: of a group and a statement of each system.
      systems: whose statements.

    Returns:
      NaN where it is not known, or a system has no statement.
    """
    if not self.groups:
      return [np.nan] * len(self.table.deliberations)
    return [
      np.nan if None in said else formula(group, *said)
      for group, *said in zip(
        self.groups, *(self.chosen[name] for name in systems), strict=True
      )
    ]


def rate(
  groups: Sequence[LatentGroup],
  chosen: Mapping[str, Chosen],
  *,
  seed: int,
) -> Rated:
  """Lets every group rate what each system says to it.

  Nobody rates a statement that is their own. Two systems that say the same are
  rated alike.

  Args:
    groups: with different ids.
    chosen: one statement a group, by system.
    seed: of the ratings.

  Raises:
    InputError: if no system says anything to any group.
  """
  tally, records, excluded = Tally(), [], []
  places = []
  for place, group in enumerate(groups):
    said = {name: each[place] for name, each in chosen.items()}
    for name, each in said.items():
      if each is None:
        tally.add('group', f'has no statement of {name!r}', group.id)
    known = {name: each for name, each in said.items() if each is not None}
    if not known:
      continue
    record = latent_ratings.judge(group, [*known.values()], seed=seed)
    named = tuple(
      dataclasses.replace(statement, id=name)
      for name, statement in zip(known, record.statements, strict=True)
    )
    records.append(dataclasses.replace(record, statements=named))
    excluded += [
      (group.id, name, person) for name in known for person in group.silent
    ]
    places.append(place)
  if not records:
    raise InputError('no system has a statement for any group')
  table, unrated = from_records(
    records, system=lambda statement: statement.id, excluded=excluded
  )
  return Rated(
    groups=tuple(groups[place] for place in places),
    chosen={
      name: tuple(each[place] for place in places)
      for name, each in chosen.items()
      if any(each[place] is not None for place in places)
    },
    table=table,
    left_out=(*tally.exclusions(), *unrated),
  )


def measured(rated: Rated, measure: str, system: str, draws: Draws) -> Finding:
  """A measure of one system.

  Args:
    rated: the ratings.
    measure: one of `MEASURES`.
    system: whose statements.
    draws: of the bootstrap.
  """
  of = MEASURES[measure]
  expected = rated.expected(of.expected, system)
  return finding(
    measure, system, of.values(rated.table, system), expected, draws
  )


def compared(
  rated: Rated, first: str, second: str, draws: Draws
) -> tuple[Finding, Finding]:
  """How often, and by how much, a group likes the first system more.

  Tested by permutation: the two change places in whole groups.
  """
  won = rating_metrics.wins_by_group(rated.table, first, second)
  ahead = rating_metrics.differences(rated.table, first, second)
  chances = rated.expected(_win_probability, first, second)
  leads = rated.expected(_lead, first, second)
  return (
    tested(
      finding(WIN_RATE, first, won, chances, draws, against=second),
      dataclasses.replace(won, values=won.values - 0.5),
      draws,
    ),
    tested(
      finding(DIFFERENCE, first, ahead, leads, draws, against=second),
      ahead,
      draws,
    ),
  )


def finding(
  measure: str,
  system: str,
  values: Values,
  expected: Sequence[float],
  draws: Draws,
  *,
  against: str = '',
) -> Finding:
  """The mean over groups, and that of what is expected of the same groups."""
  bootstrap = Bootstrap.of(values.groups.tolist(), draws.number, draws.seed)
  defined = ~np.isnan(values.values)
  known = np.asarray(expected, float)[defined]
  return Finding(
    measure=measure,
    system=system,
    against=against,
    estimate=bootstrap.mean(values.values),
    truth=float(known.mean()) if len(known) else np.nan,
    left_out=values.left_out,
  )


def tested(found: Finding, differences: Values, draws: Draws) -> Finding:
  """With the p-value of a paired permutation test."""
  test = statistics.permutation_test(
    differences.values,
    differences.groups,
    num_draws=draws.number,
    seed=draws.seed,
  )
  return dataclasses.replace(found, p_value=test.p_value)


def corrected(findings: Iterable[Finding]) -> tuple[Finding, ...]:
  """With p-values corrected for their number, by Holm's procedure."""
  findings = tuple(findings)
  adjusted = statistics.holm(np.array([each.p_value for each in findings]))
  return tuple(
    dataclasses.replace(each, adjusted=float(value))
    for each, value in zip(findings, adjusted, strict=True)
  )


def raters_of(
  group: LatentGroup, *said: LatentStatement
) -> tuple[Participant, ...]:
  """The members who wrote none of the statements."""
  authors = {each.author for each in said}
  return tuple(p for p in group.participants if p.name not in authors)


def exclusion_gap(rated: Rated, system: str, draws: Draws) -> Finding:
  """How much more those who were heard agree than those who were not."""
  expected = rated.expected(truth.exclusion, system)
  values = rating_metrics.exclusion_gap(rated.table, system)
  return finding(EXCLUSION_GAP, system, values, expected, draws)


def _win_probability(
  group: LatentGroup, one: LatentStatement, other: LatentStatement
) -> float:
  return truth.win_probability(raters_of(group, one, other), one, other)


def _lead(
  group: LatentGroup, one: LatentStatement, other: LatentStatement
) -> float:
  people = raters_of(group, one, other)
  means = truth.agreement(people, [one, other]).mean(1)
  return float(means[0] - means[1])


class _Measure(NamedTuple):
  values: Callable[[Ratings, str], Values]
  expected: Callable[[LatentGroup, LatentStatement], float]


def _of_group(
  formula: rating_metrics.Measure, expected: Callable[[Chances], float]
) -> _Measure:
  return _Measure(
    lambda table, system: rating_metrics.by_group(table, system, formula),
    lambda group, said: expected(_chances(raters_of(group, said), said)),
  )


def _of_side(side: Literal['minority', 'majority']) -> _Measure:
  def expected(group: LatentGroup, said: LatentStatement) -> float:
    positions = np.array(
      [
        [
          latent_ratings.position_rating(person.positions[0])
          for person in group.participants
        ]
      ]
    )
    chosen = getattr(group_metrics.sides(positions), side)[0]
    people = [
      person
      for person, on_it in zip(group.participants, chosen, strict=True)
      if on_it and person in raters_of(group, said)
    ]
    return _mean(_chances(people, said)) if people else np.nan

  return _Measure(
    lambda table, system: rating_metrics.by_side(table, system, side),
    expected,
  )


def _chances(people: Sequence[Participant], said: LatentStatement) -> Chances:
  return truth.probabilities(people, [said])[0]


def _mean(chances: Chances) -> float:
  return float((chances @ np.arange(1.0, 8.0)).mean())


def _least(chances: Chances) -> float:
  # The expectation of the least: sum over k of P(all ratings are >= k).
  at_least = chances[:, ::-1].cumsum(1)[:, ::-1]
  return float(at_least.prod(0).sum())


MEASURES: Mapping[str, _Measure] = {
  'mean agreement': _of_group(group_metrics.mean, _mean),
  'least agreement of a member': _of_group(group_metrics.least, _least),
  'share of members who disagree': _of_group(
    group_metrics.dissent, lambda chances: float(chances[:, :3].sum(1).mean())
  ),
  'unanimity, of divided groups': _Measure(
    rating_metrics.unanimity,
    lambda group, said: float(
      truth.unanimity(raters_of(group, said), [said])[0]
    ),
  ),
  'agreement of the minority': _of_side('minority'),
  'agreement of the majority': _of_side('majority'),
}
