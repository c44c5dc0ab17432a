"""Systems that predict votes, side by side on the same people.

systems = {'ours': predict.rewards(model, cases), ...}
found = benchmark.compare(
  cases, systems, log_odds=['ours'], differences=[('ours', 'length')]
)
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from consensus_jax.data.progress import shown
from consensus_jax.evaluation import intervals, measures
from consensus_jax.evaluation.cases import Case
from consensus_jax.evaluation.intervals import Interval
from consensus_jax.evaluation.measures import Judgements
from consensus_jax.evaluation.predict import Rewards

Intervals = Mapping[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
  """What numbers are taken over.

  Attributes:
    judgements: votes for or against.
    people: who gave them.
    cases_with_pairs: a person and question with votes for and against.
    conversations: whose people they are.
    agree: share of judgements that are for the statement.
  """

  judgements: int
  people: int
  cases_with_pairs: int
  conversations: int
  agree: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """What one system reaches.

  Attributes:
    system: its name.
    counts: of the judgements about which the system says something.
    measures: intervals by names of `measures`.
  """

  system: str
  counts: Counts
  measures: Intervals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """By how much one system exceeds another, on what both say something about.

  Attributes:
    first: what is subtracted from.
    second: what is subtracted.
    counts: of these judgements.
    measures: intervals of the differences, on the same draws of people.
  """

  first: str
  second: str
  counts: Counts
  measures: Intervals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """A table of systems, and how it came about.

  Attributes:
    counts: of all judgements.
    rows: one a system, in the order given.
    differences: as asked for.
    num_draws: of people, for the intervals.
    seed: of the draws.
  """

  counts: Counts
  rows: tuple[Row, ...]
  differences: tuple[Difference, ...]
  num_draws: int
  seed: int


def compare(
  cases: Sequence[Case],
  systems: Mapping[str, Rewards],
  *,
  log_odds: Collection[str] = (),
  differences: Sequence[tuple[str, str]] = (),
  num_draws: int = 2000,
  seed: int = 0,
) -> Comparison:
  """Measures systems on cases, with 95% intervals over people.

  Args:
    cases: people and their votes, a person once in a conversation.
    systems: by name, rewards of every case; NaN where a system says nothing.
    log_odds: systems whose rewards are log-odds of agreeing.
    differences: pairs of names: the first minus the second.
    num_draws: of people, for the intervals.
    seed: of the draws.

  Raises:
    ValueError: if there are no cases, a person stands in them twice, rewards do
      not fit the cases, or a name is of no system.
  """
  named = {name for pair in differences for name in pair} | {*log_odds}
  if unknown := sorted(named - {*systems}):
    raise ValueError(f'{unknown} are no systems; there are {[*systems]}')
  people = [(case.conversation, case.participant) for case in cases]
  if not people or len({*people}) < len(people):
    raise ValueError(
      'cases must be one or more, a person once in a conversation'
    )
  num_people = len({case.participant for case in cases})
  weights = intervals.draw(num_people, num_draws, seed=seed)
  # The first row is everybody once: the estimate.
  weights = np.concatenate([np.ones_like(weights[:1]), weights])
  judged = {
    name: measures.judgements(cases, rewards)
    for name, rewards in systems.items()
  }
  said = {name: ~np.isnan(of.rewards) for name, of in judged.items()}

  @functools.cache
  def drawn(name: str, measure: str, where: bytes) -> np.ndarray:
    chosen = judged[name].where(np.frombuffer(where, bool))
    return _MEASURES[measure](chosen, weights)

  def names_of(*compared: str) -> list[str]:
    rated = all(name in log_odds for name in compared)
    return [*measures.MEASURES, *(measures.OF_LOG_ODDS if rated else ())]

  rows, found = [], []
  with shown('intervals', 'systems and differences') as report:
    for name in systems:
      where = said[name]
      values = {
        measure: _interval(drawn(name, measure, where.tobytes()))
        for measure in names_of(name)
      }
      counts = _counts(judged[name].where(where))
      rows.append(Row(system=name, counts=counts, measures=values))
      report(len(rows), len(systems) + len(differences))
    for first, second in differences:
      where = said[first] & said[second]
      both = where.tobytes()
      values = {
        measure: _interval(
          drawn(first, measure, both) - drawn(second, measure, both)
        )
        for measure in names_of(first, second)
      }
      counts = _counts(judged[first].where(where))
      found.append(
        Difference(first=first, second=second, counts=counts, measures=values)
      )
      report(len(rows) + len(found), len(systems) + len(differences))
  everything = measures.judgements(
    cases, [np.zeros(len(case.statements)) for case in cases]
  )
  return Comparison(
    counts=_counts(everything),
    rows=tuple(rows),
    differences=tuple(found),
    num_draws=num_draws,
    seed=seed,
  )


_MEASURES = {**measures.MEASURES, **measures.OF_LOG_ODDS}


def _interval(values: np.ndarray) -> Interval:
  return intervals.percentile(float(values[0]), values[1:])


def _counts(of: Judgements) -> Counts:
  return Counts(
    judgements=len(of.agree),
    people=len(np.unique(of.people)),
    cases_with_pairs=int((~np.isnan(measures.pair_accuracies(of))).sum()),
    conversations=len(np.unique(of.conversations)),
    agree=float(of.agree.mean()) if len(of.agree) else float('nan'),
  )
