import json

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax import strict_json
from consensus_jax.strict_json import InputError

_VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3), inner, max_size=4)
  ),
  max_leaves=12,
)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
    ('[NaN]', 'NaN is no number'),
    ('[-Infinity]', '-Infinity is no number'),
    ('{"a": }', 'line 1: not JSON'),
    ('{"a":\n\n 1,}', 'line 3: not JSON'),
    ('[' * 100_000, 'nested too deep'),
    ('9' * 10_000, 'not JSON'),
    ('', 'not JSON'),
    (b'["a",\n"\xff"]'.decode(errors='surrogateescape'), 'line 2: not UTF-8'),
  ],
)
def test_what_is_no_strict_json_is_refused(text, message):
  with pytest.raises(InputError, match=message):
    strict_json.parse(text)


@hypothesis.given(_VALUES)
def test_parse_inverts_dump(value):
  assert strict_json.parse(strict_json.dump(value)) == value


@hypothesis.given(_VALUES, st.sampled_from([None, 1, '\t']), st.data())
def test_line_of_points_at_the_value(value, indent, data):
  text = json.dumps(value, indent=indent)
  path, inner = (), value
  while isinstance(inner, dict | list) and inner:
    if isinstance(inner, dict):
      step = data.draw(st.sampled_from(sorted(inner)))
    else:
      step = data.draw(st.integers(0, len(inner) - 1))
    path, inner = (*path, step), inner[step]
  line = text.split('\n')[strict_json.line_of(text, path) - 1]
  assert json.dumps(inner) in line


def test_line_of_what_is_missing_is_that_of_its_holder():
  text = '{\n"a": [\n1, 2\n],\n"b": {\n"c": 1}}'
  assert strict_json.line_of(text, ('b', 'd')) == 5
  assert strict_json.line_of(text, ('a', 7)) == 2
  assert strict_json.line_of(text, ('z',)) == 1


@hypothesis.given(st.lists(_VALUES, min_size=1, max_size=5))
def test_item_starts(values):
  text = ' [ ' + ' , '.join(json.dumps(value) for value in values) + ' ] '
  starts = strict_json.item_starts(text)
  assert [
    json.JSONDecoder().raw_decode(text, start)[0] for start in starts
  ] == values


def test_an_error_names_its_place_in_one_printable_line():
  error = InputError('is\nbad \x1b[31m', field=('opinions', 2, 'text'))
  error = error.at(line=3, file='a.json')
  assert str(error) == 'a.json:3: opinions[2].text: is\\nbad \\x1b[31m'
  assert str(InputError('bad', line=3)) == 'line 3: bad'
  assert str(InputError('bad', field=(0, 'x'))) == '[0].x: bad'
  assert str(error.at(within=('records', 1))).startswith(
    'a.json:3: records[1].opinions[2].text:'
  )


@pytest.mark.parametrize(
  'text', ['', ' \t\n', '\u200b', '\u3000\u2028', '\x07']
)
def test_a_text_without_anything_visible_is_empty(text):
  with pytest.raises(InputError, match='is empty'):
    strict_json.check_text(text, ())


@pytest.mark.parametrize('text', ['a', '7', '?', '好', '🙂', '\u0301'])
def test_a_text_with_anything_visible_is_not(text):
  assert strict_json.check_text(text, ()) == text


@pytest.mark.parametrize('value', [True, '1', None, [1], 1e999, 10**400])
def test_numbers(value):
  with pytest.raises(InputError, match='number'):
    strict_json.check_number(value, ())


def test_plain_values():
  assert strict_json.plain({'a': (1, float('inf'))}, ()) == {'a': [1, 'inf']}
  assert strict_json.plain(-float('inf'), ()) == '-inf'
  for value in (float('nan'), object(), b'a'):
    with pytest.raises(InputError, match=r'a\[0\]: .* has no place in JSON'):
      strict_json.plain([value], ('a',))
