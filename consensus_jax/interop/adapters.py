"""Adapters, and a reward model's head, as a folder that PEFT can load too.

The tensors and `adapter_config.json` are PEFT's; `consensus_jax.json` says what
PEFT has no words for: of which weights the adapters are an adaptation.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from consensus_jax.interop import json_file, layout
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.safetensors_file import (
  read_safetensors,
  write_safetensors,
)
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.lora import LoraConfig
from consensus_jax.model.transformer import Params

CONFIG_FILE = 'adapter_config.json'
WEIGHTS_FILE = 'adapter_model.safetensors'
BASE_FILE = 'consensus_jax.json'
SCHEMA = 'consensus_jax/adapters/v1'

_HEAD = 'base_model.model.score.weight'
# No model of PEFT has such a parameter, so it leaves it alone.
_CUT_POINTS = 'consensus_jax.cut_points'
# What PEFT can do beyond LoRA as published, and we cannot.
_NOT_SUPPORTED = (
  'alpha_pattern',
  'fan_in_fan_out',
  'layer_replication',
  'lora_bias',
  'rank_pattern',
  'target_parameters',
  'trainable_token_indices',
  'use_dora',
  'use_rslora',
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Adapters:
  """What training added to a model, without the model.

  Attributes:
    base_sha256: of the weights of the model, as `Pretrained.sha256` gives it.
    lora: what the adapters are.
    params: the adapters, as `lora.init` makes them, float32.
    reward_head: `[embed]` of a reward model, None for a policy.
    cut_points: of ordinal regression, as `losses.cut_points` takes them; None
      for other losses.
  """

  base_sha256: str
  lora: LoraConfig
  params: Params
  reward_head: Shaped[Any, 'embed'] | None = None
  cut_points: Shaped[Any, 'cuts'] | None = None


def save_adapters(
  directory: str | os.PathLike[str],
  config: ModelConfig,
  adapters: Adapters,
  *,
  dtype: Literal['float32', 'float16'] = 'float32',
) -> None:
  """Writes a folder that `load_adapters` and PEFT load.

  The folder appears at once and complete, or not at all.

  Args:
    directory: does not exist, or is empty.
    config: of the model.
    adapters: their arrays may be numpy's or jax's.
    dtype: of the adapters in the file; a head stays float32.

  Raises:
    ModelFileError: if the directory holds something or cannot be written.
    ValueError: if the adapters do not belong to the configuration.
  """
  target = pathlib.Path(directory).absolute()
  reward = adapters.reward_head is not None
  modules = {
    name: module for module, name in _targets_of_modules(config).items()
  }
  lora = adapters.lora
  values = {
    'peft_type': 'LORA',
    'task_type': 'SEQ_CLS' if reward else 'CAUSAL_LM',
    'base_model_name_or_path': None,
    'inference_mode': True,
    'r': lora.rank,
    'lora_alpha': lora.alpha,
    'lora_dropout': 0.0,
    'bias': 'none',
    'target_modules': [modules[name] for name in lora.targets],
    'modules_to_save': ['score'] if reward else None,
    'layers_to_transform': list(_layers(config, lora))
    if lora.first_layer
    else None,
  }
  arrays = {}
  for name, shape, array in _tensors(config, adapters):
    whole = name in (_HEAD, _CUT_POINTS)
    array = np.asarray(array, np.float32 if whole else dtype)
    if array.size != math.prod(shape):
      raise ValueError(
        f'{name} should have the shape {shape}, it has {array.shape}'
      )
    arrays[name] = array.reshape(shape)
  try:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
      raise ModelFileError(target, 'exists and is no empty folder')
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
      prefix=f'.{target.name}.', dir=target.parent
    ) as parent:
      # Inside, so that the folder has the permissions of any other.
      folder = pathlib.Path(parent, target.name)
      folder.mkdir()
      write_safetensors(
        folder / WEIGHTS_FILE,
        [(name, array.shape, array.dtype) for name, array in arrays.items()],
        arrays.__getitem__,
      )
      _write_json(folder / CONFIG_FILE, values)
      _write_json(
        folder / BASE_FILE,
        {'schema': SCHEMA, 'base_sha256': adapters.base_sha256},
      )
      os.replace(folder, target)
  except OSError as error:
    raise ModelFileError(
      target, f'cannot be written: {error.strerror}'
    ) from error


def is_folder_of_adapters(path: str | os.PathLike[str]) -> bool:
  """Whether a path looks like what `save_adapters` writes."""
  return pathlib.Path(path, CONFIG_FILE).is_file()


def weights_sha256(directory: str | os.PathLike[str]) -> str:
  """Of the file of a folder's tensors.

  Raises:
    ModelFileError: if it cannot be read.
  """
  path = pathlib.Path(directory, WEIGHTS_FILE)
  try:
    with path.open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise ModelFileError(path, f'cannot be read: {error.strerror}') from error


def load_adapters(
  directory: str | os.PathLike[str], config: ModelConfig, base_sha256: str
) -> Adapters:
  """Reads the adapters of a model.

  Args:
    directory: as `save_adapters` writes it.
    config: of the model, whether or not it has a reward head.
    base_sha256: of the model's weights.

  Returns:
    The adapters, numpy arrays in float32.

  Raises:
    ModelFileError: if a file is missing or damaged, or the adapters are those
      of another model, of its weights or its shapes.
  """
  folder = pathlib.Path(directory)
  if not folder.is_dir():
    raise ModelFileError(folder, 'is no folder')
  base = json_file.read_object(folder / BASE_FILE)
  if base is None:
    raise ModelFileError(
      folder, f'has no {BASE_FILE}, which says of what model it is'
    )
  if base.get('schema') != SCHEMA:
    raise ModelFileError(
      folder / BASE_FILE, f'has the schema {base.get("schema")!r}, not {SCHEMA}'
    )
  if base.get('base_sha256') != base_sha256:
    raise ModelFileError(
      folder,
      f'adapts a model whose weights have the sha256 {base.get("base_sha256")}'
      f', not this one, which has {base_sha256}',
    )
  lora = _read_config(folder / CONFIG_FILE, config)
  file = read_safetensors(folder / WEIGHTS_FILE)
  has_head, has_cuts = _HEAD in file.tensors, _CUT_POINTS in file.tensors
  empty = Adapters(
    base_sha256=base_sha256,
    lora=lora,
    params={name: {} for name in lora.targets},
    reward_head=np.empty(config.embed_dim, np.float32) if has_head else None,
    cut_points=None,
  )
  expected = {name: shape for name, shape, _ in _tensors(config, empty)}
  found = {name: tensor.shape for name, tensor in file.tensors.items()}
  if has_cuts:
    expected[_CUT_POINTS] = (math.prod(found[_CUT_POINTS]),)
  _check_shapes(file.path, expected, found)

  def read(name):
    return np.array(file.read(name), np.float32)

  params: Params = {}
  for name, parameter in _adapted(config, lora):
    shape = parameter.shape
    at = len(shape) - parameter.num_inputs
    stacked = {
      side: np.stack(
        [
          read(_tensor_name(parameter, layer, side))
          for layer in _layers(config, lora)
        ]
      )
      for side in 'ab'
    }
    depth, rank = len(_layers(config, lora)), lora.rank
    params[name] = {
      'a': stacked['a'].reshape(depth, rank, *shape[at:]),
      'b': stacked['b'].reshape(depth, *shape[:at], rank),
    }
  return dataclasses.replace(
    empty,
    params=params,
    reward_head=read(_HEAD)[0] if has_head else None,
    cut_points=read(_CUT_POINTS) if has_cuts else None,
  )


def _tensors(
  config: ModelConfig, adapters: Adapters
) -> Iterator[tuple[str, tuple[int, ...], Any]]:
  """Name and shape of every tensor in a file, and its array if there is one."""
  lora = adapters.lora
  for name, parameter in _adapted(config, lora):
    outputs, inputs = parameter.file_shape
    shapes = {'a': (lora.rank, inputs), 'b': (outputs, lora.rank)}
    arrays = adapters.params[name]
    for place, layer in enumerate(_layers(config, lora)):
      for side, shape in shapes.items():
        array = arrays[side][place] if side in arrays else None
        yield _tensor_name(parameter, layer, side), shape, array
  if adapters.reward_head is not None:
    yield _HEAD, (1, config.embed_dim), adapters.reward_head
  if adapters.cut_points is not None:
    yield _CUT_POINTS, adapters.cut_points.shape, adapters.cut_points


def _adapted(
  config: ModelConfig, lora: LoraConfig
) -> Iterator[tuple[str, layout.Parameter]]:
  matrices = {
    parameter.path[-1]: parameter
    for parameter in layout.parameters(config)
    if parameter.stacked and parameter.num_inputs
  }
  for name in lora.targets:
    yield name, matrices[name]


def _layers(config: ModelConfig, lora: LoraConfig) -> range:
  return range(lora.first_layer, config.num_layers)


def _tensor_name(parameter: layout.Parameter, layer: int, side: str) -> str:
  module = parameter.hugging_face.format(layer).removesuffix('.weight')
  return f'base_model.model.{module}.lora_{side.upper()}.weight'


def _targets_of_modules(config: ModelConfig) -> dict[str, str]:
  """Our names of matrices, by Hugging Face's: {'q_proj': 'query', ...}."""
  return {
    parameter.hugging_face.split('.')[-2]: parameter.path[-1]
    for parameter in layout.parameters(config)
    if parameter.stacked and parameter.num_inputs
  }


def _read_config(path: pathlib.Path, config: ModelConfig) -> LoraConfig:
  values = json_file.read_object(path)
  if values is None:
    raise ModelFileError(path, 'is missing')
  if values.get('peft_type') != 'LORA':
    raise ModelFileError(
      path, f'has the peft_type {values.get("peft_type")!r}, not LORA'
    )
  for name in _NOT_SUPPORTED:
    if values.get(name):
      raise ModelFileError(path, f'uses {name}, which is not supported')
  if values.get('bias', 'none') != 'none':
    raise ModelFileError(path, 'trains biases, which is not supported')
  rank, alpha = values.get('r'), values.get('lora_alpha')
  modules = values.get('target_modules')
  targets_of = _targets_of_modules(config)
  if isinstance(rank, bool) or not isinstance(rank, int):
    raise ModelFileError(path, f'r must be an integer, got {rank!r}')
  if isinstance(alpha, bool) or not isinstance(alpha, int | float):
    raise ModelFileError(path, f'lora_alpha must be a number, got {alpha!r}')
  if not isinstance(modules, list) or not all(
    isinstance(module, str) and module in targets_of for module in modules
  ):
    raise ModelFileError(
      path,
      f'target_modules must be a list of {list(targets_of)}, got {modules!r}',
    )
  targets = tuple(targets_of[module] for module in modules)
  first = 0
  if (chosen := values.get('layers_to_transform')) is not None:
    every = list(range(config.num_layers))
    if (
      not isinstance(chosen, list)
      or not chosen
      or every[-len(chosen) :] != (chosen)
    ):
      raise ModelFileError(
        path,
        'layers_to_transform must be the last layers of '
        f'{config.num_layers}, got {chosen!r}',
      )
    first = chosen[0]
  try:
    return LoraConfig(
      rank=rank, alpha=float(alpha), first_layer=first, targets=targets
    )
  except (OverflowError, ValueError) as error:
    raise ModelFileError(path, str(error)) from error


def _check_shapes(path, expected, found):
  missing = sorted(expected.keys() - found.keys())
  unexpected = sorted(found.keys() - expected.keys())
  if missing:
    raise ModelFileError(
      path, f'lacks {len(missing)} tensors, the first {missing[0]}'
    )
  if unexpected:
    raise ModelFileError(
      path,
      f'has {len(unexpected)} unexpected tensors, the first {unexpected[0]}',
    )
  for name, shape in expected.items():
    if found[name] != shape:
      raise ModelFileError(
        path,
        f'tensor {name} should have the shape {list(shape)}, it has '
        f'{list(found[name])}',
      )


def _write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
  with path.open('w', encoding='utf-8') as file:
    file.write(json.dumps(values, indent=2) + '\n')
    file.flush()
    os.fsync(file.fileno())
