"""Positions in words are read back; what ships is whole."""

import itertools
import json
import random
import re

import pytest

from consensus_jax.evaluation.latent import questions, words
from consensus_jax.strict_json import InputError


@pytest.fixture(scope='module')
def shipped():
  return questions.read()


def test_what_ships_is_whole(shipped):
  assert len(shipped) >= 6
  assert len({each.question.id for each in shipped}) == len(shipped)
  for each in shipped:
    assert 3 <= len(each.issues) <= 4 and len(each.off_topic) >= 2
    for issue in each.issues:
      against, middle, in_favour = issue.sides
      assert (issue.side(-2), issue.side(0), issue.side(0.5)) == issue.sides
      for side in issue.sides:
        assert len(side.clauses) >= 2
      assert len(against.reasons) >= 2 and len(in_favour.reasons) >= 2
      assert not middle.reasons


def test_every_wording_is_read_as_it_was_meant(shipped):
  rng = random.Random(0)
  for question in shipped:
    for number in range(60):
      count = len(question.issues)
      positions = tuple(rng.randint(-2, 2) for _ in range(count))
      importance = [rng.randint(1, 3) for _ in range(count)]
      seed = str(number)
      text = words.opinion(question, positions, importance, seed=seed)
      assert words.read_positions(question, text) == positions, text
      assert 25 <= len(text.split()) <= words.MOST_WORDS, text
      assert re.search(r'\bI\b', text) and 'We ' not in text
      told = [level if rng.random() < 0.7 else None for level in positions]
      told[rng.randrange(count)] = rng.randint(-2, 2)
      quality = rng.randint(-1, 1)
      text = words.statement(question, tuple(told), quality=quality, seed=seed)
      assert words.read_positions(question, text) == tuple(told), text
      assert words.read_quality(text) == quality, text
      assert not re.search(r'\bI\b', text)


def test_position_statements_are_for_and_against_the_main_issue(shipped):
  for each in shipped:
    nothing = (None,) * (len(each.issues) - 1)
    asked = each.question
    assert words.read_positions(each, asked.affirming) == (1, *nothing)
    assert words.read_positions(each, asked.negating) == (-1, *nothing)
    for text in each.off_topic:
      assert words.read_positions(each, text) == (None, *nothing)


def test_there_are_several_wordings(shipped):
  arguments = shipped[0], (2, 0, -1), (0.5, 0.2, 0.3)
  texts = {words.opinion(*arguments, seed=str(i)) for i in range(50)}
  assert len(texts) > 40
  again = words.opinion(*arguments, seed='7')
  assert again == words.opinion(*arguments, seed='7')
  first = again.index('dog')
  assert first < min(
    again.index(word)
    for word in ('fire', 'barbecue', 'music', 'loudsp')
    if word in again
  )


@pytest.mark.parametrize(
  ('text', 'positions'),
  [
    ('Dogs are lovely animals.', (None, None, None)),
    ('Please let us allow dogs', (1, None, None)),
    ("We don't want dogs on the sand.", (-1, None, None)),
    ('Dogs must be banned, but music is welcome.', (-2, None, 1)),
    ('We are not against dogs being allowed.', (1, None, None)),
    ('Allow dogs. Ban dogs!', (0, None, None)),
    ('Allow dogs. Dogs must be allowed. Fires: a compromise.', (1.5, 0, None)),
    ('DOGS SHOULD COME BEFORE NINE', (0, None, None)),
    ('', (None, None, None)),
  ],
)
def test_reading_by_hand(shipped, text, positions):
  assert words.read_positions(shipped[0], text) == positions


@pytest.mark.parametrize(
  ('text', 'quality'),
  [
    ('Dogs should be allowed on the beach.', 0),
    ('Dogs? Yes.', -1),
    ('Dogs should be allowed on the beach', -1),
    (
      'Dogs should be allowed here. And fires. Dogs should be allowed here!',
      -1,
    ),
    ('It is right because it is right.', 0),
    ('It is right, ' + 'and right, ' * 8 + 'because it is right.', 1),
  ],
)
def test_quality_by_hand(text, quality):
  assert words.read_quality(text) == quality


def test_what_has_no_words_is_refused(shipped):
  for positions, quality, message in (
    ((None, None, None), 0, 'one issue at least'),
    ((0.5, 0, 0), 0, 'whole number'),
    ((0, 0, 0), 2, 'quality must be'),
  ):
    with pytest.raises(ValueError, match=message):
      words.statement(shipped[0], positions, quality=quality, seed='')


SIDE = {'signs': ['yes'], 'clauses': ['yes to it'], 'reasons': []}
ISSUE = {'name': 'it', 'about': ['it'], 'for': SIDE, 'middle': SIDE}
QUESTION = {
  'id': 'q',
  'question': 'Should it be so?',
  'affirming': 'Yes.',
  'negating': 'No.',
  'off_topic': ['Well.'],
  'issues': [ISSUE | {'against': SIDE}],
}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'issues': []}, 'issues: must hold at least one issue'),
    ({'issues': [ISSUE]}, r'issues\[0\]'),
    ({'issues': QUESTION['issues'] * 2}, r"issues\[1\].name: 'it' is there"),
    ({'question': ''}, 'question'),
    ({'more': 1}, 'more'),
    (
      {'issues': [ISSUE | {'against': SIDE | {'clauses': []}}]},
      r'issues\[0\].against.clauses: must hold at least one text',
    ),
  ],
)
def test_a_faulty_file_is_refused(tmp_path, change, message):
  path = tmp_path / 'questions.jsonl'
  lines = [json.dumps(each) for each in (QUESTION, QUESTION | change)]
  path.write_text('\n'.join(lines))
  with pytest.raises(InputError, match=message) as caught:
    questions.read(path)
  assert (caught.value.line, caught.value.file) == (2, str(path))


def test_texts_of_a_question_are_different(shipped):
  for each in shipped:
    clauses = [
      clause
      for issue in each.issues
      for side in issue.sides
      for clause in itertools.chain(side.clauses, side.reasons)
    ]
    assert len({*clauses}) == len(clauses)
