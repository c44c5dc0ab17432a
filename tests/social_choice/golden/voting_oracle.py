"""Winners according to pref_voting; as a script, makes voting.json.

`pip install pref_voting`, then `python voting_oracle.py` in this directory.
"""

import json
import pathlib

import numpy as np

PROFILES = 300
# Few shapes, as each is compiled anew.
SHAPES = ((1, 1), (2, 4), (3, 3), (3, 6), (4, 5), (4, 7), (5, 4), (6, 9))


def random_ranks(random, ties):
  """Random ranks [candidates, members]; small sizes make many ties."""
  candidates, members = SHAPES[random.integers(len(SHAPES))]
  if ties:
    levels = int(random.integers(1, candidates + 1))
    return random.integers(0, levels, (candidates, members))
  return random.permuted(
    np.tile(np.arange(candidates)[:, None], members), axis=0
  )


def winners(ranks):
  """The winning candidates by rule, as pref_voting has them."""
  from pref_voting import (
    c1_methods,
    iterative_methods,
    margin_based_methods,
    profiles_with_ties,
    scoring_methods,
  )

  candidates, members = ranks.shape
  profile = profiles_with_ties.ProfileWithTies(
    [
      {c: int(ranks[c, m]) + 1 for c in range(candidates)}
      for m in range(members)
    ],
    candidates=list(range(candidates)),
  )
  votes, margin = profile.support, profile.margin
  by = margin_based_methods
  found = {
    'schulze/winning_votes': by.beat_path(profile, strength_function=votes),
    'schulze/margins': by.beat_path(profile, strength_function=margin),
    'split_cycle/winning_votes': by.split_cycle(
      profile, strength_function=votes
    ),
    'split_cycle/margins': by.split_cycle(profile, strength_function=margin),
    'minimax/winning_votes': by.minimax(profile, strength_function=votes),
    'minimax/margins': by.minimax(profile, strength_function=margin),
    'ranked_pairs_first/margins': by.ranked_pairs_tb(
      profile, strength_function=margin
    ),
    'copeland': c1_methods.copeland(profile),
    'borda': scoring_methods.borda_for_profile_with_ties(profile),
    'instant_runoff': iterative_methods.approval_irv(profile),
  }
  # It tries all orders of equal majorities: at most 6 of them, or it takes
  # forever; pairs without a majority would count twice.
  strict = all(len(set(ranks[:, m])) == candidates for m in range(members))
  if candidates <= 4 and strict and members % 2:
    found['ranked_pairs/margins'] = by.ranked_pairs(
      profile, strength_function=margin
    )
  return {
    rule: sorted(int(winner) for winner in chosen)
    for rule, chosen in found.items()
  }


if __name__ == '__main__':
  random = np.random.default_rng(20220101)
  lines = []
  for number in range(PROFILES):
    ranks = random_ranks(random, ties=number % 2)
    lines.append(json.dumps({'ranks': ranks.tolist(), **winners(ranks)}))
  path = pathlib.Path(__file__).with_name('voting.jsonl')
  path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
