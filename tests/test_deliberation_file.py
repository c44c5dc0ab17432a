import io
import json
import types

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax import deliberation_file
from consensus_jax.deliberation import Deliberation, InputError

_GOOD = {'question': 'Why?', 'opinions': ['a', 'b']}
_OTHER = {'id': 'x', 'question': 'Who?', 'opinions': ['a']}


def _write(folder, content, name='in.json'):
  path = folder / name
  if isinstance(content, str):
    content = content.encode()
  path.write_bytes(content)
  return str(path)


def _lines(*records):
  return ''.join(
    (record if isinstance(record, str) else json.dumps(record)) + '\n'
    for record in records
  )


def test_one_record(tmp_path):
  path = _write(tmp_path, json.dumps(_GOOD, indent=2))
  source = deliberation_file.read(path)
  assert not source.many
  (entry,) = source.entries
  assert entry.content == Deliberation.from_json(_GOOD)
  assert entry.line == 1
  assert entry.id is None


@pytest.mark.parametrize('newline', ['\n', '\r\n', '\n\n'])
def test_lines_and_arrays_hold_the_same(tmp_path, newline):
  lines = _lines(_GOOD, _OTHER).replace('\n', newline)
  array = json.dumps([_GOOD, _OTHER], indent=1)
  by_line = deliberation_file.read(_write(tmp_path, lines))
  by_item = deliberation_file.read(_write(tmp_path, array))
  assert by_line.many
  assert by_item.many
  assert [e.content for e in by_line.entries] == [
    e.content for e in by_item.entries
  ]
  assert [e.id for e in by_item.entries] == [None, 'x']
  assert [e.line for e in by_item.entries] == [2, 9]


def test_a_jsonl_file_of_one_line_is_still_lines(tmp_path):
  path = _write(tmp_path, _lines(_GOOD), 'in.jsonl')
  assert deliberation_file.read(path).many


@pytest.mark.parametrize(
  'content', [json.dumps(_GOOD), _lines(_GOOD, _OTHER), json.dumps([_OTHER])]
)
def test_standard_input_takes_either_form(tmp_path, monkeypatch, content):
  stdin = types.SimpleNamespace(buffer=io.BytesIO(content.encode()))
  monkeypatch.setattr('sys.stdin', stdin)
  from_stdin = deliberation_file.read('-')
  from_file = deliberation_file.read(_write(tmp_path, content))
  assert from_stdin.entries == from_file.entries
  assert from_stdin.many == from_file.many
  assert from_stdin.name == '<stdin>'


def test_a_bad_line_does_not_keep_the_others(tmp_path):
  bad = [
    '{"question": "Why?", "opinions": ["a"],}',
    '{"id": "y", "question": "Why?", "opinions": []}',
    '["a"]',
    'what is this',
    '[' * 5000,
  ]
  data = _lines(_GOOD, *bad).encode()
  data += b'{"question": "\xe4?", "opinions": ["a"]}\n\n'
  data += _lines(_OTHER).encode()
  source = deliberation_file.read(_write(tmp_path, data))
  good = [isinstance(e.content, Deliberation) for e in source.entries]
  assert good == [True, *[False] * 6, True]
  assert [e.line for e in source.entries] == [1, 2, 3, 4, 5, 6, 7, 9]
  texts = [str(entry.content) for entry in source.entries[1:7]]
  for number, (text, message) in enumerate(
    zip(
      texts,
      [
        'not JSON',
        'opinions: holds no opinions',
        'must be an object',
        'not JSON',
        'nested too deep',
        'not UTF-8',
      ],
      strict=True,
    ),
    2,
  ):
    assert text.startswith(f'{source.name}:{number}: ')
    assert message in text
  assert source.entries[2].id == 'y'


def test_a_bad_item_of_an_array_does_not_keep_the_others(tmp_path):
  records = [_GOOD, {**_OTHER, 'opinions': ['a', '']}, _OTHER]
  text = json.dumps(records, indent=1)
  source = deliberation_file.read(_write(tmp_path, text))
  assert [type(e.content) for e in source.entries] == [
    Deliberation,
    InputError,
    Deliberation,
  ]
  line = text.split('\n').index('   ""') + 1
  assert str(source.entries[1].content) == (
    f'{source.name}:{line}: opinions[1].text: is empty'
  )


def test_an_id_stands_once(tmp_path):
  path = _write(tmp_path, _lines(_OTHER, _GOOD, {**_GOOD, 'id': 'x'}, _GOOD))
  source = deliberation_file.read(path)
  assert str(source.entries[2].content) == (
    f"{path}:3: id: 'x' is the id of line 1 already"
  )
  # Equal records without an id are the same deliberation, not a mistake.
  assert isinstance(source.entries[3].content, Deliberation)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', ': is empty'),
    (' \n\n', ': is empty'),
    ('[]', ':1: holds no deliberations'),
    ('3', ':1: must be an object, got a number'),
    ('{"question": "a"}', ':1: opinions: is missing'),
    ('{\n"question": "a",\n"opinions": ["b",\n" "]}', ':4: opinions[1].text'),
    ('{\n"question": "a"\n"opinions": ["b"]}', ':3: not JSON'),
    ('{"question": "a", "opinions": ["b"]} {}', ':1: not JSON: Extra data'),
    (b'\xef\xbb\xbf{}', ':1: starts with a byte order mark'),
    ('{}'.encode('utf-16'), ':1: is UTF-16'),
    (b'{\n"question": "\xff"}', ':2: not UTF-8'),
    (b'\x1f\x8b\x08\x00\x00\xff\xff', ':1: not UTF-8'),
  ],
)
def test_one_bad_document(tmp_path, content, message):
  path = _write(tmp_path, content)
  with pytest.raises(InputError) as error:
    deliberation_file.read(path)
  assert str(error.value).startswith(path + message)


def test_what_cannot_be_read(tmp_path):
  with pytest.raises(InputError, match='cannot read: No such file'):
    deliberation_file.read(str(tmp_path / 'none.json'))
  with pytest.raises(InputError, match='cannot read: Is a directory'):
    deliberation_file.read(str(tmp_path))


def test_ranking_needs_candidates(tmp_path):
  brought = {**_OTHER, 'candidates': ['c']}
  one = deliberation_file.read(_write(tmp_path, json.dumps(_OTHER)))
  with pytest.raises(InputError, match=r'in.json:1: candidates: is missing'):
    deliberation_file.require_candidates(one)
  two = deliberation_file.read(_write(tmp_path, _lines(_GOOD, brought)))
  checked = deliberation_file.require_candidates(two)
  assert 'candidates: is missing' in str(checked.entries[0].content)
  assert checked.entries[1] == two.entries[1]


_VALID = json.dumps([{**_OTHER, 'candidates': ['c']}, _GOOD], indent=1).encode()


@hypothesis.given(
  st.binary(max_size=40)
  | st.tuples(
    st.integers(0, len(_VALID)), st.integers(0, 9), st.binary(max_size=4)
  ).map(lambda cut: _VALID[: cut[0]] + cut[2] + _VALID[cut[0] + cut[1] :])
)
def test_whatever_is_read_is_an_entry_or_one_error(tmp_path_factory, data):
  path = tmp_path_factory.getbasetemp() / 'fuzz.json'
  path.write_bytes(data)
  try:
    entries = deliberation_file.read(str(path)).entries
  except InputError as error:
    assert str(error).startswith(str(path))
    assert str(error).isprintable()
  else:
    assert entries
    for entry in entries:
      assert entry.line >= 1
