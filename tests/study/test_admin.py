import io
import re
import zipfile

import pytest
import study_finished
from study_browser import forms
from study_site import Study, protocol

from consensus_jax.study import collected, database, passwords, tables
from consensus_jax.study.security import Rates

PASSWORD = 'correct horse battery'


@pytest.fixture
def study(tmp_path):
  return Study(tmp_path)


def set_up_link(study):
  with database.reading(study.engine) as connection:
    return f'/admin/set_up/{passwords.set_up_token(connection)}'


def come_in(study, password=PASSWORD):
  """A browser of the researcher, who has set the password."""
  browser = study.browser()
  browser.get(set_up_link(study))
  browser.post(
    set_up_link(study), browser.form.filled(password=password, again=password)
  )
  return browser


def log_in(study, password):
  browser = study.browser()
  browser.get('/admin/log_in')
  browser.post('/admin/log_in', browser.form.filled(password=password))
  return browser


def form(browser, action):
  (found,) = [each for each in forms(browser.page) if each.action == action]
  return found


def test_there_is_no_password_to_begin_with(study):
  assert study.rows(tables.admins) == []
  for password in ('', 'admin', 'password'):
    browser = log_in(study, password)
    assert browser.response.status_code == 422
    assert 'The study now' not in browser.page


def test_the_set_up_link_works_once(study):
  link = set_up_link(study)
  browser = come_in(study)
  assert 'The study now' in browser.page
  (row,) = study.rows(tables.admins)
  assert row.password_hash.startswith('$argon2id$')
  other = study.browser()
  assert other.get(link).status_code == 404
  assert other.get('/admin/set_up/x').status_code == 404
  assert 'The study now' in log_in(study, PASSWORD).page
  assert 'not the password' in log_in(study, f'{PASSWORD}!').page


@pytest.mark.parametrize(
  'first, second, problem',
  [('short', 'short', 'at least'), (PASSWORD, f'{PASSWORD}x', 'differ')],
)
def test_a_bad_password_is_not_set(study, first, second, problem):
  browser = study.browser()
  browser.get(set_up_link(study))
  response = browser.post(
    set_up_link(study), browser.form.filled(password=first, again=second)
  )
  assert response.status_code == 422
  assert problem in browser.page
  assert study.rows(tables.admins) == []


@pytest.mark.parametrize(
  'path', ['/admin', '/admin/groups/1', '/admin/export.zip', '/admin?refresh']
)
def test_nobody_else_sees_anything(study, path):
  come_in(study)
  participant = study.browser()
  participant.join()
  for browser in (participant, study.browser()):
    response = browser.get(path)
    assert response.url.path == '/admin/log_in'
    assert 'The study now' not in browser.page


@pytest.mark.parametrize('what', ['pause', 'resume', 'log_out'])
def test_nobody_else_does_anything(study, what):
  researcher = come_in(study)
  csrf = researcher.form.fixed['csrf']
  participant = study.browser()
  participant.join()
  assert participant.post(f'/admin/{what}', {'csrf': csrf}).status_code == 403
  # Nor does another site's form in the researcher's browser.
  for fields in ({'x': 'y'}, {'csrf': '0' * 64}):
    assert researcher.post(f'/admin/{what}', fields).status_code == 403
  assert study.rows(tables.studies)[0].paused_at is None
  assert 'The study now' in researcher.get('/admin').text


def test_sessions_end(study):
  browser = come_in(study)
  study.now += passwords.SESSION_SECONDS + 1
  assert browser.get('/admin').url.path == '/admin/log_in'
  browser = log_in(study, PASSWORD)
  assert 'The study now' in browser.page
  csrf = form(browser, '/admin/log_out')
  browser.post('/admin/log_out', csrf.filled())
  assert browser.get('/admin').url.path == '/admin/log_in'
  assert study.rows(tables.admin_sessions) == []


def test_tokens_are_kept_as_hashes(study):
  browser = come_in(study)
  (row,) = study.rows(tables.admin_sessions)
  token = browser.client.cookies['admin']
  assert token != row.token_sha256
  assert token.encode() not in study.file.read_bytes()


def test_passwords_cannot_be_tried_fast(tmp_path):
  study = Study(tmp_path, rates=Rates(log_in=5))
  come_in(study)  # Takes two.
  codes = [log_in(study, 'wrong').response.status_code for _ in range(5)]
  assert codes == [422] * 3 + [429] * 2
  assert log_in(study, PASSWORD).response.status_code == 429


def test_groups_are_shown_as_they_are(study):
  researcher = come_in(study)
  assert 'No group has formed yet' in researcher.get('/admin').text
  late = study.browser()
  late.join()
  study.group()
  page = researcher.get('/admin').text
  assert '>g1</a>' in page
  assert 'opinions' in page
  assert '2 in a group' in page
  assert '1 before the waiting room' in page
  with database.reading(study.engine) as connection:
    names = collected.read(connection, study.protocol).names
  for name, shown in names.items():
    assert name not in page
    shown_in = page if shown in page else researcher.get('/admin/groups/1').text
    assert shown in shown_in
  assert researcher.get('/admin/groups/2').status_code == 404


def test_pause_and_resume(study):
  researcher = come_in(study)
  (browser, _) = study.group()
  researcher.get('/admin')
  researcher.post('/admin/pause', form(researcher, '/admin/pause').filled())
  assert 'The study is paused' in researcher.page
  browser.get('/study')
  assert browser.step == 'paused'
  researcher.post('/admin/resume', form(researcher, '/admin/resume').filled())
  browser.get('/study')
  assert browser.step.startswith('q1/')


def test_what_people_write_is_shown_as_text(study):
  # As they see it, and as quality flags and statements show it here.
  researcher = come_in(study)
  script = '<script>alert(1)</script> one two three four five six'
  browsers = study.group()
  for browser in browsers:
    while browser.step != 'q1/opinion':
      browser.answer()
    browser.answer(text=script)
  study.tick(text='<img src=x onerror=alert(1)> {number}')
  page = researcher.get('/admin/groups/1').text
  assert '&lt;img src=x' in page
  for forbidden in ('<img', '<script>', 'onerror=alert(1)>'):
    assert forbidden not in page


def test_exports_are_downloaded(study):
  researcher = come_in(study)
  response = researcher.get('/admin/export.zip')
  assert response.headers['content-type'] == 'application/zip'
  packed = zipfile.ZipFile(io.BytesIO(response.content))
  assert {'records.jsonl', 'answers.csv'} <= {*packed.namelist()}
  assert 'recruitment.csv' not in packed.namelist()


def test_pages_have_nothing_inline(study):
  researcher = come_in(study)
  study.group()
  out = study.browser()
  pages = [
    researcher.get('/admin').text,
    researcher.get('/admin/groups/1').text,
    out.get('/admin/log_in').text,
    log_in(study, 'wrong').page,
  ]
  for page in pages:
    assert not re.search(r'<script(?! src)|\son\w+=|style=', page)


def test_pages_are_in_english_whatever_the_study_speaks(tmp_path):
  study = Study(tmp_path, protocol(title='Tempo dreißig'))
  page = come_in(study).page
  assert '<html lang="en"' in page
  assert 'Tempo dreißig' in page


def test_a_finished_study_is_shown(tmp_path):
  protocol_, engine, _ = study_finished.finished(tmp_path)
  engine.dispose()
  study = Study(tmp_path, protocol_)
  page = come_in(study).page
  assert '4 done' in page
  assert page.count('<th scope="row">') == 2
  assert 'writes' not in page  # Signs stand with the people.
  browser = log_in(study, PASSWORD)
  assert (
    'too fast: writes 7 words a second' in browser.get('/admin/groups/1').text
  )
