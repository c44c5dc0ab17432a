"""Tables of ratings: from records and columns, and what they refuse."""

import dataclasses

import judged_deliberations
import numpy as np
import pytest
from hypothesis import given

from consensus_jax.data.records import Statement
from consensus_jax.evaluation import ratings as ratings_
from consensus_jax.evaluation.ratings import Ratings

NAN = np.nan


def table(rows, **columns):
  """Rows of system, question, group, rater, agreement."""
  names = ('systems', 'questions', 'groups', 'raters', 'agreement')
  return ratings_.from_arrays(**dict(zip(names, zip(*rows))), **columns)


def test_grids_by_hand():
  found = table(
    [
      ('A', 'q', 'g', 'ann', 5),
      ('A', 'q', 'g', 'ann', 6),
      ('B', 'q', 'g', 'ann', 2),
      ('A', 'q', 'g', 'bob', None),
      ('B', 'q', 'g', 'bob', 3),
      ('A', 'r', 'g', 'bob', 7),
      ('A', 'q', 'h', 'ann', 1),
    ],
    statements=['a1', 'a2', 'b', 'a1', 'b', 'a', 'a'],
    excluded=[0, 1, 0, 0, 0, 0, 0],
    position_before=[6, NAN, 6, 2, 2, NAN, NAN],
  )
  assert found.system_names == ('A', 'B') and found.group_names == ('g', 'h')
  assert found.deliberations == (('g', 'q'), ('g', 'r'), ('h', 'q'))
  np.testing.assert_array_equal(found.group_of, [0, 0, 1])
  np.testing.assert_array_equal(found.num_members, [2, 1, 1])
  np.testing.assert_array_equal(
    found.grid('agreement', 'A'), [[5.5, NAN], [7, NAN], [1, NAN]]
  )
  np.testing.assert_array_equal(
    found.grid('agreement', 'B'), [[2, 3], [NAN, NAN], [NAN, NAN]]
  )
  included = found.grid('agreement', 'A', excluded=False)
  np.testing.assert_array_equal(included[0], [5, NAN])
  excluded = found.grid('agreement', 'A', excluded=True)
  np.testing.assert_array_equal(excluded[0], [6, NAN])
  np.testing.assert_array_equal(
    found.positions('position_before'), [[6, 2], [NAN, NAN], [NAN, NAN]]
  )
  np.testing.assert_array_equal(
    found.by_statement('agreement'),
    [[5, NAN], [6, NAN], [2, 3], [7, NAN], [1, NAN]],
  )
  with pytest.raises(ValueError, match="no ratings of 'C'; there are those"):
    found.grid('agreement', 'C')


GOOD = [('A', 'q', 'g', 'ann', 5), ('A', 'q', 'g', 'bob', 6)]


@pytest.mark.parametrize(
  'rows, columns, message',
  [
    ([(*GOOD[0][:4], 8), GOOD[1]], {}, r'agreement\[0\] must be a whole'),
    (GOOD, {'quality': [5, 4.5]}, r'quality\[1\] must be a whole .*got 4.5'),
    (GOOD, {'position_after': [0, 4]}, r'position_after\[0\]'),
    (GOOD, {'words': [-1, 3]}, r'words\[0\] is -1'),
    (GOOD, {'words': [3, 4]}, 'more than one number of words'),
    (GOOD, {'statements': ['s']}, 'statements has 1 rows, raters has 2'),
    ([GOOD[0], GOOD[0]], {}, 'rows 0 and 1: ann of g rates A twice'),
    ([GOOD[0], ('A', 'q', ' ', 'bob', 6)], {}, r'groups\[1\] is blank'),
    (
      [GOOD[0], ('B', 'q', 'g', 'bob', 6)],
      {'statements': ['s', 's']},
      'more than one system',
    ),
    (
      [GOOD[0], ('B', 'q', 'g', 'ann', 6)],
      {'position_before': [2, 3]},
      "ann of g has more than one position_before on 'q': 2.0 and 3.0",
    ),
  ],
)
def test_bad_tables_are_refused(rows, columns, message):
  with pytest.raises(ValueError, match=message):
    table(rows, **columns)


def test_a_table_without_rows_is_refused():
  with pytest.raises(ValueError, match='no ratings'):
    ratings_.from_arrays(
      systems=[], questions=[], groups=[], raters=[], agreement=[]
    )


def test_from_records_by_hand():
  record = judged_deliberations.example()
  found, left_out = ratings_.from_records(
    [record], excluded={('library', 'b', 'Amira')}
  )
  # Ben and Chloé judged as well, but rated nothing.
  assert found.raters == ('Amira',) * 2 + ('Ben',) * 2 + ('Chloé',)
  assert found.systems == ('SFT', 'policy', 'policy', 'SFT', 'policy')
  np.testing.assert_array_equal(found.agreement, [4, 7, NAN, NAN, NAN])
  np.testing.assert_array_equal(found.quality[:2], [5, 5])
  np.testing.assert_array_equal(found.words, [5, 4, 4, 5, 4])
  np.testing.assert_array_equal(found.excluded, [1, 0, 0, 0, 0])
  np.testing.assert_array_equal(found.position_before[:3], [6, 6, NAN])
  np.testing.assert_array_equal(found.position_after[:3], [7, 7, NAN])
  assert found.groups[0] == 'monday'
  assert {(each.kind, each.reason): each.count for each in left_out} == {
    ('statement', 'is of no known system'): 1,
    ('judgement', 'is of a statement of no known system'): 2,
  }
  with pytest.raises(ValueError, match=r"nobody judged \('library', 'z'"):
    ratings_.from_records([record], excluded={('library', 'z', 'Amira')})
  with pytest.raises(ValueError, match='no ratings of statements'):
    ratings_.from_records([record], system=lambda _: '')


def test_own_statements_and_people_who_judge_nothing_are_counted():
  record = judged_deliberations.example()
  statements = (
    dataclasses.replace(record.statements[0], author='Amira'),
    *record.statements[1:],
  )
  idle = dataclasses.replace(
    record.members[1], participant='Dora', judged=(), ranking=()
  )
  record = dataclasses.replace(
    record, statements=statements, members=(*record.members, idle)
  )
  found, left_out = ratings_.from_records([record], system=lambda s: s.id)
  assert ('Amira', 'a') not in zip(found.raters, found.systems)
  assert {(each.kind, each.reason): each.examples for each in left_out} == {
    ('judgement', "is of the rater's own statement"): ('library Amira',),
    ('member', 'judged no statement'): ('library Dora',),
  }


def test_names_of_systems():
  def name(**about):
    return ratings_.system_of(Statement(text='t', id='1', **about))

  assert name(author='sft', provenance='MODEL') == 'sft'
  assert name(provenance='MODEL') == 'MODEL'
  assert name(author='sft', round=1) == 'sft, revised'
  assert name(round=1) == name() == ''


@given(judged_deliberations.lists_of_deliberations())
def test_no_judgement_vanishes(records):
  judged = sum(len(m.judged) for r in records for m in r.members)
  try:
    found, left_out = ratings_.from_records(records, system=lambda s: s.id)
  except ValueError as error:
    # Nothing judged, or people who are two at once.
    assert 'no ratings' in str(error) or 'more than one' in str(error)
    return
  assert isinstance(found, Ratings)
  lost = sum(each.count for each in left_out if each.kind == 'judgement')
  assert len(found) + lost == judged
  totals = sum(
    np.nansum(found.grid('quality', name)) for name in found.system_names
  )
  # Each system has one statement here, unless records share a group.
  if len(found.deliberations) == len({r.id for r in records}):
    assert totals == np.nansum(found.quality)
