"""Seeded tie-breaks: a ranking with ties into one without.

Source: "tie-breaking ranking of candidates" (TBRC) from randomly drawn ballots,
Schulze 2011, section 5, in the form that the Habermas Machine (Tessler et al.
2024) publishes: the same seed breaks the same ties in the same way.
"""

from collections.abc import Callable
from typing import get_args

import numpy as np
from jaxtyping import Int, Real

from consensus_jax.social_choice.names import TieBreak

__all__ = ['break_ties', 'check_tie_break']


def break_ties(
  ranks: Int[np.ndarray, 'candidates'],
  ballot: Callable[[int], Int[np.ndarray, 'candidates']],
  members: int,
  tie_break: str,
  seed: int,
  *,
  weights: Real[np.ndarray, 'members'] | None = None,
) -> Int[np.ndarray, 'candidates']:
  """Orders equal candidates, and keeps the order of all others.

  Args:
    ranks: of the candidates, lower is better.
    ballot: the ranks that one member gives, by index.
    members: how many ballots there are.
    tie_break: 'tbrc' goes by ballots drawn at random, one after the other,
      until no tie is left, so that of two candidates the one that everybody
      prefers goes first; 'random' draws an order of candidates, as 'tbrc'
      does when all ballots leave a tie; 'first' keeps the order of the list.
    seed: of the draw.
    weights: a member's ballot is drawn early in proportion to its weight, and
      never if that is zero.

  Returns:
    A permutation: 0 is the winner.

  Raises:
    ValueError: if `tie_break` is not known or `seed` is negative.
  """
  check_tie_break(tie_break, seed)
  order = _dense(ranks)
  random = np.random.default_rng(seed)
  if tie_break == 'tbrc' and _tied(order):
    for member in _draw(members, random, weights):
      order = _refine(order, ballot(int(member)))
      if not _tied(order):
        break
  if not _tied(order):
    return order
  final = np.arange(len(order))
  if tie_break != 'first':
    random.shuffle(final)
  return _refine(order, final)


def check_tie_break(tie_break: str, seed: int) -> None:
  """Refuses an unknown tie-break and a negative seed."""
  if tie_break not in get_args(TieBreak):
    raise ValueError(
      f"tie_break must be 'tbrc', 'random' or 'first', got {tie_break!r}"
    )
  if seed < 0:
    raise ValueError(f'seed must not be negative, got {seed}')


def _draw(members, random, weights):
  if weights is None or (weights == weights[0]).all():
    places = np.arange(members)
    random.shuffle(places)
    return places
  # Efraimidis and Spirakis 2006: successive draws in proportion to weight.
  voters = np.flatnonzero(weights > 0)
  return voters[
    np.argsort(random.exponential(size=len(voters)) / weights[voters])
  ]


def _refine(order, ballot):
  return _dense(order * len(order) + _dense(ballot))


def _dense(ranks):
  return np.unique(ranks, return_inverse=True)[1].reshape(-1)


def _tied(order):
  return order.max() + 1 < len(order)
