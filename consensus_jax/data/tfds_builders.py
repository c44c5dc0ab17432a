"""Judged deliberations for TensorFlow Datasets.

    from consensus_jax.data import tfds_builders  # makes tfds know the names
    config = tfds.download.DownloadConfig(manual_dir=FOLDER)
    tfds.load(
      'polis_conversations',
      data_dir=CACHE,
      download_and_prepare_kwargs={'download_config': config},
    )

FOLDER holds what is read: conversations of Polis, the files of the Habermas
Machine, or records (.jsonl, .parquet). Nothing is downloaded. Features mirror
`records.JudgedDeliberation`; `to_record` is the way back.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np
import tensorflow_datasets as tfds

from consensus_jax.data import record_files, sources
from consensus_jax.data.records import (
  JUDGEMENTS,
  JudgedDeliberation,
  Member,
  Question,
  Split,
  Statement,
)
from consensus_jax.strict_json import InputError

# Stands for an answer that was not given; tensors hold no None.
ABSENT = -128
_NO_SPLIT = ''
_POSITIONS = ('position_before', 'position_after')

_Example = dict[str, Any]


def features() -> tfds.features.FeaturesDict:
  """The features of a record; integers that may be missing are `ABSENT`."""
  text, number = tfds.features.Text(), np.int32
  numbers = tfds.features.Sequence(number)
  return tfds.features.FeaturesDict(
    {
      **dict.fromkeys(('id', 'source', 'group'), text),
      'question': dict.fromkeys(_names(Question), text),
      'statements': tfds.features.Sequence(
        dict.fromkeys(_names(Statement), text) | {'round': number}
      ),
      'members': tfds.features.Sequence(
        dict.fromkeys(_names(Member), text)
        | dict.fromkeys(('judged', *JUDGEMENTS), numbers)
        | dict.fromkeys(_POSITIONS, number)
      ),
    }
  )


def to_example(record: JudgedDeliberation) -> _Example:
  """A record as the features of one example."""
  example = dataclasses.asdict(record)
  example['question']['split'] = record.question.split or _NO_SPLIT
  for member in example['members']:
    for name in JUDGEMENTS:
      member[name] = [_or_absent(value) for value in member[name]]
    for name in _POSITIONS:
      member[name] = _or_absent(member[name])
  # Lists: tfds takes tuples for structure.
  for name in ('statements', 'members'):
    example[name] = list(example[name])
  for member in example['members']:
    member['judged'] = list(member['judged'])
  return example


def to_record(example: Mapping[str, Any]) -> JudgedDeliberation:
  """The record of an example as `tfds.as_numpy` gives it."""
  question = {k: v.decode() for k, v in example['question'].items()}
  question['split'] = question['split'] or None
  return JudgedDeliberation(
    **{name: example[name].decode() for name in ('id', 'source', 'group')},
    question=Question(**question),
    statements=tuple(
      Statement(**_plain(each)) for each in _rows(example['statements'])
    ),
    members=tuple(Member(**_plain(each)) for each in _rows(example['members'])),
  )


def _names(kind: type) -> list[str]:
  return [field.name for field in dataclasses.fields(kind)]


def _or_absent(value: int | None) -> int:
  return ABSENT if value is None else value


def _rows(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
  """The items of a sequence, which tfds gives as one array a field."""
  lists = {
    # Lists within lists come as a ragged tensor.
    name: column.to_list() if hasattr(column, 'to_list') else list(column)
    for name, column in columns.items()
  }
  for values in zip(*lists.values(), strict=True):
    yield dict(zip(lists, values))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
  def one(value: Any) -> Any:
    if isinstance(value, bytes):
      return value.decode()
    if isinstance(value, list):
      return tuple(map(one, value))
    return None if int(value) == ABSENT else int(value)

  return {name: one(value) for name, value in fields.items()}


class _Builder(
  tfds.core.GeneratorBasedBuilder,
  skip_registration=True,  # type: ignore[call-arg]
):
  """Examples of the records that `_sources` find in the manual folder."""

  VERSION = tfds.core.Version('1.0.0')
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Name the folder of the data as manual_dir.'

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=(self.__doc__ or '').strip(), features=features()
    )

  def _sources(self, folder: pathlib.Path) -> list[str]:
    raise NotImplementedError

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    by_split: dict[str, list[JudgedDeliberation]] = {}
    for source in self._sources(pathlib.Path(dl_manager.manual_dir)):
      for record in sources.load(source):
        split = record.question.split or 'train'
        by_split.setdefault(split, []).append(record)
    return {
      split: self._generate_examples(records)
      for split, records in by_split.items()
    }

  def _generate_examples(self, split: Any) -> Any:
    for index, record in enumerate(split):
      yield f'{index:08d}', to_example(record)


class PolisConversations(_Builder):
  """Polis conversations, one a folder: comments, votes and who cast them."""

  def _sources(self, folder: pathlib.Path) -> list[str]:
    return [f'polis:{each}' for each in sources.conversations(str(folder))]


class HabermasMachine(_Builder):
  """The Habermas Machine's human data: ratings and rankings of groups."""

  def _sources(self, folder: pathlib.Path) -> list[str]:
    return [f'habermas:{folder}']


class JudgedDeliberations(_Builder):
  """Files of judged deliberations, such as a study of your own."""

  def _sources(self, folder: pathlib.Path) -> list[str]:
    return [str(file) for file in record_files_of(folder)]


class JudgedDeliberationsBeam(_Builder):
  """The same, written by Apache Beam, for files that are many or large.

  A file is of the split that its name says, as `consensus data split` writes
  them; any other of 'train'. Needs apache-beam, which is installed by itself.
  """

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    by_split: dict[str, list[str]] = {}
    for file in record_files_of(pathlib.Path(dl_manager.manual_dir)):
      split = file.stem if file.stem in get_args(Split) else 'train'
      by_split.setdefault(split, []).append(str(file))
    return {
      split: self._generate_examples(files) for split, files in by_split.items()
    }

  def _generate_examples(self, split: Any) -> Any:
    try:
      import apache_beam as beam  # type: ignore[import-not-found]
    except ImportError:
      raise InputError(
        'needs apache-beam: pip install apache-beam, or use the builder '
        'judged_deliberations'
      ) from None
    return beam.Create(split) | beam.FlatMap(_keyed_examples)


def _keyed_examples(file: str) -> Iterator[tuple[str, _Example]]:
  for index, record in enumerate(record_files.read(file)):
    yield f'{file}:{index:08d}', to_example(record)


def record_files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of records in a folder.

  Raises:
    InputError: if there are none.
  """
  found = [
    file
    for file in sorted(folder.iterdir())
    if file.suffix in ('.jsonl', '.parquet')
  ]
  if not found:
    raise InputError('holds no .jsonl or .parquet', file=str(folder))
  return found
