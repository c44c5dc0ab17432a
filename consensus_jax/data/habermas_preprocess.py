"""Preprocessing of the Habermas Machine's comparisons, step by step.

As the analysis of Tessler et al. (Science 2024) does it
(google-deepmind/habermas_machine, analysis/), in this order; `preprocess` puts
the steps together. A row is a dict by column. *Nested*, a row is one person's
comparison of all candidates of an iteration, which are lists of equal length;
*unnested*, it is that person and one candidate.
"""

import dataclasses
import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from consensus_jax.data.exclusions import Tally
from consensus_jax.data.habermas_schema import (
  AGREEMENT,
  COHORTS,
  MOCK,
  MOCK_RANK,
  QUALITY,
  Cohort,
)
from consensus_jax.strict_json import InputError

Row = dict[str, Any]

# Columns of a nested row that hold one entry for each candidate.
PER_CANDIDATE = (
  'candidates.text',
  'candidates.metadata.id',
  'candidates.metadata.provenance',
  'rankings.candidate_ids',
  'rankings.numerical_ranks',
  'ratings.agreement',
  'ratings.quality',
)
NUMERICAL = {
  'numerical_ratings.agreement': ('ratings.agreement', AGREEMENT),
  'numerical_ratings.quality': ('ratings.quality', QUALITY),
}


@dataclasses.dataclass(frozen=True)
class CohortCount:
  """How much of one cohort is left.

  Attributes:
    version: its `metadata.version`.
    read: comparisons in the file.
    kept: comparisons after preprocessing.
    groups: launches after preprocessing.
    rounds: rounds after preprocessing.
  """

  version: str
  read: int
  kept: int
  groups: int
  rounds: int


def preprocess(
  rows: Sequence[Row],
  tally: Tally,
  versions: Collection[str] = tuple(COHORTS),
  *,
  registered: bool = True,
) -> tuple[list[Row], tuple[CohortCount, ...]]:
  """All steps, cohort by cohort.

  Args:
    rows: nested, with ranks in the order of their candidates.
    tally: takes what is left out, as comparisons and as judgements.
    versions: the cohorts to keep; others are not counted.
    registered: whether to drop groups of people who came twice and groups that
      are too small, as was registered before the study. For training more
      rows are better; to compare with the paper they must be the same.

  Returns:
    Nested rows with numerical ratings, and counts by cohort.

  Raises:
    InputError: naming the row, for lists of different length, and for a
      version or a rating that is not known.
  """
  of_version: dict[str, list[Row]] = defaultdict(list)
  for index, row in enumerate(rows):
    version = row['metadata.version']
    if version not in COHORTS:
      known = difflib.get_close_matches(str(version), COHORTS, n=1)
      hint = f'did you mean {known[0]}?' if known else f'known: {[*COHORTS]}'
      raise InputError(
        f'{version!r} is no known version; {hint}',
        field=('rows', index, 'metadata.version'),
      )
    if version in versions:
      of_version[version].append(row)
  check_lengths(rows, PER_CANDIDATE)

  kept: list[Row] = []
  counts = []
  for version, read in of_version.items():
    left = _cohort(read, COHORTS[version], tally, registered)
    kept += left
    counts.append(
      CohortCount(
        version=version,
        read=len(read),
        kept=len(left),
        groups=len({row['launch_id'] for row in left}),
        rounds=len({row['round_id'] for row in left}),
      )
    )
  return kept, tuple(counts)


def _cohort(
  read: Sequence[Row], cohort: Cohort, tally: Tally, registered: bool
) -> list[Row]:
  ids = [row['metadata.id'] for row in read]
  for comparison, count in Counter(ids).items():
    if count > 1:
      raise InputError(f'comparison {comparison} stands there {count} times')

  def step(
    before: list[Row], function: Callable[[list[Row]], list[Row]], reason: str
  ) -> list[Row]:
    # Counts judgements that are dropped, of candidates by people.
    after = function(before)
    stayed = {id(row) for row in after}
    for row in before:
      if id(row) not in stayed:
        tally.add('judgement', reason, _judgement_name(row))
    return after

  rows = unnest(read)
  rows = step(rows, keep_human_opinions, 'of an opinion that no person wrote')
  rows = step(
    rows,
    lambda rows: keep_candidates_by(rows, cohort.provenances),
    'of a candidate that the cohort did not ask about',
  )
  rows = step(rows, drop_mock_ratings, 'has no rating of agreement')
  rows = step(rows, drop_mock_ranks, 'has no rank')
  rows = add_numerical_ratings(rows)
  if registered and cohort.drop_repeats:
    rows = step(
      rows, drop_repeat_participants, 'of a group where somebody came twice'
    )
  rows = nest(rows)
  gone = Counter(ids) - Counter(row['metadata.id'] for row in rows)
  for comparison in gone:
    example = f'comparison {comparison}'
    tally.add('comparison', 'has no judgement left', example)

  def step_nested(after: list[Row], reason: str) -> list[Row]:
    stayed = {row['metadata.id'] for row in after}
    for row in rows:
      if row['metadata.id'] not in stayed:
        example = f'comparison {row["metadata.id"]}'
        tally.add('comparison', reason, example)
        num = len(row['candidates.metadata.id'])
        tally.add('judgement', reason, f'{num} of {example}', num)
    return after

  if cohort.num_candidates is not None:
    reason = f'has not exactly {cohort.num_candidates} candidates'
    rows = step_nested(keep_lengths(rows, cohort.num_candidates), reason)
  if registered and cohort.min_citizens is not None:
    rows = step_nested(
      keep_large_groups(rows, cohort),
      'of a group that is too small, or one too many',
    )
  return rows


def _judgement_name(row: Row) -> str:
  return (
    f'candidate {row["candidates.metadata.id"]} in comparison '
    f'{row["metadata.id"]}'
  )


# ---- 1 and 2, 9. Lists.


def check_lengths(rows: Sequence[Row], columns: Collection[str]) -> None:
  """Refuses rows whose lists differ in length.

  Raises:
    InputError: a ValueError, naming the row and both columns.
  """
  for index, row in enumerate(rows):
    lengths = {column: len(row[column]) for column in columns}
    if len({*lengths.values()}) > 1:
      first, *others = lengths
      other = next(each for each in others if lengths[each] != lengths[first])
      raise InputError(
        f'holds {lengths[other]} entries, {first} holds {lengths[first]}',
        field=('rows', index, other),
      )


def unnest(
  rows: Sequence[Row], columns: Sequence[str] = PER_CANDIDATE
) -> list[Row]:
  """One row for each comparison and candidate; lists become their entries."""
  return [
    row | {column: row[column][index] for column in columns}
    for row in rows
    for index in range(len(row[columns[0]]))
  ]


def nest(
  rows: Sequence[Row], columns: Sequence[str] = PER_CANDIDATE
) -> list[Row]:
  """Inverse of `unnest`: tuples, by `metadata.id`, in order of appearance."""
  columns = [
    *columns,
    *(each for each in NUMERICAL if rows and each in rows[0]),
  ]
  of_comparison: dict[str, list[Row]] = defaultdict(list)
  for row in rows:
    of_comparison[row['metadata.id']].append(row)
  return [
    same[0] | {column: tuple(row[column] for row in same) for column in columns}
    for same in of_comparison.values()
  ]


# ---- 3 to 7. Who wrote it, and who did not answer.


def keep_human_opinions(rows: Sequence[Row]) -> list[Row]:
  """Rows of people, and not of bots that filled a place in a group."""
  return [
    row
    for row in rows
    if row['own_opinion.metadata.provenance'] == 'HUMAN_CITIZEN'
  ]


def keep_candidates_by(
  rows: Sequence[Row], provenances: Collection[str]
) -> list[Row]:
  """Unnested rows whose candidate has one of these provenances.

  Raises:
    InputError: if rows are still nested.
  """
  column = 'candidates.metadata.provenance'
  for row in rows:
    if not isinstance(row[column], str):
      raise InputError('must be unnested first', field=(column,))
  return [row for row in rows if row[column] in provenances]


def drop_mock_ratings(rows: Sequence[Row]) -> list[Row]:
  """Rows with a rating of agreement; nested, with one of each candidate."""
  return [row for row in rows if not _holds(row['ratings.agreement'], MOCK)]


def drop_mock_ranks(rows: Sequence[Row]) -> list[Row]:
  """Rows with a rank; nested, with one of each candidate."""
  return [
    row
    for row in rows
    if not _holds(row['rankings.numerical_ranks'], MOCK_RANK)
  ]


def _holds(value: object, mock: object) -> bool:
  return mock in value if isinstance(value, list | tuple) else value == mock


def add_numerical_ratings(rows: Sequence[Row]) -> list[Row]:
  """Adds `numerical_ratings.agreement` and `.quality`, 1 to 7, -1 = mock."""
  return [
    row
    | {
      column: tuple(map(names.__getitem__, row[source]))
      if isinstance(row[source], list | tuple)
      else names[row[source]]
      for column, (source, names) in NUMERICAL.items()
    }
    for row in rows
  ]


# ---- 8. People who came twice.


def drop_repeat_participants(rows: Sequence[Row]) -> list[Row]:
  """Drops groups with a person who had been in another group.

  Of somebody's sittings the one with most rows stays, of equal ones the
  earliest; every group with another of their sittings is dropped whole. A row
  without `worker_id` is nobody's second sitting.
  """
  num_rows = Counter(row['metadata.participant_id'] for row in rows)
  starts: dict[str, float] = {}
  sittings: dict[str, set[str]] = defaultdict(set)
  for row in rows:
    sitting, time = row['metadata.participant_id'], row['monotonic_timestamp']
    starts[sitting] = min(starts.get(sitting, time), time)
    if row['worker_id'] is not None:
      sittings[row['worker_id']].add(sitting)
  discarded = set()
  for own in sittings.values():
    best = min(own, key=lambda each: (-num_rows[each], starts[each], each))
    discarded |= own - {best}
  dropped = {
    row['launch_id']
    for row in rows
    if row['metadata.participant_id'] in discarded
  }
  return [row for row in rows if row['launch_id'] not in dropped]


# ---- 10 and 11. Sizes.


def keep_lengths(rows: Sequence[Row], num_candidates: int) -> list[Row]:
  """Nested rows with exactly so many candidates."""
  return [
    row for row in rows if len(row['candidates.metadata.id']) == num_candidates
  ]


def keep_large_groups(rows: Sequence[Row], cohort: Cohort) -> list[Row]:
  """Nested rows of groups that are as large as was registered.

  An iteration counts if it has `min_citizens` rows, a round if it has
  `min_iterations` such iterations, a group if it has `min_rounds` such rounds.
  Of these groups the first `num_groups` stay, with all their rows: those with
  most such rounds first, equal ones by `launch_id`.
  """
  citizens = Counter(
    (row['launch_id'], row['round_id'], row['iteration_index']) for row in rows
  )
  iterations = Counter(
    key[:2]
    for key, count in citizens.items()
    if count >= (cohort.min_citizens or 0)
  )
  rounds = Counter(
    launch
    for (launch, _), count in iterations.items()
    if count >= cohort.min_iterations
  )
  groups = sorted(
    (group for group, count in rounds.items() if count >= cohort.min_rounds),
    key=lambda group: (-rounds[group], group),
  )
  kept = {*groups[: cohort.num_groups]}
  return [row for row in rows if row['launch_id'] in kept]
