"""The participants' pages: joining, the current step, and leaving.

A page never trusts what a browser shows: each request reads the current step
from the database. So reload, back button and a second tab do no harm.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from consensus_jax.strict_json import InputError
from consensus_jax.study import database, entry, flow, forms, security
from consensus_jax.study.database import StorageError
from consensus_jax.study.flow import Step
from consensus_jax.study.site import Site

_NOTICES = ('late', 'expired', 'forgotten')
_ENDS = ('done', 'declined', 'excluded', 'withdrawn', 'timed_out')
# These pages ask by themselves whether it goes on.
_WAITING = ('lobby', 'wait', 'paused')


@dataclasses.dataclass(frozen=True)
class _Session:
  participant: str
  token: str


def routes(site: Site) -> list[Route]:
  """The participants' part of the site."""

  def route(path, endpoint, method='GET'):
    return Route(path, functools.partial(endpoint, site), methods=[method])

  return [
    route('/', _front),
    route('/join', _front),
    route('/join', _post_join, 'POST'),
    route('/continue/{token}', _continue),
    route('/study', _study),
    route('/study', _post_study, 'POST'),
    route('/draft', _post_draft, 'POST'),
    route('/status', _status),
    route('/link', _link),
    route('/leave', _leave),
    route('/withdraw', _post_withdraw, 'POST'),
    route('/forget', _post_forget, 'POST'),
  ]


# Joining


def _front(site: Site, request: Request) -> Response:
  session = _find_session(site, request)
  shown_to = session.token if session else site.visit.read(request)
  visit = shown_to or security.new_token()
  response = site.renderer.render(
    'front.html',
    notice=_notice(request),
    joined=session is not None,
    entry=_entry_fields(site, request.query_params),
    csrf=security.csrf_token(site.secret, visit),
  )
  if shown_to is None:
    site.visit.write(response, visit)
  return response


async def _post_join(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_join, site, request, form)


def _join(site: Site, request: Request, form: Mapping[str, str]) -> Response:
  if _find_session(site, request):  # A second click, or a second tab.
    return _to('/study')
  visit = site.visit.read(request) or ''
  security.check_csrf(site.secret, visit, form.get('csrf'))
  fields = _entry_fields(site, form)
  invitation = fields.pop('invitation', None)
  try:
    with database.writing(site.engine) as connection:
      _, token = entry.join(
        connection,
        site.protocol,
        now=site.clock(),
        invitation=invitation,
        recruitment=fields or None,
      )
  except InputError:
    raise HTTPException(409) from None
  response = _to('/study')
  site.session.write(response, token)
  return response


def _entry_fields(site: Site, given: Mapping[str, str]) -> dict[str, str]:
  names = ('invitation', *entry.recruitment_parameters(site.protocol))
  return {name: given[name] for name in names if given.get(name)}


def _continue(site: Site, request: Request) -> Response:
  # A personal link. It does not take the place of a session that is alive.
  if _find_session(site, request):
    return _to('/study')
  token = request.path_params['token']
  with database.reading(site.engine) as connection:
    known = entry.find(connection, token, now=site.clock())
  if known is None:
    return _to('/', notice='expired')
  response = _to('/study')
  site.session.write(response, token)
  return response


# The current step


def _study(site: Site, request: Request) -> Response:
  session = _require_session(site, request)
  return _page(site, session, _current(site, session), notice=_notice(request))


async def _post_study(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_submit, site, request, form)


def _submit(site: Site, request: Request, form: Mapping[str, str]) -> Response:
  session = _require_session(site, request)
  _check(site, session, form)
  key = form.get('step_key', '')
  try:
    with database.writing(site.engine) as connection:
      submission = flow.submit(
        connection,
        site.protocol,
        session.participant,
        key,
        forms.answer(site.protocol, form.get('kind', ''), form),
        now=site.clock(),
      )
  except (InputError, StorageError) as error:
    step = _current(site, session)
    if step.key == key:
      return _once_more(site, session, step, form, error)
    if isinstance(error, StorageError):
      raise
    return _to('/study', notice='late')
  late = submission.status == 'late'
  return _to('/study', notice='late' if late else None)


def _once_more(
  site: Site,
  session: _Session,
  step: Step,
  form: Mapping[str, str],
  error: InputError | StorageError,
) -> Response:
  # What was typed is still in the page, to be sent again.
  if isinstance(error, StorageError):
    return _page(site, session, step, status=503, values=form, not_stored=True)
  errors = forms.problems(step, error, site.renderer.messages)
  return _page(site, session, step, status=422, values=form, errors=errors)


async def _post_draft(site: Site, request: Request) -> Response:
  form = await security.read_json(request)
  if not all(isinstance(value, str) for value in form.values()):
    raise HTTPException(400)
  return await run_in_threadpool(_save_draft, site, request, form)


def _save_draft(
  site: Site, request: Request, form: Mapping[str, str]
) -> Response:
  session = _require_session(site, request)
  _check(site, session, form)
  try:
    with database.writing(site.engine) as connection:
      flow.save_draft(
        connection,
        site.protocol,
        session.participant,
        form.get('step_key', ''),
        forms.answer(site.protocol, form.get('kind', ''), form),
        now=site.clock(),
      )
  except InputError:
    raise HTTPException(400) from None
  return Response(status_code=204)


def _status(site: Site, request: Request) -> Response:
  session = _require_session(site, request)
  with database.reading(site.engine) as connection:
    key = flow.current_key(connection, session.participant)
  status: dict[str, Any] = {'key': key}
  if key == 'lobby' or '/wait/' in key:
    content = _current(site, session).content
    for name in ('waiting', 'needed', 'progress'):
      if name in content:
        status[name] = content[name]
  return JSONResponse(status)


def _current(site: Site, session: _Session) -> Step:
  with database.reading(site.engine) as connection:
    return flow.current_step(
      connection, site.protocol, session.participant, now=site.clock()
    )


def _page(
  site: Site,
  session: _Session,
  step: Step,
  *,
  status: int = 200,
  notice: str | None = None,
  values: Mapping[str, str] | None = None,
  errors: Mapping[str, str] | None = None,
  not_stored: bool = False,
) -> Response:
  ends = step.kind in (*_ENDS, 'paused')
  if step.kind == 'comprehension' and not step.key.endswith('/1'):
    notice = 'wrong'
  return site.renderer.render(
    'end.html' if ends else f'{step.kind}.html',
    status=status,
    step=step,
    place=_place(site, step),
    instructions=site.protocol.instructions,
    csrf=security.csrf_token(site.secret, session.token),
    notice=notice,
    values=forms.drafted(step) if values is None else values,
    errors=errors or {},
    not_stored=not_stored,
    waits=step.kind in _WAITING,
    may_leave=step.kind not in _ENDS,
  )


def _place(site: Site, step: Step) -> str:
  question = re.search(r'(?:^|/)q(\d+)/', step.key)
  if question is None:
    return ''
  return site.renderer.messages(
    'place', number=question[1], of=site.protocol.questions_per_group
  )


# Leaving


def _link(site: Site, request: Request) -> Response:
  session = _require_session(site, request)
  address = f'{request.base_url}continue/{session.token}'
  return site.renderer.render('link.html', address=address)


def _leave(site: Site, request: Request) -> Response:
  session = _require_session(site, request)
  return site.renderer.render(
    'leave.html', csrf=security.csrf_token(site.secret, session.token)
  )


async def _post_withdraw(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_withdraw, site, request, form)


def _withdraw(
  site: Site, request: Request, form: Mapping[str, str]
) -> Response:
  session = _require_session(site, request)
  _check(site, session, form)
  with database.writing(site.engine) as connection:
    flow.withdraw(
      connection, site.protocol, session.participant, now=site.clock()
    )
  return _to('/study')


async def _post_forget(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  session = await run_in_threadpool(_require_session, site, request)
  _check(site, session, form)
  response = _to('/', notice='forgotten')
  site.session.forget(response)
  return response


# Who asks


def _find_session(site: Site, request: Request) -> _Session | None:
  token = site.session.read(request)
  if token:
    with database.reading(site.engine) as connection:
      participant = entry.find(connection, token, now=site.clock())
    if participant is not None:
      site.limiter.count_session(participant)
      # A disk that is full must not keep anybody from reading.
      with contextlib.suppress(StorageError):
        entry.note_seen(site.engine, participant, now=site.clock())
      return _Session(participant, token)
  site.limiter.count_address(request)
  return None


def _require_session(site: Site, request: Request) -> _Session:
  session = _find_session(site, request)
  if session is None:
    raise HTTPException(401)
  return session


def _check(site: Site, session: _Session, form: Mapping[str, Any]) -> None:
  security.check_csrf(site.secret, session.token, form.get('csrf'))


def _notice(request: Request) -> str | None:
  notice = request.query_params.get('notice')
  return notice if notice in _NOTICES else None


def _to(path: str, notice: str | None = None) -> Response:
  # 303: what comes next is asked for with GET, so that reload sends nothing.
  return RedirectResponse(
    f'{path}?notice={notice}' if notice else path, status_code=303
  )
