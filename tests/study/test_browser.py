"""A whole study in Chromium: by keyboard, on a phone, in the dark, without
scripts. STUDY_IMAGES=docs/images makes the pictures of the documentation anew.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import threading
import time
import zipfile
from collections import Counter

import accessible
import pytest
import sqlalchemy as sa
import uvicorn
from study_site import protocol

from consensus_jax.study import database, passwords, tables, web, worker
from consensus_jax.study.candidates import Statement

_CHROMIUM = shutil.which('chromium')
playwright = pytest.importorskip(
  'playwright.sync_api', reason='needs the package playwright'
)
pytestmark = [
  pytest.mark.skipif(not _CHROMIUM, reason='needs Chromium on the path'),
  pytest.mark.slow,
]

_IMAGES = os.environ.get('STUDY_IMAGES')
_QUESTION = 'Should the speed limit in our town be 30 kilometres per hour?'
_OPINIONS = (
  'Thirty is right where children walk to school, but the main road should '
  'stay as it is so that the buses run on time.',
  'I would lower it everywhere. It is quieter, it is safer, and the few '
  'minutes that it takes are worth it to all of us.',
  'I am against it. Those who drive too fast now will do so then; what helps '
  'is crossings that are lit and speed that is checked.',
  'We could try it for a year and count the accidents <script>alert(1)'
  '</script> before we decide for good.',
)
_STATEMENTS = (
  'Our town should lower the limit to 30 near schools and where people live, '
  'keep the main road as it is for the buses, and decide again after a year '
  'in which accidents are counted.',
  'We want safer streets first of all: lit crossings, speed that is checked, '
  'and a limit of 30 near every school.',
)

# In the documentation: whose window at which step, and the picture's name.
_PICTURES = {
  ('keyboard', 'q1/rate/1'): 'rate',
  ('phone', 'q1/opinion'): 'opinion_phone',
  ('admin', 'overview'): 'admin',
}


def _make_candidates(request, report_progress):
  report_progress(0.5)
  time.sleep(1)  # Long enough for a browser to see that it waits.
  return [
    Statement(text=text, system=request.condition.systems[0].name)
    for text in _STATEMENTS
  ]


@contextlib.contextmanager
def _serving(folder, study_protocol):
  """Serves a study on loopback, with its worker: address and database."""
  engine = database.open_database(
    f'sqlite:///{folder}/study.db', study_protocol
  )
  app = web.make_app(engine, study_protocol, secure_cookies=False)
  server = uvicorn.Server(
    uvicorn.Config(app, host='127.0.0.1', port=0, log_level='warning')
  )
  stop = threading.Event()
  threads = [
    threading.Thread(target=server.run),
    threading.Thread(
      target=worker.run,
      args=(engine, study_protocol, _make_candidates),
      kwargs={'stop': stop, 'poll_seconds': 0.1},
    ),
  ]
  for thread in threads:
    thread.start()
  try:
    while not server.started:
      time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f'http://127.0.0.1:{port}', engine
  finally:
    server.should_exit = True
    stop.set()
    for thread in threads:
      thread.join()
    engine.dispose()


@pytest.fixture(scope='module')
def chromium():
  """A browser."""
  with playwright.sync_playwright() as run:
    browser = run.chromium.launch(
      # Its sandbox is not available to the root of a container.
      executable_path=_CHROMIUM,
      args=['--no-sandbox'] if os.geteuid() == 0 else [],
    )
    yield browser
    browser.close()


def _picture(person, what):
  name = _PICTURES.get((person.name, what))
  if _IMAGES and name:
    path = pathlib.Path(_IMAGES, f'study_{name}.png')
    person.page.screenshot(path=path, full_page=True)


class _Person:
  """Somebody with a browser window who answers whatever is asked."""

  def __init__(self, chromium, address, name, opinion, **window):
    window = {'viewport': {'width': 1000, 'height': 800}} | window
    context = chromium.new_context(reduced_motion='reduce', **window)
    self.page = context.new_page()
    self.page.set_default_timeout(20_000)
    self.name = name
    self.opinion = opinion
    self.scripts = window.get('java_script_enabled', True)
    self.complaints = []
    self.seen = {}
    self.page.on('console', self._hear)
    self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
    self.page.on('dialog', lambda dialog: self.complaints.append('a dialog'))
    self.page.goto(address)

  def _hear(self, message):
    if message.type in ('error', 'warning'):
      self.complaints.append(message.text)

  @property
  def step(self):
    """The key of the step in the window; '' while pages change."""
    with contextlib.suppress(playwright.Error):
      return self.page.locator('body').get_attribute('data-key') or ''
    return ''

  def look(self):
    """Checks the page and keeps what is wrong, once for each step."""
    step = self.step
    if not self.scripts or step in self.seen or '/wait/' in step:
      return
    self.page.wait_for_load_state()  # With its styles.
    self.seen[step] = self.check()
    _picture(self, step)

  def check(self):
    """What is wrong with the page."""
    return accessible.problems(self.page)

  def answer(self):
    """Fills in the page's form with the mouse and sends it."""
    form = self.page.locator('main form').last
    for group in form.get_by_role('radiogroup').all():
      group.get_by_role('radio').nth(1).check()
    for text in form.locator('textarea').all():
      text.fill(self.opinion)
    form.locator('button').first.click()


class _KeyboardPerson(_Person):
  """Somebody without a mouse."""

  def check(self):
    """What is wrong with the page and with a walk through it."""
    found = super().check()
    return found + accessible.problems_of_focus(self.page)

  def answer(self):
    """Walks through the form with the tab key."""
    done = set()
    for _ in range(60):
      self.page.keyboard.press('Tab')
      tag, name = self.page.evaluate(
        '() => [document.activeElement.tagName + '
        '(document.activeElement.closest("form") ? "" : " outside"), '
        'document.activeElement.name || ""]'
      )
      if tag == 'INPUT' and name not in done:
        self.page.keyboard.press('Space')
        self.page.keyboard.press('ArrowRight')
        done.add(name)
      elif tag == 'TEXTAREA':
        self.page.keyboard.insert_text(self.opinion)
      elif tag == 'BUTTON':
        with self.page.expect_navigation():
          self.page.keyboard.press('Enter')
        return
    raise AssertionError(f'no button is reached in {self.step}')


class _Researcher(_Person):
  """The one whose study it is."""

  def __init__(self, chromium, address, engine):
    with database.reading(engine) as connection:
      token = passwords.set_up_token(connection)
    super().__init__(chromium, f'{address}/admin/set_up/{token}', 'admin', '')
    self.address = address
    self.look_at('set up')
    password = 'a long password of mine'
    self.page.get_by_label('Password', exact=True).fill(password)
    self.page.get_by_label('The same password again').fill(password)
    self.page.get_by_role('button', name='Set the password').click()
    self.page.get_by_role('heading', name='The study now').wait_for()

  def look_at(self, what):
    """Checks the page, on a phone too."""
    self.page.wait_for_load_state()
    found = self.check()
    self.page.set_viewport_size({'width': 360, 'height': 640})
    found += self.check()
    self.page.set_viewport_size({'width': 1000, 'height': 800})
    self.seen[what] = found

  def press(self, name):
    """A button or link of the first page."""
    self.page.goto(f'{self.address}/admin')
    self.page.get_by_role('button', name=name).or_(
      self.page.get_by_role('link', name=name)
    ).click()


_PROTOCOL = protocol(
  title='Speed in our town',
  group_size=4,
  min_group_size=3,
  consent=(
    'You are asked to write what you think about a question, and to judge '
    'statements that were written for your group. It takes about ten '
    'minutes.\n\nNobody in your group learns who you are, and you can stop '
    'at any time.'
  ),
  questions=[
    {
      'id': 'speed',
      'text': _QUESTION,
      'affirming': 'The speed limit in our town should be 30.',
      'negating': 'The speed limit in our town should not be 30.',
    }
  ],
)


def _together(people, *, until):
  """Everybody answers what comes until the first is at a step."""
  end = time.monotonic() + 600
  while any(person.step != until for person in people):
    assert time.monotonic() < end, [person.step for person in people]
    for person in people:
      step = person.step
      if step in ('', 'lobby', 'paused', until) or '/wait/' in step:
        continue
      person.look()
      person.answer()
    people[0].page.wait_for_timeout(100)


def test_four_people_and_a_whole_study(tmp_path, chromium):
  with _serving(tmp_path, _PROTOCOL) as (address, engine):
    phone = {'viewport': {'width': 360, 'height': 640}, 'has_touch': True}
    people = [
      _KeyboardPerson(chromium, address, 'keyboard', _OPINIONS[0]),
      _Person(chromium, address, 'phone', _OPINIONS[1], **phone),
      _Person(chromium, address, 'dark', _OPINIONS[2], color_scheme='dark'),
      _Person(
        chromium, address, 'plain', _OPINIONS[3], java_script_enabled=False
      ),
    ]
    for person in people:
      person.look()
      person.answer()
    researcher = _Researcher(chromium, address, engine)
    _together(people, until='q1/opinion')
    researcher.page.reload()
    researcher.look_at('overview')
    _picture(researcher, 'overview')
    researcher.press('Pause the study')
    phone_page = people[1].page
    phone_page.goto(f'{address}/study')
    phone_page.get_by_role('heading', name='The study is paused').wait_for()
    people[1].look()
    researcher.look_at('paused')
    researcher.press('Resume the study')
    phone_page.goto(f'{address}/study')
    _together(people, until='done')

    with researcher.page.expect_download() as export:
      researcher.press('Download the export')
    with zipfile.ZipFile(export.value.path()) as archive:
      assert archive.namelist()
    researcher.press('G1')
    assert _STATEMENTS[0] in researcher.page.content()
    researcher.look_at('group')
    researcher.press('Log out')
    researcher.page.get_by_role('heading', name='Log in').wait_for()
    researcher.look_at('log in')

    for person in (researcher, *people):
      person.look()
      assert person.complaints == []
      assert {key: found for key, found in person.seen.items() if found} == {}
    with database.reading(engine) as connection:
      rows = connection.execute(tables.answers.select()).all()
  opinions = [row.content['text'] for row in rows if row.kind == 'opinion']
  assert sorted(opinions) == sorted(_OPINIONS)
  answered = Counter(row.step_key for row in rows)
  assert set(answered.values()) == {4}
  # Each of these pages was looked at: by keyboard, on a phone, in the dark.
  for person in people[:3]:
    assert set(person.seen) - {'paused'} == {'', 'done', *answered}


def _drafts(engine):
  """What people have written and not sent, all of it in one text."""
  with database.reading(engine) as connection:
    return str(connection.execute(sa.select(tables.drafts)).all())


def test_a_draft_outlives_its_page(tmp_path, chromium):
  short = dataclasses.replace(
    _PROTOCOL, group_size=2, min_group_size=2, instructions='', comprehension=()
  )
  with _serving(tmp_path, short) as (address, engine):
    people = [
      _Person(chromium, address, name, _OPINIONS[0]) for name in ('one', 'two')
    ]
    for person in people:
      person.answer()
    one = people[0]
    _together(people, until='q1/opinion')
    page = one.page
    text = page.locator('textarea')
    # A moment after the last key, as the page says.
    text.fill('I would')
    page.locator('form').get_by_text('Draft saved').wait_for()
    assert 'Words so far: 2' in page.locator('.under').inner_text()
    page.reload()
    assert text.input_value() == 'I would'
    # What is refused says so, and where.
    text.fill('Only four words here')
    page.get_by_role('button', name='Submit opinion').click()
    page.get_by_role('link', name='between 5 and 50 words').wait_for()
    assert accessible.problems(page) == []
    for path in ('/', '/link', '/leave', '/nowhere'):
      page.goto(address + path)
      assert accessible.problems(page) == []
      assert accessible.problems_of_focus(page) == []
    page.goto(f'{address}/study')
    # At once, when the page is left before that.
    text.fill('I would rather not')
    page.goto(f'{address}/leave')
    end = time.monotonic() + 60
    while 'I would rather not' not in _drafts(engine):
      assert time.monotonic() < end
      page.wait_for_timeout(100)
    page.get_by_role('link', name='Stay in the study').click()
    assert text.input_value() == 'I would rather not'
    # Without a connection the page says so, and tries again.
    page.context.set_offline(True)
    text.fill('I would rather not drive')
    page.locator('form').get_by_text('Draft not saved yet').wait_for()
    page.context.set_offline(False)
    page.locator('form').get_by_text('Draft saved').wait_for()
    # Back leads to where one is, not to where one was.
    one.answer()
    page.wait_for_url(f'{address}/study')
    page.go_back()
    page.wait_for_url(f'{address}/study')
    assert one.step.startswith('q1/wait/')


def test_the_checks_find_what_is_wrong(chromium):
  page = chromium.new_page()
  page.set_content(
    """<main><h1>One</h1><h3>Three</h3><p style="color: #999">pale</p>
    <input name="a"><input type="radio" name="b"><a href="/"></a>
    <p id="x" aria-describedby="y"></p><p id="x"></p>
    <textarea style="border: 1px solid #ddd" tabindex="2"></textarea>
    <div style="width: 5000px">wide</div><img src="data:,">
    <button style="position: absolute; top: 0; outline: none">up</button>
    """
  )
  found = [
    problem.partition(':')[0]
    for problem in (
      *accessible.problems(page),
      *accessible.problems_of_focus(page),
    )
  ]
  assert {
    *('no language', 'no title', 'a level of headings is left out'),
    *('contrast 2.85', 'no label', 'no legend', 'no name', 'id twice'),
    *('aria-describedby leads nowhere', 'tabindex above 0', 'no alt'),
    *('contrast of edge 1.36', 'too wide', 'small target'),
    *('focus is not seen', 'out of order'),
  } == set(found)
