"""Real votes answer for real people, as far as there are any."""

import dataclasses
import pathlib

import numpy as np
import pytest
from tiny_cases import conversation

from consensus_jax.data import polis
from consensus_jax.data.exclusions import total
from consensus_jax.evaluation import ratings, replay
from consensus_jax.strict_json import InputError

POLIS = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'polis'


def test_votes_become_agreement():
  record = conversation()
  found, missing = replay.draw([record], per_conversation=9, size=4, fewest=5)
  assert len(found) == 9 and not missing
  texts = {each.text: index for index, each in enumerate(record.statements)}
  members = {member.participant: member for member in record.members}
  for group in found:
    assert len(group.members) == 4 and len(group.statements) >= 5
    assert group.question == record.question and group.group == group.id
    for member in group.members:
      own = members[member.participant]
      assert member.opinion == own.opinion
      for place, each in enumerate(group.statements):
        vote = own.votes[texts[each.text]]
        assert member.votes[place] == vote
        assert member.agreement[place] == {1: 7, 0: 4, -1: 1}[vote]
  assert len({group.id for group in found}) == 9
  again, _ = replay.draw([record], per_conversation=9, size=4, fewest=5)
  assert again == found
  table, left_out = ratings.from_records(found, system=lambda each: each.id)
  assert len(table.raters) == sum(4 * len(g.statements) for g in found)
  assert not left_out


def test_what_cannot_be_answered_is_counted():
  record = conversation()
  names = [member.participant for member in record.members]
  votes = np.array(
    [
      [np.nan if vote is None else 4 + 3 * vote for vote in member.votes]
      for member in record.members
    ]
  )
  texts = [each.text for each in record.statements]
  found, left_out = replay.answers(record, names, texts)
  np.testing.assert_array_equal(found, votes.T)
  (unknown,) = left_out
  assert unknown.count == np.isnan(votes).sum()
  assert unknown.reason == 'of a person who did not vote on it'
  found, left_out = replay.answers(
    record, names[:2], ['A machine wrote this.', 'we want number 3']
  )
  assert np.isnan(found[0]).all()
  np.testing.assert_array_equal(found[1], votes[:2, 3])
  assert left_out[0].reason == 'on a text nobody voted on'
  assert left_out[0].count == 2 and total(left_out, 'answer') == 2 + int(
    np.isnan(votes[:2, 3]).sum()
  )


def test_bad_input_is_refused():
  record = conversation()
  with pytest.raises(InputError, match="'nobody' has no part in town"):
    replay.answers(record, ['nobody'], ['x'])
  with pytest.raises(InputError, match='town is there twice'):
    replay.draw([record, dataclasses.replace(record)])


@pytest.mark.skipif(not POLIS.is_dir(), reason='needs the Polis data')
def test_groups_of_a_real_conversation():
  record, _ = polis.read(POLIS / 'scoop-hivemind.affordable-housing')
  found, missing = replay.draw([record], per_conversation=5, seed=1)
  assert len(found) + sum(each.count for each in missing) == 5
  assert found
  for group in found:
    names = [member.participant for member in group.members]
    texts = [each.text for each in group.statements]
    given, left_out = replay.answers(record, names, texts)
    assert not left_out
    agreement = np.array([member.agreement for member in group.members]).T
    np.testing.assert_array_equal(given, agreement)


@pytest.mark.skipif(not POLIS.is_dir(), reason='needs the Polis data')
def test_people_of_a_real_conversation_have_opinion_groups():
  folder = POLIS / 'scoop-hivemind.affordable-housing'
  record, _ = polis.read(folder)
  found = replay.opinion_groups(folder, record)
  assert [member.participant for member in record.members] == [*found]
  assert {*found.values()} >= {'0', '1'}
  other = dataclasses.replace(record, id='another')
  with pytest.raises(InputError, match=r'members\[0\]: .* has no row in'):
    replay.opinion_groups(folder, other)
