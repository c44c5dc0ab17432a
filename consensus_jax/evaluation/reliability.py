"""Do raters agree with each other? ICC and Krippendorff's alpha; numpy.

`Ratings.by_statement` gives the targets: statements. NaN is no rating.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Targets = Float[np.ndarray, 'targets raters']
Level = Literal['nominal', 'ordinal', 'interval']


class Reliability(NamedTuple):
  """A coefficient, and what it is about.

  Attributes:
    value: 1 if raters agree on all, 0 or so if by chance; NaN if undefined.
    targets: that count.
    ratings: that count.
    left_out: ratings that do not, as nobody else rated their target.
  """

  value: float
  targets: int
  ratings: int
  left_out: int = 0


class Intraclass(NamedTuple):
  """Intraclass correlations, of one rating and of a mean of all raters' k.

  Attributes:
    one_way: ICC(1,1): each target has raters of its own.
    two_way_random: ICC(2,1): the same raters, drawn from many; absolute.
    two_way_mixed: ICC(3,1): these raters and no others; consistency.
    one_way_mean: ICC(1,k).
    two_way_random_mean: ICC(2,k).
    two_way_mixed_mean: ICC(3,k).
  """

  one_way: float
  two_way_random: float
  two_way_mixed: float
  one_way_mean: float
  two_way_random_mean: float
  two_way_mixed_mean: float


def intraclass(ratings: Targets) -> Intraclass:
  """All intraclass correlations of targets that everybody rated.

  NaN where no rating differs from another; those of a mean also where no target
  does.

  Raises:
    ValueError: with fewer than two targets or raters, or a rating missing;
      `one_way_intraclass` takes those.

  Source: Shrout and Fleiss 1979, "Intraclass correlations: uses in assessing
  rater reliability", table 3 and equations 1 to 6.
  """
  n, k = ratings.shape
  if n < 2 or k < 2:
    raise ValueError(f'needs two targets and raters, got {n} and {k}')
  if np.isnan(ratings).any():
    raise ValueError('a rating is missing; only one_way_intraclass allows it')
  values = _centred(ratings)
  rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
  between = k * (rows**2).sum() / (n - 1)
  within = ((values - rows) ** 2).sum() / (n * (k - 1))
  judges = n * (columns**2).sum() / (k - 1)
  error = ((values - rows - columns) ** 2).sum() / ((n - 1) * (k - 1))
  return Intraclass(
    one_way=_ratio(between - within, between + (k - 1) * within),
    two_way_random=_ratio(
      between - error, between + (k - 1) * error + k * (judges - error) / n
    ),
    two_way_mixed=_ratio(between - error, between + (k - 1) * error),
    one_way_mean=_ratio(between - within, between),
    two_way_random_mean=_ratio(between - error, between + (judges - error) / n),
    two_way_mixed_mean=_ratio(between - error, between),
  )


def one_way_intraclass(ratings: Targets) -> Reliability:
  """ICC(1,1) where targets may have different numbers of raters.

  (MSB - MSW) / (MSB + (k0 - 1) MSW), k0 = (N - sum n_i^2 / N) / (n - 1), of N
  ratings on n targets. As in groups, each of which rates its own statements. A
  target with one rating counts between targets and says nothing within them.
  NaN with fewer than two targets, without a target with two ratings, or where
  no rating differs from another.

  Source: Donner 1986, "A review of inference procedures for the intraclass
  correlation coefficient in the one-way random effects model", section 2.
  """
  present = ~np.isnan(ratings)
  counts = present.sum(1)
  counts = counts[counts > 0]
  n, total = len(counts), int(counts.sum())
  if n < 2 or total == n:
    return Reliability(np.nan, n, total)
  values = _centred(ratings[present.any(1)])
  means = np.nansum(values, 1) / counts
  between = (counts * means**2).sum() / (n - 1)
  within = np.nansum((values - means[:, None]) ** 2) / (total - n)
  size = (total - (counts**2).sum() / total) / (n - 1)
  value = _ratio(between - within, between + (size - 1) * within)
  return Reliability(value, n, total)


def alpha(ratings: Targets, level: Level) -> Reliability:
  """Krippendorff's alpha: 1 - observed by expected disagreement.

  Any number of raters, any ratings missing. Targets with one rating are left
  out: there is no pair to agree. NaN without a pair, or where no rating
  differs from another.

  Args:
    ratings: NaN for none.
    level: what the difference of two ratings means. Ordinal: how many ratings
      lie between them.

  Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability",
  section D. The coincidences o_ck are those of pairs within targets, each
  target weighed by 1 / (m - 1) for its m ratings; alpha = 1 - (n - 1) sum o_ck
  d^2_ck / sum n_c n_k d^2_ck.
  """
  present = ~np.isnan(ratings)
  paired = present.sum(1) >= 2
  left_out = int(present[~paired].sum())
  levels, codes = np.unique(
    ratings[paired][present[paired]], return_inverse=True
  )
  counts = np.zeros((int(paired.sum()), len(levels)))
  rows, _ = np.nonzero(present[paired])
  np.add.at(counts, (rows, codes), 1)
  sizes = counts.sum(1)
  pairs = counts.T @ (counts / (sizes - 1)[:, None])
  # Nothing is paired with itself.
  pairs -= np.diag((counts / (sizes - 1)[:, None]).sum(0))
  totals = counts.sum(0)
  apart = _DISTANCES[level](levels, totals)
  expected = (np.outer(totals, totals) * apart).sum()
  ratio = _ratio((pairs * apart).sum(), expected)
  value = 1 - (totals.sum() - 1) * ratio
  return Reliability(float(value), len(counts), int(totals.sum()), left_out)


def _nominal(levels, totals):
  return 1.0 - np.eye(len(levels))


def _interval(levels, totals):
  return (levels[:, None] - levels) ** 2


def _ordinal(levels, totals):
  # Ratings up to a level, half of its own counted.
  middle = np.cumsum(totals) - totals / 2
  return (middle[:, None] - middle) ** 2


_DISTANCES: Mapping[str, Callable[..., np.ndarray]] = {
  'nominal': _nominal,
  'ordinal': _ordinal,
  'interval': _interval,
}


def _centred(ratings) -> np.ndarray:
  # From one of them first, so that equal ratings deviate by exactly zero.
  values = ratings.astype(np.float64) - ratings[~np.isnan(ratings)][0]
  return values - np.nanmean(values)


def _ratio(above, below) -> float:
  return float(above / below) if below > 0 else np.nan
