import pytest
import sqlalchemy
from study_site import Study, protocol

from consensus_jax.strict_json import InputError
from consensus_jax.study import database, flow, security, tables, web
from consensus_jax.study.database import StorageError
from consensus_jax.study.security import Rates


@pytest.fixture
def no_room(monkeypatch):
  """Makes a study's file unable to grow: `no_room(study)` gives its remedy."""

  def fill(study):
    study.engine.dispose()

    def limit(connection, _):
      cursor = connection.cursor()
      (pages,) = cursor.execute('PRAGMA page_count').fetchone()
      cursor.execute(f'PRAGMA max_page_count = {pages}')
      cursor.close()

    sqlalchemy.event.listen(study.engine, 'connect', limit)

    def remedy():
      sqlalchemy.event.remove(study.engine, 'connect', limit)
      study.engine.dispose()

    return remedy

  return fill


def test_a_full_disk_refuses_new_answers_and_keeps_old_ones(tmp_path, no_room):
  study = Study(tmp_path, protocol(opinion={'min_words': 5, 'max_words': 900}))
  one, two = study.group()
  for browser in (one, two):
    browser.answer()
  long = ' '.join(['extraordinarily'] * 800)
  before = study.rows(tables.answers)
  remedy = no_room(study)
  one.answer(text=long)
  assert one.response.status_code == 503
  assert 'could not be stored' in one.page
  # What was typed is still there, to be sent again.
  assert one.form.texts['text'] == long
  assert one.step == 'q1/opinion'
  draft = one.form.filled(text=long)
  assert one.client.post('/draft', json=draft).status_code == 503
  # Reading goes on, and joining is refused by a page.
  study.now += 60
  assert two.get('/study').status_code == 200
  assert two.get('/health').status_code == 200
  for _ in range(60):
    late = study.member()
    if late.response.status_code == 503:
      break
  assert 'cannot store anything right now' in late.page
  assert study.rows(tables.answers) == before

  remedy()
  one.answer(text=long)
  assert one.step == 'q1/wait/opinions'
  assert study.answers('q1/opinion') == [{'text': long}]


def _responses(study):
  """One response of every kind: what it is, and the response."""
  browser = study.member()
  client = browser.client
  form = browser.form.filled()
  headers = {'content-type': 'application/x-www-form-urlencoded'}
  yield 200, client.get('/')
  yield 200, client.get('/study')
  yield 200, client.get('/status')
  yield 200, client.get('/health')
  yield 200, client.get('/static/study.css')
  yield 200, client.get('/static/study.js')
  yield 204, client.post('/draft', json={**form, 'step_key': 'other'})
  yield 303, client.post('/study', data=form, follow_redirects=False)
  yield (
    304,
    client.get(
      '/static/study.css',
      headers={
        'if-none-match': client.get('/static/study.css').headers['etag']
      },
    ),
  )
  yield 400, client.post('/study', content=b'a=%FF', headers=headers)
  yield 401, study.browser().client.get('/status')
  yield 403, client.post('/study', data={'a': 'b'})
  yield 404, client.get('/nowhere')
  yield 404, client.get('/static/nothing.css')
  yield 404, client.get('/static/../web.py')
  yield 404, client.get('/static/%2e%2e/web.py')
  yield 405, client.post('/')
  yield 409, study.member('/join?invitation=x').response
  yield 413, client.post('/study', content=b'a' * 10**6, headers=headers)
  yield 415, client.post('/study', json={})
  browser.get('/study')
  bad = {**browser.form.fixed, 'kind': 'rate', 'quality': '1'}
  yield 422, client.post('/study', data=bad)


def test_security_headers_are_on_every_response(tmp_path):
  study = Study(tmp_path)
  seen = set()
  for status, response in _responses(study):
    assert response.status_code == status
    seen.add(status)
    policy = response.headers['content-security-policy']
    assert policy == security.CONTENT_SECURITY_POLICY
    assert response.headers['x-content-type-options'] == 'nosniff'
    assert response.headers['cache-control'] in (
      'no-store',
      'public, max-age=86400',
    )
  assert len(seen) > 12


def test_our_own_faults_have_a_page_with_all_headers(tmp_path, monkeypatch):
  study = Study(tmp_path)
  browser = study.member()

  def fail(*_, **__):
    raise RuntimeError('secret detail')

  monkeypatch.setattr(flow, 'current_step', fail)
  response = browser.get('/study')
  assert response.status_code == 500
  assert 'Everything you sent earlier is kept' in response.text
  assert 'secret detail' not in response.text
  policy = response.headers['content-security-policy']
  assert policy == security.CONTENT_SECURITY_POLICY


def test_a_database_that_is_gone_has_a_page(tmp_path, monkeypatch):
  study = Study(tmp_path)
  browser = study.member()

  def fail(*_, **__):
    raise StorageError('disk I/O error')

  monkeypatch.setattr(database, 'reading', fail)
  for path in ('/', '/study', '/health', '/status'):
    assert browser.get(path).status_code == 503
  assert 'disk I/O error' not in browser.get('/study').text


@pytest.mark.parametrize(
  ('rates', 'path'),
  [(Rates(session=5), '/study'), (Rates(address=5), '/')],
)
def test_too_many_requests_are_refused(tmp_path, rates, path):
  study = Study(tmp_path, rates=rates)
  browser = study.member() if path == '/study' else study.browser()
  statuses = [browser.get(path).status_code for _ in range(10)]
  assert statuses[0] == 200
  assert statuses[-1] == 429
  assert browser.response.headers['retry-after'] == '60'
  assert 'Too many requests' in browser.page
  if path == '/study':  # Others are not held up.
    assert study.member().step == 'consent'


def test_made_up_sessions_count_for_their_address(tmp_path):
  study = Study(tmp_path, rates=Rates(address=5))
  statuses = [
    study.browser()
    .client.get('/status', headers={'cookie': f'participant=made-up-{number}'})
    .status_code
    for number in range(10)
  ]
  assert statuses[0] == 401
  assert statuses[-1] == 429


def test_groups_move_on_while_the_application_serves(tmp_path, monkeypatch):
  monkeypatch.setattr(web, '_TICK_SECONDS', 0.01)
  study = Study(tmp_path)
  one, two = study.browser(), study.browser()
  for browser in (one, two):
    browser.join()
    while browser.step != 'lobby':
      browser.answer()
  failed = iter([True])
  tick = flow.tick

  def fail_once(*arguments, **options):
    if next(failed, False):
      raise StorageError('database or disk is full')
    tick(*arguments, **options)

  monkeypatch.setattr(flow, 'tick', fail_once)
  with one.client:
    for _ in range(500):
      if one.get('/status').json()['key'] != 'lobby':
        break
  assert one.get('/status').json() == {'key': 'q1/position'}


def test_a_study_in_an_unknown_language_is_not_served(tmp_path):
  with pytest.raises(InputError, match='language: no messages in'):
    Study(tmp_path, protocol(language='tlh'))
