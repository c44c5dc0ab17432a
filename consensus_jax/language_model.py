"""A model ready to run: of a file, of a folder, or an adapted embedded one."""

import dataclasses
import os
import pathlib
from typing import Any, Self

import jax
import jax.numpy as jnp

from consensus_jax.inference import compute
from consensus_jax.interop import adapters
from consensus_jax.interop.pretrained import Pretrained, load_pretrained
from consensus_jax.model import lora
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params, unstack_layers
from consensus_jax.settings import Policy
from consensus_jax.tokenizer import Tokenizer

# Adapters of the embedded model that ship; their cards are in docs/models.
_WEIGHTS = pathlib.Path(__file__).parent / 'weights'
POLICY, REWARD_MODEL = _WEIGHTS / 'policy', _WEIGHTS / 'reward_model'


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel:
  """A model ready to run.

  Attributes:
    config: its sizes.
    params: on the device, in `dtype`.
    tokenizer: its own.
    name: of the file or folder it came from.
    sha256: of its weights; with adapters, that of the model they adapt.
    dtype: of weights and products.
    adapters: name and sha256 of the adapters that were merged into it, if any.
  """

  config: ModelConfig
  params: Params
  tokenizer: Tokenizer
  name: str
  sha256: str
  dtype: str
  adapters: tuple[str, str] | None = None

  @classmethod
  def load(
    cls, path: str | os.PathLike[str] | None, dtype: str | None = None
  ) -> Self:
    """Reads a model; None is the embedded one.

    Args:
      path: a Hugging Face folder, a GGUF file, or a folder of adapters of the
        embedded model.
      dtype: 'float32' or 'bfloat16'; by default what the processor does best.

    Raises:
      ModelFileError: if there is no such model, it is broken, or the adapters
        are those of another one.
    """
    chosen = compute.choose_dtype(dtype)
    merged = None
    if path is not None and adapters.is_folder_of_adapters(path):
      pretrained = load_pretrained(dtype=chosen)
      pretrained, merged = _adapted(pretrained, pathlib.Path(path))
    else:
      pretrained = load_pretrained(path, dtype=chosen)
    params = pretrained.params
    if jax.default_backend() == 'cpu':
      params = unstack_layers(params)
    return cls(
      pretrained.config,
      jax.tree.map(jnp.asarray, params),
      pretrained.tokenizer,
      pretrained.name,
      pretrained.sha256,
      chosen.name,
      merged,
    )

  @property
  def taught_as(self) -> Policy:
    """The prompt in which a policy of this model was taught."""
    return 'zero_shot' if self.adapters is None else 'sft'

  def describe(self) -> dict[str, Any]:
    """What an outcome records of it."""
    about: dict[str, Any] = {'name': self.name, 'sha256': self.sha256}
    if self.adapters is not None:
      name, sha256 = self.adapters
      about['adapters'] = {'name': name, 'sha256': sha256}
    return about | {'dtype': self.dtype, 'platform': jax.default_backend()}


def _adapted(
  base: Pretrained, folder: pathlib.Path
) -> tuple[Pretrained, tuple[str, str]]:
  config = dataclasses.replace(base.config, reward_head=False)
  found = adapters.load_adapters(folder, config, base.sha256)
  # What a base may have of a head is not the adapters'.
  params = {k: v for k, v in base.params.items() if k != 'reward_head'}
  params = lora.merge(params, found.params, found.lora)
  if found.reward_head is not None:
    params['reward_head'] = found.reward_head
    config = dataclasses.replace(config, reward_head=True)
  merged = dataclasses.replace(base, config=config, params=params)
  name = folder.resolve().name
  return merged, (name, adapters.weights_sha256(folder))
