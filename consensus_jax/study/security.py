"""What protects a study's pages: headers, cookies, forms and rates.

Every body is read here, so that its limits hold everywhere. Nothing of an
address is kept but a count under a hash, whose key dies with the process.
"""

import dataclasses
import hashlib
import hmac
import secrets
import urllib.parse
from typing import Any

import anyio
import limits
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consensus_jax import strict_json

# No script, style, frame or form but our own files and pages; none inline.
CONTENT_SECURITY_POLICY = '; '.join(
  [
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ]
)

_HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  # A personal link must not travel on in a Referer.
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
}
_YEAR = 365 * 24 * 3600

# The longest opinion a protocol may ask for is far below this.
MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 200
_BODY_SECONDS = 20.0


class SecurityHeaders:
  """Adds the headers to every response, those of errors included.

  Pages are never stored: after going back, a browser asks again and gets the
  current step. Files under /static carry a version in their address.
  """

  def __init__(self, app: ASGIApp, *, secure: bool):
    self._app = app
    self._secure = secure

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """One request, as ASGI has it."""
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return

    async def send_with_headers(message: Message) -> None:
      if message['type'] == 'http.response.start':
        add_headers(
          MutableHeaders(scope=message), path=scope['path'], secure=self._secure
        )
      await send(message)

    await self._app(scope, receive, send_with_headers)


def add_headers(headers: MutableHeaders, *, path: str, secure: bool) -> None:
  """Sets the security headers of a response to a request for `path`."""
  headers.update(_HEADERS)
  if path.startswith('/static/') and headers.get('content-type') is not None:
    headers['cache-control'] = 'public, max-age=86400'
  else:
    headers['cache-control'] = 'no-store'
  if secure:
    headers['strict-transport-security'] = f'max-age={_YEAR}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cookie:
  """A cookie that scripts cannot read and other sites' forms do not send.

  With `secure` the browser sends it over HTTPS only, and its name's prefix
  keeps other hosts of the domain from setting it.
  """

  name: str
  secure: bool
  max_age: int  # seconds

  @property
  def _full_name(self) -> str:
    return f'__Host-{self.name}' if self.secure else self.name

  def read(self, request: Request) -> str | None:
    """What the browser sent, if anything."""
    return request.cookies.get(self._full_name)

  def write(self, response: Response, value: str) -> None:
    """Asks the browser to keep `value`."""
    response.set_cookie(
      self._full_name,
      value,
      max_age=self.max_age,
      path='/',
      secure=self.secure,
      httponly=True,
      samesite='lax',
    )

  def forget(self, response: Response) -> None:
    """Asks the browser to drop the cookie."""
    response.delete_cookie(
      self._full_name,
      path='/',
      secure=self.secure,
      httponly=True,
      samesite='lax',
    )


def new_token() -> str:
  """A random text of 128 bits that is safe in a cookie and in an address."""
  return secrets.token_urlsafe(16)


def csrf_token(secret: str, session: str) -> str:
  """What a form must carry that was shown to the holder of `session`."""
  message = b'csrf\0' + session.encode()
  return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def check_csrf(secret: str, session: str, given: object) -> None:
  """Refuses, with 403, a form that this study did not show to `session`."""
  expected = csrf_token(secret, session)
  if not isinstance(given, str) or not hmac.compare_digest(
    expected.encode(), given.encode(errors='replace')
  ):
    raise HTTPException(403)


async def read_form(request: Request) -> dict[str, str]:
  """The fields of a form as browsers send it by default.

  Lines end in a newline only. Of a field that stands twice, the last counts.

  Raises:
    HTTPException: 400, 408, 413 or 415 for anything else.
  """
  _check_type(request, 'application/x-www-form-urlencoded')
  body = await _read_body(request)
  try:
    fields = urllib.parse.parse_qsl(
      body.decode('ascii'),
      keep_blank_values=True,
      errors='strict',
      max_num_fields=MAX_FIELDS,
    )
  except ValueError:
    raise HTTPException(400) from None
  return {
    name: value.replace('\r\n', '\n').replace('\r', '\n')
    for name, value in fields
  }


async def read_json(request: Request) -> dict[str, Any]:
  """An object in strict JSON.

  Raises:
    HTTPException: 400, 408, 413 or 415 for anything else.
  """
  _check_type(request, 'application/json')
  body = await _read_body(request)
  try:
    value = strict_json.parse(body.decode())
  except ValueError:  # InputError and UnicodeDecodeError
    raise HTTPException(400) from None
  if not isinstance(value, dict):
    raise HTTPException(400)
  return value


def _check_type(request: Request, expected: str) -> None:
  kind = request.headers.get('content-type', '').partition(';')[0]
  if kind.strip().lower() != expected:
    raise HTTPException(415)


async def _read_body(request: Request) -> bytes:
  announced = request.headers.get('content-length', '0')
  if not announced.isdecimal() or int(announced) > MAX_BODY_BYTES:
    raise HTTPException(413)
  body = bytearray()
  # A body that trickles in must not hold a connection for ever.
  try:
    with anyio.fail_after(_BODY_SECONDS):
      async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
          raise HTTPException(413)
  except TimeoutError:
    raise HTTPException(408) from None
  return bytes(body)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
  """Requests a minute that are answered."""

  # A page that waits asks 20 times a minute.
  session: int = 600
  # Without a session yet. A whole class may sit behind one address.
  address: int = 1200
  # Passwords tried from one address.
  log_in: int = 10


class RateLimiter:
  """Counts requests in memory, and refuses with 429 what exceeds `rates`."""

  def __init__(self, rates: Rates):
    self._windows = limits.strategies.FixedWindowRateLimiter(
      limits.storage.MemoryStorage()
    )
    self._session = limits.RateLimitItemPerMinute(rates.session)
    self._address = limits.RateLimitItemPerMinute(rates.address)
    self._log_in = limits.RateLimitItemPerMinute(rates.log_in)
    self._key = secrets.token_bytes(32)

  def count_session(self, session: str) -> None:
    """For requests of a participant or of the researcher, by a known id."""
    self._count(self._session, 'session', session)

  def count_address(self, request: Request) -> None:
    """For requests without a known session."""
    self._count(self._address, 'address', self._hidden_address(request))

  def count_log_in(self, request: Request) -> None:
    """For each password that is tried."""
    self._count(self._log_in, 'log_in', self._hidden_address(request))

  def _count(
    self, item: limits.RateLimitItem, kind: str, identity: str
  ) -> None:
    if not self._windows.hit(item, kind, identity):
      raise HTTPException(429, headers={'retry-after': '60'})

  def _hidden_address(self, request: Request) -> str:
    host = request.client.host if request.client else ''
    return hmac.new(self._key, host.encode(), hashlib.sha256).hexdigest()
