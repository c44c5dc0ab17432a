"""Simulated participants with known positions, who rate any statement.

What a participant thinks of a statement is a reward: an ideal point model. It
falls with the distance between the two, each issue weighted by its importance
to the person. Ratings are the reward plus logistic noise, cut at the thresholds
of `social_choice.utilities.expected_likert`, so that this map turns a reward
into the expected rating. Everything is drawn by names and seeds: what one
person says does not depend on who else is asked, or in which order.

Source of the model: Enelow and Hinich 1984, "The spatial theory of voting";
McCullagh 1980, "Regression models for ordinal data".
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special  # type: ignore[import-untyped]

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Statement,
)
from consensus_jax.evaluation.latent.groups import (
  SOURCE,
  LatentGroup,
  Participant,
)
from consensus_jax.evaluation.latent.words import Positions
from consensus_jax.social_choice.utilities import LIKERT_THRESHOLDS
from consensus_jax.strict_json import InputError, check_text

# Of a position of level x on the main issue: 4 + 1.5 x, from 1 to 7.
_NEUTRAL, _PER_LEVEL = 4.0, 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentStatement:
  """A text with its position.

  Attributes:
    text: the statement.
    positions: a level of each issue; None for what it does not touch.
    quality: from -1 (poor) to 1 (good).
    author: who wrote it: a system or a participant; '' if not known.

  Raises:
    InputError: naming the field.
  """

  text: str
  positions: Positions
  quality: float | int
  author: str = ''

  def __post_init__(self):
    check_text(self.text, ('text',))
    for index, level in enumerate(self.positions):
      if level is not None and not -2 <= level <= 2:
        raise InputError(
          f'must be from -2 to 2, got {level}', field=('positions', index)
        )
    if not -1 <= self.quality <= 1:
      raise InputError(
        f'must be from -1 to 1, got {self.quality}', field=('quality',)
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raters:
  """How people rate.

  With the defaults a statement of one's own mind is rated 6.2 on average, one
  without any position 4, one against everything about 2.

  Attributes:
    agreement: reward of a plain statement that is one's own mind.
    slope: by how much it falls from one end of all issues to the other.
    silence: distance, of 0 to 1, of an issue that a statement does not touch.
    quality_matters: by how much agreement rises with a unit of quality.
    quality: reward, as to quality, of a plain statement.
    quality_slope: by how much that rises with a unit of quality.
    noise: scale of the logistic noise of a rating; 0 for none.
    persuasion: share of the way to a statement that a person's position goes.

  Raises:
    ValueError: for a number out of range.
  """

  agreement: float = 5.0
  slope: float = 10.0
  silence: float = 0.5
  quality_matters: float = 1.0
  quality: float = 1.0
  quality_slope: float = 2.5
  noise: float = 1.0
  persuasion: float = 0.25

  def __post_init__(self):
    for field in ('slope', 'noise'):
      if not 0 <= getattr(self, field) < np.inf:
        raise ValueError(f'{field} must be 0 or more')
    for field in ('silence', 'persuasion'):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(f'{field} must be from 0 to 1')


class Ratings(NamedTuple):
  """What everybody says of every statement, from 1 to 7."""

  agreement: Int[np.ndarray, 'statements members']
  quality: Int[np.ndarray, 'statements members']


def rewards(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  raters: Raters = Raters(),
) -> Float[np.ndarray, 'statements members']:
  """What each statement is worth to each person, before noise.

  agreement + leniency - slope * sum_k importance_k * distance_k
  + quality_matters * quality, where a distance is that of two levels, divided
  by 4.

  Raises:
    InputError: if a statement is about other issues than a person.
  """
  where = np.array([person.positions for person in participants], float)
  weights = np.array([person.importance for person in participants])
  for index, each in enumerate(statements):
    if len(each.positions) != where.shape[1]:
      raise InputError(
        f'has {len(each.positions)} positions, people have {where.shape[1]}',
        field=('statements', index),
      )
  told = np.array([each.positions for each in statements], float)
  told = told.reshape(len(statements), 1, where.shape[1])
  distances = np.abs(told - where) / 4
  distances = np.where(np.isnan(distances), raters.silence, distances)
  quality = np.array([each.quality for each in statements], float)[:, None]
  leniency = np.array([person.leniency for person in participants])
  return (
    raters.agreement
    + leniency
    - raters.slope * (weights * distances).sum(-1)
    + raters.quality_matters * quality
  )


def rate(
  participants: Sequence[Participant],
  statements: Sequence[LatentStatement],
  *,
  seed: int,
  raters: Raters = Raters(),
) -> Ratings:
  """Lets everybody rate everything.

  A rating depends on the seed, the person and the statement's text and
  position: who else is there, and what else there is, has no part in it.
  """
  of_agreement = rewards(participants, statements, raters)
  of_quality = np.broadcast_to(
    [
      [raters.quality + raters.quality_slope * each.quality]
      for each in statements
    ],
    of_agreement.shape,
  )
  drawn = []
  for name, values in (('agreement', of_agreement), ('quality', of_quality)):
    chances = np.array(
      [
        [
          _chance(f'{seed}/{person.name}/{name}/{each.text}')
          for person in participants
        ]
        for each in statements
      ]
    )
    noisy = values + raters.noise * special.logit(chances)
    drawn.append(1 + (noisy[..., None] > np.array(LIKERT_THRESHOLDS)).sum(-1))
  return Ratings(*drawn)


def judge(
  group: LatentGroup,
  statements: Sequence[LatentStatement],
  *,
  seed: int,
  raters: Raters = Raters(),
  consensus: int | None = None,
) -> JudgedDeliberation:
  """A group's ratings as a record; the silent rate like the others.

  Args:
    group: who rates.
    statements: what is rated; ids are their places.
    seed: of the ratings.
    raters: how people rate.
    consensus: the statement that moves people's positions, if any.

  Returns:
    A record of agreement, quality and positions; its opinions are those of
    everybody, the silent too.

  Raises:
    InputError: if a statement is about other issues than the question.
  """
  ratings = rate(group.participants, statements, seed=seed, raters=raters)
  members = []
  for column, person in enumerate(group.participants):
    after = None
    if consensus is not None:
      level = moved(person, statements[consensus], raters)
      after = _position(level, f'{seed}/{person.name}/after')
    members.append(
      Member(
        participant=person.name,
        opinion=person.opinion,
        judged=tuple(range(len(statements))),
        agreement=tuple(ratings.agreement[:, column].tolist()),
        quality=tuple(ratings.quality[:, column].tolist()),
        position_before=_position(
          person.positions[0], f'{seed}/{person.name}/before'
        ),
        position_after=after,
      )
    )
  return JudgedDeliberation(
    id=group.id,
    source=SOURCE,
    group=group.id,
    question=group.question.question,
    statements=tuple(
      Statement(text=each.text, id=str(index), author=each.author)
      for index, each in enumerate(statements)
    ),
    members=tuple(members),
  )


def unheard(
  group: LatentGroup, record: JudgedDeliberation
) -> tuple[tuple[str, str, str], ...]:
  """The ratings of the silent, as `evaluation.ratings.from_records` excludes.

  Args:
    group: who was silent while the statements were made.
    record: what `judge` says of the group; all of its statements are new.

  Returns:
    Id of the record, of a statement, and name of a silent person, of each.
  """
  return tuple(
    (record.id, statement.id, name)
    for name in group.silent
    for statement in record.statements
  )


def moved(
  person: Participant, statement: LatentStatement, raters: Raters
) -> float:
  """A person's level on the main issue after a statement has moved them."""
  level, told = person.positions[0], statement.positions[0]
  if told is None:
    return float(level)
  return level + raters.persuasion * (told - level)


def position_rating(level: float | int) -> float:
  """The expected rating, 1 to 7, of the affirming position statement."""
  return _NEUTRAL + _PER_LEVEL * level


def _position(level: float | int, seed: str) -> int:
  """A rating near a level's, whose expectation is `position_rating`."""
  return int(np.floor(position_rating(level) + _chance(seed)))


def _chance(seed: str) -> float:
  """A number between 0 and 1, both excluded."""
  digest = hashlib.sha256(seed.encode()).digest()
  return (int.from_bytes(digest[:6]) + 0.5) / 2**48
