"""The researcher's pages: what happens now, pause and resume, exports.

Everything under /admin asks for the password that was set at the first start.
These pages are in English, whatever the study's language.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from consensus_jax.strict_json import InputError
from consensus_jax.study import (
  collected,
  database,
  export,
  export_records,
  flow,
  messages,
  passwords,
  quality,
  security,
)
from consensus_jax.study.collected import Collected
from consensus_jax.study.rendering import Renderer
from consensus_jax.study.site import Site


def routes(site: Site) -> list[Route]:
  """The researcher's part of the site."""
  english = dataclasses.replace(
    site, renderer=Renderer(site.protocol.title, messages.load('en'))
  )

  def route(path, endpoint, method='GET'):
    return Route(path, functools.partial(endpoint, english), methods=[method])

  return [
    route('/admin', _overview),
    route('/admin/log_in', _log_in_page),
    route('/admin/log_in', _post_log_in, 'POST'),
    route('/admin/set_up/{token}', _set_up_page),
    route('/admin/set_up/{token}', _post_set_up, 'POST'),
    route('/admin/groups/{group_id:int}', _group),
    route('/admin/export.zip', _export),
    route('/admin/pause', _post_pause, 'POST'),
    route('/admin/resume', _post_resume, 'POST'),
    route('/admin/log_out', _post_log_out, 'POST'),
  ]


# Coming in


def _log_in_page(site: Site, request: Request, wrong: bool = False) -> Response:
  site.limiter.count_address(request)
  return _form(site, request, 'log_in', error='wrong' if wrong else '')


async def _post_log_in(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_log_in, site, request, form)


def _log_in(site: Site, request: Request, form: Mapping[str, str]) -> Response:
  site.limiter.count_log_in(request)
  _check_visit(site, request, form)
  with database.reading(site.engine) as connection:
    good = passwords.verify(connection, form.get('password', ''))
  if not good:
    return _log_in_page(site, request, wrong=True)
  return _come_in(site)


def _set_up_page(site: Site, request: Request) -> Response:
  site.limiter.count_log_in(request)
  _require_set_up(site, request)
  return _form(site, request, 'set_up', error='')


async def _post_set_up(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_set_up, site, request, form)


def _set_up(site: Site, request: Request, form: Mapping[str, str]) -> Response:
  site.limiter.count_log_in(request)
  _check_visit(site, request, form)
  _require_set_up(site, request)
  password = form.get('password', '')
  try:
    passwords.check_new(password)
  except InputError:
    return _form(site, request, 'set_up', error='short')
  if password != form.get('again'):
    return _form(site, request, 'set_up', error='differs')
  hashed = passwords.hashed(password)
  with database.writing(site.engine) as connection:
    # Once more, now that nobody else can set one.
    if not passwords.may_set_up(connection, request.path_params['token']):
      raise HTTPException(404)
    passwords.store(connection, hashed)
  return _come_in(site)


def _require_set_up(site: Site, request: Request) -> None:
  with database.reading(site.engine) as connection:
    if not passwords.may_set_up(connection, request.path_params['token']):
      raise HTTPException(404)


def _form(site: Site, request: Request, what: str, *, error: str) -> Response:
  known = site.visit.read(request)
  visit = known or security.new_token()
  response = site.renderer.render(
    'admin_password.html',
    status=422 if error else 200,
    what=what,
    error=error,
    least=passwords.MIN_CHARACTERS,
    csrf=security.csrf_token(site.secret, visit),
  )
  if known is None:
    site.visit.write(response, visit)
  return response


def _check_visit(site: Site, request: Request, form: Mapping[str, str]) -> None:
  visit = site.visit.read(request) or ''
  security.check_csrf(site.secret, visit, form.get('csrf'))


def _come_in(site: Site) -> Response:
  with database.writing(site.engine) as connection:
    token = passwords.start_session(connection, now=site.clock())
  response = RedirectResponse('/admin', status_code=303)
  _cookie(site).write(response, token)
  return response


def _cookie(site: Site) -> security.Cookie:
  return site.cookie('admin', passwords.SESSION_SECONDS)


def _session(site: Site, request: Request) -> str | None:
  """The token of the researcher's session, if there is one."""
  token = _cookie(site).read(request)
  with database.reading(site.engine) as connection:
    if passwords.has_session(connection, token, now=site.clock()):
      site.limiter.count_session('admin')
      return token
  site.limiter.count_address(request)
  return None


# What happens now


def _overview(site: Site, request: Request) -> Response:
  token = _session(site, request)
  if token is None:
    return RedirectResponse('/admin/log_in', status_code=303)
  study, paused = _read(site)
  flags = quality.flags(study)
  grouped = _grouped(study)
  now = site.clock()
  return site.renderer.render(
    'admin.html',
    csrf=security.csrf_token(site.secret, token),
    paused=paused,
    refresh='refresh' in request.query_params,
    counts=_counts(study),
    groups=[
      _group_row(study, group_id, flags, now)
      for group_id in sorted(study.groups, reverse=True)
    ],
    people=[
      _person_row(study, name, flags, now)
      for name, person in study.participants.items()
      if person.state == 'active'
      if name not in grouped
    ],
  )


def _group(site: Site, request: Request) -> Response:
  token = _session(site, request)
  if token is None:
    return RedirectResponse('/admin/log_in', status_code=303)
  group_id = request.path_params['group_id']
  study, _ = _read(site)
  if group_id not in study.groups:
    raise HTTPException(404)
  flags, now = quality.flags(study), site.clock()
  return site.renderer.render(
    'admin_group.html',
    csrf=security.csrf_token(site.secret, token),
    group=_group_row(study, group_id, flags, now),
    people=[
      _person_row(study, member.participant_id, flags, now)
      | {'seat': member.seat, 'excluded': member.excluded}
      for member in study.memberships[group_id]
    ],
    questions=[
      {
        'position': place[1],
        'text': study.protocol.question(row.question_id).text,
        'stage': row.stage,
        'statements': [
          {
            'text': each.text,
            'system': each.system,
            'round': each.round,
            'won': each.id in (row.winner, row.revised_winner),
          }
          for each in export_records.shown(study, place)
        ],
      }
      for place, row in study.questions.items()
      if place[0] == group_id
    ],
  )


def _read(site: Site) -> tuple[Collected, bool]:
  with database.reading(site.engine) as connection:
    study = collected.read(connection, site.protocol)
    return study, flow.is_paused(connection)


def _counts(study: Collected) -> list[tuple[str, int]]:
  """How many people there are, by how far they have come."""
  grouped = _grouped(study)
  counts = Counter(
    'waiting for a group'
    if person.step_key == 'lobby'
    else 'before the waiting room'
    if person.state == 'active' and name not in grouped
    else 'in a group'
    if person.state == 'active'
    else person.state.replace('_', ' ')
    for name, person in study.participants.items()
  )
  return sorted(counts.items())


def _grouped(study: Collected) -> set[str]:
  """Who is, or was, in a group."""
  return {
    member.participant_id
    for members in study.memberships.values()
    for member in members
  }


def _group_row(
  study: Collected,
  group_id: int,
  flags: Mapping[str, Sequence[quality.Flag]],
  now: float,
) -> dict[str, Any]:
  group = study.groups[group_id]
  members = study.memberships[group_id]
  own = [row for place, row in study.questions.items() if place[0] == group_id]
  at = next((row for row in own if row.stage not in ('pending', 'done')), None)
  running = at is not None and group.state == 'running'
  return {
    'id': group_id,
    'name': export_records.group_name(group_id),
    'condition': group.condition,
    'state': group.state,
    'position': at.position if at and running else None,
    'of': len(own),
    'stage': at.stage.replace('_', ' ') if at and running else None,
    'stage_seconds': now - at.stage_since if at and running else None,
    'seconds': (group.ended_at or now) - group.created_at,
    'active': sum(member.state == 'active' for member in members),
    'size': len(members),
    'flagged': sum(member.participant_id in flags for member in members),
  }


def _person_row(
  study: Collected,
  name: str,
  flags: Mapping[str, Sequence[quality.Flag]],
  now: float,
) -> dict[str, Any]:
  person = study.participants[name]
  return {
    'name': study.names[name],
    'state': person.state.replace('_', ' '),
    'step': person.step_key,
    'step_seconds': now - person.step_since if not person.ended_at else None,
    'seconds': (person.ended_at or now) - person.created_at,
    'seen_seconds': now - person.last_seen,
    'answers': len(study.answers.get(name, ())),
    'flags': [str(flag) for flag in flags.get(name, ())],
  }


# What the researcher does


def _export(site: Site, request: Request) -> Response:
  if _session(site, request) is None:
    return RedirectResponse('/admin/log_in', status_code=303)
  packed = export.archive(export.files(site.engine, site.protocol))
  return Response(
    packed,
    media_type='application/zip',
    headers={'content-disposition': 'attachment; filename="study.zip"'},
  )


async def _post_pause(site: Site, request: Request) -> Response:
  return await _post_change(site, request, flow.pause)


async def _post_resume(site: Site, request: Request) -> Response:
  return await _post_change(site, request, flow.resume)


async def _post_change(
  site: Site, request: Request, change: Callable[..., None]
) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_change, site, request, form, change)


def _change(
  site: Site,
  request: Request,
  form: Mapping[str, str],
  change: Callable[..., None],
) -> Response:
  _require(site, request, form)
  with database.writing(site.engine) as connection:
    change(connection, now=site.clock())
  return RedirectResponse('/admin', status_code=303)


async def _post_log_out(site: Site, request: Request) -> Response:
  form = await security.read_form(request)
  return await run_in_threadpool(_log_out, site, request, form)


def _log_out(site: Site, request: Request, form: Mapping[str, str]) -> Response:
  token = _require(site, request, form)
  with database.writing(site.engine) as connection:
    passwords.end_session(connection, token)
  response = RedirectResponse('/admin/log_in', status_code=303)
  _cookie(site).forget(response)
  return response


def _require(site: Site, request: Request, form: Mapping[str, str]) -> str:
  token = _session(site, request)
  if token is None:
    raise HTTPException(403)
  security.check_csrf(site.secret, token, form.get('csrf'))
  return token
