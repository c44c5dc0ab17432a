"""Regressions of ratings on systems, by statsmodels (extra `evaluate`).

found = rating_models.cumulative_link(ratings, baseline='human_mediator')

They take all ratings together, unequal numbers of raters included. With `words`
the effect of a system is that beyond the length of its statements.
"""

import dataclasses
import importlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from consensus_jax.evaluation.ratings import Column, Ratings

# An effect of length is told for as many words.
WORDS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
  """How one thing shifts ratings.

  Attributes:
    name: a system, against the baseline, or `100 words`.
    value: log-odds of a higher rating in `cumulative_link`, points of the scale
      in `mixed`.
    low: of the 95% interval.
    high: of the 95% interval.
    p_value: two-sided, of no effect.
  """

  name: str
  value: float
  low: float
  high: float
  p_value: float

  @property
  def odds_ratio(self) -> float:
    """What the odds of a higher rating are multiplied by, for log-odds."""
    return float(np.exp(self.value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
  """A fitted model.

  Attributes:
    model: 'cumulative_link' or 'mixed'.
    column: what is explained.
    baseline: the system that others are compared with.
    effects: of the other systems, then of length if asked for.
    number: ratings.
    missing: ratings that are NaN, or whose number of words is not known.
    groups: of people.
    group_deviation: standard deviation of the groups' intercepts, in points of
      the scale; NaN for `cumulative_link`.
    converged: whether the fit can be trusted.
  """

  model: str
  column: str
  baseline: str
  effects: tuple[Effect, ...]
  number: int
  missing: int
  groups: int
  group_deviation: float
  converged: bool


def cumulative_link(
  ratings: Ratings,
  *,
  baseline: str,
  column: Column = 'agreement',
  words: bool = False,
) -> Fit:
  """Proportional odds: logit P(rating > j) = effects - threshold_j.

  Standard errors are robust to any correlation within groups: the model itself
  has no effects of groups.

  Args:
    ratings: the table.
    baseline: a system.
    column: what to explain.
    words: whether to hold the length of statements equal.

  Raises:
    ValueError: if there are not two systems, groups and different ratings.
    ModuleNotFoundError: without statsmodels, naming the extra.

  Source: McCullagh 1980, "Regression models for ordinal data".
  """
  design = _design(ratings, baseline, column, words)
  module = _statsmodels('miscmodels.ordinal_model')
  with warnings.catch_warnings():
    # Whether it converged is part of the result.
    warnings.simplefilter('ignore')
    fitted = module.OrderedModel(
      design.values, design.columns, distr='logit'
    ).fit(
      method='bfgs',
      maxiter=500,
      disp=False,
      cov_type='cluster',
      cov_kwds={'groups': design.groups},
    )
    effects = _effects(design.names, fitted)
  return design.fit(
    'cumulative_link', effects, converged=fitted.mle_retvals['converged']
  )


def mixed(
  ratings: Ratings,
  *,
  baseline: str,
  column: Column = 'agreement',
  words: bool = False,
) -> Fit:
  """Linear mixed model: rating = constant + effects + intercept of the group.

  Groups' intercepts are normal; by restricted maximum likelihood.

  Args:
    ratings: the table.
    baseline: a system.
    column: what to explain.
    words: whether to hold the length of statements equal.

  Raises:
    ValueError: if there are not two systems, groups and different ratings.
    ModuleNotFoundError: without statsmodels, naming the extra.

  Source: Laird and Ware 1982, "Random-effects models for longitudinal data".
  """
  design = _design(ratings, baseline, column, words)
  module = _statsmodels('regression.mixed_linear_model')
  constant = np.ones((len(design.values), 1))
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    fitted = module.MixedLM(
      design.values,
      np.concatenate([design.columns, constant], 1),
      groups=design.groups,
    ).fit(reml=True)
    effects = _effects(design.names, fitted)
  return design.fit(
    'mixed',
    effects,
    converged=fitted.converged,
    group_deviation=float(np.sqrt(fitted.cov_re[0, 0])),
  )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Design:
  values: Float[np.ndarray, 'ratings']
  columns: Float[np.ndarray, 'ratings effects']
  groups: np.ndarray
  names: tuple[str, ...]
  about: dict[str, Any]

  def fit(
    self, model, effects, *, converged, group_deviation=float('nan')
  ) -> Fit:
    return Fit(
      model=model,
      effects=effects,
      converged=bool(converged),
      group_deviation=group_deviation,
      **self.about,
    )


def _design(ratings, baseline, column, words) -> _Design:
  ratings.of(baseline)
  values = getattr(ratings, column)
  known = ~np.isnan(values)
  if words:
    known &= ~np.isnan(ratings.words)
  _, groups = np.unique(np.array(ratings.groups)[known], return_inverse=True)
  systems = np.array(ratings.systems)[known]
  others = [name for name in ratings.system_names if name != baseline]
  unrated = [n for n in (baseline, *others) if not (systems == n).any()]
  for what, number in (
    ('systems', len(others) + 1 - len(unrated)),
    ('groups', len(np.unique(groups))),
    ('different ratings', len(np.unique(values[known]))),
  ):
    if number < 2:
      raise ValueError(f'needs two {what}, got {number}')
  if unrated:
    raise ValueError(f'no {column} of {", ".join(map(repr, unrated))}')
  columns = [(systems == name).astype(float) for name in others]
  names = tuple(others)
  if words:
    lengths = ratings.words[known]
    columns.append((lengths - lengths.mean()) / WORDS)
    names += (f'{WORDS} words',)
  matrix = np.stack(columns, 1)
  # Lengths that tell the system leave nothing to tell the two apart.
  whole = np.concatenate([matrix, np.ones((len(matrix), 1))], 1)
  if np.linalg.matrix_rank(whole) < whole.shape[1]:
    raise ValueError('systems and lengths of statements cannot be told apart')
  return _Design(
    values=values[known],
    columns=matrix,
    groups=groups,
    names=names,
    about={
      'column': column,
      'baseline': baseline,
      'number': int(known.sum()),
      'missing': int((~known).sum()),
      'groups': len(np.unique(groups)),
    },
  )


def _effects(names, fitted) -> tuple[Effect, ...]:
  ends = np.asarray(fitted.conf_int())
  return tuple(
    Effect(
      name=name,
      value=float(fitted.params[place]),
      low=float(ends[place, 0]),
      high=float(ends[place, 1]),
      p_value=float(fitted.pvalues[place]),
    )
    for place, name in enumerate(names)
  )


def _statsmodels(module: str) -> ModuleType:
  try:
    return importlib.import_module(f'statsmodels.{module}')
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f'models of ratings need {error.name}: '
      "pip install 'consensus_jax[evaluate]'",
      name=error.name,
    ) from None
