import re

import pytest
from study_site import WORDS, Study, protocol

from consensus_jax.study import database, entry, tables

# Who may see what.


def test_a_session_is_a_random_cookie_that_scripts_do_not_see(tmp_path):
  study = Study(tmp_path, secure_cookies=True)
  browser = study.browser()
  browser.get('/')
  browser.response = browser.client.post(
    '/join', data=browser.form.filled(), follow_redirects=False
  )
  header = browser.response.headers['set-cookie']
  assert re.match(r'__Host-participant=[\w-]{22};', header)
  for attribute in ('HttpOnly', 'Secure', 'SameSite=lax', 'Path=/'):
    assert attribute in header


def test_neither_tokens_nor_addresses_are_stored(tmp_path):
  study = Study(tmp_path, protocol(entry=['open', 'invitation']))
  with database.writing(study.engine) as connection:
    (invitation,) = entry.invite(connection, ['one'], now=study.now)
  browsers = [
    study.member(),
    study.member(path=f'/join?invitation={invitation}'),
  ]
  for browser in browsers:
    browser.answer()
  tokens = [browser.client.cookies['participant'] for browser in browsers]
  study.engine.dispose()
  stored = b''.join(each.read_bytes() for each in tmp_path.iterdir())
  assert b'comprehension' in stored
  for secret in (*tokens, invitation, browsers[0].form.fixed['csrf']):
    assert secret.encode() not in stored
  # What the test client calls its address.
  assert b'testclient' not in stored


def test_nobody_reads_the_page_of_another(tmp_path):
  study = Study(tmp_path)
  one, two = study.group()
  secret = 'Only I may read these words of mine'
  for browser, text in ((one, secret), (two, WORDS)):
    browser.answer()
    browser.answer(text=text)
  study.tick()
  assert secret in one.get('/study').text
  for path in (
    '/',
    '/study',
    '/status',
    '/link',
    '/leave',
    '/admin',
    '/admin/',
  ):
    assert secret not in two.get(path).text
    assert one.client.cookies['participant'] not in two.page
  # No address says whose page it is, but for the personal link.
  paths = [route.path for route in study.app.routes]
  own = [path for path in paths if '{' in path and '/admin' not in path]
  assert own == ['/continue/{token}']
  # The form of one is worth nothing in the browser of another.
  two.get('/study')
  form = two.form
  one.get('/study')
  stolen = {**form.filled(), 'csrf': one.form.fixed['csrf']}
  assert two.client.post('/study', data=stolen).status_code == 403


def test_a_participant_is_no_researcher(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  token = browser.client.cookies['participant']
  for name in ('admin', 'researcher', 'participant'):
    browser.client.cookies.set(name, token)
  for path in ('/admin', '/admin/'):
    page = browser.get(path).text
    assert token not in page
    assert 'password' in page or browser.response.status_code == 404


def test_every_form_needs_its_token(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  # A second browser's cookie, as another site's form would not send ours.
  other = study.browser()
  other.get('/')
  paths = [
    route.path
    for route in study.app.routes
    if 'POST' in (getattr(route, 'methods', None) or ())
  ]
  # The researcher's are in test_admin.
  paths = {path for path in paths if not path.startswith('/admin')}
  assert paths == {'/join', '/study', '/draft', '/withdraw', '/forget'}
  form = browser.form
  for given in ({}, {'csrf': 'x'}, {'csrf': other.form.fixed['csrf']}):
    fields = {**form.fixed, 'consent': 'yes', 'csrf': 'x', **given}
    for path in ('/study', '/withdraw', '/forget'):
      assert browser.client.post(path, data=fields).status_code == 403
    assert browser.client.post('/draft', json=fields).status_code == 403
  joining = {**other.form.fixed, 'csrf': form.fixed['csrf']}
  assert other.client.post('/join', data=joining).status_code == 403
  assert study.browser().client.post('/join', data=joining).status_code == 403
  assert study.rows(tables.answers) == []
  assert len(study.rows(tables.participants)) == 1
  browser.get('/study')
  assert browser.step == 'consent'


# Ways in.


@pytest.mark.parametrize(
  ('entries', 'path', 'status'),
  [
    (['open'], '/', 200),
    (['open'], '/join', 200),
    (['open'], '/join?invitation=x', 409),
    (['open'], '/join?PROLIFIC_PID=x', 409),
    (['invitation'], '/', 409),
    (['invitation'], '/join?invitation=x', 409),
    (['recruitment'], '/', 409),
    (['recruitment'], '/join?PROLIFIC_PID=x&STUDY_ID=y&SESSION_ID=z', 200),
    (['recruitment'], '/join?PROLIFIC_PID=x&other=y', 200),
    (['recruitment'], f'/join?PROLIFIC_PID={"x" * 3000}', 409),
    (['recruitment'], '/join?PROLIFIC_PID=%00', 409),
  ],
)
def test_ways_in_are_open_or_closed(tmp_path, entries, path, status):
  study = Study(tmp_path, protocol(entry=entries))
  browser = study.member(path=path)
  assert browser.response.status_code == status
  assert (browser.step == 'consent') == (status == 200)
  assert len(study.rows(tables.participants)) == (status == 200)


def test_an_invitation_is_for_one_and_brings_them_back(tmp_path):
  study = Study(tmp_path, protocol(entry=['invitation']))
  with database.writing(study.engine) as connection:
    (token,) = entry.invite(connection, ['one'], now=study.now)
  path = f'/join?invitation={token}'
  # Looking at the page, as messengers do, uses nothing up.
  study.browser().get(path)
  first = study.member(path=path)
  first.answer()
  second = study.member(path=path)
  assert second.step == 'instructions'
  assert len(study.rows(tables.participants)) == 1
  first.get('/study')
  assert 'has lost it' in first.page
