"""Whom the default reward models are measured on, and what they are asked."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.defaults import shipped, vote_rows
from consensus_jax.defaults.people import HALF_A, HALF_B, People
from consensus_jax.evaluation import cases, groups, robustness, systems
from consensus_jax.evaluation.cases import Case, Cases
from consensus_jax.evaluation.groups import Group

# Systems.
MODEL = 'reward model'
# Trained without opinions, and asked without.
STATEMENTS = 'reward model of statements only'
SYNTHETIC = 'with synthetic votes'
REAL = 'real votes only'

# Titles of sections.
NEW_BY_VOTES = 'New conversations, described by votes'
NEW_BY_COMMENTS = 'New conversations, described by comments'
NEW_PEOPLE = 'New people of known conversations, described by votes'
WELFARE = 'Welfare of groups in new conversations'
ROBUSTNESS = 'Robustness in new conversations'
SYNTHETIC_VOTES = 'What synthetic votes are worth in new conversations'
SECTIONS = (
  NEW_BY_VOTES,
  NEW_BY_COMMENTS,
  NEW_PEOPLE,
  WELFARE,
  ROBUSTNESS,
  SYNTHETIC_VOTES,
)

# Runs; the prompted rater is one without adapters.
SHIPS = shipped.COMBINED
OF_STATEMENTS = 'statements_a'
OF_SYNTHETIC = 'synthetic_b'
OF_REAL = 'half_b'
RATER = 'prompted_rater'

# For each system its run, and people as it is asked about them; None for those
# about whom it is not.
Asked = Mapping[str, tuple[str, Sequence[Case | None]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """How much is measured; time grows with all of it.

  Attributes:
    people: of a new conversation, described by votes.
    writers: of a new conversation, described by comments.
    known: new people of a known conversation.
    statements: votes of a person, drawn.
    rater: people of a new conversation about whom the prompted rater is asked.
    train: people of a conversation, for logistic regression.
    groups: of a new conversation, for regret; of those `people`.
    robust: people of a new conversation whose texts are changed.
    robust_statements: votes of these.
    draws: of people, for intervals.
  """

  people: int = 120
  writers: int = 40
  known: int = 120
  statements: int = 24
  rater: int = 24
  train: int = 120
  groups: int = 40
  robust: int = 12
  robust_statements: int = 8
  draws: int = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """People to predict, one comparison.

  Attributes:
    cases: who is predicted.
    asked: what runs are asked about them.
    differences: of systems.
    train: of logistic regression.
    held_out: what is new beside `train`; None for no baselines.
  """

  cases: Cases
  asked: Asked
  differences: Sequence[tuple[str, str]]
  train: Cases = ()
  held_out: systems.HeldOut | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """All that is to be said before anything is measured.

  Attributes:
    parts: comparisons, by title.
    groups: in new conversations.
    in_groups: what is to be predicted for these.
    asked_of_groups: what runs are asked about that.
    moved: people whose texts are changed.
    seed: of the changes.
  """

  parts: Mapping[str, Part]
  groups: tuple[Group, ...] = ()
  in_groups: Cases = ()
  asked_of_groups: Asked = dataclasses.field(default_factory=dict)
  moved: Cases = ()
  seed: int

  def asked(self) -> dict[str, list[Case]]:
    """What each run is asked by all parts together."""
    found: dict[str, list[Case]] = {}
    for asked in (
      *(p.asked for p in self.parts.values()),
      self.asked_of_groups,
    ):
      for run, people in asked.values():
        found.setdefault(run, []).extend(case for case in people if case)
    if self.moved:
      found[SHIPS] += self.moved
      for change in robustness.changes(self.seed).values():
        found[SHIPS] += map(change, self.moved)
    return found

  def texts(self) -> list[str]:
    """What features are needed of, by baselines."""
    compared = [part for part in self.parts.values() if part.held_out]
    people = [case for part in compared for case in (*part.cases, *part.train)]
    return [
      text
      for case in (*people, *self.in_groups)
      for text in (case.opinion, *case.statements)
    ]


def plan(
  splits: Mapping[str, People], runs: Collection[str], sizes: Sizes, seed: int
) -> Plan:
  """Whom to ask about what, as far as there are runs.

  Args:
    splits: as `people.read` gives them.
    runs: names of those that are there.
    sizes: how much is measured.
    seed: of all draws.
  """
  number = sizes.statements

  def drawn(records, max_people, max_statements=number) -> Cases:
    return _drawn(records, max_people, max_statements, seed)

  parts: dict[str, Part] = {}
  kept_apart = drawn(
    _described(splits['iid_test'].of(HALF_A).votes), sizes.known
  )
  if {OF_SYNTHETIC, OF_REAL} <= {*runs}:
    parts[SYNTHETIC_VOTES] = Part(
      cases=kept_apart,
      asked={
        SYNTHETIC: (OF_SYNTHETIC, kept_apart),
        REAL: (OF_REAL, kept_apart),
      },
      differences=[(SYNTHETIC, REAL)],
    )
  if SHIPS not in runs:
    return Plan(parts=_not_empty(parts), seed=seed)
  train, new = splits['train'].of(HALF_A), everyone(splits).of(HALF_B)
  by_votes = _described(new.votes)
  train_votes = drawn(_described(train.votes), sizes.train)
  people = drawn(by_votes, sizes.people)
  rated = {*map(_name, drawn(by_votes, sizes.rater))}
  rater = [case if _name(case) in rated else None for case in people]
  parts |= {
    NEW_BY_VOTES: _part(people, runs, train_votes, 'conversation', seed, rater),
    NEW_BY_COMMENTS: _part(
      drawn(new.comments, sizes.writers),
      runs,
      drawn(train.comments, sizes.train),
      'conversation',
      seed,
    ),
    NEW_PEOPLE: _part(kept_apart, runs, train_votes, 'participant', seed),
  }
  found, _ = groups.draw_groups(
    by_votes,
    per_conversation=sizes.groups,
    people=map(_name, people),
    seed=seed,
  )
  in_groups = groups.cases_of(found)
  return Plan(
    parts=_not_empty(parts),
    groups=found,
    in_groups=in_groups,
    asked_of_groups=_as_asked(in_groups, runs),
    moved=drawn(by_votes, sizes.robust, sizes.robust_statements),
    seed=seed,
  )


def differences(names: Iterable[str]) -> list[tuple[str, str]]:
  """What the reward model is compared with, among these systems."""
  names = [*names]
  found = systems.differences(names, [MODEL])
  return [*found, (MODEL, STATEMENTS)] if STATEMENTS in names else found


def everyone(splits: Mapping[str, People]) -> People:
  """People of all splits: a model of the other half has seen none of them."""

  def joined(form: str) -> tuple[JudgedDeliberation, ...]:
    records: dict[str, JudgedDeliberation] = {}
    for part in splits.values():
      for record in getattr(part, form):
        before = records.get(record.id)
        members = (*(before.members if before else ()), *record.members)
        records[record.id] = dataclasses.replace(record, members=members)
    return tuple(records.values())

  return People(votes=joined('votes'), comments=joined('comments'))


def _part(people, runs, train, held_out, seed, rater=()) -> Part:
  asked = _as_asked(people, runs)
  asked[systems.of_another(MODEL)] = SHIPS, cases.swapped(people, seed=seed)
  of_all = differences([*asked, systems.LOGISTIC, systems.POPULARITY])
  if rater:
    asked[systems.PROMPTED_RATER] = RATER, rater
  return Part(
    cases=people,
    asked=asked,
    differences=of_all,
    train=train,
    held_out=held_out,
  )


def _as_asked(
  people: Cases, runs: Collection[str]
) -> dict[str, tuple[str, Sequence[Case | None]]]:
  """What ships, with the opinion and without, and a model of statements."""
  nobodys = cases.without_opinion(people)
  asked: dict[str, tuple[str, Sequence[Case | None]]] = {
    MODEL: (SHIPS, people),
    systems.of_nobody(MODEL): (SHIPS, nobodys),
  }
  if OF_STATEMENTS in runs:
    asked[STATEMENTS] = OF_STATEMENTS, nobodys
  return asked


def _described(
  records: Iterable[JudgedDeliberation],
) -> tuple[JudgedDeliberation, ...]:
  """People who leave as many votes to predict as describe a person."""
  return tuple(
    dataclasses.replace(record, members=tuple(vote_rows.judging(record)))
    for record in records
  )


def _drawn(records, max_people, max_statements, seed) -> Cases:
  """Cases of conversations of which there are two people or more."""
  found, _ = cases.from_records(
    records, max_statements=max_statements, max_people=max_people, seed=seed
  )
  people = cases.by_conversation(found)
  return tuple(case for case in found if len(people[case.conversation]) > 1)


def _name(case: Case) -> tuple[str, str]:
  return case.conversation, case.participant


def _not_empty(parts: Mapping[str, Part]) -> dict[str, Part]:
  return {title: part for title, part in parts.items() if part.cases}
