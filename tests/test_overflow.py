"""Opinions too long for a model: refused with a number, or cut and recorded."""

import re

import pytest
import tiny_models
from hypothesis import example, given
from hypothesis import strategies as st

from consensus_jax import prompts
from consensus_jax.deliberation import Deliberation, InputError, Opinion
from consensus_jax.overflow import fit, starts
from consensus_jax.tokenizer import Tokenizer

TOKENIZER = tiny_models.load('tiny_llama').tokenizer

opinions = st.lists(
  st.text('ab é😀.\n', min_size=1, max_size=60).filter(str.strip),
  min_size=1,
  max_size=5,
)


def make(*texts):
  people = (Opinion(f'p{i}', text, i + 1) for i, text in enumerate(texts))
  return Deliberation('id', 'Why?', tuple(people), ('A statement.',))


def make_prompt(deliberation):
  return TOKENIZER.encode(prompts.policy_text(deliberation))


def count(text):
  return len(TOKENIZER.encode(text))


def fitted(deliberation, room, overflow='truncate'):
  return fit(deliberation, make_prompt, TOKENIZER, room, overflow)


@given(opinions, st.integers(0, 9))
def test_what_fits_stays_as_it_is(texts, spare):
  deliberation = make(*texts)
  room = len(make_prompt(deliberation)) + spare
  for overflow in ('error', 'truncate'):
    assert fitted(deliberation, room, overflow) == (deliberation, ())


@given(opinions, st.integers(1, 99))
def test_an_error_says_how_many_tokens_over(texts, excess):
  deliberation = make(*texts)
  room = len(make_prompt(deliberation)) - excess
  with pytest.raises(InputError) as error:
    fitted(deliberation, room, 'error')
  assert int(re.search('[0-9]+', str(error.value)).group()) == excess
  assert '--overflow truncate' in str(error.value)
  assert error.value.field == ('opinions',)


@given(opinions, st.integers(1, 200))
@example(['é😀' * 15, 'a', 'b' * 40], 50)
@example(['\n \n' * 9 + 'a' * 30, 'ab'], 20)
def test_cutting_is_of_the_longest_and_recorded(texts, excess):
  deliberation = make(*texts)
  room = len(make_prompt(deliberation)) - excess
  try:
    short, cut = fitted(deliberation, room)
  except InputError:
    shortest = make(*(text.strip()[:1] for text in texts))
    assert len(make_prompt(shortest)) > room
    return
  assert len(make_prompt(short)) <= room
  assert cut
  # Everything but the texts of opinions is as it was.
  assert short.question == deliberation.question
  assert short.candidates == deliberation.candidates
  records = {record['participant']: record for record in cut}
  assert len(records) == len(cut)
  shortest_cut = min(record['tokens'] for record in cut)
  for before, after in zip(deliberation.opinions, short.opinions, strict=True):
    assert (after.participant, after.weight) == (
      before.participant,
      before.weight,
    )
    record = records.get(before.participant)
    if record is None:
      assert after == before and count(before.text) < shortest_cut
      continue
    assert record['tokens'] == count(before.text)
    assert record['kept_tokens'] == count(after.text) < record['tokens']
    assert before.text.lstrip().startswith(after.text.lstrip())
    assert after.text.strip()
    # Nothing but white space is lost beside what is recorded.
    rest = before.text.replace(after.text, '', 1)
    assert record['lost'].split() == rest.split()


def test_cutting_keeps_as_much_as_fits():
  deliberation = make('a' * 100, 'b' * 30, 'c' * 90, 'd' * 29)
  whole = len(make_prompt(deliberation))
  short, cut = fitted(deliberation, whole - 100)
  lengths = [count(o.text) for o in short.opinions]
  # 100 and 90 come down to a common length; 30 and 29 stay.
  assert lengths == [45, 30, 45, 29]
  assert [record['participant'] for record in cut] == ['p0', 'p2']
  assert len(make_prompt(short)) == whole - 100
  assert cut[0] == {
    'participant': 'p0',
    'tokens': 100,
    'kept_tokens': 45,
    'lost': 'a' * 55,
  }


def test_cutting_goes_down_to_a_token_and_no_further():
  deliberation = make('a' * 50, 'b' * 50)
  least = len(make_prompt(make('a', 'b')))
  short, _ = fitted(deliberation, least)
  assert [o.text for o in short.opinions] == ['a', 'b']
  with pytest.raises(InputError, match='even with every opinion cut') as error:
    fitted(deliberation, least - 1)
  whole = len(make_prompt(deliberation))
  assert f'{whole - least + 1} tokens' in str(error.value)
  # The question is what is too long.
  assert error.value.field == ('question',)


def test_opinions_of_one_token_cannot_be_cut():
  deliberation = make('a', 'b')
  room = len(make_prompt(deliberation)) - 1
  with pytest.raises(InputError, match='1 tokens'):
    fitted(deliberation, room)


def test_cutting_encodes_few_texts(monkeypatch):
  """Each opinion twice at most, and a handful of prompts."""
  deliberation = make(
    *(f'{"ab é😀. " * (9 + 3 * i)}{i} ' + 'ba' * i for i in range(40))
  )
  whole = len(make_prompt(deliberation))
  encoded = []
  encode = Tokenizer.encode

  def counting(self, text):
    encoded.append(text)
    return encode(self, text)

  monkeypatch.setattr(Tokenizer, 'encode', counting)
  before = starts.cache_info().misses
  for share in (0.9, 0.5, 0.1):
    encoded.clear()
    _, cut = fitted(deliberation, int(share * whole))
    prompts_made = len(encoded) - len(cut)
    assert 0 < prompts_made <= 12
  assert starts.cache_info().misses - before == 40
