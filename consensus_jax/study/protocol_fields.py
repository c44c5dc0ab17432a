"""What parts of a protocol are read with: strict checks of parsed values."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from consensus_jax.strict_json import (
  InputError,
  Path,
  check_array,
  check_integer,
  check_number,
  check_object,
  check_text,
)

_T = TypeVar('_T')


def fields_of(cls: type, value: object, path: Path) -> dict[str, Any]:
  """The fields of a dataclass, from an object."""
  fields = dataclasses.fields(cls)
  needed = [
    field.name
    for field in fields
    if field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  others = [field.name for field in fields if field.name not in needed]
  return check_object(value, required=needed, optional=others, path=path)


def items_of(
  each: Callable[[object, Path], _T], value: object, path: Path, *, least: int
) -> tuple[_T, ...]:
  """A list with so many items, each read by `each`."""
  items = check_array(value, path)
  if len(items) < least:
    raise InputError(f'must hold at least {least}', field=path)
  return tuple(each(item, (*path, index)) for index, item in enumerate(items))


def texts_of(value: object, path: Path, *, least: int) -> tuple[str, ...]:
  """A list of texts that say something."""
  return items_of(check_text, value, path, least=least)


def check_whole(value: object, path: Path, low: int, high: int) -> int:
  """A whole number within limits."""
  number = check_integer(value, path)
  if not low <= number <= high:
    raise InputError(f'must be from {low} to {high}, got {number}', field=path)
  return number


def check_seconds(value: object, path: Path) -> float:
  """A time from a second to 30 days."""
  seconds = check_number(value, path)
  if not 1 <= seconds <= 30 * 24 * 3600:
    raise InputError(
      f'must be from 1 second to 30 days, got {seconds:g}', field=path
    )
  return seconds


def check_name(value: object, known: Any, path: Path) -> Any:
  """One of the names that a `Literal` knows."""
  if value not in get_args(known):
    names = ', '.join(get_args(known))
    raise InputError(f'must be one of {names}, got {value!r}', field=path)
  return value


def check_distinct(items: tuple[Any, ...], key: str, path: Path) -> None:
  """Refuses items that share what should be unique."""
  seen: set[str] = set()
  for index, item in enumerate(items):
    name = getattr(item, key)
    if name in seen:
      raise InputError(f'{name!r} stands twice', field=(*path, index, key))
    seen.add(name)
