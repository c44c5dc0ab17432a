"""A study in the columns of the Habermas Machine's published data.

One row of comparisons is one person who judged the statements of one round, as
there; columns that a study has nothing for are there, and null.
"""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyarrow import parquet

from consensus_jax.data.habermas_schema import (
  AGREEMENT,
  ARROW_TYPES,
  COMPARISONS,
  MOCK,
  MOCK_RANK,
  POSITIONS,
  QUALITY,
  File,
)
from consensus_jax.data.plain_text import one_line
from consensus_jax.study import collected, export_records
from consensus_jax.study.collected import Collected, Place

# In the place of a cohort of theirs.
VERSION = 'CONSENSUS_JAX_STUDY'
_PERSON, _MODEL = 'HUMAN_CITIZEN', 'MODEL_MEDIATOR'
_AGREEMENT, _QUALITY = (
  {value: name for name, value in names.items() if name != MOCK}
  for names in (AGREEMENT, QUALITY)
)

_Row = dict[str, Any]


def files(study: Collected) -> dict[str, bytes]:
  """The two parquet files that a study can fill, by name."""
  comparisons: list[_Row] = []
  positions: list[_Row] = []
  for place, question in study.questions.items():
    for member in study.memberships[question.group_id]:
      name = member.participant_id
      answers = study.answers_at(name, place)
      for round_ in (0, 1):
        comparisons += _comparison(study, place, name, answers, round_)
      positions += [
        _position(study, place, name, answer)
        for answer in answers
        if answer.kind == 'position'
      ]
  return {
    COMPARISONS.name: _parquet(COMPARISONS, comparisons),
    POSITIONS.name: _parquet(POSITIONS, positions),
  }


def _parquet(file: File, rows: list[_Row]) -> bytes:
  columns: dict[str, Any] = {}
  for name, column in file.columns.items():
    columns[name] = pa.array(
      [row.get(name) for row in rows], ARROW_TYPES[column.kind]
    )
  buffer = io.BytesIO()
  parquet.write_table(pa.table(columns), buffer)
  return buffer.getvalue()


def _about(study: Collected, place: Place, name: str) -> _Row:
  row = study.questions[place]
  question = study.protocol.question(row.question_id)
  return {
    'metadata.version': VERSION,
    'metadata.participant_id': study.names[name],
    'worker_id': study.names[name],
    'launch_id': export_records.group_name(place[0]),
    'question.id': question.id,
    'question.text': question.text,
    'question.affirming_statement': question.affirming,
    'question.negating_statement': question.negating,
    'question.split': MOCK,
  }


def _comparison(
  study: Collected,
  place: Place,
  name: str,
  answers: Sequence[sa.Row],
  round_: int,
) -> list[_Row]:
  """The row of a person and a round, if they judged anything in it."""
  statements = [
    row for row in export_records.shown(study, place) if row.round == round_
  ]
  ratings = {
    answer.content['statement']: answer.content
    for answer in answers
    if answer.kind == 'rate' and answer.round == round_
  }
  ranking = next(
    (a for a in answers if a.kind == 'rank' and a.round == round_), None
  )
  ranks = ranking.content['ranks'] if ranking else {}
  own = _text(answers, 'opinion')
  if not statements or not own or not (ratings or ranks):
    return []
  round_id = export_records.record_id(place)
  ids = [f's{row.id}' for row in statements]
  critique = _text(answers, 'critique')
  people = [each.participant_id for each in study.memberships[place[0]]]
  others = [
    (study.names[each], text)
    for each in people
    if each != name
    if (text := _text(study.answers_at(each, place), 'opinion'))
  ]
  last = max(answer.answered_at for answer in answers)
  row = _about(study, place, name) | {
    'metadata.id': f'{round_id}/{round_}/{study.names[name]}',
    'round_id': round_id,
    'iteration_id': f'{round_id}/{round_}',
    'iteration_index': round_,
    'timestamp': last,
    'monotonic_timestamp': last,
    'own_opinion.text': own,
    'own_opinion.metadata.provenance': _PERSON,
    'own_opinion.metadata.participant_id': study.names[name],
    'own_opinion.metadata.response_duration': _seconds(answers, 'opinion'),
    'other_opinions.text': [text for _, text in others],
    'other_opinions.metadata.participant_id': [who for who, _ in others],
    'other_opinions.metadata.provenance': [_PERSON] * len(others),
    'candidates.text': [each.text for each in statements],
    'candidates.metadata.id': ids,
    'candidates.metadata.provenance': [
      _PERSON if collected.author(each) else _MODEL for each in statements
    ],
    'candidates.metadata.version': [each.system for each in statements],
    'candidates.reward_data.reward_predictions': [
      [each.rewards.get(person) for person in people] for each in statements
    ],
    'critique.text': critique or None if round_ else None,
    'critique.metadata.response_duration': (
      _seconds(answers, 'critique') if round_ else None
    ),
    'rankings.candidate_ids': ids,
    'rankings.numerical_ranks': [
      ranks.get(str(each.id), MOCK_RANK + 1) - 1 for each in statements
    ],
    'ratings.agreement': [
      _AGREEMENT[ratings[each.id]['agreement']] if each.id in ratings else MOCK
      for each in statements
    ],
    'ratings.quality': [
      _QUALITY[ratings[each.id]['quality']] if each.id in ratings else MOCK
      for each in statements
    ],
  }
  if ranking:
    row['rankings.metadata.response_duration'] = ranking.seconds
  question = study.questions[place]
  winner = question.revised_winner if round_ else question.winner
  row['top_candidate.text'] = next(
    (each.text for each in statements if each.id == winner), None
  )
  return [row]


def _position(
  study: Collected, place: Place, name: str, answer: sa.Row
) -> _Row:
  after = answer.content['part'] == 'after'
  return _about(study, place, name) | {
    'metadata.id': f'{export_records.record_id(place)}/{study.names[name]}'
    f'/{answer.content["part"]}',
    'metadata.response_duration': answer.seconds,
    'timestamp': answer.answered_at,
    'monotonic_timestamp': answer.answered_at,
    'question_index': place[1] - 1,
    'rating_index': int(after),
    'ratings.agreement': [_AGREEMENT[export_records.affirming(answer)]],
    'ratings.metadata.participant_id': study.names[name],
  }


def _text(answers: Sequence[sa.Row], kind: str) -> str:
  found = (each.content['text'] for each in answers if each.kind == kind)
  return one_line(next(found, ''))


def _seconds(answers: Sequence[sa.Row], kind: str) -> float | None:
  return next((each.seconds for each in answers if each.kind == kind), None)
