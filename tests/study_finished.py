"""A small study that is over, with opinions among the statements."""

import atexit
import functools
import pathlib
import random
import shutil
import tempfile
import unittest.mock

import study_people as people

from consensus_jax.study import candidates, collected, database, winners
from consensus_jax.study.candidates import Statement

SURVEY = [
  {'id': 'fair', 'prompt': 'Fair?'},
  {'id': 'more', 'prompt': 'More?', 'kind': 'text'},
]
CONDITIONS = [
  {
    'name': 'mixed',
    'systems': [
      {'name': 'model', 'policy': 'sft'},
      {'name': 'people', 'policy': 'human'},
    ],
  }
]
WORDS = [
  'buses',
  'trains',
  'should',
  'be',
  'free',
  'for',
  'all',
  'children',
  'we',
  'want',
  'cleaner',
  'air',
  'and',
  'more',
  'trees',
  'costs',
  'rise',
  'taxes',
  'too',
  'who',
  'pays',
  'nobody',
  'knows',
]


def words(rng, count=12):
  return ' '.join(rng.choice(WORDS) for _ in range(count))


def make(engine, study, now):
  """Does all jobs: two statements of a model, and what people wrote."""
  while True:
    with database.writing(engine) as connection:
      job = candidates.claim(
        connection, study, 'test', now=now, lease_seconds=60.0
      )
      if job is None:
        return
      request = job.request
      rng = random.Random(f'{request.group_id}/{request.position}')
      made = [
        Statement(
          text=f'We all say: {words(rng)}.',
          system='model',
          rewards={name: rng.random() for name in request.opinions},
          provenance={'policy': 'test'},
        )
        for _ in range(2)
      ]
      made += [
        Statement(text=text, system='people', provenance={'participant': name})
        for name, text in request.opinions.items()
      ]
      candidates.finish(connection, study, job, made, now=now)


def reply(step, study, rng):
  """Like `people.reply`, but everybody differs."""
  answer = people.reply(step, study, text=words(rng, 20))
  match step.kind:
    case 'rate':
      answer |= {name: rng.randint(1, 7) for name in ('agreement', 'quality')}
    case 'rank':
      names = list(answer['ranks'])
      answer = {'ranks': {name: rng.randint(1, len(names)) for name in names}}
    case 'position':
      answer['position'] = rng.randint(1, 7)
    case 'survey':
      answer |= {'more': words(rng, 5)}
  return answer


def _first_shown(connection, protocol, group, question, round_, names):
  """A winner without jax, which compiles for many seconds."""
  return question.shown[round_][0]


def finished(folder):
  """Protocol, engine and ids of people who have all come to the end.

  The study happens once in a process; what is in the folder is a copy.
  """
  path, study, names = _happened()
  shutil.copy(path, pathlib.Path(folder) / 'study.db')
  return study, people.opened(folder, study), names


@functools.cache
@unittest.mock.patch.object(winners, 'of_round', _first_shown)
def _happened():
  folder = pathlib.Path(tempfile.mkdtemp(prefix='consensus_jax_study_'))
  atexit.register(shutil.rmtree, folder)
  study = people.protocol_of(
    survey=SURVEY,
    conditions=CONDITIONS,
    group_size=2,
    position=True,
    critique_round=True,
    candidates_shown=4,
    rank=True,
    attention=[{'prompt': 'Choose 2.', 'answer': 2}],
  )
  engine = people.opened(folder, study)
  names = [people.join(engine, study, now=1000.0 + i) for i in range(4)]
  rngs = {name: random.Random(index) for index, name in enumerate(names)}
  now = 1004.0
  for _ in range(200):
    now += 3.0
    steps = {name: people.current(engine, study, name, now) for name in names}
    if all(step.kind == 'done' for step in steps.values()):
      engine.dispose()  # The last connection moves the log into the file.
      return folder / 'study.db', study, names
    for name, step in steps.items():
      answer = reply(step, study, rngs[name])
      if answer is not None:
        assert people.submit(engine, study, name, step.key, answer, now)
    people.tick(engine, study, now)
    make(engine, study, now)
  raise AssertionError(steps)


def read(engine, study):
  """All that was collected."""
  with database.reading(engine) as connection:
    return collected.read(connection, study)
