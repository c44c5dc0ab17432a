"""JSON objects from the files of a model folder."""

import json
import pathlib
from typing import Any

from consensus_jax.interop.errors import ModelFileError

# The largest tokenizer.json of the supported families has some 11 MB.
_MAX_BYTES = 200_000_000


def read_text(path: pathlib.Path) -> str:
  """A text file of bounded size.

  Raises:
    ModelFileError: if it cannot be read, is too large or no UTF-8.
  """
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise ModelFileError(path, f'has more than {_MAX_BYTES} bytes')
    return path.read_text(encoding='utf-8')
  except OSError as error:
    raise ModelFileError(path, f'cannot be read: {error.strerror}') from error
  except UnicodeDecodeError as error:
    raise ModelFileError(path, 'is no UTF-8 text') from error


def read_object(path: pathlib.Path) -> dict[str, Any] | None:
  """A JSON object from a file, or None if there is no such file.

  Raises:
    ModelFileError: if the file holds anything else.
  """
  if not path.exists():
    return None
  try:
    value = json.loads(read_text(path))
  except ModelFileError:
    raise
  except (ValueError, RecursionError) as error:
    raise ModelFileError(path, f'is no JSON: {error}') from error
  if not isinstance(value, dict):
    raise ModelFileError(path, 'is no JSON object')
  return value
