"""YAML read as strictly as JSON: no key twice, nothing but plain values."""

import pathlib
from typing import Any

import yaml

from consensus_jax.strict_json import InputError


class _Loader(yaml.SafeLoader):
  """Plain values only."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
  pairs = loader.construct_pairs(node, deep=True)
  record: dict[Any, Any] = {}
  for key, value in pairs:
    if not isinstance(key, str):
      raise InputError(f'the key {key!r} is no text; put it in quotes')
    if key in record:
      raise InputError(f'the key {key!r} stands twice in one object')
    record[key] = value
  return record


_Loader.add_constructor(
  yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping
)


def read(path: pathlib.Path) -> Any:
  """The one document of a file.

  Raises:
    InputError: if the file cannot be read.
    yaml.YAMLError: if it is not YAML of plain values.
  """
  try:
    return yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)
  except OSError as error:
    raise InputError(f'cannot be read: {error.strerror}') from None
  except UnicodeDecodeError:
    raise InputError('is not UTF-8') from None
