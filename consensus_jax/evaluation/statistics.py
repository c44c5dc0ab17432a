"""Is it chance? Intervals, tests and corrections for comparisons of systems.

bootstrap = statistics.Bootstrap.of(won.groups, 10_000, seed=0)
bootstrap.mean(won.values)
statistics.permutation_test(ahead.values, ahead.groups, seed=0)

People of a group influence each other, and a group answers several questions,
so whole groups are drawn and whole groups change sides. NaN is no value; it is
counted. Results hold their seed.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats  # type: ignore[import-untyped]

from consensus_jax.evaluation import intervals
from consensus_jax.evaluation.intervals import Interval, Weights

# What two sums of the same numbers in another order may differ by.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """A number, where it would be in 95 of 100 studies, and how that is known.

  Attributes:
    interval: NaN ends where there is one group: it says nothing of others.
    number: values that it is about.
    undefined: values that are NaN.
    groups: with a value.
    num_draws: of the bootstrap.
    seed: of the draws.
  """

  interval: Interval
  number: int
  undefined: int
  groups: int
  num_draws: int
  seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
  """Draws of whole groups with replacement, the same for every number.

  Intervals are of percentiles (`intervals`), a little farther out than 2.5 and
  97.5: as much as a t interval is wider than a normal one with n for n - 1.

  Source: Hesterberg 2015, "What teachers should know about the bootstrap",
  section 3.3, "expanded percentile interval", with groups for observations.

  Attributes:
    groups: which group each value is of, as places in `weights`.
    weights: how often each draw holds each group.
    seed: of the draws.
  """

  groups: Int[np.ndarray, 'values']
  weights: Int[np.ndarray, 'draws groups']
  seed: int

  @classmethod
  def of(
    cls, groups: Iterable[Hashable], num_draws: int, seed: int
  ) -> 'Bootstrap':
    """Values of one name are of one group.

    Raises:
      ValueError: without groups or draws.
    """
    names = list(groups)
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return cls(
      np.array([places[name] for name in names], int),
      intervals.draw(len(places), num_draws, seed=seed),
      seed,
    )

  @property
  def num_groups(self) -> int:
    """How many different groups there are."""
    return self.weights.shape[1]

  def mean(self, values: Float[np.ndarray, 'values']) -> Estimate:
    """Mean over values."""
    return self.ratio(values, np.ones(len(values)))

  def ratio(
    self,
    above: Float[np.ndarray, 'values'],
    below: Float[np.ndarray, 'values'],
  ) -> Estimate:
    """Sum over values by another sum; NaN in either is left out of both."""
    defined = ~np.isnan(above) & ~np.isnan(below)
    over, under = (
      self._sums(np.where(defined, each, 0)) for each in (above, below)
    )
    return self._estimate(
      lambda weights: intervals.ratio(over, under, weights), defined
    )

  def statistic(
    self,
    of: Callable[
      [Float[np.ndarray, 'draws values']], Float[np.ndarray, 'draws']
    ],
    values: Float[np.ndarray, 'values'],
  ) -> Estimate:
    """Any number that depends on how often each value counts.

    Args:
      of: takes weights of the values, 0 where one is NaN.
      values: NaN where one does not count.
    """
    defined = ~np.isnan(values)

    def drawn(weights: Weights) -> np.ndarray:
      parts = [np.zeros(0)]
      for chunk in intervals.chunks(len(weights), len(values)):
        parts.append(of(weights[chunk][:, self.groups] * defined.astype(float)))
      return np.concatenate(parts)

    return self._estimate(drawn, defined)

  def _sums(self, values) -> np.ndarray:
    return np.bincount(self.groups, values, self.num_groups)

  def _estimate(self, drawn, defined) -> Estimate:
    # Everybody once: the estimate itself.
    (value,) = drawn(np.ones((1, self.num_groups)))
    groups = len(np.unique(self.groups[defined]))
    value = float(value) if np.isfinite(value) else np.nan
    interval = Interval(value, np.nan, np.nan)
    if groups > 1:
      values = drawn(self.weights)
      values[~np.isfinite(values)] = np.nan
      reach = stats.t.ppf(0.975, groups - 1) * np.sqrt(groups / (groups - 1))
      level = 1 - 2 * stats.norm.sf(reach)
      interval = intervals.percentile(value, values, level=level)
    return Estimate(
      interval=interval,
      number=int(defined.sum()),
      undefined=int((~defined).sum()),
      groups=groups,
      num_draws=len(self.weights),
      seed=self.seed,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permutation:
  """Whether two systems could as well have changed places in any group.

  Attributes:
    difference: mean over values.
    p_value: two-sided; NaN without a value.
    exact: whether all changes were tried; if not, `num_draws` by chance.
    number: values that it is about.
    undefined: values that are NaN.
    groups: with a value.
    num_draws: changes tried.
    seed: of the draws.
  """

  difference: float
  p_value: float
  exact: bool
  number: int
  undefined: int
  groups: int
  num_draws: int
  seed: int


def permutation_test(
  differences: Float[np.ndarray, 'values'],
  groups: Sequence[Hashable] | Int[np.ndarray, 'values'],
  *,
  num_draws: int = 10_000,
  seed: int = 0,
) -> Permutation:
  """Paired test of no difference: the signs of whole groups flip.

  All ways to flip where they are no more than draws, else seeded draws, which
  count the real one as one of them, so that p is never 0.

  Args:
    differences: first system minus second, NaN where undefined.
    groups: whose each is; all of a group flip together.
    num_draws: at most so many flips.
    seed: of the draws.

  Source: Phipson and Smyth 2010, "Permutation p-values should never be zero".
  """
  defined = ~np.isnan(differences)
  names = [name for name, known in zip(groups, defined) if known]
  places = {name: place for place, name in enumerate(dict.fromkeys(names))}
  rows = np.array([places[name] for name in names], int)
  sums = np.bincount(rows, differences[defined], len(places))
  exact = 2 ** len(sums) <= num_draws
  number = int(defined.sum())
  tried, p_value = 0, np.nan
  if number:
    if exact:
      # All numbers in binary.
      tried = 2 ** len(sums)
      bits = np.arange(tried)[:, None] >> np.arange(len(sums)) & 1
    else:
      tried = num_draws
      rng = np.random.default_rng(seed)
      bits = rng.integers(0, 2, (tried, len(sums)), np.int8)
    flipped = sums.sum() - 2 * (bits.astype(float) @ sums)
    least = np.abs(sums.sum()) - _ROUNDING * np.abs(sums).sum()
    extreme = int((np.abs(flipped) >= least).sum())
    p_value = extreme / tried if exact else (extreme + 1) / (tried + 1)
  return Permutation(
    difference=float(differences[defined].mean()) if number else np.nan,
    p_value=p_value,
    exact=exact,
    number=number,
    undefined=len(differences) - number,
    groups=len(sums),
    num_draws=tried,
    seed=seed,
  )


def holm(p_values: Float[np.ndarray, 'tests']) -> Float[np.ndarray, 'tests']:
  """Adjusted for many tests: that any is wrong is no likelier than said.

  NaN stays, and is no test.

  Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
  """
  return _adjusted(p_values, _holm)


def benjamini_hochberg(
  p_values: Float[np.ndarray, 'tests'],
) -> Float[np.ndarray, 'tests']:
  """Adjusted for many tests: of those found, the expected share that is wrong.

  NaN stays, and is no test.

  Source: Benjamini and Hochberg 1995; by SciPy.
  """
  return _adjusted(p_values, stats.false_discovery_control)


def length_controlled_win_rate(
  wins: Float[np.ndarray, 'values'],
  words: Float[np.ndarray, 'values'],
  weights: Float[np.ndarray, 'draws values'],
) -> Float[np.ndarray, 'draws']:
  """The win rate if statements of both systems were of one length.

  logit P(win) = a + b tanh(words / s), s the standard deviation of `words`,
  read off where both have as many words: 1 / (1 + exp(-a)). A tie is half a win
  and half a loss. b has a normal prior of deviation 10, so that there is one
  even where the longer statement always wins.

  Args:
    wins: 1, 1/2 or 0.
    words: by how many the first system's statement is longer.
    weights: how often each counts; `Bootstrap.statistic` gives them.

  Returns:
    One a draw; NaN where nothing counts.

  Raises:
    ValueError: if a win or difference that counts is not finite.

  Source: Dubois et al. 2024, "Length-controlled AlpacaEval", arXiv 2404.04475,
  whose term for the difficulty of an instruction is left out: with two systems
  and one statement each a question it is not identified.
  """
  known = np.isfinite(wins + words)
  if weights[:, ~known].any():
    raise ValueError('wins and words must be finite wherever weights are not 0')
  wins, words, weights = wins[known], words[known], weights[:, known]
  spread = words.std() if len(words) else 0
  x = np.tanh(words / spread) if spread else np.zeros_like(words)
  intercept, slope = np.zeros((2, len(weights), 1))
  for _ in range(_NEWTON_STEPS):
    said = 1 / (1 + np.exp(-(intercept + slope * x)))
    miss, curve = weights * (wins - said), weights * said * (1 - said)
    up = miss.sum(1), miss @ x - slope[:, 0] / _PRIOR**2
    # A draw of wins alone has no curvature left, nor needs it.
    aa = curve.sum(1) + 1e-12
    ab, bb = curve @ x, curve @ x**2 + 1 / _PRIOR**2
    scale = aa * bb - ab**2
    steps = (
      (bb * up[0] - ab * up[1]) / scale,
      (aa * up[1] - ab * up[0]) / scale,
    )
    # Far from the solution a whole step may lead farther away.
    intercept += np.clip(steps[0], -1, 1)[:, None]
    slope += np.clip(steps[1], -1, 1)[:, None]
    if max(np.abs(step).max(initial=0) for step in steps) < 1e-9:
      break
  found = 1 / (1 + np.exp(-intercept[:, 0]))
  total, won = weights.sum(1), weights @ wins
  found = np.where(won >= total, 1.0, np.where(won <= 0, 0.0, found))
  return np.where(total > 0, found, np.nan)


_NEWTON_STEPS = 60
_PRIOR = 10.0


def _adjusted(p_values, by) -> np.ndarray:
  known = ~np.isnan(p_values)
  found = np.full(len(p_values), np.nan)
  if known.any():
    found[known] = by(p_values[known])
  return found


def _holm(p_values) -> np.ndarray:
  order = np.argsort(p_values)
  left = np.arange(len(p_values), 0, -1)
  found = np.empty(len(p_values))
  found[order] = np.minimum(np.maximum.accumulate(p_values[order] * left), 1)
  return found
