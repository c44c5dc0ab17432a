"""A study as CSV: everything in plain tables, and the files of Polis.

No cell is a formula to a spreadsheet: a text that could be one gets an
apostrophe in front.
"""

import csv
import datetime
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from consensus_jax.data.plain_text import one_line
from consensus_jax.strict_json import dump
from consensus_jax.study import collected, export_records, quality
from consensus_jax.study.collected import Collected

# Full-width forms too, as some programs take them for the plain ones.
_FORMULA = re.compile(r'^[\s\x00]*[=+\-@|%＝＋－＠]|^[\t\r\n]')
_ANSWERS = (
  *('consent', 'choice', 'position', 'side', 'part', 'importance', 'text'),
  *('statement', 'agreement', 'quality', 'attention_item', 'attention'),
  *('ranks', 'preferred', 'survey'),
)


def csv_bytes(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
  """A file that spreadsheets open as it is: UTF-8, commas, no formulas."""
  buffer = io.StringIO(newline='')
  writer = csv.writer(buffer)
  writer.writerow([cell(each) for each in header])
  writer.writerows([cell(each) for each in row] for row in rows)
  return buffer.getvalue().encode()


def cell(value: Any) -> Any:
  """`value` for a cell; a text that could be a formula cannot be one."""
  if isinstance(value, str) and _FORMULA.match(value):
    return f"'{value}"
  if isinstance(value, bool):
    return int(value)
  return '' if value is None else value


def tables(study: Collected) -> dict[str, bytes]:
  """Everything, in files of one row a participant, group, answer and so on."""
  return {
    'participants.csv': _participants(study),
    'groups.csv': _groups(study),
    'statements.csv': _statements(study),
    'answers.csv': _answers(study),
  }


def polis(study: Collected) -> dict[str, bytes]:
  """A conversation of Polis for each question: all groups' statements on it.

  A vote is what a rating of agreement is above, below or at the middle.
  """
  found: dict[str, bytes] = {}
  number = {name: index for index, name in enumerate(study.names)}
  for index, question in enumerate(study.protocol.questions, 1):
    places = [
      place
      for place, row in study.questions.items()
      if row.question_id == question.id
    ]
    rows = [
      row for place in places for row in export_records.shown(study, place)
    ]
    if not rows:
      continue
    votes = _votes(study, {*places})
    folder = f'{index}-{_file_name(question.id)}'
    found |= {
      f'{folder}/summary.csv': _polis_summary(question.text, votes, rows),
      f'{folder}/comments.csv': _polis_comments(rows, votes, number),
      f'{folder}/participants-votes.csv': _polis_votes(
        study, rows, votes, number
      ),
    }
  return found


# ---- Everything.


def _participants(study: Collected) -> bytes:
  flags = quality.flags(study)
  items = [item.id for item in study.protocol.survey]
  group_of = {
    member.participant_id: group_id
    for group_id, members in study.memberships.items()
    for member in members
  }
  rows = []
  for name, person in study.participants.items():
    survey: Mapping[str, Any] = next(
      (
        each.content
        for each in study.answers.get(name, ())
        if each.kind == 'survey'
      ),
      {},
    )
    group_id = group_of.get(name)
    rows.append(
      [
        study.names[name],
        person.entry,
        person.state,
        person.step_key,
        None if group_id is None else export_records.group_name(group_id),
        _time(person.created_at),
        _time(person.ended_at),
        _duration(person.created_at, person.ended_at),
        '; '.join(str(flag) for flag in flags.get(name, ())),
        *[survey.get(item) for item in items],
      ]
    )
  header = (
    *('participant', 'entry', 'state', 'step', 'group', 'joined', 'ended'),
    *('seconds', 'flags'),
    *[f'survey.{item}' for item in items],
  )
  return csv_bytes(header, rows)


def _groups(study: Collected) -> bytes:
  rows = [
    [
      export_records.group_name(group.id),
      group.condition,
      group.state,
      _time(group.created_at),
      _time(group.ended_at),
      study.names[member.participant_id],
      member.seat,
      member.excluded,
      member.state,
    ]
    for group in study.groups.values()
    for member in study.memberships[group.id]
  ]
  header = (
    *('group', 'condition', 'state', 'formed', 'ended', 'participant'),
    *('seat', 'silently_excluded', 'member'),
  )
  return csv_bytes(header, rows)


def _statements(study: Collected) -> bytes:
  rows = []
  for place, statements in study.statements.items():
    question = study.questions[place]
    for row in statements:
      who = collected.author(row)
      provenance = {
        name: value
        for name, value in row.provenance.items()
        if name != 'participant'
      }
      rewards = {study.names[who]: r for who, r in row.rewards.items()}
      rows.append(
        [
          f's{row.id}',
          export_records.group_name(place[0]),
          place[1],
          question.question_id,
          row.round,
          row.shown,
          row.id in (question.winner, question.revised_winner),
          row.system,
          study.names[who] if who else None,
          row.text,
          dump(rewards),
          dump(provenance),
        ]
      )
  header = (
    *('statement', 'group', 'number', 'question', 'round', 'shown', 'won'),
    *('system', 'author', 'text', 'rewards', 'provenance'),
  )
  return csv_bytes(header, rows)


def _answers(study: Collected) -> bytes:
  rows = []
  for name, answers in study.answers.items():
    for answer in answers:
      question = study.questions.get((answer.group_id, answer.position))
      rows.append(
        [
          study.names[name],
          answer.step_key,
          answer.kind,
          None
          if answer.group_id is None
          else export_records.group_name(answer.group_id),
          None if question is None else question.question_id,
          answer.round,
          _time(answer.answered_at),
          round(answer.seconds, 3),
          answer.from_draft,
          *_columns(answer),
        ]
      )
  header = (
    *('participant', 'step', 'kind', 'group', 'question', 'round', 'at'),
    *('seconds', 'from_draft', *_ANSWERS),
  )
  return csv_bytes(header, rows)


def _columns(answer: sa.Row) -> list[Any]:
  values: dict[str, Any] = dict(answer.content)
  if answer.kind == 'survey':
    values = {'survey': dump(values)}
  else:
    if 'statement' in values:
      values['statement'] = f's{values["statement"]}'
    if 'ranks' in values:
      ranks = {f's{key}': rank for key, rank in values['ranks'].items()}
      values['ranks'] = dump(ranks)
    if 'preferred' in values:
      values.pop('choice')
  return [values.get(name) for name in _ANSWERS]


# ---- Polis.

_Votes = Mapping[tuple[str, int], int]


def _votes(study: Collected, places: set[collected.Place]) -> _Votes:
  """By participant and statement: 1 for, 0 neither, -1 against."""
  return {
    (name, answer.content['statement']): (answer.content['agreement'] > 4)
    - (answer.content['agreement'] < 4)
    for name, answers in study.answers.items()
    for answer in answers
    if answer.kind == 'rate' and (answer.group_id, answer.position) in places
  }


def _polis_summary(topic: str, votes: _Votes, rows: list[sa.Row]) -> bytes:
  voters = {name for name, _ in votes}
  authors = {collected.author(row) for row in rows} - {None}
  return csv_bytes(
    ('topic', one_line(topic)),
    [
      ('views', len(voters)),
      ('voters', len(voters)),
      ('voters-in-conv', len(voters)),
      ('commenters', len(authors)),
      ('comments', len(rows)),
      ('groups', ''),
      ('conversation-description', ''),
    ],
  )


def _polis_comments(
  rows: list[sa.Row], votes: _Votes, number: Mapping[str, int]
) -> bytes:
  given: dict[int, list[int]] = {row.id: [] for row in rows}
  for (_, statement), vote in votes.items():
    given.setdefault(statement, []).append(vote)
  header = (
    *('timestamp', 'datetime', 'comment-id', 'author-id', 'agrees'),
    *('disagrees', 'moderated', 'comment-body'),
  )
  return csv_bytes(
    header,
    [
      [
        '',
        '',
        row.id,
        number[who] if (who := collected.author(row)) else '',
        given[row.id].count(1),
        given[row.id].count(-1),
        1,
        one_line(row.text),
      ]
      for row in rows
    ],
  )


def _polis_votes(
  study: Collected,
  rows: list[sa.Row],
  votes: _Votes,
  number: Mapping[str, int],
) -> bytes:
  header = (
    *('participant', 'xid', 'group-id', 'n-comments', 'n-votes', 'n-agree'),
    'n-disagree',
    *[str(row.id) for row in rows],
  )
  table = []
  for name in dict.fromkeys(name for name, _ in votes):
    own = [votes.get((name, row.id)) for row in rows]
    table.append(
      [
        number[name],
        study.names[name],
        '',
        sum(collected.author(row) == name for row in rows),
        sum(vote is not None for vote in own),
        own.count(1),
        own.count(-1),
        *own,
      ]
    )
  return csv_bytes(header, table)


def _file_name(text: str) -> str:
  return re.sub(r'[^A-Za-z0-9_-]+', '_', text)[:60]


def _time(seconds: float | None) -> str | None:
  if seconds is None:
    return None
  at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  return at.isoformat(timespec='seconds')


def _duration(start: float, end: float | None) -> float | None:
  return None if end is None else round(end - start, 3)
