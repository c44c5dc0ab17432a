"""Models of the architectures llama, qwen2 and qwen3 in GGUF files."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from consensus_jax.interop import layout
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.gguf_file import GgufFile
from consensus_jax.model.config import ModelConfig, RopeScaling

_ARCHITECTURES = ('llama', 'qwen2', 'qwen3')
_ROPE_FACTORS = 'rope_freqs.weight'
# What Llama 3.1 (factor 8) and 3.2 (factor 32) publish in config.json.
_LLAMA3_FACTORS = (8.0, 32.0)
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_LENGTH = 1.0, 4.0, 8192
# What a file must not say, since the model would not do it.
_UNSUPPORTED = (
  'attention.sliding_window',
  'attention.clamp_kqv',
  'attention.max_alibi_bias',
  'expert_count',
  'logit_scale',
  'residual_scale',
  'embedding_scale',
  'attention.scale',
  'rope.scale_linear',
)


def read_config(file: GgufFile) -> ModelConfig:
  """Makes the configuration that a file's metadata describe.

  Raises:
    ModelFileError: if a key is missing or wrong, or describes a model that
      `ModelConfig` does not cover.
  """
  architecture = _field(file, 'general.architecture', str)
  if architecture not in _ARCHITECTURES:
    raise ModelFileError(
      file.path,
      f'has the architecture {architecture!r}; supported are '
      f'{", ".join(_ARCHITECTURES)}',
    )

  def field(key: str, kind: type, default: Any = None) -> Any:
    return _field(file, f'{architecture}.{key}', kind, default)

  for key in _UNSUPPORTED:
    if file.fields.get(f'{architecture}.{key}'):
      raise ModelFileError(
        file.path, f'uses {architecture}.{key}, which is not supported'
      )
  embed_dim = field('embedding_length', int)
  num_heads = field('attention.head_count', int)
  if num_heads < 1:
    raise ModelFileError(file.path, f'has {num_heads} attention heads')
  head_dim = field('attention.key_length', int, embed_dim // num_heads)
  for key in ('attention.value_length', 'rope.dimension_count'):
    if field(key, int, head_dim) != head_dim:
      raise ModelFileError(
        file.path,
        f'has {architecture}.{key} {field(key, int)} with heads of {head_dim}, '
        'which is not supported',
      )
  embedding = file.tensors.get('token_embd.weight')
  if embedding is None:
    raise ModelFileError(file.path, 'lacks tensor token_embd.weight')
  rope_theta = field('rope.freq_base', float, 10_000.0)
  try:
    return ModelConfig(
      vocab_size=embedding.shape[0],
      num_layers=field('block_count', int),
      embed_dim=embed_dim,
      num_heads=num_heads,
      num_kv_heads=field('attention.head_count_kv', int, num_heads),
      head_dim=head_dim,
      mlp_dim=field('feed_forward_length', int),
      max_length=field('context_length', int),
      norm_epsilon=_shortest(field('attention.layer_norm_rms_epsilon', float)),
      rope_theta=_shortest(rope_theta),
      rope_scaling=_rope_scaling(file, architecture, head_dim, rope_theta),
      tied_embeddings='output.weight' not in file.tensors,
      qkv_bias='blk.0.attn_q.bias' in file.tensors,
      qk_norm=architecture == 'qwen3',
    )
  except ModelFileError:
    raise
  except ValueError as error:
    raise ModelFileError(file.path, str(error)) from error


def read_params(
  file: GgufFile, config: ModelConfig, dtype: np.dtype
) -> layout.Params:
  """Reads the parameters, dequantised.

  Args:
    file: of the model.
    config: as `read_config` gives it.
    dtype: float32 or bfloat16; norms and biases are float32 in any case.

  Returns:
    The parameter tree as numpy arrays.

  Raises:
    ModelFileError: if a tensor is missing, unexpected or of a wrong shape.
  """
  layout.check_tensors(
    file.path,
    config,
    _name,
    {name: tensor.shape for name, tensor in file.tensors.items()},
    ignored=(_ROPE_FACTORS,),
  )
  permuted = file.fields['general.architecture'] == 'llama'

  def read(parameter, layer):
    name = _name(parameter)
    tensor = file.read(name if layer is None else name.format(layer))
    if permuted and parameter.path[-1] in ('query', 'query_bias'):
      return _unpermuted(tensor, config.num_heads)
    if permuted and parameter.path[-1] in ('key', 'key_bias'):
      return _unpermuted(tensor, config.num_kv_heads)
    return tensor

  return layout.assemble(config, dtype, read)


def _name(parameter: layout.Parameter) -> str:
  assert parameter.gguf is not None  # Only a reward head has no name here.
  return parameter.gguf


def _unpermuted(
  tensor: Float[np.ndarray, 'outputs *inputs'], heads: int
) -> Float[np.ndarray, 'outputs *inputs']:
  """Undoes what llama.cpp does to the rows of queries and keys.

  Its RoPE for this architecture turns neighbouring rows of a head together,
  ours and Hugging Face's the i-th of the first and of the second half, so its
  converter interleaves the two halves.
  """
  shape = tensor.shape
  pairs = tensor.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
  return pairs.swapaxes(1, 2).reshape(shape)


def _rope_scaling(
  file: GgufFile, architecture: str, head_dim: int, theta: float
) -> RopeScaling | None:
  """Finds Llama 3's scaling, which files hold as a factor per frequency."""
  kind = _field(file, f'{architecture}.rope.scaling.type', str, 'none')
  if kind not in ('none', 'llama3'):
    raise ModelFileError(
      file.path, f'uses the RoPE scaling {kind!r}, which is not supported'
    )
  if _ROPE_FACTORS not in file.tensors:
    if kind == 'llama3':
      raise ModelFileError(file.path, f'lacks tensor {_ROPE_FACTORS}')
    return None
  if file.tensors[_ROPE_FACTORS].shape != (head_dim // 2,):
    raise ModelFileError(
      file.path,
      f'tensor {_ROPE_FACTORS} should have the shape [{head_dim // 2}], it has '
      f'{list(file.tensors[_ROPE_FACTORS].shape)}',
    )
  factors = file.read(_ROPE_FACTORS)
  if np.all(factors == 1):
    return None
  length = _field(
    file,
    f'{architecture}.rope.scaling.original_context_length',
    int,
    _LLAMA3_LENGTH,
  )
  largest = float(factors.max())
  for factor in (*_LLAMA3_FACTORS, largest):
    if not (1 <= factor < math.inf and length > 0):
      continue
    scaling = RopeScaling(
      factor=factor,
      low_frequency_factor=_LLAMA3_LOW,
      high_frequency_factor=_LLAMA3_HIGH,
      original_max_length=length,
    )
    expected = _rope_factors(scaling, head_dim, theta)
    if np.allclose(factors, expected, rtol=1e-4, atol=0):
      return scaling
  raise ModelFileError(
    file.path,
    f'{_ROPE_FACTORS} is not the RoPE scaling of Llama 3 (low_freq_factor '
    f'{_LLAMA3_LOW:g}, high_freq_factor {_LLAMA3_HIGH:g}, '
    f'original_max_position_embeddings {length}), which is the only one that '
    'can be read from a GGUF file; use the safetensors folder of this model',
  )


def _rope_factors(
  scaling: RopeScaling, head_dim: int, theta: float
) -> Float[np.ndarray, 'frequencies']:
  """What llama.cpp's converter divides each frequency by for Llama 3."""
  wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
  low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
  smooth = (scaling.original_max_length / wavelengths - low) / (high - low)
  smooth = np.clip(smooth, 0, 1)
  return 1 / ((1 - smooth) / scaling.factor + smooth)


def _shortest(number: float) -> float:
  """The shortest decimal of a float32: 1e-05, not 9.99999974737875e-06."""
  return float(str(np.float32(number)))


def _field(file: GgufFile, key: str, kind: type, default: Any = None) -> Any:
  value = file.fields.get(key, default)
  if value is None:
    raise ModelFileError(file.path, f'lacks the field {key!r}')
  if type(value) is not kind:
    raise ModelFileError(
      file.path,
      f'has {key!r} of a wrong type: {kind.__name__} expected, got '
      f'{type(value).__name__}',
    )
  return value
