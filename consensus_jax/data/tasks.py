"""seqio tasks and mixtures of judged deliberations.

A task a source of records, `consensus_sft.polis`, and a mixture of them all
under the plain name, `consensus_sft`. Examples leave a task's source as token
ids: each statement and each opinion is encoded once, however many examples it
is part of, and by the same code that encodes for inference.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from consensus_jax.data import reward_examples, sft_examples, sources
from consensus_jax.data.converters import RewardConverter, SftConverter
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.data.vocabulary import Vocabulary
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer

# TensorFlow only prepares data here, and must not take an accelerator's memory.
tf.config.set_visible_devices([], 'GPU')

_SFT = {'inputs': tf.int32, 'targets': tf.int32}
_REWARD = {
  'prefix': tf.int32,
  'statements': tf.int32,
  'lengths': tf.int32,
  'levels': tf.float32,
  'weights': tf.float32,
  'participants': tf.int32,
  'questions': tf.int32,
}
_SCALARS = ('weights', 'participants', 'questions')
_CHUNK = 256
_TEXTS = ('inputs', 'targets', 'prefix', 'statements')


@dataclasses.dataclass(frozen=True, eq=False)
class Registered:
  """A mixture that seqio knows, and what came of its records.

  Attributes:
    name: of the mixture.
    tasks: its tasks, by source of records.
    settings: what it was made with.
    converter: makes rows of its examples.
    feature_lengths: for `seqio.get_dataset`.
    participants: in the order of their indices.
    questions: likewise.
    num_records: by source of records.
    excluded: filled each time a task is read, by source of records.
  """

  name: str
  tasks: Mapping[str, str]
  settings: ExampleSettings
  converter: seqio.FeatureConverter
  feature_lengths: Mapping[str, int | None]
  participants: Sequence[str]
  questions: Sequence[str]
  num_records: Mapping[str, int]
  excluded: Mapping[str, Tally]

  def rows(self) -> tf.data.Dataset:
    """Every row once, in the order of the records; the same each time."""
    return seqio.get_dataset(
      self.name,
      task_feature_lengths=self.feature_lengths,
      dataset_split=self.settings.split,
      shuffle=False,
      num_epochs=1,
      seed=self.settings.seed,
      feature_converter=self.converter,
      use_cached=False,
    )


_registered: dict[str, tuple[Any, Registered]] = {}


def register(
  settings: ExampleSettings,
  tokenizer: Tokenizer,
  *,
  rates: Mapping[str, float] | None = None,
) -> Registered:
  """Makes seqio know the task of `settings` for its sources.

  The same arguments register nothing anew; others take the place of those that
  were there.

  Args:
    settings: what the examples are, and what of.
    tokenizer: of the model to train.
    rates: of the tasks in the mixture, by source of records; the number of
      records of each by default.

  Raises:
    InputError: if a source cannot be read or holds nothing for the split, or
      `rates` names one that is not there.
  """
  key = (settings, id(tokenizer), dict(rates or {}))
  if settings.task in _registered and _registered[settings.task][0] == key:
    return _registered[settings.task][1]
  by_source = _by_source(settings)
  for source in rates or {}:
    if source not in by_source:
      raise InputError(
        f'no record is of the source {source!r}; there are '
        f'{", ".join(by_source)}',
        field=('rates',),
      )
  records = [record for group in by_source.values() for record in group]
  participants = sorted({m.participant for r in records for m in r.members})
  questions = sorted({reward_examples.question_name(r) for r in records})
  excluded: dict[str, Tally] = {}
  _forget(settings.task)
  tasks = {}
  for source, group in by_source.items():
    tasks[source] = f'{settings.task}.{re.sub("[^A-Za-z0-9_.]", "_", source)}'
    read = functools.partial(
      _examples,
      group,
      tokenizer,
      settings,
      functools.partial(excluded.__setitem__, source),
      {name: index for index, name in enumerate(participants)},
      {name: index for index, name in enumerate(questions)},
    )
    _add_task(tasks[source], read, len(group), Vocabulary(tokenizer), settings)
  seqio.MixtureRegistry.add(
    settings.task,
    [
      (task, (rates or {}).get(source, len(by_source[source])))
      for source, task in tasks.items()
    ],
    # seqio stops where the first task does, and would lose the rest.
    sample_fn=functools.partial(
      tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False
    ),
  )
  registered = Registered(
    name=settings.task,
    tasks=tasks,
    settings=settings,
    converter=SftConverter() if settings.kind == 'sft' else RewardConverter(),
    feature_lengths=_feature_lengths(settings),
    participants=participants,
    questions=questions,
    num_records={source: len(group) for source, group in by_source.items()},
    excluded=excluded,
  )
  _registered[settings.task] = key, registered
  return registered


def _by_source(
  settings: ExampleSettings,
) -> dict[str, list[JudgedDeliberation]]:
  """The records of the split, by source."""
  splits = {None, 'train'} if settings.split == 'train' else {settings.split}
  by_source: dict[str, list[JudgedDeliberation]] = {}
  seen: set[str | None] = set()
  for source in settings.sources:
    for record in sources.load(source):
      seen.add(record.question.split)
      if record.question.split in splits:
        by_source.setdefault(record.source, []).append(record)
  if not by_source:
    there = ', '.join(sorted(split or 'none' for split in seen))
    raise InputError(
      f'no record belongs to {settings.split!r}; there are records of: {there}',
      field=('split',),
    )
  return by_source


def _forget(name: str) -> None:
  if name in _registered:
    _, before = _registered.pop(name)
    seqio.MixtureRegistry.remove(name)
    for task in before.tasks.values():
      seqio.TaskRegistry.remove(task)


def _feature_lengths(settings: ExampleSettings) -> dict[str, int | None]:
  if settings.kind == 'sft':
    # Of both together there is one token that is only a target.
    return dict.fromkeys(_SFT, settings.row_length)
  texts = dict.fromkeys(('prefix', 'statements'), settings.row_length)
  statements = dict.fromkeys(('lengths', 'levels'), settings.row_statements)
  # None: seqio would try to trim them.
  return texts | statements | dict.fromkeys(_SCALARS)


def _add_task(
  name: str,
  read: Any,
  num_records: int,
  vocabulary: Vocabulary,
  settings: ExampleSettings,
) -> None:
  types = _SFT if settings.kind == 'sft' else _REWARD
  signature = {
    feature: tf.TensorSpec([None], dtype)
    if feature in _SCALARS
    else tf.RaggedTensorSpec([None, None], dtype)
    for feature, dtype in types.items()
  }

  def dataset(split, shuffle_files, seed=None):
    del split, shuffle_files, seed  # One split; the order is the records'.
    chunks = tf.data.Dataset.from_generator(
      lambda: map(_together, _chunks(read())), output_signature=signature
    )
    return chunks.unbatch()

  no_text = seqio.PassThroughVocabulary(1)
  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(
      dataset,
      splits=[settings.split],
      num_input_examples={settings.split: num_records},
    ),
    preprocessors=[],
    output_features={
      feature: seqio.Feature(
        vocabulary if feature in _TEXTS else no_text,
        add_eos=False,
        dtype=dtype,
        rank=0 if feature in _SCALARS else 1,
      )
      for feature, dtype in types.items()
    },
    metric_fns=[],
  )


def _chunks(
  examples: Iterator[dict[str, Any]],
) -> Iterator[list[dict[str, Any]]]:
  while chunk := list(itertools.islice(examples, _CHUNK)):
    yield chunk


def _together(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Examples as one, for a call of Python costs TensorFlow a lot."""
  together = {}
  for feature in examples[0]:
    values = [example[feature] for example in examples]
    if feature in _SCALARS:
      together[feature] = np.stack(values)
    else:
      together[feature] = tf.RaggedTensor.from_row_lengths(
        np.concatenate(values), [len(value) for value in values]
      )
  return together


def _examples(
  records: Sequence[JudgedDeliberation],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  report: Callable[[Tally], None],
  participants: Mapping[str, int],
  questions: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
  """The examples of a task, as features."""
  excluded = Tally()
  report(excluded)
  if settings.kind == 'sft':
    for sft in sft_examples.encode(records, tokenizer, settings, excluded):
      yield {
        'inputs': np.array(sft.prompt, np.int32),
        'targets': np.array(sft.statement, np.int32),
      }
    return
  for each in reward_examples.encode(records, tokenizer, settings, excluded):
    yield {
      'prefix': np.array(each.prefix, np.int32),
      'statements': np.concatenate(each.statements).astype(np.int32),
      'lengths': np.array([len(s) for s in each.statements], np.int32),
      'levels': np.array(each.levels, np.float32),
      'weights': np.float32(each.weight),
      'participants': np.int32(participants[each.participant]),
      'questions': np.int32(questions[each.question]),
    }
