"""Rows of the policy from statements: packed close, without seqio.

An example is a prompt and a statement, by the code that makes all examples of
policies (`data.sft_examples`). What a row costs is its length, so the longest
examples are placed first, each where it still fits ("first fit decreasing",
Johnson 1973). In the order of the records, as seqio packs them, the seed
deliberations would need a quarter more rows.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from consensus_jax.data import batches, sft_examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.data.sft_examples import SftExample
from consensus_jax.tokenizer import Tokenizer


def write(
  path: str | os.PathLike[str],
  records: Iterable[JudgedDeliberation],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
) -> None:
  """Writes the examples of records; see `batches.write_examples`.

  Args:
    path: a folder that does not exist.
    records: of statements to learn.
    tokenizer: of the policy.
    settings: of the examples. Their sources and tokenizer are only recorded.

  Raises:
    InputError: if no example is left, or it cannot be written.
  """
  excluded = Tally()
  examples = list(sft_examples.encode(records, tokenizer, settings, excluded))
  rows = pack(examples, settings.row_length)
  about = {
    'settings': dataclasses.asdict(settings),
    'examples': len(examples),
    'excluded': [dataclasses.asdict(each) for each in excluded.exclusions()],
  }
  encoded = (_encode(row, settings.row_length) for row in rows)
  batches.write_examples(path, encoded, about, kind='sft')


def pack(
  examples: Sequence[SftExample], row_length: int
) -> list[list[SftExample]]:
  """Examples of few rows, none longer than a row; see `length`."""
  rows: list[list[SftExample]] = []
  room: list[int] = []
  for example in sorted(examples, key=length, reverse=True):
    needed = length(example)
    place = next((i for i, left in enumerate(room) if left >= needed), None)
    if place is None:
      place = len(rows)
      rows.append([])
      room.append(row_length)
    rows[place].append(example)
    room[place] -= needed
  return rows


def length(example: SftExample) -> int:
  """Tokens of an example in a row: its last one is only a target."""
  return len(example.prompt) + len(example.statement) - 1


def _encode(
  examples: Iterable[SftExample], row_length: int
) -> Mapping[str, np.ndarray]:
  """A row, as `data.converters.SftConverter` makes them."""
  row = {
    name: np.zeros((1, row_length), np.int32)
    for name in ('tokens', 'targets', 'segment_ids', 'positions')
  }
  row['loss_weights'] = np.zeros((1, row_length), np.float32)
  start = 0
  for segment, example in enumerate(examples, 1):
    ids = (*example.prompt, *example.statement)
    end = start + length(example)
    row['tokens'][0, start:end] = ids[:-1]
    row['targets'][0, start:end] = ids[1:]
    row['segment_ids'][0, start:end] = segment
    row['positions'][0, start:end] = range(end - start)
    # The prompt's last token is the first that a statement follows.
    row['loss_weights'][0, start + len(example.prompt) - 1 : end] = 1
    start = end
  return row
