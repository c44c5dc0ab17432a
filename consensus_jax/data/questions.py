"""Banks of debate questions: JSON files with topics and splits.

The form is that of the Habermas Machine's bank (Tessler, Bakker et al.,
Science 2024; repository google-deepmind/habermas_machine, folder `questions`,
CC BY 4.0), which holds 5,645 questions of 105 topics. A file of our own needs
`id` and `question` only.
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from consensus_jax import strict_json
from consensus_jax.data.record_files import replacing
from consensus_jax.data.records import Question
from consensus_jax.strict_json import (
  InputError,
  check_array,
  check_object,
  check_string,
  check_text,
)

# Of the Habermas Machine's bank, 230118_chinchilla_questions.json.
BANK_SHA256 = 'e2407be2cb6141b6600f07fa198e15ce4c22c039382e9c539b3f07e5614b3d10'

# The names of the file, and ours.
_NAMES = {
  'id': 'id',
  'question': 'text',
  'affirming_statement': 'affirming',
  'negating_statement': 'negating',
  'topic': 'topic',
  'split': 'split',
}
_REQUIRED = ('id', 'question')


def read(
  path: str | os.PathLike[str], *, sha256: str | None = None
) -> tuple[Question, ...]:
  """Reads a bank of questions.

  Args:
    path: a JSON file, a list of objects.
    sha256: what the file must hash to; None asks for nothing.

  Raises:
    InputError: with the line and field; also for two questions of one id or
      one text, and for a topic of `ood_test` that another split has too.
  """
  file = str(path)
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise InputError(
      f'cannot read: {error.strerror or error}', file=file
    ) from None
  found = hashlib.sha256(data).hexdigest()
  if sha256 is not None and found != sha256:
    raise InputError(f'has SHA-256 {found}, must have {sha256}', file=file)
  text = data.decode(errors='surrogateescape')
  try:
    items = check_array(strict_json.parse(text), ())
    questions = tuple(_question(item, i) for i, item in enumerate(items))
    check(questions)
  except InputError as error:
    line = error.line or strict_json.line_of(text, error.field)
    raise error.at(file=file, line=line) from None
  return questions


def write(path: str | os.PathLike[str], questions: Iterable[Question]) -> None:
  """Writes a bank of questions, whole or not at all; `read` reads it.

  Raises:
    InputError: if `check` refuses it, or the system does.
  """
  questions = tuple(questions)
  check(questions)
  lines = ',\n'.join(strict_json.dump(_object(each)) for each in questions)
  with replacing(path) as temporary:
    temporary.write_text(f'[\n{lines}\n]\n', encoding='utf-8')


def check(questions: Sequence[Question]) -> None:
  """Refuses a bank that contradicts itself.

  Raises:
    InputError: for a missing id, two questions of one id or one text, or a
      topic of `ood_test` that another split has too.
  """
  first: dict[tuple[str, str], int] = {}
  homes: dict[str, tuple[bool, int]] = {}
  for index, question in enumerate(questions):
    for name, value in (
      ('id', check_text(question.id, (index, 'id'))),
      ('question', question.text),
    ):
      earlier = first.setdefault((name, value), index)
      if earlier != index:
        raise InputError(
          f'is that of [{earlier}] already: {value!r}', field=(index, name)
        )
    if question.topic and question.split:
      held_out = question.split == 'ood_test'
      home = homes.setdefault(question.topic, (held_out, index))
      if home[0] != held_out:
        raise InputError(
          f'topic {question.topic} is out of distribution in '
          f'[{index if held_out else home[1]}], but not in '
          f'[{home[1] if held_out else index}]',
          field=(index, 'split'),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
  """What a bank holds.

  Attributes:
    questions: how many.
    by_split: questions of each split; '' for those in none.
    topics: how many topics.
    topics_by_split: topics of each split.
    words: fewest, mean and most words of a question.
  """

  questions: int
  by_split: dict[str, int]
  topics: int
  topics_by_split: dict[str, int]
  words: tuple[int, float, int]


def count(questions: Sequence[Question]) -> Counts:
  """Counts a bank of at least one question."""
  topics = collections.defaultdict(set)
  for question in questions:
    topics[question.split or ''].add(question.topic)
  lengths = [len(question.text.split()) for question in questions]
  return Counts(
    questions=len(questions),
    by_split=dict(collections.Counter(q.split or '' for q in questions)),
    topics=len(set().union(*topics.values()) - {''}),
    topics_by_split={name: len(each - {''}) for name, each in topics.items()},
    words=(min(lengths), sum(lengths) / len(lengths), max(lengths)),
  )


def _question(item: object, index: int) -> Question:
  optional = tuple(name for name in _NAMES if name not in _REQUIRED)
  record = check_object(
    item, required=_REQUIRED, optional=optional, path=(index,)
  )
  if type(record.get('topic')) is int:
    record['topic'] = str(record['topic'])
  fields: dict[str, Any] = {}
  for name, value in record.items():
    if name == 'split' and value is None:
      continue
    fields[_NAMES[name]] = check_string(value, (index, name))
  try:
    return Question.from_json(fields)
  except InputError as error:
    theirs = {ours: name for name, ours in _NAMES.items()}
    field = (index, *(theirs.get(str(step), step) for step in error.field))
    raise InputError(error.message, field=field) from None


def _object(question: Question) -> dict[str, Any]:
  values = {name: getattr(question, ours) for name, ours in _NAMES.items()}
  return {name: value for name, value in values.items() if value}
