"""Runs, rounds and the comparison of the default policy, on tiny models."""

import dataclasses
import functools
import math
import pathlib
import shutil

import pytest
import tiny_training
from defaults import tiny_seed
from defaults.tiny_seed import TEST, TRAIN, VALIDATION

from consensus_jax import partitioning, prompts
from consensus_jax.data import batches, record_files
from consensus_jax.defaults import policy, policy_groups, statement_rows
from consensus_jax.interop import adapters, pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.language_model import LanguageModel
from consensus_jax.mediator import Mediator
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import groups, rounds
from consensus_jax.policy_data.statement_checks import LIMITS
from consensus_jax.settings import Settings
from consensus_jax.strict_json import InputError
from consensus_jax.training import launch
from consensus_jax.training.settings import MeshShape

LLAMA = tiny_training.GOLDEN / 'tiny_llama'
REWARD_MODEL = tiny_training.GOLDEN / 'tiny_llama_reward'
# Its tokens are letters.
RECIPE = policy.Recipe(
  pretrained=str(LLAMA),
  row_length=700,
  epochs=1,
  lora=LoraConfig(rank=2, targets=('query',)),
)


@pytest.fixture
def sources(monkeypatch, tmp_path):
  tiny_seed.install(monkeypatch)
  return tiny_seed.sources(tmp_path)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Rows and a finished run."""
  folder = tmp_path_factory.mktemp('policy')
  for name, records in (('sft', TRAIN), ('validation', VALIDATION)):
    policy.write_rows(folder, name, records, RECIPE)
  with pytest.MonkeyPatch.context() as patch:
    on_one_device(patch)
    return folder, policy.fine_tune(folder, 'sft', RECIPE)


def on_one_device(patch):
  """Eight virtual ones that wait for each other take a minute."""
  patch.setattr(MeshShape, 'build', lambda _: partitioning.make_mesh(1, 1, 1))


def test_a_run_trains_adapters_and_leaves_the_best(made):
  folder, trained = made
  base = pretrained.load_pretrained(LLAMA)
  found = adapters.load_adapters(trained, base.config, base.sha256)
  assert found.lora == RECIPE.lora and found.reward_head is None
  number = batches.open_examples(folder / 'rows' / 'sft').num_examples
  lines = tiny_training.lines(trained.parent, 'validation')
  assert lines[0]['step'] == 0
  assert lines[-1]['step'] == number // RECIPE.batch_size
  assert lines[-1]['loss'] < lines[0]['loss']


def test_what_is_there_is_not_made_again(made, monkeypatch, tmp_path):
  folder, trained = made
  runs = []
  monkeypatch.setattr(launch, 'train', runs.append)
  monkeypatch.setattr(statement_rows, 'write', None)
  policy.write_rows(folder, 'sft', TRAIN, RECIPE)
  again = policy.fine_tune(folder, 'sft', RECIPE)
  assert again == trained
  (run,) = runs
  assert run.patience == policy.PATIENCE
  assert run.validation_data == str(folder / 'rows' / 'validation')


def test_hours_left_grow_with_epochs_and_end_with_training(
  made, sources, tmp_path
):
  folder, _ = made
  long = dataclasses.replace(RECIPE, epochs=200)
  one, many = (policy.hours_left(tmp_path, recipe=r) for r in (RECIPE, long))
  assert 0 < one < many < 400 * one
  assert not (tmp_path / 'runs').exists()
  assert policy.hours_left(folder, recipe=RECIPE) == 0
  with pytest.raises(InputError, match='1 or more, got 0'):
    policy.Recipe(epochs=0)


@pytest.fixture
def long_models(monkeypatch):
  """Tiny models of any folder, with a context for prompts in letters."""
  load = LanguageModel.load

  def loaded(path):
    model = load(LLAMA if path is None else path)
    config = dataclasses.replace(model.config, max_length=4096)
    return dataclasses.replace(model, config=config)

  monkeypatch.setattr(LanguageModel, 'load', loaded)


def test_a_round_adds_the_best_of_what_the_policy_wrote(
  made, sources, long_models, monkeypatch, tmp_path
):
  on_one_device(monkeypatch)
  out = tmp_path / 'out'
  shutil.copytree(made[0], out)
  brief = dataclasses.replace(
    rounds.ROUND_SETTINGS, num_candidates=3, max_tokens=8, min_p=0.0
  )
  any_words = dict.fromkeys(LIMITS, (-math.inf, math.inf))
  monkeypatch.setattr(
    policy,
    'RoundSettings',
    functools.partial(
      rounds.RoundSettings, writing=brief, floor=0.0, limits=any_words
    ),
  )
  runs = []
  monkeypatch.setattr(
    launch, 'train', lambda run: runs.append(pathlib.Path(run.train_data).name)
  )
  after = policy.Rounds(
    number=2, num_groups=2, sources=sources, selector=REWARD_MODEL
  )
  # The second round would need the first one's export.
  with pytest.raises(ModelFileError, match='round_1'):
    policy.train_policy(out, recipe=RECIPE, after=after)
  assert runs == ['sft', 'round_1']
  records = list(record_files.read(out / 'records' / 'round_1.jsonl'))
  assert records[: len(TRAIN)] == [*TRAIN]
  added = records[len(TRAIN) :]
  assert 1 <= len(added) <= 2
  asked = policy_groups.round_groups(sources, num_groups=2, seed=1)
  assert {r.id for r in added} <= {f'rounds/1/{r.id}' for r in asked}
  examples = batches.open_examples(out / 'rows' / 'round_1')
  assert examples.meta['examples'] == len(records)
  lines = (out / 'rounds' / 'round_1.jsonl').read_text().splitlines()
  assert len(lines) == 2
  # What is there is not written again.
  monkeypatch.setattr(policy, 'best_of', None)
  one = dataclasses.replace(after, number=1)
  again = policy.train_policy(out, recipe=RECIPE, after=one)
  assert [*again] == ['sft', 'round_1']
  assert again['round_1'] == out / 'runs' / 'round_1' / launch.ADAPTERS


def test_rounds_of_nothing_are_refused(sources, tmp_path):
  with pytest.raises(InputError, match='number: must be 1 or more, got 0'):
    policy.Rounds(
      number=0, num_groups=4, sources=sources, selector=REWARD_MODEL
    )
  nobody = policy.Rounds(
    number=1, num_groups=0, sources=sources, selector=REWARD_MODEL
  )
  with pytest.raises(InputError, match='num_groups: must be 1 or more, got 0'):
    policy.train_policy(tmp_path, recipe=RECIPE, after=nobody)
  assert not (tmp_path / 'runs').exists()


def test_policies_are_compared_and_what_was_written_is_kept(
  long_models, monkeypatch, tmp_path
):
  monkeypatch.setattr(
    policy, 'Settings', functools.partial(Settings, max_tokens=6, min_p=0.0)
  )
  # Ours are long in letters.
  example = prompts.Example('Cats?', ('Yes.', 'No.'), 'We like some cats.')
  monkeypatch.setattr(prompts, 'EXAMPLES', (example,))
  compare = functools.partial(
    policy.compare,
    groups.without_statements(TEST[:1]),
    tmp_path,
    sft=LLAMA,
    selector=REWARD_MODEL,
    judge=REWARD_MODEL,
    num_candidates=2,
  )
  report, text = compare()
  assert [*report['parts']['all']['entries']] == [
    'zero_shot',
    'zero_shot, best of 2',
    'few_shot',
    'few_shot, best of 2',
    'sft',
    'sft, best of 2',
  ]
  asked = [each['settings']['policy'] for each in report['contestants']]
  assert asked == ['zero_shot', 'few_shot', 'sft']
  assert '| sft, best of 2 |' in text
  monkeypatch.setattr(Mediator, 'mediate', None)
  assert compare() == (report, text)
