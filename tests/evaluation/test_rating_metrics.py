"""Measures of a small table by hand, and what is left out of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_jax.data.exclusions import total
from consensus_jax.evaluation import group_metrics, rating_metrics, ratings

NAN = np.nan

# Group g is divided on p and of one mind on q; h has one member; i saw only A.
ROWS = [
  # system, question, group, rater, agreement, before, excluded
  ('A', 'p', 'g', 'ann', 6, 6, 0),
  ('B', 'p', 'g', 'ann', 5, 6, 0),
  ('A', 'p', 'g', 'bob', 5, 7, 0),
  ('B', 'p', 'g', 'bob', 5, 7, 0),
  ('A', 'p', 'g', 'cem', 5, 2, 1),
  ('B', 'p', 'g', 'cem', 2, 2, 1),
  ('A', 'q', 'g', 'ann', 4, 6, 0),
  ('B', 'q', 'g', 'ann', 4, 6, 0),
  ('A', 'q', 'g', 'bob', 4, 5, 0),
  ('B', 'q', 'g', 'bob', 6, 5, 0),
  ('A', 'q', 'g', 'cem', 4, 5, 0),
  ('A', 'p', 'h', 'dan', 7, 1, 0),
  ('B', 'p', 'h', 'dan', 1, 1, 0),
  ('A', 'p', 'i', 'eve', 3, 3, 0),
  ('A', 'p', 'i', 'fay', None, 6, 0),
]
WORDS = {('A', 'p'): 60, ('B', 'p'): 40, ('A', 'q'): 50, ('B', 'q'): 70}


def table():
  system, question, group, rater, agreement, before, excluded = zip(*ROWS)
  return ratings.from_arrays(
    systems=system,
    questions=question,
    groups=group,
    raters=rater,
    agreement=agreement,
    position_before=before,
    excluded=excluded,
    words=[WORDS[row[:2]] for row in ROWS],
  )


def reasons(values):
  return {each.reason: each.count for each in values.left_out}


def same(values, expected):
  np.testing.assert_allclose(values.values, expected)
  # Every value that is not there has its reason.
  missing = sum(each.count for each in values.left_out)
  assert np.isnan(values.values).sum() == missing


def test_win_rates_by_hand():
  found = rating_metrics.differences(table(), 'A', 'B')
  # In g (1 + 0 + 3) / 3 on p and (0 - 2) / 2 on q.
  same(found, [4 / 3, -1, NAN, NAN])
  won = rating_metrics.wins_by_group(table(), 'A', 'B')
  same(won, [1, 0, NAN, NAN])
  assert won.mean == (0.5, 2)
  np.testing.assert_array_equal(won.groups, [0, 0, 1, 2])
  assert reasons(won) == {
    "has ratings of 'A' only": 1,
    'was rated for both systems by one member': 1,
  }
  assert won.left_out[0].examples == ('i: p',)
  other = rating_metrics.wins_by_group(table(), 'B', 'A')
  same(other, [0, 1, NAN, NAN])
  by_rater = rating_metrics.wins_by_rater(table(), 'A', 'B')
  same(by_rater, [1, 0.5, 1, 0.5, 0, NAN, 1, NAN, NAN])
  assert reasons(by_rater) == {
    "rated 'A' only": 2,
    'rated neither system': 1,
  }
  np.testing.assert_array_equal(by_rater.groups, [0] * 6 + [1, 2, 2])


def test_scores_by_hand():
  found = rating_metrics.scores(table(), 'A')
  same(found, [6, 5, 5, 4, 4, 4, 7, 3, NAN])
  assert found.mean == (pytest.approx(38 / 8), 8)
  assert found.left_out[0].examples == ('i fay',)
  quality = rating_metrics.scores(table(), 'A', column='quality')
  assert np.isnan(quality.mean.value) and quality.mean.number == 0
  assert total(quality.left_out, 'rating') == 9


def test_groups_by_hand():
  of = rating_metrics.by_group
  same(of(table(), 'A', group_metrics.mean), [16 / 3, 4, NAN, NAN])
  same(of(table(), 'B', group_metrics.least), [2, 4, NAN, NAN])
  same(of(table(), 'B', group_metrics.dissent), [1 / 3, 0, NAN, NAN])
  gia = of(table(), 'A', group_metrics.internal_agreement)
  same(gia, [-1, NAN, NAN, NAN])
  # All of g are neutral about A on q.
  assert reasons(gia) == {'has one rating': 2, 'has neutral ratings only': 1}
  same(
    of(table(), 'B', group_metrics.internal_agreement), [-1 / 3, -1, NAN, NAN]
  )
  unanimous = rating_metrics.unanimity(table(), 'A')
  same(unanimous, [1, NAN, NAN, NAN])
  assert reasons(unanimous) == {
    'has one position': 1,
    'is not divisive': 1,
    'has one rating': 1,
  }
  same(rating_metrics.unanimity(table(), 'B'), [0, NAN, NAN, NAN])


def test_positions_by_hand():
  found = rating_metrics.of_positions(table(), group_metrics.divisive)
  same(found, [1, 0, NAN, 1])
  index = rating_metrics.agreement_index(table(), when='position_before')
  same(index, [100 / 3, 100, NAN, 0])
  after = rating_metrics.agreement_index(table(), when='position_after')
  same(after, [NAN] * 4)
  assert reasons(after) == {'has no position': 4}


def test_sides_and_exclusion_by_hand():
  minority = rating_metrics.by_side(table(), 'B', 'minority')
  same(minority, [2, NAN, NAN, NAN])
  assert reasons(minority) == {'has no minority': 3}
  same(rating_metrics.by_side(table(), 'B', 'majority'), [5, NAN, NAN, NAN])
  gap = rating_metrics.exclusion_gap(table(), 'B')
  same(gap, [3, NAN, NAN, NAN])
  assert reasons(gap) == {'has no rating of a member who was excluded': 3}


def test_words_by_hand():
  found = rating_metrics.words(table(), 'A', 'B')
  same(found, [20, -20, 20, NAN])
  assert reasons(found) == {"has known words of 'A' only": 1}


def test_problems_are_counted_and_listed():
  found = {(e.kind, e.reason): e for e in rating_metrics.problems(table())}
  assert {key: each.count for key, each in found.items()} == {
    ('group', 'has one member'): 1,
    # cem on q, and eve.
    ('member', "rated 'A' only"): 2,
    ('deliberation', "has neutral ratings of 'A' only"): 1,
    ('judgement', 'is without a rating'): 1,
  }
  assert found['group', 'has one member'].examples == ('h',)
  assert found['member', "rated 'A' only"].examples == ('g: q', 'i: p')
  assert found['judgement', 'is without a rating'].examples == ('i fay',)


def test_systems_with_different_questions():
  found = ratings.from_arrays(
    systems=['A', 'A', 'B', 'B'],
    questions=['p', 'p', 'q', 'q'],
    groups=['g'] * 4,
    raters=['ann', 'bob'] * 2,
    agreement=[5, 6, 7, 2],
  )
  problems = {(e.kind, e.reason): e for e in rating_metrics.problems(found)}
  assert problems['question', "has no statement of 'A'"].examples == ('q',)
  assert problems['question', "has no statement of 'B'"].examples == ('p',)
  won = rating_metrics.wins_by_group(found, 'A', 'B')
  same(won, [NAN, NAN])
  assert np.isnan(won.mean.value) and won.mean.number == 0


@st.composite
def tables(draw):
  """Up to three groups, questions, systems and raters; some say nothing."""
  keys = draw(
    st.lists(
      st.tuples(*[st.sampled_from('abc')] * 3, st.sampled_from('AB')),
      min_size=1,
      max_size=30,
      unique=True,
    )
  )
  scale = st.none() | st.integers(1, 7)
  many = st.lists(scale, min_size=len(keys), max_size=len(keys))
  groups, questions, raters, systems = zip(*keys)
  before = draw(st.lists(scale, min_size=27, max_size=27))
  places = {key: n for n, key in enumerate({k[:3]: 0 for k in keys})}
  return ratings.from_arrays(
    systems=[*systems, 'A', 'B'],
    questions=[*questions, 'z', 'z'],
    groups=[*groups, 'z', 'z'],
    raters=[*raters, 'z', 'z'],
    agreement=[*draw(many), 3, 5],
    quality=[*draw(many), None, 5],
    position_before=[*(before[places[key[:3]]] for key in keys), 3, 3],
    excluded=[*draw(st.tuples(*[st.booleans()] * len(keys))), False, False],
    words=[*draw(st.tuples(*[st.just(3)] * len(keys))), None, 4],
  )


@settings(max_examples=25)
@given(tables())
def test_nothing_goes_without_a_reason(of):
  wins = rating_metrics.wins_by_group(of, 'A', 'B')
  lost = rating_metrics.wins_by_group(of, 'B', 'A')
  np.testing.assert_allclose(wins.values + lost.values, wins.values * 0 + 1)
  for found in (
    wins,
    rating_metrics.differences(of, 'A', 'B', column='quality'),
    rating_metrics.wins_by_rater(of, 'A', 'B'),
    rating_metrics.scores(of, 'A'),
    rating_metrics.by_group(of, 'B', group_metrics.internal_agreement),
    rating_metrics.by_group(of, 'B', group_metrics.dissent),
    rating_metrics.of_positions(of, group_metrics.divisive),
    rating_metrics.agreement_index(of, when='position_before'),
    rating_metrics.unanimity(of, 'A'),
    rating_metrics.by_side(of, 'A', 'minority'),
    rating_metrics.by_side(of, 'A', 'majority'),
    rating_metrics.exclusion_gap(of, 'A'),
    rating_metrics.words(of, 'A', 'B'),
  ):
    same(found, found.values)
    assert len(found.groups) == len(found.values)
