"""Cases from records, and people with another's opinion."""

import dataclasses

import pytest
import tiny_judged
from hypothesis import given
from hypothesis import strategies as st
from tiny_cases import case

from consensus_jax.data.exclusions import total
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.evaluation import cases as cases_
from consensus_jax.evaluation.cases import Case, from_records, quotes, swapped


def record():
  return JudgedDeliberation(
    id='town',
    source='polis',
    group='council',
    question=Question(text='What now?'),
    statements=tuple(
      Statement(text=f'Text {i}.', id=f's{i}', author='ann' if i == 3 else '')
      for i in range(5)
    ),
    members=(
      Member(
        participant='ann',
        opinion='Text 3.',
        judged=(0, 1, 2, 3),
        votes=(1, 0, -1, 1),
      ),
      Member(participant='bob', judged=(0,), votes=(1,)),
      Member(participant='cy', opinion='x', judged=(0, 1), votes=(0, None)),
    ),
  )


def test_passes_and_own_statements_are_left_out_and_counted():
  found, excluded = from_records([record()])
  assert found == (
    Case(
      conversation='town',
      participant='ann',
      question='What now?',
      opinion='Text 3.',
      statements=('Text 0.', 'Text 2.'),
      votes=(1, -1),
      statement_ids=('s0', 's2'),
      group='council',
    ),
  )
  assert [(e.kind, e.reason, e.count) for e in excluded] == [
    ('vote', 'a pass', 2),
    ('vote', "on the person's own statement", 1),
    ('participant', 'wrote no opinion', 1),
    ('participant', 'voted neither for nor against anything', 1),
  ]


def test_every_vote_and_person_is_a_case_or_counted():
  records = tiny_judged.records(5, members=7, statements=9)
  found, excluded = from_records(
    records, max_statements=3, max_people=4, seed=1
  )
  members = [member for each in records for member in each.members]
  assert len(found) + total(excluded, 'participant') == len(members)
  assert max(len(each.statements) for each in found) == 3
  by_record = [each.conversation for each in found]
  assert {by_record.count(each.id) for each in records} == {4}
  everybody, excluded = from_records(records, max_statements=None)
  votes = sum(vote is not None for m in members for vote in m.votes)
  kept = sum(len(each.votes) for each in everybody)
  assert kept + total(excluded, 'vote') == votes


def test_a_draw_depends_on_names_and_seed_alone():
  records = tiny_judged.records(3, members=6, statements=9)
  limits = {'max_statements': 2, 'max_people': 3}
  found, _ = from_records(records, seed=1, **limits)
  alone, _ = from_records(records[1:2], seed=1, **limits)
  assert set(alone) <= set(found)
  assert from_records(records, seed=2, **limits)[0] != found
  # Votes of a draw are those of the record.
  everything = {
    (each.participant, id): vote
    for each in from_records(records, max_statements=None)[0]
    for id, vote in zip(each.statement_ids, each.votes)
  }
  for each in found:
    for id, vote in zip(each.statement_ids, each.votes):
      assert everything[each.participant, id] == vote


@given(st.integers(2, 9), st.integers(2, 5), st.integers(0, 99))
def test_everybody_gives_an_opinion_and_gets_anothers(first, second, seed):
  people = [
    case(f'{town}{i}', town, opinion=f'{town} {i}')
    for town, size in (('a', first), ('b', second))
    for i in range(size)
  ]
  found = swapped(people, seed=seed)
  for own, other in zip(people, found, strict=True):
    assert other.opinion != own.opinion
    assert other.opinion.startswith(own.conversation)
    assert dataclasses.replace(other, opinion=own.opinion) == own
  assert {c.opinion for c in found} == {c.opinion for c in people}
  assert swapped(people[::-1], seed=seed) == found[::-1]


def test_nobody_can_swap_alone():
  with pytest.raises(ValueError, match=r'b: .* two people or more'):
    swapped([case('1', 'a'), case('2', 'a'), case('1', 'b')], seed=0)
  with pytest.raises(ValueError, match='each there once'):
    swapped([case('1', 'a'), case('1', 'a')], seed=0)


def test_without_opinion_everything_else_stays():
  (found,) = cases_.without_opinion([case()])
  assert found == case(opinion='')


@pytest.mark.parametrize(
  ('opinion', 'expected'),
  [
    ('More buses! Agree. No. Disagree.', [True, False, False]),
    ('we want MORE  buses now', [True, True, False]),
    ('more busesses', [False, False, False]),
    ('', [False, False, False]),
  ],
)
def test_quotes_are_found_word_by_word(opinion, expected):
  texts = ['More buses.', 'buses now', '...']
  assert quotes(opinion, texts).tolist() == expected


def test_a_case_that_does_not_fit_together_is_refused():
  with pytest.raises(ValueError, match='2 statements, 1 votes'):
    case(votes=(1,), statements=('a', 'b'))
  with pytest.raises(ValueError, match='1 or -1'):
    case(votes=(0,))
  with pytest.raises(ValueError, match='0 statements'):
    case(votes=())
