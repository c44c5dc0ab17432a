"""Questions with known issues, for simulated participants.

A person's, or a statement's, position on an issue is a level: -2 (strongly
against), -1, 0 (a compromise), 1, 2 (strongly for). The questions that ship are
invented; nobody was ever asked them.
"""

import dataclasses
import os

from consensus_jax.data import shipped_lines
from consensus_jax.data.records import Question
from consensus_jax.strict_json import (
  InputError,
  Path,
  check_array,
  check_object,
  check_string,
  check_text,
)

_FILE = 'latent_questions.jsonl'
_SIDES = ('against', 'middle', 'for')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
  """One side of an issue, or the middle between both.

  Attributes:
    signs: words that show this side in a clause about the issue; one that ends
      in `*` is the beginning of a word.
    clauses: what to do, each a clause that follows "I think that".
    reasons: each a clause that follows "because"; none for a middle.
  """

  signs: tuple[str, ...]
  clauses: tuple[str, ...]
  reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Issue:
  """Something on which people take sides.

  Attributes:
    name: of the issue, unique within its question.
    about: words that show that a clause is about it, as `Side.signs`.
    sides: against, the middle, for.
  """

  name: str
  about: tuple[str, ...]
  sides: tuple[Side, Side, Side]

  def side(self, level: float | int) -> Side:
    """The side that a level is on."""
    return self.sides[(level > 0) - (level < 0) + 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentQuestion:
  """A question, and the issues that people's opinions of it are made of.

  Attributes:
    question: with position statements; the affirming one is for the first
      issue, the main one.
    issues: what people take sides on, the main one first.
    off_topic: statements that are about none of the issues.
  """

  question: Question
  issues: tuple[Issue, ...]
  off_topic: tuple[str, ...]


def read(
  path: str | os.PathLike[str] | None = None,
) -> tuple[LatentQuestion, ...]:
  """Reads questions, one JSON object a line; None is the set that ships.

  Raises:
    InputError: with file, line and field.
  """
  return shipped_lines.read(_FILE, path, _question)


def _question(value: object) -> LatentQuestion:
  texts = ('id', 'question', 'affirming', 'negating')
  record = check_object(value, required=(*texts, 'off_topic', 'issues'))
  for field in texts:
    check_text(record[field], (field,))
  issues = tuple(
    _issue(each, ('issues', i))
    for i, each in enumerate(check_array(record['issues'], ('issues',)))
  )
  if not issues:
    raise InputError('must hold at least one issue', field=('issues',))
  names = [issue.name for issue in issues]
  for i, name in enumerate(names):
    if name in names[:i]:
      raise InputError(
        f'{name!r} is there already', field=('issues', i, 'name')
      )
  return LatentQuestion(
    question=Question(
      text=record['question'],
      id=record['id'],
      topic=record['id'],
      affirming=record['affirming'],
      negating=record['negating'],
    ),
    issues=issues,
    off_topic=_texts(record['off_topic'], ('off_topic',)),
  )


def _issue(value: object, path: Path) -> Issue:
  record = check_object(value, required=('name', 'about', *_SIDES), path=path)
  against, middle, in_favour = (
    _side(record[side], (*path, side)) for side in _SIDES
  )
  return Issue(
    name=check_text(record['name'], (*path, 'name')),
    about=_texts(record['about'], (*path, 'about')),
    sides=(against, middle, in_favour),
  )


def _side(value: object, path: Path) -> Side:
  record = check_object(
    value, required=('signs', 'clauses', 'reasons'), path=path
  )
  reasons = check_array(record['reasons'], (*path, 'reasons'))
  return Side(
    signs=_texts(record['signs'], (*path, 'signs')),
    clauses=_texts(record['clauses'], (*path, 'clauses')),
    reasons=tuple(
      check_string(each, (*path, 'reasons', i))
      for i, each in enumerate(reasons)
    ),
  )


def _texts(value: object, path: Path) -> tuple[str, ...]:
  items = check_array(value, path)
  if not items:
    raise InputError('must hold at least one text', field=path)
  return tuple(check_text(each, (*path, i)) for i, each in enumerate(items))
