"""What the pages of a running study share."""

import dataclasses
from collections.abc import Callable

from sqlalchemy import Engine

from consensus_jax.study.protocol import Protocol
from consensus_jax.study.rendering import Renderer
from consensus_jax.study.security import Cookie, RateLimiter

_MONTH = 30 * 24 * 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
  """A study being served: pages get all they need from here."""

  engine: Engine
  protocol: Protocol
  renderer: Renderer
  limiter: RateLimiter
  secret: str  # of the study; forms are signed with it
  secure_cookies: bool
  clock: Callable[[], float]  # Unix seconds

  @property
  def session(self) -> Cookie:
    """Holds a participant's token."""
    return self.cookie('participant', _MONTH)

  @property
  def visit(self) -> Cookie:
    """Ties the form that joins to the browser it was shown in."""
    return self.cookie('visit', _MONTH)

  def cookie(self, name: str, max_age: int) -> Cookie:
    """A cookie of this site; `max_age` in seconds."""
    return Cookie(name=name, secure=self.secure_cookies, max_age=max_age)
