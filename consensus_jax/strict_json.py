"""JSON read strictly, with errors that name the file, the line and the field.

Standard library only. Strict: no NaN, no key twice in one object, no unknown
key; a number is no truth value and a text holds only characters.
"""

import difflib
import itertools
import json
import math
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

# Where a value stands in a JSON document: keys of objects, indices of arrays.
Path = tuple[str | int, ...]


class InputError(ValueError):
  """Input that a person has to mend; its text names where and what.

  As text, one line: `FILE:LINE: field: message`, without the parts that are
  not known.
  """

  def __init__(
    self,
    message: str,
    *,
    field: Path = (),
    line: int | None = None,
    file: str | None = None,
  ):
    super().__init__(message)
    self.message = message
    self.field = field
    self.line = line
    self.file = file

  def at(
    self,
    *,
    within: Path = (),
    line: int | None = None,
    file: str | None = None,
  ) -> 'InputError':
    """The same error, with what the caller knows about its place."""
    return InputError(
      self.message,
      field=within + self.field,
      line=self.line if line is None else line,
      file=self.file if file is None else file,
    )

  @property
  def without_file(self) -> str:
    """`field: message`, for a record that names its line elsewhere."""
    field = ''.join(
      f'[{step}]' if isinstance(step, int) else f'.{step}'
      for step in self.field
    ).lstrip('.')
    return f'{field}: {self.message}' if field else self.message

  def __str__(self):
    place = self.file or ''
    if self.line is not None:
      place = f'{place}:{self.line}' if place else f'line {self.line}'
    text = f'{place}: {self.without_file}' if place else self.without_file
    # One line, and nothing in it that a terminal would obey.
    return ''.join(
      character
      if character.isprintable()
      else character.encode('unicode_escape').decode()
      for character in text
    )


def parse(text: str) -> Any:
  """Parses one JSON document.

  Args:
    text: as bytes.decode(errors='surrogateescape') gives it, so that a byte
      which is not UTF-8 is an error of the line that holds it.

  Raises:
    InputError: with the line, if `text` is not strict JSON.
  """
  try:
    text.encode()
    return json.loads(
      text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
    )
  except UnicodeEncodeError as error:
    line = 1 + text.count('\n', 0, error.start)
    raise InputError('not UTF-8', line=line) from None
  except json.JSONDecodeError as error:
    message = f'not JSON: {error.msg}, at column {error.colno}'
    raise InputError(message, line=error.lineno) from None
  except RecursionError:
    raise InputError('not JSON that a person wrote: nested too deep') from None
  except InputError:
    raise
  except ValueError as error:  # An integer of thousands of digits.
    raise InputError(f'not JSON: {error}') from None


def dump(value: object) -> str:
  """One line of JSON, without NaN."""
  return json.dumps(value, ensure_ascii=False, allow_nan=False)


def line_of(text: str, field: Path, start: int = 0) -> int:
  """The line, from 1, where `field` of the value at `start` stands.

  Where it is missing: the line of the innermost value that should hold it.
  `text` is a valid JSON document.
  """
  at = _after_space(text, start)
  for step in field:
    for key, value in _members(text, at):
      if key == step:
        at = value
        break
    else:
      break
  return 1 + text.count('\n', 0, at)


def item_starts(text: str) -> list[int]:
  """Where each item of a valid JSON document, an array, starts in it."""
  return [at for _, at in _members(text, _after_space(text, 0))]


def _members(text: str, at: int) -> Iterator[tuple[str | int, int]]:
  # Keys, or indices, of the value that starts at `at`, with their places.
  decoder = json.JSONDecoder()
  opening, inside = text[at], _after_space(text, at + 1)
  if opening not in '{[':
    return
  for index in itertools.count():
    if text[inside] in '}]':
      return
    key: str | int = index
    if opening == '{':
      key, inside = decoder.raw_decode(text, inside)
      inside = _after_space(text, _after_space(text, inside) + 1)
    yield key, inside
    inside = _after_space(text, decoder.raw_decode(text, inside)[1])
    if text[inside] == ',':
      inside = _after_space(text, inside + 1)


def _after_space(text: str, at: int) -> int:
  while at < len(text) and text[at] in ' \t\r\n':
    at += 1
  return at


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  record = dict(pairs)
  if len(record) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise InputError(f'the key {twice!r} stands twice in one object')
  return record


def _refuse_constant(name: str) -> NoReturn:
  raise InputError(f'not JSON: {name} is no number')


def _kind(value: object) -> str:
  if value is None:
    return 'null'
  if isinstance(value, bool):
    return 'true' if value else 'false'
  for kind, name in (
    (dict, 'an object'),
    (list, 'a list'),
    (str, 'a text'),
    ((int, float), 'a number'),
  ):
    if isinstance(value, kind):
      return name
  return type(value).__name__


def check_object(
  value: object,
  *,
  required: Collection[str],
  optional: Collection[str] = (),
  path: Path = (),
) -> dict[str, Any]:
  """A copy of an object that has all the `required` keys and no unknown one."""
  if not isinstance(value, dict):
    raise InputError(f'must be an object, got {_kind(value)}', field=path)
  known = (*required, *optional)
  for key in value:
    if key not in known:
      near = difflib.get_close_matches(key, known, n=1)
      hint = f'did you mean {near[0]}' if near else f'known: {", ".join(known)}'
      raise InputError(f'unknown key ({hint})', field=(*path, key))
  for key in required:
    if key not in value:
      raise InputError('is missing', field=(*path, key))
  return dict(value)


def check_array(value: object, path: Path) -> list[Any]:
  """A list."""
  if not isinstance(value, list):
    raise InputError(f'must be a list, got {_kind(value)}', field=path)
  return value


def check_string(value: object, path: Path) -> str:
  """A text of characters that every file and model can hold; may be empty."""
  if not isinstance(value, str):
    raise InputError(f'must be a text, got {_kind(value)}', field=path)
  for character in value:
    if character == '\0':
      raise InputError('holds a NUL character', field=path)
    if '\ud800' <= character <= '\udfff':
      raise InputError(
        f'holds half a surrogate pair, \\u{ord(character):04x}', field=path
      )
  return value


def check_text(value: object, path: Path) -> str:
  """A text that says something."""
  text = check_string(value, path)
  # Separators and invisible characters alone say nothing either.
  if all(unicodedata.category(character)[0] in 'ZC' for character in text):
    raise InputError('is empty', field=path)
  return text


def unreadable(text: str) -> str:
  """Why no file may hold a text, or it says nothing; '' if it is fine."""
  try:
    check_text(text, ())
  except InputError as error:
    return error.message
  return ''


def check_number(value: object, path: Path) -> float:
  """A finite number."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise InputError(f'must be a number, got {_kind(value)}', field=path)
  try:
    number = float(value)
  except OverflowError:
    number = math.inf
  if not math.isfinite(number):
    raise InputError('must be a finite number', field=path)
  return number


def check_number_or_none(value: object, path: Path) -> float | None:
  """A finite number or null."""
  return None if value is None else check_number(value, path)


def check_integer(value: object, path: Path) -> int:
  """A whole number."""
  if isinstance(value, bool) or not isinstance(value, int):
    raise InputError(f'must be a whole number, got {value!r}', field=path)
  return value


def plain(value: Any, path: Path) -> Any:
  """`value` as JSON gives it back: tuples as lists, infinity as 'inf'."""
  if isinstance(value, dict):
    return {str(key): plain(item, (*path, key)) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item, (*path, index)) for index, item in enumerate(value)]
  if isinstance(value, float) and math.isinf(value):
    return 'inf' if value > 0 else '-inf'
  if value is None or isinstance(value, bool | int | str):
    return value
  if isinstance(value, float) and not math.isnan(value):
    return float(value)
  raise InputError(f'{value!r} has no place in JSON', field=path)
