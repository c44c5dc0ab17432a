import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from consensus_jax.study import security
from consensus_jax.study.security import Cookie, RateLimiter, Rates

_FORM = {'content-type': 'application/x-www-form-urlencoded'}
_JSON = {'content-type': 'application/json'}


async def _echo_form(request):
  return JSONResponse(await security.read_form(request))


async def _echo_json(request):
  return JSONResponse(await security.read_json(request))


def _client(*, secure=False):
  app = Starlette(
    routes=[
      Route('/form', _echo_form, methods=['POST']),
      Route('/json', _echo_json, methods=['POST']),
    ],
    middleware=[Middleware(security.SecurityHeaders, secure=secure)],
  )
  return TestClient(app)


@pytest.mark.parametrize('path', ['/form', '/nowhere', '/static/nothing'])
def test_headers_are_on_every_response(path):
  response = _client(secure=True).get(path)
  assert response.status_code in (404, 405)
  policy = response.headers['content-security-policy']
  assert "default-src 'none'" in policy
  assert "frame-ancestors 'none'" in policy
  assert 'unsafe' not in policy
  assert response.headers['x-content-type-options'] == 'nosniff'
  assert response.headers['referrer-policy'] == 'no-referrer'
  assert 'max-age' in response.headers['strict-transport-security']


def test_https_is_not_asked_for_where_there_is_none():
  headers = _client().get('/nowhere').headers
  assert 'strict-transport-security' not in headers


def test_a_form_is_read_as_browsers_send_it():
  content = 'text=one%0D%0Atwo%0Dthree&name=%C3%A9&empty=&twice=1&twice=2'
  response = _client().post('/form', content=content, headers=_FORM)
  assert response.json() == {
    'text': 'one\ntwo\nthree',
    'name': 'é',
    'empty': '',
    'twice': '2',
  }


_TOO_MUCH = b'text=' + b'x' * security.MAX_BODY_BYTES


@pytest.mark.parametrize(
  ('path', 'headers', 'content', 'status'),
  [
    ('/form', _FORM, b'text=%FF', 400),
    ('/form', _FORM, b'text=\xff', 400),
    ('/form', _FORM, b'&'.join([b'a=1'] * 201), 400),
    ('/form', _FORM, _TOO_MUCH, 413),
    ('/form', _JSON, b'{}', 415),
    ('/form', {'content-type': 'multipart/form-data; boundary=x'}, b'', 415),
    ('/form', {}, b'a=1', 415),
    ('/json', _JSON, b'{"a": NaN}', 400),
    ('/json', _JSON, b'{"a": 1, "a": 2}', 400),
    ('/json', _JSON, b'[]', 400),
    ('/json', _JSON, b'[' * 60_000, 400),
    ('/json', _JSON, b'"\xff"', 400),
    ('/json', _JSON, _TOO_MUCH, 413),
    ('/json', _FORM, b'{}', 415),
  ],
)
def test_other_bodies_are_refused(path, headers, content, status):
  response = _client().post(path, content=content, headers=headers)
  assert response.status_code == status


def test_a_body_of_unknown_length_is_limited():
  def pieces():
    yield b'text='
    for _ in range(100):
      yield b'x' * 1000

  response = _client().post('/form', content=pieces(), headers=_FORM)
  assert response.status_code == 413


def test_a_body_that_lies_about_its_length_is_refused():
  headers = {**_FORM, 'content-length': '-5'}
  response = _client().post('/form', content=b'a=1', headers=headers)
  assert response.status_code == 413


def test_a_body_that_trickles_in_is_given_up(monkeypatch):
  monkeypatch.setattr(security, '_BODY_SECONDS', 0.05)

  async def app(scope, receive, send):
    async def never():
      import anyio

      await anyio.sleep_forever()

    await _app(scope, never, send)

  _app = _client().app
  response = TestClient(app).post('/form', content=b'a=1', headers=_FORM)
  assert response.status_code == 408


@pytest.mark.parametrize('secure', [False, True])
def test_cookies_are_closed_to_scripts_and_other_sites(secure):
  cookie = Cookie(name='participant', secure=secure, max_age=60)
  response = Response()
  cookie.write(response, 'abc')
  header = response.headers['set-cookie']
  attributes = {part.strip().lower() for part in header.split(';')[1:]}
  assert {'httponly', 'samesite=lax', 'path=/', 'max-age=60'} <= attributes
  assert ('secure' in attributes) == secure
  assert header.startswith('__Host-participant=') == secure
  # The prefix obliges: no domain.
  assert not any(part.startswith('domain') for part in attributes)


def test_tokens_are_random_and_long():
  tokens = {security.new_token() for _ in range(1000)}
  assert len(tokens) == 1000
  assert all(re.fullmatch(r'[\w-]{22}', token) for token in tokens)


def test_a_form_belongs_to_one_session_of_one_study():
  token = security.csrf_token('secret', 'session')
  security.check_csrf('secret', 'session', token)
  for secret, session, given in [
    ('secret', 'other', token),
    ('other', 'session', token),
    ('secret', 'session', ''),
    ('secret', 'session', token[:-1]),
    ('secret', 'session', 'é'),
    ('secret', 'session', '\ud800'),
    ('secret', 'session', None),
    ('secret', 'session', 3),
  ]:
    with pytest.raises(security.HTTPException) as caught:
      security.check_csrf(secret, session, given)
    assert caught.value.status_code == 403


class _Request:
  def __init__(self, host):
    self.client = type('Address', (), {'host': host})()


def test_rates_are_kept_for_each_session_and_address(monkeypatch):
  limiter = RateLimiter(Rates(session=2, address=3, log_in=1))
  for _ in range(2):
    limiter.count_session('a')
  limiter.count_session('b')
  with pytest.raises(security.HTTPException) as caught:
    limiter.count_session('a')
  assert caught.value.status_code == 429
  assert caught.value.headers == {'retry-after': '60'}
