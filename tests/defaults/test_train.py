"""What each run of the default reward model learns from, and how long."""

import dataclasses

import numpy as np
import pytest
import tiny_cases
import tiny_models

from consensus_jax.data import batches
from consensus_jax.data.records import Question
from consensus_jax.defaults import train
from consensus_jax.defaults.people import HALF_A, HALF_B, People
from consensus_jax.training import launch

NAMES = (HALF_A[0], HALF_B[0])


def described(name, split, draw, number):
  """People whose opinion says by which draw they are described."""
  found = tiny_cases.conversation(0, number, name=name)
  members = tuple(
    dataclasses.replace(
      member,
      participant=f'{name}/{split}/{i}',
      opinion=f'I was in draw {draw}.',
    )
    for i, member in enumerate(found.members)
  )
  return dataclasses.replace(found, members=members, group=name)


@pytest.fixture
def ran(monkeypatch):
  """A model, the draws that were read, and runs in place of their training."""
  model = tiny_models.load('tiny_llama')
  read, runs = [], []

  def everyone(folder, *, draw=0):
    read.append((folder, draw))
    return {
      split: People(
        votes=tuple(described(name, split, draw, number) for name in NAMES),
        # Too few for a group.
        comments=tuple(
          dataclasses.replace(described(name, split, draw, 3), id=f'{name}/c')
          for name in NAMES
        ),
      )
      for split, number in (('train', 9), ('validation', 5))
    }

  monkeypatch.setattr(train, 'load_pretrained', lambda **_: model)
  monkeypatch.setattr(train.people, 'read', everyone)
  monkeypatch.setattr(launch, 'train', runs.append)
  return model, read, runs


def recipes(*names):
  return [recipe for recipe in train.RECIPES if recipe.name in names]


def texts(examples, tokenizer):
  rows = np.asarray(examples.features['tokens'])
  return [tokenizer.decode(row[row > 0].tolist()) for row in rows]


def test_people_are_described_anew_in_every_draw(ran, tmp_path):
  model, read, runs = ran
  chosen = recipes('half_a', 'statements_a')
  hours = train.hours_left('polis', tmp_path, recipes=chosen)
  read.clear()
  found = train.train_reward_models('polis', 'bank', tmp_path, recipes=chosen)
  statements = batches.open_examples(runs[1].train_data).num_examples
  rows = 8 * train.DRAWS + statements
  assert hours == rows * train._SECONDS_STEP / 3600
  assert found['half_a'] == tmp_path / 'runs' / 'half_a' / 'adapters'
  assert sorted(read) == [('polis', draw) for draw in range(train.DRAWS)]
  half_a, statements_a = runs
  learned = batches.open_examples(half_a.train_data)
  # Eight of nine people make two groups, in every draw.
  assert learned.num_examples == 8 * train.DRAWS
  assert half_a.num_steps == 8 * train.DRAWS // half_a.batch_size
  own = {f'{HALF_A[0]}/train/{i}' for i in range(9)}
  assert {*learned.meta['participants']} <= own
  shown = texts(learned, model.tokenizer)
  for draw in range(train.DRAWS):
    assert sum(f'in draw {draw}.' in text for text in shown) == 8
  apart = batches.open_examples(half_a.validation_data)
  assert all('/validation/' in name for name in apart.meta['participants'])
  without = batches.open_examples(statements_a.train_data)
  assert 'in draw' not in ''.join(texts(without, model.tokenizer))
  assert without.meta['passes'] == train.PASSES
  assert [each['people'] for each in without.meta['voted']] == [9]
  assert statements_a.validation_data is None
  assert statements_a.num_steps == statements // statements_a.batch_size
  assert half_a.objective.contrast and not statements_a.objective.contrast
  # What is there is not made again.
  read.clear()
  train.train_reward_models('polis', 'bank', tmp_path, recipes=chosen)
  assert read == [('polis', 0)]


def test_synthetic_votes_are_added_to_real_ones(ran, tmp_path, monkeypatch):
  bank = [
    Question(
      text=f'Should we do {i}?',
      id=str(i),
      topic=str(i // 8),
      split='train' if i < 32 else 'ood_test',
      affirming=f'We should do {i}.',
      negating=f'We should NOT do {i}.',
    )
    for i in range(48)
  ]
  monkeypatch.setattr(train.questions, 'read', lambda _: bank)
  monkeypatch.setattr(train, 'NUM_STANCES', 8)
  monkeypatch.setattr(train, 'INVENTED_ROWS', 4)
  model, _, runs = ran
  monkeypatch.setattr(train, '_SECONDS_STEP', 3600.0)
  train.train_reward_models(
    'polis', 'bank', tmp_path, recipes=recipes('half_b', 'synthetic_b')
  )
  real, both = (batches.open_examples(run.train_data) for run in runs)
  number = real.num_examples
  for name, values in real.features.items():
    np.testing.assert_array_equal(values, both.features[name][:number])
  parts = {
    name: batches.open_examples(tmp_path / 'rows' / f'{name}_b').num_examples
    for name in ('invented', 'seed', 'stances')
  }
  assert parts['stances'] == 8
  assert both.num_examples == number + sum(parts.values())
  # As many as are announced.
  chosen = recipes('half_b', 'synthetic_b')
  told = train.hours_left('polis', tmp_path, recipes=chosen)
  assert told == number + both.num_examples
  for each in chosen:
    (tmp_path / 'runs' / each.name / 'adapters').mkdir(parents=True)
  assert train.hours_left('polis', tmp_path, recipes=chosen) == 0
  stances = batches.open_examples(tmp_path / 'rows' / 'stances_b')
  shown = ''.join(texts(stances, model.tokenizer))
  # Every second topic of those to learn from.
  assert not any(
    f'We should do {i}.' in shown for i in (*range(8), *range(32, 48))
  )
