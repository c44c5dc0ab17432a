"""What models said, kept on disk by what they were asked.

Sections of an evaluation ask a model about the same people, and without an
opinion all people of a conversation are one. So each question, opinion and
statement is asked once, whoever asks, and an evaluation that was stopped goes
on. A file belongs to the weights that its name tells.
"""

import dataclasses
import hashlib
import json
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from consensus_jax import prompts
from consensus_jax.data.record_files import replacing
from consensus_jax.evaluation import predict
from consensus_jax.evaluation.cases import Case
from consensus_jax.language_model import LanguageModel
from consensus_jax.strict_json import InputError

Load = Callable[[], LanguageModel]

# People, or texts, between two writes of the file: a minute or two of work.
_PEOPLE = 64
_TEXTS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Rewards:
  """Rewards of one model, each computed once.

  Attributes:
    title: of what is shown.
    load: gives the model, when there is something to compute.
    answers: that it gave.
    row_length: as of `predict.rewards`.
  """

  title: str
  load: Load
  answers: 'Answers'
  row_length: int

  def unanswered(self, cases: Iterable[Case]) -> tuple[Case, ...]:
    """What it has not said yet: a case for each question and opinion.

    Their votes are no votes, and nobody's name stands there.
    """
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for case in cases:
      statements = asked.setdefault((case.question, case.opinion), {})
      for text in case.statements:
        if _key(case.question, case.opinion, text) not in self.answers.values:
          statements[text] = None
    return tuple(
      Case(
        conversation='',
        participant='',
        question=question,
        opinion=opinion,
        statements=tuple(statements),
        votes=(1,) * len(statements),
        statement_ids=tuple(statements),
      )
      for (question, opinion), statements in asked.items()
      if statements
    )

  def of(self, cases: Sequence[Case]) -> list[np.ndarray]:
    """Rewards as `predict.rewards` gives them, after computing what is missing.

    Raises:
      InputError: if the file cannot be written.
    """
    missing = sorted(self.unanswered(cases), key=_size)
    if missing:
      model = self.load()
      for some in _chunks(missing, _PEOPLE):
        found = predict.rewards(
          model, some, row_length=self.row_length, title=self.title
        )
        self.answers.keep(
          {
            _key(case.question, case.opinion, text): np.asarray(value)
            for case, values in zip(some, found, strict=True)
            for text, value in zip(case.statements, values, strict=True)
          }
        )
    return [
      np.array(
        [
          self.answers.values[_key(case.question, case.opinion, text)]
          for text in case.statements
        ],
        np.float32,
      )
      for case in cases
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
  """Frozen features of texts, each computed once.

  Attributes:
    load: gives the model.
    answers: that it gave.
  """

  load: Load
  answers: 'Answers'

  def unanswered(self, texts: Iterable[str]) -> tuple[str, ...]:
    """Texts without features yet, each once."""
    return tuple(
      text
      for text in dict.fromkeys(map(prompts.one_line, texts))
      if _key(text) not in self.answers.values
    )

  def of(self, texts: Sequence[str]) -> np.ndarray:
    """As `predict.embeddings` gives them, after computing what is missing.

    Raises:
      InputError: if the file cannot be written.
    """
    missing = sorted(self.unanswered(texts), key=len, reverse=True)
    if missing:
      model = self.load()
      for some in _chunks(missing, _TEXTS):
        found = predict.embeddings(model, some)
        self.answers.keep(dict(zip(map(_key, some), found, strict=True)))
    lines = map(prompts.one_line, texts)
    return np.array([self.answers.values[_key(line)] for line in lines])


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
  """Numbers by what was asked, in a file and in memory.

  Attributes:
    path: of the file.
    values: arrays of one shape, by keys.
  """

  path: pathlib.Path
  values: dict[str, np.ndarray]

  @classmethod
  def open(cls, path: str | pathlib.Path) -> 'Answers':
    """Those of a file; none if there is no file yet.

    Raises:
      InputError: if the file is damaged, or there can be none.
    """
    path = pathlib.Path(path)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      if not path.exists():
        return cls(path, {})
      with np.load(path) as file:
        keys, values = file['keys'], file['values']
      arrays = map(np.asarray, values)
      return cls(path, dict(zip(keys.tolist(), arrays, strict=True)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
      raise InputError(
        f'cannot be read; delete it: {error}', file=str(path)
      ) from error

  def keep(self, found: Mapping[str, np.ndarray]) -> None:
    """Takes further values, and writes all of them.

    Raises:
      InputError: if the file cannot be written.
    """
    self.values.update(found)
    with replacing(self.path) as temporary, temporary.open('wb') as file:
      np.savez(
        file,
        keys=np.array([*self.values]),
        values=np.array([*self.values.values()]),
      )


def _key(*texts: str) -> str:
  return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _size(case: Case) -> int:
  return -len(case.opinion) - sum(map(len, case.statements))


def _chunks(items: Sequence, size: int) -> Iterable[Sequence]:
  for start in range(0, len(items), size):
    yield items[start : start + size]
