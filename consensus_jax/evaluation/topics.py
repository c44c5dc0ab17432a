"""How a system does on questions of one kind and of another."""

import dataclasses
from collections.abc import Collection

import numpy as np

from consensus_jax.evaluation import findings
from consensus_jax.evaluation.findings import MEASURES, Draws, Finding, Rated
from consensus_jax.evaluation.rating_metrics import Values
from consensus_jax.evaluation.statistics import Bootstrap

MEASURE = 'mean agreement'
IN, OUT = 'in distribution', 'out of distribution'
DIFFERENCE = 'mean agreement, in minus out of distribution'


def findings_of(
  rated: Rated, system: str, held_out: Collection[str], draws: Draws
) -> tuple[Finding, ...]:
  """Mean agreement in and out of distribution, the difference, by question.

  Args:
    rated: the ratings.
    system: of whose statements.
    held_out: ids of the questions that are out of distribution.
    draws: of the bootstrap.
  """
  of = MEASURES[MEASURE]
  values = of.values(rated.table, system)
  expected = np.array(
    [
      np.nan if said is None else of.expected(group, said)
      for group, said in zip(rated.groups, rated.chosen[system], strict=True)
    ]
  )
  asked = np.array([group.question.question.id for group in rated.groups])
  out = np.isin(asked, [*held_out])
  kinds = {IN: ~out, OUT: out}
  kinds |= {f'question {name}': asked == name for name in dict.fromkeys(asked)}
  found = [
    findings.finding(
      f'{MEASURE}, {name}',
      system,
      _part(values, where),
      expected[where].tolist(),
      draws,
    )
    for name, where in kinds.items()
    if where.any()
  ]
  if out.any() and not out.all():
    found.insert(2, _difference(values, expected, out, system, draws))
  return tuple(found)


def _part(values: Values, where: np.ndarray) -> Values:
  return dataclasses.replace(
    values,
    values=values.values[where],
    groups=values.groups[where],
    left_out=(),
  )


def _difference(values, expected, out, system, draws) -> Finding:
  # Draws of all groups, so that how many are of each kind varies as well.
  bootstrap = Bootstrap.of(values.groups.tolist(), draws.number, draws.seed)
  defined = np.where(np.isnan(values.values), 0, values.values)

  def difference(weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore', divide='ignore'):
      inside, outside = (
        (weights[:, part] @ defined[part]) / weights[:, part].sum(1)
        for part in (~out, out)
      )
    return inside - outside

  known = ~np.isnan(values.values)
  truth = expected[known & ~out].mean() - expected[known & out].mean()
  return Finding(
    measure=DIFFERENCE,
    system=system,
    estimate=bootstrap.statistic(difference, values.values),
    truth=float(truth),
  )
