"""A study in which every kind of step comes up, and one that serves it."""

import pathlib

import sqlalchemy
from study_browser import Browser

from consensus_jax.study import candidates, database, flow, tables, web
from consensus_jax.study.candidates import Statement
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.security import Rates

# Enough words for every text.
WORDS = 'I think that this would be right for all of us here.'


def protocol(**changes):
  """Two people, one question, two statements a round, everything on."""
  return Protocol.from_json(
    {
      'title': 'Speed in our town',
      'consent': 'Taking part is free.\n\nYou can stop at any time.',
      'instructions': 'You will read statements.\n\nTake your time.',
      'comprehension': [
        {'prompt': 'Who reads this?', 'options': ['All', 'We'], 'answer': 1}
      ],
      'attention': [{'prompt': 'Please choose 7 here.', 'answer': 7}],
      'group_size': 2,
      'min_group_size': 2,
      'questions_per_group': 1,
      'questions': [
        {
          'id': 'speed',
          'text': 'Should cars drive at 30 in our town?',
          'affirming': 'Cars should drive at 30 in our town.',
          'negating': 'Cars should not have to drive at 30 in our town.',
        }
      ],
      'opinion': {'min_words': 5, 'max_words': 50},
      'critique': {'min_words': 5, 'max_words': 50},
      'critique_round': True,
      'candidates_shown': 2,
      'survey': [
        {'id': 'heard', 'prompt': 'I felt heard.'},
        {
          'id': 'best',
          'prompt': 'What was best?',
          'kind': 'choice',
          'options': ['Mine', 'Ours'],
        },
        {'id': 'more', 'prompt': 'Anything else?', 'kind': 'text'},
      ],
      'endings': {'done': {'code': 'C1X7', 'link': 'https://example.org/'}},
      **changes,
    }
  )


class Study:
  """A study with a clock of its own; groups move on when `tick` is called."""

  def __init__(
    self,
    folder: pathlib.Path,
    protocol_: Protocol | None = None,
    *,
    secure_cookies: bool = False,
    rates: Rates | None = None,
  ):
    self.now = 1_000_000.0
    self.file = folder / 'study.db'
    self.secure = secure_cookies
    self.protocol = protocol_ or protocol()
    self.engine = database.open_database(
      f'sqlite:///{self.file}', self.protocol
    )
    self.app = web.make_app(
      self.engine,
      self.protocol,
      secure_cookies=secure_cookies,
      rates=rates or Rates(),
      clock=lambda: self.now,
    )

  def browser(self):
    """A new one, without cookies."""
    return Browser(self.app, secure=self.secure)

  def member(self, path='/'):
    """A browser that has joined by a page, at the first step."""
    browser = self.browser()
    browser.join(path)
    return browser

  def tick(self, text='Statement {number} of round {round}.'):
    """Time passes: groups form, and candidates that are asked for are made."""
    self.now += 1
    with database.writing(self.engine) as connection:
      flow.tick(connection, self.protocol, now=self.now)
      while job := candidates.claim(
        connection, self.protocol, 'test', now=self.now, lease_seconds=60.0
      ):
        made = [
          Statement(
            text=text.format(number=number, round=job.request.round),
            system=job.request.condition.systems[0].name,
          )
          for number in (1, 2)
        ]
        candidates.finish(connection, self.protocol, job, made, now=self.now)

  def group(self, names=('one', 'two')):
    """Browsers of a group that has just formed."""
    browsers = [self.browser() for _ in names]
    for browser in browsers:
      browser.join()
      while browser.step != 'lobby':
        browser.answer()
    self.tick()
    for browser in browsers:
      browser.get('/study')
    return browsers

  def rows(self, table):
    """All rows of a table."""
    with database.reading(self.engine) as connection:
      return connection.execute(sqlalchemy.select(table)).all()

  def answers(self, key):
    """What participants have answered to a step."""
    return [
      row.content for row in self.rows(tables.answers) if row.step_key == key
    ]
