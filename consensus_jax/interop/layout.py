"""How the parameter tree and the tensors of model files correspond.

Files hold one tensor a layer and linear layers as [outputs, inputs]; the tree
holds all layers stacked, and splits the axis of heads off. One table,
`parameters`, says it for every format.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import ModelConfig

# Two tensors are read at a time, so that memory holds few beside the result.
_NUM_THREADS = 2
# An error names this many tensors at most.
_MAX_NAMED = 5

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One parameter: its place in the tree, its shape, its names in files.

  Attributes:
    path: keys from the root of the tree.
    shape: in the tree, of one layer.
    hugging_face: name in safetensors, `{}` for the layer.
    gguf: name in GGUF, likewise; None if that format has no such tensor.
    num_inputs: trailing axes of `shape` that are the inputs of a linear layer;
      0 for what is no linear layer.
    float32: whether it stays in float32 in a model of another type.
  """

  path: tuple[str, ...]
  shape: tuple[int, ...]
  hugging_face: str
  gguf: str | None
  num_inputs: int = 0
  float32: bool = False

  @property
  def stacked(self) -> bool:
    """Whether there is one for each layer."""
    return self.path[0] == 'layers'

  @property
  def file_shape(self) -> tuple[int, ...]:
    """Shape of the tensor in files."""
    if self.path == ('reward_head',):
      return (1, *self.shape)
    if self.num_inputs:
      return (
        int(np.prod(self.shape[: -self.num_inputs])),
        int(np.prod(self.shape[-self.num_inputs :])),
      )
    if self.path in (('embedding',), ('lm_head',)):
      return self.shape
    return (int(np.prod(self.shape)),)


def parameters(config: ModelConfig) -> tuple[Parameter, ...]:
  """Every parameter that a model of this configuration has."""
  embed, mlp, head_dim = config.embed_dim, config.mlp_dim, config.head_dim
  query = (config.num_heads, head_dim)
  key = (config.num_kv_heads, head_dim)

  def layer(name, shape, hugging_face, gguf, **kwargs):
    return Parameter(
      ('layers', name),
      shape,
      f'model.layers.{{}}.{hugging_face}',
      f'blk.{{}}.{gguf}',
      **kwargs,
    )

  def norm(name, size, hugging_face, gguf):
    return layer(name, (size,), hugging_face, gguf, float32=True)

  def linear(name, shape, hugging_face, gguf, num_inputs=1):
    return layer(name, shape, hugging_face, gguf, num_inputs=num_inputs)

  def bias(name, shape, hugging_face, gguf):
    return layer(name, shape, hugging_face, gguf, float32=True)

  attention, up = 'self_attn', 'mlp'
  found = [
    Parameter(
      ('embedding',),
      (config.vocab_size, embed),
      'model.embed_tokens.weight',
      'token_embd.weight',
    ),
    norm('attention_norm', embed, 'input_layernorm.weight', 'attn_norm.weight'),
    linear(
      'query', (*query, embed), f'{attention}.q_proj.weight', 'attn_q.weight'
    ),
    linear('key', (*key, embed), f'{attention}.k_proj.weight', 'attn_k.weight'),
    linear(
      'value', (*key, embed), f'{attention}.v_proj.weight', 'attn_v.weight'
    ),
    linear(
      'attention_output',
      (embed, *query),
      f'{attention}.o_proj.weight',
      'attn_output.weight',
      num_inputs=2,
    ),
    norm(
      'mlp_norm', embed, 'post_attention_layernorm.weight', 'ffn_norm.weight'
    ),
    linear('up', (mlp, embed), f'{up}.up_proj.weight', 'ffn_up.weight'),
    linear('down', (embed, mlp), f'{up}.down_proj.weight', 'ffn_down.weight'),
    Parameter(
      ('final_norm',),
      (embed,),
      'model.norm.weight',
      'output_norm.weight',
      float32=True,
    ),
  ]
  if config.gated_mlp:
    found.append(
      linear('gate', (mlp, embed), f'{up}.gate_proj.weight', 'ffn_gate.weight')
    )
  if config.qkv_bias:
    found += [
      bias('query_bias', query, f'{attention}.q_proj.bias', 'attn_q.bias'),
      bias('key_bias', key, f'{attention}.k_proj.bias', 'attn_k.bias'),
      bias('value_bias', key, f'{attention}.v_proj.bias', 'attn_v.bias'),
    ]
  if config.qk_norm:
    found += [
      norm(
        'query_norm',
        head_dim,
        f'{attention}.q_norm.weight',
        'attn_q_norm.weight',
      ),
      norm(
        'key_norm', head_dim, f'{attention}.k_norm.weight', 'attn_k_norm.weight'
      ),
    ]
  if not config.tied_embeddings:
    found.append(
      Parameter(
        ('lm_head',),
        (config.vocab_size, embed),
        'lm_head.weight',
        'output.weight',
      )
    )
  if config.reward_head:
    found.append(
      Parameter(('reward_head',), (embed,), 'score.weight', None, float32=True)
    )
  return tuple(found)


def tensors(
  config: ModelConfig, name_of: Callable[[Parameter], str]
) -> Iterator[tuple[str, Parameter, int | None]]:
  """Every tensor of a model's file: its name, its parameter and its layer."""
  for parameter in parameters(config):
    name = name_of(parameter)
    if parameter.stacked:
      for layer in range(config.num_layers):
        yield name.format(layer), parameter, layer
    else:
      yield name, parameter, None


def check_tensors(
  path: str | os.PathLike[str],
  config: ModelConfig,
  name_of: Callable[[Parameter], str],
  shapes: Mapping[str, tuple[int, ...]],
  ignored: Collection[str] = (),
) -> None:
  """Checks that a file has the tensors of a model, no others, in their shapes.

  Raises:
    ModelFileError: if not; it names the tensors.
  """
  # A file may claim any number of layers: no loop may follow that claim.
  if config.num_layers > len(shapes):
    raise ModelFileError(
      path,
      f'says that it has {config.num_layers} layers but holds only '
      f'{len(shapes)} tensors',
    )
  missing, expected = [], set(ignored)
  for name, parameter, _ in tensors(config, name_of):
    expected.add(name)
    if name not in shapes:
      missing.append(name)
    elif shapes[name] != parameter.file_shape:
      raise ModelFileError(
        path,
        f'tensor {name} should have the shape {list(parameter.file_shape)}, '
        f'it has {list(shapes[name])}',
      )
  if missing:
    raise ModelFileError(path, f'lacks {_named(missing)}')
  unexpected = sorted(shapes.keys() - expected)
  if unexpected:
    raise ModelFileError(path, f'has the unexpected {_named(unexpected)}')


def _named(names: list[str]) -> str:
  text = ', '.join(names[:_MAX_NAMED])
  if len(names) > _MAX_NAMED:
    text += f' and {len(names) - _MAX_NAMED} more'
  return f'tensor{"s" if len(names) > 1 else ""} {text}'


def assemble(
  config: ModelConfig,
  dtype: np.dtype,
  read: Callable[[Parameter, int | None], Shaped[np.ndarray, '...']],
) -> Params:
  """Builds the parameter tree, in memory for little more than the tree.

  Args:
    config: what the model is made of.
    dtype: float32 or bfloat16, of all but norms, biases and the reward head,
      which are float32.
    read: gives the tensor of a parameter and layer with its file's shape.

  Returns:
    A tree of numpy arrays.
  """
  params: Params = {'layers': {}}
  jobs: list[tuple[Parameter, int | None, np.ndarray]] = []
  for parameter in parameters(config):
    layers = (config.num_layers,) if parameter.stacked else ()
    array = np.empty(
      layers + parameter.shape,
      np.dtype(np.float32) if parameter.float32 else dtype,
    )
    branch = params['layers'] if parameter.stacked else params
    branch[parameter.path[-1]] = array
    if parameter.stacked:
      jobs += [(parameter, i, array[i]) for i in range(config.num_layers)]
    else:
      jobs.append((parameter, None, array))

  def fill(job):
    parameter, layer, target = job
    tensor = read(parameter, layer)
    # Some files hold infinities, or more than bfloat16 can; that is no news.
    with np.errstate(all='ignore'):
      target[...] = tensor.reshape(target.shape)

  with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
    for _ in pool.map(fill, jobs):
      pass
  return params


def dtype_named(dtype: Any) -> np.dtype:
  """float32 or bfloat16 as numpy knows them.

  Raises:
    ValueError: for any other type.
  """
  name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
  if name == 'float32':
    return np.dtype(np.float32)
  if name == 'bfloat16':
    return np.dtype(ml_dtypes.bfloat16)
  raise ValueError(f'dtype must be float32 or bfloat16, got {dtype!r}')
