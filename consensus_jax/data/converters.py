"""Feature converters of seqio: from examples to the rows that a trainer reads.

seqio's own packing takes 0 for padding and drops it, but 0 is a word in some
vocabularies. So what is packed here is never 0.
"""

from collections.abc import Mapping
from typing import ClassVar

import seqio
import tensorflow as tf

_INT = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
_INT_SCALAR = seqio.FeatureConverter.FeatureSpec(dtype=tf.int32, rank=0)
_FLOAT = seqio.FeatureConverter.FeatureSpec(dtype=tf.float32)
_FLOAT_SCALAR = seqio.FeatureConverter.FeatureSpec(dtype=tf.float32, rank=0)

_Tensors = Mapping[str, tf.Tensor]
_Lengths = Mapping[str, int]
_Features = Mapping[str, seqio.FeatureConverter.FeatureSpec]


class SftConverter(seqio.FeatureConverter):
  """{inputs, targets} -> packed rows of a prefix language model.

  A row holds whole examples, as many as come to lie in it. `tokens` are inputs
  and targets as they are, `targets` the next token of the same example; the
  loss weighs targets alone. Nothing is shifted, and no token is added.
  """

  TASK_FEATURES: ClassVar[_Features] = {'inputs': _INT, 'targets': _INT}
  MODEL_FEATURES: ClassVar[_Features] = {
    'tokens': _INT,
    'targets': _INT,
    'loss_weights': _FLOAT,
  }
  PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, tf.DType]] = {
    'segment_ids': tf.int32,
    'positions': tf.int32,
  }

  def __init__(self):
    super().__init__(pack=True)

  def _convert_features(
    self, ds: tf.data.Dataset, task_feature_lengths: _Lengths
  ) -> tf.data.Dataset:
    length = self.get_model_feature_lengths(task_feature_lengths)['tokens']

    def coded(example: _Tensors) -> dict[str, tf.Tensor]:
      inputs, targets = example['inputs'], example['targets']
      ids = tf.concat([inputs, targets], 0)
      learned = tf.concat([tf.zeros_like(inputs), tf.ones_like(targets)], 0)
      return {'tokens': ids[:-1] + 1, 'targets': 2 * ids[1:] + learned[1:] + 1}

    def row(packed: _Tensors) -> dict[str, tf.Tensor]:
      segments = packed['tokens_segment_ids']
      here = tf.minimum(segments, 1)
      code = packed['targets'] - here
      return {
        'tokens': packed['tokens'] - here,
        'targets': code // 2,
        'loss_weights': tf.cast(code % 2, tf.float32),
        'segment_ids': segments,
        'positions': packed['tokens_positions'],
      }

    lengths = {'tokens': length, 'targets': length}
    ds = ds.map(coded, num_parallel_calls=tf.data.AUTOTUNE)
    ds = self._pack_or_pad(ds, lengths)
    return ds.map(row, num_parallel_calls=tf.data.AUTOTUNE)

  def get_model_feature_lengths(
    self, task_feature_lengths: _Lengths
  ) -> dict[str, int]:
    """A row is as long as inputs, or targets, may be."""
    length = max(task_feature_lengths.values())
    names = (*self.MODEL_FEATURES, *self.PACKING_FEATURE_DTYPES)
    return dict.fromkeys(names, length)


class RewardConverter(seqio.FeatureConverter):
  """A member's prefix and statements -> one row, the prefix once.

  Pairs and lists alike: a pair is a list of two. Statements directly follow the
  prefix, each with positions that go on from the prefix's.
  """

  TASK_FEATURES: ClassVar[_Features] = {
    'prefix': _INT,
    'statements': _INT,
    'lengths': _INT,
    'levels': _FLOAT,
    'weights': _FLOAT_SCALAR,
    'participants': _INT_SCALAR,
    'questions': _INT_SCALAR,
  }
  MODEL_FEATURES: ClassVar[_Features] = {
    'tokens': _INT,
    'segment_ids': _INT,
    'positions': _INT,
    'ends': _INT,
    'levels': _FLOAT,
    'weights': _FLOAT_SCALAR,
    'participants': _INT_SCALAR,
    'questions': _INT_SCALAR,
  }
  PACKING_FEATURE_DTYPES = None

  def __init__(self):
    super().__init__(pack=False)

  def _convert_features(
    self, ds: tf.data.Dataset, task_feature_lengths: _Lengths
  ) -> tf.data.Dataset:
    lengths = self.get_model_feature_lengths(task_feature_lengths)
    row, most = lengths['tokens'], lengths['levels']

    def padded(x: tf.Tensor, length: int, value: float | int) -> tf.Tensor:
      x = tf.pad(x, [[0, length - tf.size(x)]], constant_values=value)
      return tf.ensure_shape(x, [length])

    def convert(example: _Tensors) -> dict[str, tf.Tensor]:
      prefix, each = example['prefix'], example['lengths']
      start = tf.size(prefix)
      segments = tf.repeat(2 + tf.range(tf.size(each)), each)
      onward = start + tf.ragged.range(each).flat_values
      return {
        'tokens': padded(tf.concat([prefix, example['statements']], 0), row, 0),
        'segment_ids': padded(
          tf.concat([tf.ones_like(prefix), segments], 0), row, 0
        ),
        'positions': padded(tf.concat([tf.range(start), onward], 0), row, 0),
        'ends': padded(start + tf.cumsum(each) - 1, most, 0),
        'levels': padded(example['levels'], most, float('nan')),
        'weights': example['weights'],
        'participants': example['participants'],
        'questions': example['questions'],
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

  def get_model_feature_lengths(
    self, task_feature_lengths: _Lengths
  ) -> dict[str, int]:
    """A row is as long as a prefix may be; statements share what is left."""
    row, most = (task_feature_lengths[name] for name in ('prefix', 'levels'))
    lengths = dict.fromkeys(self.MODEL_FEATURES, 0)
    lengths |= dict.fromkeys(('tokens', 'segment_ids', 'positions'), row)
    return lengths | dict.fromkeys(('ends', 'levels'), most)
