"""From a form's fields to the answer to a step, and from errors to fields.

What is missing or malformed is left out of an answer: flow says what it lacks.
"""

from collections.abc import Mapping
from typing import Any

from consensus_jax.strict_json import InputError
from consensus_jax.study.flow import Step
from consensus_jax.study.messages import Messages
from consensus_jax.study.protocol import Protocol

# Names of fields: these, and the id of a statement or of an item.
_RANK = 'rank-'
_ITEM = 'item-'


def answer(
  protocol: Protocol, kind: str, fields: Mapping[str, str]
) -> dict[str, Any]:
  """What a form says in answer to a step of `kind`, in flow's types."""
  match kind:
    case 'consent':
      choice = fields.get('consent')
      return {'consent': choice == 'yes'} if choice in ('yes', 'no') else {}
    case 'comprehension':
      return _integers(fields, 'choice')
    case 'position':
      return _integers(fields, 'position', 'importance')
    case 'opinion' | 'critique':
      return {'text': fields['text'].strip()} if 'text' in fields else {}
    case 'rate':
      return _integers(fields, 'agreement', 'quality', 'attention')
    case 'rank':
      names = [name for name in fields if name.startswith(_RANK)]
      ranks = _integers(fields, *names)
      return {
        'ranks': {name.removeprefix(_RANK): ranks[name] for name in ranks}
      }
    case 'final':
      return {'choice': fields['choice']} if 'choice' in fields else {}
    case 'survey':
      return _survey(protocol, fields)
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


def _survey(protocol: Protocol, fields: Mapping[str, str]) -> dict[str, Any]:
  given: dict[str, Any] = {}
  for item in protocol.survey:
    name = f'{_ITEM}{item.id}'
    if item.kind != 'text':
      for number in _integers(fields, name).values():
        given[item.id] = number
    elif name in fields:
      given[item.id] = fields[name]
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
