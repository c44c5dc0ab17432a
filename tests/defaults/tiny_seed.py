"""A seed set, people and questions small enough for tests of policies."""

import json

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.defaults import people, policy_groups

_SUBJECTS = ('parks and trees', 'old streets', 'our schools', 'a new museum')


def record(name, words=1, topic='buses'):
  return JudgedDeliberation(
    id=name,
    source='seed',
    group=name,
    question=Question(text=f'Are buses good in {name}?', topic=topic),
    statements=(
      Statement(text=f'We like {"very " * words}red buses.', id='consensus'),
    ),
    members=tuple(
      Member(participant=f'{name}/{i}', opinion=f'I am number {i}.')
      for i in range(3)
    ),
  )


TRAIN = tuple(record(name, i) for i, name in enumerate('ABCDEFGHI', 1))
VALIDATION = (record('Y', topic='trams'), record('Z', topic='trams'))
TEST = (record('J', topic='bikes'), record('K', topic='bikes'))


def install(patch):
  """Puts these records in the place of the seed set."""
  splits = {'train': TRAIN, 'validation': VALIDATION, 'ood_test': TEST}
  patch.setattr(policy_groups, 'seed_records', lambda: splits)


def writers(place, split, number=6):
  """Comments of people of one conversation."""
  return JudgedDeliberation(
    id=f'{place}/comments',
    source='polis',
    group=place,
    question=Question(text=f'What should {place} do?'),
    members=tuple(
      Member(
        participant=f'{place}/{split}-{i}',
        opinion=f'I, {split} {i} of {place}, want money for '
        f'{_SUBJECTS[i % 4]} more than for {_SUBJECTS[(i + 1) % 4]}.',
        opinion_provenance='comments',
      )
      for i in range(number)
    ),
  )


def _entry(index, split, topic):
  return {
    'id': f'q{index}',
    'question': f'Should thing {index} be free?',
    'affirming_statement': f'Thing {index} should be free.',
    'negating_statement': f'Thing {index} should not be free.',
    'topic': topic,
    'split': split,
  }


def sources(folder):
  """Two conversations, and four questions of the bank to learn."""
  bank = [
    *(_entry(i, 'train', 'things') for i in range(5)),
    _entry(5, 'train', 'bikes'),
    *(_entry(i, 'iid_test', 'things') for i in (6, 7)),
    *(_entry(i, 'ood_test', 'space') for i in (8, 9)),
  ]
  published = {
    'question': 'Should thing 4 be free?',
    'opinions': ['Yes, thing 4 should.', 'No, who would pay for it?'],
    'consensus': 'We agree that thing 4 should be cheap.',
  }
  for name, content in (('bank', bank), ('examples', [published])):
    (folder / f'{name}.json').write_text(json.dumps(content))
  comments = {
    'train': (writers('Ayr', 'train'), writers('Bath', 'train')),
    'validation': (writers('Ayr', 'validation', 2),),
    'iid_test': (writers('Ayr', 'test', 2), writers('Bath', 'test')),
  }
  return policy_groups.Sources(
    people={
      split: people.People(votes=(), comments=records)
      for split, records in comments.items()
    },
    bank=folder / 'bank.json',
    examples=folder / 'examples.json',
  )
