"""Sets of JSON lines that ship with the library, or files of their form."""

import os
import pathlib
from collections.abc import Callable
from importlib import resources
from typing import TypeVar

from consensus_jax import strict_json
from consensus_jax.strict_json import InputError

_Item = TypeVar('_Item')


def read(
  name: str,
  path: str | os.PathLike[str] | None,
  parse: Callable[[object], _Item],
) -> tuple[_Item, ...]:
  """What stands in each line.

  Args:
    name: of the file that ships, in `data/seed/`.
    path: another file of its form; None is the one that ships.
    parse: of a line's value.

  Raises:
    InputError: with file, line and field.
  """
  shipped = resources.files('consensus_jax.data') / 'seed' / name
  file = str(path or name)
  try:
    text = (pathlib.Path(path) if path else shipped).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f'cannot read: {error}', file=file) from None
  found = []
  for number, line in enumerate(text.splitlines(), 1):
    try:
      found.append(parse(strict_json.parse(line)))
    except InputError as error:
      raise error.at(file=file, line=number) from None
  return tuple(found)
