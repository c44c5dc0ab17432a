"""The web application of a study."""

import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable

import anyio
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from consensus_jax.study import (
  admin,
  database,
  flow,
  messages,
  pages,
  rendering,
  security,
)
from consensus_jax.study.database import StorageError
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.rendering import Renderer
from consensus_jax.study.security import RateLimiter, Rates
from consensus_jax.study.site import Site

_log = logging.getLogger(__name__)
_TICK_SECONDS = 1.0

# Statuses that have a page of their own, and whose page the others share.
_WITH_PAGE = (400, 403, 404, 409, 413, 429, 500, 503)
_PAGE_OF = {405: 404, 408: 400, 415: 400}

# What scripts ask for: they look at the status only.
_FOR_SCRIPTS = ('/draft', '/status')


def make_app(
  engine: Engine,
  protocol: Protocol,
  *,
  secure_cookies: bool,
  rates: Rates = Rates(),  # noqa: B008
  clock: Callable[[], float] = time.time,
) -> Starlette:
  """The application, for an ASGI server.

  Args:
    engine: from `open_database`.
    protocol: the one that the database was made for.
    secure_cookies: whether browsers reach it over HTTPS only. All but a study
      on one machine should.
    rates: how much one session or one address may ask for.
    clock: the time, in Unix seconds.

  Raises:
    InputError: if there are no messages in the protocol's language.
  """
  with database.reading(engine) as connection:
    secret = database.secret(connection)
  site = Site(
    engine=engine,
    protocol=protocol,
    renderer=Renderer(protocol.title, messages.load(protocol.language)),
    limiter=RateLimiter(rates),
    secret=secret,
    secure_cookies=secure_cookies,
    clock=clock,
  )
  return Starlette(
    routes=[
      *pages.routes(site),
      *admin.routes(site),
      Route('/health', functools.partial(_health, site)),
      Mount('/static', StaticFiles(directory=rendering.STATIC)),
    ],
    middleware=[Middleware(security.SecurityHeaders, secure=secure_cookies)],
    exception_handlers={
      HTTPException: functools.partial(_http_problem, site),
      StorageError: functools.partial(_storage_problem, site),
      Exception: functools.partial(_our_fault, site),
    },
    lifespan=functools.partial(_ticking, site),
  )


def _health(site: Site, request: Request) -> Response:
  with database.reading(site.engine) as connection:
    database.secret(connection)
  return JSONResponse({'status': 'ok'})


@contextlib.asynccontextmanager
async def _ticking(site: Site, app: Starlette) -> AsyncIterator[None]:
  """Moves groups on for as long as the application serves."""
  async with anyio.create_task_group() as tasks:
    tasks.start_soon(_tick_for_ever, site)
    yield
    tasks.cancel_scope.cancel()


async def _tick_for_ever(site: Site) -> None:
  while True:
    try:
      await run_in_threadpool(_tick, site)
    except Exception:  # Such as a full disk: the next one may work.
      _log.exception('Groups could not be moved on.')
    await anyio.sleep(_TICK_SECONDS)


def _tick(site: Site) -> None:
  with database.writing(site.engine) as connection:
    flow.tick(connection, site.protocol, now=site.clock())


def _http_problem(site: Site, request: Request, error: Exception) -> Response:
  assert isinstance(error, HTTPException)
  if request.url.path in _FOR_SCRIPTS:
    return Response(status_code=error.status_code, headers=error.headers)
  if error.status_code == 401:
    return RedirectResponse('/?notice=expired', status_code=303)
  return _problem(site, error.status_code, dict(error.headers or {}))


def _storage_problem(
  site: Site, request: Request, error: Exception
) -> Response:
  assert isinstance(error, StorageError)
  _log.error('Storage: %s', error)
  if request.url.path in _FOR_SCRIPTS:
    return Response(status_code=503)
  return _problem(site, 503)


def _our_fault(site: Site, request: Request, error: Exception) -> Response:
  # Starlette answers these outside all middleware.
  response = _problem(site, 500)
  security.add_headers(
    response.headers, path=request.url.path, secure=site.secure_cookies
  )
  return response


def _problem(
  site: Site, status: int, headers: dict[str, str] | None = None
) -> Response:
  what = _PAGE_OF.get(status, status if status in _WITH_PAGE else 400)
  return site.renderer.render(
    'problem.html', status=status, headers=headers, what=str(what)
  )
