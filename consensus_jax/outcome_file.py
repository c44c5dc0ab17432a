"""Writes files of outcomes so that nothing is lost.

A run over many deliberations may be interrupted at any moment and started
again: what is in its output stays, and only the rest is computed.
"""

import bisect
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consensus_jax import strict_json
from consensus_jax.deliberation import InputError, Outcome

ERROR_SCHEMA = 'consensus_jax/error/v1'
_OTHER_FILE = 'choose another --out, or delete this file'


def error_record(id: str | None, error: InputError) -> dict[str, Any]:
  """What stands in a file of outcomes in the place of one that failed."""
  record: dict[str, Any] = {'schema': ERROR_SCHEMA}
  if id is not None:
    record['id'] = id
  return record | {'line': error.line, 'error': error.without_file}


def check_target(path: str, flag: str, *, others: Sequence[str]) -> None:
  """Refuses an output that could not be written, or would destroy an input.

  Raises:
    InputError: naming `flag`.
  """
  target = pathlib.Path(path)
  message = None
  if path == '-':
    message = 'leave it away to write to standard output'
  elif target.is_dir():
    message = 'is a folder'
  elif target.exists() and not target.is_file():
    message = 'is not a regular file'
  elif not target.parent.is_dir():
    message = f'there is no folder {target.parent}'
  elif not os.access(target if target.exists() else target.parent, os.W_OK):
    message = 'may not be written'
  elif any(
    target.resolve() == pathlib.Path(other).resolve() for other in others
  ):
    message = 'names a file of this command twice'
  if message:
    raise InputError(f'{path}: {message}', field=(flag,))


def check_replaceable(path: str) -> None:
  """Refuses to overwrite a file that is no outcome.

  Raises:
    InputError: if the file exists and holds something else.
  """
  target = pathlib.Path(path)
  if not target.exists() or not target.stat().st_size:
    return
  try:
    Outcome.from_json(
      strict_json.parse(_read(target).decode(errors='surrogateescape'))
    )
  except InputError:
    raise InputError(f'is not an outcome; {_OTHER_FILE}', file=path) from None


class OutcomeLines:
  """A JSONL file of outcomes, in the order of its input, that can go on.

  Every record is on disk when `put` returns. Records that an earlier run left
  are kept if they were made from the same input in the same way; error records
  are made again.

  Attributes:
    kept: outcomes of an earlier run, by index of the input.
    torn: whether the earlier run was interrupted while writing a line.
  """

  def __init__(
    self, path: str, fingerprints: Mapping[int, str], run: Mapping[str, Any]
  ):
    """Reads what is there, without changing it.

    Args:
      path: need not exist.
      fingerprints: of the deliberations that the file is to hold, by index of
        the input.
      run: how they are made; recorded in each outcome.

    Raises:
      InputError: if the file holds anything else than a part of this run.
    """
    self._path = pathlib.Path(path).resolve()
    self._name = path
    self.kept: dict[int, Outcome] = {}
    self.torn = False
    self._run = strict_json.plain(dict(run), ())
    open_places: dict[str, list[int]] = {}
    for index, fingerprint in sorted(fingerprints.items()):
      open_places.setdefault(fingerprint, []).append(index)
    self._before = _read(self._path) if self._path.exists() else b''
    self._lines: dict[int, bytes] = {}
    lines = self._before.split(b'\n')
    for number, line in enumerate(lines, 1):
      if not line.strip():
        continue
      try:
        outcome = _read_record(line)
        if outcome is None:
          continue
        index = self._place(outcome.run, open_places)
      except InputError as error:
        if number == len(lines) and _is_torn(line):
          self.torn = True
          continue
        raise error.at(file=path, line=number) from None
      self.kept[index] = outcome
      self._lines[index] = line
    self._indices = sorted(self.kept)

  def start(self) -> None:
    """Brings the file in order: only what is kept, in order of the input."""
    ordered = b''.join(self._lines[index] + b'\n' for index in self._indices)
    if ordered != self._before or not self._path.exists():
      write_atomically(self._name, ordered)
    self._before = b''
    self._lines = {}

  def put(self, index: int, record: Mapping[str, Any]) -> None:
    """Writes the record of one index; it is on disk on return."""
    line = strict_json.dump(record).encode() + b'\n'
    position = bisect.bisect(self._indices, index)
    if position == len(self._indices):
      _writing(self._name, lambda: _append(self._path, line))
    else:
      lines = _read(self._path).splitlines(keepends=True)
      lines.insert(position, line)
      write_atomically(self._name, b''.join(lines))
    self._indices.insert(position, index)

  def _place(
    self, run: Mapping[str, Any], open_places: Mapping[str, list[int]]
  ) -> int:
    # Which index of the input a record belongs to.
    before, now = _flat(run), _flat(self._run)
    fingerprint = before.pop('input_sha256', None)
    for key in sorted(before.keys() | now.keys()):
      if before.get(key) != now.get(key):
        raise InputError(
          f'was made with {key} {before.get(key)!r}, now it is '
          f'{now.get(key)!r}; {_OTHER_FILE}'
        )
    places = open_places.get(str(fingerprint), [])
    if not places:
      raise InputError(
        'was made from a deliberation that the input does not hold; '
        f'{_OTHER_FILE}'
      )
    return places.pop(0)


def _is_torn(line: bytes) -> bool:
  # The beginning of a record of ours, and not somebody's only line.
  start = b'{"schema": "consensus_jax/'
  return line.startswith(start) or start.startswith(line)


def _read_record(line: bytes) -> Outcome | None:
  try:
    value = strict_json.parse(line.decode(errors='surrogateescape'))
  except InputError as error:
    raise InputError(
      f'is not an outcome ({error.message}); {_OTHER_FILE}'
    ) from None
  if isinstance(value, dict) and value.get('schema') == ERROR_SCHEMA:
    return None
  try:
    return Outcome.from_json(value)
  except InputError as error:
    raise InputError(f'is not an outcome ({error}); {_OTHER_FILE}') from None


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
  settings = run.get('settings')
  rest = {key: value for key, value in run.items() if key != 'settings'}
  return rest | (settings if isinstance(settings, dict) else {})


def write_atomically(path: str, data: bytes) -> None:
  """Writes a whole file: what was there stays until all of it is on disk.

  Raises:
    InputError: if the system does not let it.
  """
  target = pathlib.Path(path).resolve()
  _writing(path, lambda: _replace(target, data))


def _replace(target: pathlib.Path, data: bytes) -> None:
  temporary = target.with_name(f'.{target.name}.{os.getpid()}.part')
  try:
    with temporary.open('wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, target)
  finally:
    temporary.unlink(missing_ok=True)


def _append(target: pathlib.Path, data: bytes) -> None:
  with target.open('ab') as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _writing(path: str, write: Callable[[], None]) -> None:
  try:
    write()
  except OSError as error:
    raise InputError(
      f'cannot write: {error.strerror or error}', file=path
    ) from None


def _read(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise InputError(
      f'cannot read: {error.strerror or error}', file=str(path)
    ) from None


def pretty(record: Mapping[str, Any]) -> bytes:
  """One record as people read it."""
  text = json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2)
  return text.encode() + b'\n'
