"""How near a system's choice for a group comes to the best there was.

Of each group a system chooses the candidate of greatest predicted welfare. What
the members' own votes make that worth, between a choice at random (0) and the
best possible choice (1), is the share of the gap that it closes.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats  # type: ignore[import-untyped]

from consensus_jax.evaluation.groups import Group
from consensus_jax.evaluation.intervals import Interval
from consensus_jax.social_choice.utilities import UtilityMap
from consensus_jax.social_choice.welfare import (
  TIE_TOLERANCE,
  isoelastic_welfare,
)

# Aversions to inequality, by the names of their welfare.
WELFARES: Mapping[str, float] = {'utilitarian': 0.0, 'rawlsian': float('inf')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Closed:
  """What a system, or one system minus another, closes of the gap.

  Attributes:
    system: its name, or `FIRST minus SECOND`.
    welfare: a name of `WELFARES`.
    mean_share: mean over groups of the share of the gap that is closed.
    share: of the sum of all gaps; groups where little is at stake weigh little.
    conversations: mean share of the groups of each.
  """

  system: str
  welfare: str
  mean_share: Interval
  share: Interval
  conversations: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regret:
  """Welfare regret of systems on the same groups.

  Attributes:
    rows: one a welfare and system.
    differences: likewise, of pairs of systems.
    groups: how many groups have a gap, by welfare; others say nothing.
    all_groups: how many there are.
    people: different members.
    candidates: mean number of statements of a group.
    gaps: mean of best minus random, by welfare.
    utility: the map from rewards to utilities.
  """

  rows: tuple[Closed, ...]
  differences: tuple[Closed, ...]
  groups: Mapping[str, int]
  all_groups: int
  people: int
  candidates: float
  gaps: Mapping[str, float]
  utility: Mapping[str, object]


def measure(
  groups: Sequence[Group],
  systems: Mapping[str, Sequence[np.ndarray]],
  *,
  differences: Sequence[tuple[str, str]] = (),
  utility: UtilityMap = UtilityMap(),  # noqa: B008 (it is frozen)
) -> Regret:
  """Welfare regret of systems.

  Intervals are normal, of 95%; groups that share a member count as dependent
  (`standard_error`). They are about people: conversations are taken as given,
  and the mean of each is told.

  Args:
    groups: as `groups.draw_groups` draws them.
    systems: by name, rewards [candidates, members] of each group.
    differences: pairs of names: the first minus the second.
    utility: the map from rewards to utilities, as the mediator takes it.

  Raises:
    ValueError: if there are no groups, or a reward is not finite.
  """
  if not groups:
    raise ValueError('there are no groups')
  together = _sharing(groups)
  rows: list[Closed] = []
  apart: list[Closed] = []
  counts, gaps = {}, {}
  for welfare, alpha in WELFARES.items():
    real = [
      np.asarray(isoelastic_welfare(group.utilities, alpha), np.float64)
      for group in groups
    ]
    chance = np.array([values.mean() for values in real])
    gap = np.array([values.max() for values in real]) - chance
    gains = {
      name: _expected(real, choices(rewards, alpha, utility)) - chance
      for name, rewards in systems.items()
    }
    # What a vote is worth is a half: a gap as small as this is rounding.
    at_stake = gap > 1e-6
    counts[welfare] = int(at_stake.sum())
    gaps[welfare] = float(gap[at_stake].mean()) if at_stake.any() else np.nan
    closed = functools.partial(
      _closed, welfare, gap, at_stake, together, groups
    )
    rows += [closed(name, gain) for name, gain in gains.items()]
    apart += [
      closed(f'{first} minus {second}', gains[first] - gains[second])
      for first, second in differences
    ]
  members = {(g.conversation, name) for g in groups for name in g.participants}
  return Regret(
    rows=tuple(rows),
    differences=tuple(apart),
    groups=counts,
    all_groups=len(groups),
    people=len(members),
    candidates=float(np.mean([len(group.statements) for group in groups])),
    gaps=gaps,
    utility=utility.to_json(),
  )


def choices(
  rewards: Sequence[np.ndarray],
  alpha: float,
  utility: UtilityMap,
) -> list[np.ndarray]:
  """Candidates of greatest predicted welfare, of each group; several if tied.

  As `social_choice.aggregate` chooses with the rule 'isoelastic', before ties
  are broken.

  Args:
    rewards: [candidates, members] of each group, all groups of one size.
    alpha: aversion to inequality.
    utility: the map from rewards to utilities.
  """
  sizes = [len(of_group) for of_group in rewards]
  together = np.concatenate([np.asarray(r, np.float32) for r in rewards])
  welfare = np.asarray(isoelastic_welfare(utility(together), alpha))
  return [
    np.flatnonzero(values >= values.max() * (1 - TIE_TOLERANCE))
    for values in np.split(welfare, np.cumsum(sizes)[:-1])
  ]


def standard_error(
  deviations: Float[np.ndarray, 'groups'],
  together: Bool[np.ndarray, 'groups groups'],
) -> float:
  """Of a mean over groups, some of which have members in common.

  The variance of the mean is the mean of the covariances of two groups; those
  of groups without a common member are 0, the others are estimated by products
  of deviations. Deviations are from the mean of these very groups, which takes
  away as large a part as there are pairs that share. Never less than if all
  groups were independent; NaN if all share.

  Source: Aronow, Samii and Assenova 2015, "Cluster-robust variance estimation
  for dyadic data", equation 4, with groups for dyads. The correction is our
  own; where no two groups share, it is that of n - 1 for n.

  Args:
    deviations: from the mean, one a group.
    together: True where two groups share a member, and of a group with itself.
  """
  count = len(deviations)
  sharing = together.mean()
  if sharing == 1:
    return float('nan')
  shared = deviations @ together @ deviations / (1 - sharing)
  alone = deviations @ deviations / (1 - 1 / count)
  return float(np.sqrt(max(shared, alone)) / count)


def _expected(real, chosen) -> Float[np.ndarray, 'groups']:
  """Welfare of what is chosen; of several, by a draw among them."""
  return np.array(
    [values[places].mean() for values, places in zip(real, chosen, strict=True)]
  )


def _closed(welfare, gap, at_stake, together, groups, name, gain) -> Closed:
  gap, gain = gap[at_stake], gain[at_stake]
  together = together[np.ix_(at_stake, at_stake)]
  names = np.array([group.conversation for group in groups])[at_stake]
  shares = gain / gap
  mean = shares.mean() if len(shares) else np.nan
  # A ratio of two sums: its deviations are those of its first order.
  total = gap.sum()
  ratio = gain.sum() / total if total else np.nan
  deviations = (gain - ratio * gap) * len(gap) / total if total else gap
  return Closed(
    system=name,
    welfare=welfare,
    mean_share=_interval(mean, shares - mean, together),
    share=_interval(ratio, deviations, together),
    conversations={
      str(each): float(shares[names == each].mean())
      for each in np.unique(names)
    },
  )


def _interval(value, deviations, together) -> Interval:
  if len(deviations) < 2:
    return Interval(float(value), np.nan, np.nan)
  reach = stats.norm.ppf(0.975) * standard_error(deviations, together)
  return Interval(float(value), float(value - reach), float(value + reach))


def _sharing(groups: Sequence[Group]) -> Bool[np.ndarray, 'groups groups']:
  people = [{(g.conversation, p) for p in g.participants} for g in groups]
  places = {each: i for i, each in enumerate(sorted(set().union(*people)))}
  member = np.zeros((len(groups), len(places)), np.float32)
  for row, each in enumerate(people):
    member[row, [places[person] for person in each]] = 1
  return member @ member.T > 0
