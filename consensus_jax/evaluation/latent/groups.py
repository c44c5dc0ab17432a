"""Simulated groups: people with known positions, and what they write.

Everything is drawn by names and seeds, so that equal seeds draw equal people.
"""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.evaluation.latent import words
from consensus_jax.evaluation.latent.questions import LatentQuestion
from consensus_jax.strict_json import InputError

SOURCE = 'latent'
_LEVELS = range(-2, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Participant:
  """A simulated person.

  Attributes:
    name: of the person; everything they say is drawn by it.
    positions: a level of each issue of the question.
    importance: of each issue; the sum is 1.
    leniency: how much higher than others they rate, as a reward.
    opinion: what they write.
  """

  name: str
  positions: tuple[int, ...]
  importance: tuple[float, ...]
  leniency: float
  opinion: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentGroup:
  """A question, and simulated people who deliberate on it.

  Attributes:
    id: of the group.
    question: with its issues.
    participants: all who rate.
    silent: names of those who rate but were not heard: no system sees their
      opinions.

  Raises:
    InputError: if nobody is heard, or a silent person is not in the group.
  """

  id: str
  question: LatentQuestion
  participants: tuple[Participant, ...]
  silent: tuple[str, ...] = ()

  def __post_init__(self):
    names = {person.name for person in self.participants}
    for index, name in enumerate(self.silent):
      if name not in names:
        raise InputError(
          f'{name!r} is not in the group {self.id}', field=('silent', index)
        )
    if names <= {*self.silent}:
      raise InputError(f'nobody of {self.id} is heard', field=('silent',))

  @property
  def heard(self) -> tuple[Participant, ...]:
    """Those whose opinions a system sees."""
    return tuple(p for p in self.participants if p.name not in self.silent)

  @property
  def divided(self) -> bool:
    """Whether there are people on both sides of the main issue."""
    main = [person.positions[0] for person in self.participants]
    return min(main) < 0 < max(main)

  def deliberation(self) -> Deliberation:
    """What a system gets: the question, the opinions of those who are heard."""
    opinions = tuple(Opinion(p.name, p.opinion) for p in self.heard)
    return Deliberation(self.id, self.question.question.text, opinions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population:
  """Whom groups are drawn from.

  Attributes:
    sizes: of a group, drawn from these.
    dissent: probability that at least one member, and fewer than half, are on
      the other side of the main issue.
    leniency: standard deviation between people, as a reward.

  Raises:
    ValueError: for a number out of range.
  """

  sizes: tuple[int, ...] = (4, 5)
  dissent: float = 0.5
  leniency: float = 0.5

  def __post_init__(self):
    if min(self.sizes, default=0) < 3:
      raise ValueError(f'sizes must be 3 or more, got {self.sizes}')
    if not 0 <= self.dissent <= 1:
      raise ValueError(f'dissent must be from 0 to 1, got {self.dissent}')
    if not 0 <= self.leniency < np.inf:
      raise ValueError(f'leniency must be 0 or more, got {self.leniency}')


def draw_groups(
  questions: Sequence[LatentQuestion],
  *,
  num_groups: int,
  seed: int,
  population: Population = Population(),
) -> tuple[LatentGroup, ...]:
  """Draws groups, the questions in turns.

  Raises:
    ValueError: if there are no questions or less than no groups.
  """
  if not questions or num_groups < 0:
    raise ValueError(
      f'needs questions and groups, got {len(questions)} and {num_groups}'
    )
  return tuple(
    _draw_group(questions[i % len(questions)], i, seed, population)
    for i in range(num_groups)
  )


def silencing(group: LatentGroup, *, count: int, seed: int) -> LatentGroup:
  """The same group without the opinions of some members, drawn.

  Raises:
    InputError: if nobody would be left.
  """
  names = [person.name for person in group.participants]
  if not 0 < count < len(names):
    raise InputError(
      f'{count} of the {len(names)} people of {group.id} cannot be silent'
    )
  drawn = {*random.Random(f'{seed}/{group.id}/silent').sample(names, count)}
  silent = tuple(name for name in names if name in drawn)
  return dataclasses.replace(group, silent=silent)


def _draw_group(
  question: LatentQuestion, number: int, seed: int, population: Population
) -> LatentGroup:
  name = f'{SOURCE}/{question.question.id}/{seed}/{number}'
  rng = random.Random(name)
  size = rng.choice(population.sizes)
  side = rng.choice((-1, 1))
  dissenters = 0
  if rng.random() < population.dissent:
    dissenters = rng.randint(1, (size - 1) // 2)
  sides = [-side] * dissenters + [side] * (size - dissenters)
  rng.shuffle(sides)
  people = []
  for index, own in enumerate(sides):
    others = [rng.choice(_LEVELS) for _ in question.issues[1:]]
    positions = (own * rng.choice((1, 2)), *others)
    weights = [rng.randint(1, 3) for _ in positions]
    importance = tuple(weight / sum(weights) for weight in weights)
    person = f'{name}/{index}'
    people.append(
      Participant(
        name=person,
        positions=positions,
        importance=importance,
        leniency=rng.gauss(0, population.leniency),
        opinion=words.opinion(question, positions, importance, seed=person),
      )
    )
  return LatentGroup(id=name, question=question, participants=tuple(people))
