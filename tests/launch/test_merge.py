"""Parts of outcomes: all there, in one file, nobody's file lost."""

import pytest

from consensus_jax.strict_json import InputError
from launch import merge
from launch.job import Job, outcome_files
from launch.programs import Programs


def job(folder):
  arguments = (str(folder / 'in.jsonl'), f'--out={folder / "out.jsonl"}')
  return Job(name='job', kind='rank', arguments=arguments)


def write(folder, *names):
  for name in names:
    (folder / name).write_text(f'{name}\n')


def parts(folder):
  return [path.name for path in merge.parts(outcome_files(job(folder)))]


def test_parts_come_in_order(tmp_path):
  numbers = [2, 0, 10, 1, *range(3, 10)]
  write(tmp_path, *(f'out.jsonl.{n}-of-11' for n in numbers))
  write(tmp_path, 'out.jsonl', 'out.jsonl.joined', 'other.jsonl.0-of-2')
  assert parts(tmp_path) == [f'out.jsonl.{n}-of-11' for n in range(11)]


def test_missing_parts_are_named(tmp_path):
  with pytest.raises(InputError, match='has no parts'):
    parts(tmp_path)
  write(tmp_path, 'out.jsonl.1-of-4', 'out.jsonl.2-of-4')
  with pytest.raises(InputError, match='lacks the parts of processes 0, 3 of'):
    parts(tmp_path)
  write(tmp_path, 'out.jsonl.0-of-1')
  with pytest.raises(InputError, match='different sizes: of 1 and of 4'):
    parts(tmp_path)


def test_a_file_that_is_no_outcome_is_never_replaced(tmp_path):
  write(tmp_path, 'out.jsonl')
  with pytest.raises(InputError, match='holds no outcomes'):
    merge.check_target(job(tmp_path))
  (tmp_path / 'out.jsonl').write_text('{"schema": "consensus_jax/outcome/v1"')
  merge.check_target(job(tmp_path))
  (tmp_path / 'out.jsonl').write_text('')
  merge.check_target(job(tmp_path))


def test_the_entry_point_itself_brings_them_in_order(
  tmp_path, monkeypatch, capsys
):
  write(tmp_path, 'out.jsonl.0-of-2', 'out.jsonl.1-of-2')
  told = []

  def follow(self, argv):
    told.append(argv[1:])
    joined = tmp_path / 'out.jsonl.joined'
    assert joined.read_text() == 'out.jsonl.0-of-2\nout.jsonl.1-of-2\n'
    return codes.pop()

  monkeypatch.setattr(Programs, 'follow', follow)
  codes = [2]
  assert merge.run(job(tmp_path), Programs()) == 2
  assert not (tmp_path / 'out.jsonl').exists()
  codes = [1]  # Some records are errors, and stand in the file.
  assert merge.run(job(tmp_path), Programs(), report='a.html') == 1
  assert (tmp_path / 'out.jsonl').exists()
  assert told[1] == [
    *('-m', 'consensus_jax', 'rank', str(tmp_path / 'in.jsonl')),
    *(f'--out={tmp_path / "out.jsonl.joined"}', '--report=a.html'),
  ]
