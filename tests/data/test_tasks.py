import dataclasses

import numpy as np
import pytest
import tiny_judged
import tiny_models

from consensus_jax.data import record_files
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.strict_json import InputError

tf = pytest.importorskip('tensorflow')
seqio = pytest.importorskip('seqio')
tasks = pytest.importorskip('consensus_jax.data.tasks')
vocabulary = pytest.importorskip('consensus_jax.data.vocabulary')

TEXTS = ('', ' We agree.', 'naïve “日本”\n\t', '<|im_end|> is a text', 'a' * 99)


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_qwen2', 'smollm2'])
def test_a_vocabulary_gives_the_tokenizers_ids(name):
  tokenizer = tiny_models.load(name).tokenizer
  words = vocabulary.Vocabulary(tokenizer)
  for text in TEXTS:
    ids = tokenizer.encode(text)
    assert words.encode(text) == ids
    tensor = words.encode_tf(tf.constant(text))
    assert tensor.dtype.name == 'int32' and tensor.numpy().tolist() == ids
    if ids:
      assert words.decode(ids) == tokenizer.decode(ids)
      assert words.decode_tf(tensor).numpy().decode() == tokenizer.decode(ids)
  assert words.eos_id in tokenizer.eos_ids
  assert words.pad_id == tokenizer.pad_id and words.unk_id is None
  assert words.vocab_size == tokenizer.vocab_size
  # What follows the end is no part of a text.
  ids = tokenizer.encode('We agree.')
  assert words.decode([*ids, words.eos_id, *ids]) == 'We agree.'
  different = 'tiny_qwen2' if name == 'tiny_llama' else 'tiny_llama'
  other = tiny_models.load(different).tokenizer
  assert words == vocabulary.Vocabulary(tokenizer)
  assert words != vocabulary.Vocabulary(other)


@pytest.fixture
def settings(tmp_path):
  path = tmp_path / 'records.jsonl'
  record_files.write(
    path,
    [*tiny_judged.records(3), *tiny_judged.records(5, source='my study')],
  )
  return ExampleSettings(
    sources=(str(path),), task='consensus_reward_pairs', row_length=1024
  )


def test_each_source_is_a_task_of_the_mixture(settings):
  tokenizer = tiny_models.load('tiny_llama').tokenizer
  registered = tasks.register(settings, tokenizer)
  mixture = seqio.get_mixture_or_task('consensus_reward_pairs')
  assert {task.name for task in mixture.tasks} == {
    'consensus_reward_pairs.study',
    'consensus_reward_pairs.my_study',
  }
  assert registered.num_records == {'study': 3, 'my study': 5}
  task = seqio.TaskRegistry.get('consensus_reward_pairs.my_study')
  assert mixture.get_rate(task) == 5
  words = task.output_features['prefix'].vocabulary
  example = next(
    task.get_dataset(split='train', shuffle=False).as_numpy_iterator()
  )
  assert words.decode(example['prefix']).endswith('Consensus:')
  assert example['lengths'].sum() == len(example['statements'])
  # Seen by seqio's own reader of the mixture as by ours.
  rows = list(registered.rows().as_numpy_iterator())
  again = list(registered.rows().as_numpy_iterator())
  assert len(rows) > 20
  for row, same in zip(rows, again, strict=True):
    for name in row:
      np.testing.assert_array_equal(row[name], same[name])
  # Reading twice counts once.
  counts = {s: t.exclusions() for s, t in registered.excluded.items()}
  list(registered.rows().as_numpy_iterator())
  assert counts == {s: t.exclusions() for s, t in registered.excluded.items()}


def test_registering_again_changes_nothing_or_replaces(settings):
  tokenizer = tiny_models.load('tiny_llama').tokenizer
  first = tasks.register(settings, tokenizer)
  assert tasks.register(settings, tokenizer) is first
  length = first.feature_lengths['prefix']
  shorter = dataclasses.replace(settings, row_length=512)
  second = tasks.register(shorter, tokenizer)
  assert second is not first and second.feature_lengths['prefix'] < length
  weighed = tasks.register(settings, tokenizer, rates={'study': 2.0})
  mixture = seqio.get_mixture_or_task(weighed.name)
  rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
  assert rates == {
    'consensus_reward_pairs.study': 2,
    'consensus_reward_pairs.my_study': 5,
  }
  with pytest.raises(InputError, match=r'nobody.*study'):
    tasks.register(settings, tokenizer, rates={'nobody': 1.0})
