"""A study as records of `consensus_jax.data`: judged deliberations.

One record is one question of one group; statements that nobody was shown are
left out, and so is what people said of their own opinion where it was among the
statements, as in other sources.
"""

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from consensus_jax.data.plain_text import one_line
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.study import collected
from consensus_jax.study.collected import Collected, Place

SOURCE = 'study'


def records(study: Collected) -> list[JudgedDeliberation]:
  """Every question of every group to which somebody wrote an opinion."""
  found = []
  for place, question in study.questions.items():
    members = [
      (member.participant_id, study.answers_at(member.participant_id, place))
      for member in study.memberships[question.group_id]
    ]
    if any(answer.kind == 'opinion' for _, own in members for answer in own):
      found.append(_record(study, place, members))
  return found


def unheard(study: Collected) -> list[dict[str, str]]:
  """Who was silently left out of what made a statement, for the evaluation."""
  return [
    {
      'record': record_id(place),
      'statement': f's{row.id}',
      'participant': study.names[member.participant_id],
    }
    for place in study.questions
    for member in study.memberships[place[0]]
    if member.excluded
    for row in shown(study, place)
    if collected.author(row) is None
  ]


def record_id(place: Place) -> str:
  """Of the record of a question of a group."""
  return f'{group_name(place[0])}/q{place[1]}'


def group_name(group_id: int) -> str:
  """Of a group, in exports."""
  return f'g{group_id}'


def shown(study: Collected, place: Place) -> list[sa.Row]:
  """The statements that were shown and still have a text, in order."""
  return [
    each for each in study.statements[place] if each.shown and each.text.strip()
  ]


def affirming(answer: sa.Row) -> int:
  """Agreement, 1 to 7, with the affirming position statement.

  Who was shown the negating one is taken to think the opposite: 8 minus theirs.
  """
  position = answer.content['position']
  return position if answer.content['side'] == 'affirming' else 8 - position


def _record(
  study: Collected, place: Place, members: list[tuple[str, list[sa.Row]]]
) -> JudgedDeliberation:
  asked = study.protocol.question(study.questions[place].question_id)
  rows = shown(study, place)
  return JudgedDeliberation(
    id=record_id(place),
    source=SOURCE,
    group=group_name(place[0]),
    question=Question(
      text=one_line(asked.text),
      id=asked.id,
      affirming=one_line(asked.affirming),
      negating=one_line(asked.negating),
    ),
    statements=tuple(_statement(study, row) for row in rows),
    members=tuple(
      _member(study.names[name], own, rows) for name, own in members if own
    ),
  )


def _statement(study: Collected, row: sa.Row) -> Statement:
  who = collected.author(row)
  return Statement(
    text=row.text.strip(),
    id=f's{row.id}',
    author=study.names[who] if who else row.system,
    provenance=row.system,
    round=row.round,
  )


@dataclasses.dataclass
class _Judgement:
  agreement: int | None = None
  quality: int | None = None
  rank: int | None = None


def _member(
  name: str, answers: Sequence[sa.Row], statements: Sequence[sa.Row]
) -> Member:
  opinion, critique = '', ''
  positions: dict[str, int] = {}
  said: dict[int, _Judgement] = {row.id: _Judgement() for row in statements}
  for answer in answers:
    content = answer.content
    match answer.kind:
      case 'opinion':
        opinion = one_line(content['text'])
      case 'critique':
        critique = one_line(content['text'])
      case 'position':
        positions[content['part']] = affirming(answer)
      case 'rate' if content['statement'] in said:
        judgement = said[content['statement']]
        judgement.agreement = content['agreement']
        judgement.quality = content['quality']
      case 'rank':
        for key, rank in content['ranks'].items():
          if int(key) in said:
            said[int(key)].rank = rank
  judged = [
    index
    for index, row in enumerate(statements)
    if said[row.id] != _Judgement() and one_line(row.text) != opinion
  ]
  own = [said[statements[index].id] for index in judged]
  agreement = tuple(each.agreement for each in own)
  return Member(
    participant=name,
    opinion=opinion,
    critique=critique,
    judged=tuple(judged),
    agreement=agreement,
    quality=tuple(each.quality for each in own),
    ranking=_ranking(own, [statements[index].round for index in judged]),
    votes=tuple(_vote(each) for each in agreement),
    position_before=positions.get('before'),
    position_after=positions.get('after'),
  )


def _ranking(
  judgements: Sequence[_Judgement], rounds: Sequence[int]
) -> tuple[int | None, ...]:
  """Ranks from 0 without gaps in each round; empty if nothing was ranked."""
  if all(each.rank is None for each in judgements):
    return ()
  ranks: list[int | None] = []
  for judgement, round_ in zip(judgements, rounds):
    given = {
      each.rank
      for each, other in zip(judgements, rounds)
      if other == round_ and each.rank is not None
    }
    rank = judgement.rank
    ranks.append(None if rank is None else sorted(given).index(rank))
  return tuple(ranks)


def _vote(agreement: int | None) -> int | None:
  """For, against or neither: what is above, below or at the middle."""
  if agreement is None:
    return None
  return (agreement > 4) - (agreement < 4)
