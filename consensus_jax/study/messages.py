"""The texts of the pages, by key, in the language of a study."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

from consensus_jax import strict_json
from consensus_jax.strict_json import InputError

_FOLDER = pathlib.Path(__file__).parent / 'messages'
_PLACEHOLDER = re.compile(r'\{(\w+)\}')


@dataclasses.dataclass(frozen=True)
class Messages:
  """A catalogue: calling it with a key gives a text of its language."""

  language: str
  texts: Mapping[str, str]

  def __call__(self, key: str, **values: object) -> str:
    """The text under `key` with `values` for its placeholders, {name}.

    It is plain text: templates escape it, the values included.
    """
    return _PLACEHOLDER.sub(
      lambda match: str(values[match[1]]), self.texts[key]
    )


def load(language: str, folder: pathlib.Path = _FOLDER) -> Messages:
  """The catalogue of `language`; English where it lacks a key.

  Raises:
    InputError: if there is no such catalogue, or it has keys or placeholders
      that the English one has not.
  """
  known = sorted(path.stem for path in folder.glob('*.json'))
  if language not in known:
    raise InputError(
      f'no messages in {language!r} (known: {", ".join(known)})',
      field=('language',),
    )
  english = _read(_FOLDER / 'en.json')
  path = folder / f'{language}.json'
  own = _read(path)
  for key, text in own.items():
    if key not in english:
      raise InputError('unknown key', field=(key,), file=str(path))
    if placeholders(text) - placeholders(english[key]):
      raise InputError(
        'placeholders must be among '
        f'{sorted(placeholders(english[key]))}, as in English',
        field=(key,),
        file=str(path),
      )
  return Messages(language, {**english, **own})


def placeholders(text: str) -> set[str]:
  """The names in braces in a text of a catalogue."""
  return set(_PLACEHOLDER.findall(text))


def _read(path: pathlib.Path) -> dict[str, str]:
  try:
    value = strict_json.parse(path.read_text(encoding='utf-8'))
    table = strict_json.check_object(value, required=(), optional=list(value))
    return {
      key: strict_json.check_text(text, (key,)) for key, text in table.items()
    }
  except InputError as error:
    raise error.at(file=str(path)) from None
