"""Comparisons on small models, their numbers by hand, and their words."""

import dataclasses
import json

import numpy as np
import pytest
from policy_data.tiny_policies import group, mediator

from consensus_jax.deliberation import Candidate
from consensus_jax.mediator import Mediator
from consensus_jax.policy_data import policy_report, policy_tables
from consensus_jax.policy_data.groups import deliberation_of
from consensus_jax.policy_data.policy_report import Contestant
from consensus_jax.settings import Settings
from consensus_jax.strict_json import InputError

BRIEF = Settings(max_tokens=6, utility='sigmoid', min_p=0.0)
GROUPS = (
  group('Ayr'),
  group('Bath'),
  dataclasses.replace(group('Cork'), source='seed', group='Bath'),
)
JUDGE = mediator()


def contestants():
  base = mediator('tiny_llama', 'tiny_llama')
  return [
    Contestant(
      name='zero_shot',
      mediator=base,
      settings=dataclasses.replace(BRIEF, num_candidates=1),
    ),
    Contestant(
      name='sft',
      mediator=base,
      settings=dataclasses.replace(BRIEF, num_candidates=3, policy='sft'),
    ),
  ]


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  folder = tmp_path_factory.mktemp('report')
  seen = []
  report = policy_report.compare(
    contestants(),
    GROUPS,
    JUDGE,
    folder=folder,
    num_shown=2,
    num_draws=200,
    progress=lambda done, total: seen.append((done, total)),
  )
  return report, folder, seen


def test_a_report_is_strict_json_and_covers_every_policy_and_part(compared):
  report, _, _ = compared
  assert json.loads(json.dumps(report, allow_nan=False)) == report
  assert list(report['parts']) == ['all', 'polis', 'seed']
  whole = report['parts']['all']
  assert list(whole['entries']) == ['zero_shot', 'sft', 'sft, best of 3']
  assert list(whole['champion_against']) == ['zero_shot', 'sft, best of 3']
  assert (whole['groups'], whole['clusters']) == (3, 2)
  assert report['parts']['seed']['groups'] == 1


def test_numbers_are_those_of_the_judge(compared):
  report, folder, _ = compared
  first = [
    json.loads(line)['candidates'][0]['text'].strip()
    for line in (folder / 'sft.jsonl').read_text().splitlines()
  ]
  rewards = []
  for line, text in zip(
    (folder / 'judged.jsonl').read_text().splitlines(), first
  ):
    candidates = json.loads(line)['candidates']
    (given,) = (
      each['rewards']
      for each in candidates
      if each['text'] == (' '.join(text.split()) or policy_report.NOTHING)
    )
    rewards.append(np.mean(given))
  found = report['parts']['all']['entries']['sft']['reward']
  assert found[0] == pytest.approx(np.mean(rewards))
  assert found[1] <= found[0] <= found[2]


def test_what_nobody_can_be_asked_about_is_nothing():
  def candidate(text):
    return Candidate(
      text=text,
      rewards=(0.0,),
      utilities=(1.0,),
      welfare=1.0,
      rank=1,
      num_tokens=3,
      log_likelihood=-3.0,
      finish_reason='stop',
    )

  chosen = [candidate(text) for text in ('We \n agree.', 'We\0', '\u200b')]
  entry = policy_report._entry(
    'sft', chosen, [(c,) for c in chosen], [deliberation_of(GROUPS[0])] * 3
  )
  nothing = policy_report.NOTHING
  assert entry.texts == ('We agree.', nothing, nothing)


def test_the_best_of_n_is_the_selectors_choice(compared):
  _, folder, _ = compared
  for name, line in zip(
    (r.id for r in GROUPS), (folder / 'sft.jsonl').read_text().splitlines()
  ):
    outcome = json.loads(line)
    assert outcome['id'] == name
    welfare = [c['welfare'] for c in outcome['candidates'] if c['welfare']]
    if outcome['consensus']:
      winner = outcome['candidates'][outcome['consensus']['candidate']]
      assert winner['welfare'] == max(welfare)


def test_what_a_tiny_model_writes_fails_checks(compared):
  report, _, _ = compared
  for row in report['parts']['all']['entries'].values():
    assert row['passed'] == [0.0, 0.0, 0.0]
  assert report['failed']['sft']['words'] == 1.0
  # Nothing by nothing is no number.
  rival = report['parts']['all']['champion_against']['zero_shot']
  assert rival['passed_times'] == [None, None, None]


def test_a_comparison_goes_on_from_its_files(compared, monkeypatch):
  report, folder, seen = compared
  assert seen[0] == (0, 9) and seen[-1] == (9, 9)

  def fail(*_, **__):
    raise AssertionError('computes again')

  monkeypatch.setattr(Mediator, 'mediate', fail)
  monkeypatch.setattr(Mediator, 'rank', fail)
  again = policy_report.compare(
    contestants(), GROUPS, JUDGE, folder=folder, num_shown=2, num_draws=200
  )
  assert again == report
  with pytest.raises(InputError, match='was made with seed 0, now it is 1'):
    policy_report.compare(contestants(), GROUPS, JUDGE, folder=folder, seed=1)


def test_bad_contestants_and_no_groups_are_refused(tmp_path):
  both = contestants()
  with pytest.raises(InputError, match='different names'):
    policy_report.compare([*both, both[0]], GROUPS, JUDGE, folder=tmp_path)
  with pytest.raises(InputError, match="'rl' one of them"):
    policy_report.compare(both, GROUPS, JUDGE, folder=tmp_path, champion='rl')
  with pytest.raises(InputError, match='no groups'):
    policy_report.compare(both, (), JUDGE, folder=tmp_path)


def test_tables_say_what_the_report_holds(compared):
  report, _, _ = compared
  text = policy_tables.markdown(report)
  assert '### All groups: 3, in 2 clusters' in text
  assert '| sft, best of 3 |' in text
  assert '| zero_shot | - [-, -] |' not in text
  assert text.count('**Should buses be free in ') == 2
  value, low, high = report['parts']['all']['entries']['sft']['reward']
  assert f'| sft | {value:.2f} [{low:.2f}, {high:.2f}] |' in text


def test_statements_cannot_break_the_page():
  report = {
    'champion': 'sft',
    'parts': {},
    'failed': {},
    'statements': [
      {
        'question': 'A|B?',
        'statement': '# <b>Hi</b> *x*',
        'opinions': ['</details>\n\n# Mine', 'I *do*.'],
        'failed': ['words'],
      },
      {
        'question': 'C?',
        'statement': 'We agree.',
        'opinions': ['Yes.'],
        'failed': [],
      },
    ],
  }
  text = policy_tables.markdown(report)
  assert '1 of them pass every check.' in text
  assert '**A\\|B?**' in text
  assert '\\# \\<b\\>Hi\\</b\\> \\*x\\* *(words)*' in text
  assert '- \\</details\\> \\# Mine\n- I \\*do\\*.\n' in text
  assert '<summary>2 opinions</summary>' in text
  assert '<summary>1 opinion</summary>' in text
  assert text.count('</details>') == 2
