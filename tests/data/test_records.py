import json
import subprocess
import sys

import hypothesis
import judged_deliberations
import pytest

from consensus_jax import strict_json
from consensus_jax.data import records
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.strict_json import InputError

# beartype picks at random which items of a sequence it checks.
pytestmark = pytest.mark.filterwarnings('ignore:Do not use the `random` module')


@hypothesis.given(judged_deliberations.deliberations())
def test_a_record_comes_back_from_json_as_it_was(record):
  line = strict_json.dump(record.to_json())
  assert JudgedDeliberation.from_json(strict_json.parse(line)) == record


def test_json_holds_the_names_of_the_fields_and_leaves_defaults_out():
  record = judged_deliberations.example().to_json()
  assert record['schema'] == 'consensus_jax/judged/v1'
  assert record['statements'][0] == {
    'text': 'Open it every Sunday.',
    'id': 'a',
    'author': 'policy',
  }
  assert record['members'][1] == {
    'participant': 'Ben',
    'opinion': 'No, staff need a rest.',
    'judged': [0, 1],
    'ranking': [0, 0],
  }
  assert record['members'][0]['agreement'] == [4, 7, None]


def _set(record, place, value):
  for step in place[:-1]:
    record = record[step]
  record[place[-1]] = value


AMIRA = ('members', 0)


@pytest.mark.parametrize(
  ('place', 'value', 'message'),
  [
    ((*AMIRA, 'ranking'), [2, 0, 0], '.ranking: has a gap in round 0: a st'),
    ((*AMIRA, 'ranking'), [1, 2, 0], 'none has 0; ranks start at 0, and ties'),
    ((*AMIRA, 'ranking'), [1, 0, 1], '.ranking: has a gap in round 1'),
    ((*AMIRA, 'ranking'), [1, -1, 0], '.ranking[1]: must be 0 (best) or more'),
    ((*AMIRA, 'ranking'), [10**15, 0, 0], '.ranking: has a gap in round 0'),
    ((*AMIRA, 'agreement', 1), 8, '.agreement[1]: must be from 1 to 7, got 8'),
    ((*AMIRA, 'agreement', 1), 0, '.agreement[1]: must be from 1 to 7, got 0'),
    ((*AMIRA, 'agreement', 1), True, '.agreement[1]: must be a whole number'),
    ((*AMIRA, 'agreement', 1), 4.0, '.agreement[1]: must be a whole number'),
    ((*AMIRA, 'agreement', 1), '4', '.agreement[1]: must be a whole number'),
    ((*AMIRA, 'agreement', 1), [4], '.agreement[1]: must be a whole number'),
    ((*AMIRA, 'quality'), [5, 5], '.quality: must hold one entry for each of'),
    ((*AMIRA, 'quality'), 5, '.quality: must be a list, got a number'),
    ((*AMIRA, 'votes'), [0, 0, 2], '.votes[2]: must be from -1 to 1, got 2'),
    ((*AMIRA, 'judged', 2), 3, '.judged[2]: there is no statement 3: the'),
    ((*AMIRA, 'judged', 2), -1, '.judged[2]: must be the index of a state'),
    ((*AMIRA, 'judged', 2), 1, '.judged[2]: statement 1 is judged already, j'),
    ((*AMIRA, 'position_after'), 0, '.position_after: must be from 1 to 7'),
    ((*AMIRA, 'opinion'), ' \n', '.opinion: is empty'),
    ((*AMIRA, 'critique'), 'a\0', '.critique: holds a NUL character'),
    ((*AMIRA, 'opinion_provenance'), 'said', "one of 'written', 'comments', "),
    ((*AMIRA, 'opinon'), 'x', 'opinon: unknown key (did you mean opinion)'),
    (
      ('members', 2, 'participant'),
      'Amira ',
      "members[2].participant: 'Amira' is that of members[0] already",
    ),
    (
      ('members', 0, 'participant'),
      'Chloe\u0301',  # The same name, encoded in another way.
      "members[2].participant: 'Chloé' is that of members[0] already",
    ),
    (('statements', 1, 'text'), '', 'statements[1].text: is empty'),
    (('statements', 1, 'id'), 'a', "statements[1].id: 'a' is that of state"),
    (('statements', 1, 'round'), -1, 'statements[1].round: must be 0 or more'),
    (('statements', 1, 'round'), 0.0, 'statements[1].round: must be a whole'),
    (('question', 'text'), None, 'question.text: must be a text, got null'),
    (('question', 'split'), 'test', "question.split: must be one of 'train'"),
    (('question',), 'Should we?', 'question: must be an object, got a text'),
    (('members',), {}, 'members: must be a list, got an object'),
    (('source',), '', 'source: is empty'),
    (('schema',), 'consensus_jax/judged/v2', "got 'consensus_jax/judged/v2'"),
  ],
)
def test_a_bad_field_is_named(place, value, message):
  record = json.loads(json.dumps(judged_deliberations.example().to_json()))
  JudgedDeliberation.from_json(record)
  _set(record, place, value)
  with pytest.raises(InputError) as raised:
    JudgedDeliberation.from_json(record)
  assert message in str(raised.value)


@pytest.mark.parametrize('key', ['schema', 'id', 'source', 'question'])
def test_what_every_record_needs_may_not_be_missing(key):
  record = judged_deliberations.example().to_json()
  del record[key]
  with pytest.raises(InputError, match=f'^{key}: is missing'):
    JudgedDeliberation.from_json(record)


@hypothesis.given(judged_deliberations.deliberations())
def test_rankings_are_dense_in_each_round(record):
  for member in record.members:
    ranks = {}
    for statement, rank in zip(member.judged, member.ranking):
      if rank is not None:
        round_ = record.statements[statement].round
        ranks.setdefault(round_, set()).add(rank)
    assert all(given == set(range(len(given))) for given in ranks.values())


def test_a_record_does_not_change():
  with pytest.raises(AttributeError):
    judged_deliberations.example().id = 'other'


def test_records_need_only_the_standard_library():
  code = f"""
import sys, {records.__name__}
heavy = ('numpy', 'pyarrow', 'tensorflow', 'jax')
print([name for name in heavy if name in sys.modules])
"""
  ran = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert ran.stdout.strip() == '[]'
