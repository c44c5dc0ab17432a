"""Names of rules and their choices; standard library only, for the command."""

from typing import Literal

Rule = Literal[
  'isoelastic',
  'gini',
  'leximin',
  'schulze',
  'borda',
  'copeland',
  'ranked_pairs',
  'split_cycle',
  'minimax',
  'instant_runoff',
  'approval',
  'maximal_lottery',
  'majority_judgment',
]

# What counts as the strength of a majority.
Strength = Literal['winning_votes', 'margins']

TieBreak = Literal['tbrc', 'random', 'first']

# Maps from rewards to utilities.
MapName = Literal['shift', 'sigmoid', 'softplus', 'expected_likert']
