import re
import typing

import pytest
from study_site import WORDS, Study

from consensus_jax.study import database, flow, messages, steps, tables
from consensus_jax.study.protocol import Ending


def test_a_whole_study_by_its_forms(tmp_path):
  study = Study(tmp_path)
  browsers = study.group()
  seen = set()
  for _ in range(60):
    for browser in browsers:
      browser.get('/study')
      assert browser.response.status_code == 200
      seen.add(browser.step.removeprefix('q1/'))
      if '/wait/' not in browser.step and browser.step != 'done':
        browser.answer(text=WORDS)
        assert browser.response.status_code == 200
        seen.add(browser.step.removeprefix('q1/'))
    if [browser.step for browser in browsers] == ['done', 'done']:
      break
    study.tick()
  assert [browser.step for browser in browsers] == ['done', 'done']
  assert {step for step in seen if '/' not in step or 'wait' not in step} == {
    *('position', 'opinion', 'rate/1', 'rate/2', 'rank'),
    *('critique', 'revised/rate/1', 'revised/rate/2', 'revised/rank'),
    *('final', 'position_after', 'result', 'survey', 'done'),
  }
  assert {'wait/opinions', 'wait/ratings', 'wait/critiques'} <= seen
  assert study.answers('q1/opinion') == [{'text': WORDS}] * 2
  assert study.answers('q1/position')[0]['importance'] == 5
  ranks = study.answers('q1/rank')
  assert [set(each['ranks'].values()) for each in ranks] == [{2}, {2}]
  assert study.answers('survey') == [{'heard': 7, 'best': 1, 'more': WORDS}] * 2
  assert 'C1X7' in browsers[0].page
  assert 'https://example.org/' in browsers[0].page


def test_every_kind_of_page_has_its_texts():
  texts = messages.load('en').texts
  for what in set(steps.WAITS.values()):
    assert {f'wait.{what}.title', f'wait.{what}.text'} <= set(texts)
  for ending in typing.get_args(Ending):
    assert {f'end.{ending}', f'end.{ending}.text'} <= set(texts)


# Reload, back, tabs, and sessions that are gone.


def test_a_second_click_joins_once(tmp_path):
  study = Study(tmp_path)
  browser = study.browser()
  browser.get('/')
  form = browser.form
  for _ in range(2):
    browser.post('/join', form.filled())
    assert browser.step == 'consent'
  assert len(study.rows(tables.participants)) == 1


def test_an_answer_sent_twice_is_stored_once(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  one.answer()
  form = one.form.filled(text=f'  {WORDS}\r\n')
  for _ in range(2):
    one.post('/study', form)
    assert one.response.status_code == 200
    assert one.step == 'q1/wait/opinions'
    assert 'moved on' not in one.page
  assert study.answers('q1/opinion') == [{'text': WORDS}]


def test_going_back_does_not_change_an_answer(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  position = one.form
  one.answer()
  one.post('/study', position.filled(position='1'))
  assert one.step == 'q1/opinion'
  assert 'moved on' in one.page
  assert [each['position'] for each in study.answers('q1/position')] == [7]
  # The notice is not kept.
  assert 'moved on' not in one.get('/study').text


def test_pages_are_not_kept_by_the_browser(tmp_path):
  browser = Study(tmp_path).member()
  assert browser.response.headers['cache-control'] == 'no-store'
  style = re.search(r'/static/study.css[^"]+', browser.page)[0]
  assert 'max-age' in browser.get(style).headers['cache-control']


def test_two_tabs_are_one_participant(tmp_path):
  study = Study(tmp_path)
  tab = study.member()
  other = study.browser()
  other.client.cookies = tab.client.cookies
  other.get('/')
  assert 'already joined' in other.page
  other.get('/study')
  forms = tab.form, other.form
  tab.post('/study', forms[0].filled())
  assert tab.step == 'instructions'
  other.post('/study', forms[1].filled(consent='no'))
  assert other.step == 'instructions'
  assert 'moved on' in other.page
  # A page that asks hears that another step has come.
  assert other.get('/status').json() == {'key': 'instructions'}


@pytest.mark.parametrize('token', ['', 'x', 'é', 'a' * 5000])
def test_a_session_that_is_gone_leads_to_the_front_page(tmp_path, token):
  study = Study(tmp_path)
  browser = study.member()
  form = browser.form.filled()
  browser.client.cookies.clear()
  headers = {'cookie': f'participant={token}'.encode()} if token else {}
  for method, path in [
    ('GET', '/study'),
    ('POST', '/study'),
    ('POST', '/withdraw'),
    ('POST', '/forget'),
    ('GET', '/link'),
    ('GET', '/leave'),
  ]:
    response = browser.client.request(
      method,
      path,
      data=form if method == 'POST' else None,
      headers=headers,
      follow_redirects=False,
    )
    assert response.status_code == 303
    assert response.headers['location'] == '/?notice=expired'
  assert browser.client.get('/status', headers=headers).status_code == 401
  draft = browser.client.post('/draft', json=form, headers=headers)
  assert draft.status_code == 401
  assert 'has lost it' in browser.get('/?notice=expired').text
  assert study.rows(tables.answers) == []


def test_a_personal_link_goes_on_elsewhere(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  browser.answer()
  browser.get('/link')
  address = re.search(
    r'value="(http://study.test/continue/[\w-]+)"', browser.page
  )[1]
  phone = study.browser()
  phone.get(address)
  assert phone.step == 'instructions'
  assert (
    phone.client.cookies['participant'] == browser.client.cookies['participant']
  )
  # It does not take another session's place.
  other = study.member()
  other.get(address)
  assert other.step == 'consent'
  lost = study.browser()
  lost.get(f'{address}x')
  assert 'has lost it' in lost.page


def test_signing_out_and_leaving(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  assert 'href="/leave"' in browser.page
  browser.get('/')
  browser.answer()
  assert 'signed out' in browser.page
  assert 'participant' not in browser.client.cookies
  assert browser.form.action == '/join'

  leaver = study.member()
  leaver.get('/leave')
  assert 'cannot come back' in leaver.page
  leaver.answer()
  assert leaver.step == 'withdrawn'
  assert 'href="/leave"' not in leaver.page
  assert [row.state for row in study.rows(tables.participants)] == [
    'active',
    'withdrawn',
  ]


def test_who_does_not_consent_has_not_joined(tmp_path):
  browser = Study(tmp_path).member()
  assert [value for _, value in browser.form.buttons] == ['yes', 'no']
  browser.answer(consent='no')
  assert browser.step == 'declined'


def test_too_many_wrong_answers_end_the_check(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  browser.answer()
  browser.answer()
  assert 'Attempts left: 2' in browser.page
  browser.answer(choose=0)
  assert 'not the right answer' in browser.page
  assert 'Attempts left: 1' in browser.page
  assert 'You will read statements.' in browser.page
  browser.answer(choose=0)
  assert browser.step == 'excluded'


def test_a_pause_is_a_page_that_waits(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  with database.writing(study.engine) as connection:
    flow.pause(connection, now=study.now)
  one.get('/study')
  assert one.step == 'paused'
  assert one.get('/status').json() == {'key': 'paused'}
  with database.writing(study.engine) as connection:
    flow.resume(connection, now=study.now)
  one.get('/study')
  assert one.step == 'q1/position'


def test_pages_that_wait_tell_how_far_it_is(tmp_path):
  study = Study(tmp_path)
  browser = study.member()
  while browser.step != 'lobby':
    browser.answer()
  assert 'People here: 1. Your group starts when there are 2.' in browser.page
  status = browser.get('/status').json()
  assert status == {'key': 'lobby', 'waiting': 1, 'needed': 2}


# Answers that are no answers.


def test_a_bad_choice_is_refused_where_it_stands(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  for field, kept, value in [
    *(
      ('position', 'importance', value)
      for value in ('', '8', '0', '-1', '3.0', '٣', '9' * 5000)
    ),
    ('importance', 'position', '6'),
  ]:
    one.answer(**{field: value})
    assert one.response.status_code == 422
    assert one.step == 'q1/position'
    assert f'href="#{field}"' in one.page
    assert f'aria-describedby="{field}-error"' in one.page
    assert f'id="{field}-error"' in one.page
    assert '<title>Please check:' in one.page
    # The other answer is kept in the page.
    assert set(one.form.chosen) == {kept}
  assert study.answers('q1/position') == []


def test_a_text_of_wrong_length_is_refused_and_kept(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  one.answer()
  for text in ('Too short', 'word ' * 51, '\0 a b c d e f', '\u200b ' * 10):
    one.answer(text=text)
    assert one.response.status_code == 422
    assert 'between 5 and 50 words' in one.page
    assert 'text-error' in one.page
    assert one.form.texts['text'] == text
  assert study.answers('q1/opinion') == []


def test_a_step_is_not_answered_by_the_form_of_another(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  form = one.form.filled()
  for wrong in (
    {'step_key': 'q1/opinion'},
    {'step_key': 'q1/rate/1'},
    {'step_key': 'survey'},
    {'step_key': ''},
    {'step_key': '\0'},
  ):
    one.post('/study', {**form, **wrong})
    assert one.response.status_code == 200
    assert 'moved on' in one.page
  for wrong in ({'kind': 'opinion'}, {'kind': ''}, {'kind': 'x'}):
    one.post('/study', {**form, **wrong})
    assert one.response.status_code == 422
  assert study.answers('q1/position') == []


# Drafts.


def test_a_draft_comes_back(tmp_path):
  study = Study(tmp_path)
  one, _ = study.group()
  one.answer()
  draft = one.form.filled(text='Half a\n thought <b>')
  assert one.client.post('/draft', json=draft).status_code == 204
  assert one.get('/study').status_code == 200
  assert one.form.texts['text'] == 'Half a\n thought <b>'
  # One of another step changes nothing; what is no form is refused.
  late = {**draft, 'step_key': 'q1/critique', 'text': 'Late'}
  assert one.client.post('/draft', json=late).status_code == 204
  for bad in ({**draft, 'text': 3}, {**draft, 'text': 'x' * 20_000}):
    assert one.client.post('/draft', json=bad).status_code == 400
  assert one.get('/study').status_code == 200
  assert one.form.texts['text'] == 'Half a\n thought <b>'
  one.answer(text=WORDS)
  assert study.rows(tables.drafts) == []
