"""What each page shows, from the database; `flow` lists it by kind."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from consensus_jax.study import stages, steps, view
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.steps import GroupView, Place
from consensus_jax.study.tables import drafts, jobs, participants


@dataclasses.dataclass(frozen=True)
class Standing:
  """Where a participant stands, and what that depends on.

  Attributes:
    row: of the participant.
    answers: contents by step key.
    group: of the participant, if any.
    place: the current step.
  """

  row: Any
  answers: Mapping[str, Mapping[str, Any]]
  group: GroupView | None
  place: Place


def standing(
  connection: sa.Connection, protocol: Protocol, participant: str
) -> Standing:
  """Reads where a participant stands."""
  row = view.participant(connection, participant)
  answers = view.answers_of(connection, participant)
  group = view.group_of(connection, participant)
  place = steps.current(protocol, row.state, answers, group)
  return Standing(row, answers, group, place)


def content(
  connection: sa.Connection, protocol: Protocol, at: Standing, now: float
) -> dict[str, Any]:
  """What the page of the current step shows, JSON values."""
  place = at.place
  if place.position is None:
    return _alone(connection, protocol, at, now)
  assert at.group is not None
  question = at.group.questions[place.position - 1]
  asked = protocol.question(question.question_id)
  shown: dict[str, Any] = {'question': asked.text}
  labels = dataclasses.asdict(protocol.labels)
  match place.kind:
    case 'wait':
      what = steps.WAITS[question.stage]
      return shown | {
        'what': what,
        'progress': _progress(connection, at.group, question),
      }
    case 'position':
      affirms = question.side == 'affirming'
      after = place.round == 1
      return shown | {
        'statement': asked.affirming if affirms else asked.negating,
        'labels': labels,
        'ask_importance': protocol.importance,
        'part': 'after' if after else 'before',
      }
    case 'opinion':
      return shown | {
        **dataclasses.asdict(protocol.opinion),
        'draft': draft(connection, at).get('text', ''),
      }
  own = at.answers[f'{at.group.prefix}q{place.position}/opinion']
  shown['own_opinion'] = own['text']
  match place.kind:
    case 'rate':
      order = statement_order(protocol, at)
      name = order[place.number - 1]
      item = attention_item(protocol, at)
      prompt = None if item is None else protocol.attention[item].prompt
      return shown | {
        'statement': view.texts(connection, [name])[name],
        'number': place.number,
        'of': len(order),
        'labels': labels,
        'attention': None if prompt is None else {'prompt': prompt},
      }
    case 'rank':
      order = statement_order(protocol, at)
      texts = view.texts(connection, order)
      return shown | {
        'statements': [{'id': str(name), 'text': texts[name]} for name in order]
      }
    case 'critique':
      winner = question.winners[0]
      return shown | {
        'statement': view.texts(connection, [winner])[winner],
        **dataclasses.asdict(protocol.critique),
        'draft': draft(connection, at).get('text', ''),
      }
    case 'final':
      first, second = finalists(protocol, at)
      texts = view.texts(connection, [first, second])
      return shown | {'first': texts[first], 'second': texts[second]}
    case 'result':
      winner = question.winners[-1]
      return shown | {'statement': view.texts(connection, [winner])[winner]}
  raise AssertionError(place.kind)


def draft(connection: sa.Connection, at: Standing) -> dict[str, Any]:
  """What has been saved of the current step."""
  query = sa.select(drafts.c.content).where(
    drafts.c.participant_id == at.row.id, drafts.c.step_key == at.place.key
  )
  return connection.execute(query).scalar() or {}


def statement_order(protocol: Protocol, at: Standing) -> list[int]:
  """Ids of the round's statements in this participant's order."""
  assert at.group is not None
  position = at.place.position or 0
  order = sorted(at.group.questions[position - 1].shown[at.place.round])
  names = ('order', at.row.id, at.group.id, position, at.place.round)
  steps.draw(protocol, *names).shuffle(order)
  return order


def attention_item(protocol: Protocol, at: Standing) -> int | None:
  """The index of the attention check beside this rating, if there is one.

  One a question from the first on, in the first round, at a random statement.
  """
  assert at.group is not None
  position = at.place.position or 0
  if at.place.round or position > len(protocol.attention):
    return None
  count = len(at.group.questions[position - 1].shown[0])
  names = ('attention', at.row.id, at.group.id, position)
  number = 1 + steps.draw(protocol, *names).randrange(count)
  return position - 1 if at.place.number == number else None


def finalists(protocol: Protocol, at: Standing) -> list[int]:
  """Ids of both rounds' winners in the order that this participant sees."""
  assert at.group is not None
  position = at.place.position or 0
  order = list(at.group.questions[position - 1].winners)
  names = ('final', at.row.id, at.group.id, position)
  steps.draw(protocol, *names).shuffle(order)
  return order


def stored(
  protocol: Protocol, at: Standing, answer: dict[str, Any]
) -> dict[str, Any]:
  """The answer with what it means, where the form alone does not tell."""
  if at.group is None or at.place.position is None:
    return answer
  question = at.group.questions[at.place.position - 1]
  match at.place.kind:
    case 'position':
      part = 'after' if at.place.round else 'before'
      return {**answer, 'side': question.side, 'part': part}
    case 'rate':
      name = statement_order(protocol, at)[at.place.number - 1]
      answer = {**answer, 'statement': name}
      if 'attention' in answer:
        answer['attention_item'] = attention_item(protocol, at)
      return answer
    case 'final':
      if answer['choice'] == 'same':
        return {**answer, 'preferred': 'same'}
      order = finalists(protocol, at)
      chosen = order[('first', 'second').index(answer['choice'])]
      revised = chosen == question.winners[1]
      return {**answer, 'preferred': 'revised' if revised else 'initial'}
  return answer


def _alone(
  connection: sa.Connection, protocol: Protocol, at: Standing, now: float
) -> dict[str, Any]:
  """Pages outside of groups."""
  match at.place.kind:
    case 'consent':
      return {'title': protocol.title, 'text': protocol.consent}
    case 'instructions':
      return {'text': protocol.instructions}
    case 'comprehension':
      check = protocol.comprehension[at.place.index]
      return {
        'prompt': check.prompt,
        'options': list(check.options),
        'attempts_left': check.attempts - at.place.number + 1,
      }
    case 'lobby':
      seen = participants.c.last_seen >= now - protocol.lobby.away_after
      waiting = connection.execute(
        sa.select(sa.func.count())
        .select_from(participants)
        .where(
          participants.c.state == 'active',
          participants.c.step_key == 'lobby',
          seen,
        )
      ).scalar_one()
      return {
        'waiting': waiting,
        'needed': protocol.group_size,
        'since': at.row.step_since,
      }
    case 'survey':
      return {
        'items': [dataclasses.asdict(item) for item in protocol.survey],
        'labels': dataclasses.asdict(protocol.labels),
        'draft': draft(connection, at),
      }
  return dataclasses.asdict(protocol.farewell(at.place.kind))


def _progress(
  connection: sa.Connection,
  group: GroupView,
  question: steps.GroupQuestion,
) -> float:
  if question.stage in stages.MAKING:
    return connection.execute(
      sa.select(jobs.c.progress).where(
        jobs.c.group_id == group.id,
        jobs.c.position == question.position,
        jobs.c.round == stages.MAKING[question.stage],
      )
    ).scalar_one()
  names = [each.participant_id for each in view.members(connection, group.id)]
  keys = connection.execute(
    sa.select(participants.c.step_key).where(participants.c.id.in_(names))
  ).scalars()
  done = sum('/wait/' in key for key in keys)
  return done / max(1, len(names))
