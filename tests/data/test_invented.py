"""Invented conversations: what ships is whole; a public votes as it says."""

import json
from collections import Counter

import numpy as np
import pytest

from consensus_jax.data import invented
from consensus_jax.strict_json import InputError


@pytest.fixture(scope='module')
def shipped():
  return invented.read()


def test_each_conversation_is_whole_and_mixed(shipped):
  assert len(shipped) == 72
  assert len({each.question for each in shipped}) == 72
  for each in shipped:
    assert each.question.endswith('?') and each.place
    assert 2 <= len(each.axes) <= 4
    assert len(each.statements) == 26
    agree = np.array([s.agree for s in each.statements])
    pull = np.array([s.pull for s in each.statements])
    assert (agree > 0.8).sum() >= 3 and (agree < 0.45).sum() >= 4
    assert np.abs(pull).max() <= 3
    # Each axis has people on both sides, and something for both of them.
    assert ((pull >= 0.5).any(0) & (pull <= -0.5).any(0)).all()


def test_no_statement_stands_twice_and_length_gives_little_away(shipped):
  statements = [s for each in shipped for s in each.statements]
  texts = Counter(s.text.casefold() for s in statements)
  assert texts.most_common(1)[0][1] == 1
  lengths = [len(s.text.split()) for s in statements]
  assert 3 <= min(lengths) and max(lengths) <= 50
  with_agree = np.corrcoef(lengths, [s.agree for s in statements])
  assert abs(with_agree[0, 1]) < 0.1


@pytest.mark.parametrize('place', [0, 40, 71])
def test_a_public_votes_as_the_numbers_say(shipped, place):
  conversation = shipped[place]
  record = invented.simulate(
    conversation, num_people=3000, seed=1, opinions='votes'
  )
  votes = np.zeros((3000, 26))
  for row, member in zip(votes, record.members, strict=True):
    row[list(member.judged)] = member.votes
  share = (votes > 0).sum(0) / (votes != 0).sum(0)
  # What is told of a person is drawn with one vote of each side in it, so that
  # what is left has a little more of the side that most take.
  expected = [s.agree for s in conversation.statements]
  np.testing.assert_allclose(share, expected, atol=0.07)
  # People who agree with what the first axis pulls up reject what it pulls
  # down.
  pull = np.array([s.pull[0] for s in conversation.statements])
  up, down = pull.argmax(), pull.argmin()
  both = (votes[:, up] != 0) & (votes[:, down] != 0)
  together = np.corrcoef(votes[both][:, [up, down]].T)[0, 1]
  assert together < -0.1


@pytest.mark.parametrize('opinions', ['votes', 'comments'])
def test_people_are_asked_about_nothing_that_they_said(shipped, opinions):
  record = invented.simulate(
    shipped[5], num_people=20, seed=0, opinions=opinions
  )
  assert len({m.participant for m in record.members}) == 20
  for member in record.members:
    assert member.opinion and member.opinion_provenance == opinions
    for j in member.judged:
      assert record.statements[j].text not in member.opinion


def test_equal_seeds_make_equal_publics(shipped):
  one, same, other = (
    invented.simulate(shipped[2], num_people=5, seed=seed, opinions='votes')
    for seed in (3, 3, 4)
  )
  assert one == same != other


STATEMENT = {'text': 'We need it.', 'agree': 0.5, 'pull': [1, 0]}
CONVERSATION = {
  'question': 'What now?',
  'place': 'a town',
  'axes': ['wants more', 'trusts officials'],
  'statements': [STATEMENT],
}


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'agree': 1}, r'statements\[0\].agree: must be between 0 and 1'),
    (
      {'pull': [1]},
      r'statements\[0\].pull: must hold one number for each of 2',
    ),
    ({'text': ''}, r'statements\[0\].text'),
    ({'more': 1}, 'more'),
  ],
)
def test_a_faulty_file_is_refused(tmp_path, change, message):
  path = tmp_path / 'conversations.jsonl'
  bad = CONVERSATION | {'statements': [STATEMENT | change]}
  lines = [json.dumps(CONVERSATION), json.dumps(bad)]
  path.write_text('\n'.join(lines))
  with pytest.raises(InputError, match=message) as caught:
    invented.read(path)
  assert caught.value.line == 2 and caught.value.file == str(path)
