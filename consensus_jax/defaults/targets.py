"""What the project wants of the default reward model, and whether it is so."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from consensus_jax.defaults.measured_people import (
  MODEL,
  NEW_BY_COMMENTS,
  NEW_BY_VOTES,
  NEW_PEOPLE,
  STATEMENTS,
)
from consensus_jax.evaluation import systems


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """What the project wants of a number.

  Attributes:
    what: the number, in words.
    section: where it is.
    measure: of a system.
    minus: of `MODEL` minus this system; None for the model's own number.
    least: of the value.
    sure: whether the interval is to be above zero.
    below: what the size of the value stays below.
  """

  what: str
  section: str
  measure: str = 'auc'
  minus: str | None = None
  least: float | None = None
  sure: bool = False
  below: float | None = None

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

  def met(self, interval: Mapping[str, float | None]) -> bool:
    """Whether a measured interval is what is wanted."""
    value, low = interval['value'], interval['low']
    if value is None:
      return False
    return (
      (self.least is None or value >= self.least)
      and (not self.sure or (low is not None and low > 0))
      and (self.below is None or abs(value) < self.below)
    )


TARGETS = (
  Target(
    what='AUC in new conversations, by votes: minus logistic regression',
    section=NEW_BY_VOTES,
    minus=systems.LOGISTIC,
    least=0.03,
    sure=True,
  ),
  Target(
    what='AUC in new conversations, by votes', section=NEW_BY_VOTES, least=0.72
  ),
  Target(
    what='AUC in new conversations, by comments',
    section=NEW_BY_COMMENTS,
    least=0.68,
  ),
  Target(
    what='AUC of new people of known conversations: minus popularity',
    section=NEW_PEOPLE,
    minus=systems.POPULARITY,
    sure=True,
  ),
  Target(
    what="AUC in new conversations, by votes: minus another's opinion",
    section=NEW_BY_VOTES,
    minus=systems.of_another(MODEL),
    sure=True,
  ),
  Target(
    what='AUC in new conversations, by votes: minus the model of statements',
    section=NEW_BY_VOTES,
    minus=STATEMENTS,
    sure=True,
  ),
  Target(
    what='correlation with length in new conversations, by votes',
    section=NEW_BY_VOTES,
    measure='length_correlation',
    below=0.2,
  ),
)


def reached(document: Mapping[str, Any]) -> list[dict[str, Any]]:
  """What the project wants, what was found, and whether that is it.

  Args:
    document: of a report, with the sections of `measure`.
  """
  sections = {each['title']: each for each in document['sections']}
  found = []
  for target in TARGETS:
    interval = _interval(target, sections.get(target.section))
    found.append(
      {
        'what': target.what,
        'wanted': target.wanted,
        'found': interval,
        'met': None if interval is None else target.met(interval),
      }
    )
  return found


def _interval(
  target: Target, section: Mapping[str, Any] | None
) -> Mapping[str, float | None] | None:
  """The number that a target is about; None if it was not measured."""
  if section is None:
    return None
  if target.minus is None:
    rows = [each for each in section['rows'] if each['system'] == MODEL]
  else:
    pair = MODEL, target.minus
    rows = [
      each
      for each in section['differences']
      if (each['first'], each['second']) == pair
    ]
  return rows[0]['measures'][target.measure] if rows else None
