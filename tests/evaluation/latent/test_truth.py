"""What is known in closed form, by hand, by enumeration and by many ratings."""

import dataclasses
import itertools

import numpy as np
import pytest

from consensus_jax.evaluation import group_metrics
from consensus_jax.evaluation.latent import (
  groups,
  questions,
  ratings,
  statements,
  truth,
)
from consensus_jax.evaluation.latent.groups import LatentGroup, Participant
from consensus_jax.evaluation.latent.ratings import LatentStatement, Raters

QUESTIONS = questions.read()
DRAWN = groups.draw_groups(QUESTIONS, num_groups=300, seed=11)


def person(name, positions):
  return Participant(
    name=name,
    positions=positions,
    importance=(0.5, 0.25, 0.25),
    leniency=0.0,
    opinion='o',
  )


def said(positions, text):
  return LatentStatement(text=text, positions=positions, quality=0)


def test_the_best_statement_depends_on_alpha():
  people = [person(str(i), (2, 0, 0)) for i in range(3)]
  people.append(person('dissenter', (-2, 0, 0)))
  found = [said((2, 0, 0), 'majority'), said((0, 0, 0), 'compromise')]
  # Without noise: 6, 6, 6, 4 of 5 rewards, or 0; and 2.5 each.
  raters = Raters(noise=0.0)
  expected = truth.agreement(people, found, raters)
  np.testing.assert_array_equal(expected, [[6, 6, 6, 4], [5, 5, 5, 5]])
  assert truth.best(people, found, alpha=0, raters=raters) == (0,)
  assert truth.best(people, found, alpha=float('inf'), raters=raters) == (1,)
  same = [found[0], dataclasses.replace(found[0], text='again')]
  assert truth.best(people, same, alpha=1) == (0, 1)
  np.testing.assert_array_equal(truth.unanimity(people, found, raters), [0, 1])


def test_win_probability_by_enumeration():
  people = [person('a', (2, 0, 0)), person('b', (-1, 1, 0))]
  pair = [said((2, 1, 0), 'one'), said((0, 0, 0), 'other')]
  chances = truth.probabilities(people, pair)
  expected = 0.0
  for answers in itertools.product(range(7), repeat=4):
    (a, b), (c, d) = answers[:2], answers[2:]
    chance = chances[0, 0, a] * chances[0, 1, b]
    chance *= chances[1, 0, c] * chances[1, 1, d]
    expected += chance * (0.5 + 0.5 * np.sign(a + b - c - d))
  found = truth.win_probability(people, *pair)
  assert found == pytest.approx(expected)
  assert truth.win_probability(people, *pair[::-1]) == pytest.approx(1 - found)
  assert truth.win_probability(people, pair[0], pair[0]) == 0.5


def within(values, expected):
  """The mean of independent values is where it should be, by 4 errors."""
  error = np.std(values, ddof=1) / np.sqrt(len(values))
  return abs(np.mean(values) - expected) < 4 * error


def wins(record, first, second):
  one, other = (
    np.mean([m.agreement[place] for m in record.members])
    for place in (first, second)
  )
  return 0.5 + 0.5 * np.sign(one - other)


def test_ratings_of_many_groups_recover_the_truth():
  kinds = ('compromise', 'majority', 'off_topic')
  expected, drawn, after = [], [], []
  for group in DRAWN:
    found = [statements.written(group, kind, seed=0) for kind in kinds]
    people = group.participants
    expected.append(
      [
        *truth.agreement(people, found).mean(1),
        truth.win_probability(people, found[0], found[1]),
        truth.unanimity(people, found)[0],
      ]
    )
    record = ratings.judge(group, found, seed=1, consensus=0)
    agreement = np.array([m.agreement for m in record.members])
    drawn.append(
      [
        *agreement.mean(0),
        wins(record, 0, 1),
        float((agreement[:, 0] > 4).all()),
      ]
    )
    after.append(
      np.mean([m.position_after for m in record.members])
      - truth.positions_after(people, found[0]).mean()
    )
  difference = np.array(drawn) - np.array(expected)
  for column in difference.T:
    assert within(column, 0)
  assert within(after, 0)
  # There is something to recover.
  means = np.mean(expected, axis=0)
  assert means[0] > means[2] + 0.5 and 0.6 < means[3] < 0.95


def test_the_effect_of_exclusion_is_recovered():
  expected, drawn = [], []
  for group in DRAWN:
    silent = groups.silencing(group, count=2, seed=0)
    found = statements.written(silent, 'compromise', seed=0)
    expected.append(truth.exclusion(silent, found))
    record = ratings.judge(silent, [found], seed=2)
    included, excluded = (
      np.mean(
        [
          m.agreement[0]
          for m in record.members
          if (m.participant in silent.silent) == out
        ]
      )
      for out in (False, True)
    )
    drawn.append(included - excluded)
  assert within(np.array(drawn) - expected, 0)
  assert np.mean(expected) > 0.3


def test_positions_move_towards_a_statement():
  people = [person('a', (2, 0, 0)), person('b', (-2, 0, 0))]
  raters = Raters(persuasion=0.5)
  after = truth.positions_after(people, said((0, 0, 0), 't'), raters)
  np.testing.assert_allclose(after, [5.5, 2.5])
  after = truth.positions_after(people, said((None, 0, 0), 't'), raters)
  np.testing.assert_allclose(after, [7, 1])


def test_quality_is_rated_apart_from_agreement():
  group = LatentGroup(
    id='g',
    question=QUESTIONS[0],
    participants=tuple(person(str(i), (2, 0, 0)) for i in range(400)),
  )
  pair = [
    LatentStatement(text='good', positions=(-2, 0, 0), quality=1),
    LatentStatement(text='poor', positions=(2, 0, 0), quality=-1),
  ]
  drawn = ratings.rate(group.participants, pair, seed=0)
  assert drawn.quality[0].mean() > drawn.quality[1].mean() + 2
  assert drawn.agreement[0].mean() < drawn.agreement[1].mean()


@pytest.mark.parametrize(
  'formula', [group_metrics.divisive, group_metrics.absolute_internal_agreement]
)
def test_what_depends_on_sides_by_enumeration(formula):
  chances = truth.sides([1.0, -0.5, 0.25, 0.1])
  np.testing.assert_allclose(chances.sum(1), 1)
  # Level 0.25 is a rating of 4.375: 5 in three of eight cases, else 4.
  np.testing.assert_allclose(chances[2], [0, 0.625, 0.375])
  total, weight = 0.0, 0.0
  for places in itertools.product(range(3), repeat=4):
    chance = np.prod([chances[i, place] for i, place in enumerate(places)])
    (value,) = formula(np.array([places], float) * 2 + 2)
    if chance and not np.isnan(value):
      total, weight = total + chance * value, weight + chance
  assert truth.of_sides(chances, formula) == pytest.approx(total / weight)


def test_of_sides_is_nan_where_a_formula_always_is():
  neutral = truth.sides([0.0, 0.0])
  formula = group_metrics.absolute_internal_agreement
  assert np.isnan(truth.of_sides(neutral, formula))
