"""What participants see, one step after the other; and where they stand.

A participant's current step is the first of `order` that has no answer, so it
is a function of the protocol, the group's stages and the answers alone: nothing
is lost when a process dies, and reconnecting needs nothing.
"""

import dataclasses
import random
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from consensus_jax.study.protocol import Ending, Protocol

StepKind = Literal[
  'consent',
  'instructions',
  'comprehension',
  'lobby',
  'position',
  'opinion',
  'rate',
  'rank',
  'critique',
  'final',
  'result',
  'survey',
  'wait',
  'paused',
  'done',
  'declined',
  'excluded',
  'withdrawn',
  'timed_out',
]
WITHOUT_ANSWER = frozenset(('lobby', 'wait', 'paused', *get_args(Ending)))
# The stages of a group's question, in order. Those of candidates are the
# worker's; the others end when every active member has answered.
Stage = Literal[
  'pending',
  'opinions',
  'candidates',
  'ratings',
  'critiques',
  'revisions',
  'revised_ratings',
  'done',
]
WAITS = {
  'opinions': 'opinions',
  'candidates': 'candidates',
  'ratings': 'ratings',
  'critiques': 'critiques',
  'revisions': 'candidates',
  'revised_ratings': 'ratings',
}
_FIRST_ROUND: tuple[Stage, ...] = ('opinions', 'candidates', 'ratings')
_SECOND_ROUND: tuple[Stage, ...] = (
  'critiques',
  'revisions',
  'revised_ratings',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """One page of a participant.

  Attributes:
    key: which one, as 'consent', 'q1/opinion' or 'q2/rate/3'; a form posts it.
    kind: which page.
    content: what the page shows, JSON values (`contents`).
    seconds_left: until its time is over; None if it has no end.
  """

  key: str
  kind: StepKind
  content: Mapping[str, Any]
  seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Place:
  """A step without its content.

  Attributes:
    key: as of `Step`.
    kind: as of `Step`.
    position: of the question in the group, from 1; None outside of groups.
    round: 0, or 1 after critiques.
    number: of a rating, or of an attempt at a check; from 1.
    index: of the check of comprehension, from 0.
  """

  key: str
  kind: StepKind
  position: int | None = None
  round: int = 0
  number: int = 0
  index: int = 0


@dataclasses.dataclass(frozen=True)
class GroupQuestion:
  """How far a group has come with one question.

  Attributes:
    position: from 1.
    question_id: of the protocol's question.
    side: 'affirming' or 'negating', of the position statement.
    stage: where the group stands.
    shown: ids of the statements shown in each round, in order of place.
    winners: ids of those that won, one a finished round.
  """

  position: int
  question_id: str
  side: str
  stage: Stage
  shown: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
  winners: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class GroupView:
  """What of a group decides its members' steps.

  Attributes:
    id: of the group.
    prefix: of the keys of this group's steps; '' in a participant's first.
    over: whether no more stages come.
    abandoned: whether too few members were left.
    questions: by position.
  """

  id: int
  prefix: str
  over: bool
  abandoned: bool
  questions: tuple[GroupQuestion, ...]


def stages(protocol: Protocol) -> tuple[Stage, ...]:
  """The stages of a question, in order, from 'opinions' to 'done'."""
  second = _SECOND_ROUND if protocol.critique_round else ()
  return (*_FIRST_ROUND, *second, 'done')


def entrance(protocol: Protocol) -> Iterator[Place]:
  """The steps before the lobby; of a check, those of its first attempt."""
  yield Place('consent', 'consent')
  if protocol.instructions:
    yield Place('instructions', 'instructions')
  for index in range(len(protocol.comprehension)):
    yield comprehension(index, 1)


def comprehension(index: int, attempt: int) -> Place:
  """The step of one attempt, from 1, at one check, from 0."""
  key = f'comprehension/{index}/{attempt}'
  return Place(key, 'comprehension', index=index, number=attempt)


def of_group(protocol: Protocol, group: GroupView) -> Iterator[Place]:
  """The steps in a group that are open by now, in order."""
  for question in group.questions:
    if question.stage != 'pending':
      yield from _of_question(protocol, group, question)


def _of_question(
  protocol: Protocol, group: GroupView, question: GroupQuestion
) -> Iterator[Place]:
  order = stages(protocol)
  reached = order.index(question.stage)

  def place(name: str, kind: StepKind, round_: int = 0, number: int = 0):
    key = f'{group.prefix}q{question.position}/{name}'
    return Place(key, kind, question.position, round_, number)

  def judgements(round_: int, room: str) -> Iterator[Place]:
    count = len(question.shown[round_])
    for number in range(1, count + 1):
      yield place(f'{room}rate/{number}', 'rate', round_, number)
    if protocol.rank and count > 1:
      yield place(f'{room}rank', 'rank', round_)

  if group.abandoned:
    return
  if protocol.position:
    yield place('position', 'position')
  yield place('opinion', 'opinion')
  if reached >= order.index('ratings'):
    yield from judgements(0, '')
  if protocol.critique_round:
    if reached >= order.index('critiques'):
      yield place('critique', 'critique')
    if reached >= order.index('revised_ratings'):
      yield from judgements(1, 'revised/')
  if question.stage == 'done':
    if protocol.critique_round and protocol.final:
      yield place('final', 'final', 1)
    if protocol.position:
      yield place('position_after', 'position', 1)
    yield place('result', 'result')


def current(
  protocol: Protocol,
  state: str,
  answers: Mapping[str, Mapping[str, Any]],
  group: GroupView | None,
) -> Place:
  """Where a participant stands.

  Args:
    protocol: of the study.
    state: of the participant.
    answers: contents by step key.
    group: of the participant, whether running or over; None in the lobby.
  """
  if state != 'active':
    return Place(state, state)  # type: ignore[arg-type]
  for place in entrance(protocol):
    if place.kind == 'comprehension':
      place = _attempt(protocol, place, answers)
    if place.key not in answers:
      return place
  if group is None:
    return Place('lobby', 'lobby')
  for place in of_group(protocol, group):
    if place.key not in answers:
      return place
  if group.abandoned and protocol.after_abandoned == 'lobby':
    return Place('lobby', 'lobby')
  if not group.over:
    return waiting(group)
  if protocol.survey and 'survey' not in answers:
    return Place('survey', 'survey')
  return Place('done', 'done')


def waiting(group: GroupView) -> Place:
  """The page of those who wait for the others of a running group."""
  question = next(
    each for each in group.questions if each.stage not in ('pending', 'done')
  )
  key = f'{group.prefix}q{question.position}/wait/{question.stage}'
  return Place(key, 'wait', question.position)


def _attempt(
  protocol: Protocol, place: Place, answers: Mapping[str, Mapping[str, Any]]
) -> Place:
  check = protocol.comprehension[place.index]
  while (
    place.key in answers
    and answers[place.key]['choice'] != check.answer
    and place.number < check.attempts
  ):
    place = comprehension(place.index, place.number + 1)
  return place


def seconds(protocol: Protocol, kind: StepKind) -> float | None:
  """How much time a step has; None if that is not limited."""
  return getattr(protocol.timers, kind, None)


def draw(protocol: Protocol, *names: object) -> random.Random:
  """Randomness that depends on the study's seed and on `names` only."""
  return random.Random('/'.join(map(str, (protocol.seed, *names))))
