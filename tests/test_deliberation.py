import dataclasses
import json
import pathlib
import unicodedata

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax import strict_json
from consensus_jax.deliberation import (
  OUTCOME_SCHEMA,
  Candidate,
  Deliberation,
  InputError,
  Opinion,
  Outcome,
)

# The type checker looks at random items of what the strategies build.
pytestmark = pytest.mark.filterwarnings('ignore:Do not use the `random`')

_DATA = pathlib.Path(__file__).parent / 'data'

_TEXTS = st.text(
  st.characters(codec='utf-8', exclude_characters='\0'), min_size=1
).filter(lambda text: any(character.isalnum() for character in text))
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.dictionaries(
  st.text(max_size=3),
  st.none()
  | st.booleans()
  | st.integers()
  | _NUMBERS
  | st.text(max_size=5)
  | st.just(float('inf')),
  max_size=3,
)


@st.composite
def _opinions(draw):
  names = draw(st.lists(_TEXTS, min_size=1, max_size=4, unique_by=_normalized))
  weights = draw(
    st.lists(
      st.floats(1e-9, 1e9),
      min_size=len(names),
      max_size=len(names),
    )
  )
  return tuple(
    Opinion(name, draw(_TEXTS), weight)
    for name, weight in zip(names, weights, strict=True)
  )


def _normalized(name):
  return unicodedata.normalize('NFC', name.strip())


@st.composite
def _outcomes(draw):
  opinions = draw(_opinions())
  levels = draw(st.lists(st.none() | st.integers(0, 3), max_size=6))
  ranked = [level for level in levels if level is not None]
  candidates = []
  for level in levels:
    numbers = st.lists(
      _NUMBERS if level is not None else st.none() | _NUMBERS,
      min_size=len(opinions),
      max_size=len(opinions),
    ).map(tuple)
    candidates.append(
      Candidate(
        text=draw(
          st.text(st.characters(codec='utf-8', exclude_characters='\0'))
        ),
        rewards=draw(numbers),
        utilities=draw(numbers),
        welfare=None if level is None else draw(_NUMBERS),
        rank=None if level is None else 1 + sum(o < level for o in ranked),
        num_tokens=draw(st.integers(0, 500)),
        log_likelihood=draw(st.none() | _NUMBERS),
        finish_reason=draw(st.sampled_from(['stop', 'length', 'given'])),
        refused='NaN reward' if level is None else None,
      )
    )
  best = [i for i, candidate in enumerate(candidates) if candidate.rank == 1]
  return Outcome(
    id=draw(_TEXTS),
    question=draw(_TEXTS),
    participants=opinions,
    candidates=tuple(candidates),
    consensus=draw(st.sampled_from(best)) if best else None,
    aggregation=draw(_JSON),
    sensitivity=({'alpha': float('inf'), 'winner': None},),
    policy=draw(_JSON),
    reward_model=draw(_JSON),
    seed=draw(st.integers(0, 2**32 - 1)),
    timings=draw(_JSON),
    truncations=tuple(draw(st.lists(_JSON, max_size=2))),
    run=draw(_JSON),
  )


def _outcome() -> dict:
  return json.loads((_DATA / 'outcome.json').read_text())


def test_a_record_of_texts():
  deliberation = Deliberation.from_json(
    {'question': 'Why?', 'opinions': ['a', 'b'], 'candidates': ['c']}
  )
  assert deliberation.opinions == (Opinion('1', 'a'), Opinion('2', 'b'))
  assert deliberation.candidates == ('c',)


def test_opinions_with_and_without_names_may_stand_together():
  record = {
    'id': 'x',
    'question': 'Why?',
    'opinions': ['a', {'participant': 'B', 'text': 'b', 'weight': 2}],
  }
  deliberation = Deliberation.from_json(record)
  assert deliberation.id == 'x'
  assert deliberation.opinions == (Opinion('1', 'a'), Opinion('B', 'b', 2.0))


def test_a_missing_id_follows_from_the_content_alone():
  record = {'question': 'Why?', 'opinions': ['a', 'b']}
  same = {
    'opinions': [
      {'text': 'a', 'participant': '1'},
      {'weight': 1, 'participant': '2', 'text': 'b'},
    ],
    'question': 'Why?',
  }
  first, second = Deliberation.from_json(record), Deliberation.from_json(same)
  assert first == second
  assert first.fingerprint == second.fingerprint
  for other in (
    {**record, 'question': 'Why not?'},
    {**record, 'opinions': ['b', 'a']},
    {**record, 'candidates': ['c']},
    {**record, 'id': 'x'},
  ):
    assert Deliberation.from_json(other).id != first.id
    assert Deliberation.from_json(other).fingerprint != first.fingerprint


@hypothesis.given(_opinions(), _TEXTS, st.lists(_TEXTS, max_size=2))
def test_deliberations_survive_json(opinions, text, candidates):
  before = Deliberation(text, text, opinions, tuple(candidates))
  record = strict_json.parse(strict_json.dump(before.to_json()))
  after = Deliberation.from_json(record)
  assert after == before
  assert after.fingerprint == before.fingerprint


_A, _B = {'participant': 'A', 'text': 'a'}, {'participant': 'B', 'text': 'b'}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'opinions': []}, 'opinions: holds no opinions'),
    ({'opinions': 'a'}, 'opinions: must be a list, got a text'),
    ({'opinions': None}, 'opinions: must be a list, got null'),
    ({'opinions': ['a', ' ']}, r'opinions\[1\].text: is empty'),
    ({'opinions': [3]}, r'opinions\[0\]: must be an object, got a number'),
    ({'opinions': [{'text': 'a'}]}, r'opinions\[0\].participant: is missing'),
    ({'opinions': [_A, _A]}, r"opinions\[1\].participant: 'A' has an opinion"),
    ({'opinions': [_A, {**_B, 'participant': 'A '}]}, r'opinions\[1\]'),
    ({'opinions': ['a', {**_B, 'participant': '1'}]}, r'opinions\[1\]'),
    ({'opinions': [{**_A, 'weight': -1}]}, 'weight: must be 0 or from'),
    ({'opinions': [{**_A, 'weight': 1e39}]}, 'weight: must be 0 or from 1e-9'),
    ({'opinions': [{**_A, 'weight': 1e-320}]}, 'weight: must be 0 or from 1'),
    ({'opinions': [{**_A, 'weight': 1e999}]}, 'weight: must be a finite'),
    (
      {'opinions': [{**_A, 'weight': True}]},
      'weight: must be a number, got tr',
    ),
    (
      {'opinions': [{**_A, 'weight': '2'}]},
      'weight: must be a number, got a t',
    ),
    ({'opinions': [{**_A, 'weight': 0}]}, 'opinions: all weights are zero'),
    ({'opinions': [{**_A, 'wieght': 1}]}, r'\[0\].wieght: .*mean weight'),
    ({'opinions': ['a\0b']}, 'holds a NUL'),
    ({'opinions': ['\ud83d']}, r'half a surrogate pair, .ud83d'),
    ({'question': ''}, 'question: is empty'),
    ({'question': ['a']}, 'question: must be a text, got a list'),
    ({'candidates': ['']}, r'candidates\[0\]: is empty'),
    ({'candidates': 'a'}, 'candidates: must be a list'),
    ({'candidates': ['a', 1]}, r'candidates\[1\]: must be a text, got a numb'),
    ({'id': 7}, 'id: must be a text, got a number'),
    ({'id': ''}, 'id: is empty'),
    ({'canditates': ['a']}, 'canditates: .*did you mean candidates'),
    ({'comment': 'a'}, r'comment: unknown key \(known: question, opinions'),
  ],
)
def test_bad_records_name_the_field(change, message):
  record = {'question': 'Why?', 'opinions': [_A, _B], **change}
  with pytest.raises(InputError, match=message) as error:
    Deliberation.from_json(record)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('value', [None, 'a', [], 3, {}])
def test_what_is_no_record(value):
  with pytest.raises(InputError):
    Deliberation.from_json(value)


def test_the_constructor_checks_too():
  with pytest.raises(InputError, match='opinions'):
    Deliberation('x', 'Why?', ())
  with pytest.raises(InputError, match='weight'):
    Opinion('A', 'a', float('nan'))


@hypothesis.given(_outcomes())
def test_outcomes_survive_strict_json(outcome):
  text = strict_json.dump(outcome.to_json())
  assert Outcome.from_json(strict_json.parse(text)) == outcome


def test_the_shape_of_an_outcome():
  record = Outcome.from_json(_outcome()).to_json()
  assert record['schema'] == OUTCOME_SCHEMA
  assert list(record)[:12] == [
    'schema',
    'id',
    'question',
    'participants',
    'candidates',
    'consensus',
    'aggregation',
    'sensitivity',
    'policy',
    'reward_model',
    'seed',
    'timings',
  ]
  assert list(record['candidates'][0]) == [
    'text',
    'rewards',
    'utilities',
    'welfare',
    'rank',
    'num_tokens',
    'log_likelihood',
    'finish_reason',
  ]
  assert record['consensus'] == {
    'candidate': 0,
    'text': record['candidates'][0]['text'],
  }
  assert record['sensitivity'][-1] == {'alpha': 'inf', 'winner': 9}


def test_an_outcome_does_not_change_with_its_record():
  outcome = Outcome.from_json(_outcome())
  outcome.to_json()['policy']['name'] = 'other'
  assert outcome.policy['name'] == 'zero_shot'


def test_ranked_puts_the_consensus_first_and_the_refused_last():
  outcome = Outcome.from_json(_outcome())
  ranks = [outcome.candidates[index].rank for index in outcome.ranked]
  assert ranks == [*range(1, 16), None]
  tied = dataclasses.replace(
    outcome,
    candidates=tuple(
      dataclasses.replace(c, rank=None if c.rank is None else 1)
      for c in outcome.candidates
    ),
    consensus=3,
  )
  assert tied.ranked == (3, 0, 1, 2, *range(4, 14), 15, 14)


@pytest.mark.parametrize(
  ('ranks', 'consensus', 'good'),
  [
    ((1, 2, 3), 0, True),
    ((1, 1, 3), 1, True),
    ((2, 1, 2), 1, True),
    ((3, 1, 1), 2, True),
    ((1, 1, 2), 0, False),  # A tie is not skipped.
    ((2, 3, 4), 0, False),
    ((0, 1, 2), 1, False),
    ((1, 2, 3), 1, False),
    ((1, 2, 3), 3, False),
    ((1, 2, 3), -3, False),
    ((1, 2, 3), None, False),
  ],
)
def test_ranks_are_a_competition_ranking(ranks, consensus, good):
  record = _outcome()
  record['candidates'] = [
    {**record['candidates'][0], 'rank': rank} for rank in ranks
  ]
  record['consensus'] = None
  if consensus is not None:
    record['consensus'] = {'candidate': consensus, 'text': ''}
  if good:
    assert Outcome.from_json(record).consensus == consensus
  else:
    with pytest.raises(InputError):
      Outcome.from_json(record)


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    (('schema',), 'consensus_jax/outcome/v2', 'schema: must be'),
    (('candidates', 2, 'rewards'), [1.0], r'candidates\[2\].rewards'),
    (('candidates', 2, 'rewards', 1), 'x', r'candidates\[2\].rewards\[1\]'),
    (('candidates', 2, 'rank'), 1.5, r'candidates\[2\].rank'),
    (('candidates', 2, 'rank'), None, r'candidates\[2\].rank'),
    (('candidates', 2, 'finish_reason'), 'eos', 'finish_reason'),
    (('candidates', 2, 'refused'), 'why not', 'ranked or refused'),
    (('participants', 1, 'weight'), -1, r'participants\[1\].weight'),
    (('consensus',), 3, 'consensus: must be an object'),
    (('sensitivity', 0), {'alpha': 1}, r'sensitivity\[0\].winner: is missing'),
    (('policy',), [], 'policy: must be an object'),
    (('seed',), True, 'seed: must be a whole number'),
    (('timing',), {}, 'did you mean timings'),
  ],
)
def test_what_is_no_outcome(path, value, message):
  record = _outcome()
  holder = record
  for step in path[:-1]:
    holder = holder[step]
  holder[path[-1]] = value
  with pytest.raises(InputError, match=message):
    Outcome.from_json(record)


def test_no_nan_gets_into_an_outcome():
  outcome = Outcome.from_json(_outcome())
  for change in (
    {'aggregation': {'alpha': float('nan')}},
    {'timings': {'load': float('nan')}},
  ):
    with pytest.raises(InputError, match='no place in JSON'):
      dataclasses.replace(outcome, **change)
  with pytest.raises(InputError, match=r'rewards\[0\]: must be a finite'):
    dataclasses.replace(outcome.candidates[0], rewards=(float('nan'),) * 5)


@pytest.mark.parametrize(
  'name', ['speed_limit.json', 'handwritten.json', 'three_questions.jsonl']
)
def test_the_examples_are_good(name):
  examples = pathlib.Path(__file__).parents[1] / 'examples'
  text = (examples / name).read_text(encoding='utf-8')
  texts = text.splitlines() if name.endswith('l') else [text]
  for one in texts:
    deliberation = Deliberation.from_json(strict_json.parse(one))
    assert len(deliberation.opinions) >= 3
    assert bool(deliberation.candidates) == (name == 'handwritten.json')
