"""How well rewards predict votes: numbers of all draws of people at once.

`training.metrics` has the same numbers without draws; there a case is a row.
Each measure takes judgements and weights of people, and returns one value a
draw, NaN where it is undefined.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats  # type: ignore[import-untyped]

from consensus_jax.evaluation.cases import Case
from consensus_jax.evaluation.intervals import (
  Weights,
  ratio,
  weighted_auc,
  weighted_mean,
)
from consensus_jax.training.metrics import NUM_BINS


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Judgements:
  """Votes with a side and what a system says about them, in one row.

  Attributes:
    rewards: finite.
    agree: whether the vote is for the statement.
    lengths: of the statements, in characters.
    cases: of which case each is.
    owners: whose each case is; a person may have several. Some cases and people
      may have no judgement here.
    conversations: of each judgement.
  """

  rewards: Float[np.ndarray, 'judged']
  agree: Bool[np.ndarray, 'judged']
  lengths: Int[np.ndarray, 'judged']
  cases: Int[np.ndarray, 'judged']
  owners: Int[np.ndarray, 'cases']
  conversations: Int[np.ndarray, 'judged']

  @property
  def people(self) -> Int[np.ndarray, 'judged']:
    """Whose each judgement is."""
    return self.owners[self.cases]

  @property
  def num_people(self) -> int:
    """In all, with a judgement here or not."""
    return int(self.owners.max(initial=-1)) + 1

  def where(self, chosen: Bool[np.ndarray, 'judged']) -> 'Judgements':
    """Some of them, of the same people."""
    return dataclasses.replace(
      self,
      **{
        name: getattr(self, name)[chosen]
        for name in ('rewards', 'agree', 'lengths', 'cases', 'conversations')
      },
    )


Measure = Callable[[Judgements, Weights], Float[np.ndarray, 'draws']]


def judgements(
  cases: Sequence[Case], rewards: Sequence[np.ndarray]
) -> Judgements:
  """All judgements of the cases; NaN rewards stay.

  Raises:
    ValueError: if there is not one reward a statement, or one is infinite.
  """
  if len(rewards) != len(cases):
    raise ValueError(f'rewards of {len(rewards)} cases, not of {len(cases)}')
  for case, values in zip(cases, rewards):
    if np.shape(values) != (len(case.statements),) or np.isinf(values).any():
      raise ValueError(
        f'{case.participant}: {len(case.statements)} finite rewards or NaN are '
        f'needed, got {values}'
      )
  sizes = [len(case.statements) for case in cases]
  names = [case.conversation for case in cases]
  _, conversations = np.unique(names, return_inverse=True)
  people = {case.participant: None for case in cases}
  places = {name: place for place, name in enumerate(people)}
  return Judgements(
    rewards=np.concatenate([*rewards, np.zeros(0)]).astype(np.float64),
    agree=np.array([vote > 0 for case in cases for vote in case.votes], bool),
    lengths=np.array([len(s) for case in cases for s in case.statements], int),
    cases=np.repeat(np.arange(len(cases)), sizes),
    owners=np.array([places[case.participant] for case in cases], int),
    conversations=np.repeat(conversations.astype(int), sizes),
  )


def auc(of: Judgements, weights: Weights) -> Float[np.ndarray, 'draws']:
  """Agree-versus-disagree AUC over all judgements together."""
  return weighted_auc(of.rewards, of.agree, of.people, weights)


def auc_by_conversation(
  of: Judgements, weights: Weights
) -> Float[np.ndarray, 'draws']:
  """The AUC within each conversation, and the mean of conversations."""
  conversations = np.unique(of.conversations)
  values = np.full((len(conversations), len(weights)), np.nan)
  for row, each in zip(values, conversations):
    part = of.where(of.conversations == each)
    row[:] = weighted_auc(part.rewards, part.agree, part.people, weights)
  defined = ~np.isnan(values)
  with np.errstate(invalid='ignore'):
    return np.where(defined, values, 0).sum(0) / defined.sum(0)


def pair_accuracy(
  of: Judgements, weights: Weights
) -> Float[np.ndarray, 'draws']:
  """Pairs of a case's statements, one for and one against, in order.

  Equal rewards are half right. The accuracy of each case that has such pairs,
  and the mean of cases.
  """
  return weighted_mean(pair_accuracies(of), weights[:, of.owners])


def pair_accuracies(of: Judgements) -> Float[np.ndarray, 'cases']:
  """The accuracy of each case: the AUC of its own statements."""
  found = np.full(len(of.owners), np.nan)
  for case, places in _by_case(of):
    agreed = of.rewards[places][of.agree[places]]
    other = of.rewards[places][~of.agree[places]]
    if len(agreed) and len(other):
      found[case] = np.mean(np.sign(agreed[:, None] - other) / 2 + 0.5)
  return found


def log_loss(of: Judgements, weights: Weights) -> Float[np.ndarray, 'draws']:
  """Mean of -log P(the vote), P(agree) = sigmoid(reward), in nats."""
  signed = np.where(of.agree, of.rewards, -of.rewards)
  sums = _sums(of, np.logaddexp(0, -signed))
  return ratio(sums, _sums(of, np.ones_like(signed)), weights)


def calibration_error(
  of: Judgements, weights: Weights
) -> Float[np.ndarray, 'draws']:
  """Distance of P(agree) from the share that agrees, mean over bins.

  Source: Guo et al. 2017, section 2; bins as `training.metrics` has them. It is
  a mean of absolute values: chance alone makes it larger than 0, and larger
  still in a draw, so its interval lies a little high.
  """
  said = special.expit(of.rewards)
  bins = np.minimum((said * NUM_BINS).astype(int), NUM_BINS - 1)
  gaps = np.zeros((of.num_people, NUM_BINS))
  np.add.at(gaps, (of.people, bins), said - of.agree)
  counts = _sums(of, np.ones_like(said))
  weights = weights.astype(np.float64)
  with np.errstate(invalid='ignore'):
    return np.abs(weights @ gaps).sum(1) / (weights @ counts)


def length_correlation(
  of: Judgements, weights: Weights
) -> Float[np.ndarray, 'draws']:
  """Spearman's correlation of rewards with lengths of statements.

  Within a case, so within a question and what one person judged; mean of
  cases. Those with fewer than three statements, or all of one length, are left
  out; rewards that are all one correlate to 0.
  """
  found = np.full(len(of.owners), np.nan)
  for case, places in _by_case(of):
    lengths, rewards = of.lengths[places], of.rewards[places]
    if len(places) >= 3 and np.ptp(lengths):
      x, y = stats.rankdata(lengths), stats.rankdata(rewards)
      found[case] = np.corrcoef(x, y)[0, 1] if np.ptp(rewards) else 0.0
  return weighted_mean(found, weights[:, of.owners])


MEASURES: Mapping[str, Measure] = {
  'auc': auc,
  'auc_by_conversation': auc_by_conversation,
  'pair_accuracy': pair_accuracy,
  'length_correlation': length_correlation,
}
# Where a reward is a log-odds, also these.
OF_LOG_ODDS: Mapping[str, Measure] = {
  'log_loss': log_loss,
  'calibration_error': calibration_error,
}


def _by_case(of):
  order = np.argsort(of.cases, kind='stable')
  starts = np.flatnonzero(np.diff(of.cases[order])) + 1
  for places in np.split(order, starts):
    if len(places):
      yield of.cases[places[0]], places


def _sums(of, values) -> np.ndarray:
  return np.bincount(of.people, weights=values, minlength=of.num_people)
