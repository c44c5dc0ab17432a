"""The researcher's password and sessions. There is no password to begin with.

Passwords are kept as argon2 hashes, tokens of sessions as SHA-256.
"""

import hashlib
import hmac

import argon2
import sqlalchemy as sa

from consensus_jax.strict_json import InputError
from consensus_jax.study import database, entry
from consensus_jax.study.tables import admin_sessions, admins

SESSION_SECONDS = 12 * 3600
MIN_CHARACTERS = 10
_MAX_CHARACTERS = 1000
_hasher = argon2.PasswordHasher()


def is_set(connection: sa.Connection) -> bool:
  """Whether there is a password."""
  return connection.execute(sa.select(admins.c.id)).first() is not None


def check_new(password: str) -> str:
  """A password that may be set.

  Raises:
    InputError: if it is too short or far too long.
  """
  if not MIN_CHARACTERS <= len(password) <= _MAX_CHARACTERS:
    raise InputError(
      f'must have {MIN_CHARACTERS} characters or more', field=('password',)
    )
  return password


def hashed(password: str) -> str:
  """What is kept of a password; slow on purpose."""
  return _hasher.hash(password)


def store(connection: sa.Connection, password_hash: str) -> None:
  """Sets the password, and ends all sessions."""
  connection.execute(admins.delete())
  connection.execute(admins.insert().values(id=1, password_hash=password_hash))
  connection.execute(admin_sessions.delete())


def verify(connection: sa.Connection, password: str) -> bool:
  """Whether this is the password; slow on purpose."""
  kept = connection.execute(sa.select(admins.c.password_hash)).scalar()
  if kept is None or len(password) > _MAX_CHARACTERS:
    return False
  try:
    return _hasher.verify(kept, password)
  except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
    return False


def set_up_token(connection: sa.Connection) -> str:
  """Opens the page on which the first password is set, until there is one."""
  message = b'set-up of the password'
  secret = database.secret(connection).encode()
  return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]


def may_set_up(connection: sa.Connection, token: str) -> bool:
  """Whether the first password may be set with this token."""
  expected = set_up_token(connection)
  good = hmac.compare_digest(expected.encode(), token.encode(errors='replace'))
  return good and not is_set(connection)


def start_session(connection: sa.Connection, *, now: float) -> str:
  """The token of a new session."""
  token = entry.new_token()
  connection.execute(
    admin_sessions.delete().where(admin_sessions.c.expires_at < now)
  )
  connection.execute(
    admin_sessions.insert().values(
      token_sha256=entry.token_sha256(token),
      created_at=now,
      expires_at=now + SESSION_SECONDS,
    )
  )
  return token


def has_session(
  connection: sa.Connection, token: str | None, *, now: float
) -> bool:
  """Whether the token is that of a session that is not over."""
  if not token:
    return False
  expires = connection.execute(
    sa.select(admin_sessions.c.expires_at).where(
      admin_sessions.c.token_sha256 == entry.token_sha256(token)
    )
  ).scalar()
  return expires is not None and expires > now


def end_session(connection: sa.Connection, token: str) -> None:
  """Forgets a session."""
  connection.execute(
    admin_sessions.delete().where(
      admin_sessions.c.token_sha256 == entry.token_sha256(token)
    )
  )
