"""The Habermas Machine's human data: groups that deliberated for a study.

From the published parquet files to records: one record a round, which is one
question in one group, with the statements of both iterations.
"""

import dataclasses
import difflib
import hashlib
import pathlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from consensus_jax.data import leaked_prefixes
from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.habermas_preprocess import (
  CohortCount,
  Row,
  preprocess,
)
from consensus_jax.data.habermas_rows import (
  Positions,
  read_comparisons,
  read_positions,
)
from consensus_jax.data.habermas_schema import (
  COHORTS,
  COMPARISONS,
  FILES,
  MOCK,
  POSITIONS,
  SPLITS,
  open_file,
  reading,
)
from consensus_jax.data.plain_text import one_line
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.strict_json import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class HabermasSettings:
  """Which of the data to read.

  Attributes:
    versions: of `metadata.version`, the cohorts to read.
    registered: drop groups with people who came twice, and groups that are
      too small, from the cohorts that the paper evaluates on, as it does.

  Raises:
    ValueError: for a version that is not known.
  """

  versions: tuple[str, ...] = tuple(COHORTS)
  registered: bool = True

  def __post_init__(self):
    for version in self.versions:
      if version not in COHORTS:
        near = difflib.get_close_matches(version, COHORTS, n=1)
        hint = f'did you mean {near[0]}?' if near else f'known: {[*COHORTS]}'
        raise ValueError(f'{version!r} is no version of the data; {hint}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class HabermasReport:
  """What became of the files.

  Attributes:
    files: SHA-256 of each file that was read, by its name.
    comparisons: rows of the file of comparisons.
    cohorts: what preprocessing left of each cohort.
    statements: in the records.
    members: in the records; a person counts once a round.
    judgements: of a statement by a person, in the records.
    stripped: statements that began with a leaked "Final consensus statement:".
    excluded: comparisons, judgements, statements that were left out, and why.
    warnings: what is odd about the files.
  """

  files: tuple[tuple[str, str], ...]
  comparisons: int
  cohorts: tuple[CohortCount, ...]
  statements: int
  members: int
  judgements: int
  stripped: int
  excluded: tuple[Exclusion, ...]
  warnings: tuple[str, ...]


def read(
  folder: str | pathlib.Path, settings: HabermasSettings = HabermasSettings()
) -> tuple[tuple[JudgedDeliberation, ...], HabermasReport]:
  """Reads the published files from a folder.

  Only the comparisons must be there. Positions come from the position
  statement ratings; the other two files hold nothing that a record holds, and
  only their form is checked.

  Raises:
    InputError: naming the file and where possible row and column, for a file
      that is cut off or is not as published.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise InputError('is not a folder', file=str(folder))
  tally = Tally()
  warnings: list[str] = []
  hashes = []
  for file in FILES:
    path = folder / file.name
    if file is COMPARISONS or path.exists():
      open_file(path, file)
      with reading(path):
        hashes.append((file.name, sha256(path)))
      if file.sha256 not in (None, hashes[-1][1]):
        warnings.append(f'{file.name} is not the published file')
    elif file is POSITIONS:
      warnings.append(f'there is no {file.name}, so positions are not known')
  path = folder / COMPARISONS.name
  with reading(path):
    rows, gaps = read_comparisons(path)
    if gaps:
      some = ', '.join(map(str, gaps[:5]))
      warnings.append(
        f'{len(gaps)} rankings had gaps, which are closed: rows {some}'
      )
    kept, cohorts = preprocess(
      rows,
      tally,
      settings.versions,
      registered=settings.registered,
    )
    positions = read_positions(folder / POSITIONS.name)
    of_round: dict[str, list[Row]] = defaultdict(list)
    for row in kept:
      of_round[row['round_id']].append(row)
    stripped: set[str] = set()
    records = tuple(
      _record(rows, positions, tally, stripped) for rows in of_round.values()
    )
  members = [member for record in records for member in record.members]
  report = HabermasReport(
    files=tuple(hashes),
    comparisons=len(rows),
    cohorts=cohorts,
    statements=sum(len(record.statements) for record in records),
    members=len(members),
    judgements=sum(len(member.judged) for member in members),
    stripped=len(stripped),
    excluded=tally.exclusions(),
    warnings=tuple(warnings),
  )
  return records, report


def sha256(path: pathlib.Path) -> str:
  """Of a file, in hexadecimal digits."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _record(
  rows: Sequence[Row],
  positions: Positions,
  tally: Tally,
  stripped: set[str],
) -> JudgedDeliberation:
  rows = sorted(rows, key=lambda row: row['iteration_index'])
  first = rows[0]
  round_id = first['round_id']
  for row in rows:
    for column in ('launch_id', 'question.id', 'question.text'):
      if row[column] != first[column]:
        raise InputError(
          f'round {round_id} has rows of different {column}', field=(column,)
        )
  # The same person by another sitting is the same person.
  person = {
    row['metadata.participant_id']: row['worker_id']
    or row['metadata.participant_id']
    for row in rows
  }
  statements, index_of = _statements(rows, person, tally, stripped)
  of_person: dict[str, list[Row]] = defaultdict(list)
  for row in rows:
    of_person[person[row['metadata.participant_id']]].append(row)
  topic = first['question.topic']
  return JudgedDeliberation(
    id=round_id,
    source='habermas',
    group=first['launch_id'],
    question=Question(
      text=one_line(first['question.text']),
      id=first['question.id'] or '',
      topic='' if topic is None else str(int(topic)),
      split=SPLITS[first['question.split'] or MOCK],  # type: ignore[arg-type]
      affirming=one_line(first['question.affirming_statement'] or ''),
      negating=one_line(first['question.negating_statement'] or ''),
    ),
    statements=statements,
    members=tuple(
      _member(participant, own, index_of, positions, tally)
      for participant, own in of_person.items()
    ),
  )


def _statements(
  rows: Sequence[Row],
  person: Mapping[str, str],
  tally: Tally,
  stripped: set[str],
) -> tuple[tuple[Statement, ...], dict[tuple[int, str], int]]:
  # The statements of a round, and where each is: (iteration, id) -> index.
  statements: list[Statement] = []
  index_of: dict[tuple[int, str], int] = {}
  texts: dict[tuple[int, str], str] = {}
  for row in rows:
    iteration = row['iteration_index']
    for id, raw, provenance in zip(
      row['candidates.metadata.id'],
      row['candidates.text'],
      row['candidates.metadata.provenance'],
    ):
      key = iteration, id
      if key in texts:
        if texts[key] != raw:
          message = f'candidate {id} has two texts in round {row["round_id"]}'
          raise InputError(message, field=('candidates.text',))
        continue
      texts[key] = raw
      whole = raw.strip()
      text = leaked_prefixes.strip(whole)
      if not re.search(r'\w', text):
        tally.add('statement', 'is empty', f'candidate {id}')
        continue
      if text != whole:
        stripped.add(f'{row["round_id"]} {id}')
      index_of[key] = len(statements)
      known = any(statement.id == id for statement in statements)
      statements.append(
        Statement(
          text=text,
          # A statement that both iterations show is two statements.
          id=f'{id}/{iteration}' if known else id,
          author=provenance.lower(),
          provenance=provenance,
          round=iteration,
        )
      )
  return tuple(statements), index_of


def _member(
  participant: str,
  rows: Sequence[Row],
  index_of: Mapping[tuple[int, str], int],
  positions: Positions,
  tally: Tally,
) -> Member:
  first, last = rows[0], rows[-1]
  opinion = one_line(first['own_opinion.text'] or '')
  if not opinion:
    tally.add('opinion', 'is empty', f'comparison {first["metadata.id"]}')
  judged: list[int] = []
  agreement: list[int | None] = []
  quality: list[int | None] = []
  ranking: list[int | None] = []
  seen = set()
  for row in rows:
    iteration = row['iteration_index']
    ids = row['candidates.metadata.id']
    if iteration in seen:
      name = f'comparison {row["metadata.id"]}'
      reason = 'is the second of a person in one iteration'
      tally.add('comparison', reason, name)
      tally.add('judgement', f'of one that {reason}', name, len(ids))
      continue
    seen.add(iteration)
    kept = [i for i, id in enumerate(ids) if (iteration, id) in index_of]
    # Where people are shown opinions, one of them may be their own.
    others = [i for i in kept if one_line(row['candidates.text'][i]) != opinion]
    for reason, num in (
      ('of an empty statement', len(ids) - len(kept)),
      ('of their own opinion', len(kept) - len(others)),
    ):
      name = f'{num} in comparison {row["metadata.id"]}'
      tally.add('judgement', reason, name, num)
    kept = others
    judged += [index_of[iteration, ids[i]] for i in kept]
    for values, column in (
      (agreement, 'numerical_ratings.agreement'),
      (quality, 'numerical_ratings.quality'),
    ):
      values += [None if row[column][i] < 0 else row[column][i] for i in kept]
    ranking += densified([row['rankings.numerical_ranks'][i] for i in kept])
  before, after = (
    positions.get(
      (
        first['launch_id'],
        first['metadata.participant_id'],
        first['question.id'],
        time,
      )
    )
    for time in (0, 1)
  )
  return Member(
    participant=participant,
    opinion=opinion,
    judged=tuple(judged),
    agreement=tuple(agreement),
    quality=tuple(quality),
    ranking=tuple(ranking),
    critique=one_line(last['critique.text'] or ''),
    position_before=before,
    position_after=after,
  )


def densified(ranks: Sequence[int]) -> list[int]:
  """Ranks without gaps, ties kept: [3, 0, 3] is [1, 0, 1]."""
  place = {rank: index for index, rank in enumerate(sorted({*ranks}))}
  return [place[rank] for rank in ranks]
