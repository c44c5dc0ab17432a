"""What the project wants of the default reward model, and whether it is so.

`policy_targets` has the policy's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from consensus_jax.defaults.measured_people import (
  MODEL,
  NEW_BY_COMMENTS,
  NEW_BY_VOTES,
  NEW_PEOPLE,
  STATEMENTS,
)
from consensus_jax.evaluation import report, systems


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
    why: what stands in the way, as far as is known, for when it is missed.
  """

  what: str
  section: str
  measure: str = 'auc'
  minus: str | None = None
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


# Of what an opinion adds.
_SHARED = (
  'In a new conversation most of what can be told is what people in general '
  'like, and a model that sees statements alone knows that as well.'
)

TARGETS = (
  Target(
    what='AUC in new conversations, by votes: minus logistic regression',
    section=NEW_BY_VOTES,
    minus=systems.LOGISTIC,
    least=0.03,
    sure=True,
    why='The own votes of people were too few to learn from.',
  ),
  Target(
    what='AUC in new conversations, by votes',
    section=NEW_BY_VOTES,
    least=0.72,
    why='It learned from five conversations, and the base model is small. More '
    'of what a vote depends on is in how others vote, see popularity, which a '
    'new conversation has not got.',
  ),
  Target(
    what='AUC in new conversations, by comments',
    section=NEW_BY_COMMENTS,
    least=0.68,
    why='Few people wrote, mostly a sentence on something else than the '
    'statement. The interval is wide, as those measured are few.',
  ),
  Target(
    what='AUC of new people of known conversations: minus popularity',
    section=NEW_PEOPLE,
    minus=systems.POPULARITY,
    sure=True,
    why='What all others vote is hard to do better than.',
  ),
  Target(
    what="AUC in new conversations, by votes: minus another's opinion",
    section=NEW_BY_VOTES,
    minus=systems.of_another(MODEL),
    sure=True,
    why=_SHARED,
  ),
  Target(
    what='AUC in new conversations, by votes: minus the model of statements',
    section=NEW_BY_VOTES,
    minus=STATEMENTS,
    sure=True,
    why=_SHARED,
  ),
  Target(
    what="AUC in new conversations, by comments: minus another's opinion",
    section=NEW_BY_COMMENTS,
    minus=systems.of_another(MODEL),
    sure=True,
    why='What people wrote says little of what they think of other statements, '
    'and few of those that it learned from are described so.',
  ),
  Target(
    what='correlation with length in new conversations, by votes',
    section=NEW_BY_VOTES,
    measure='length_correlation',
    below=0.2,
    why='In these conversations people themselves favour longer comments, and '
    'more so than this allows, see popularity. The model goes a little '
    'further; why is not known.',
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
    met = None if interval is None else target.met(interval)
    found.append(
      {
        'what': target.what,
        'wanted': target.wanted,
        'found': interval,
        'met': met,
        'why': target.why if met is False else None,
      }
    )
  return found


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
  """A table of what is wanted, and why it is missed where it is.

  Args:
    found: as `reached` gives it.
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
