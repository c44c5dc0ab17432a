"""What the files of a training run say of it, for a card."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from consensus_jax.data import batches
from consensus_jax.defaults import popular_rows
from consensus_jax.defaults.people import HALF_A, HALF_B
from consensus_jax.evaluation import report
from consensus_jax.interop import json_file
from consensus_jax.strict_json import InputError
from consensus_jax.training import journal

# Settings that say where a run was, and not what.
_PLACES = frozenset(
  {
    *('model_dir', 'train_data', 'validation_data'),
    *('pretrained', 'checkpoint', 'tokenizer'),
  }
)


def about(run: pathlib.Path) -> dict[str, Any]:
  """Settings, versions and time of a run, without any place on a disk.

  Args:
    run: its folder.

  Raises:
    InputError: if a file of it is missing, or it goes on: what it exported
      before is not what its settings say.
    ModelFileError: if a file is damaged.
  """
  config = _object(run / 'config.json')
  settings = config['configuration']
  model = _object(run / 'model.json')
  lora = model['lora']
  steps = [
    line
    for line in journal.read(run / 'metrics.jsonl')
    if line['kind'] == 'train'
  ]
  last = steps[-1]['step'] if steps else 0
  if last < settings['num_steps'] and settings['patience'] is None:
    raise InputError(
      f'is at step {last} of {settings["num_steps"]}', file=str(run)
    )
  return {
    'name': run.name,
    # What config.json says of it is that the run went on, if it did.
    'initialisation': model['initial'],
    'adapted_layers': [lora['first_layer'], model['config']['num_layers'] - 1],
    'rank': lora['rank'],
    'settings': dict(_settings(settings)),
    'versions': {'python': config['python'], **config['packages']},
    'revision': config['git'],
    'steps': last,
    'hours': sum(step['seconds'] for step in steps) / 3600,
  }


def rows(run: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
  """What a run learned from, and chose its checkpoint by, by source.

  Args:
    run: its folder; the rows lie where it found them.

  Raises:
    InputError: if they do not, or a file of the run is missing.
    ModelFileError: if one is damaged.
  """
  settings = _object(run / 'config.json')['configuration']
  found: dict[str, list[dict[str, Any]]] = {}
  for split in ('train', 'validation'):
    if (path := settings[f'{split}_data']) is None:
      continue
    examples = batches.open_examples(path)
    if (voted := examples.meta.get(popular_rows.VOTED)) is None:
      found[split] = [*_of_people(examples)]
    else:
      found[split] = [{'synthetic': False, **each} for each in voted]
  return found


def _of_people(examples: batches.Examples) -> Iterator[dict[str, Any]]:
  """Of each source, what its people told."""
  names = examples.meta['participants']
  people = np.asarray(examples.features['participants'])
  votes = np.isfinite(examples.features['levels']).sum(1)
  # Participants are called after where they come from.
  sources = [names[person].partition('/')[0] for person in people]
  for source in dict.fromkeys(sources):
    here = np.array(sources) == source
    synthetic = source not in (*HALF_A, *HALF_B)
    num_rows = int(here.sum())
    yield {
      'source': source,
      'synthetic': synthetic,
      # An invented person is one row, named or not.
      'people': num_rows if synthetic else len(np.unique(people[here])),
      'rows': num_rows,
      'votes': int(votes[here].sum()),
    }


def duration(run: Mapping[str, Any]) -> str:
  """How long the steps of `about` took, in words."""
  if run['hours'] < 1:
    return f'{60 * run["hours"]:.1f} minutes'
  return f'{run["hours"]:.1f} hours'


def settings_table(run: Mapping[str, Any]) -> str:
  """The settings of `about`, folded, as they are many."""
  table = report.table(
    ['setting', 'value'],
    [[name, _shown(value)] for name, value in run['settings'].items()],
  )
  return f'<details><summary>all settings</summary>\n\n{table}\n\n</details>'


def _settings(
  configuration: Mapping[str, Any], above: str = ''
) -> Iterator[tuple[str, Any]]:
  """Each setting that has a value, by its dotted name."""
  for name, value in configuration.items():
    if isinstance(value, Mapping):
      yield from _settings(value, f'{above}{name}.')
    elif name not in _PLACES and value not in (None, [], ''):
      yield f'{above}{name}', value


def _shown(value: Any) -> str:
  if isinstance(value, list):
    return ', '.join(map(str, value))
  return str(value)


def _object(path: pathlib.Path) -> dict[str, Any]:
  value = json_file.read_object(path)
  if value is None:
    raise InputError('is missing', file=str(path))
  return value
