"""The seed set that ships: whole, varied, and free of what is held out."""

import json
import pathlib
import re
from importlib import resources

import pytest

from consensus_jax.data import near_duplicates, record_files
from consensus_jax.policy_data.words import content

KINDS = ('consensus', 'majority', 'minority', 'vague', 'close')
BANK = pathlib.Path(__file__).parents[3] / 'shared/data/habermas/questions.json'


@pytest.fixture(scope='module')
def seed():
  file = resources.files('consensus_jax.data') / 'seed/deliberations.jsonl'
  with resources.as_file(file) as path:
    return list(record_files.read(path))


def words(text):
  return re.findall(r"[\w'-]+", text.lower())


def runs(text, length):
  own = words(text)
  return {tuple(own[i : i + length]) for i in range(len(own) - length + 1)}


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
      least = {'consensus': 50, 'close': 40}.get(statement.id, 20)
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


def test_close_statements_are_in_the_words_of_the_opinions(seed):
  for record in seed:
    opinions = [member.opinion for member in record.members]
    said = content(' '.join([record.question.text, *opinions]))
    close, subject = record.statements[4], content(record.statements[4].text)
    assert len(subject & said) >= 0.85 * len(subject), record.id
    for opinion in opinions:
      assert not runs(opinion, 10) & runs(close.text, 10), record.id


def test_no_two_texts_share_ten_words_in_a_row(seed):
  homes = {}
  for record in seed:
    texts = [record.question.text]
    texts += [member.opinion for member in record.members]
    texts += [statement.text for statement in record.statements]
    for run in set.union(*(runs(text, 10) for text in texts)):
      assert homes.setdefault(run, record.id) == record.id, run


def test_no_question_stands_twice(seed):
  questions = [record.question.text for record in seed]
  assert len(near_duplicates.distinct(questions, 0.5)) == len(seed)


@pytest.mark.skipif(not BANK.exists(), reason='the question bank is not here')
def test_topics_and_questions_that_are_held_out_stay_out(seed):
  bank = json.loads(BANK.read_text())
  train = {str(each['topic']) for each in bank if each['split'] == 'train'}
  asked = {near_duplicates.normalised(each['question']) for each in bank}
  for record in seed:
    assert record.question.topic in train
    assert near_duplicates.normalised(record.question.text) not in asked
