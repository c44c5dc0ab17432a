"""The seed set that ships: whole, varied, and free of what is held out."""

import itertools
import json
import pathlib
import re

import pytest

from consensus_jax.data import near_duplicates, seed_deliberations
from consensus_jax.policy_data import groups, statement_checks
from consensus_jax.policy_data.words import content, longest_run

KINDS = ('consensus', 'majority', 'minority', 'vague', 'close', 'plain')
# In the members' own words, and rated by nobody.
OWN_WORDS = ('close', 'plain')
# The most words in a row that such a statement shares with an opinion; of a
# plain one, those that name the question apart.
LONGEST_RUN = {'close': 9, 'plain': 12}
# What a plain statement says between the members' words.
JOINING = content('We have different ideas about this. Some of us add that.')
BANK = pathlib.Path(__file__).parents[3] / 'shared/data/habermas/questions.json'


@pytest.fixture(scope='module')
def seed():
  return seed_deliberations.read()


@pytest.fixture(scope='module')
def unrated():
  return seed_deliberations.read_unrated()


def words(text):
  return re.findall(r"[\w'-]+", text.lower())


def runs(text, length):
  own = words(text)
  return {tuple(own[i : i + length]) for i in range(len(own) - length + 1)}


def statements(kind, *parts):
  """Each deliberation with its statement of that kind, if it has one."""
  for record in itertools.chain(*parts):
    for statement in record.statements:
      if statement.id == kind:
        yield record, statement


def test_there_are_enough_over_enough_topics(seed):
  assert len(seed) >= 240
  assert len({record.question.topic for record in seed}) >= 60


def test_every_deliberation_has_its_parts(seed):
  for record in seed:
    assert record.source == 'seed'
    assert record.question.split == 'train'
    assert record.question.text.endswith('?')
    assert tuple(each.provenance for each in record.statements) == KINDS
    assert tuple(each.id for each in record.statements) == KINDS
    assert 3 <= len(record.members) <= 5
    for member in record.members:
      assert member.judged == (0, 1, 2, 3)
      assert None not in member.agreement


def test_lengths_are_those_asked_for(seed):
  for record in seed:
    for member in record.members:
      assert 25 <= len(words(member.opinion)) <= 90, record.id
    for statement in record.statements:
      least = {'consensus': 50, 'close': 40, 'plain': 25}.get(statement.id, 20)
      assert least <= len(words(statement.text)) <= 110, record.id


def test_length_does_not_give_the_consensus_away(seed):
  longest = sum(
    len(words(record.statements[0].text))
    >= max(len(words(each.text)) for each in record.statements[:4])
    for record in seed
  )
  assert longest < len(seed) / 3


def test_no_statement_copies_an_opinion(seed):
  for record in seed:
    opinions = set.union(*(runs(m.opinion, 9) for m in record.members))
    for statement in record.statements[:4]:
      assert not opinions & runs(statement.text, 9), record.id


@pytest.mark.parametrize('kind', OWN_WORDS)
def test_statements_in_their_own_words_hold_little_else(seed, unrated, kind):
  for record, own in statements(kind, seed, unrated):
    opinions = [member.opinion for member in record.members]
    said = content(' '.join([record.question.text, *opinions]))
    subject = content(own.text) - (JOINING if kind == 'plain' else set())
    # Two bare sentences have few words of their own.
    least = 0.85 if len(opinions) > 2 else 0.6
    assert len(subject & said) >= least * len(subject), record.id
    asked = words(record.question.text) if kind == 'plain' else ()
    for opinion in opinions:
      run = longest_run(words(own.text), words(opinion), asked)
      assert run <= LONGEST_RUN[kind], record.id


@pytest.mark.parametrize('kind', OWN_WORDS)
def test_statements_in_their_own_words_pass_every_check(seed, unrated, kind):
  for record, own in statements(kind, seed, unrated):
    deliberation = groups.deliberation_of(record)
    found = statement_checks.check(own.text, deliberation)
    assert found.passed, (record.id, found.failures)


def test_plain_statements_are_short(seed, unrated):
  for record, plain in statements('plain', seed, unrated):
    assert len(words(plain.text)) <= 53, record.id


def test_unrated_deliberations_have_statements_in_their_own_words_alone(
  seed, unrated
):
  assert len({record.id for record in (*seed, *unrated)}) == len(seed) + len(
    unrated
  )
  for record in unrated:
    assert record.source == 'seed'
    assert record.question.split == 'train'
    assert record.question.text.endswith('?')
    assert tuple(each.id for each in record.statements) in (
      OWN_WORDS,
      ('plain',),
    )
    assert 2 <= len(record.members) <= 5
    assert not any(member.judged for member in record.members)
    assert all(len(words(m.opinion)) <= 80 for m in record.members)
  for record, close in statements('close', unrated):
    assert 30 <= len(words(close.text)) <= 90, record.id
  assert sum(1 for _ in statements('close', unrated)) == 1213


def test_unrated_deliberations_are_on_topics_that_policies_learn(seed, unrated):
  splits = groups.seed_splits(seed)
  held_out = {
    record.question.topic
    for name, part in splits.items()
    if name != 'train'
    for record in part
  }
  assert not held_out & {record.question.topic for record in unrated}
  groups.check_apart(
    (*splits['train'], *unrated), (*splits['validation'], *splits['ood_test'])
  )


def test_no_two_texts_share_ten_words_in_a_row(seed, unrated):
  homes = {}
  for record in (*seed, *unrated):
    texts = [record.question.text]
    texts += [member.opinion for member in record.members]
    # Plain statements are in few frames, on purpose.
    texts += [each.text for each in record.statements if each.id != 'plain']
    for run in set.union(*(runs(text, 10) for text in texts)):
      assert homes.setdefault(run, record.id) == record.id, run


def test_no_question_stands_twice(seed, unrated):
  questions = [record.question.text for record in (*seed, *unrated)]
  assert len(near_duplicates.distinct(questions, 0.5)) == len(questions)


@pytest.mark.skipif(not BANK.exists(), reason='the question bank is not here')
def test_topics_and_questions_that_are_held_out_stay_out(seed, unrated):
  bank = json.loads(BANK.read_text())
  train = {str(each['topic']) for each in bank if each['split'] == 'train'}
  asked = {near_duplicates.normalised(each['question']) for each in bank}
  for record in (*seed, *unrated):
    assert record.question.topic in train
    assert near_duplicates.normalised(record.question.text) not in asked
