import collections
import hashlib
import json
import pathlib

import pytest

from consensus_jax.data import questions
from consensus_jax.data.records import Question
from consensus_jax.strict_json import InputError

BANK = pathlib.Path('../shared/data/habermas/questions.json')
OUT_OF_DISTRIBUTION = [3, 9, 22, 27, 28, 42, 53, 77, 91, 92, 98, 102]

with_bank = pytest.mark.skipif(not BANK.exists(), reason='no question bank')


@pytest.fixture(scope='module')
def bank():
  return questions.read(BANK)


@with_bank
def test_the_bank_has_its_published_counts(bank):
  counts = questions.count(bank)
  assert counts.questions == 5645
  assert counts.by_split == {'train': 4500, 'iid_test': 565, 'ood_test': 580}
  assert counts.topics == 105
  assert counts.topics_by_split == {'train': 93, 'iid_test': 92, 'ood_test': 12}
  assert counts.words == (3, pytest.approx(10.9, abs=0.05), 36)


@with_bank
def test_its_topics_are_held_out_whole(bank):
  topics = {
    split: {int(q.topic) for q in bank if q.split == split}
    for split in ('train', 'iid_test', 'ood_test')
  }
  assert sorted(topics['ood_test']) == OUT_OF_DISTRIBUTION
  assert not topics['ood_test'] & topics['train']
  assert topics['iid_test'] < topics['train']
  sizes = collections.Counter(q.topic for q in bank).values()
  assert (min(sizes), max(sizes)) == (12, 114)


@with_bank
def test_its_questions_are_whole(bank):
  assert bank[0] == Question(
    text='Will artificial intelligence make us better off in the long run?',
    id='S173963710',
    topic='0',
    split='train',
    affirming=(
      'Artificial intelligence will make us better off in the long run.'
    ),
    negating=(
      'Artificial intelligence will NOT make us better off in the long run.'
    ),
  )
  assert sum(' NOT ' in q.negating for q in bank) == 5230
  first = collections.Counter(q.text.split()[0] for q in bank)
  assert (first['Should'], first['Is'], first['Are']) == (4158, 888, 165)


@with_bank
def test_a_bank_comes_back_as_it_was(bank, tmp_path):
  some = bank[::20]
  questions.write(tmp_path / 'bank.json', some)
  assert questions.read(tmp_path / 'bank.json') == some


def test_another_checksum_is_refused(tmp_path):
  path = tmp_path / 'bank.json'
  questions.write(path, [Question(text='Should we?', id='a')])
  found = hashlib.sha256(path.read_bytes()).hexdigest()
  assert len(questions.read(path, sha256=found)) == 1
  with pytest.raises(InputError, match=f'has SHA-256 {found}, must have 0'):
    questions.read(path, sha256='0' * 64)


@with_bank
def test_the_bank_has_its_checksum():
  found = hashlib.sha256(BANK.read_bytes()).hexdigest()
  assert found == questions.BANK_SHA256


def _items(*changes):
  base = {'id': 'S1', 'question': 'Should we?', 'topic': 0, 'split': 'train'}
  other = {'id': 'S2', 'question': 'Should they?'}
  items = [base, {**base, **other}]
  for place, change in enumerate(changes):
    items[place] = {**items[place], **change}
  return items


@pytest.mark.parametrize(
  ('items', 'message'),
  [
    (_items({}, {'id': 'S1'}), ":3: [1].id: is that of [0] already: 'S1'"),
    (
      _items({}, {'question': 'Should we?'}),
      ":3: [1].question: is that of [0] already: 'Should we?'",
    ),
    (_items({'id': 7}), ':2: [0].id: must be a text, got a number'),
    (_items({'id': ''}), ':2: [0].id: is empty'),
    (_items({'question': ' '}), ':2: [0].question: is empty'),
    (_items({}, {'split': 'test'}), ":3: [1].split: must be one of 'train', "),
    (_items({}, {'topic': 1.5}), ':3: [1].topic: must be a text, got a number'),
    (_items({}, {'topic': True}), ':3: [1].topic: must be a text, got true'),
    (_items({}, {'answer': 'Yes.'}), ':3: [1].answer: unknown key'),
    (
      _items({}, {'split': 'ood_test'}),
      ':3: [1].split: topic 0 is out of distribution in [1], but not in [0]',
    ),
    (
      _items({'split': 'ood_test'}, {'split': 'iid_test'}),
      ':3: [1].split: topic 0 is out of distribution in [0], but not in [1]',
    ),
    ([{'id': 'S1'}], ':2: [0].question: is missing'),
    ({'id': 'S1'}, ':1: must be a list, got an object'),
  ],
)
def test_a_bad_bank_is_refused_with_its_line(tmp_path, items, message):
  path = tmp_path / 'bank.json'
  if isinstance(items, list):
    path.write_text('[\n' + ',\n'.join(map(json.dumps, items)) + '\n]')
  else:
    path.write_text(json.dumps(items))
  with pytest.raises(InputError) as raised:
    questions.read(path)
  assert str(raised.value).startswith(f'{path}{message}')


def test_no_bank_is_refused(tmp_path):
  with pytest.raises(InputError, match='cannot read: No such file'):
    questions.read(tmp_path / 'bank.json')
  (tmp_path / 'bank.json').write_bytes(b'[\n"\xff"]')
  with pytest.raises(InputError, match=r'bank\.json:2: not UTF-8'):
    questions.read(tmp_path / 'bank.json')


def test_a_bank_that_contradicts_itself_is_not_written(tmp_path):
  path = tmp_path / 'bank.json'
  with pytest.raises(InputError, match=r'\[0\]\.id: is empty'):
    questions.write(path, [Question(text='Should we?')])
  assert not list(tmp_path.iterdir())


def test_a_bank_of_our_own_needs_little(tmp_path):
  bank = (Question(text='Should we?', id='a'), Question(text='Why?', id='b'))
  questions.write(tmp_path / 'bank.json', bank)
  assert questions.read(tmp_path / 'bank.json') == bank
  counts = questions.count(bank)
  assert (counts.topics, counts.by_split) == (0, {'': 2})
