import dataclasses

import numpy as np
import pytest

from consensus_jax.data import questions, topics
from consensus_jax.data.records import Question
from consensus_jax.strict_json import InputError

SUBJECTS = ('cars', 'schools', 'taxes')
BANK = [
  Question(text=f'Should {subject} be {i}?', id=f'{subject} {i}')
  for i in range(8)
  for subject in SUBJECTS
]


def _embed(texts):
  """Three directions with some noise, and a mean that they share."""
  noise = np.random.default_rng(0).normal(size=(len(texts), 8)) * 0.05
  rows = noise + 3
  for row, text in zip(rows, texts):
    row[SUBJECTS.index(text.split()[1])] += 1
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_questions_on_one_subject_get_one_topic():
  clustered = topics.cluster(BANK, _embed, num_topics=3, seed=0)
  for question in clustered:
    expected = str(SUBJECTS.index(question.text.split()[1]))
    assert question.topic == expected  # In the order they first come up.
  assert [dataclasses.replace(q, topic='') for q in clustered] == BANK
  assert clustered == topics.cluster(BANK, _embed, num_topics=3, seed=0)


def test_more_topics_than_questions_are_refused():
  with pytest.raises(InputError, match='2 questions cannot have 3 topics'):
    topics.cluster(BANK[:2], _embed, num_topics=3, seed=0)


def test_whitened_rows_differ_equally_much_in_every_direction():
  rng = np.random.default_rng(0)
  mixed = rng.normal(size=(4000, 5)) * [100, 10, 1, 0.1, 0] + 7
  turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
  rows = topics.whitened(mixed @ turn, 9)
  assert rows.shape == (4000, 4)  # Nothing differs in the fifth.
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
  np.testing.assert_allclose(rows.T @ rows / 4000, np.eye(4) / 4, atol=0.02)
  # The first direction is that of the largest differences, up to its sign.
  one = topics.whitened(mixed @ turn, 1)[:, 0]
  assert np.corrcoef(one, np.sign(mixed[:, 0] - 7))[0, 1] ** 2 > 0.99


def test_equal_rows_and_one_topic_are_no_trouble():
  rows = topics.whitened(np.ones((3, 4)), 2)
  assert rows.shape == (3, 0)
  (one,) = {q.topic for q in topics.cluster(BANK, _embed, num_topics=1, seed=0)}
  assert one == '0'


def test_whole_topics_are_held_out_and_some_questions_of_the_others():
  bank = [
    Question(text=f'Should {i}?', id=str(i), topic=str(i % 100))
    for i in range(1000)
  ]
  held_out = topics.hold_out(bank, seed=0)
  counts = questions.count(held_out)
  questions.check(held_out)
  assert 2 <= counts.topics_by_split['ood_test'] <= 25
  others = counts.by_split['train'] + counts.by_split['iid_test']
  assert counts.by_split['iid_test'] / others == pytest.approx(0.1, abs=0.05)
  assert topics.hold_out(bank[::2], seed=0) == held_out[::2]
  assert topics.hold_out(bank, seed=1) != held_out
  with pytest.raises(InputError, match=r"'Should cars be 0\?' has no topic"):
    topics.hold_out(BANK, seed=0)
