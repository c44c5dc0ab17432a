"""What counts as an answer to a step: checked before anything is stored."""

from collections.abc import Mapping
from typing import Any

from consensus_jax.strict_json import (
  InputError,
  check_integer,
  check_object,
  check_string,
  check_text,
)
from consensus_jax.study.protocol import Protocol, SurveyItem, Words
from consensus_jax.study.steps import Step

# Of one text. The longest words of any language are far shorter.
_CHARACTERS_A_WORD = 60
_SURVEY_CHARACTERS = 5000


def check(
  protocol: Protocol, step: Step, answer: Mapping[str, Any]
) -> dict[str, Any]:
  """The answer to a step, in the form in which it is stored.

  Raises:
    InputError: naming the field, if something is missing or out of range.
  """
  match step.kind:
    case 'consent':
      record = _fields(answer, 'consent')
      if not isinstance(record['consent'], bool):
        raise InputError('must be true or false', field=('consent',))
      return record
    case 'instructions' | 'result':
      return _fields(answer)
    case 'comprehension':
      record = _fields(answer, 'choice')
      last = len(step.content['options']) - 1
      return {'choice': _whole(record['choice'], 0, last, 'choice')}
    case 'position':
      names = ['position']
      if step.content['ask_importance']:
        names.append('importance')
      record = _fields(answer, *names)
      return {
        name: _whole(record[name], 1, 7 if name == 'position' else 5, name)
        for name in names
      }
    case 'opinion':
      return {'text': _words(_fields(answer, 'text')['text'], protocol.opinion)}
    case 'critique':
      text = _fields(answer, 'text')['text']
      return {'text': _words(text, protocol.critique)}
    case 'rate':
      names = ['agreement', 'quality']
      if step.content['attention']:
        names.append('attention')
      record = _fields(answer, *names)
      return {name: _whole(record[name], 1, 7, name) for name in names}
    case 'rank':
      return {'ranks': _ranks(step, _fields(answer, 'ranks')['ranks'])}
    case 'final':
      record = _fields(answer, 'choice')
      if record['choice'] not in ('first', 'second', 'same'):
        raise InputError('must be first, second or same', field=('choice',))
      return record
    case 'survey':
      return _survey(protocol, answer)
  raise InputError('this step takes no answer')


def check_draft(
  protocol: Protocol, step: Step, answer: Mapping[str, Any]
) -> dict[str, Any]:
  """What is kept of an unfinished text or survey.

  Raises:
    InputError: if a text is no text or far too long, or the step keeps none.
  """
  if step.kind in ('opinion', 'critique'):
    words = protocol.opinion if step.kind == 'opinion' else protocol.critique
    text = check_string(_fields(answer, 'text')['text'], ('text',))
    _check_length(text, _CHARACTERS_A_WORD * words.max_words, 'text')
    return {'text': text}
  if step.kind == 'survey':
    ids = [item.id for item in protocol.survey]
    record = check_object(dict(answer), required=(), optional=ids)
    for item in protocol.survey:
      if record.get(item.id) is not None:
        record[item.id] = _item(item, record[item.id])
    return record
  raise InputError('this step keeps no draft')


def _fields(answer: Mapping[str, Any], *names: str) -> dict[str, Any]:
  return check_object(dict(answer), required=names)


def _whole(value: object, low: int, high: int, *path: str) -> int:
  number = check_integer(value, path)
  if not low <= number <= high:
    raise InputError(f'must be from {low} to {high}', field=path)
  return number


def _check_length(text: str, most: int, *path: str) -> None:
  if len(text) > most:
    raise InputError(f'must have at most {most} characters', field=path)


def _words(value: object, limits: Words) -> str:
  text = check_text(value, ('text',)).strip()
  _check_length(text, _CHARACTERS_A_WORD * limits.max_words, 'text')
  count = len(text.split())
  if not limits.min_words <= count <= limits.max_words:
    raise InputError(
      f'must have from {limits.min_words} to {limits.max_words} words, has '
      f'{count}',
      field=('text',),
    )
  return text


def _ranks(step: Step, value: object) -> dict[str, int]:
  ids = [each['id'] for each in step.content['statements']]
  record = check_object(value, required=ids, path=('ranks',))
  return {
    name: _whole(record[name], 1, len(ids), 'ranks', name) for name in ids
  }


def _survey(protocol: Protocol, answer: Mapping[str, Any]) -> dict[str, Any]:
  record = check_object(
    dict(answer),
    required=[item.id for item in protocol.survey if item.kind != 'text'],
    optional=[item.id for item in protocol.survey if item.kind == 'text'],
  )
  return {
    item.id: _item(item, record[item.id])
    for item in protocol.survey
    if item.id in record
  }


def _item(item: SurveyItem, value: object) -> int | str:
  if item.kind == 'text':
    text = check_string(value, (item.id,))
    _check_length(text, _SURVEY_CHARACTERS, item.id)
    return text
  if item.kind == 'choice':
    return _whole(value, 0, len(item.options) - 1, item.id)
  return _whole(value, 1, 7, item.id)
