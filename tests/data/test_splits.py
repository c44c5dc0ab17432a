import collections
import dataclasses
import itertools
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax.data import polis, splits
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.strict_json import InputError

# beartype picks at random which items of a sequence it checks.
pytestmark = pytest.mark.filterwarnings('ignore:Do not use the `random` module')

POLIS = pathlib.Path('../shared/data/polis')
HALVES = {'train': 0.5, 'test': 0.5}
KINDS = pytest.mark.parametrize('kind', ['topic', 'question', 'participant'])


def _record(id, *, question='Q', topic='T', people='', opinions=(), said=()):
  return JudgedDeliberation(
    id=id,
    source='ours',
    question=Question(text=question, topic=topic),
    statements=tuple(
      Statement(text=text, id=str(i)) for i, text in enumerate(said)
    ),
    members=tuple(
      Member(participant=name, opinion=opinion)
      for name, opinion in itertools.zip_longest(people, opinions, fillvalue='')
    ),
  )


@st.composite
def _records(draw, prefix='', size=8):
  """Few names, so that much is shared. `prefix` makes names of their own."""

  def some(names):
    return st.sampled_from(names).map(lambda name: prefix + name)

  records = []
  for index in range(draw(st.integers(1, size))):
    question = draw(some('abcdefgh'))
    people = draw(st.lists(some('stuvwxyz'), max_size=3, unique=True))
    opinions = [draw(st.just('') | some('klm')) for _ in people]
    records.append(
      _record(
        f'{prefix}{index}',
        question=question,
        topic=f'{prefix}topic {question[-1] in "abcd"}',
        people=people,
        opinions=opinions,
        said=[f'Of {question}: yes.'],
      )
    )
  return records


def _split(records, kind, **settings):
  settings = {'seed': 0, 'fractions': HALVES} | settings
  try:
    return splits.split(records, kind, **settings)
  except InputError as error:
    assert 'cannot be split' in str(error)
    hypothesis.assume(False)


@KINDS
@hypothesis.settings(max_examples=25)
@hypothesis.given(records=_records(), seed=st.integers(0, 9))
def test_nothing_leaks_and_nothing_is_lost(kind, records, seed):
  dealt = _split(records, kind, seed=seed)
  splits.check_no_leak(dealt, kind)
  sides = [
    {
      value
      for record in side
      for value in (
        [member.participant for member in record.members]
        + ([record.question.text] if kind != 'participant' else [])
        + ([record.question.topic] if kind == 'topic' else [])
      )
    }
    for side in dealt.values()
  ]
  assert not sides[0] & sides[1]
  members = collections.Counter(
    (record.id, member)
    for side in dealt.values()
    for record in side
    for member in record.members
  )
  assert members == {(r.id, m): 1 for r in records for m in r.members}
  if kind != 'participant':
    ids = [record.id for side in dealt.values() for record in side]
    assert sorted(ids) == sorted(record.id for record in records)
  originals = {record.id: record for record in records}
  for record in itertools.chain(*dealt.values()):
    original = originals[record.id]
    assert dataclasses.replace(record, members=original.members) == original


def _places(dealt):
  return {
    (record.id, member.participant): name
    for name, side in dealt.items()
    for record in side
    for member in [*record.members, Member(participant='-')]
    if member.participant != '-' or not record.members
  }


@KINDS
@hypothesis.settings(max_examples=25)
@hypothesis.given(
  records=_records(), more=_records(prefix='new '), order=st.randoms()
)
def test_others_and_their_order_move_nothing(kind, records, more, order):
  before = _places(_split(records, kind))
  mixed = records + more
  order.shuffle(mixed)
  after = _places(_split(mixed, kind))
  assert before.items() <= after.items()


@KINDS
def test_fractions_are_about_kept_and_the_seed_decides(kind):
  records = [
    _record(
      str(i),
      question=f'Q{i}',
      topic=f'T{i}',
      people=[f'{i}'],
      opinions=[str(i)],
    )
    for i in range(500)
  ]
  fractions = {'train': 0.8, 'validation': 0.15, 'test': 0.05}
  dealt = splits.split(records, kind, seed=1, fractions=fractions)
  for name, share in fractions.items():
    # Four standard deviations of a binomial.
    slack = 4 * (share * (1 - share) / 500) ** 0.5
    assert abs(len(dealt[name]) / 500 - share) < slack
  other = splits.split(records, kind, seed=2, fractions=fractions)
  assert _places(dealt) != _places(other)


def test_large_components_are_not_dealt_to_the_first_split():
  records = [
    _record(f'{i} {j}', question=f'Q{i}', people=[f'{i} {j}', f'{i} {j + 1}'])
    for i in range(200)
    for j in range(10)
  ]
  dealt = splits.split(records, 'participant', seed=0, fractions=HALVES)
  members = [sum(len(r.members) for r in side) for side in dealt.values()]
  assert 0.4 < members[0] / sum(members) < 0.6


def test_a_person_of_many_deliberations_stays_on_one_side():
  # By question, 1 and 2 share a person, 2 and 3 another one.
  records = [
    _record('1', question='Q1', people='ab'),
    _record('2', question='Q2', people='bc'),
    _record('3', question='Q3', people='cd'),
    _record('4', question='Q4', people='ef'),
  ]
  for seed in range(20):
    places = _places(
      splits.split(records, 'question', seed=seed, fractions=HALVES)
    )
    assert len({places[key] for key in places if key[0] in '123'}) == 1


def test_people_of_one_opinion_stay_together_if_it_tells_something():
  long = 'I think that the library should be open on all Sundays'
  kept, common = [
    [_record('1', question='Q1', people='abcdefgh', opinions=[text] * 8)]
    for text in (long, 'Yes, I agree.')
  ]
  for records in (kept, common):
    records.append(_record('2', question='Q2', people='z', opinions=['No']))
    dealt = splits.split(records, 'participant', seed=0, fractions=HALVES)
    splits.check_no_leak(dealt, 'participant')
  # The same short words on two questions tell nothing of who wrote them.
  both = [
    _record('1', question='Q1', people='a', opinions=['Yes, I agree.']),
    _record('2', question='Q2', people='b', opinions=['yes i agree']),
  ]
  splits.check_no_leak({'train': both[:1], 'test': both[1:]}, 'question')
  both = [
    _record('1', question='Q1', people='a', opinions=[long]),
    _record('2', question='Q2', people='b', opinions=[long.upper() + '!']),
  ]
  with pytest.raises(InputError, match=r"leak: 1 opinion \('i think that the"):
    splits.check_no_leak({'train': both[:1], 'test': both[1:]}, 'question')


@pytest.mark.parametrize(
  ('kind', 'changes', 'leaks'),
  [
    ('topic', {'topic': 'T'}, 'topic'),
    ('topic', {'question': 'q?'}, 'question'),
    ('topic', {'people': 'a'}, 'participant'),
    ('question', {'people': 'a'}, 'participant'),
    (
      'question',
      {'said': ['One two three four five six seven 8.']},
      'statement',
    ),
    ('participant', {'people': 'a'}, 'participant'),
    ('participant', {'said': ['One two three four five six seven 8.']}, None),
    ('participant', {'topic': 'T', 'question': 'Q'}, None),
    ('question', {'topic': 'T'}, None),
  ],
)
def test_each_kind_of_split_keeps_its_own_apart(kind, changes, leaks):
  one = _record(
    '1',
    question='Q',
    topic='T',
    people='a',
    said=['One two three four five six seven 8.'],
  )
  other = _record(
    '2', **{'question': 'R', 'topic': 'U', 'people': 'b', **changes}
  )
  sides = {'train': [one], 'test': [other]}
  if leaks is None:
    splits.check_no_leak(sides, kind)
  else:
    with pytest.raises(InputError) as raised:
      splits.check_no_leak(sides, kind)
    assert f'splits by {kind} leak: 1 {leaks} (' in str(raised.value)
    assert ' in train and test' in str(raised.value)


def test_many_leaks_are_counted_and_a_few_are_shown():
  records = [_record(str(i), question=f'Q{i}', people='vwxyz') for i in (1, 2)]
  with pytest.raises(InputError) as raised:
    splits.check_no_leak({'a': records[:1], 'b': records[1:]}, 'question')
  assert str(raised.value) == (
    "splits by question leak: 5 participants ('v' in a and b, 'w' in a and b, "
    "'x' in a and b, ...)"
  )
  splits.check_no_leak(
    {'a': records[:1], 'b': records[1:]}, 'question', shared_participants=True
  )


def test_what_hangs_together_is_refused_with_a_way_out():
  records = [_record(str(i), question=f'Q{i}', people='ab') for i in range(9)]
  with pytest.raises(InputError, match=r'all 9 hang together .* be shared, or'):
    splits.split(records, 'question', seed=0, fractions=HALVES)
  dealt = splits.split(
    records, 'question', seed=0, fractions=HALVES, shared_participants=True
  )
  assert all(dealt.values())
  with pytest.raises(InputError, match='there is only one'):
    splits.split(records[:1], 'question', seed=0, fractions=HALVES)


def test_a_record_without_topic_cannot_be_split_by_topic():
  records = [_record('1'), _record('2', topic='')]
  with pytest.raises(InputError, match=r"question\.topic: '2' has no topic"):
    splits.split(records, 'topic', seed=0, fractions=HALVES)


@pytest.mark.parametrize(
  'fractions', [{}, {'a': 0.5}, {'a': 0.5, 'b': 0.6}, {'a': 1.5, 'b': -0.5}]
)
def test_fractions_add_up_to_1(fractions):
  with pytest.raises(ValueError, match='must be positive and add up to 1'):
    splits.split([_record('1')], 'question', seed=0, fractions=fractions)


def test_splits_of_the_source_are_taken_over():
  records = [
    dataclasses.replace(
      _record(str(i)), question=Question(text='Q', split=name)
    )
    for i, name in enumerate(['train', 'ood_test', 'train'])
  ]
  dealt = splits.split_as_given(records)
  assert {name: [r.id for r in side] for name, side in dealt.items()} == {
    'train': ['0', '2'],
    'ood_test': ['1'],
  }
  with pytest.raises(InputError, match="question of 'x' is in no split"):
    splits.split_as_given([*records, _record('x')])


@pytest.mark.skipif(not POLIS.exists(), reason='no Polis conversations')
@KINDS
def test_real_conversations_do_not_leak(kind):
  names = ('15-per-hour-seattle', 'bg2050-volunteers', 'brexit-consensus')
  records = [polis.read(POLIS / name)[0] for name in names]
  dealt = splits.split(records, kind, seed=0, fractions=HALVES)
  splits.check_no_leak(dealt, kind)
  assert all(dealt.values())
  members = sum(len(each.members) for each in records)
  assert members == sum(len(r.members) for s in dealt.values() for r in s)
  if kind == 'participant':
    # A cut by rating, such as every second vote, is caught.
    halves = {
      name: [
        dataclasses.replace(
          record,
          members=tuple(
            dataclasses.replace(
              each, judged=each.judged[part::2], votes=each.votes[part::2]
            )
            for each in record.members
          ),
        )
        for record in records
      ]
      for part, name in enumerate(HALVES)
    }
    with pytest.raises(InputError, match=f'leak: {members} participants'):
      splits.check_no_leak(halves, kind)
