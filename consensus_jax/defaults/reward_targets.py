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
from consensus_jax.defaults.targets import Interval, Target
from consensus_jax.evaluation import systems


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Number:
  """Where a number is in a report.

  Attributes:
    section: its title.
    measure: of a system.
    minus: of `MODEL` minus this system; None for the model's own number.
  """

  section: str
  measure: str = 'auc'
  minus: str | None = None


# Of what an opinion adds.
_SHARED = (
  'In a new conversation most of what can be told is what people in general '
  'like, and a model that sees statements alone knows that as well.'
)

TARGETS = (
  (
    Target(
      what='AUC in new conversations, by votes: minus logistic regression',
      least=0.03,
      sure=True,
      why='The own votes of people were too few to learn from.',
    ),
    _Number(section=NEW_BY_VOTES, minus=systems.LOGISTIC),
  ),
  (
    Target(
      what='AUC in new conversations, by votes',
      least=0.72,
      why='It learned from five conversations, and the base model is small. '
      'More of what a vote depends on is in how others vote, see popularity, '
      'which a new conversation has not got.',
    ),
    _Number(section=NEW_BY_VOTES),
  ),
  (
    Target(
      what='AUC in new conversations, by comments',
      least=0.68,
      why='Few people wrote, mostly a sentence on something else than the '
      'statement. The interval is wide, as those measured are few.',
    ),
    _Number(section=NEW_BY_COMMENTS),
  ),
  (
    Target(
      what='AUC of new people of known conversations: minus popularity',
      sure=True,
      why='What all others vote is hard to do better than.',
    ),
    _Number(section=NEW_PEOPLE, minus=systems.POPULARITY),
  ),
  (
    Target(
      what="AUC in new conversations, by votes: minus another's opinion",
      sure=True,
      why=_SHARED,
    ),
    _Number(section=NEW_BY_VOTES, minus=systems.of_another(MODEL)),
  ),
  (
    Target(
      what='AUC in new conversations, by votes: minus the model of statements',
      sure=True,
      why=_SHARED,
    ),
    _Number(section=NEW_BY_VOTES, minus=STATEMENTS),
  ),
  (
    Target(
      what="AUC in new conversations, by comments: minus another's opinion",
      sure=True,
      why='What people wrote says little of what they think of other '
      'statements, and few of those that it learned from are described so.',
    ),
    _Number(section=NEW_BY_COMMENTS, minus=systems.of_another(MODEL)),
  ),
  (
    Target(
      what='correlation with length in new conversations, by votes',
      below=0.2,
      why='In these conversations people themselves favour longer comments, '
      'and more so than this allows, see popularity. The model goes a little '
      'further; why is not known.',
    ),
    _Number(section=NEW_BY_VOTES, measure='length_correlation'),
  ),
)


def reached(document: Mapping[str, Any]) -> list[dict[str, Any]]:
  """What the project wants, what was found, and whether that is it.

  Args:
    document: of a report, with the sections of `measure`.

  Returns:
    As `Target.reached` does.
  """
  sections = {each['title']: each for each in document['sections']}
  return [
    target.reached(_interval(number, sections.get(number.section)))
    for target, number in TARGETS
  ]


def _interval(
  number: _Number, section: Mapping[str, Any] | None
) -> Interval | None:
  """The number that a target is about; None if it was not measured."""
  if section is None:
    return None
  if number.minus is None:
    rows = [each for each in section['rows'] if each['system'] == MODEL]
  else:
    pair = MODEL, number.minus
    rows = [
      each
      for each in section['differences']
      if (each['first'], each['second']) == pair
    ]
  return rows[0]['measures'][number.measure] if rows else None
