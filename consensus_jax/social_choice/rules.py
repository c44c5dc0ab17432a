"""Every rule by its name, on what the members of a group think."""

import functools
import itertools
import math
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax.social_choice import (
  lottery,
  ordered,
  pairwise,
  ranked_pairs,
  rankings,
  schulze,
  tie_breaks,
  welfare,
)
from consensus_jax.social_choice.chunks import Members
from consensus_jax.social_choice.names import Rule, Strength

__all__ = ['Ranking', 'Rule', 'rank', 'rule_parameters']

_ALL_ORDERS = 6  # candidates, up to which all orders of them are tried
_SOME_ORDERS = 200
_MOST_PAIRS = 500_000  # over all orders that are tried


class Ranking(NamedTuple):
  """What a rule says.

  Attributes:
    scores: by candidate, higher is better; None where a rule gives an order
      and no numbers.
    ranks: dense, 0 = best.
    winner: where the rule itself breaks ties; else None.
  """

  scores: np.ndarray | None
  ranks: np.ndarray
  winner: int | None = None


def rule_parameters(
  rule: str, *, alpha: float, delta: float, strength: str, threshold: float
) -> dict[str, Any]:
  """The parameters that `rule` depends on, checked.

  Raises:
    ValueError: if the rule is not known or one of its parameters out of range.
  """
  if rule not in get_args(Rule):
    known = ', '.join(get_args(Rule))
    raise ValueError(f'rule must be one of {known}; got {rule!r}')
  match rule:
    case 'isoelastic':
      return {'alpha': float(alpha)}
    case 'gini':
      if not delta >= 1:
        raise ValueError(f'delta must be a number from 1 to inf, got {delta}')
      return {'delta': float(delta)}
    case 'schulze' | 'split_cycle' | 'minimax' | 'ranked_pairs':
      if strength not in get_args(Strength):
        known = ' or '.join(map(repr, get_args(Strength)))
        raise ValueError(f'strength must be {known}, got {strength!r}')
      return {'strength': strength}
    case 'approval':
      if not math.isfinite(threshold):
        raise ValueError(f'threshold must be finite, got {threshold}')
      return {'threshold': float(threshold)}
  return {}


def rank(
  rule: str,
  parameters: dict[str, Any],
  members: Members,
  tie_break: str,
  seed: int,
) -> Ranking:
  """Ranks the candidates by `rule`; `parameters` as `rule_parameters` gives."""
  match rule:
    case 'isoelastic':
      (scores,) = members.welfare(np.array([parameters['alpha']]))
      return by_scores(scores, welfare.TIE_TOLERANCE)
    case 'gini':
      scores = members.gini(parameters['delta'])
      return by_scores(scores, welfare.TIE_TOLERANCE)
    case 'approval':
      return by_scores(members.approvals(parameters['threshold']))
    case 'leximin':
      # On utilities, as clipping at the ends of a map makes ties.
      return Ranking(
        None,
        members.sorted_by(
          lambda rewards, counts: float(
            members.utility(rewards[counts > 0]).min()
          ),
          lambda rewards, counts: ordered.leximin_ranks(
            members.utility(rewards), counts
          ),
        ),
      )
    case 'majority_judgment':
      return Ranking(
        None, members.sorted_by(_lower_median, ordered.judgment_ranks)
      )
    case 'instant_runoff':
      return Ranking(None, members.instant_runoff())
  support = members.support()
  match rule:
    case 'schulze':
      return by_scores(schulze.schulze_scores(support, **parameters))
    case 'split_cycle':
      return by_scores(schulze.split_cycle_scores(support, **parameters))
    case 'minimax':
      return by_scores(pairwise.minimax_scores(support, **parameters))
    case 'copeland':
      return by_scores(pairwise.copeland_scores(support))
    case 'borda':
      return by_scores(pairwise.borda_scores(support))
    case 'ranked_pairs':
      first = _tie_order(members, tie_break, seed)
      return _ranked_pairs(support, parameters['strength'], first, seed)
  return _maximal_lottery(support, seed)


def by_scores(scores, tolerance: float = 0.0) -> Ranking:
  """The ranking by scores, higher is better."""
  scores = np.asarray(scores)
  return Ranking(scores, rankings.ranks_within_tolerance(scores, tolerance))


def ballot(members: Members, member: int) -> np.ndarray:
  """The ranks that one member gives to the candidates."""
  rewards = np.asarray(members.rewards[:, member], np.float32)[members.kept]
  return np.unique(-rewards, return_inverse=True)[1]


def _lower_median(rewards, counts):
  order = np.argsort(rewards)
  reached = np.cumsum(counts[order], dtype=np.int64)
  return float(rewards[order[np.searchsorted(2 * reached, reached[-1])]])


def _tie_order(members, tie_break, seed):
  return tie_breaks.break_ties(
    np.zeros(len(members.kept), int),
    lambda member: ballot(members, member),
    len(members.weights),
    tie_break,
    seed,
    weights=members.weights,
  )


def _ranked_pairs(support, strength, first, seed):
  """Ties are the winners under some order of the candidates.

  All orders are tried for a few candidates, and some at random for more; those
  who lose follow in the ranking that `first` gives.
  """
  candidates = len(first)
  if candidates <= _ALL_ORDERS:
    orders = np.array(list(itertools.permutations(range(candidates))))
  else:
    pairs = candidates * (candidates - 1) // 2
    tried = min(max(_MOST_PAIRS // pairs, 8), _SOME_ORDERS)
    orders = np.random.default_rng(seed).permuted(
      np.tile(np.arange(candidates), (tried, 1)), axis=1
    )
  strengths = np.asarray(pairwise.majority_strengths(support, strength))
  upper = np.triu_indices(candidates, 1)
  of_pairs = np.maximum(strengths, strengths.T)[upper]
  if (of_pairs > 0).all() and len(set(of_pairs.tolist())) == len(of_pairs):
    orders = orders[:0]  # nothing to decide
  place = np.asarray(
    ranked_pairs.ranked_pairs_order(support, jnp.asarray(first), strength)
  )
  winner = int(np.argmin(place))
  tied = {winner}
  if len(orders):
    places = _orders(support, jnp.asarray(orders), strength)
    tied |= set(np.argmin(places, axis=-1).tolist())
  ranks = np.where(np.isin(np.arange(candidates), list(tied)), -1, place)
  return Ranking(None, np.unique(ranks, return_inverse=True)[1], winner)


@functools.partial(jax.jit, static_argnames='strength')
def _orders(support, orders, strength):
  return jax.lax.map(
    lambda order: ranked_pairs.ranked_pairs_order(support, order, strength),
    orders,
  )


def _maximal_lottery(support, seed):
  """First the candidates with a chance, then those with one without them."""
  chances = np.asarray(lottery.maximal_lottery_chances(support))
  winner = np.random.default_rng(seed).choice(
    len(chances), p=chances.astype(float) / chances.sum(dtype=float)
  )
  ranks = np.zeros(len(chances), int)
  left = np.flatnonzero(chances == 0)
  while len(left):
    ranks[left] += 1
    again = np.asarray(
      lottery.maximal_lottery_chances(support[np.ix_(left, left)])
    )
    left = left[again == 0]
  return Ranking(chances, ranks, int(winner))
