"""Packed rows of statements: every example whole, loss where it belongs."""

import dataclasses

import numpy as np
import pytest
import tiny_models
from defaults.tiny_seed import TRAIN

from consensus_jax import prompts
from consensus_jax.data import batches, sft_examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.sft_examples import SftExample
from consensus_jax.defaults import statement_rows
from consensus_jax.strict_json import InputError

# Tokens of the tiny model are letters.
SETTINGS = ExampleSettings(
  sources=('test',), task='consensus_sft', row_length=1000, min_quality=None
)


@pytest.fixture(scope='module')
def tokenizer():
  return tiny_models.load('tiny_llama').tokenizer


def test_rows_hold_every_example_once_and_teach_statements_alone(
  tmp_path, tokenizer
):
  statement_rows.write(tmp_path / 'rows', TRAIN, tokenizer, SETTINGS)
  examples = batches.open_examples(tmp_path / 'rows')
  assert examples.num_examples < len(TRAIN)
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


def test_what_does_not_fit_is_counted(tmp_path, tokenizer):
  short = dataclasses.replace(SETTINGS, row_length=20)
  with pytest.raises(InputError, match='would hold no examples'):
    statement_rows.write(tmp_path / 'rows', TRAIN, tokenizer, short)
