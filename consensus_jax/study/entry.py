"""How participants come in, and how a browser is known again.

A token of 128 random bits is all that a participant has; the database keeps its
hash only. Ids of recruitment platforms stand in a table of their own.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from consensus_jax.strict_json import InputError, check_string, check_text
from consensus_jax.study import database, steps, view
from consensus_jax.study.protocol import Entry, Protocol
from consensus_jax.study.tables import invitations, participants
from consensus_jax.study.tables import recruitment as recruited

LOOK_BACK_SECONDS = 30 * 24 * 3600.0
_SEEN_SECONDS = 10.0
_LONGEST_ID = 200


def token_sha256(token: str) -> str:
  """What is kept of a token."""
  return hashlib.sha256(token.encode(errors='replace')).hexdigest()


def new_token() -> str:
  """128 random bits, safe in an address and in a cookie."""
  return secrets.token_urlsafe(16)


def recruitment_parameters(protocol: Protocol) -> tuple[str, ...]:
  """Names of the parameters that a recruitment platform's address has."""
  names = protocol.recruitment
  return (names.participant, names.study, names.session)


def invite(
  connection: sa.Connection, labels: Sequence[str], *, now: float
) -> list[str]:
  """Makes an invitation for each label; gives the tokens, in that order."""
  tokens = [new_token() for _ in labels]
  if tokens:
    connection.execute(
      invitations.insert(),
      [
        {'token_sha256': token_sha256(token), 'label': label, 'created_at': now}
        for token, label in zip(tokens, labels, strict=True)
      ],
    )
  return tokens


def join(
  connection: sa.Connection,
  protocol: Protocol,
  *,
  now: float,
  invitation: str | None = None,
  recruitment: Mapping[str, str] | None = None,
) -> tuple[str, str]:
  """Lets somebody in; gives the participant's id and the token of a browser.

  An invitation that was used goes on with its participant, in the new browser
  only. An id of a recruitment platform is no secret, so it opens nothing twice.

  Args:
    connection: that writes.
    protocol: says which ways in are open.
    now: Unix seconds.
    invitation: its token.
    recruitment: the parameters of the address; others than the protocol's are
      ignored.

  Raises:
    InputError: of the field 'invitation', 'recruitment' or 'entry', if this way
      in is closed, or the invitation or the id is not good.
  """
  way: Entry
  if invitation is not None:
    way = 'invitation'
  elif recruitment and protocol.recruitment.participant in recruitment:
    way = 'recruitment'
  else:
    way = 'open'
  if way not in protocol.entry:
    raise InputError(f'entry is not {way}', field=('entry',))
  if way == 'invitation':
    assert invitation is not None
    known = connection.execute(
      sa.select(invitations).where(
        invitations.c.token_sha256 == token_sha256(invitation)
      )
    ).one_or_none()
    if known is None:
      raise InputError('is not known', field=('invitation',))
    if known.used_by is not None:
      return known.used_by, _renew_token(connection, known.used_by)
    participant, token = _add(connection, protocol, way, now)
    connection.execute(
      invitations.update()
      .where(invitations.c.token_sha256 == known.token_sha256)
      .values(used_by=participant)
    )
    return participant, token
  if way == 'recruitment':
    assert recruitment is not None
    return _join_recruited(connection, protocol, recruitment, now)
  return _add(connection, protocol, way, now)


def find(connection: sa.Connection, token: str, *, now: float) -> str | None:
  """The participant whose token this is, if any; reads only.

  A token is good until `LOOK_BACK_SECONDS` after the study's end for them.
  """
  row = connection.execute(
    sa.select(participants.c.id, participants.c.ended_at).where(
      participants.c.token_sha256 == token_sha256(token)
    )
  ).one_or_none()
  if row is None:
    return None
  over = row.ended_at is not None and row.ended_at < now - LOOK_BACK_SECONDS
  return None if over else row.id


def note_seen(engine: sa.Engine, participant: str, *, now: float) -> None:
  """Notes that the participant is there; writes only every ten seconds.

  To be called for every page and every request of a page that waits, outside
  of a transaction: who is not seen is put into no group.
  """
  own = participants.c.id == participant
  with database.reading(engine) as connection:
    seen = connection.execute(
      sa.select(participants.c.last_seen).where(own)
    ).scalar_one()
  if seen < now - _SEEN_SECONDS:
    with database.writing(engine) as connection:
      connection.execute(participants.update().where(own).values(last_seen=now))


def _add(
  connection: sa.Connection, protocol: Protocol, way: Entry, now: float
) -> tuple[str, str]:
  # 80 bits: unique, and short enough for tables.
  participant, token = secrets.token_hex(10), new_token()
  place = next(steps.entrance(protocol))
  connection.execute(
    participants.insert().values(
      id=participant,
      token_sha256=token_sha256(token),
      state='active',
      entry=way,
      created_at=now,
      last_seen=now,
      step_key=place.key,
      step_since=now,
      deadline=now + protocol.timers.consent,
    )
  )
  view.note(connection, 'joined', now=now, participant=participant, entry=way)
  return participant, token


def _renew_token(connection: sa.Connection, participant: str) -> str:
  token = new_token()
  connection.execute(
    participants.update()
    .where(participants.c.id == participant)
    .values(token_sha256=token_sha256(token))
  )
  return token


def _join_recruited(
  connection: sa.Connection,
  protocol: Protocol,
  given: Mapping[str, str],
  now: float,
) -> tuple[str, str]:
  names = protocol.recruitment
  values = {
    column: check_string(given.get(name, ''), ('recruitment', name))
    for column, name in (
      ('external_id', names.participant),
      ('study', names.study),
      ('session', names.session),
    )
  }
  for text in values.values():
    if len(text) > _LONGEST_ID:
      raise InputError('is too long', field=('recruitment',))
  check_text(values['external_id'], ('recruitment', names.participant))
  taken = connection.execute(
    sa.select(recruited.c.participant_id).where(
      recruited.c.platform == names.platform,
      recruited.c.external_id == values['external_id'],
    )
  ).scalar()
  if taken is not None:
    raise InputError(
      'takes part already; go on in the same browser, or by the personal link',
      field=('recruitment',),
    )
  participant, token = _add(connection, protocol, 'recruitment', now)
  connection.execute(
    recruited.insert().values(
      participant_id=participant, platform=names.platform, **values
    )
  )
  return participant, token
