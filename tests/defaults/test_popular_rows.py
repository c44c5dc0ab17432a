"""Rows of statements: every mean is of the votes, every statement is there."""

import dataclasses

import numpy as np
import pytest
import tiny_cases
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import Statement
from consensus_jax.defaults import popular_rows, vote_rows
from consensus_jax.strict_json import InputError

PASSES = 3


@pytest.fixture(scope='module')
def tokenizer():
  return tiny_models.load('tiny_llama').tokenizer


def conversations():
  return [
    tiny_cases.conversation(seed, people, name=name)
    for seed, (name, people) in enumerate([('town', 9), ('city', 5)])
  ]


@pytest.fixture
def written(tmp_path, tokenizer):
  records = conversations()
  path = tmp_path / 'rows'
  popular_rows.write(path, records, tokenizer, passes=PASSES, seed=1)
  return records, batches.open_examples(path)


def test_a_row_holds_a_question_and_mean_votes_of_its_statements(
  written, tokenizer
):
  records, examples = written
  features = examples.features
  for i in range(examples.num_examples):
    record = records[features['questions'][i]]
    first = sum(
      len(each.statements) for each in records[: features['questions'][i]]
    )
    tokens, segments = features['tokens'][i], features['segment_ids'][i]
    prefix = prompts.reward_prefix_ids(record.question.text, '', tokenizer)
    assert tokens[segments == 1].tolist() == prefix
    means = popular_rows.mean_votes(record)
    there = features['statements'][i] >= 0
    for k in np.flatnonzero(there):
      place = int(features['statements'][i][k]) - first
      ids = tokenizer.encode(
        prompts.reward_continuation(record.statements[place].text)
      )
      assert tokens[segments == 2 + k].tolist() == ids
      assert features['levels'][i][k] == pytest.approx(means[place])
    assert np.isnan(features['levels'][i][~there]).all()


def test_every_statement_is_drawn_in_every_pass_but_for_rows_of_few(written):
  records, examples = written
  numbers = np.asarray(examples.features['statements'])
  counts = np.bincount(numbers[numbers >= 0])
  voted = {
    sum(len(r.statements) for r in records[:place]) + statement
    for place, record in enumerate(records)
    for statement in popular_rows.mean_votes(record)
  }
  assert {*np.flatnonzero(counts).tolist()} == voted
  assert counts.max() <= PASSES
  # Not always in the same company.
  rows = [tuple(row[row >= 0].tolist()) for row in numbers]
  assert len({*rows}) == len(rows)


def test_a_set_says_what_it_was_made_of(written):
  records, examples = written
  voted = examples.meta[popular_rows.VOTED]
  assert [each['source'] for each in voted] == ['town', 'city']
  assert sum(each['rows'] for each in voted) == examples.num_examples
  for each, record in zip(voted, records, strict=True):
    votes = [v for m in record.members for v in m.votes if v is not None]
    assert each['votes'] == len(votes)
    assert each['people'] == len(record.members)
    assert each['statements'] == len(popular_rows.mean_votes(record))


@settings(max_examples=25)
@given(
  votes=st.lists(
    st.lists(st.sampled_from([-1, 0, 1, None]), min_size=4, max_size=4),
    min_size=1,
    max_size=6,
  )
)
def test_means_lie_between_the_votes_and_the_mean_of_all(votes):
  record = _voted(votes)
  found = popular_rows.mean_votes(record)
  given_ = np.array(votes, float)
  everything = given_[np.isfinite(given_)]
  assert {*found} == {*np.flatnonzero(np.isfinite(given_).any(0)).tolist()}
  for place, level in found.items():
    own = given_[:, place][np.isfinite(given_[:, place])]
    ends = sorted([own.mean(), everything.mean()])
    assert ends[0] - 1e-9 <= level <= ends[1] + 1e-9
    # Two votes of the conversation's mean beside its own.
    expected = np.mean([*own, everything.mean(), everything.mean()])
    assert level == pytest.approx(expected)


def _voted(votes):
  record = tiny_cases.conversation(0, len(votes), name='town')
  return dataclasses.replace(
    record,
    statements=record.statements[:4],
    members=tuple(
      dataclasses.replace(member, judged=(0, 1, 2, 3), votes=tuple(each))
      for member, each in zip(record.members, votes, strict=True)
    ),
  )


def test_a_statement_too_long_for_any_row_is_left_out(tokenizer):
  record = _voted([[1, 1, -1, 1]] * 3)
  endless = 'no ' * vote_rows.ROW_LENGTH
  statements = list(record.statements)
  statements[2] = Statement(text=endless, id='long')
  record = dataclasses.replace(record, statements=tuple(statements))
  rows = popular_rows.make([record], tokenizer, passes=2, seed=0)
  shown = {n for row in rows for n in row['statements'].tolist() if n >= 0}
  assert shown == {0, 1, 3}


def test_nobodys_votes_are_refused(tmp_path, tokenizer):
  record = _voted([[None] * 4])
  with pytest.raises(InputError):
    popular_rows.write(tmp_path / 'rows', [record], tokenizer, passes=2, seed=0)
  assert not (tmp_path / 'rows').exists()
