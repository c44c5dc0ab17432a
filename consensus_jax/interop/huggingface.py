"""Weights of Hugging Face folders: safetensors in and out, never pickles."""

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped

from consensus_jax.interop import huggingface_config, json_file, layout
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.safetensors_file import (
  SafetensorsFile,
  read_safetensors,
  write_safetensors,
)
from consensus_jax.model.config import ModelConfig

CONFIG_FILE = 'config.json'
_WEIGHTS_FILE = 'model.safetensors'
_INDEX_FILE = 'model.safetensors.index.json'
_SHARD_NAME = re.compile(r'\w[\w.-]*\.safetensors')
# Endings of files that are, or hold, pickles: loading one runs its code.
PICKLE_SUFFIXES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')
# Old checkpoints store the frequencies of RoPE, which follow from the config.
_IGNORED = re.compile(r'.*rotary_emb\.inv_freq')

DEFAULT_SHARD_BYTES = 5_000_000_000


def find_weights(folder: pathlib.Path) -> list[pathlib.Path]:
  """The safetensors files of a model, in the order of their names.

  Raises:
    ModelFileError: if there are none, only pickles, or one of several misses.
  """
  single = folder / _WEIGHTS_FILE
  if single.exists():
    return [single]
  index_path = folder / _INDEX_FILE
  index = json_file.read_object(index_path)
  if index is not None:
    shards = index.get('weight_map')
    if not isinstance(shards, dict) or not all(
      isinstance(name, str) and _SHARD_NAME.fullmatch(name)
      for name in shards.values()
    ):
      raise ModelFileError(
        index_path, 'has no weight_map to safetensors files beside it'
      )
    paths = [folder / name for name in sorted(set(shards.values()))]
    for path in paths:
      if not path.exists():
        raise ModelFileError(path, f'is missing, but named in {_INDEX_FILE}')
    return paths
  pickles = sorted(
    path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES
  )
  if pickles:
    raise ModelFileError(
      folder,
      f'has its weights only as {pickles[0]}, a pickle, which can run code '
      'when it is loaded; convert it to safetensors',
    )
  raise ModelFileError(folder, f'has no {_WEIGHTS_FILE} and no {_INDEX_FILE}')


def load(
  folder: pathlib.Path, weights: list[pathlib.Path], dtype: np.dtype
) -> tuple[ModelConfig, layout.Params]:
  """Reads a model's configuration and parameters.

  Args:
    folder: with config.json.
    weights: as `find_weights` gives them.
    dtype: float32 or bfloat16; norms, biases and the reward head are float32 in
      any case.

  Returns:
    The configuration and the parameter tree as numpy arrays.

  Raises:
    ModelFileError: if a file is missing, damaged or of a model that is not
      supported, or a tensor is missing, unexpected or of a wrong shape.
  """
  path = folder / CONFIG_FILE
  values = json_file.read_object(path)
  if values is None:
    raise ModelFileError(folder, f'has no {CONFIG_FILE}')
  file_of: dict[str, SafetensorsFile] = {}
  for file in map(read_safetensors, weights):
    for name in file.tensors:
      if name in file_of:
        raise ModelFileError(
          file.path, f'has tensor {name!r}, as has {file_of[name].path.name}'
        )
      file_of[name] = file
  config = huggingface_config.to_model_config(path, values, file_of)

  def tensor(name: str) -> Shaped[np.ndarray, '...']:
    return file_of[name].read(name)

  ignored = {name for name in file_of if _IGNORED.fullmatch(name)}
  shapes = {name: file.tensors[name].shape for name, file in file_of.items()}
  head, embedding = 'lm_head.weight', 'model.embed_tokens.weight'
  if config.tied_embeddings and head in file_of and embedding in file_of:
    if shapes[head] != shapes[embedding] or not np.array_equal(
      tensor(head).view(np.uint8), tensor(embedding).view(np.uint8)
    ):
      raise ModelFileError(
        path, f'ties the embeddings, but {head} is not {embedding}'
      )
    ignored.add(head)
  layout.check_tensors(
    folder, config, lambda parameter: parameter.hugging_face, shapes, ignored
  )

  def read(parameter, layer):
    name = parameter.hugging_face
    return tensor(name if layer is None else name.format(layer))

  return config, layout.assemble(config, dtype, read)


def save(
  folder: pathlib.Path,
  config: ModelConfig,
  params: Mapping[str, Any],
  token_ids: Mapping[str, Any],
  *,
  max_shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
  """Writes config.json, generation_config.json and weights into a folder.

  Args:
    folder: exists.
    config: of the model.
    params: the parameter tree; every array keeps its type.
    token_ids: `bos_token_id`, `eos_token_id` and `pad_token_id`, for both
      configurations.
    max_shard_bytes: size at which a new file of weights begins.

  Raises:
    ModelFileError: if no family of Hugging Face matches the model.
    ValueError: if the parameters do not belong to the configuration.
  """
  values = huggingface_config.from_model_config(
    folder / CONFIG_FILE, config, np.dtype(params['embedding'].dtype).name
  )
  _write_json(folder / CONFIG_FILE, {**values, **token_ids})
  _write_json(folder / 'generation_config.json', dict(token_ids))

  arrays: dict[str, tuple[layout.Parameter, int | None]] = {}
  shards: list[list[tuple[str, tuple[int, ...], np.dtype]]] = [[]]
  shard_bytes = total_bytes = 0
  for name, parameter, layer in layout.tensors(
    config, lambda parameter: parameter.hugging_face
  ):
    array = _leaf(params, parameter)
    shape = parameter.shape
    if parameter.stacked:
      shape = (config.num_layers, *shape)
    if tuple(array.shape) != shape:
      raise ValueError(
        f'parameter {"/".join(parameter.path)} should have the shape {shape}, '
        f'it has {tuple(array.shape)}'
      )
    dtype = layout.dtype_named(array.dtype)
    num_bytes = int(np.prod(parameter.shape)) * dtype.itemsize
    if shards[-1] and shard_bytes + num_bytes > max_shard_bytes:
      shards.append([])
      shard_bytes = 0
    shards[-1].append((name, parameter.file_shape, dtype))
    arrays[name] = parameter, layer
    shard_bytes += num_bytes
    total_bytes += num_bytes

  def read(name: str) -> Shaped[np.ndarray, '...']:
    parameter, layer = arrays[name]
    array = _leaf(params, parameter)
    array = np.asarray(array if layer is None else array[layer])
    return array.reshape(parameter.file_shape)

  if len(shards) == 1:
    write_safetensors(folder / _WEIGHTS_FILE, shards[0], read)
    return
  weight_map = {}
  for number, shard in enumerate(shards, 1):
    file_name = f'model-{number:05}-of-{len(shards):05}.safetensors'
    write_safetensors(folder / file_name, shard, read)
    weight_map.update({name: file_name for name, *_ in shard})
  _write_json(
    folder / _INDEX_FILE,
    {'metadata': {'total_size': total_bytes}, 'weight_map': weight_map},
  )


def _leaf(params: Mapping[str, Any], parameter: layout.Parameter) -> Any:
  for key in parameter.path:
    params = params[key]
  return params


def _write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
  with path.open('w', encoding='utf-8') as file:
    file.write(json.dumps(values, ensure_ascii=False, indent=2) + '\n')
    file.flush()
    os.fsync(file.fileno())
