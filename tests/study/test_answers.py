"""What counts as an answer."""

import pytest
import study_people as people

from consensus_jax.strict_json import InputError
from consensus_jax.study.answers import check, check_draft
from consensus_jax.study.steps import Step

STUDY = people.protocol_of(
  opinion={'min_words': 2, 'max_words': 5},
  survey=[
    {'id': 'fair', 'prompt': 'Fair?'},
    {'id': 'best', 'prompt': '?', 'kind': 'choice', 'options': ['x', 'y']},
    {'id': 'more', 'prompt': '?', 'kind': 'text'},
  ],
)
CONTENTS = {
  'comprehension': {'options': ['a', 'b']},
  'position': {'ask_importance': True},
  'rate': {'attention': None},
  'rank': {'statements': [{'id': '7'}, {'id': '9'}]},
}


def step(kind, **content):
  content = CONTENTS.get(kind, {}) | content
  return Step(key='-', kind=kind, content=content, seconds_left=None)


@pytest.mark.parametrize(
  ('kind', 'answer', 'field'),
  [
    ('consent', {}, 'consent'),
    ('consent', {'consent': 'yes'}, 'consent'),
    ('result', {'more': 1}, 'more'),
    ('comprehension', {'choice': 2}, 'choice'),
    ('comprehension', {'choice': True}, 'choice'),
    ('position', {'position': 8, 'importance': 1}, 'position'),
    ('position', {'position': 1}, 'importance'),
    ('position', {'position': 1, 'importance': 6}, 'importance'),
    ('opinion', {'text': 'one'}, 'text'),
    ('opinion', {'text': ' \n\t one \n'}, 'text'),
    ('opinion', {'text': 'one two three four five six'}, 'text'),
    ('opinion', {'text': 'a ' + 'b' * 1000}, 'text'),
    ('opinion', {'text': 'a\0b c'}, 'text'),
    ('opinion', {'text': 3}, 'text'),
    ('opinion', {}, 'text'),
    ('rate', {'agreement': 0, 'quality': 1}, 'agreement'),
    ('rate', {'agreement': 1}, 'quality'),
    ('rate', {'agreement': 1, 'quality': 1, 'attention': 1}, 'attention'),
    ('rank', {'ranks': {'7': 1}}, 'ranks'),
    ('rank', {'ranks': {'7': 1, '9': 3}}, 'ranks'),
    ('rank', {'ranks': {'7': 1, '8': 1}}, 'ranks'),
    ('rank', {'ranks': [1, 2]}, 'ranks'),
    ('final', {'choice': 'third'}, 'choice'),
    ('survey', {'best': 0}, 'fair'),
    ('survey', {'fair': 1, 'best': 2}, 'best'),
    ('survey', {'fair': 1, 'best': 1, 'more': 'x' * 6000}, 'more'),
    ('survey', {'fair': 1, 'best': 1, 'less': 'x'}, 'less'),
  ],
)
def test_bad_answers_name_their_field(kind, answer, field):
  with pytest.raises(InputError) as caught:
    check(STUDY, step(kind), answer)
  assert caught.value.field[0] == field


@pytest.mark.parametrize(
  ('kind', 'answer'),
  [
    ('consent', {'consent': False}),
    ('instructions', {}),
    ('comprehension', {'choice': 1}),
    ('position', {'position': 7, 'importance': 5}),
    ('opinion', {'text': 'one\ntwo 三 four'}),
    ('critique', {'text': 'no'}),
    ('rate', {'agreement': 7, 'quality': 1}),
    ('rank', {'ranks': {'7': 1, '9': 1}}),
    ('final', {'choice': 'same'}),
    ('survey', {'fair': 7, 'best': 0}),
    ('survey', {'fair': 7, 'best': 0, 'more': ''}),
  ],
)
def test_good_answers_are_kept_as_they_are(kind, answer):
  assert check(STUDY, step(kind), answer) == answer


def test_space_around_a_text_is_not_kept():
  kept = check(STUDY, step('opinion'), {'text': ' one two\n'})
  assert kept == {'text': 'one two'}


def test_a_rating_beside_an_attention_check_needs_both():
  shown = step('rate', attention={'prompt': 'Choose 2.'})
  rating = {'agreement': 1, 'quality': 1}
  with pytest.raises(InputError, match='attention: is missing'):
    check(STUDY, shown, rating)
  assert check(STUDY, shown, rating | {'attention': 2})['attention'] == 2


def test_drafts_may_be_unfinished():
  assert check_draft(STUDY, step('opinion'), {'text': ''}) == {'text': ''}
  assert check_draft(STUDY, step('survey'), {'best': 1}) == {'best': 1}


@pytest.mark.parametrize(
  ('kind', 'answer'),
  [
    ('opinion', {'text': 'x' * 1000}),
    ('opinion', {}),
    ('survey', {'fair': 8}),
    ('rate', {'agreement': 1}),
  ],
)
def test_drafts_have_limits(kind, answer):
  with pytest.raises(InputError):
    check_draft(STUDY, step(kind), answer)
