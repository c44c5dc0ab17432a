"""A run's folder as training leaves it, and what cards are checked with."""

import json
import re

import numpy as np

from consensus_jax.data import batches
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.defaults import popular_rows

# Stands alone: not within a word, a name or a checksum.
_NUMBER = re.compile(
  r'(?<![\w./-])[+-]?\d+(?:,\d{3})*(?:\.\d+)?%?(?![\w/]|[.,]\d)'
)


def write_statements_run(folder, voted):
  """A run that learned means of votes, of which `meta.json` tells."""
  path = folder / 'rows' / 'statements'
  batches.write_examples(
    path,
    [{'levels': np.zeros((2, 4), np.float32)}],
    {'judgement': 'votes', popular_rows.VOTED: voted},
    kind='reward',
  )
  return _write(folder / 'runs' / 'statements_a', path, None)


def write_run(folder, sources, validation):
  """Rows of people of sources, `{name: rows}`, and a run that learned them."""
  rows = {}
  for split, counts in (('train', sources), ('validation', validation)):
    names = [f'{name}/{i}' for name, n in counts.items() for i in range(n)]
    levels = np.full((len(names), 4), np.nan, np.float32)
    for place in range(len(names)):
      levels[place, : 1 + place % 4] = place % 2
    features = {
      'participants': np.arange(len(names), dtype=np.int32),
      'levels': levels,
    }
    rows[split] = folder / 'rows' / split
    batches.write_examples(
      rows[split],
      [features],
      {'participants': names, 'judgement': 'votes'},
      kind='reward',
    )
  return _write(folder / 'runs' / 'half_a', rows['train'], rows['validation'])


def _write(run, train, validation):
  lora = {'rank': 3, 'alpha': 6.0, 'first_layer': 16, 'targets': ['query']}
  (run / 'adapters').mkdir(parents=True)
  (run / 'adapters' / 'adapter_model.safetensors').write_bytes(b'weights')
  files = {
    'config.json': {
      'seed': 0,
      'initialisation': f'resuming {run}, step 1',
      'git': None,
      'python': '3.11.7',
      'packages': {'jax': '0.10.2'},
      'configuration': {
        'model_dir': str(run),
        'train_data': str(train),
        'validation_data': validation and str(validation),
        'model': None,
        'optimizer': {'learning_rate': 0.0017, 'warmup_steps': 15},
        'lora': lora,
        'batch_size': 4,
        'num_steps': 2,
        'patience': None,
      },
    },
    'model.json': {
      'initial': 'pretrained little',
      'config': {'num_layers': 30},
      'lora': lora,
    },
  }
  for name, content in files.items():
    (run / name).write_text(json.dumps(content))
  lines = [
    {'kind': 'train', 'step': 1, 'seconds': 3600},
    {'kind': 'validation', 'step': 1},
    {'kind': 'train', 'step': 2, 'seconds': 1800},
  ]
  (run / 'metrics.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in lines)
  )
  return run


def learned(source, opinions):
  """A record of one statement, from a source."""
  return JudgedDeliberation(
    id=source,
    source=source,
    question=Question(text='Which bus?'),
    statements=(Statement(text='We want number 2.', id='s'),),
    members=tuple(
      Member(participant=f'{source}/{i}', opinion='Mine.', judged=(), votes=())
      for i in range(opinions)
    ),
  )


def numbers_in_tables(text):
  """Every number that stands in a row of a table."""
  rows = [line for line in text.splitlines() if line.startswith('| ')]
  return {number for row in rows for number in _NUMBER.findall(row)}


def written_out(value):
  """Every way in which a card may write a number that a document holds."""
  if isinstance(value, dict):
    parts = (*value, *value.values())
    return set().union(*map(written_out, parts))
  if isinstance(value, list):
    return set().union(*map(written_out, value))
  if isinstance(value, str):
    return {*_NUMBER.findall(value)}
  if isinstance(value, bool) or value is None:
    return set()
  forms = ['.3f', '+.3f', ',', '', '.0%', '.1%', '.2f', '.1f', '.0f']
  return {format(value, form) for form in forms}
