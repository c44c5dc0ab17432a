"""Voting rules against pref_voting: stored winners, and live if installed."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from consensus_jax.social_choice import (
  ballots,
  pairwise,
  ranked_pairs,
  schulze,
)

GOLDEN = pathlib.Path(__file__).with_name('golden')
RULES = {
  'schulze': schulze.schulze,
  'split_cycle': schulze.split_cycle,
  'minimax': pairwise.minimax,
  'ranked_pairs_first': ranked_pairs.ranked_pairs,
  'copeland': pairwise.copeland,
  'borda': pairwise.borda,
  'instant_runoff': ballots.instant_runoff,
}


def check(ranks, oracle):
  for name, want in oracle.items():
    rule, _, strength = name.partition('/')
    if rule == 'ranked_pairs':
      first = ranked_pairs.ranked_pairs(ranks, strength=strength)
      assert int(np.argmin(first)) in want, ranks.tolist()
      continue
    options = {'strength': strength} if strength else {}
    got = np.asarray(RULES[rule](ranks, **options))
    assert np.flatnonzero(got == 0).tolist() == want, (name, ranks.tolist())


def test_stored_winners():
  lines = (GOLDEN / 'voting.jsonl').read_text(encoding='utf-8').splitlines()
  assert len(lines) == 300
  with_ties = 0
  for line in lines:
    oracle = json.loads(line)
    check(np.array(oracle.pop('ranks')), oracle)
    with_ties += len(oracle['schulze/winning_votes']) > 1
  assert with_ties > 50


@pytest.mark.slow
def test_live_winners():
  pytest.importorskip('pref_voting')
  spec = importlib.util.spec_from_file_location(
    'voting_oracle', GOLDEN / 'voting_oracle.py'
  )
  oracle = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(oracle)
  random = np.random.default_rng(7)
  for number in range(3000):
    ranks = oracle.random_ranks(random, ties=number % 2)
    check(ranks, oracle.winners(ranks))
