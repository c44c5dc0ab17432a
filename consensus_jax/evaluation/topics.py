"""How a system does on questions of one kind and of another."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from consensus_jax.evaluation import findings
from consensus_jax.evaluation.findings import MEASURES, Draws, Finding, Rated
from consensus_jax.evaluation.rating_metrics import Values
from consensus_jax.evaluation.statistics import Bootstrap

MEASURE = 'mean agreement'
IN, OUT = 'in distribution', 'out of distribution'
DIFFERENCE = 'mean agreement, in minus out of distribution'


def findings_of(
  rated: Rated,
  system: str,
  *,
  topics: Sequence[str],
  out: Sequence[bool],
  draws: Draws,
) -> tuple[Finding, ...]:
  """Mean agreement in and out of distribution, the difference, by topic.

  Args:
    rated: the ratings.
    system: of whose statements.
    topics: of each deliberation.
    out: which deliberations are out of distribution; if none is, they are not
      told apart.
    draws: of the bootstrap.
  """
  of = MEASURES[MEASURE]
  values = of.values(rated.table, system)
  expected = np.array(rated.expected(of.expected, system), float)
  outside, names = np.array(out, bool), np.array(topics)
  kinds = {IN: ~outside, OUT: outside} if outside.any() else {}
  kinds |= {name: names == name for name in dict.fromkeys(topics)}
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
  if outside.any() and not outside.all():
    found.insert(2, _difference(values, expected, outside, system, draws))
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

  known = ~np.isnan(values.values) & ~np.isnan(expected)
  truth = np.nan
  if (known & out).any() and (known & ~out).any():
    truth = expected[known & ~out].mean() - expected[known & out].mean()
  return Finding(
    measure=DIFFERENCE,
    system=system,
    estimate=bootstrap.statistic(difference, values.values),
    truth=float(truth),
  )
