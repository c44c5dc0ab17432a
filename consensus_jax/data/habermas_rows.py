"""The Habermas Machine's files, checked, as rows of plain values."""

import difflib
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from pyarrow import parquet

from consensus_jax.data.habermas_preprocess import Row
from consensus_jax.data.habermas_schema import (
  AGREEMENT,
  COMPARISONS,
  MOCK,
  MOCK_RANK,
  POSITIONS,
  PROVENANCES,
  QUALITY,
  SPLITS,
  File,
  open_file,
  reading,
)
from consensus_jax.strict_json import InputError

# The group's launch, a sitting, a question, 0 before or 1 after: 1 to 7.
Positions = Mapping[tuple[str, str, str, int], int]


def read_comparisons(
  path: pathlib.Path,
) -> tuple[list[Row], list[int]]:
  """The comparisons, nested, with the columns that are needed.

  Ranks are in the order of the candidates, missing lists are of mocks.

  Returns:
    The rows, and the indices of those whose ranks had gaps, which are closed.

  Raises:
    InputError: with file, row and column.
  """
  gaps = []
  with reading(path):
    opened = open_file(path, COMPARISONS)
    for group in ('other_opinions.', 'candidates.'):
      _check_list_lengths(opened, group)
    rows = _needed_columns(opened, COMPARISONS)
    for index, row in enumerate(rows):
      try:
        if _clean(row):
          gaps.append(index)
      except InputError as error:
        raise error.at(within=('rows', index)) from None
  return rows, gaps


def _check_list_lengths(opened: parquet.ParquetFile, group: str) -> None:
  # Column by column, as the texts of all samples fill the memory together.
  schema = opened.schema_arrow
  columns = [
    each
    for each in schema.names
    if each.startswith(group) and str(schema.field(each).type).startswith('l')
  ]
  first: tuple[str, list[int | None]] | None = None
  for column in columns:
    lengths: list[int | None] = []
    for batch in opened.iter_batches(batch_size=1024, columns=[column]):
      lengths += batch.column(0).value_lengths().to_pylist()
    if first is None:
      first = column, lengths
      continue
    for index, (expected, length) in enumerate(zip(first[1], lengths)):
      # Null is a list that the row does not have, as TRAINING_DATA rows do.
      if None not in (expected, length) and expected != length:
        raise InputError(
          f'holds {length} entries, {first[0]} holds {expected}',
          field=('rows', index, column),
        )


def _needed_columns(opened: parquet.ParquetFile, file: File) -> list[Row]:
  names = [name for name, column in file.columns.items() if column.needed]
  rows: list[Row] = []
  for batch in opened.iter_batches(batch_size=4096, columns=names):
    rows += batch.to_pylist()
  return rows


def _clean(row: Row) -> bool:
  # Puts a comparison in the form that preprocessing expects, in place; tells
  # whether its ranks had gaps.
  for column in (
    *('metadata.id', 'metadata.participant_id', 'launch_id', 'round_id'),
    *('question.text', 'own_opinion.metadata.provenance'),
  ):
    if not row[column]:
      raise InputError('is empty', field=(column,))
  row['iteration_index'] = _integer(row['iteration_index'], 'iteration_index')
  if row['iteration_index'] < 0:
    raise InputError('must be 0 or more', field=('iteration_index',))
  row['worker_id'] = row['worker_id'] or None
  row['monotonic_timestamp'] = row['monotonic_timestamp'] or 0.0
  ids = row['candidates.metadata.id'] or []
  num = len(ids)
  if len({*ids}) < num or None in ids:
    raise InputError(
      'holds an id twice, or none', field=('candidates.metadata.id',)
    )
  for column, mock in (
    ('candidates.metadata.id', ''),
    ('candidates.text', ''),
    ('candidates.metadata.provenance', MOCK),
    ('rankings.candidate_ids', None),
    ('rankings.numerical_ranks', MOCK_RANK),
    ('ratings.agreement', MOCK),
    ('ratings.quality', MOCK),
  ):
    values = row[column]
    row[column] = (
      [mock] * num
      if values is None
      else [mock if value is None else value for value in values]
    )
  for column, known in (
    ('ratings.agreement', AGREEMENT),
    ('ratings.quality', QUALITY),
    ('candidates.metadata.provenance', PROVENANCES),
  ):
    for index, name in enumerate(row[column]):
      _check_name(name, known, (column, index))
  _check_name(row['question.split'] or MOCK, SPLITS, ('question.split',))
  own = 'own_opinion.metadata.provenance'
  _check_name(row[own], PROVENANCES, (own,))
  aligned = _aligned(row)
  given = sorted({*aligned} - {MOCK_RANK})
  place = {rank: index for index, rank in enumerate(given)}
  row['rankings.numerical_ranks'] = [place.get(r, MOCK_RANK) for r in aligned]
  row['rankings.candidate_ids'] = [*row['candidates.metadata.id']]
  return given != [*range(len(given))]


def _aligned(row: Row) -> list[int]:
  # The ranks in the order of the candidates, whatever that of the ranking.
  column = 'rankings.numerical_ranks'
  ids, ranked = row['candidates.metadata.id'], row['rankings.candidate_ids']
  ranks = [_integer(rank, column) for rank in row[column]]
  if all(rank == MOCK_RANK for rank in ranks):
    return [MOCK_RANK] * len(ids)
  if min(ranks) < MOCK_RANK:
    raise InputError(f'must be -1 or more, got {min(ranks)}', field=(column,))
  if len(ranks) != len(ranked) or sorted(map(str, ranked)) != sorted(ids):
    raise InputError(
      f'{len(ranks)} ranks of {ranked} do not fit the candidates {ids}',
      field=('rankings.candidate_ids',),
    )
  rank_of = dict(zip(ranked, ranks))
  return [rank_of[id] for id in ids]


def _integer(value: Any, column: str) -> int:
  if isinstance(value, int | float) and value == value // 1:
    return int(value)
  raise InputError(f'must be a whole number, got {value!r}', field=(column,))


def _check_name(
  name: object, known: Iterable[str], field: tuple[str | int, ...]
) -> None:
  known = [*known]
  if name not in known:
    near = difflib.get_close_matches(str(name).upper(), known, n=1)
    hint = f'did you mean {near[0]}?' if near else f'known: {", ".join(known)}'
    raise InputError(f'{name!r} is no known name; {hint}', field=field)


def read_positions(path: pathlib.Path) -> Positions:
  """Agreement with position statements; empty if there is no such file.

  Raises:
    InputError: with file, row and column.
  """
  if not path.exists():
    return {}
  positions: dict[tuple[str, str, str, int], int] = {}
  with reading(path):
    rows = _needed_columns(open_file(path, POSITIONS), POSITIONS)
    for index, row in enumerate(rows):
      column = 'ratings.agreement'
      names = row[column] or [MOCK]
      if len(names) != 1:
        message = f'must hold one rating, holds {len(names)}'
        raise InputError(message, field=('rows', index, column))
      _check_name(names[0], AGREEMENT, ('rows', index, column))
      key = (
        row['launch_id'],
        row['metadata.participant_id'],
        row['question.id'],
        _integer(row['rating_index'], 'rating_index'),
      )
      if names[0] != MOCK:
        positions.setdefault(key, AGREEMENT[names[0]])
  return positions
