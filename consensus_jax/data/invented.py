"""Invented conversations: statements, and how an invented public would vote.

Synthetic, and to be called so wherever it is used (docs/data/invented.md). Each
statement says what share of the public agrees and how that moves with what
divides people; a public is drawn from these numbers.
"""

import dataclasses
import os
import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from consensus_jax.data import shipped_lines
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.data.verbalise import choose, verbalise
from consensus_jax.prompts import sentence
from consensus_jax.strict_json import (
  InputError,
  check_array,
  check_number,
  check_object,
  check_text,
)

SOURCE = 'invented'
_FILE = 'conversations.jsonl'
# Standard deviation of how readily people agree with anything, in log-odds.
_READINESS = 0.4
_PASSES = 0.12
_VERBALISED = 8
_MOST_WRITTEN = 3
# How far from their own mind people write: scale of Gumbel noise, in log-odds.
_WRITING_NOISE = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class InventedStatement:
  """A statement and how an invented public votes on it.

  Attributes:
    text: the statement.
    agree: share of those who take a side that agree.
    pull: by how much the log-odds of agreeing rise, one number an axis, for a
      person one standard deviation towards the axis' positive end.
  """

  text: str
  agree: float
  pull: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversation:
  """What an invented public was asked, and what it said.

  Attributes:
    question: what it was asked.
    place: where.
    axes: what divides people; each says who is at its positive end.
    statements: what was said.
  """

  question: str
  place: str
  axes: tuple[str, ...]
  statements: tuple[InventedStatement, ...]


def read(
  path: str | os.PathLike[str] | None = None,
) -> tuple[Conversation, ...]:
  """Reads conversations, one JSON object a line; None is the set that ships.

  Raises:
    InputError: with file, line and field.
  """
  return shipped_lines.read(_FILE, path, _conversation)


def simulate(
  conversation: Conversation,
  *,
  num_people: int,
  seed: int,
  opinions: Literal['comments', 'votes'],
) -> JudgedDeliberation:
  """Lets an invented public vote.

  A person stands at a normal point of the axes, and is the readier or the less
  ready to agree with anything; votes are independent given both. `agree` stays
  the share over all people: log-odds are scaled by what their spread takes away
  (MacKay 1992, the moderated output of a logistic model).

  Args:
    conversation: what is voted on.
    num_people: of the public.
    seed: of people and votes.
    opinions: what is known of a person: up to three of the statements, as if
      they had written them, or eight votes in words. Neither is asked about.

  Returns:
    A record of votes, as one of a Polis conversation.
  """
  name = f'{SOURCE}/{conversation.question}'
  rng = np.random.default_rng(list(f'{seed}/{opinions}/{name}'.encode()))
  statements = conversation.statements
  pull = np.array([each.pull for each in statements])
  agree = np.array([each.agree for each in statements])
  spread = (pull**2).sum(1) + _READINESS**2
  base = special.logit(agree) * np.sqrt(1 + np.pi / 8 * spread)
  positions = rng.standard_normal((num_people, pull.shape[1]))
  moved = positions @ pull.T
  ready = _READINESS * rng.standard_normal((num_people, 1))
  agrees = rng.random(moved.shape) < special.expit(base + moved + ready)
  votes = np.where(agrees, 1, -1)
  votes[rng.random(moved.shape) < _PASSES] = 0
  members = []
  for i in range(num_people):
    person = f'{name}/{seed}/{opinions}/{i}'
    if opinions == 'votes':
      told: Sequence[int] = choose(votes[i].tolist(), _VERBALISED, person)
      opinion = verbalise(
        [(statements[j].text, int(votes[i, j])) for j in told]
      )
    else:
      mind = moved[i] + rng.gumbel(scale=_WRITING_NOISE, size=len(statements))
      mind = np.where(votes[i] == 1, mind, -np.inf)
      number = random.Random(person).randint(1, _MOST_WRITTEN)
      told = [
        int(j) for j in np.argsort(-mind)[:number] if np.isfinite(mind[j])
      ]
      opinion = ' '.join(sentence(statements[j].text) for j in told)
    judged = [j for j in range(len(statements)) if j not in told]
    members.append(
      Member(
        participant=person,
        opinion=opinion,
        opinion_provenance=opinions,
        judged=tuple(judged),
        votes=tuple(votes[i, judged].tolist()),
      )
    )
  return JudgedDeliberation(
    id=f'{name}/{opinions}',
    source=SOURCE,
    group=name,
    question=Question(text=conversation.question),
    statements=tuple(
      Statement(text=each.text, id=str(j)) for j, each in enumerate(statements)
    ),
    members=tuple(members),
  )


def _conversation(value: object) -> Conversation:
  names = ('question', 'place', 'axes', 'statements')
  record = check_object(value, required=names)
  axes = check_array(record['axes'], ('axes',))
  return Conversation(
    question=check_text(record['question'], ('question',)),
    place=check_text(record['place'], ('place',)),
    axes=tuple(check_text(a, ('axes', i)) for i, a in enumerate(axes)),
    statements=tuple(
      _statement(each, len(axes), ('statements', i))
      for i, each in enumerate(
        check_array(record['statements'], ('statements',))
      )
    ),
  )


def _statement(value: object, num_axes: int, path: Any) -> InventedStatement:
  record = check_object(value, required=('text', 'agree', 'pull'), path=path)
  agree = check_number(record['agree'], (*path, 'agree'))
  if not 0 < agree < 1:
    raise InputError(
      f'must be between 0 and 1, got {agree}', field=(*path, 'agree')
    )
  pull = check_array(record['pull'], (*path, 'pull'))
  if len(pull) != num_axes:
    raise InputError(
      f'must hold one number for each of {num_axes} axes, got {len(pull)}',
      field=(*path, 'pull'),
    )
  return InventedStatement(
    text=check_text(record['text'], (*path, 'text')),
    agree=agree,
    pull=tuple(
      check_number(each, (*path, 'pull', i)) for i, each in enumerate(pull)
    ),
  )
