import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.data import habermas_preprocess as steps
from consensus_jax.data.exclusions import Tally, total
from consensus_jax.data.habermas_schema import COHORTS, Cohort
from consensus_jax.strict_json import InputError

COHORT1 = 'EVAL_COHORT1_ABLATION_IID_V1'


def comparison(
  id='c',
  *,
  version='TRAINING_DATA_V1',
  person='p',
  worker=None,
  place=('g', 'r', 0),
  time=0.0,
  own='HUMAN_CITIZEN',
  by='MODEL_MEDIATOR',
  ratings=('AGREE', 'NEUTRAL'),
  ranks=(0, 1),
):
  """A nested row."""
  num = len(ratings)
  names = [f'{id}-{index}' for index in range(num)]
  return {
    'metadata.id': id,
    'metadata.version': version,
    'metadata.participant_id': person,
    'worker_id': worker,
    'launch_id': place[0],
    'round_id': place[1],
    'iteration_index': place[2],
    'monotonic_timestamp': time,
    'own_opinion.metadata.provenance': own,
    'candidates.text': [f'text of {name}' for name in names],
    'candidates.metadata.id': names,
    'candidates.metadata.provenance': [by] * num
    if isinstance(by, str)
    else [*by],
    'rankings.candidate_ids': names,
    'rankings.numerical_ranks': [*ranks],
    'ratings.agreement': [*ratings],
    'ratings.quality': ['GOOD_QUALITY'] * num,
  }


def ids(rows):
  return [row['metadata.id'] for row in rows]


def candidates(rows):
  return [row['candidates.metadata.id'] for row in rows]


# 1. Equal lengths.


def test_lists_of_different_length_are_an_error():
  good, bad = comparison('a'), comparison('b')
  bad['ratings.quality'] = ['GOOD_QUALITY']
  with pytest.raises(ValueError) as error:
    steps.check_lengths([good, bad], steps.PER_CANDIDATE)
  assert str(error.value) == (
    'rows[1].ratings.quality: holds 1 entries, candidates.text holds 2'
  )
  with pytest.raises(InputError, match='holds 1 entries'):
    steps.preprocess([good, bad], Tally())


# 2 and 9. Unnest and nest.


def test_unnest_makes_a_row_for_each_candidate():
  rows = steps.unnest([comparison('a'), comparison('b', ratings=['AGREE'])])
  assert ids(rows) == ['a', 'a', 'b']
  assert candidates(rows) == ['a-0', 'a-1', 'b-0']
  assert [row['rankings.numerical_ranks'] for row in rows] == [0, 1, 0]
  assert rows[1]['ratings.agreement'] == 'NEUTRAL'
  assert rows[1]['worker_id'] is None


NESTED = st.lists(
  st.integers(1, 5).flatmap(
    lambda num: st.fixed_dictionaries(
      {
        'metadata.id': st.uuids().map(str),
        'other': st.integers(),
        **{
          column: st.lists(st.integers(), min_size=num, max_size=num).map(tuple)
          for column in steps.PER_CANDIDATE
        },
      }
    )
  ),
  max_size=6,
  unique_by=lambda row: row['metadata.id'],
)


@given(NESTED)
def test_nest_is_the_inverse_of_unnest(rows):
  assert steps.nest(steps.unnest(rows)) == rows


@given(NESTED, st.randoms())
def test_nest_gathers_what_is_scattered(rows, random):
  unnested = steps.unnest(rows)
  random.shuffle(unnested)
  nested = {row['metadata.id']: row for row in steps.nest(unnested)}
  assert nested.keys() == {row['metadata.id'] for row in rows}
  for row in rows:
    for column in steps.PER_CANDIDATE:
      got = nested[row['metadata.id']][column]
      assert sorted(got) == sorted(row[column])


# 3 and 4. Provenances.


def test_bots_have_no_opinion():
  rows = [
    comparison('a'),
    comparison('b', own='BOT_CITIZEN'),
    comparison('c', own='MOCK'),
  ]
  assert ids(steps.keep_human_opinions(rows)) == ['a']
  assert ids(steps.keep_human_opinions(steps.unnest(rows))) == ['a', 'a']


def test_candidates_by_others_are_dropped():
  rows = [comparison(by=['MODEL_MEDIATOR', 'HUMAN_MEDIATOR'])]
  unnested = steps.unnest(rows)
  kept = steps.keep_candidates_by(unnested, ['HUMAN_MEDIATOR'])
  assert candidates(kept) == ['c-1']
  both = ('HUMAN_MEDIATOR', 'MODEL_MEDIATOR')
  assert steps.keep_candidates_by(unnested, both) == unnested
  with pytest.raises(InputError, match='must be unnested first'):
    steps.keep_candidates_by(rows, both)


# 5 and 6. Mocks.


def test_mock_ratings():
  rows = [comparison('a'), comparison('b', ratings=['MOCK', 'AGREE'])]
  assert ids(steps.drop_mock_ratings(rows)) == ['a']
  unnested = steps.drop_mock_ratings(steps.unnest(rows))
  assert candidates(unnested) == ['a-0', 'a-1', 'b-1']


def test_a_mock_rating_of_quality_drops_nothing():
  row = comparison()
  row['ratings.quality'] = ['MOCK', 'MOCK']
  assert steps.drop_mock_ratings([row]) == [row]


def test_mock_ranks():
  rows = [comparison('a'), comparison('b', ranks=[0, -1])]
  assert ids(steps.drop_mock_ranks(rows)) == ['a']
  unnested = steps.drop_mock_ranks(steps.unnest(rows))
  assert candidates(unnested) == ['a-0', 'a-1', 'b-0']


# 7. Numbers.


def test_numerical_ratings():
  row = comparison(ratings=['STRONGLY_DISAGREE', 'STRONGLY_AGREE'])
  row['ratings.quality'] = ['MOCK', 'EXCELLENT_QUALITY']
  (nested,) = steps.add_numerical_ratings([row])
  assert nested['numerical_ratings.agreement'] == (1, 7)
  assert nested['numerical_ratings.quality'] == (-1, 7)
  unnested = steps.add_numerical_ratings(steps.unnest([row]))
  assert [row['numerical_ratings.agreement'] for row in unnested] == [1, 7]
  assert steps.nest(unnested)[0]['numerical_ratings.quality'] == (-1, 7)


# 8. People who came twice.


def visit(worker, sitting, group, time, id):
  place = (group, f'round in {group}', 0)
  return comparison(id, worker=worker, person=sitting, place=place, time=time)


def test_nobody_came_twice():
  rows = [visit('w', 's', 'g', 0, 'a'), visit('v', 't', 'g', 1, 'b')]
  assert steps.drop_repeat_participants(rows) == rows
  # One sitting has several rows, and those of unknown people say nothing.
  rows = [visit('w', 's', 'g', 0, 'a'), visit('w', 's', 'g', 1, 'b')]
  rows += [visit(None, 't', 'g', 0, 'c'), visit(None, 'u', 'h', 1, 'd')]
  assert steps.drop_repeat_participants(rows) == rows


def test_the_sitting_with_most_rows_stays_and_the_other_group_goes():
  rows = [
    visit('w', 'early', 'g', 0, 'a'),
    visit('v', 'other', 'g', 0, 'b'),  # Goes with its group.
    visit('w', 'late', 'h', 5, 'c'),
    visit('w', 'late', 'h', 6, 'd'),
  ]
  assert ids(steps.drop_repeat_participants(rows)) == ['c', 'd']


def test_of_equal_sittings_the_earliest_stays():
  rows = [
    visit('w', 'late', 'g', 9, 'a'),
    visit('w', 'early', 'h', 3, 'b'),
    visit('w', 'middle', 'i', 4, 'c'),
  ]
  assert ids(steps.drop_repeat_participants(rows)) == ['b']


def test_a_group_is_dropped_even_if_it_holds_a_sitting_that_stays():
  rows = [
    visit('w', 'w1', 'g', 0, 'a'),
    visit('w', 'w2', 'h', 1, 'b'),
    visit('v', 'v1', 'h', 0, 'c'),
    visit('v', 'v2', 'i', 1, 'd'),
  ]
  # w2 is discarded, so h goes; v2 is discarded, so i goes as well.
  assert ids(steps.drop_repeat_participants(rows)) == ['a']


# 10. Exactly two candidates.


def test_keep_lengths():
  rows = [
    comparison('one', ratings=['AGREE'], ranks=[0]),
    comparison('two'),
    comparison('three', ratings=['AGREE'] * 3, ranks=[0, 1, 2]),
  ]
  assert ids(steps.keep_lengths(rows, 2)) == ['two']


# 11. Sizes of groups.


def group(name, *, rounds=2, iterations=2, citizens=2, short=()):
  """`short`: (round, iteration) pairs that lack one citizen."""
  return [
    comparison(f'{name}{r}{i}{c}', place=(name, f'{name}{r}', i))
    for r in range(rounds)
    for i in range(iterations)
    for c in range(citizens - ((r, i) in short))
  ]


SMALL = Cohort(
  rows=0, min_citizens=2, min_iterations=2, min_rounds=2, num_groups=9
)


def launches(rows):
  return [*dict.fromkeys(row['launch_id'] for row in rows)]


def test_sizes_of_groups():
  rows = [
    *group('whole'),
    *group('few citizens', citizens=1),
    *group('few iterations', iterations=1),
    *group('few rounds', rounds=1),
    *group('one short', short=[(1, 1)]),
    *group('one short of three', rounds=3, short=[(0, 1)]),
  ]
  kept = steps.keep_large_groups(rows, SMALL)
  assert launches(kept) == ['whole', 'one short of three']
  # The round that does not count stays: the group counts.
  assert len(kept) == 8 + 11


def test_the_first_groups_are_those_with_most_rounds_then_by_name():
  rows = [*group('b'), *group('c', rounds=3), *group('a')]
  for num_groups, expected in ((1, ['c']), (2, ['c', 'a']), (3, list('bca'))):
    cohort = dataclasses.replace(SMALL, num_groups=num_groups)
    kept = launches(steps.keep_large_groups(rows, cohort))
    assert sorted(kept) == sorted(expected)


# All of it.


def test_cohorts_as_published():
  assert sum(cohort.rows for cohort in COHORTS.values()) == 39955
  five = COHORTS['EVAL_COHORT5_OPINION_EXPOSURE']
  assert five.provenances == ('HUMAN_CITIZEN',)
  assert (five.min_citizens, five.min_iterations) == (4, 1)
  assert (five.min_rounds, five.num_groups, five.drop_repeats) == (2, 75, False)
  first = COHORTS[COHORT1]
  assert first.drop_repeats and first.num_groups == 100
  assert not COHORTS['TRAINING_DATA_V5'].drop_repeats


def test_a_version_that_is_not_known():
  with pytest.raises(InputError, match=r'rows\[0\].*mean TRAINING_DATA_V5\?'):
    steps.preprocess([comparison(version='TRAINING_DATA_V9')], Tally())


def test_only_some_versions():
  rows = [comparison('a'), comparison('b', version='TRAINING_DATA_V2')]
  kept, counts = steps.preprocess(rows, Tally(), ['TRAINING_DATA_V2'])
  assert ids(kept) == ['b']
  assert [count.version for count in counts] == ['TRAINING_DATA_V2']


def test_a_comparison_that_stands_there_twice():
  with pytest.raises(InputError, match='comparison c stands there 2 times'):
    steps.preprocess([comparison(), comparison()], Tally())


def cohort1_group(name, workers='abcd'):
  return [
    comparison(
      f'{name}{r}{i}{w}',
      version=COHORT1,
      person=f'{name}{w}',
      worker=w,
      place=(name, f'{name}{r}', i),
      time=float(ord(name[0])),
    )
    for r in range(3)
    for i in range(2)
    for w in workers
  ]


def test_the_order_of_steps_matters():
  # b is the later sitting of person a, by rows. With its mocks dropped first,
  # it has fewer rows, so the other stays.
  rows = cohort1_group('x', 'abcd') + cohort1_group('y', 'aefg')
  mock = next(row for row in rows if row['metadata.id'] == 'x00a')
  mock['ratings.agreement'] = ['MOCK', 'AGREE']
  kept, (count,) = steps.preprocess(rows, Tally())
  assert launches(kept) == ['y']
  assert (count.read, count.kept, count.groups, count.rounds) == (48, 24, 1, 3)
  # All of them, for training.
  kept, _ = steps.preprocess(rows, Tally(), registered=False)
  assert launches(kept) == ['x', 'y']
  partly = next(row for row in kept if row['metadata.id'] == 'x00a')
  assert partly['candidates.metadata.id'] == ('x00a-1',)
  assert partly['numerical_ratings.agreement'] == (6,)


def test_a_group_with_too_few_people_is_dropped():
  rows = cohort1_group('x', 'abc') + cohort1_group('y', 'defg')
  tally = Tally()
  kept, _ = steps.preprocess(rows, tally)
  assert launches(kept) == ['y']
  excluded = tally.exclusions()
  assert total(excluded, 'comparison') == 18
  assert total(excluded, 'judgement') == 36


def test_the_cohort_of_human_mediators_needs_both():
  version = 'EVAL_COHORT6_HUMAN_MEDIATOR'
  both = ('MODEL_MEDIATOR', 'HUMAN_MEDIATOR')
  rows = [
    comparison(
      f'{r}{w}', version=version, worker=w, place=('g', str(r), 0), by=both
    )
    for r in range(2)
    for w in 'abcde'
  ]
  rows[0]['ratings.agreement'] = ['AGREE', 'MOCK']
  rows[5]['candidates.metadata.provenance'] = ['MODEL_MEDIATOR', 'MOCK']
  tally = Tally()
  kept, _ = steps.preprocess(rows, tally)
  assert ids(kept) == [*('0b', '0c', '0d', '0e', '1b', '1c', '1d', '1e')]
  reasons = {each.reason for each in tally.exclusions()}
  assert 'has not exactly 2 candidates' in reasons


@given(st.data())
def test_all_judgements_are_kept_or_counted(data):
  names = st.sampled_from(['AGREE', 'NEUTRAL', 'MOCK'])
  rows = []
  for index in range(data.draw(st.integers(1, 12))):
    num = data.draw(st.integers(0, 3))
    of_each = {'min_size': num, 'max_size': num}
    rows.append(
      comparison(
        str(index),
        version=data.draw(st.sampled_from([*COHORTS])),
        person=data.draw(st.sampled_from('pqr')),
        worker=data.draw(st.sampled_from(['w', 'v', None])),
        place=('g', 'r', 0),
        own=data.draw(st.sampled_from(['HUMAN_CITIZEN', 'BOT_CITIZEN'])),
        by=data.draw(
          st.lists(st.sampled_from(['MODEL_MEDIATOR', 'MOCK']), **of_each)
        ),
        ratings=data.draw(st.lists(names, **of_each)),
        ranks=data.draw(st.lists(st.sampled_from([-1, 0]), **of_each)),
      )
    )
  tally = Tally()
  registered = data.draw(st.booleans())
  kept, counts = steps.preprocess(rows, tally, registered=registered)
  excluded = tally.exclusions()
  assert len(rows) == len(kept) + total(excluded, 'comparison')
  assert len(kept) == sum(count.kept for count in counts)
  judgements = [
    sum(len(r['ratings.quality']) for r in rs) for rs in (rows, kept)
  ]
  assert judgements[0] == judgements[1] + total(excluded, 'judgement')
