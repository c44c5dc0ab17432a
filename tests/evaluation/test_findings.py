"""Findings of simulated groups recover what is true of them."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from consensus_jax.evaluation import findings
from consensus_jax.evaluation.findings import MEASURES, Draws
from consensus_jax.evaluation.latent import groups, questions, statements, truth
from consensus_jax.strict_json import InputError

DRAWS = Draws(500, 0)
KINDS = ('compromise', 'majority', 'off_topic')
GROUPS = groups.draw_groups(questions.read(), num_groups=120, seed=5)


def written(drawn=GROUPS, kinds=KINDS):
  return {
    kind: [statements.written(group, kind, seed=1) for group in drawn]
    for kind in kinds
  }


@pytest.fixture(scope='module')
def rated():
  return findings.rate(GROUPS, written(), seed=2)


@pytest.mark.parametrize('measure', MEASURES)
def test_intervals_of_measures_hold_the_truth(rated, measure):
  found = {
    kind: findings.measured(rated, measure, kind, DRAWS) for kind in KINDS
  }
  # Nobody is unanimous on a statement off the topic: no width, no verdict.
  unanimous = measure.startswith('unanimity')
  assert [each.recovered for each in found.values()] == [
    True,
    True,
    None if unanimous else True,
  ]
  # Systems differ by more than an interval is wide: there is what to recover.
  good, poor = found['compromise'], found['off_topic']
  assert abs(good.truth - poor.truth) > 0.1
  assert not dataclasses.replace(good, truth=poor.truth).recovered


def test_expectations_of_measures_by_enumeration():
  group = GROUPS[0]
  said = statements.written(group, 'majority', seed=1)
  chances = truth.probabilities(group.participants, [said])[0]
  least = disagree = 0.0
  for answers in itertools.product(range(7), repeat=len(chances)):
    chance = math.prod(row[k] for row, k in zip(chances, answers))
    least += chance * (1 + min(answers))
    disagree += chance * np.mean([k < 3 for k in answers])
  of = {name: each.expected(group, said) for name, each in MEASURES.items()}
  assert of['least agreement of a member'] == pytest.approx(least)
  assert of['share of members who disagree'] == pytest.approx(disagree)


def test_comparisons_recover_the_truth_and_are_tested(rated):
  won, ahead = findings.compared(rated, 'compromise', 'majority', DRAWS)
  assert won.recovered and ahead.recovered
  assert won.estimate.interval.low > 0.5 and ahead.estimate.interval.low > 0
  assert max(won.p_value, ahead.p_value) < 0.01


def test_a_system_is_no_better_than_itself():
  chosen = written(kinds=['compromise'])
  rated = findings.rate(
    GROUPS, {'one': chosen['compromise'], 'other': chosen['compromise']}, seed=0
  )
  won, ahead = findings.compared(rated, 'one', 'other', DRAWS)
  assert (won.estimate.interval.value, ahead.estimate.interval.value) == (
    0.5,
    0,
  )
  assert won.p_value == ahead.p_value == 1
  assert won.truth == 0.5 and ahead.truth == 0


def test_p_values_are_corrected_for_their_number(rated):
  found = [
    *findings.compared(rated, 'compromise', 'majority', DRAWS),
    findings.measured(rated, 'mean agreement', 'majority', DRAWS),
  ]
  adjusted = [each.adjusted for each in findings.corrected(found)]
  small, large = sorted(each.p_value for each in found[:2])
  assert sorted(adjusted[:2]) == pytest.approx(
    [min(2 * small, 1), max(2 * small, large)]
  )
  assert np.isnan(adjusted[2])


def test_nobody_rates_an_opinion_of_their_own():
  opinions = [statements.opinions(group)[0] for group in GROUPS]
  rated = findings.rate(GROUPS, {'opinion': opinions}, seed=0)
  grid = rated.table.grid('agreement', 'opinion')
  sizes = [len(group.participants) for group in GROUPS]
  assert ((~np.isnan(grid)).sum(1) == np.array(sizes) - 1).all()
  assert findings.measured(rated, 'mean agreement', 'opinion', DRAWS).recovered


def test_the_effect_of_not_being_heard_is_recovered():
  silenced = [groups.silencing(group, count=2, seed=1) for group in GROUPS]
  rated = findings.rate(silenced, written(silenced), seed=0)
  found = findings.exclusion_gap(rated, 'majority', DRAWS)
  assert found.recovered and found.estimate.interval.low > 0


def test_what_has_no_statement_is_counted():
  chosen = written(GROUPS[:6])
  chosen['compromise'][2] = None
  rated = findings.rate(GROUPS[:6], chosen, seed=0)
  (left_out,) = rated.left_out
  assert left_out.reason == "has no statement of 'compromise'"
  assert left_out.examples == (GROUPS[2].id,)
  found = findings.measured(rated, 'mean agreement', 'compromise', DRAWS)
  assert (found.estimate.number, found.estimate.undefined) == (5, 1)
  assert findings.compared(rated, *KINDS[:2], DRAWS)[0].estimate.number == 5


def test_without_any_statement_there_is_nothing_to_rate():
  with pytest.raises(InputError, match='no system has a statement'):
    findings.rate(GROUPS[:2], {'silent': [None, None]}, seed=0)
