"""Protocols: what is read is what was written, and slips are named."""

import json
import math

import pytest
import study_people as people

from consensus_jax.strict_json import InputError
from consensus_jax.study import protocol
from consensus_jax.study.protocol import Protocol

QUESTION = {
  'id': 'a',
  'text': 'A?',
  'affirming': 'A.',
  'negating': 'Not A.',
}


def written(folder, text):
  path = folder / 'protocol.yaml'
  path.write_text(text)
  return str(path)


@pytest.mark.parametrize('load', [protocol.default, protocol.short])
def test_what_ships_survives_the_database(load):
  loaded = load()
  record = json.loads(json.dumps(loaded.to_json(), allow_nan=False))
  assert Protocol.from_json(record) == loaded
  assert Protocol.from_json(record).sha256 == loaded.sha256


def test_infinity_survives_the_database():
  systems = [{'name': 'worst off', 'welfare': 'rawlsian'}]
  study = people.protocol_of(conditions=[{'name': 'a', 'systems': systems}])
  assert study.conditions[0].systems[0].alpha == math.inf
  record = json.loads(json.dumps(study.to_json(), allow_nan=False))
  assert Protocol.from_json(record) == study


def test_one_question_is_enough():
  study = Protocol.from_json(
    {'questions': [QUESTION], 'questions_per_group': 1}
  )
  assert study.group_size == 5
  assert study.opinion == protocol.Words(min_words=10, max_words=200)
  assert len(study.labels.agreement) == 7


@pytest.mark.parametrize(
  ('fields', 'named'),
  [
    ({}, 'questions'),
    ({'questions': []}, 'questions'),
    ({'questions': [QUESTION, QUESTION]}, 'questions[1].id'),
    ({'questions': [{'id': 'a', 'text': ' '}]}, 'questions[0].text'),
    ({'questions': [{'id': 'a', 'text': 'A?'}]}, 'questions[0].affirming'),
    ({'questons': []}, 'questons'),
    ({'group_size': 1}, 'group_size'),
    ({'group_size': True}, 'group_size'),
    ({'group_size': 3, 'min_group_size': 4}, 'min_group_size'),
    ({'questions_per_group': 2}, 'questions_per_group'),
    ({'opinion': {'min_words': 9, 'max_words': 8}}, 'opinion.max_words'),
    ({'timers': {'rate': 0}}, 'timers.rate'),
    ({'timers': {'lunch': 10}}, 'timers.lunch'),
    (
      {'comprehension': [{'prompt': '?', 'options': ['a', 'b'], 'answer': 2}]},
      'comprehension[0].answer',
    ),
    ({'attention': [{'prompt': '?', 'answer': 8}]}, 'attention[0].answer'),
    ({'attention': [{'prompt': '?', 'answer': 1}] * 2}, 'attention'),
    (
      {'survey': [{'id': 'a', 'prompt': '?', 'kind': 'poem'}]},
      'survey[0].kind',
    ),
    (
      {'survey': [{'id': 'a', 'prompt': '?', 'kind': 'choice'}]},
      'survey[0].options',
    ),
    ({'conditions': [{'name': 'a', 'weight': 0}]}, 'conditions[0].weight'),
    ({'conditions': [{'name': 'a', 'exclude': 3}]}, 'conditions[0].exclude'),
    (
      {
        'conditions': [{'name': 'a', 'systems': [{'name': 's', 'policy': 'x'}]}]
      },
      'conditions[0].systems[0].policy',
    ),
    ({'entry': ['door']}, 'entry[0]'),
    ({'critique_round': 'yes'}, 'critique_round'),
    (
      {'endings': {'done': {'link': 'javascript:alert(1)'}}},
      'endings.done.link',
    ),
    ({'labels': {'agreement': ['no', 'yes']}}, 'labels.agreement'),
    ({'seed': -1}, 'seed'),
    ({'lobby': {'give_up_after': 10}}, 'lobby.give_up_after'),
  ],
)
def test_errors_name_the_field(fields, named):
  whole = {'questions': [QUESTION], 'questions_per_group': 1}
  if not fields:
    del whole['questions']
  with pytest.raises(InputError) as caught:
    Protocol.from_json(whole | fields)
  assert str(caught.value).startswith(f'{named}: ')


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('title: [', 'not YAML'),
    ('title: a\ntitle: b', "'title' stands twice"),
    ('title: !!python/object:os.system {}', 'not YAML'),
    ('1: a', 'no text'),
    ('- a', 'must be an object'),
    ('', 'must be an object'),
  ],
)
def test_bad_yaml_is_refused_in_one_line(tmp_path, text, said):
  path = written(tmp_path, text)
  with pytest.raises(InputError) as caught:
    protocol.load(path)
  assert said in str(caught.value)
  assert str(caught.value).startswith(path)
  assert '\n' not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(InputError, match='cannot be read'):
    protocol.load(str(tmp_path / 'none.yaml'))
