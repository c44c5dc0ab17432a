"""From records to rows on disk, through seqio: what comes out, and when."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny_judged
import tiny_models

from consensus_jax.data import (
  batches,
  materialise,
  record_files,
  reward_examples,
  sft_examples,
)
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.strict_json import InputError

TOKENIZER = str(tiny_models.GOLDEN / 'tiny_qwen2')
POLIS = pathlib.Path('../shared/data/polis')
REWARD_TASKS = (
  'consensus_reward_pairs',
  'consensus_reward_listwise',
  'consensus_reward_ordinal',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('records')
  record_files.write(path / 'study.jsonl', tiny_judged.records(9))
  record_files.write(
    path / 'other.jsonl', tiny_judged.records(3, source='other')
  )
  return path


def settings_of(folder, task='consensus_sft', **kwargs):
  return ExampleSettings(
    **{
      'sources': (str(folder / 'study.jsonl'), str(folder / 'other.jsonl')),
      'task': task,
      'tokenizer': TOKENIZER,
      'row_length': 2048,
      'min_quality': 4.0,
    }
    | kwargs
  )


def silent(_):
  pass


def made(settings, cache):
  path = materialise.materialise(settings, cache, report=silent)
  return batches.open_examples(path)


def direct(settings):
  """The examples as they are encoded, without seqio."""
  encode = sft_examples if settings.kind == 'sft' else reward_examples
  records = [
    record
    for source in settings.sources
    for record in record_files.read(source)
  ]
  tokenizer = materialise.load_tokenizer(settings.tokenizer)
  return list(encode.encode(records, tokenizer, settings, Tally()))


def sft_examples_of(row):
  """The examples that a packed row holds, checked against its other arrays."""
  last = row['segment_ids'].max()
  np.testing.assert_array_equal(
    row['segment_ids'] == 0, np.arange(2048) >= (row['segment_ids'] > 0).sum()
  )
  for segment in range(1, last + 1):
    here = row['segment_ids'] == segment
    tokens, targets = row['tokens'][here], row['targets'][here]
    np.testing.assert_array_equal(tokens[1:], targets[:-1])
    np.testing.assert_array_equal(row['positions'][here], range(here.sum()))
    ids = [*tokens.tolist(), int(targets[-1])]
    learned = int(row['loss_weights'][here].sum())
    np.testing.assert_array_equal(
      row['loss_weights'][here], np.arange(here.sum()) >= here.sum() - learned
    )
    yield tuple(ids[:-learned]), tuple(ids[-learned:])


def test_packed_rows_hold_the_examples_as_they_are_encoded(folder, tmp_path):
  settings = settings_of(folder)
  examples = made(settings, tmp_path)
  assert examples.meta['kind'] == 'sft'
  found = []
  for batch in batches.read_in_order(examples, 1):
    row = {name: array[0] for name, array in batch.items()}
    found += sft_examples_of(row)
  expected = [(e.prompt, e.statement) for e in direct(settings)]
  assert sorted(found) == sorted(expected) and len(found) > 10
  # Token 0 is a word of this vocabulary: seqio's packing would lose it.
  assert examples.num_examples < len(found)
  assert not examples.features['tokens'][
    examples.features['segment_ids'] == 0
  ].any()


def test_a_token_that_is_0_is_packed_like_any_other(tmp_path):
  tokenizer = materialise.load_tokenizer(TOKENIZER)
  word = tokenizer.decode([0])
  assert tokenizer.encode(word) == [0]
  record = tiny_judged.record(0, statements=2)
  statement = dataclasses.replace(record.statements[0], text=f'a{word}b{word}')
  record = dataclasses.replace(
    record, statements=(statement, record.statements[1])
  )
  record_files.write(tmp_path / 'r.jsonl', [record])
  settings = settings_of(
    tmp_path, sources=(str(tmp_path / 'r.jsonl'),), min_quality=None
  )
  examples = made(settings, tmp_path / 'cache')
  rows = batches.read_in_order(examples, 1)
  found = [
    each
    for batch in rows
    for each in sft_examples_of({k: v[0] for k, v in batch.items()})
  ]
  assert any(0 in statement for _, statement in found)
  assert sorted(found) == sorted(
    (e.prompt, e.statement) for e in direct(settings)
  )


@pytest.mark.parametrize('task', REWARD_TASKS)
def test_rows_hold_a_prefix_and_statements_that_follow_it(
  folder, tmp_path, task
):
  settings = settings_of(folder, task, row_length=512)
  examples = made(settings, tmp_path)
  assert examples.meta['kind'] == 'reward'
  assert examples.meta['judgement'] == 'agreement'
  expected = direct(settings)
  assert len(expected) == examples.num_examples > 10
  found = []
  for index in range(examples.num_examples):
    row = {name: array[index] for name, array in examples.features.items()}
    segments, positions = row['segment_ids'], row['positions']
    used = (segments > 0).sum()
    assert not segments[used:].any() and not row['tokens'][used:].any()
    assert (np.diff(segments[:used]) >= 0).all()
    prefix = tuple(row['tokens'][segments == 1].tolist())
    np.testing.assert_array_equal(positions[segments == 1], range(len(prefix)))
    statements, levels = [], []
    for place in range(settings.row_statements):
      here = segments == 2 + place
      if not here.any():
        assert row['ends'][place] == 0 and np.isnan(row['levels'][place])
        continue
      statements.append(tuple(row['tokens'][here].tolist()))
      levels.append(float(row['levels'][place]))
      assert row['ends'][place] == np.flatnonzero(here)[-1]
      np.testing.assert_array_equal(
        positions[here], len(prefix) + np.arange(here.sum())
      )
    found.append(
      reward_examples.RewardExample(
        prefix,
        tuple(statements),
        tuple(levels),
        float(row['weights']),
        examples.meta['participants'][row['participants']],
        examples.meta['questions'][row['questions']],
      )
    )

  def as_stored(example):
    return dataclasses.replace(
      example, weight=float(np.float32(example.weight))
    )

  key = dataclasses.astuple
  assert sorted(found, key=key) == sorted(map(as_stored, expected), key=key)


def test_a_second_call_finds_what_the_first_wrote(folder, tmp_path):
  settings = settings_of(folder, row_length=1024)
  lines = []
  first = materialise.materialise(settings, tmp_path, report=lines.append)
  assert any('done' in line for line in lines)
  stamp = first.stat().st_mtime_ns
  lines.clear()
  assert (
    materialise.materialise(settings, tmp_path, report=lines.append) == first
  )
  assert not lines and first.stat().st_mtime_ns == stamp
  # Where a source lies makes no difference; what it says does.
  moved = tmp_path / 'elsewhere'
  moved.mkdir()
  for name in ('study.jsonl', 'other.jsonl'):
    (moved / name).write_bytes((folder / name).read_bytes())
  assert made(settings_of(moved, row_length=1024), tmp_path).path == first
  with (moved / 'other.jsonl').open('a') as file:
    more = tiny_judged.record(77, source='other').to_json()
    file.write(json.dumps(more) + '\n')
  others = {
    made(settings_of(moved, row_length=1024), tmp_path).path,
    made(dataclasses.replace(settings, seed=1), tmp_path).path,
    made(dataclasses.replace(settings, min_quality=3.0), tmp_path).path,
  }
  assert first not in others and len(others) == 3
  meta = batches.open_examples(first).meta
  assert meta['counts']['records'] == {'study': 9, 'other': 3}
  reasons = {each['reason']: each['count'] for each in meta['excluded']}
  assert reasons['mean of quality is not above 4'] > 0
  assert meta['settings']['min_quality'] == 4.0
  assert meta['participants'] == sorted(set(meta['participants']))


_SECOND = """
import sys
from consensus_jax.data import materialise
from consensus_jax.data.example_settings import ExampleSettings
settings = ExampleSettings(**eval(sys.argv[1]))
print(materialise.materialise(settings, sys.argv[2]))
print(sorted({'jax', 'seqio', 'tensorflow'} & set(sys.modules)))
"""


def run(settings, cache, *args, code):
  fields = repr(dataclasses.asdict(settings))
  return subprocess.Popen(
    [sys.executable, '-c', code, fields, str(cache), *args],
    text=True,
    stdout=subprocess.PIPE,
  )


def test_reuse_imports_no_tensorflow(folder, tmp_path):
  settings = settings_of(folder)
  first = made(settings, tmp_path).path
  out, _ = run(settings, tmp_path, code=_SECOND).communicate()
  path, heavy = out.splitlines()
  assert path == str(first) and 'tensorflow' not in heavy
  assert 'seqio' not in heavy


# The real thing but for its rows, which take TensorFlow half a minute to make:
# those of another set, and no end.
_KILLED = """
import sys, time, types
from consensus_jax.data import batches, materialise
from consensus_jax.data.example_settings import ExampleSettings
class Rows:
  def batch(self, size):
    return self
  def as_numpy_iterator(self):
    yield dict(batches.open_examples(sys.argv[3]).features)
    print('written', flush=True)
    time.sleep(600)
sys.modules['consensus_jax.data.tasks'] = types.SimpleNamespace(
  register=lambda *_: types.SimpleNamespace(rows=Rows)
)
settings = ExampleSettings(**eval(sys.argv[1]))
materialise.materialise(settings, sys.argv[2])
"""


def test_a_killed_process_leaves_no_set(folder, tmp_path):
  settings = settings_of(folder)
  whole = made(settings, tmp_path / 'whole')
  cache = tmp_path / 'cache'
  process = run(settings, cache, str(whole.path), code=_KILLED)
  assert process.stdout.readline() == 'written\n'
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  (left,) = cache.iterdir()
  assert left.name.startswith('.') and (left / 'tokens.npy').exists()
  examples = made(settings, cache)
  assert examples.meta == whole.meta
  assert [path.name for path in cache.iterdir()] == [whole.path.name]
  for name, array in whole.features.items():
    np.testing.assert_array_equal(examples.features[name], array)


def test_start_up_noise_is_dropped_and_nothing_else(capfd):
  noise = (
    b'WARNING: All log messages before absl::InitializeLog() is called\n'
    b'I0000 00:00:1795269809.090958   24676 port.cc:153] oneDNN is on.\n'
    b'E0000 00:00:1.5 4996 cuda_platform.cc:52] failed call to cuInit: 303\n'
  )
  with materialise._without_start_up_noise():
    os.write(2, noise + b'E0000 00:00:1.5 1 x.cc:1] no memory\n')
  assert capfd.readouterr().err == 'E0000 00:00:1.5 1 x.cc:1] no memory\n'
  with (
    pytest.raises(ImportError, match='broken'),
    materialise._without_start_up_noise(),
  ):
    os.write(2, noise + b'Illegal instruction\n')
    raise ImportError('broken')
  assert capfd.readouterr().err == 'Illegal instruction\n'


def test_what_cannot_be_made_is_an_error_that_says_why(folder, tmp_path):
  strict = settings_of(folder, min_quality=7.0)
  with pytest.raises(InputError, match=r'no examples.*not above 7'):
    materialise.materialise(strict, tmp_path, report=silent)
  with pytest.raises(InputError, match=r'ood_test.*none'):
    materialise.materialise(
      settings_of(folder, split='ood_test'), tmp_path, report=silent
    )
  missing = settings_of(folder, sources=(str(folder / 'none.jsonl'),))
  with pytest.raises(InputError, match=r'none\.jsonl'):
    materialise.materialise(missing, tmp_path, report=silent)
  assert not [path for path in tmp_path.iterdir() if path.is_dir()]
  whole = made(settings_of(folder), tmp_path)
  (whole.path / 'tokens.npy').write_bytes(b'')
  with pytest.raises(InputError, match='delete the folder'):
    materialise.materialise(settings_of(folder), tmp_path, report=silent)


def test_only_the_records_of_the_split_are_taken(tmp_path):
  splits = ('train', None, 'validation', 'validation')
  record_files.write(
    tmp_path / 'r.jsonl',
    [
      tiny_judged.record(seed, split=split, id=f'q{seed}')
      for seed, split in enumerate(splits)
    ],
  )
  settings = settings_of(
    tmp_path, REWARD_TASKS[0], sources=(str(tmp_path / 'r.jsonl'),)
  )
  for split, expected in (('train', 'q0 q1'), ('validation', 'q2 q3')):
    chosen = dataclasses.replace(settings, split=split)
    questions = made(chosen, tmp_path / 'cache').meta['questions']
    assert ' '.join(questions) == expected


@pytest.mark.skipif(not POLIS.is_dir(), reason='needs ../shared/data')
@pytest.mark.slow
def test_real_votes_become_pairs(tmp_path):
  settings = ExampleSettings(
    sources=(
      f'polis:{POLIS}/london.youth.policing',
      f'polis:{POLIS}/scoop-hivemind.freshwater',
    ),
    task='consensus_reward_pairs',
    judgement='votes',
    tokenizer=TOKENIZER,
    row_length=2048,
    max_pairs=4,
  )
  examples = made(settings, tmp_path)
  levels = examples.features['levels']
  assert (levels[:, 0] != levels[:, 1]).all()
  assert set(np.unique(levels)) == {-1.0, 0.0, 1.0}
  assert examples.meta['counts']['records'] == {'polis': 2}
  assert len(examples.meta['questions']) == 2
  totals = np.bincount(
    examples.features['participants'], examples.features['weights']
  )
  np.testing.assert_allclose(totals[totals > 0], 1, rtol=1e-5)
