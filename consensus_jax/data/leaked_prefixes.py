"""Headings that a model wrote before its statement and nobody should read."""

import re

_HEADING = re.compile(
  r"""\s* [*_#"']* \s*
  (?:(?:here\ is\ )?(?:the|our|a)\s+)?
  (?:(?:final|initial|revised|updated|draft|group|jury's)\s+)*
  consensus (?:\s+(?:statement|opinion|view))?
  [*_]* \s* : [*_"']* \s*""",
  re.IGNORECASE | re.VERBOSE,
)


def strip(text: str) -> str:
  """The text without leading headings such as "Final consensus statement:".

  A text that merely begins with these words keeps them: only a heading ends
  in a colon.
  """
  while match := _HEADING.match(text):
    text = text[match.end() :]
  return text
