"""metrics.jsonl: one line an event, appended, whole after any crash."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from consensus_jax import strict_json
from consensus_jax.strict_json import InputError


class Journal:
  """Appends lines; on opening, drops what the run will do again.

  A crash can tear the last line, and what came after the last checkpoint is
  computed again: both are dropped, so that no step stands there twice.
  """

  def __init__(
    self, path: str | os.PathLike[str], *, step: int, evaluated: int
  ):
    """Opens the file, or makes it.

    Args:
      path: of the file.
      step: the step that the run goes on from.
      evaluated: the last step whose evaluation it remembers.

    Raises:
      InputError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    kept = [
      line
      for line in (read(path) if path.exists() else ())
      if line['step'] <= (evaluated if line['kind'] == 'validation' else step)
    ]
    text = ''.join(_line(line) for line in kept)
    write_atomically(path, text.encode())
    self._file = path.open('a', encoding='utf-8')

  def write(self, line: Mapping[str, Any]) -> None:
    """Appends one line, and hands it to the operating system."""
    self._file.write(_line(line))
    self._file.flush()

  def close(self) -> None:
    """Leaves the file on disk."""
    self._file.flush()
    os.fsync(self._file.fileno())
    self._file.close()


def read(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
  """The lines of a metrics.jsonl, without a torn last one.

  Raises:
    InputError: if there is no such file, or a line before the last is damaged.
  """
  path = pathlib.Path(path)
  try:
    lines = path.read_bytes().decode(errors='surrogateescape').split('\n')
  except OSError as error:
    raise InputError(
      f'cannot be read: {error.strerror}', file=str(path)
    ) from error
  # Whatever follows the last line end was not written to its end.
  for number, line in enumerate(lines[:-1], 1):
    try:
      value = strict_json.parse(line)
      if not isinstance(value, dict) or not {'kind', 'step'} <= value.keys():
        raise InputError('is no line of metrics')
    except InputError as error:
      raise error.at(file=str(path), line=number) from None
    yield value


def write_atomically(path: pathlib.Path, data: bytes) -> None:
  """Replaces a file at once and for good, or not at all.

  Raises:
    InputError: if it cannot be written.
  """
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with temporary.open('wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise InputError(
      f'cannot be written: {error.strerror}', file=str(path)
    ) from error


def _line(value: Mapping[str, Any]) -> str:
  return json.dumps(value, ensure_ascii=False, allow_nan=False) + '\n'
