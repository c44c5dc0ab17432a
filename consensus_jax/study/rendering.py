"""Pages from templates; whatever people or models wrote is shown as text."""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from consensus_jax.study.messages import Messages

_ROOM = pathlib.Path(__file__).parent
STATIC = _ROOM / 'static'


@dataclasses.dataclass(frozen=True)
class Renderer:
  """Renders the templates of one study, which `render` looks up by name."""

  title: str  # of the study
  messages: Messages

  def render(
    self,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **values: Any,
  ) -> HTMLResponse:
    """A page. Templates also know `t`, `study_title` and `static`."""
    text = _ENVIRONMENT.get_template(template).render(
      t=self.messages, study_title=self.title, **values
    )
    return HTMLResponse(text, status_code=status, headers=headers)


def _paragraphs(text: str) -> list[str]:
  # Blank lines part paragraphs; style sheets keep the other line breaks.
  return [part.strip() for part in text.split('\n\n') if part.strip()]


def _clock(seconds: float) -> str:
  whole = math.ceil(max(0.0, seconds))
  return f'{whole // 60}:{whole % 60:02}'


def _numbered(texts: Sequence[str]) -> list[tuple[int, str]]:
  return list(enumerate(texts))


def _static(name: str) -> str:
  return f'/static/{name}?v={_VERSIONS[name]}'


# Read once: a file that changes needs a new server, as code does.
_VERSIONS = {
  path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
  for path in STATIC.iterdir()
}

_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.FileSystemLoader(_ROOM / 'templates'),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
)
_ENVIRONMENT.filters['paragraphs'] = _paragraphs
_ENVIRONMENT.filters['clock'] = _clock
_ENVIRONMENT.filters['numbered'] = _numbered
_ENVIRONMENT.globals['static'] = _static
