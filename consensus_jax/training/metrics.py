"""How well rewards predict judgements, over a whole split; numpy.

Rows are what one member judged in one go: rewards, levels (higher is better,
NaN for no judgement) and lengths `[rows, statements]`, participants and
questions `[rows]` as integers. A number comes with the count that it is a mean
over, and is NaN if that is 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats  # type: ignore[import-untyped]

# Confidences from 0.5 to 1, and probabilities from 0 to 1, in as many bins.
NUM_BINS = 10

Rows = Float[np.ndarray, 'rows statements']
Ids = Int[np.ndarray, 'rows']


class Mean(NamedTuple):
  """A mean, and over how many things it is one."""

  value: float
  number: int


class Pairs(NamedTuple):
  """Pairs of statements that one member judged differently.

  Attributes:
    margin: reward of the better one minus that of the worse one.
    row: where the pair is from.
  """

  margin: Float[np.ndarray, 'pairs']
  row: Int[np.ndarray, 'pairs']


def judgement_metrics(
  rewards: Rows,
  levels: Rows,
  participants: Ids,
  questions: Ids,
  lengths: Rows,
  *,
  neutral: int | None = None,
) -> dict[str, float | int]:
  """Every number of this module, by name, each `x` with its `num_x`.

  Args:
    rewards: of the statements.
    levels: the members' judgements, NaN where there is none.
    participants: who judged.
    questions: of the deliberations.
    lengths: of the statements, in words, characters or tokens.
    neutral: the level between disagreement and agreement: 0 for votes, 4 for
      ratings; None where levels only rank, which leaves out what is about
      agreement.

  Raises:
    ValueError: if a judged statement has no reward or no length.
  """
  _check(rewards, levels, lengths)
  pairs = find_pairs(rewards, levels)
  found = {
    'pair_accuracy': pair_accuracy(pairs),
    'pair_accuracy_by_participant': pair_accuracy_by(
      pairs, participants[pairs.row]
    ),
    'pair_log_loss': pair_log_loss(pairs),
    'pair_calibration_error': pair_calibration_error(pairs),
    'rank_correlation': rank_correlation(rewards, levels),
    'length_correlation': length_correlation(
      rewards, levels, questions, lengths
    ),
  }
  if neutral is not None:
    sided = ~np.isnan(levels) & (levels != neutral)
    agree, chosen = levels[sided] > neutral, rewards[sided]
    who = np.broadcast_to(participants[:, None], levels.shape)[sided]
    found |= {
      'agreement_auc': auc(chosen, agree),
      'agreement_auc_by_participant': auc_by(chosen, agree, who),
      'agreement_log_loss': log_loss(chosen, agree),
      'agreement_calibration_error': calibration_error(
        special.expit(chosen), agree
      ),
    }
  report: dict[str, float | int] = {}
  for name, mean in found.items():
    report |= {name: mean.value, f'num_{name}': mean.number}
  return report


def find_pairs(rewards: Rows, levels: Rows) -> Pairs:
  """All pairs within rows whose levels differ; ties are left out."""
  margins, rows = [], []
  for i in range(levels.shape[1]):
    for j in range(levels.shape[1]):
      # A comparison with NaN is False.
      (better,) = np.nonzero(levels[:, i] > levels[:, j])
      margins.append(rewards[better, i] - rewards[better, j])
      rows.append(better)
  margin = np.concatenate([*margins, np.zeros(0)]).astype(np.float64)
  return Pairs(margin, np.concatenate([*rows, np.zeros(0, np.int64)]))


def pair_accuracy(pairs: Pairs) -> Mean:
  """Part of pairs in the right order; equal rewards are half right."""
  return _mean(_right(pairs.margin))


def pair_accuracy_by(pairs: Pairs, groups: Int[np.ndarray, 'pairs']) -> Mean:
  """`pair_accuracy` within each group, and the mean over groups."""
  return _mean(_means_by(_right(pairs.margin), groups))


def pair_log_loss(pairs: Pairs) -> Mean:
  """Mean of -log sigmoid(better - worse), in nats; chance is log 2."""
  return _mean(np.logaddexp(0, -pairs.margin))


def pair_calibration_error(pairs: Pairs) -> Mean:
  """Expected calibration error of P(preferred) = sigmoid(difference).

  Of each pair the statement with the higher reward is the guess, and its
  probability, 0.5 to 1, falls into one of NUM_BINS bins of equal width.
  """
  return calibration_error(
    special.expit(np.abs(pairs.margin)), _right(pairs.margin), lowest=0.5
  )


def rank_correlation(rewards: Rows, levels: Rows) -> Mean:
  """Spearman's correlation within each row, and the mean over rows.

  Rows whose levels are all one are left out: nothing ranks them. Rewards that
  are all one, where levels differ, correlate to 0.
  """
  reward_ranks = _ranks(np.where(np.isnan(levels), np.nan, rewards))
  return _mean(_correlations(reward_ranks, _ranks(levels)))


def length_correlation(
  rewards: Rows, levels: Rows, questions: Ids, lengths: Rows
) -> Mean:
  """Pearson's correlation of rewards with lengths, the mean over questions.

  Of each row only the deviations from its mean count, so that it is about which
  statement a member is said to prefer, not about who likes much or where
  statements are long. Questions whose rows have statements of one length are
  left out.
  """
  missing = np.isnan(levels)
  x = _centred(np.where(missing, np.nan, rewards))
  y = _centred(np.where(missing, np.nan, lengths))
  _, question = np.unique(questions, return_inverse=True)
  products = np.stack([x * y, x * x, y * y])
  by_row = np.nansum(products, -1)
  xy, xx, yy = (np.bincount(question, weights=sums) for sums in by_row)
  varied = yy > 0
  with np.errstate(invalid='ignore', divide='ignore'):
    return _mean(np.where(xx > 0, xy / np.sqrt(xx * yy), 0)[varied])


def auc(
  rewards: Float[np.ndarray, 'judged'], agree: Bool[np.ndarray, 'judged']
) -> Mean:
  """P(an agreed statement has a higher reward than a disagreed one).

  Equal rewards are half right. The count is that of statements; NaN without
  statements of both kinds.
  """
  num_agree = int(agree.sum())
  num_disagree = len(agree) - num_agree
  if not num_agree or not num_disagree:
    return Mean(np.nan, 0)
  ranks = stats.rankdata(rewards)[agree].sum()
  below = ranks - num_agree * (num_agree + 1) / 2
  return Mean(float(below / (num_agree * num_disagree)), len(agree))


def auc_by(
  rewards: Float[np.ndarray, 'judged'],
  agree: Bool[np.ndarray, 'judged'],
  groups: Int[np.ndarray, 'judged'],
) -> Mean:
  """`auc` within each group, and the mean over groups with both kinds."""
  order = np.argsort(groups, kind='stable')
  starts = np.flatnonzero(np.diff(groups[order])) + 1
  parts = np.split(order, starts)
  values = np.array([auc(rewards[part], agree[part]).value for part in parts])
  return _mean(values[~np.isnan(values)])


def log_loss(
  rewards: Float[np.ndarray, 'judged'], agree: Bool[np.ndarray, 'judged']
) -> Mean:
  """Mean of -log P(the vote), where P(agree) = sigmoid(reward), in nats."""
  signed = np.where(agree, rewards, -rewards).astype(np.float64)
  return _mean(np.logaddexp(0, -signed))


def calibration_error(
  probabilities: Float[np.ndarray, 'guesses'],
  outcomes: Bool[np.ndarray, 'guesses'] | Float[np.ndarray, 'guesses'],
  *,
  lowest: float = 0.0,
) -> Mean:
  """Mean distance of what is said from what happens, over bins.

  Source: Guo et al. 2017, section 2: bins of equal width, NUM_BINS of them from
  `lowest` to 1, weighed by what falls into them.
  """
  if not len(probabilities):
    return Mean(np.nan, 0)
  place = (probabilities - lowest) / (1 - lowest) * NUM_BINS
  number = np.clip(place.astype(np.int64), 0, NUM_BINS - 1)
  gaps = np.bincount(
    number, weights=probabilities.astype(np.float64) - outcomes
  )
  return Mean(float(np.abs(gaps).sum() / len(number)), len(number))


def _check(rewards, levels, lengths):
  judged = ~np.isnan(levels)
  for name, array in (('rewards', rewards), ('lengths', lengths)):
    bad = np.argwhere(judged & ~np.isfinite(array))
    if len(bad):
      row, column = bad[0]
      raise ValueError(
        f'{name}[{row}, {column}] is {array[row, column]}, where there is a '
        'judgement'
      )


def _right(margin):
  return (margin > 0) + (margin == 0) / 2


def _mean(values):
  count = len(values)
  return Mean(float(np.mean(values)) if count else np.nan, count)


def _means_by(values, groups):
  _, group = np.unique(groups, return_inverse=True)
  return np.bincount(group, weights=values) / np.maximum(np.bincount(group), 1)


def _ranks(values):
  """Ranks within rows, ties sharing their mean; NaN stays."""
  if not values.size:
    return values.astype(np.float64)
  return stats.rankdata(values, axis=1, nan_policy='omit')


def _correlations(x, y):
  """Of rows; 0 where x is constant, left out where y is."""
  x, y = _centred(x), _centred(y)
  xy, xx, yy = (np.nansum(a * b, -1) for a, b in ((x, y), (x, x), (y, y)))
  varied = yy > 0
  with np.errstate(invalid='ignore', divide='ignore'):
    return np.where(xx > 0, xy / np.sqrt(xx * yy), 0)[varied]


def _centred(values):
  """Deviations from the row's mean, NaN where there is no value."""
  present = ~np.isnan(values)
  counts = np.maximum(present.sum(-1, keepdims=True), 1)
  values = values.astype(np.float64)
  # Before the mean, so that equal values deviate by exactly zero.
  first = np.take_along_axis(values, present.argmax(-1)[:, None], -1)
  values = values - first
  return values - np.nansum(values, -1, keepdims=True) / counts
