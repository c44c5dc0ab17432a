"""From predicted rewards to a group's choice, with all that led there."""

import dataclasses
import fractions
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from consensus_jax.social_choice import (
  checks,
  rankings,
  rules,
  tie_breaks,
  welfare,
)
from consensus_jax.social_choice.chunks import Members
from consensus_jax.social_choice.utilities import UtilityMap
from consensus_jax.social_choice.welfare import WinnerChange

__all__ = ['Aggregation', 'aggregate']

_NAMES = {0.0: 'utilitarian', 1.0: 'nash', math.inf: 'rawlsian'}

# Four times as many, as rules need it, still fit a 32-bit integer.
_MOST_VOTES = 2**28


@dataclasses.dataclass(frozen=True, eq=False)
class Aggregation:
  """A group's choice, and everything needed to compute it again.

  Lists by candidate follow the order of the rewards; a refused candidate is
  None in them and takes no part in anything.

  Attributes:
    rule: which rule ranked the candidates.
    parameters: of the rule.
    utility: the map that made `utilities` from the rewards.
    utilities: [candidates, members]; NaN for refused candidates; None if the
      members were read in chunks.
    weights: one a member.
    welfare: isoelastic welfare at `alpha`, whatever the rule.
    scores: what the rule ranks by, higher is better; equal to `welfare` for
      'isoelastic'; None where a rule gives an order and no numbers.
    ranks: 1 = best; equal candidates share a rank and the next is skipped.
    tied: the candidates of rank 1.
    winner: the one of `tied` that the tie-break chose; None if all candidates
      were refused.
    tie_break: how; 'lottery' if the rule itself is a draw.
    seed: of the tie-break.
    refused: why a candidate was not ranked, None if it was.
    sensitivity: the winner under isoelastic welfare at other alphas.
    changes: the alphas where that winner changes; None if not searched.
  """

  rule: str
  parameters: dict[str, Any]
  utility: UtilityMap
  utilities: np.ndarray | None
  weights: tuple[float, ...]
  welfare: tuple[float | None, ...]
  scores: tuple[float | None, ...]
  ranks: tuple[int | None, ...]
  tied: tuple[int, ...]
  winner: int | None
  tie_break: str
  seed: int
  refused: tuple[str | None, ...]
  sensitivity: tuple[tuple[float, int], ...]
  changes: tuple[WinnerChange, ...] | None

  def to_json(self) -> dict[str, Any]:
    """How the candidates were ranked, as an outcome stores it.

    Infinity stays a float. The numbers of each candidate are not repeated.
    """
    return {
      'rule': self.rule,
      **self.parameters,
      'utility': self.utility.to_json(),
      'weights': list(self.weights),
      'tied': list(self.tied),
      'tie_break': self.tie_break,
      'seed': self.seed,
      'changes': [change._asdict() for change in self.changes or ()],
    }


def aggregate(
  rewards: Any,
  *,
  rule: str = 'isoelastic',
  alpha: float | int = 0.0,
  delta: float | int = 2.0,
  strength: str = 'winning_votes',
  threshold: float | int = 0.0,
  utility: UtilityMap = UtilityMap(),  # noqa: B008 (it is frozen)
  weights: ArrayLike | Sequence[Any] | None = None,
  tie_break: str = 'tbrc',
  seed: int = 0,
  alphas: Sequence[float | int] = welfare.ALPHAS,
  chunk: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Aggregation:
  """Ranks candidates by what their members are predicted to think of them.

  Welfare rules ('isoelastic', 'gini', 'leximin') read utilities; all others
  read only how each member orders the candidates, except that 'approval' and
  'majority_judgment' compare rewards between members.

  Args:
    rewards: [candidates, members]. A candidate with a reward that is None, NaN
      or infinite is refused; the others go on.
    rule: one of `rules.Rule`.
    alpha: aversion to inequality of 'isoelastic' in [0, inf]; with other rules
      it only says which welfare is reported beside their ranks.
    delta: aversion to inequality of 'gini' in [1, inf].
    strength: of a majority, for 'schulze', 'split_cycle', 'minimax' and
      'ranked_pairs': 'winning_votes' or 'margins'.
    threshold: a member approves of what it rewards more, for 'approval'.
    utility: from rewards to utilities.
    weights: one a member; not negative, not all zero; None counts all alike.
      Votes are counted exactly if weights are short decimal numbers.
    tie_break: 'tbrc', 'random' or 'first' (`tie_breaks.break_ties`).
    seed: of the tie-break, and of the draw of 'maximal_lottery'.
    alphas: where to report the isoelastic winner as well.
    chunk: members at a time, for groups too large for the memory; `rewards`
      may then be anything that numpy can slice, such as a `numpy.memmap`. The
      result leaves out `utilities` and `changes`.
    mesh: spreads the members of each chunk over its axis 'data'.

  Raises:
    ValueError: naming the argument that is out of range.
  """
  if chunk is None:
    rewards = np.array(rewards, np.float32)
  elif chunk < 1:
    raise ValueError(f'chunk must be 1 or more, got {chunk}')
  checks.check_axes('rewards', rewards, ('candidates', 'members'))
  shape = np.shape(rewards)
  if len(shape) != 2:
    raise ValueError(
      f'rewards must be [candidates, members], got {list(shape)}'
    )
  checks.check_alpha(alpha)
  checks.check_alphas(alphas)
  parameters = rules.rule_parameters(
    rule,
    alpha=float(alpha),
    delta=float(delta),
    strength=strength,
    threshold=float(threshold),
  )
  tie_breaks.check_tie_break(tie_break, seed)
  count, size = shape
  shares = np.ones(size) if weights is None else np.asarray(weights, float)
  if shares.shape != (size,):
    raise ValueError(
      f'weights must hold one number a member, {size}, got the shape '
      f'{list(shares.shape)}'
    )
  checks.check_weights(shares)
  # Single precision does not reach as far as the weights may.
  in_range = shares / shares.max()

  refused = _refused(rewards, chunk or size)
  kept = np.flatnonzero([why is None for why in refused])
  members = Members(
    rewards, kept, in_range, _whole(shares), utility, chunk or size, mesh
  )
  utilities = None
  if chunk is None:
    utilities = np.full(shape, np.nan, np.float32)
    utilities[kept] = utility(rewards[kept])

  def spread(values):
    by_candidate = dict(zip(kept.tolist(), values, strict=True))
    return tuple(by_candidate.get(index) for index in range(count))

  def winner_of(ranks):
    order = tie_breaks.break_ties(
      ranks,
      lambda member: rules.ballot(members, member),
      size,
      tie_break,
      seed,
      weights=shares,
    )
    return int(kept[np.argmin(order)])

  name = _NAMES.get(float(alpha), rule) if rule == 'isoelastic' else rule
  result: dict[str, Any] = {
    'rule': rule,
    'parameters': {'name': name, 'alpha': float(alpha), **parameters},
    'utility': utility,
    'utilities': utilities,
    'weights': tuple(shares.tolist()),
    'tie_break': 'lottery' if rule == 'maximal_lottery' else tie_break,
    'seed': seed,
    'refused': refused,
  }
  if not len(kept):
    nothing = (None,) * count
    return Aggregation(
      **result,
      welfare=nothing,
      scores=nothing,
      ranks=nothing,
      tied=(),
      winner=None,
      sensitivity=(),
      changes=(),
    )

  at_alpha, *at_alphas = members.welfare(np.array([alpha, *alphas]))
  ranking = (
    rules.by_scores(at_alpha, welfare.TIE_TOLERANCE)
    if rule == 'isoelastic'
    else rules.rank(rule, parameters, members, tie_break, seed)
  )
  if ranking.winner is None:
    winner = winner_of(ranking.ranks)
  else:
    winner = int(kept[ranking.winner])
  scores: list[float | None] = [None] * len(kept)
  if ranking.scores is not None:
    scores = ranking.scores.astype(float).tolist()
  return Aggregation(
    **result,
    welfare=spread(at_alpha.tolist()),
    scores=spread(scores),
    ranks=spread(rankings.competition_ranks(ranking.ranks).tolist()),
    tied=tuple(kept[ranking.ranks == 0].tolist()),
    winner=winner,
    sensitivity=tuple(
      (
        float(at),
        winner_of(rules.by_scores(row, welfare.TIE_TOLERANCE).ranks),
      )
      for at, row in zip(alphas, at_alphas, strict=True)
    ),
    changes=None if utilities is None else _changes(utilities, kept, in_range),
  )


def _changes(utilities, kept, weights):
  return tuple(
    change._replace(
      before=int(kept[change.before]), after=int(kept[change.after])
    )
    for change in welfare.winner_changes(utilities[kept], weights=weights)
  )


def _refused(rewards, chunk) -> tuple[str | None, ...]:
  refused: list[str | None] = [None] * rewards.shape[0]
  for start in range(0, rewards.shape[1], chunk):
    part = np.asarray(rewards[:, start : start + chunk], np.float32)
    bad = ~np.isfinite(part)
    for index in np.flatnonzero(bad.any(axis=1)):
      if refused[index] is None:
        member = int(np.argmax(bad[index]))
        kind = 'NaN' if np.isnan(part[index, member]) else 'infinite'
        refused[index] = f'{kind} reward for member {start + member + 1}'
  return tuple(refused)


def _whole(weights):
  """Weights as whole numbers in the same proportions, where that is possible.

  Sums of whole numbers are exact, so that 0.1 + 0.2 ties with 0.3.
  """
  if (weights == np.round(weights)).all():
    whole = weights
  else:
    exact = [fractions.Fraction(repr(weight)) for weight in weights.tolist()]
    unit = math.lcm(*(weight.denominator for weight in exact))
    whole = np.array([float(weight * unit) for weight in exact])
  if whole.sum() <= _MOST_VOTES:
    return whole.astype(np.int32)
  return (weights / weights.max()).astype(np.float32)
