"""People whom a model plays: drawn by name, written once, rated as told."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_cases
from scipy import special
from tiny_models import GOLDEN

from consensus_jax import cli
from consensus_jax.data import record_files
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.evaluation import persona_experiments, personas
from consensus_jax.evaluation.personas import Community
from consensus_jax.inference import sampler
from consensus_jax.inference.sampler import Sample, Sampling
from consensus_jax.language_model import LanguageModel
from consensus_jax.strict_json import InputError

POLICY, RATER = GOLDEN / 'tiny_llama', GOLDEN / 'tiny_llama_reward'
TOWN = Community(
  description='A town by the sea.',
  people=('a nurse', 'a baker', 'a welder', 'a widow', 'a student'),
)
QUESTIONS = ('Should we build a pier?', 'Should shops close on Sundays?')
SAMPLING = Sampling(temperature=0.9, top_p=0.95, top_k=None, min_p=0.1)


def groups(num_groups=4, size=3, seed=0):
  return personas.draw_groups(
    QUESTIONS, TOWN, num_groups=num_groups, size=size, seed=seed
  )


@pytest.fixture
def says(monkeypatch):
  """What the model writes, by draws; every call is counted."""
  prompts, texts = [], []

  def write(params, config, tokenizer, ids, *, seed, **_):
    del params, config
    prompts.append(tokenizer.decode(ids))
    text = texts.pop(0) if texts else f' think {seed}.'
    return [Sample(text, (1, 2), -1.0, 'stop')]

  monkeypatch.setattr(personas, 'sample', write)
  return prompts, texts


@pytest.fixture(scope='module')
def model():
  found = LanguageModel.load(POLICY, 'float32')
  config = dataclasses.replace(found.config, max_length=8192)
  return dataclasses.replace(found, config=config)


def write(model, path, asked, seed=0):
  return personas.write(
    model, TOWN, asked, path=path, sampling=SAMPLING, seed=seed
  )


def test_groups_are_drawn_by_name():
  found = groups(num_groups=30)
  assert found[:4] == groups()
  assert found != groups(num_groups=30, seed=1)
  for number, group in enumerate(found):
    assert group.question == QUESTIONS[number % 2]
    names = [each.name for each in group.personas]
    assert len({*names}) == 3 and {*names} <= {*TOWN.people}
  leanings = [each.leaning for group in found for each in group.personas]
  counts = [leanings.count(each) for each in personas.LEANINGS]
  assert sum(counts) == 90 and min(counts) > 15


def test_the_model_is_told_who_it_plays(model, says, tmp_path):
  prompts, _ = says
  (group, *_) = asked = groups(num_groups=2)
  found = write(model, tmp_path / 'o.jsonl', asked)
  assert len(prompts) == 6
  for text, persona in zip(prompts, group.personas):
    for part in (TOWN.description, QUESTIONS[0], persona.name, persona.leaning):
      assert part in text
  said = [opinion.text for opinion in found[0].opinions]
  assert all(text.startswith('I think ') for text in said)
  # Each draws for themselves.
  assert len({*said}) == 3
  names = [opinion.participant for opinion in found[0].opinions]
  assert names == [each.name for each in group.personas]


def test_what_is_written_is_not_written_again(model, says, tmp_path):
  prompts, _ = says
  path, asked = tmp_path / 'sub' / 'o.jsonl', groups()
  write(model, path, asked[:2])
  assert len(prompts) == 6
  found = write(model, path, asked)
  assert len(prompts) == 12
  assert found == write(model, tmp_path / 'other.jsonl', asked)
  assert found == write(model, path, asked)
  with pytest.raises(InputError, match='another model, community, sampling'):
    write(model, path, asked, seed=1)
  path.write_text(path.read_text()[:-20])
  with pytest.raises(InputError, match=r'o\.jsonl:4'):
    write(model, path, asked)


def test_who_says_nothing_is_not_there(model, says, tmp_path):
  _, texts = says
  # The first of three says nothing thrice, the second once.
  texts += ['', ' ', '\u200b', '', ' think so.', ' do not.']
  texts += ['', '', '', '', '', '', ' am alone.']
  some, none = write(model, tmp_path / 'o.jsonl', groups(num_groups=2))
  assert [each.text for each in some.opinions] == ['I think so.', 'I do not.']
  assert none is None


def test_ratings_are_probabilities_of_agreeing():
  rewards = np.array([[-40.0, 0.0, 40.0], [0.3, np.nan, -0.7]])
  found = persona_experiments._agreement(rewards)
  assert found[0] == [1, 4, 7] and found[1][1] is None
  for reward, rating in ((0.3, found[1][0]), (-0.7, found[1][2])):
    assert abs(1 + 6 * special.expit(reward) - rating) <= 0.5


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'community': ''}, 'community: is empty'),
    ({'people': ('a', 'a')}, r"people\[1\]: 'a' stands there twice"),
    ({'systems': ()}, 'systems: must hold at least one'),
    ({'systems': ('best',)}, r'systems\[0\]: must be one of'),
    ({'experiments': ('welfare',)}, r'experiments\[0\]: must be one of'),
    ({'size': 1}, 'size: must be 2 or more'),
    ({'other_model': 'x'}, "other_model: and the system 'other' go together"),
    ({'max_tokens': 0}, 'max_tokens'),
  ],
)
def test_settings_out_of_range_are_told(change, message):
  with pytest.raises(InputError, match=message):
    persona_experiments.Personas(
      **{'community': 'A town.', 'people': ('a', 'b')} | change
    )


def test_a_community_is_large_enough():
  with pytest.raises(InputError, match='as many as a group has, 6, got 5'):
    groups(size=6)


def test_from_a_gin_file_to_a_report(tmp_path, monkeypatch, capsys):
  longer = tiny_cases.loading_longer()
  monkeypatch.setattr(LanguageModel, 'load', staticmethod(longer))
  monkeypatch.setattr(personas, 'MAX_TOKENS', 8)
  arguments = [
    *('evaluate', 'experiments', '--gin_file=runs/eval_personas.gin'),
    f'--out={tmp_path}',
    "--gin.SYSTEMS=('zero_shot', 'few_shot')",
    *('--gin.NUM_GROUPS=3', '--gin.SIZE=3', '--gin.BEST_OF=2'),
    *('--gin.MAX_TOKENS=8', '--gin.NUM_DRAWS=20'),
    f'--gin.PROMPTED_MODEL="{POLICY}"',
    f'--gin.REWARD_MODEL="{RATER}"',
    f'--gin.RATER="{RATER}"',
  ]
  assert cli.main(arguments) == 0
  shown = capsys.readouterr().out
  assert 'says nothing of people' in shown
  # It chose and it rated.
  assert 'that says nothing' in shown
  records = list(record_files.read(tmp_path / 'records.jsonl'))
  assert len(records) == 3
  rater = longer(RATER)
  for record in records:
    assert {each.author for each in record.statements} == {
      f'{system}, best of {num}'
      for system in ('zero_shot', 'few_shot')
      for num in (1, 2)
    }
    assert all(member.opinion.startswith('I') for member in record.members)
  # Ratings are of the rater's own rewards.
  from consensus_jax.mediator import Mediator

  record = records[0]
  deliberation = Deliberation(
    'd',
    record.question.text,
    tuple(Opinion(m.participant, m.opinion) for m in record.members),
    candidates=tuple(dict.fromkeys(s.text for s in record.statements)),
  )
  ranked = Mediator(longer(POLICY), longer(RATER)).rank(deliberation)
  by_text = {each.text: each.rewards for each in ranked.candidates}
  for place, member in enumerate(record.members):
    wanted = [
      int(np.rint(1 + 6 * special.expit(by_text[s.text][place])))
      for s in record.statements
    ]
    assert list(member.agreement) == wanted
  assert rater.config.reward_head
  # What is there is kept.
  monkeypatch.setattr(sampler, 'sample', None)
  monkeypatch.setattr(personas, 'sample', None)
  assert cli.main(arguments) == 0
  assert capsys.readouterr().out == shown
  document = json.loads((tmp_path / 'experiments.json').read_text())
  assert [each['name'] for each in document['sections']] == [
    'systems',
    'topics',
  ]
