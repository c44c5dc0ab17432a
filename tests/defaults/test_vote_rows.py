"""Rows of votes: what they hold is what people said, and groups share it."""

import dataclasses

import numpy as np
import pytest
import tiny_models

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.defaults import stance_rows, vote_rows
from consensus_jax.strict_json import InputError

NUM_STATEMENTS = 30


@pytest.fixture(scope='module')
def tokenizer():
  return tiny_models.load('tiny_llama').tokenizer


def record(name='town', people=11, seed=0):
  rng = np.random.default_rng(seed)
  members = []
  for i in range(people):
    judged = np.sort(rng.choice(NUM_STATEMENTS, 20, replace=False))
    members.append(
      Member(
        participant=f'{name}/{i}',
        opinion=f'I am number {i}.',
        opinion_provenance='votes',
        judged=tuple(judged.tolist()),
        votes=tuple(rng.choice([-1, 0, 1], 20).tolist()),
      )
    )
  return JudgedDeliberation(
    id=name,
    source='polis',
    group=name,
    question=Question(text=f'What should {name} do?'),
    statements=tuple(
      Statement(text=f'We need {i} of them.', id=str(i))
      for i in range(NUM_STATEMENTS)
    ),
    members=tuple(members),
  )


@pytest.fixture
def written(tmp_path, tokenizer):
  records = [record('town'), record('city', people=9, seed=1)]
  vote_rows.write(tmp_path / 'rows', records, tokenizer, seed=3)
  return records, batches.open_examples(tmp_path / 'rows')


def test_a_row_holds_a_persons_opinion_and_votes(written, tokenizer):
  records, examples = written
  people = {m.participant: (r, m) for r in records for m in r.members}
  features = examples.features
  seen = set()
  for i in range(examples.num_examples):
    name = examples.meta['participants'][features['participants'][i]]
    seen.add(name)
    of, member = people[name]
    question = examples.meta['questions'][features['questions'][i]]
    assert question == of.question.text
    tokens, segments = features['tokens'][i], features['segment_ids'][i]
    prefix = prompts.reward_prefix_ids(
      of.question.text, member.opinion, tokenizer
    )
    assert tokens[segments == 1].tolist() == prefix
    votes = dict(zip(member.judged, member.votes, strict=True))
    first = NUM_STATEMENTS * records.index(of)
    for k, number in enumerate(features['statements'][i]):
      ids = tokens[segments == k + 2].tolist()
      if number < 0:
        assert not ids and np.isnan(features['levels'][i, k])
        continue
      text = of.statements[number - first].text
      assert ids == tokenizer.encode(prompts.reward_continuation(text))
      assert features['levels'][i, k] == votes[number - first]
      end = features['ends'][i, k]
      assert (
        segments[end] == k + 2
        and end == np.flatnonzero(segments == k + 2).max()
      )
      positions = features['positions'][i][segments == k + 2]
      assert positions[0] == len(prefix)
      assert (np.diff(positions) == 1).all()
  # Eleven and nine people: whole groups of four only.
  assert len(seen) == examples.num_examples == 16


def test_rows_of_a_group_are_of_one_conversation_and_differ(written):
  _, examples = written
  size = vote_rows.GROUP
  assert examples.block_rows == size
  questions = examples.features['questions'].reshape(-1, size)
  assert (questions == questions[:, :1]).all()
  levels = examples.features['levels'].reshape(len(questions), -1)
  numbers = examples.features['statements'].reshape(len(questions), -1)
  for level, number in zip(levels, numbers, strict=True):
    same = number[:, None] == number[None]
    assert (same & (level[:, None] > level[None])).sum() > 10


def test_groups_stay_together_in_every_order(written):
  _, examples = written
  size = vote_rows.GROUP
  names = np.asarray(examples.features['participants']).reshape(-1, size)
  groups = {tuple(row) for row in names.tolist()}
  seen = []
  for position in range(0, 2 * examples.num_examples, size):
    batch = batches.draw(examples, seed=5, position=position, batch_size=size)
    seen.append(tuple(batch['participants'].tolist()))
  half = len(seen) // 2
  assert {*seen[:half]} == groups == {*seen[half:]}
  assert seen[:half] != seen[half:]


def test_people_who_judged_little_are_left_out(tmp_path, tokenizer):
  few = record()
  members = tuple(
    dataclasses.replace(m, judged=m.judged[:5], votes=m.votes[:5])
    for m in few.members
  )
  few = dataclasses.replace(few, members=members)
  with pytest.raises(InputError, match='would hold no examples'):
    vote_rows.write(tmp_path / 'rows', [few], tokenizer, seed=0)


def test_joined_sets_keep_people_and_statements_apart(tmp_path, tokenizer):
  for i, name in enumerate(('town', 'city')):
    vote_rows.write(tmp_path / name, [record(name, seed=i)], tokenizer, seed=0)
  vote_rows.join(tmp_path / 'both', [tmp_path / 'town', tmp_path / 'city'])
  parts = [batches.open_examples(tmp_path / n) for n in ('town', 'city')]
  both = batches.open_examples(tmp_path / 'both')
  names = [
    [part.meta['participants'][i] for i in part.features['participants']]
    for part in (*parts, both)
  ]
  assert names[2] == names[0] + names[1]
  half = parts[0].num_examples
  first, second = (
    {*np.asarray(x).ravel().tolist()} - {-1}
    for x in np.split(both.features['statements'], [half])
  )
  assert first and second and not first & second
  np.testing.assert_array_equal(
    both.features['tokens'][half:], parts[1].features['tokens']
  )


def test_invented_people_keep_to_their_sides(tmp_path, tokenizer):
  questions = [
    Question(
      text=f'Is {i} right?',
      topic='numbers',
      affirming=f'{i} is right.',
      negating=f'{i} is NOT right.',
    )
    for i in range(12)
  ]
  stance_rows.write(tmp_path / 'rows', questions, tokenizer, num_rows=8, seed=0)
  examples = batches.open_examples(tmp_path / 'rows')
  assert examples.num_examples == 8
  for i in range(8):
    segments = examples.features['segment_ids'][i]
    tokens = examples.features['tokens'][i]
    told = tokenizer.decode(tokens[segments == 1].tolist())
    votes = {}
    for k, level in enumerate(examples.features['levels'][i]):
      if not np.isnan(level):
        votes[tokenizer.decode(tokens[segments == k + 2].tolist()).strip()] = (
          level
        )
    assert len(votes) == 16
    for text, vote in votes.items():
      negated = ' is not right.' in text
      other = (
        text.replace(' is not ', ' is ')
        if negated
        else (text.replace(' is ', ' is not '))
      )
      assert votes[other] == -vote
      said, opposite = ('Agree.', 'Disagree.')[:: int(vote)]
      assert f'{text} {said}' in told or f'{other} {opposite}' in told


def test_a_limit_takes_rows_of_each_record(tmp_path, tokenizer):
  records = [record('town'), record('city', seed=1)]
  vote_rows.write(tmp_path / 'rows', records, tokenizer, seed=0, max_rows=4)
  examples = batches.open_examples(tmp_path / 'rows')
  names = [
    examples.meta['participants'][i].split('/')[0]
    for i in examples.features['participants']
  ]
  assert names == ['town'] * 4 + ['city'] * 4


def test_statements_that_nobody_disputes_are_asked_about_too(
  tmp_path, tokenizer
):
  town = record(people=4)
  # All judge everything, and differ on the first half of it only.
  votes = [[1, -1][i % 2 if j < 15 else 0] for i in (0, 1) for j in range(30)]
  members = tuple(
    dataclasses.replace(
      member, judged=tuple(range(30)), votes=tuple(votes[i % 2 * 30 :][:30])
    )
    for i, member in enumerate(town.members)
  )
  town = dataclasses.replace(town, members=members)
  vote_rows.write(tmp_path / 'rows', [town], tokenizer, seed=0)
  examples = batches.open_examples(tmp_path / 'rows')
  asked = np.asarray(examples.features['statements'])[:, :10]
  assert 0.3 < (asked < 15).mean() < 0.9


def test_ratings_become_votes():
  town = record(people=1)
  member = dataclasses.replace(
    town.members[0],
    judged=(0, 1, 2, 3),
    votes=(),
    agreement=(1, 4, 7, None),
  )
  rated = dataclasses.replace(town, members=(member,))
  (voter,) = vote_rows.as_votes(rated).members
  assert voter.votes == (-1, 0, 1, None)
  assert voter.agreement == () and voter.judged == member.judged
