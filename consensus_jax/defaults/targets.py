"""What the project wants of a number, and whether it is so."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from consensus_jax.evaluation import report

# A number and the ends of its 95% interval: 'value', 'low', 'high'.
Interval = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """What the project wants of a number.

  Attributes:
    what: the number, in words.
    least: of the value.
    sure: whether the interval is to be above zero.
    below: what the size of the value stays below.
    why: what stands in the way, as far as is known, for when it is missed.
  """

  what: str
  least: float | None = None
  sure: bool = False
  below: float | None = None
  why: str

  @property
  def wanted(self) -> str:
    """What is wanted, in words."""
    parts = []
    if self.least is not None:
      parts.append(f'at least {self.least:g}')
    if self.sure:
      parts.append('interval above zero')
    if self.below is not None:
      parts.append(f'less than {self.below:g} in size')
    return ', '.join(parts)

  def met(self, interval: Interval) -> bool:
    """Whether a measured interval is what is wanted."""
    value, low = interval['value'], interval['low']
    if value is None:
      return False
    return (
      (self.least is None or value >= self.least)
      and (not self.sure or (low is not None and low > 0))
      and (self.below is None or abs(value) < self.below)
    )

  def reached(self, interval: Interval | None) -> dict[str, Any]:
    """JSON values: what is wanted, what was found, and whether that is it.

    Args:
      interval: None if it was not measured.
    """
    met = None if interval is None else self.met(interval)
    return {
      'what': self.what,
      'wanted': self.wanted,
      'found': interval,
      'met': met,
      'why': self.why if met is False else None,
    }


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
  """A table of what is wanted, and why it is missed where it is.

  Args:
    found: as `Target.reached` gives them.
  """
  words = {True: 'met', False: 'missed', None: 'not measured'}
  rows = [
    [
      each['what'],
      each['wanted'],
      report.estimate(each['found']) if each['found'] else '–',
      words[each['met']],
    ]
    for each in found
  ]
  parts = [report.table(['what', 'wanted', 'found', ''], rows)]
  reasons: dict[str, list[str]] = {}
  for each in found:
    if each['why']:
      reasons.setdefault(each['why'], []).append(each['what'])
  if reasons:
    missed = [f'- *{"; ".join(what)}*: {why}' for why, what in reasons.items()]
    parts += ['What is missed, and why:', '\n'.join(missed)]
  return '\n\n'.join(parts)
