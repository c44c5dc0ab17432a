"""The default policy's rows, runs and comparison, on tiny models."""

import dataclasses

import numpy as np
import pytest
import tiny_models
import tiny_training

from consensus_jax import partitioning, prompts
from consensus_jax.data import batches, sft_examples
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.data.sft_examples import SftExample
from consensus_jax.defaults import policy, statement_rows
from consensus_jax.interop import adapters, pretrained
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import groups
from consensus_jax.strict_json import InputError
from consensus_jax.training import launch
from consensus_jax.training.settings import MeshShape

LLAMA = tiny_training.GOLDEN / 'tiny_llama'
# Its tokens are letters.
RECIPE = policy.Recipe(
  pretrained=str(LLAMA), row_length=700, epochs=1, lora=LoraConfig(rank=2)
)


def record(name, words=1):
  return JudgedDeliberation(
    id=name,
    source='seed',
    group=name,
    question=Question(text=f'Are buses good in {name}?'),
    statements=(
      Statement(text=f'We like {"very " * words}red buses.', id='consensus'),
    ),
    members=tuple(
      Member(participant=f'{name}/{i}', opinion=f'I am number {i}.')
      for i in range(3)
    ),
  )


TRAIN = tuple(record(name, i) for i, name in enumerate('ABCDEFGHI', 1))
VALIDATION = (record('Y'), record('Z'))


@pytest.fixture(scope='module')
def tokenizer():
  return tiny_models.load('tiny_llama').tokenizer


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Rows and a finished run."""
  folder = tmp_path_factory.mktemp('policy')
  for name, records in (('sft', TRAIN), ('validation', VALIDATION)):
    policy.write_rows(folder, name, records, RECIPE)
  with pytest.MonkeyPatch.context() as patch:
    # Eight virtual devices that wait for each other take a minute.
    one = lambda _: partitioning.make_mesh(1, 1, 1)  # noqa: E731
    patch.setattr(MeshShape, 'build', one)
    return folder, policy.fine_tune(folder, 'sft', RECIPE)


def test_rows_hold_every_example_once_and_teach_statements_alone(
  made, tokenizer
):
  examples = batches.open_examples(made[0] / 'rows' / 'sft')
  found = {}
  for i in range(examples.num_examples):
    row = {name: np.asarray(x[i]) for name, x in examples.features.items()}
    segments = row['segment_ids']
    assert (row['loss_weights'][segments == 0] == 0).all()
    for segment in range(1, segments.max() + 1):
      here = segments == segment
      assert row['positions'][here].tolist() == list(range(here.sum()))
      tokens, targets = row['tokens'][here], row['targets'][here]
      assert tokens[1:].tolist() == targets[:-1].tolist()
      learned = row['loss_weights'][here] == 1
      prompt = tokens[: len(tokens) - learned.sum() + 1].tolist()
      found[tokenizer.decode(targets[learned].tolist())] = prompt
      assert targets[-1] == sft_examples.end_id(tokenizer)
      assert learned[len(prompt) - 1 :].all()
  assert len(found) == len(TRAIN) == examples.meta['examples']
  for each in TRAIN:
    text = each.statements[0].text
    (prompt,) = (p for said, p in found.items() if text in said)
    asked = tokenizer.decode(prompt)
    assert each.question.text in asked and asked.endswith(prompts.VERDICT)
    for member in each.members:
      assert member.opinion in asked


def test_packing_leaves_little_room_and_loses_nothing():
  rng = np.random.default_rng(0)
  sizes = rng.integers(280, 480, 101).tolist()
  given = [SftExample((1,) * (n - 9), (2,) * 10) for n in sizes]
  rows = statement_rows.pack(given, 768)
  assert sorted(id(each) for row in rows for each in row) == sorted(
    map(id, given)
  )
  used = [sum(map(statement_rows.length, row)) for row in rows]
  assert max(used) <= 768
  assert len(rows) <= 1.1 * sum(sizes) / 768
  assert statement_rows.pack([], 768) == []


def test_the_seed_set_is_split_and_only_its_consensus_learned():
  records = policy.seed_records()
  assert {*records} == {'train', 'validation', 'ood_test'}
  for part in records.values():
    assert {len(r.statements) for r in part} == {1}
    assert {r.statements[0].id for r in part} == {'consensus'}
    assert not any(m.agreement for r in part for m in r.members)
  groups.check_apart(
    (*records['train'], *records['validation']), records['ood_test']
  )


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


@pytest.fixture
def few(monkeypatch):
  monkeypatch.setattr(
    policy,
    'seed_records',
    lambda: {'train': TRAIN, 'validation': VALIDATION, 'ood_test': ()},
  )


def test_a_long_training_is_announced_and_refused(few, tmp_path, capsys):
  long = dataclasses.replace(RECIPE, epochs=200)
  with pytest.raises(InputError, match='would take two cores about'):
    policy.train_policy(tmp_path, recipe=long, max_hours=0.01)
  assert 'policy: about ' in capsys.readouterr().err
  assert not (tmp_path / 'runs').exists()
  with pytest.raises(InputError, match='1 or more, got 0'):
    policy.Recipe(epochs=0)
