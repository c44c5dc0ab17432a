"""Renders a model's own chat template without letting text become markup.

Templates are programs that come with a model, so they run in jinja's sandbox.
They see a private marker in place of each message's text, and what they render
is split at the markers: what a person wrote is never part of the string in
which special tokens are looked for.
"""

import datetime
import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import jinja2

# Some templates write the day's date. A run must not depend on the day, so this
# date, the one that Llama 3.1's template itself falls back to, stands for all.
DATE = datetime.date(2024, 7, 26)
_MONTH = 'July'

ROLES = ('system', 'user', 'assistant')

# From Unicode's private use area: no role, no template and no jinja filter for
# letters or spaces has to do with these.
_OPEN, _CLOSE = '\ue000', '\ue001'
_MARKER = re.compile(f'{_OPEN}([0-9]+){_CLOSE}')


class ChatTemplateError(ValueError):
  """A chat template that fails, or that does not show a message as it is."""


def render(
  template: str,
  roles: Sequence[str],
  special_tokens: Mapping[str, str],
  *,
  add_generation_prompt: bool,
) -> list[str | int]:
  """Renders a conversation, with gaps where the messages' texts belong.

  Args:
    template: jinja, with what `transformers` offers to it: `messages`,
      `add_generation_prompt`, `raise_exception`, `strftime_now` (always of
      `DATE`), `date_string`, and `enable_thinking`, which is false.
    roles: one of `ROLES` for each message.
    special_tokens: `bos_token` and the like, for the template.
    add_generation_prompt: whether to open the assistant's next message.

  Returns:
    Pieces in order: a string is the template's own, an integer the index of the
    message whose text belongs there. A template may show a message twice.

  Raises:
    ChatTemplateError: if a role is unknown, the template fails or refuses, or a
      message's text is left out or changed.
  """
  for role in roles:
    if role not in ROLES:
      raise ChatTemplateError(
        f'has no role {role!r}; roles are {", ".join(ROLES)}'
      )
  if _OPEN in template or _CLOSE in template:
    raise ChatTemplateError('uses the private characters U+E000 or U+E001')
  messages = [
    {'role': role, 'content': f'{_OPEN}{index}{_CLOSE}'}
    for index, role in enumerate(roles)
  ]
  try:
    text = _compiled(template).render(
      **special_tokens,
      messages=messages,
      add_generation_prompt=add_generation_prompt,
      tools=None,
      documents=None,
      date_string=_strftime_now('%d %b %Y'),
      # Qwen3: a statement is short, and must not be spent on thinking aloud.
      enable_thinking=False,
    )
  # A template can fail in every way in which a program can.
  except Exception as error:
    raise ChatTemplateError(f'fails: {error}') from error
  pieces: list[str | int] = []
  for place, piece in enumerate(_MARKER.split(text)):
    if place % 2:
      pieces.append(int(piece))
    elif piece:
      pieces.append(piece)
  for index, role in enumerate(roles):
    if index not in pieces:
      raise ChatTemplateError(
        f'leaves out or changes the text of message {index + 1} ({role})'
      )
  return pieces


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> 'jinja2.Template':
  # Here, because a run without a chat template need not wait for this import.
  import jinja2.ext
  import jinja2.sandbox

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[jinja2.ext.loopcontrols],
  )
  environment.filters['tojson'] = _tojson
  environment.globals['raise_exception'] = _raise_exception
  environment.globals['strftime_now'] = _strftime_now
  return environment.from_string(template)


def _raise_exception(message: str) -> None:
  import jinja2

  raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
  # Month names of its own: those of strftime depend on the locale.
  form = form.replace('%b', _MONTH[:3]).replace('%B', _MONTH)
  return DATE.strftime(form)


def _tojson(value: Any, **kwargs: Any) -> str:
  return json.dumps(value, ensure_ascii=False, **kwargs)
