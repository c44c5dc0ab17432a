"""Groups: who is in them, that draws repeat, and that nothing leaks."""

import dataclasses
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_data import seed_set

from consensus_jax.data import questions
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.policy_data import groups
from consensus_jax.strict_json import InputError

DATA = pathlib.Path(__file__).parents[3] / 'shared/data/habermas'
SUBJECTS = ('buses', 'schools', 'drains', 'parks')


def conversation(num_writers=40, name='town'):
  """Everyone writes nine words on one of four subjects."""
  writers = [
    Member(
      participant=f'{name}/{i}',
      opinion=f'We should spend far more on {SUBJECTS[i % 4]} number {i}.',
      opinion_provenance='comments',
      judged=(0,),
      votes=(1,),
    )
    for i in range(num_writers)
  ]
  others = [
    Member(
      participant=f'{name}/short', opinion='No.', opinion_provenance='comments'
    ),
    Member(
      participant=f'{name}/voter',
      opinion='Spend far more on the schools of this town. Agree.',
      opinion_provenance='votes',
    ),
    Member(
      participant=f'{name}/again',
      opinion='we should spend far more on BUSES number 0',
      opinion_provenance='comments',
    ),
  ]
  return JudgedDeliberation(
    id=name,
    source='polis',
    group=name,
    question=Question(text='What should our town do?', topic=name),
    statements=(Statement(text='Mend the road.', id='1'),),
    members=(*writers, *others),
  )


def bank():
  splits = ('train', 'train', 'iid_test', 'ood_test')
  return tuple(
    Question(
      text=f'Should there be {i} parks?',
      id=f'S{i}',
      topic=str(9 if splits[i % 4] == 'ood_test' else i % 3),
      split=splits[i % 4],
      affirming=f'There should be {i} parks.',
      negating=f'There should NOT be {i} parks.',
    )
    for i in range(40)
  )


def drawn(**options):
  tally = Tally()
  options = {'num_groups': 50, 'seed': 0, **options}
  return groups.polis_groups([conversation()], excluded=tally, **options), tally


def test_the_seed_set_is_split_by_topic_and_one_tenth_is_held_out():
  parts = groups.seed_splits(seed_set.records())
  topics = {name: {r.question.topic for r in p} for name, p in parts.items()}
  assert {name: len(each) for name, each in topics.items()} == {
    'train': 49,
    'validation': 10,
    'ood_test': 7,
  }
  assert len(set.union(*topics.values())) == 66
  groups.check_apart(parts['train'], parts['ood_test'])


def test_a_seed_group_keeps_its_people_and_loses_what_was_judged():
  record = seed_set.records()[0]
  (bare,) = groups.without_statements([record])
  (taught,) = groups.only_statement([record], record.statements[0].id)
  assert bare.statements == ()
  assert taught.statements == record.statements[:1]
  for each in (bare, taught):
    assert groups.deliberation_of(each) == seed_set.deliberation(record)
    assert not any(member.judged for member in each.members)


def test_groups_are_of_writers_of_a_fit_length():
  found, tally = drawn()
  assert len({group.id for group in found}) == 50
  people = {member.participant for g in found for member in g.members}
  assert not people & {'town/short', 'town/voter', 'town/again'}
  for group in found:
    assert 3 <= len(group.members) <= 5
    assert group.source == 'polis'
    assert group.question.text == 'What should our town do?'
    assert not any(member.judged for member in group.members)
  assert {each.reason: each.count for each in tally.exclusions()} == {
    'wrote no comment': 1,
    'wrote fewer than 8 or more than 90 words': 1,
    'says what another says': 1,
  }


def test_everyone_has_a_turn_before_one_comes_again():
  found, _ = drawn(num_groups=40, sizes=(2,))
  people = {member.participant for g in found for member in g.members}
  assert len(people) == 40


@given(
  num_writers=st.integers(5, 40),
  sizes=st.lists(st.integers(2, 5), min_size=1, max_size=3),
  num_groups=st.integers(1, 30),
  seed=st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_nobody_is_in_two_disjoint_groups(num_writers, sizes, num_groups, seed):
  found = groups.polis_groups(
    [conversation(num_writers)],
    num_groups=num_groups,
    seed=seed,
    excluded=Tally(),
    sizes=sizes,
    disjoint=True,
  )
  people = [member.participant for g in found for member in g.members]
  assert len({*people}) == len(people)
  assert {len(g.members) for g in found} <= {*sizes}
  left = num_writers - len(people)
  assert len(found) == num_groups or left < min(sizes)


def test_members_speak_of_what_the_first_speaks_of():
  found, _ = drawn(sizes=(4,))
  subjects = [
    {word for m in g.members for word in m.opinion.split() if word in SUBJECTS}
    for g in found
  ]
  # Ten write on each subject, more than are drawn from.
  assert set(map(len, subjects)) == {1}


def test_draws_repeat_by_seed():
  assert drawn()[0] == drawn()[0]
  first = [g.members for g in drawn()[0]]
  assert first != [g.members for g in drawn(seed=1)[0]]


def test_small_conversations_are_left_out_and_none_at_all_is_an_error():
  tally = Tally()
  both = [conversation(), conversation(4, name='hamlet')]
  found = groups.polis_groups(both, num_groups=3, seed=0, excluded=tally)
  assert len(found) == 3
  reasons = [each for each in tally.exclusions() if each.kind == 'conversation']
  assert [each.examples for each in reasons] == [('hamlet',)]
  with pytest.raises(InputError, match='no conversation has 5 writers'):
    groups.polis_groups(both[1:], num_groups=3, seed=0, excluded=tally)
  with pytest.raises(ValueError, match='sizes must be 2 or more'):
    groups.polis_groups(both, num_groups=1, seed=0, excluded=tally, sizes=(1,))


def test_questions_of_the_bank_come_with_their_two_sides():
  found = groups.question_groups(
    bank(), split='train', num_groups=12, seed=3, excluded_topics={'2'}
  )
  assert len(found) == 12
  assert {group.question.split for group in found} == {'train'}
  assert '2' not in {group.question.topic for group in found}
  for group in found:
    question = group.question
    sides = {member.opinion for member in group.members}
    assert sides == {question.affirming, question.negating}
  order = {
    group.members[0].opinion == group.question.affirming for group in found
  }
  assert order == {True, False}
  held_out = groups.question_groups(
    bank(), split='ood_test', num_groups=99, seed=0
  )
  assert len(held_out) == 10
  groups.check_apart(found, held_out)


def test_a_question_whose_side_is_held_out_is_not_trained_on():
  held_out, *others = sorted(bank(), key=lambda q: q.split == 'train')
  twin = dataclasses.replace(
    others[-1], negating=held_out.negating.upper().replace('.', '!')
  )
  known = (held_out, twin, others[-2])
  found = groups.question_groups(known, split='train', num_groups=9, seed=0)
  assert [group.question for group in found] == [others[-2]]


def test_a_split_without_questions_is_an_error():
  with pytest.raises(InputError, match='no question of split validation'):
    groups.question_groups(bank(), split='validation', num_groups=1, seed=0)


def test_what_leaks_is_refused():
  found, _ = drawn(num_groups=2)
  with pytest.raises(InputError, match='leak'):
    groups.check_apart(found, found)
  one, _ = drawn(num_groups=1)
  other = groups.polis_groups(
    [conversation(name='city')],
    num_groups=1,
    seed=0,
    excluded=Tally(),
    sizes=(2,),
  )
  with pytest.raises(InputError, match='opinion'):
    groups.check_apart(drawn(num_groups=40)[0], other)
  train = groups.question_groups(bank(), split='train', num_groups=3, seed=0)
  with pytest.raises(InputError, match='question'):
    groups.check_apart(train, train)
  groups.check_apart(one, groups.without_statements(seed_set.records()[:3]))


def test_a_file_of_examples_is_read_or_refused_with_its_line(tmp_path):
  path = tmp_path / 'examples.json'
  item = {
    'question': 'Why?',
    'opinions': ['A.', 'B.'],
    'consensus': 'We agree.',
  }
  path.write_text(json.dumps([item]))
  (record,) = groups.read_examples(path)
  assert record.statements[0].text == 'We agree.'
  assert [member.opinion for member in record.members] == ['A.', 'B.']
  path.write_text(
    '[\n{"question": "Why?",\n"opinions": ["A.", ""],\n"consensus": "C."}]'
  )
  with pytest.raises(InputError, match='opinions') as caught:
    groups.read_examples(path)
  assert (caught.value.file, caught.value.line) == (str(path), 3)
  with pytest.raises(InputError, match='cannot read'):
    groups.read_examples(tmp_path / 'none.json')


@pytest.mark.skipif(not DATA.exists(), reason='the data is not here')
def test_published_questions_and_examples_make_groups():
  assert [
    len(r.members) for r in groups.read_examples(DATA / 'examples.json')
  ] == [10, 5, 5]
  known = questions.read(DATA / 'questions.json')
  parts = groups.seed_splits(seed_set.records())
  held_out = {r.question.topic for r in parts['ood_test']}
  train = groups.question_groups(
    known, split='train', num_groups=9999, seed=0, excluded_topics=held_out
  )
  assert 3000 < len(train) < 4500
  assert not held_out & {group.question.topic for group in train}
  test = tuple(
    group
    for split in ('iid_test', 'ood_test')
    for group in groups.question_groups(
      known, split=split, num_groups=30, seed=0
    )
  )
  assert len(test) == 60
  groups.check_apart(train, test)
