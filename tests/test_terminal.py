import dataclasses
import json
import pathlib
import re

import pytest

from consensus_jax import terminal
from consensus_jax.deliberation import Opinion, Outcome
from consensus_jax.settings import Progress

_DATA = pathlib.Path(__file__).parent / 'data'


@pytest.fixture
def outcome():
  return Outcome.from_json(json.loads((_DATA / 'outcome.json').read_text()))


@pytest.fixture
def printed(capsys, monkeypatch):
  def printed(outcome, width=80):
    monkeypatch.setenv('COLUMNS', str(width))
    terminal.print_outcome(outcome)
    return capsys.readouterr().out

  return printed


@pytest.mark.parametrize('width', [40, 80, 200])
def test_the_table_holds_all_and_fits(outcome, printed, width):
  text = printed(outcome, width)
  assert max(map(len, text.splitlines())) <= width
  words = text.replace('│', ' ').split()
  flat = ' '.join(words)
  assert outcome.candidates[0].text in flat
  for index in outcome.ranked[1:]:
    # Wrapping breaks lines between words only.
    assert set(outcome.candidates[index].text.split()) <= set(words)
  for reward in outcome.candidates[3].rewards:
    assert f'{reward:+.2f}'.replace('-', '−') in flat
  assert 'refused: empty statement' in flat
  assert 'prompted rater' in flat
  assert 'alpha 0 to 5: #0; alpha 10 to ∞: #9' in flat
  assert '\x1b' not in text  # Not a terminal: no colours.


def test_best_first(outcome, printed):
  text = printed(outcome)
  places = [
    text.index(f'{outcome.candidates[index].welfare:.2f}', text.index('rank'))
    for index in outcome.ranked[:-1]
  ]
  assert places == sorted(places)


def test_what_is_written_again_is_shown_once(outcome, printed):
  second = outcome.ranked[1]
  shown = min(outcome.ranked[1:5])
  again = tuple(
    outcome.candidates[second] if index in outcome.ranked[2:5] else each
    for index, each in enumerate(outcome.candidates)
  )
  flat = ' '.join(
    printed(dataclasses.replace(outcome, candidates=again)).split()
  )
  words = ' '.join(outcome.candidates[second].text.split()[:3])
  assert flat.count(words) == 1
  assert flat.count(f'(word for word #{shown})') == 3


def test_a_large_group_is_shown_by_its_range(outcome, printed):
  many = dataclasses.replace(
    outcome,
    participants=tuple(Opinion(f'p{n}', 'a') for n in range(20)),
    candidates=tuple(
      dataclasses.replace(c, rewards=c.rewards * 4, utilities=c.utilities * 4)
      for c in outcome.candidates
    ),
  )
  text = printed(many).replace('\N{NO-BREAK SPACE}', ' ')
  rewards = outcome.candidates[0].rewards
  place = rewards.index(min(rewards))
  assert f'lowest, p{place + 10}, {min(rewards):+.2f}' in text
  assert f'mean {sum(rewards) / 5:+.2f}' in text
  assert len(re.findall(r'p\d+, ', text)) == 2 * 15  # The refused has none.


def test_nothing_is_obeyed_that_people_or_models_wrote(outcome, printed):
  evil = '[red]\x1b[2Jgone\u202eback\x9b31m[/red] :smile: [link=http://x]y'
  changed = dataclasses.replace(
    outcome,
    question=evil,
    participants=tuple(
      dataclasses.replace(opinion, participant=f'{n}{evil}')
      for n, opinion in enumerate(outcome.participants)
    ),
    candidates=tuple(
      dataclasses.replace(c, text=evil) for c in outcome.candidates
    ),
  )
  text = printed(changed)
  assert not set('\x1b\x9b\u202e') & set(text)
  assert '[red]�[2Jgone�back�31m[/red] :smile: [link=http://x]y' in text


def test_no_consensus(outcome, printed):
  refused = dataclasses.replace(
    outcome,
    consensus=None,
    candidates=tuple(
      dataclasses.replace(c, rank=None, refused='NaN reward')
      for c in outcome.candidates
    ),
  )
  text = ' '.join(printed(refused).split())
  assert 'No consensus' in text
  assert text.count('refused: NaN reward') == 16


def test_progress_takes_every_stage_and_leaves_nothing(capfd, monkeypatch):
  monkeypatch.setenv('FORCE_COLOR', '1')
  bar = terminal.ProgressBar()
  for title in ('[1/2] ', '[2/2] '):
    with bar.of(title):
      for stage in ('load', 'prefill', 'generate', 'score', 'aggregate'):
        bar(Progress(stage=stage, done=1, total=3, detail='x\x1b[2J'))
  out, err = capfd.readouterr()
  assert out == ''
  assert '\x1b[2J' not in err
