"""Cards: that their numbers are the document's, and their links lead on."""

import json
import re

import numpy as np
import pytest
from defaults import card_files
from tiny_cases import case

from consensus_jax.defaults import (
  card,
  policy_card,
  policy_targets,
  reward_targets,
  run_facts,
  targets,
)
from consensus_jax.defaults import measured_people as whom
from consensus_jax.defaults.measure import Measurement
from consensus_jax.defaults.people import HALF_A, HALF_B
from consensus_jax.evaluation import benchmark, robustness, systems
from consensus_jax.interop import adapters
from consensus_jax.strict_json import InputError

pytest.importorskip('matplotlib')


@pytest.fixture
def run(tmp_path):
  sources = {HALF_A[0]: 1203, HALF_A[1]: 17, 'invented': 31, 'stances': 9}
  return card_files.write_run(tmp_path, sources, {HALF_A[0]: 13})


@pytest.fixture
def runs(run, tmp_path):
  voted = [
    {'source': HALF_A[0], 'people': 1741, 'statements': 607, 'rows': 23}
    | {'votes': 98765}
  ]
  return {run: 0.625, card_files.write_statements_run(tmp_path, voted): 0.375}


@pytest.fixture
def found(run):
  rng = np.random.default_rng(0)
  people = tuple(
    case(
      f'{name}/{i}',
      name,
      group=name,
      votes=rng.choice([-1, 1], 6).tolist(),
      statements=tuple('We agree.' + 'x' * n for n in rng.integers(1, 30, 6)),
    )
    for name in HALF_B[:2]
    for i in range(11)
  )

  def said(skill):
    return [
      skill * np.array(c.votes) + rng.normal(size=len(c.votes)) for c in people
    ]

  predictions = {
    whom.MODEL: said(2),
    systems.of_another(whom.MODEL): said(0),
    systems.LOGISTIC: said(0.5),
    systems.POPULARITY: said(1.9),
  }
  compared = {
    title: benchmark.compare(
      people,
      predictions,
      log_odds=[whom.MODEL, systems.LOGISTIC],
      differences=whom.differences(predictions),
      num_draws=40,
    )
    for title in (whom.NEW_BY_VOTES, whom.NEW_PEOPLE)
  }
  moved = robustness.measure(
    people,
    lambda cases: [
      np.array([float(len(text)) for text in each.statements]) for each in cases
    ],
  )
  sha256 = adapters.weights_sha256(run / 'adapters')
  return Measurement(
    sections=compared | {whom.ROBUSTNESS: moved},
    predictions=dict.fromkeys(compared, (people, predictions)),
    about={
      'models': {
        whom.SHIPS: {
          'name': 'little',
          'sha256': 'ab' * 32,
          'adapters': {'name': whom.SHIPS, 'sha256': sha256},
        }
      },
      'halves': {'a': list(HALF_A), 'b': list(HALF_B)},
      'sizes': {'train': 131, 'rater': 47, 'statements': 29},
    },
  )


def links(text):
  return re.findall(r'\]\(([^)#]+)\)', text)


def test_the_card_holds_the_numbers_of_its_document(found, run, runs, tmp_path):
  folder = tmp_path / 'docs' / 'models'
  document = card.write_reward_card(folder, found, run / 'adapters', runs)
  text = (folder / card.CARD).read_text()
  written = json.loads((folder / card.METRICS).read_text())
  assert written == json.loads(json.dumps(document))
  assert card.reward_card(written) == text
  train = document['about']['runs'][0]['rows']['train']
  sums = {
    f'{sum(each[name] for each in train if each["synthetic"] in kinds):,}'
    for name in ('people', 'rows', 'votes')
    for kinds in ([False], [True])
  }
  known = card_files.written_out(written) | sums
  shown = card_files.numbers_in_tables(text)
  assert len(shown) > 80 and shown <= known, shown - known
  assert '3% of the rows' in text  # 40 of 1,260 are synthetic.
  assert {'1,203', '17', '31', '0.0017', '607', '98,765', '1,741'} <= shown
  assert {'0.625', '0.375'} <= shown
  assert '29 votes each of at most 131 people of a conversation' in text
  assert 'at most 47 people of a new' in text
  assert 'Run `half_a`: 2 steps in 1.5 hours' in text and '| 16 to 29,' in text
  assert text.count('checkpoint of the best validation loss') == 1
  assert text.count('checkpoint of the last step') == 1
  # Nothing of this machine.
  assert str(tmp_path) not in text + json.dumps(written)
  for link in links(text):
    if not link.startswith('../'):
      assert (folder / link).stat().st_size, link
  assert {card.CALIBRATION, card.LENGTH, card.AUC} <= {*links(text)}
  headings = [line for line in text.splitlines() if line.startswith('#')]
  assert headings[0].startswith('# ') and all(
    each.startswith(('## ', '### ')) for each in headings[1:]
  )
  assert [h for h in headings if h.startswith('### ')] == [
    f'### {title}' for title in found.sections
  ]


def test_a_card_says_what_ships(found, run, runs, tmp_path):
  shipped = tmp_path / 'shipped'
  shipped.mkdir()
  (shipped / adapters.WEIGHTS_FILE).write_bytes(b'half of it')
  folder = tmp_path / 'docs'
  card.write_reward_card(folder, found, run / 'adapters', runs, shipped=shipped)
  text = (folder / card.CARD).read_text()
  assert adapters.weights_sha256(shipped) in text
  assert adapters.weights_sha256(run / 'adapters') in text


def test_other_adapters_than_were_measured_are_refused(
  found, run, runs, tmp_path
):
  (run / 'adapters' / adapters.WEIGHTS_FILE).write_bytes(b'other weights')
  with pytest.raises(InputError, match='adapters differ'):
    card.write_reward_card(tmp_path / 'docs', found, run / 'adapters', runs)
  assert not (tmp_path / 'docs').exists()


def test_a_run_that_is_not_whole_is_refused(found, run, runs, tmp_path):
  (run / 'config.json').unlink()
  with pytest.raises(InputError, match=r'config\.json: is missing'):
    card.write_reward_card(tmp_path / 'docs', found, run / 'adapters', runs)
  assert not (tmp_path / 'docs').exists()


def test_a_run_that_goes_on_is_refused(run):
  lines = (run / 'metrics.jsonl').read_text().splitlines(keepends=True)
  (run / 'metrics.jsonl').write_text(''.join(lines[:-1]))
  with pytest.raises(InputError, match='is at step 1 of 2'):
    run_facts.about(run)


def interval(value, low=None):
  return {'value': value, 'low': value if low is None else low, 'high': 1.0}


def section(title, measures, minus):
  return {
    'title': title,
    'rows': [{'system': whom.MODEL, 'measures': measures}],
    'differences': [
      {'first': whom.MODEL, 'second': name, 'measures': {'auc': found}}
      for name, found in minus.items()
    ],
  }


def test_targets_are_met_or_missed():
  another = systems.of_another(whom.MODEL)
  measures = {'auc': interval(0.72), 'length_correlation': interval(-0.2)}
  by_votes = section(
    whom.NEW_BY_VOTES,
    measures,
    {
      systems.LOGISTIC: interval(0.05, -0.01),
      another: interval(0.01, 0.001),
    },
  )
  known = section(
    whom.NEW_PEOPLE, measures, {systems.POPULARITY: interval(0.01, 0.0)}
  )
  found = reward_targets.reached({'sections': [by_votes, known]})
  # No comments, and no model of statements, were measured.
  assert [each['met'] for each in found] == [
    *(False, True, None, False, True, None, None, False)
  ]
  text = targets.markdown(found)
  for each in found:
    assert bool(each['why']) == (each['met'] is False)
    assert not each['why'] or each['why'] in text
  assert found[0]['wanted'] == 'at least 0.03, interval above zero'
  assert found[0]['found'] == interval(0.05, -0.01)
  assert found[2]['found'] is None
  by_votes['differences'][0]['measures']['auc'] = interval(0.03, 0.001)
  measures['length_correlation'] = interval(-0.19)
  met = [
    e['met'] for e in reward_targets.reached({'sections': [by_votes, known]})
  ]
  assert met[0] and met[-1]
  by_votes['differences'][0]['measures']['auc'] = interval(0.029, 0.001)
  measures['auc'] = interval(None)
  met = [
    e['met'] for e in reward_targets.reached({'sections': [by_votes, known]})
  ]
  assert not met[0] and met[1] is False


MODELS = {
  'name': 'little',
  'sha256': 'cd' * 32,
  'adapters': {'name': 'half_b', 'sha256': 'ef' * 32},
}


@pytest.fixture
def comparison():
  def entry(at):
    return {
      'reward': [at, at - 0.11, at + 0.12],
      'worst_off': [at - 1, at - 1.5, None],
      'passed': [0.83, 0.71, 0.92],
      'words': 61.4,
    }

  return {
    'champion': 'sft',
    'judge': MODELS,
    'contestants': [
      {
        'name': name,
        'policy': MODELS,
        'selector': MODELS,
        'settings': {'num_candidates': 8, 'temperature': 0.9},
      }
      for name in ('few_shot', 'sft')
    ],
    'parts': {
      'all': {
        'groups': 37,
        'clusters': 19,
        'entries': {'few_shot': entry(0.25), 'sft': entry(1.25)},
        'champion_against': {
          'few_shot': {
            'win_rate': [0.66, 0.57, 0.74],
            'reward_ahead': [1.04, 0.98, 1.11],
            'passed_times': [2.53, 2.31, 2.77],
          }
        },
      }
    },
    'failed': {'few_shot': {'too_short': 0.33}, 'sft': {'too_short': 0.02}},
    'statements': [
      {
        'group': f'g{i}',
        'question': f'Which bus, {i}?',
        'opinions': ['Mine.'],
        'statement': f'We all want bus number {i}.',
        'failed': [],
      }
      for i in range(4)
    ],
  }


def test_the_policys_card(comparison, run, tmp_path):
  yes = dict.fromkeys(policy_card.RUBRIC, True)
  no = yes | {'grounded': False}
  readings = tmp_path / 'readings.json'
  readings.write_text(
    json.dumps(
      {
        'reader 1': {'g0': yes, 'g1': yes, 'g2': no, 'g3': yes},
        'reader 2': {'g0': yes, 'g1': no, 'g2': no, 'g3': yes},
      }
    )
  )
  learned = (card_files.learned('seed', 3), card_files.learned('rounds', 2))
  folder = tmp_path / 'docs'
  document = policy_card.write_policy_card(
    folder, comparison, run, learned, readings=readings
  )
  text = (folder / policy_card.CARD).read_text()
  written = json.loads((folder / policy_card.METRICS).read_text())
  assert written == json.loads(json.dumps(document))
  assert policy_card.policy_card(written) == text
  shown = card_files.numbers_in_tables(text)
  # Shares of the readers, and what is wanted of them.
  read = {'2', '3', '4', '50%', '75%', '100%', '0.8'}
  known = card_files.written_out(written) | read
  assert len(shown) > 20 and shown <= known, shown - known
  assert (
    '| says nothing that no opinion holds | 3 of 4, 75% | 2 of 4, 50% |' in text
  )
  assert '| all of these | 3 of 4, 75% | 2 of 4, 50% |' in text
  assert '| seed | 1 | 3 | 1 |' in text and '| rounds | 1 | 2 | 1 |' in text
  for each in comparison['statements']:
    assert each['statement'] in text
    assert all(f'- {opinion}' in text for opinion in each['opinions'])
  assert MODELS['adapters']['sha256'] in text
  assert str(tmp_path) not in text + json.dumps(written)
  for link in links(text):
    assert link.startswith('../') or (folder / link).exists()
  policy_card.write_policy_card(folder, comparison, run, learned)
  assert 'Nobody has read' in (folder / policy_card.CARD).read_text()


def test_the_policys_targets(comparison):
  yes = dict.fromkeys(policy_card.RUBRIC, True)
  no = yes | {'fluent': False}
  ahead = comparison['parts']['all']['champion_against']
  ahead['sft, best of 8'] = {
    'win_rate': [0.4, 0.3, 0.5],
    'reward_ahead': [-0.2, -0.3, -0.1],
    'passed_times': [1.0, 0.9, 1.1],
  }
  groups = [f'g{i}' for i in range(5)]
  four = dict.fromkeys(groups, yes) | {'g4': no}
  found = policy_targets.reached(comparison, {'reader': four})
  assert [each['met'] for each in found] == [True, True, True, True]
  assert found[0]['found']['value'] == 0.8
  assert found[-1]['found'] == {'value': 0.2, 'low': 0.1, 'high': 0.3}
  three = four | {'g3': no}
  ahead['few_shot']['reward_ahead'] = [0.4, 0.0, 0.8]
  ahead['few_shot']['passed_times'] = [1.99, 1.0, 3.0]
  ahead['sft, best of 8']['reward_ahead'] = [-0.2, -0.3, 0.1]
  found = policy_targets.reached(comparison, {'a': four, 'b': three})
  assert [each['met'] for each in found] == [False] * 4
  assert policy_targets.reached(comparison, None)[0]['met'] is None
  ahead['few_shot']['passed_times'] = [None, None, None]
  assert policy_targets.reached(comparison, None)[2]['met'] is True
  comparison['parts']['all']['entries']['sft']['passed'][0] = 0.0
  assert policy_targets.reached(comparison, None)[2]['met'] is False


def test_a_card_without_a_choice_names_no_selector(comparison, run, tmp_path):
  for each in comparison['contestants']:
    each['settings']['num_candidates'] = 1
  learned = (card_files.learned('seed', 3),)
  policy_card.write_policy_card(tmp_path, comparison, run, learned)
  text = (tmp_path / policy_card.CARD).read_text()
  assert 'Nothing is selected' in text
  assert '| judges |' in text and '| selects |' not in text


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"a": {"g9": {}}}', r'readings\.json: a\.g9: unknown key'),
    ('{"a": {"g1": {"fluent": true}}}', 'g0: is missing'),
    ('{"a": {"g0": {}, "g1": {"fluent": true}}}', 'a.g0.fluent: is missing'),
    ('[1', 'not JSON'),
    ('[1]', 'must be an object of readers'),
    ('{}', 'must be an object of readers'),
    (
      json.dumps(
        {'a': dict.fromkeys(('g0', 'g1'), dict.fromkeys(policy_card.RUBRIC, 1))}
      ),
      'a.g0.fluent: must be true or false',
    ),
  ],
)
def test_readings_that_are_not_understood(content, message, tmp_path):
  path = tmp_path / 'readings.json'
  path.write_text(content)
  with pytest.raises(InputError, match=message):
    policy_card.read_readings(path, ['g0', 'g1'])
