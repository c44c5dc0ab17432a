"""How divided groups are before a deliberation, and after it.

Everybody says before and after how far they agree with the position statement
of the question; what counts is on which side of neutral they are.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.evaluation import findings, group_metrics, rating_metrics
from consensus_jax.evaluation.findings import Draws, Finding
from consensus_jax.evaluation.latent import ratings as latent_ratings
from consensus_jax.evaluation.latent import truth
from consensus_jax.evaluation.latent.groups import LatentGroup
from consensus_jax.evaluation.latent.ratings import LatentStatement
from consensus_jax.evaluation.ratings import Position, Ratings, from_records

BEFORE = 'before'

# Of ratings after, and those before.
_Formula = Callable[[group_metrics.Members, group_metrics.Members], np.ndarray]

MEASURES: Mapping[str, _Formula] = {
  'divided groups': lambda after, before: group_metrics.divisive(after),
  'internal agreement, absolute': lambda after, before: (
    group_metrics.absolute_internal_agreement(after)
  ),
  'agreement index': group_metrics.agreement_index,
}


def found_in(
  table: Ratings,
  draws: Draws,
  *,
  system: str,
  expected: Callable[[str], tuple[Sequence[float], Sequence[float]]]
  | None = None,
) -> list[Finding]:
  """Each measure before and after, and how much it changes.

  Args:
    table: with positions before and after.
    draws: of bootstrap and permutations.
    system: what moved the positions.
    expected: of a measure, what it is to be before and after, one number a
      deliberation; None if that is not known.
  """
  unknown = [np.nan] * len(table.deliberations)
  found = []
  for measure in MEASURES:
    before, after = (
      _values(table, measure, when)
      for when in ('position_before', 'position_after')
    )
    told = (unknown, unknown) if expected is None else expected(measure)
    change = dataclasses.replace(after, values=after.values - before.values)
    found += [
      findings.finding(measure, BEFORE, before, told[0], draws),
      findings.finding(measure, system, after, told[1], draws),
      findings.tested(
        findings.finding(
          f'{measure}, after minus before',
          system,
          change,
          np.subtract(told[1], told[0]).tolist(),
          draws,
          against=BEFORE,
        ),
        change,
        draws,
      ),
    ]
  return found


def of_latent(
  groups: Sequence[LatentGroup],
  said: Sequence[LatentStatement | None],
  *,
  system: str,
  seed: int,
  draws: Draws,
) -> tuple[list[Finding], tuple[Exclusion, ...]]:
  """What statements do to simulated groups, beside what they are to do.

  Args:
    groups: who reads.
    said: what; None for a group that is left out.
    system: who says it.
    seed: of what people say.
    draws: of bootstrap and permutations.

  Raises:
    ValueError: if nothing is said to any group.
  """
  tally = Tally()
  for group, each in zip(groups, said, strict=True):
    if each is None:
      tally.add('group', f'has no statement of {system!r}', group.id)
  read = [
    (group, each)
    for group, each in zip(groups, said, strict=True)
    if each is not None
  ]
  table, _ = from_records(
    [
      latent_ratings.judge(group, [each], seed=seed, consensus=0)
      for group, each in read
    ],
    system=lambda statement: system,
  )

  def expected(measure: str) -> tuple[list[float], list[float]]:
    formula = MEASURES[measure]
    before: list[float] = []
    after: list[float] = []
    for group, each in read:
      people = group.participants
      told = truth.positions_before(people)
      for to, levels in (
        (before, [float(person.positions[0]) for person in people]),
        (after, truth.levels_after(people, each)),
      ):
        to.append(
          truth.of_sides(
            truth.sides(levels),
            lambda ratings, told=told: formula(  # type: ignore[misc]
              ratings, np.broadcast_to(told, ratings.shape)
            ),
          )
        )
    return before, after

  found = found_in(table, draws, system=system, expected=expected)
  return found, tally.exclusions()


def _values(
  table: Ratings, measure: str, when: Position
) -> rating_metrics.Values:
  if measure == 'agreement index':
    return rating_metrics.agreement_index(table, when=when)
  formula = MEASURES[measure]
  return rating_metrics.of_positions(
    table, lambda ratings: formula(ratings, ratings), when=when
  )
