"""Words, stems and runs, against plain second implementations."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.policy_data import words

SHORT = st.lists(st.sampled_from('abc'), max_size=12)


def test_words_keep_apostrophes_and_hyphens_and_drop_the_rest():
  text = '“Don’t,” she said -- ten-year plans (50%) cost £1,000.'
  plain = ' '.join(words.words(text))
  assert plain == "don't she said ten-year plans 50 cost 1 000"


def test_sentences_end_at_full_stops_that_white_space_follows():
  text = 'It costs 3.50 a day. "Is that fair?" Some doubt it.'
  assert words.sentences(text) == [
    'It costs 3.50 a day.',
    '"Is that fair?',
    'Some doubt it.',
  ]


@pytest.mark.parametrize(
  ('one', 'other'),
  [
    ('limit', 'limiting'),
    ('family', 'families'),
    ('city', 'cities'),
    ('school', "school's"),
    ('vaccine', 'vaccinated'),
    ('pay', 'paying'),
  ],
)
def test_forms_of_a_word_have_one_stem(one, other):
  assert words.stem(one) == words.stem(other)


@pytest.mark.parametrize(
  ('one', 'other'), [('bus', 'business'), ('tax', 'taxi'), ('paper', 'park')]
)
def test_other_words_have_other_stems(one, other):
  assert words.stem(one) != words.stem(other)


def test_content_is_what_a_text_is_about():
  text = "We all agree that the library shouldn't close on 3 or 4 Mondays."
  assert words.content(text) == {'libra', 'clos', 'monda'}
  assert words.content('We think so too, and one of us does not.') == set()


@given(SHORT, SHORT)
def test_the_longest_run_is_that_of_difflib(one, other):
  matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
  assert words.longest_run(one, other) == matcher.find_longest_match().size


@given(SHORT, st.lists(SHORT, max_size=3), st.integers(1, 4))
def test_a_share_of_runs_counts_them_one_by_one(own, others, length):
  mine = words.runs(own, length)
  found = [r for r in mine if any(r in words.runs(o, length) for o in others)]
  share = words.share_of_runs(own, others, length)
  assert share == (len(found) / len(mine) if mine else 0)


@given(SHORT, SHORT, SHORT)
def test_runs_of_a_text_apart_do_not_count(one, other, apart):
  length = words.longest_run(one, other, apart)
  barred = {*words.runs(apart, 3)}
  common = [
    one[i : i + n]
    for n in range(len(one) + 1)
    for i in range(len(one) - n + 1)
    if tuple(one[i : i + n]) in words.runs(other, n)
  ]
  left = [run for run in common if barred.isdisjoint(words.runs(run, 3))]
  assert length == max(map(len, left), default=0)
  share = words.share_of_runs(one, [other], 3, apart)
  left = [run for run in words.runs(one, 3) if run not in barred]
  found = sum(run in words.runs(other, 3) for run in left)
  assert share * max(len(words.runs(one, 3)), 1) == pytest.approx(found)
