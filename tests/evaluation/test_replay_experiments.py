"""Replay finds that a reward model which knows the votes chooses best."""

import dataclasses

import numpy as np
import pytest
from tiny_cases import conversation

from consensus_jax.data import record_files
from consensus_jax.evaluation import findings, replay, replay_experiments
from consensus_jax.evaluation.replay_experiments import Replay
from consensus_jax.strict_json import InputError


def clairvoyant(record):
  """Rewards of who knows what everybody voted."""
  votes = {
    (member.participant, record.statements[index].text): vote
    for member in record.members
    for index, vote in zip(member.judged, member.votes)
  }

  def predict(cases):
    return [
      np.array(
        [5.0 * votes[case.participant, text] for text in case.statements]
      )
      for case in cases
    ]

  return predict


@pytest.fixture(scope='module')
def replayed(tmp_path_factory):
  folder = tmp_path_factory.mktemp('replay')
  record = conversation(people=60)
  path = folder / 'records.jsonl'
  record_files.write(path, [record])
  settings = Replay(
    records=(str(path),),
    size=4,
    fewest=5,
    alphas=(0, 'inf'),
    rules=('borda',),
    num_draws=100,
  )
  run = replay_experiments.run(settings, clairvoyant(record))
  return settings, {section.name: section for section in run}


def one(section, measure, system, against=''):
  (finding,) = [
    each
    for each in section.findings
    if (each.measure, each.system, each.against) == (measure, system, against)
  ]
  return finding.estimate.interval.value


def test_who_knows_the_votes_chooses_best(replayed):
  _, found = replayed
  best, known, chance, popular = (
    one(found['choice'], 'mean agreement', name)
    for name in (
      replay_experiments.PREDICTED,
      replay_experiments.KNOWN,
      replay_experiments.CHANCE,
      replay_experiments.POPULAR,
    )
  )
  assert best == pytest.approx(known)
  assert best > max(chance, popular)
  won = one(
    found['choice'],
    findings.WIN_RATE,
    replay_experiments.PREDICTED,
    replay_experiments.CHANCE,
  )
  assert won > 0.7
  assert found['choice'].recovered == (0, 0)


def test_aversion_to_inequality_serves_who_agrees_least(replayed):
  _, found = replayed
  name = 'least agreement of a member'
  least = [one(found['welfare'], name, f'alpha {a}') for a in ('0', 'inf')]
  assert least[1] >= least[0]
  assert one(found['conversations'], 'mean agreement, town', 'reward model')


def test_groups_have_no_member_in_common():
  record = conversation(people=60)
  found, missing = replay.draw_apart([record], per_conversation=40, size=4)
  names = [member.participant for group in found for member in group.members]
  assert len({*names}) == len(names) > 4
  assert {replay.conversation_of(group) for group in found} == {'town'}
  assert len(found) + sum(each.count for each in missing) == 40


def test_popularity_is_that_of_others():
  record = conversation(people=60)
  group = replay.draw_apart([record], per_conversation=1, size=4)[0][0]
  members = {member.participant for member in group.members}
  popular = replay_experiments._popularity(record, group)
  for place, statement in enumerate(group.statements):
    index = int(statement.id[1:])
    votes = [
      member.votes[index]
      for member in record.members
      if member.participant not in members and member.votes[index] is not None
    ]
    assert popular[place] == pytest.approx(np.mean(votes))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'records': ()}, 'records: must hold at least one'),
    ({'experiments': ('size',)}, r'experiments\[0\]: must be one of'),
    ({'utility': 'joy'}, r'utility\[0\]: must be one of'),
    ({'most': 3}, 'most: must be 5 or more, got 3'),
    ({'alphas': ('x',)}, r'alphas\[0\]: must be 0 or more'),
    ({'seed': -1}, 'seed: must be 0 or more'),
  ],
)
def test_bad_settings_are_refused(replayed, changes, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(replayed[0], **changes)


def test_what_is_not_there_is_refused(replayed):
  settings, _ = replayed
  for changes, message in (
    ({'conversations': ('moon',)}, r"conversations\[0\].*got 'moon'"),
    ({'fewest': 24, 'most': 24}, 'records: hold no 4 people'),
  ):
    other = dataclasses.replace(settings, **changes)
    with pytest.raises(InputError, match=message):
      replay_experiments.run(other, clairvoyant(conversation()))
