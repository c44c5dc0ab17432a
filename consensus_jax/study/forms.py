"""From a form's fields to the answer to a step, and from errors to fields.

What is missing or malformed is left out of an answer: flow says what it lacks.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from consensus_jax.strict_json import InputError
from consensus_jax.study.flow import Step
from consensus_jax.study.messages import Messages

# Names of fields: these, and the id of a statement or of an item.
_RANK = 'rank-'
_ITEM = 'item-'


def answer(step: Step, fields: Mapping[str, str]) -> dict[str, Any]:
  """What a form says in answer to `step`, in the types that flow expects."""
  match step.kind:
    case 'consent':
      choice = fields.get('consent')
      return {'consent': choice == 'yes'} if choice in ('yes', 'no') else {}
    case 'comprehension':
      return _integers(fields, 'choice')
    case 'position':
      return _integers(fields, 'position', 'importance')
    case 'opinion' | 'critique':
      return _texts(fields, 'text')
    case 'rate':
      return _integers(fields, 'agreement', 'quality', 'attention')
    case 'rank':
      ids = [str(each['id']) for each in step.content['statements']]
      ranks = _integers(fields, *(_RANK + name for name in ids))
      return {
        'ranks': {name.removeprefix(_RANK): ranks[name] for name in ranks}
      }
    case 'final':
      return _texts(fields, 'choice')
    case 'survey':
      return _survey(step, fields)
    case _:
      return {}


def drafted(step: Step) -> dict[str, str]:
  """The fields of a form that hold what was saved of it before."""
  draft = step.content.get('draft')
  if not draft:
    return {}
  if step.kind == 'survey':
    return {f'{_ITEM}{name}': str(value) for name, value in draft.items()}
  return {'text': draft}


def problems(step: Step, error: InputError, t: Messages) -> dict[str, str]:
  """What to tell a person whose answer was refused, by the field it is about.

  Flow's own words are for programmers, and in English.
  """
  names = [str(part) for part in error.field if part != 'ranks']
  if step.kind == 'rank' and names:
    return {f'{_RANK}{names[0]}': t('error.choose')}
  if step.kind == 'survey' and names:
    kinds = {item['id']: item['kind'] for item in step.content['items']}
    text = kinds.get(names[0]) == 'text'
    return {
      f'{_ITEM}{names[0]}': t('error.text') if text else t('error.choose')
    }
  if names == ['text']:
    low, high = step.content['min_words'], step.content['max_words']
    return {'text': t('error.words', min=low, max=high)}
  return {names[0] if names else 'main': t('error.choose')}


def are_texts(fields: object) -> TypeGuard[Mapping[str, str]]:
  """Whether these are fields of a form."""
  return isinstance(fields, dict) and all(
    isinstance(value, str) for value in fields.values()
  )


def _survey(step: Step, fields: Mapping[str, str]) -> dict[str, Any]:
  given: dict[str, Any] = {}
  for item in step.content['items']:
    read = _texts if item['kind'] == 'text' else _integers
    for value in read(fields, f'{_ITEM}{item["id"]}').values():
      given[item['id']] = value
  return given


def _integers(fields: Mapping[str, str], *names: str) -> dict[str, int]:
  return {
    name: int(fields[name])
    for name in names
    # Not isdecimal: it takes digits of other scripts, and no sign.
    if len(fields.get(name, '')) in (1, 2)
    and fields[name].isascii()
    and fields[name].isdecimal()
  }


def _texts(fields: Mapping[str, str], *names: str) -> dict[str, str]:
  return {name: fields[name] for name in names if name in fields}
