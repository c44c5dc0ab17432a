"""How participants come in, and how a browser is known again.

A token of 128 random bits is all that a participant has; the database keeps its
hash only. Ids of recruitment platforms stand in a table of their own.
"""

import hashlib
import secrets
from collections.abc import Mapping

import sqlalchemy as sa

from consensus_jax.study.protocol import Protocol


def token_sha256(token: str) -> str:
  """What is kept of a token."""
  return hashlib.sha256(token.encode(errors='replace')).hexdigest()


def new_token() -> str:
  """128 random bits, safe in an address and in a cookie."""
  return secrets.token_urlsafe(16)


def invite(
  connection: sa.Connection, labels: list[str], *, now: float
) -> list[str]:
  """Makes an invitation for each label; gives the tokens, in that order."""
  raise NotImplementedError


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
    recruitment: the parameters of the address, all of them.

  Raises:
    InputError: of the field 'invitation', 'recruitment' or 'entry', if this way
      in is closed, or the invitation or the id is not good.
  """
  raise NotImplementedError


def find(connection: sa.Connection, token: str) -> str | None:
  """The participant whose token this is, if any; reads only."""
  raise NotImplementedError


def note_seen(engine: sa.Engine, participant: str, *, now: float) -> None:
  """Notes that the participant is there; writes only every ten seconds.

  To be called for every page and every request of a page that waits, outside
  of a transaction.
  """
  raise NotImplementedError
