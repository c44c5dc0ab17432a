"""Studies with people who answer as they are told, and no model."""

import pathlib

import sqlalchemy as sa

from consensus_jax.study import database, entry, flow, protocol
from consensus_jax.study.candidates import Statement

QUESTIONS = [
  {'id': name, 'text': f'{name}?', 'affirming': f'{name}.', 'negating': 'No.'}
  for name in ('buses', 'sugar', 'phones')
]


def protocol_of(**fields):
  """A small protocol; fields as in YAML."""
  return protocol.Protocol.from_json(
    {
      'questions': QUESTIONS,
      'questions_per_group': 1,
      'group_size': 3,
      'min_group_size': 2,
      'candidates_shown': 2,
      'opinion': {'min_words': 1},
      'critique': {'min_words': 1},
      # So that these tests need no jax.
      'rank': False,
      'position': False,
      **fields,
    }
  )


def opened(folder, study):
  """An empty database of that protocol."""
  path = pathlib.Path(folder) / 'study.db'
  engine = database.open_database(f'sqlite:///{path}', study)

  # No test cuts the power, and to wait for disks takes most of the time.
  @sa.event.listens_for(engine, 'connect')
  def hurry(connection, _):
    connection.execute('PRAGMA synchronous = OFF')

  engine.dispose()
  return engine


def join(engine, study, now=0.0, **how):
  """The id of a new participant."""
  with database.writing(engine) as connection:
    return entry.join(connection, study, now=now, **how)[0]


def current(engine, study, name, now=0.0):
  """The current step."""
  with database.reading(engine) as connection:
    return flow.current_step(connection, study, name, now=now)


def submit(engine, study, name, key, answer, now=0.0):
  """The status of a submission."""
  with database.writing(engine) as connection:
    return flow.submit(connection, study, name, key, answer, now=now).status


def tick(engine, study, now=0.0):
  """What the server does each second."""
  with database.writing(engine) as connection:
    flow.tick(connection, study, now=now)


def reply(step, study, text='some words', seed=0):
  """An answer to a step, or None if it wants none."""
  content = step.content
  match step.kind:
    case 'consent':
      return {'consent': True}
    case 'instructions' | 'result':
      return {}
    case 'comprehension':
      return {'choice': study.comprehension[0].answer}
    case 'position':
      importance = {'importance': 5} if content['ask_importance'] else {}
      return {'position': 7, **importance}
    case 'opinion' | 'critique':
      return {'text': text}
    case 'rate':
      attention = {'attention': 2} if content['attention'] else {}
      return {'agreement': 1 + seed % 7, 'quality': 4, **attention}
    case 'rank':
      ids = [each['id'] for each in content['statements']]
      return {'ranks': {name: 1 + (i + seed) % 2 for i, name in enumerate(ids)}}
    case 'final':
      return {'choice': 'first'}
    case 'survey':
      items = [each for each in content['items'] if each['kind'] != 'text']
      return {each['id']: 1 for each in items}
  return None


def go_to(engine, study, names, kind, now=0.0, make=None):
  """Lets people answer until all of them see a step of that kind."""
  for _ in range(200):
    steps = {name: current(engine, study, name, now) for name in names}
    if all(step.kind == kind for step in steps.values()):
      return steps
    for name, step in steps.items():
      answer = reply(step, study, text=f'words of {name}')
      if answer is not None and step.kind != kind:
        assert submit(engine, study, name, step.key, answer, now) == 'stored'
    tick(engine, study, now)
    if make is not None:
      make(engine, study, now)
  raise AssertionError(f'{steps} never came to {kind}')


def statements_of(request, report=lambda progress: None):
  """Makes candidates without a model: three, none of them an opinion."""
  report(0.5)
  return [
    Statement(
      text=f'Statement {index} of round {request.round} on {request.question}',
      system=request.condition.systems[0].name,
      rewards=dict.fromkeys(request.opinions, float(index)),
    )
    for index in range(3)
  ]
