import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.data.plain_text import one_line


@pytest.mark.parametrize(
  'text, expected',
  [
    (' two\r\nlines\tand\u00a0more ', 'two lines and more'),
    ('cafe\u0301', 'café'),
    ('\ufeffzero\u200b width\x00', 'zero width'),
    # A family of emoji is held together by joiners.
    ('👩\u200d👩', '👩\u200d👩'),
  ],
)
def test_one_line(text, expected):
  assert one_line(text) == expected


@given(st.text())
def test_it_is_one_line_and_stays_so(text):
  line = one_line(text)
  assert not {'Cc', 'Zl', 'Zp'} & {*map(unicodedata.category, line)}
  assert len(line.splitlines()) <= 1
  assert one_line(line) == line
