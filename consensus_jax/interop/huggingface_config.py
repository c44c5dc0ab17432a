"""config.json of Hugging Face's llama, qwen2 and qwen3, in and out."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import ModelConfig, RopeScaling

_CLASSES = {'llama': 'Llama', 'qwen2': 'Qwen2', 'qwen3': 'Qwen3'}
_HEAD = 'lm_head.weight'


def to_model_config(
  path: pathlib.Path, values: Mapping[str, Any], tensors: Collection[str]
) -> ModelConfig:
  """Makes the configuration that a config.json describes.

  Args:
    path: of the config.json, for errors.
    values: its content.
    tensors: names in the weights beside it; a model that predicts one label
      need have no language model's head.

  Raises:
    ModelFileError: if a value is missing or wrong, or describes a model that
      `ModelConfig` does not cover.
  """
  reader = _Reader(path, values)
  family = values.get('model_type')
  if not isinstance(family, str) or family not in _CLASSES:
    raise ModelFileError(
      path,
      f'has model_type {family!r}; supported are {", ".join(_CLASSES)}',
    )
  reward_head = _has_reward_head(reader, _CLASSES[family])
  _refuse_unsupported(reader)
  embed_dim = reader.integer('hidden_size')
  num_heads = reader.integer('num_attention_heads')
  # The defaults of each family's configuration class in transformers.
  if family == 'qwen3':
    head_dim = reader.integer('head_dim', 128)
  else:
    head_dim = reader.integer('head_dim', embed_dim // max(num_heads, 1))
  if family == 'llama':
    num_kv_heads = reader.integer('num_key_value_heads', num_heads)
  else:
    num_kv_heads = reader.integer('num_key_value_heads')
  rope_theta, rope_scaling = _rope(reader)
  tied = reader.boolean('tie_word_embeddings', False)
  try:
    return ModelConfig(
      vocab_size=reader.integer('vocab_size'),
      num_layers=reader.integer('num_hidden_layers'),
      embed_dim=embed_dim,
      num_heads=num_heads,
      num_kv_heads=num_kv_heads,
      head_dim=head_dim,
      mlp_dim=reader.integer('intermediate_size'),
      max_length=reader.integer('max_position_embeddings'),
      norm_epsilon=reader.number('rms_norm_eps', 1e-6),
      rope_theta=rope_theta,
      rope_scaling=rope_scaling,
      tied_embeddings=tied or (reward_head and _HEAD not in tensors),
      qkv_bias=family == 'qwen2',
      qk_norm=family == 'qwen3',
      reward_head=reward_head,
    )
  except ModelFileError:
    raise
  except ValueError as error:
    raise ModelFileError(path, str(error)) from error


class _Reader:
  """Values of a JSON object, with their types checked; null is absent."""

  def __init__(self, path: pathlib.Path, values: Mapping[str, Any]):
    self.path = path
    self.values = values

  def integer(self, key: str, default: int | None = None) -> int:
    return self._get(key, (int,), 'a whole number', default)

  def number(self, key: str, default: float | None = None) -> float:
    value = self._get(key, (int, float), 'a number', default)
    # A JSON integer may be larger than any float.
    if not -1e300 < value < 1e300:
      raise self.refuse(f'has no finite number as {key}')
    return float(value)

  def boolean(self, key: str, default: bool) -> bool:
    return self._get(key, (bool,), 'true or false', default)

  def _get(self, key: str, kinds: tuple[type, ...], what: str, default: Any):
    value = self.values.get(key)
    if value is None:
      value = default
    if value is None:
      raise self.refuse(f'lacks {key}')
    if type(value) not in kinds:
      raise self.refuse(f'should have {what} as {key}, has {value!r}')
    return value

  def refuse(self, message: str) -> ModelFileError:
    return ModelFileError(self.path, message)


def _has_reward_head(reader: _Reader, name: str) -> bool:
  architectures = reader.values.get('architectures')
  if architectures in (None, [], [f'{name}ForCausalLM']):
    return False
  if architectures != [f'{name}ForSequenceClassification']:
    raise reader.refuse(
      f'has the architectures {architectures!r}; supported are '
      f'{name}ForCausalLM and {name}ForSequenceClassification'
    )
  labels = reader.values.get('id2label')
  # As transformers counts them.
  known = len(labels) if isinstance(labels, dict) else 2
  number = reader.integer('num_labels', known)
  if number != 1:
    raise reader.refuse(
      f'classifies into {number} labels; a reward model has one'
    )
  return True


def _refuse_unsupported(reader: _Reader) -> None:
  values = reader.values
  for key in (
    'quantization_config',
    # Qwen2's biases go without saying; this one is on the output as well.
    'attention_bias',
    'mlp_bias',
    'num_experts',
    'num_local_experts',
    'vision_config',
  ):
    if values.get(key):
      raise reader.refuse(f'has {key} {values[key]!r}, which is not supported')
  if values.get('hidden_act', 'silu') != 'silu':
    raise reader.refuse(
      f'has hidden_act {values["hidden_act"]!r}; only silu is supported'
    )
  layer_types = values.get('layer_types')
  if isinstance(layer_types, list):
    used = any(kind != 'full_attention' for kind in layer_types)
  else:
    # Layers below max_window_layers attend to everything.
    used = reader.boolean('use_sliding_window', False) and (
      values.get('max_window_layers') is None
      or reader.integer('max_window_layers')
      < reader.integer('num_hidden_layers')
    )
  if used:
    raise reader.refuse('uses sliding windows, which are not supported')


def _rope(reader: _Reader) -> tuple[float, RopeScaling | None]:
  """Reads transformers' new `rope_parameters` or the old `rope_scaling`."""
  theta = reader.number('rope_theta', 10_000.0)
  values = reader.values.get('rope_parameters')
  if values is None:
    values = reader.values.get('rope_scaling')
  if values is None:
    return theta, None
  if not isinstance(values, dict):
    raise reader.refuse('has a RoPE scaling that is no JSON object')
  rope = _Reader(reader.path, values)
  theta = rope.number('rope_theta', theta)
  kind = values.get('rope_type', values.get('type', 'default'))
  for key in ('mrope_section', 'partial_rotary_factor'):
    if values.get(key) not in (None, 1, 1.0):
      raise reader.refuse(f'has {key} in its RoPE, which is not supported')
  if kind == 'default' and not any(
    isinstance(value, dict) for value in values.values()
  ):
    return theta, None
  if kind != 'llama3':
    raise reader.refuse(
      f'uses the RoPE scaling {kind!r}; only llama3 is supported'
    )
  try:
    return theta, RopeScaling(
      factor=rope.number('factor'),
      low_frequency_factor=rope.number('low_freq_factor'),
      high_frequency_factor=rope.number('high_freq_factor'),
      original_max_length=rope.integer('original_max_position_embeddings'),
    )
  except ModelFileError:
    raise
  except ValueError as error:
    raise reader.refuse(str(error)) from error


def from_model_config(
  path: pathlib.Path, config: ModelConfig, dtype: str
) -> dict[str, Any]:
  """The config.json of the family that a model belongs to.

  Args:
    path: where it will be written, for errors.
    config: of the model.
    dtype: name of the weights' type.

  Raises:
    ModelFileError: if no family of Hugging Face has this combination.
  """
  if (
    not config.gated_mlp
    or config.activation != 'silu'
    or (config.qk_norm and config.qkv_bias)
  ):
    raise ModelFileError(
      path,
      'no Hugging Face family matches this model: it needs a gated SiLU MLP '
      f'and not both qkv_bias and qk_norm, but has {config.activation}, '
      f'gated_mlp={config.gated_mlp}, qkv_bias={config.qkv_bias}, '
      f'qk_norm={config.qk_norm}',
    )
  family = (
    'qwen3' if config.qk_norm else 'qwen2' if config.qkv_bias else 'llama'
  )
  purpose = 'SequenceClassification' if config.reward_head else 'CausalLM'
  values: dict[str, Any] = {
    'architectures': [f'{_CLASSES[family]}For{purpose}'],
    'model_type': family,
    'vocab_size': config.vocab_size,
    'hidden_size': config.embed_dim,
    'intermediate_size': config.mlp_dim,
    'num_hidden_layers': config.num_layers,
    'num_attention_heads': config.num_heads,
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'hidden_act': 'silu',
    'max_position_embeddings': config.max_length,
    'rms_norm_eps': config.norm_epsilon,
    'tie_word_embeddings': config.tied_embeddings,
    'rope_theta': config.rope_theta,
    'rope_scaling': None,
    'attention_dropout': 0.0,
    'use_cache': True,
    'dtype': dtype,
  }
  if config.rope_scaling is not None:
    scaling = config.rope_scaling
    values['rope_scaling'] = {
      'rope_type': 'llama3',
      'factor': scaling.factor,
      'low_freq_factor': scaling.low_frequency_factor,
      'high_freq_factor': scaling.high_frequency_factor,
      'original_max_position_embeddings': scaling.original_max_length,
    }
  if family == 'llama':
    values['mlp_bias'] = False
  if family != 'qwen2':
    values['attention_bias'] = False
  if family != 'llama':
    values['use_sliding_window'] = False
  if config.reward_head:
    values['id2label'] = {'0': 'LABEL_0'}
    values['label2id'] = {'LABEL_0': 0}
  return values
