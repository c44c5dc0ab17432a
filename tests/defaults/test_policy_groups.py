"""Whom the policy writes for to learn from, and others when it is judged."""

import dataclasses
import pathlib

import pytest
from defaults import tiny_seed

from consensus_jax.defaults import people, policy_groups
from consensus_jax.policy_data import groups
from consensus_jax.strict_json import InputError

DATA = pathlib.Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture
def sources(monkeypatch, tmp_path):
  tiny_seed.install(monkeypatch)
  return tiny_seed.sources(tmp_path)


def test_the_seed_set_is_split_and_only_its_plain_statements_learned():
  records = policy_groups.seed_records()
  assert {*records} == {'train', 'validation', 'ood_test'}
  for part in records.values():
    assert {len(r.statements) for r in part} == {1}
    assert {r.statements[0].id for r in part} == {'plain'}
    assert not any(m.agreement for r in part for m in r.members)
  groups.check_apart(
    (*records['train'], *records['validation']), records['ood_test']
  )


def test_rounds_write_for_people_and_questions_to_learn_from(sources):
  found = policy_groups.round_groups(sources, num_groups=20, seed=1)
  asked = [r for r in found if r.source == 'question_bank']
  assert [r.source for r in found[:4]] == ['polis', 'question_bank'] * 2
  # Not of a topic of the seed set that is held out, nor a published one.
  assert {r.id for r in asked} == {f'question/q{i}' for i in range(4)}
  spoken = {m.participant for r in found for m in r.members} - {
    m.participant for r in asked for m in r.members
  }
  assert spoken and all('/train-' in name for name in spoken)
  assert len({r.id for r in found}) == len(found) == 20
  again = policy_groups.round_groups(sources, num_groups=20, seed=1)
  other = policy_groups.round_groups(sources, num_groups=20, seed=2)
  assert again == found != other


def test_groups_to_evaluate_on_are_apart_of_all_sources_and_the_same(sources):
  found = policy_groups.evaluation_groups(sources, num_groups=12)
  order = ['seed', 'polis', 'question_bank', 'habermas']
  assert [r.source for r in found[:4]] == order
  # Of Ayr four people wrote, of Bath six: one group, and one or two.
  assert [r.source for r in found].count('polis') in (2, 3)
  assert [r.source for r in found].count('question_bank') == 4
  assert not any(r.statements for r in found)
  assert {r.question.split for r in found if r.source == 'question_bank'} == {
    'ood_test',
    'iid_test',
  }
  members = [m.participant for r in found for m in r.members]
  assert len(members) == len({*members})
  spoken = {
    m.participant for r in found if r.source == 'polis' for m in r.members
  }
  assert {name.split('-')[0] for name in spoken} == {
    'Ayr/validation',
    'Ayr/test',
    'Bath/test',
  }
  assert policy_groups.evaluation_groups(sources, num_groups=12) == found
  fewer = policy_groups.evaluation_groups(sources, num_groups=5)
  assert len(fewer) == 5 and {r.source for r in fewer} == {*order}


def test_groups_that_share_with_what_is_learned_are_refused(sources):
  seen = dict(sources.people) | {'iid_test': sources.people['train']}
  leaky = dataclasses.replace(sources, people=seen)
  with pytest.raises(InputError, match='leak'):
    policy_groups.evaluation_groups(leaky, num_groups=12)
  with pytest.raises(InputError, match='num_groups: must be 1 or more'):
    policy_groups.evaluation_groups(sources, num_groups=0)


@pytest.mark.skipif(not DATA.is_dir(), reason='needs the real data')
@pytest.mark.slow
def test_real_sources_have_groups_for_rounds_and_for_evaluation():
  sources = policy_groups.Sources(
    people=people.read(DATA / 'polis'),
    bank=DATA / 'habermas' / 'questions.json',
    examples=DATA / 'habermas' / 'examples.json',
  )
  held_out = policy_groups.evaluation_groups(sources, num_groups=24)
  learned = policy_groups.round_groups(sources, num_groups=24, seed=1)
  assert len(held_out) == len(learned) == 24
  groups.check_apart(learned, held_out)
  places = {r.question.text for r in held_out if r.source == 'polis'}
  assert len(places) == 5
