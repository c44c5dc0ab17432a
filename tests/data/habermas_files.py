"""Changes files of the Habermas Machine's form, for tests."""

import pathlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from consensus_jax.data.habermas_schema import ARROW_TYPES, File

Rows = list[dict[str, Any]]


def change_rows(
  folder: pathlib.Path, file: File, change: Callable[[Rows], object]
) -> None:
  """Rewrites a file after `change` was made to its rows in place."""
  path = folder / file.name
  table = parquet.read_table(path)
  rows = table.to_pylist()
  change(rows)
  parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)


def change_table(
  folder: pathlib.Path, file: File, change: Callable[[pa.Table], pa.Table]
) -> None:
  """Rewrites a file as another table."""
  path = folder / file.name
  parquet.write_table(change(parquet.read_table(path)), path)


def as_published(file: File) -> pa.Schema:
  """The columns whose names are known, with the types of their kinds."""
  return pa.schema(
    [(name, ARROW_TYPES[each.kind]) for name, each in file.columns.items()]
  )
