"""Rounds on small models: what is kept, what is chosen, and how one goes on."""

import dataclasses
import json
import math

import pytest
import tiny_models
from policy_data.tiny_policies import group, mediator

from consensus_jax.data import record_files, sft_examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.deliberation import Candidate, Outcome
from consensus_jax.inference.sampler import Sample
from consensus_jax.mediator import Mediator
from consensus_jax.policy_data import groups, rounds
from consensus_jax.policy_data.statement_checks import LIMITS
from consensus_jax.settings import Settings
from consensus_jax.strict_json import InputError

ANY = dict.fromkeys(LIMITS, (-math.inf, math.inf))
WRITING = Settings(
  policy='sft',
  num_candidates=5,
  max_tokens=8,
  utility='sigmoid',
  overflow='truncate',
  temperature=0.7,
  min_p=0.0,
)
# What a tiny model writes has one to eight words.
SETTINGS = rounds.RoundSettings(
  round=1, writing=WRITING, floor=0.0, limits={**ANY, 'words': (3, 99)}
)


GROUPS = (group('Ayr'), group('Bath', ('Yes.', 'No.', 'Only for children.')))


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """A round, its file, and what it reported."""
  path = tmp_path_factory.mktemp('round') / 'outcomes.jsonl'
  seen = []
  outcomes = rounds.sample_candidates(
    mediator(),
    GROUPS,
    SETTINGS,
    path=path,
    progress=lambda done, total: seen.append((done, total)),
  )
  return outcomes, path, seen


def candidate(text, rewards, refused=None):
  utilities = tuple(
    None if r is None else 1 / (1 + math.exp(-r)) for r in rewards
  )
  scored = refused is None
  return Candidate(
    text=text,
    rewards=rewards,
    utilities=utilities,
    welfare=sum(u or 0 for u in utilities) / len(rewards) if scored else None,
    rank=1 if scored else None,
    num_tokens=5,
    log_likelihood=-3.0,
    finish_reason='stop',
    refused=refused,
  )


def outcome(record, *candidates):
  ranked = [i for i, each in enumerate(candidates) if each.refused is None]
  return Outcome(
    id=record.id,
    question=record.question.text,
    participants=groups.deliberation_of(record).opinions,
    candidates=candidates,
    consensus=ranked[0] if ranked else None,
    aggregation={},
    sensitivity=(),
    policy={'name': 'tiny', 'sha256': 'abc'},
    reward_model={},
    seed=7,
    timings={},
  )


def chosen(*outcomes, floor=0.25):
  tally = Tally()
  settings = dataclasses.replace(SETTINGS, floor=floor)
  found = rounds.choose(outcomes, GROUPS[: len(outcomes)], settings, tally)
  return found, {each.reason: each.count for each in tally.exclusions()}


def test_a_candidate_is_scored_if_it_passes_and_refused_if_not(ran):
  outcomes, _, _ = ran
  refused = [c for o in outcomes for c in o.candidates if c.refused]
  scored = [c for o in outcomes for c in o.candidates if not c.refused]
  assert refused and scored
  for each in refused:
    assert each.refused in ('fails words', 'says what another candidate says')
    assert set(each.rewards) == {None}
  for each in scored:
    assert len(each.text.split()) >= 1
    assert None not in each.rewards
    assert each.finish_reason in ('stop', 'length')
    assert math.isclose(
      each.welfare, sum(each.utilities) / len(each.utilities), rel_tol=1e-5
    )
  for each, record in zip(outcomes, GROUPS):
    assert (each.id, len(each.candidates)) == (record.id, 5)
    assert each.policy['policy'] == 'sft'
  assert outcomes[0].seed != outcomes[1].seed


def test_scores_are_those_of_the_mediator_alone(ran):
  outcomes, _, _ = ran
  for each, record in zip(outcomes, GROUPS):
    scored = [c for c in each.candidates if not c.refused]
    texts = tuple(c.text for c in scored)
    alone = mediator().rank(
      dataclasses.replace(groups.deliberation_of(record), candidates=texts)
    )
    for ours, theirs in zip(scored, alone.candidates, strict=True):
      assert ours.rewards == pytest.approx(theirs.rewards, abs=1e-4)


def test_progress_is_told_from_none_to_all(ran):
  assert ran[2] == [(0, 2), (1, 2), (2, 2)]


def test_a_round_goes_on_where_it_was_interrupted(ran, tmp_path, monkeypatch):
  outcomes, path, _ = ran
  lines = path.read_bytes().splitlines(keepends=True)
  torn = tmp_path / 'torn.jsonl'
  torn.write_bytes(lines[0] + lines[1][:100])
  asked = []

  def fake(mediator, deliberation, settings):
    asked.append(deliberation.id)
    return dataclasses.replace(outcomes[1], run={})

  monkeypatch.setattr(rounds, 'write_checked', fake)
  again = rounds.sample_candidates(mediator(), GROUPS, SETTINGS, path=torn)
  assert asked == ['Bath']
  assert again == outcomes
  assert torn.read_bytes() == path.read_bytes()
  other = dataclasses.replace(SETTINGS, round=2)
  with pytest.raises(InputError, match='was made with round 1'):
    rounds.sample_candidates(mediator(), GROUPS, other, path=path)


def test_a_group_none_of_whose_candidates_passes_has_an_outcome_too():
  strict = dataclasses.replace(SETTINGS, limits={**ANY, 'words': (99, 99)})
  found = rounds.write_checked(
    mediator(), groups.deliberation_of(GROUPS[0]), strict
  )
  assert found.consensus is None
  assert len(found.candidates) == 5
  assert Outcome.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_nobody_can_be_asked_about_is_refused(monkeypatch):
  texts = ('One \0 two.', ' ', 'We like buses.')
  samples = [Sample(t, (1, 2), -1.0, 'stop') for t in texts]
  monkeypatch.setattr(Mediator, 'write', lambda *_: (samples, ()))
  found = rounds.write_checked(
    mediator(),
    groups.deliberation_of(GROUPS[0]),
    dataclasses.replace(SETTINGS, limits=ANY),
  )
  assert [c.refused for c in found.candidates] == [
    'holds a NUL character',
    'is empty',
    None,
  ]
  assert found.consensus == 2


def test_the_fit_candidate_of_highest_welfare_is_chosen():
  (record,), left_out = chosen(
    outcome(
      GROUPS[0],
      candidate('Nobody is fond of this one.', (1.0, 1.0)),
      candidate('This one\nis liked by all.', (2.0, 2.0)),
      candidate('This one leaves somebody far behind.', (9.0, -1.5)),
      candidate('too short', (None, None), refused='fails words'),
    )
  )
  assert left_out == {
    'leaves a member with a utility below 0.25': 1,
    'fails words': 1,
  }
  (statement,) = record.statements
  assert statement.text == 'This one is liked by all.'
  assert (record.id, record.source) == ('rounds/1/Ayr', 'rounds')
  assert record.question == GROUPS[0].question
  assert record.members == GROUPS[0].members
  assert json.loads(statement.provenance) == {
    'policy': 'abc',
    'seed': 7,
    'round': 1,
    'best_of': 4,
    'welfare': 0.8808,
  }


def test_without_a_floor_the_mean_alone_decides():
  far = candidate('This one leaves somebody far behind.', (9.0, -1.0))
  near = candidate('Nobody is fond of this one.', (0.1, 0.1))
  (record,), _ = chosen(outcome(GROUPS[0], near, far), floor=0.0)
  assert record.statements[0].text == far.text


def test_groups_without_a_fit_candidate_or_told_the_same_are_counted():
  same = candidate('We agree that buses should be free for all.', (1.0, 1.0))
  wide = dataclasses.replace(
    same, rewards=(1.0,) * 3, utilities=(0.7,) * 3, welfare=0.7
  )
  found, left_out = chosen(outcome(GROUPS[0], same), outcome(GROUPS[1], wide))
  assert len(found) == 1
  assert left_out == {'would be told nearly what another group is told': 1}
  found, left_out = chosen(
    outcome(GROUPS[0], candidate('x', (None, None), refused='fails words'))
  )
  assert found == ()
  assert left_out == {'fails words': 1, 'has no fit candidate': 1}


def test_records_teach_the_policy_in_its_own_template(tmp_path):
  found, _ = chosen(outcome(GROUPS[0], candidate('We like buses.', (1.0, 1.0))))
  record_files.write(tmp_path / 'round.jsonl', found)
  tokenizer = tiny_models.load('tiny_llama').tokenizer
  settings = ExampleSettings(
    sources=('round.jsonl',), task='consensus_sft', min_quality=None
  )
  tally = Tally()
  records = record_files.read(tmp_path / 'round.jsonl')
  (example,) = sft_examples.encode(records, tokenizer, settings, tally)
  assert tally.exclusions() == ()
  assert 'We like buses.' in tokenizer.decode(list(example.statement))
  assert 'Should buses be free in Ayr?' in tokenizer.decode(
    list(example.prompt)
  )


def test_settings_that_cannot_be_are_refused():
  with pytest.raises(InputError, match='must be 1 or more'):
    rounds.RoundSettings(round=0)
  with pytest.raises(InputError, match='chosen by mean utility'):
    rounds.RoundSettings(round=1, writing=Settings(rule='schulze'))
  with pytest.raises(ValueError, match='meets'):
    rounds.choose([outcome(GROUPS[0])], GROUPS[1:], SETTINGS, Tally())
