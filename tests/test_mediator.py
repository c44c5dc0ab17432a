"""The main job on small models: what comes out, and what it depends on."""

import dataclasses
import functools
import json
import math
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from consensus_jax import prompts
from consensus_jax.deliberation import (
  Deliberation,
  InputError,
  Opinion,
  Outcome,
)
from consensus_jax.inference.sampler import Sample
from consensus_jax.language_model import LanguageModel
from consensus_jax.mediator import Mediator
from consensus_jax.settings import Settings

BRIEF = Settings(num_candidates=3, max_tokens=8, temperature=1.0)
BUSES = Deliberation(
  'buses',
  'Should buses be free?',
  (
    Opinion('Ann', 'Yes, for all.'),
    Opinion('Bob', 'No. Somebody has to pay for them.', 2.0),
    Opinion('Cem', 'Only for children.'),
  ),
)
GIVEN = dataclasses.replace(
  BUSES, candidates=('Buses should be free.', 'Children ride for free.')
)


def model_of(name, dtype='float32'):
  """A tiny model of a context long enough for prompts in letters."""
  model = tiny_models.load(name, dtype)
  return LanguageModel(
    config=dataclasses.replace(model.config, max_length=4096),
    params=tiny_models.unstacked(name, dtype),
    tokenizer=model.tokenizer,
    name=name,
    sha256=model.sha256,
    dtype=dtype,
  )


@functools.cache
def mediator(policy='tiny_qwen3', reward_model=None):
  policy = model_of(policy)
  rater = policy if reward_model is None else model_of(reward_model)
  return Mediator(policy, rater)


@functools.cache
def outcome(**kwargs):
  return mediator().mediate(GIVEN, dataclasses.replace(BRIEF, **kwargs))


def without_timings(result):
  return dataclasses.replace(result, timings={})


def check(result, deliberation, settings=BRIEF):
  """What every outcome promises."""
  text = json.dumps(result.to_json(), allow_nan=False)
  assert Outcome.from_json(json.loads(text)) == result
  assert (result.id, result.question) == (
    deliberation.id,
    deliberation.question,
  )
  assert result.participants == deliberation.opinions
  assert result.seed == settings.seed
  best = result.candidates[result.consensus]
  assert best.rank == 1
  ranked = [c for c in result.candidates if c.rank is not None]
  assert best.welfare == max(c.welfare for c in ranked)
  for candidate in ranked:
    assert all(u > 0 for u in candidate.utilities)
    better = sum(c.rank < candidate.rank for c in ranked)
    assert candidate.rank == 1 + better
  assert {'score', 'aggregate', 'total'} <= result.timings.keys()
  assert all(0 <= seconds < 600 for seconds in result.timings.values())
  parts = sum(v for k, v in result.timings.items() if k != 'total')
  assert parts <= result.timings['total'] + 0.1


def test_what_decides_on_words_reaches_the_sampler(monkeypatch):
  asked = []

  def no_statement(*_, sampling, free_to_copy, **__):
    asked.append((sampling, free_to_copy))
    return []

  monkeypatch.setattr('consensus_jax.mediator.sample', no_statement)
  settings = Settings(
    temperature=0.3,
    top_p=0.8,
    top_k=7,
    min_p=0.2,
    no_repeat_ngram_size=4,
    no_copy_ngram_size=9,
  )
  model = mediator()
  model.write(BUSES, settings)
  ((sampling, free_to_copy),) = asked
  for field in dataclasses.fields(sampling):
    assert getattr(sampling, field.name) == getattr(settings, field.name)
  tokenizer = model.policy.tokenizer
  assert free_to_copy == prompts.question_ids(BUSES.question, tokenizer)


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_qwen2', 'tiny_qwen3'])
@pytest.mark.parametrize('policy', ['zero_shot', 'few_shot', 'sft'])
def test_an_outcome_is_complete(name, policy):
  settings = dataclasses.replace(BRIEF, policy=policy, num_candidates=2)
  model = mediator(name)
  if policy == 'few_shot':
    longer = dataclasses.replace(model.policy.config, max_length=16_384)
    model = dataclasses.replace(
      model, policy=dataclasses.replace(model.policy, config=longer)
    )
  result = model.mediate(BUSES, settings)
  check(result, BUSES, settings)
  assert 'generate' in result.timings
  assert len(result.candidates) == 2
  for candidate in result.candidates:
    assert candidate.finish_reason in ('stop', 'length')
    assert candidate.num_tokens <= 8 and candidate.log_likelihood < 0
    opened = candidate.text.startswith(prompts.CHAT_OPENING)
    assert opened == (policy != 'sft')
    assert len(candidate.rewards) == len(candidate.utilities) == 3
  model_file = tiny_models.load(name)
  for described in (result.policy, result.reward_model):
    assert described['name'] == name
    assert described['sha256'] == model_file.sha256
    assert described['dtype'] == 'float32'
    assert described['platform'] == 'cpu'
  assert result.policy['policy'] == policy
  form = 'completion' if policy == 'sft' else 'chat'
  assert result.policy['prompt'] == form
  assert result.policy['temperature'] == settings.temperature
  assert result.reward_model['kind'] == 'prompted_rater'
  assert result.reward_model['answers'] == ['Agree', 'Disagree']
  assert result.truncations == ()


def test_the_same_seed_gives_the_same_outcome():
  again = mediator().mediate(GIVEN, BRIEF)
  assert without_timings(again) == without_timings(outcome())
  texts, others = (
    {c.text for c in result.candidates if c.finish_reason != 'given'}
    for result in (again, outcome(seed=1))
  )
  assert len(texts) == 3 and not texts & others


def test_statements_that_people_brought_join_the_others():
  result = outcome()
  check(result, GIVEN)
  reasons = [c.finish_reason for c in result.candidates]
  assert reasons[3:] == ['given'] * 2 and 'given' not in reasons[:3]
  assert tuple(c.text for c in result.candidates[3:]) == GIVEN.candidates
  for candidate in result.candidates[3:]:
    tokens = mediator().policy.tokenizer.encode(candidate.text)
    assert candidate.num_tokens == len(tokens)
    assert candidate.log_likelihood is None
  # Scored as they are alone, and generated as if they were not there.
  alone = mediator().rank(GIVEN, BRIEF)
  check(alone, GIVEN)
  np.testing.assert_allclose(
    [c.rewards for c in alone.candidates],
    [c.rewards for c in result.candidates[3:]],
    rtol=0,
    atol=1e-4,
  )
  generated = mediator().mediate(BUSES, BRIEF)
  assert [c.text for c in generated.candidates] == [
    c.text for c in result.candidates[:3]
  ]


def test_ranking_writes_nothing():
  result = mediator().rank(GIVEN, BRIEF)
  assert len(result.candidates) == 2
  assert result.policy == {} and 'generate' not in result.timings


def test_there_must_be_something_to_rank():
  with pytest.raises(InputError, match='no candidates') as error:
    mediator().rank(BUSES)
  assert error.value.field == ('candidates',)


@pytest.mark.parametrize('name', ['tiny_qwen3', 'tiny_qwen2_tied'])
def test_the_prompted_rater_is_the_log_odds_of_agreeing(name):
  model = mediator(name).policy
  stacked, config = tiny_models.load(name).params, model.config
  agree, disagree = prompts.rater_answers(model.tokenizer)
  rewards = [c.rewards for c in mediator(name).rank(GIVEN).candidates]
  for text, row in zip(GIVEN.candidates, rewards):
    for opinion, found in zip(GIVEN.opinions, row):
      ids = [
        *prompts.rater_prefix(GIVEN.question, opinion.text, model.tokenizer),
        *prompts.rater_continuation(text, model.tokenizer),
      ]
      log_probs = tiny_models.plain_log_probs(stacked, config, ids)[-1]
      expected = log_probs[agree] - log_probs[disagree]
      assert found == pytest.approx(expected, abs=1e-4)
  assert np.ptp(rewards) > 0.01


def test_a_reward_head_is_used_as_such():
  """By a model of another tokenizer than the policy's."""
  both = mediator('tiny_qwen3', 'tiny_llama_reward')
  result = both.mediate(GIVEN, BRIEF)
  check(result, GIVEN)
  assert result.reward_model['kind'] == 'reward_head'
  assert result.reward_model['name'] == 'tiny_llama_reward'
  assert result.policy['name'] == 'tiny_qwen3'
  model = tiny_models.load('tiny_llama_reward')
  config, tokenizer = both.reward_model.config, model.tokenizer
  for candidate in result.candidates[3:]:
    for opinion, found in zip(GIVEN.opinions, candidate.rewards):
      ids = [
        *prompts.reward_prefix_ids(GIVEN.question, opinion.text, tokenizer),
        *tokenizer.encode(prompts.reward_continuation(candidate.text)),
      ]
      x = tiny_models.plain_hidden(model.params, config, ids)[-1]
      expected = x @ np.asarray(model.params['reward_head'], np.float64)
      assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize('alpha', [0.0, 1.0, 2.5, math.inf])
def test_alpha_decides_how_welfare_is_made(alpha):
  result = outcome(alpha=alpha)
  check(result, GIVEN)
  weights = np.array([1, 2, 1]) / 4
  for candidate in result.candidates:
    utilities = np.array(candidate.utilities)
    if alpha == math.inf:
      welfare = utilities.min()
    elif alpha == 1:
      welfare = np.exp(weights @ np.log(utilities))
    else:
      welfare = (weights @ utilities ** (1 - alpha)) ** (1 / (1 - alpha))
    assert candidate.welfare == pytest.approx(welfare, rel=1e-4)
  recorded = result.aggregation['alpha']
  assert recorded == ('inf' if alpha == math.inf else alpha)
  assert result.aggregation['weights'] == [1.0, 2.0, 1.0]
  named = {step['alpha']: step['winner'] for step in result.sensitivity}
  if recorded in named:
    assert named[recorded] == result.consensus


def test_the_one_who_counts_alone_decides():
  for member in range(3):
    opinions = tuple(
      dataclasses.replace(opinion, weight=float(i == member))
      for i, opinion in enumerate(GIVEN.opinions)
    )
    result = mediator().rank(
      dataclasses.replace(GIVEN, opinions=opinions), BRIEF
    )
    rewards = [c.rewards[member] for c in result.candidates]
    assert result.consensus == int(np.argmax(rewards))


def test_a_policy_that_writes_nothing_is_refused_not_ranked():
  policy = mediator('tiny_llama').policy
  ends = dataclasses.replace(policy.tokenizer, eos_ids=tuple(range(320)))
  silent = dataclasses.replace(policy, tokenizer=ends)
  result = Mediator(silent, mediator().policy).mediate(GIVEN, BRIEF)
  check(result, GIVEN)
  for candidate in result.candidates[:3]:
    assert candidate.text == '' and candidate.num_tokens == 0
    assert candidate.refused == 'the model wrote nothing readable'
    assert candidate.rank is None and candidate.welfare is None
    assert candidate.rewards == (None,) * 3
    assert candidate.finish_reason == 'stop'
  assert result.consensus in (3, 4)
  # Where nobody brought a statement, there is no consensus, and no error.
  result = Mediator(silent, mediator().policy).mediate(BUSES, BRIEF)
  assert result.consensus is None
  assert Outcome.from_json(result.to_json()) == result


def test_what_no_file_may_hold_is_no_statement(monkeypatch):
  texts = ('One \0 two.', 'We like buses.')
  samples = [Sample(text, (1, 2), -1.0, 'stop') for text in texts]
  monkeypatch.setattr('consensus_jax.mediator.sample', lambda *_, **__: samples)
  outcome = mediator().mediate(BUSES, BRIEF)
  assert [bool(each.text) for each in outcome.candidates] == [False, True]
  assert outcome.consensus == 1
  assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_a_nan_reward_refuses_that_candidate_alone():
  model = mediator().policy
  text = GIVEN.candidates[1]
  ids = model.tokenizer.encode(prompts.reward_continuation(text))
  # A token that no prompt and no other candidate has.
  others = [
    *prompts.rater_continuation(GIVEN.candidates[0], model.tokenizer),
    *(
      i
      for o in GIVEN.opinions
      for i in prompts.rater_prefix(GIVEN.question, o.text, model.tokenizer)
    ),
  ]
  deliberation = GIVEN
  own = set(ids) - set(others)
  if not own:
    deliberation = dataclasses.replace(
      GIVEN, candidates=(GIVEN.candidates[0], f'{text} ½')
    )
    own = set(model.tokenizer.encode('½')) - set(others)
  embedding = model.params['embedding'].at[own.pop()].set(jnp.nan)
  broken = dataclasses.replace(
    model, params={**model.params, 'embedding': embedding}
  )
  result = Mediator(model, broken).rank(deliberation, BRIEF)
  check(result, deliberation)
  good, bad = result.candidates
  assert result.consensus == 0 and good.refused is None
  assert 'NaN' in bad.refused and bad.rewards == (None,) * 3
  assert bad.rank is None


def test_opinions_that_do_not_fit_are_an_error_or_cut():
  model = model_of('tiny_qwen3')
  long = dataclasses.replace(
    BUSES,
    opinions=(*BUSES.opinions, Opinion('Dee', 'No, ' * 300 + 'never.')),
  )
  whole = prompts.policy_prompt(long, model.tokenizer, 'zero_shot')
  room = len(whole) - 200
  config = dataclasses.replace(model.config, max_length=room + 8)
  model = dataclasses.replace(model, config=config)
  with pytest.raises(InputError, match='200 tokens'):
    Mediator(model, model).mediate(long, BRIEF)
  settings = dataclasses.replace(BRIEF, overflow='truncate')
  result = Mediator(model, model).mediate(long, settings)
  check(result, long, settings)
  # The record keeps what was said, in full, and tells what was cut.
  assert result.participants[-1].text == long.opinions[-1].text
  written, *scored = result.truncations
  assert written['participant'] == 'Dee' and 'stage' not in written
  assert written['kept_tokens'] < written['tokens']
  assert written['lost'].endswith('never.')
  assert all(cut['stage'] == 'score' for cut in scored)


def test_an_opinion_too_long_to_be_scored_is_cut_and_recorded():
  """Where the reward model reads less than the policy."""
  rater = model_of('tiny_llama_reward')
  rater = dataclasses.replace(
    rater, config=dataclasses.replace(rater.config, max_length=150)
  )
  long = dataclasses.replace(
    GIVEN, opinions=(*GIVEN.opinions, Opinion('Dee', 'No, ' * 60 + 'never.'))
  )
  pair = Mediator(mediator().policy, rater)
  with pytest.raises(InputError, match='tokens longer'):
    pair.rank(long, BRIEF)
  settings = dataclasses.replace(BRIEF, overflow='truncate')
  result = pair.rank(long, settings)
  check(result, long, settings)
  (cut,) = result.truncations
  assert (cut['participant'], cut['stage']) == ('Dee', 'score')


def test_progress_goes_through_the_stages():
  steps = []
  mediator().mediate(GIVEN, BRIEF, progress=steps.append)
  stages = list(dict.fromkeys(step.stage for step in steps))
  assert stages == ['generate', 'score', 'aggregate']
  for stage in stages:
    last = [step for step in steps if step.stage == stage][-1]
    assert last.done == last.total
  totals = {step.stage: step.total for step in steps}
  assert totals == {'generate': 8, 'score': 5 * 3, 'aggregate': 1}


def test_from_pretrained_reads_a_folder(tmp_path):
  folder = shutil.copytree(tiny_models.GOLDEN / 'tiny_qwen3', tmp_path / 'tiny')
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  path.write_text(json.dumps(config | {'max_position_embeddings': 4096}))
  loaded = Mediator.from_pretrained(
    folder, reward_model='prompted_rater', dtype='float32'
  )
  result = loaded.mediate(GIVEN, BRIEF)
  assert result.policy['name'] == 'tiny'
  assert [c.text for c in result.candidates] == [
    c.text for c in outcome().candidates
  ]
  narrow = Mediator.from_pretrained(
    folder,
    reward_model=tiny_models.GOLDEN / 'tiny_llama_reward',
    dtype='bfloat16',
  )
  assert narrow.policy.describe()['dtype'] == 'bfloat16'
  assert narrow.reward_model.config.reward_head


@pytest.mark.parametrize(
  ('asked', 'loaded'),
  [
    ({}, ('policy', 'reward_model')),
    ({'policy': 'sft'}, ('policy', 'reward_model')),
    ({'policy': 'zero_shot'}, (None, 'reward_model')),
    ({'policy': 'few_shot', 'model': 'mine'}, ('mine', 'reward_model')),
    ({'model': 'mine'}, ('mine', 'reward_model')),
    ({'reward_model': 'yours'}, ('policy', 'yours')),
    ({'reward_model': 'prompted_rater'}, ('policy', None)),
    ({'reward_model': 'prompted_rater', 'policy': 'zero_shot'}, (None, None)),
    ({'model': 'mine', 'reward_model': 'prompted_rater'}, ('mine', 'mine')),
  ],
)
def test_what_is_not_named_ships(monkeypatch, asked, loaded):
  def load(path, dtype):
    name = getattr(path, 'name', path)
    return dataclasses.replace(model_of('tiny_qwen3'), name=str(name))

  monkeypatch.setattr(LanguageModel, 'load', load)
  found = Mediator.from_pretrained(**asked)
  names = found.policy.name, found.reward_model.name
  assert names == tuple(map(str, loaded))


def test_a_policy_is_asked_as_it_was_taught():
  plain = mediator()
  taught = dataclasses.replace(
    plain,
    policy=dataclasses.replace(plain.policy, adapters=('a', 'c0ffee')),
  )
  for model, asked, by_name in (
    (plain, None, 'zero_shot'),
    (taught, None, 'sft'),
    (taught, 'few_shot', 'few_shot'),
  ):
    settings = dataclasses.replace(BRIEF, max_tokens=4, num_candidates=1)
    longer = dataclasses.replace(model.policy.config, max_length=16_384)
    model = dataclasses.replace(
      model, policy=dataclasses.replace(model.policy, config=longer)
    )
    found, named = (
      model.mediate(BUSES, dataclasses.replace(settings, policy=policy))
      for policy in (asked, by_name)
    )
    assert found.policy == named.policy
    assert found.policy['policy'] == by_name
    assert found.candidates == named.candidates


@pytest.mark.slow
def test_the_embedded_model_writes_statements():
  policy = dataclasses.replace(
    model_of('smollm2'), config=tiny_models.load('smollm2').config
  )
  settings = Settings(num_candidates=2, max_tokens=24)
  result = Mediator(policy, policy).mediate(GIVEN, settings)
  check(result, GIVEN, settings)
  assert len(result.candidates) == 4
  for candidate in result.candidates[:2]:
    assert candidate.refused is None
    assert candidate.text.startswith('We agree that ')
    # English, as far as that can be told: words, and likely ones.
    words = candidate.text.split()
    assert len(words) >= 5 and np.mean([len(w) for w in words]) < 9
    assert candidate.log_likelihood / candidate.num_tokens > -3
  assert 'bus' in ' '.join(c.text.lower() for c in result.candidates[:2])
