"""From predicted rewards to a group's choice, with all that led there."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from consensus_jax.social_choice import checks, rankings, tie_breaks, welfare
from consensus_jax.social_choice.utilities import UtilityMap
from consensus_jax.social_choice.welfare import WinnerChange

__all__ = ['Aggregation', 'aggregate']


@dataclasses.dataclass(frozen=True, eq=False)
class Aggregation:
  """A group's choice, and everything needed to compute it again.

  Lists by candidate follow the order of the rewards; a refused candidate is
  None in them and takes no part in anything.

  Attributes:
    rule: which rule ranked the candidates.
    parameters: of the rule.
    utility: the map that made `utilities` from the rewards.
    utilities: [candidates, members]; NaN for refused candidates.
    weights: one a member.
    welfare: isoelastic welfare at `alpha`, whatever the rule.
    scores: what the rule ranks by, higher is better; equal to `welfare` for
      'isoelastic'.
    ranks: 1 = best; equal candidates share a rank and the next is skipped.
    tied: the candidates of rank 1.
    winner: the one of `tied` that the tie-break chose; None if all candidates
      were refused.
    tie_break: how.
    seed: of the tie-break.
    refused: why a candidate was not ranked, None if it was.
    sensitivity: the winner under isoelastic welfare at other alphas.
    changes: the alphas where that winner changes.
  """

  rule: str
  parameters: dict[str, Any]
  utility: UtilityMap
  utilities: np.ndarray
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
  changes: tuple[WinnerChange, ...]

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
      'changes': [change._asdict() for change in self.changes],
    }


def aggregate(
  rewards: ArrayLike | Sequence[Any],
  *,
  rule: str = 'isoelastic',
  alpha: float | int = 0.0,
  utility: UtilityMap = UtilityMap(),  # noqa: B008 (it is frozen)
  weights: ArrayLike | Sequence[Any] | None = None,
  tie_break: str = 'tbrc',
  seed: int = 0,
  alphas: Sequence[float | int] = welfare.ALPHAS,
) -> Aggregation:
  """Ranks candidates by what their members are predicted to think of them.

  Args:
    rewards: [candidates, members]. A candidate with a reward that is None, NaN
      or infinite is refused; the others go on.
    rule: 'isoelastic'.
    alpha: aversion to inequality of 'isoelastic' in [0, inf]; with other rules
      it only says which welfare is reported beside their ranks.
    utility: from rewards to utilities.
    weights: one a member; not negative, not all zero; None counts all alike.
    tie_break: 'tbrc', 'random' or 'first' (`tie_breaks.break_ties`).
    seed: of the tie-break.
    alphas: where to report the isoelastic winner as well.

  Raises:
    ValueError: naming the argument that is out of range.
  """
  values = np.array(rewards, np.float32)
  checks.check_axes('rewards', values, ('candidates', 'members'))
  if values.ndim != 2:
    raise ValueError(
      f'rewards must be [candidates, members], got {list(values.shape)}'
    )
  if rule != 'isoelastic':
    raise ValueError(f"rule must be 'isoelastic', got {rule!r}")
  checks.check_alpha(alpha)
  checks.check_alphas(alphas)
  candidates, members = values.shape
  shares = np.ones(members) if weights is None else np.asarray(weights, float)
  if shares.shape != (members,):
    raise ValueError(
      f'weights must hold one number a member, {members}, got the shape '
      f'{list(shares.shape)}'
    )
  checks.check_weights(shares)

  refused = tuple(_why_refused(row) for row in values)
  kept = np.array([i for i, why in enumerate(refused) if why is None], int)
  utilities = np.full(values.shape, np.nan, np.float32)
  result: dict[str, Any] = {
    'rule': rule,
    'parameters': {'alpha': float(alpha), 'name': _name(alpha)},
    'utility': utility,
    'utilities': utilities,
    'weights': tuple(shares.tolist()),
    'tie_break': tie_break,
    'seed': seed,
    'refused': refused,
  }
  if not len(kept):
    nothing = (None,) * candidates
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
  utilities[kept] = utility(values[kept])

  def winner_of(ranks):
    order = tie_breaks.break_ties(
      ranks,
      lambda member: np.unique(-values[kept, member], return_inverse=True)[1],
      members,
      tie_break,
      seed,
      weights=shares,
    )
    return int(kept[np.argmin(order)])

  curve = welfare.welfare_curve(
    utilities[kept], (float(alpha), *alphas), weights=shares
  )
  by_alpha = [
    rankings.ranks_within_tolerance(np.asarray(row), welfare.TIE_TOLERANCE)
    for row in curve.welfare
  ]
  ranks, scores = by_alpha[0], np.asarray(curve.welfare[0]).tolist()
  return Aggregation(
    **result,
    welfare=_spread(scores, kept, candidates),
    scores=_spread(scores, kept, candidates),
    ranks=_spread(rankings.competition_ranks(ranks).tolist(), kept, candidates),
    tied=tuple(kept[ranks == 0].tolist()),
    winner=winner_of(ranks),
    sensitivity=tuple(
      (float(at), winner_of(row))
      for at, row in zip(alphas, by_alpha[1:], strict=True)
    ),
    changes=tuple(
      change._replace(
        before=int(kept[change.before]), after=int(kept[change.after])
      )
      for change in welfare.winner_changes(utilities[kept], weights=shares)
    ),
  )


def _why_refused(rewards) -> str | None:
  bad = np.flatnonzero(~np.isfinite(rewards))
  if not len(bad):
    return None
  kind = 'NaN' if np.isnan(rewards[bad[0]]) else 'infinite'
  return f'{kind} reward for member {int(bad[0]) + 1}'


def _name(alpha: float | int) -> str:
  names = {0.0: 'utilitarian', 1.0: 'nash', math.inf: 'rawlsian'}
  return names.get(float(alpha), 'isoelastic')


def _spread(values, kept, candidates) -> tuple:
  spread: list[Any] = [None] * candidates
  for index, value in zip(kept, values, strict=True):
    spread[index] = value
  return tuple(spread)
