import dataclasses
import json
import os
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax import outcome_file, strict_json
from consensus_jax.deliberation import InputError, Outcome

_DATA = pathlib.Path(__file__).parent / 'data'
_RUN = {'verb': 'deliberate', 'model': None, 'settings': {'seed': 0}}


def _outcome(name: str, run: dict | None = None) -> Outcome:
  outcome = Outcome.from_json(json.loads((_DATA / 'outcome.json').read_text()))
  run = (_RUN if run is None else run) | {'input_sha256': f'sha of {name}'}
  return dataclasses.replace(outcome, id=name, run=run)


def _fingerprints(names: str) -> dict[int, str]:
  return {index: f'sha of {name}' for index, name in enumerate(names)}


def _ids(path: pathlib.Path) -> str:
  lines = path.read_bytes().decode().split('\n')
  assert lines.pop() == ''
  return ''.join(strict_json.parse(line)['id'] for line in lines)


def _finish(path, names, run=_RUN) -> int:
  lines = outcome_file.OutcomeLines(str(path), _fingerprints(names), run)
  lines.start()
  done = 0
  for index, name in enumerate(names):
    if index not in lines.kept:
      lines.put(index, _outcome(name).to_json())
      done += 1
  return done


@hypothesis.given(
  names=st.text('abcdef', min_size=1, max_size=6),
  left=st.data(),
  torn=st.integers(0, 200),
)
def test_a_run_goes_on_wherever_it_stopped(tmp_path_factory, names, left, torn):
  path = tmp_path_factory.mktemp('run') / 'out.jsonl'
  done = left.draw(st.lists(st.sampled_from(range(len(names))), unique=True))
  lines = [
    strict_json.dump(_outcome(names[index]).to_json()) + '\n' for index in done
  ]
  path.write_text(''.join(lines) + lines[0][:torn] if lines else '')
  assert _finish(path, names) == len(names) - len(done)
  assert _ids(path) == names
  # A third run changes nothing.
  before = path.read_bytes()
  assert _finish(path, names) == 0
  assert path.read_bytes() == before


def test_every_record_is_in_the_file_when_put_returns(tmp_path):
  path = tmp_path / 'out.jsonl'
  lines = outcome_file.OutcomeLines(str(path), _fingerprints('abc'), _RUN)
  lines.start()
  for index, name in enumerate('abc'):
    lines.put(index, _outcome(name).to_json())
    assert _ids(path) == 'abc'[: index + 1]
  assert os.listdir(tmp_path) == ['out.jsonl']


def test_a_last_line_without_its_end_is_kept_if_it_is_whole(tmp_path):
  path = tmp_path / 'out.jsonl'
  path.write_text(strict_json.dump(_outcome('a').to_json()))
  assert _finish(path, 'ab') == 1
  assert _ids(path) == 'ab'


def test_errors_are_tried_again(tmp_path):
  path = tmp_path / 'out.jsonl'
  record = outcome_file.error_record('b', InputError('bad', line=2))
  assert record == {
    'schema': 'consensus_jax/error/v1',
    'id': 'b',
    'line': 2,
    'error': 'bad',
  }
  first, last = (_outcome(name).to_json() for name in 'ac')
  path.write_text(
    ''.join(strict_json.dump(one) + '\n' for one in (first, record, last))
  )
  assert _finish(path, 'abc') == 1
  assert _ids(path) == 'abc'


def test_nothing_is_touched_before_start(tmp_path):
  path = tmp_path / 'out.jsonl'
  path.write_text('{"schema": "con')
  outcome_file.OutcomeLines(str(path), _fingerprints('a'), _RUN)
  assert path.read_text() == '{"schema": "con'


@pytest.mark.parametrize(
  ('run', 'message'),
  [
    ({**_RUN, 'settings': {'seed': 7}}, 'made with seed 7, now it is 0'),
    ({**_RUN, 'model': 'x'}, "made with model 'x', now it is None"),
    ({**_RUN, 'verb': 'rank'}, "made with verb 'rank'"),
    ({**_RUN, 'settings': {}}, 'made with seed None, now it is 0'),
    ({}, 'made with'),
  ],
)
def test_an_outcome_made_otherwise_is_not_kept(tmp_path, run, message):
  path = tmp_path / 'out.jsonl'
  text = strict_json.dump(_outcome('a', run).to_json()) + '\n'
  path.write_text(text)
  with pytest.raises(InputError, match=f'out.jsonl:1: .*{message}.*--out'):
    _finish(path, 'ab')
  assert path.read_text() == text


def test_an_outcome_of_another_input_is_not_kept(tmp_path):
  path = tmp_path / 'out.jsonl'
  _finish(path, 'ab')
  with pytest.raises(InputError, match=r'out.jsonl:2: .* does not hold.*--out'):
    _finish(path, 'ac')
  assert _ids(path) == 'ab'


@pytest.mark.parametrize(
  'text', ['my thesis\nand more\n', 'all my thesis', '{}\n{}\n', '[]\n', '{"a']
)
def test_a_file_of_something_else_is_not_touched(tmp_path, text):
  path = tmp_path / 'out.jsonl'
  path.write_text(text)
  with pytest.raises(InputError, match=r'out.jsonl:1: is not an outcome'):
    _finish(path, 'a')
  with pytest.raises(InputError, match='is not an outcome'):
    outcome_file.check_replaceable(str(path))
  assert path.read_text() == text


def test_an_outcome_may_be_replaced(tmp_path):
  path = tmp_path / 'out.json'
  outcome_file.check_replaceable(str(path))
  data = outcome_file.pretty(_outcome('a').to_json())
  outcome_file.write_atomically(str(path), data)
  outcome_file.check_replaceable(str(path))
  assert Outcome.from_json(json.loads(path.read_text())) == _outcome('a')


def test_bad_targets(tmp_path):
  taken = tmp_path / 'in.json'
  taken.touch()
  link = tmp_path / 'link.json'
  link.symlink_to(taken)
  pipe = tmp_path / 'pipe'
  os.mkfifo(pipe)
  for path, message in (
    (tmp_path, 'is a folder'),
    (tmp_path / 'none' / 'out.json', 'there is no folder'),
    (taken, 'twice'),
    (link, 'twice'),
    (tmp_path / 'x' / '..' / 'in.json', 'no folder|twice'),
    (pipe, 'is not a regular file'),
    ('/dev/null', 'is not a regular file'),
    ('-', 'standard output'),
  ):
    with pytest.raises(InputError, match=f'^--out: .*({message})'):
      outcome_file.check_target(str(path), '--out', others=[str(taken)])
  outcome_file.check_target(
    str(tmp_path / 'out.json'), '--out', others=[str(taken)]
  )


def test_a_whole_file_is_written_or_none(tmp_path, monkeypatch):
  path = tmp_path / 'out.json'
  path.write_text('before')

  def fail(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', fail)
  with pytest.raises(
    InputError, match=r'out.json: cannot write: No space left'
  ):
    outcome_file.write_atomically(str(path), b'after')
  assert path.read_text() == 'before'
  assert os.listdir(tmp_path) == ['out.json']


def test_a_link_is_written_through(tmp_path):
  target, link = tmp_path / 'target.json', tmp_path / 'link.json'
  target.write_text('before')
  link.symlink_to(target)
  outcome_file.write_atomically(str(link), b'after')
  assert link.is_symlink()
  assert target.read_text() == 'after'
