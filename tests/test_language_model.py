"""Adapters of the embedded model: merged, named, and refused elsewhere."""

import jax
import numpy as np
import pytest
import tiny_models

from consensus_jax import language_model
from consensus_jax.interop import adapters
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.pretrained import load_pretrained
from consensus_jax.language_model import LanguageModel
from consensus_jax.model import lora
from consensus_jax.model.lora import LoraConfig

BASE = tiny_models.GOLDEN / 'tiny_llama'
LORA = LoraConfig(rank=2, alpha=4.0, first_layer=1)


@pytest.fixture
def embedded(monkeypatch):
  """A tiny model in the place of the embedded one."""

  def load(path=None, *, dtype):
    return load_pretrained(BASE if path is None else path, dtype=dtype)

  monkeypatch.setattr(language_model, 'load_pretrained', load)
  return load_pretrained(BASE)


@pytest.fixture
def folder(tmp_path, embedded):
  rng = np.random.default_rng(0)
  params = {
    name: {side: rng.normal(size=x.shape) * 0.1 for side, x in each.items()}
    for name, each in lora.init(
      embedded.config, LORA, jax.random.key(0)
    ).items()
  }
  adapters.save_adapters(
    tmp_path / 'a',
    embedded.config,
    adapters.Adapters(
      base_sha256=embedded.sha256,
      lora=LORA,
      params=params,
      reward_head=np.ones(embedded.config.embed_dim, np.float32),
    ),
  )
  return tmp_path / 'a'


def test_adapters_are_merged_into_the_embedded_model(folder, embedded):
  model = LanguageModel.load(folder, 'float32')
  assert model.config.reward_head
  assert (np.asarray(model.params['reward_head']) == 1).all()
  about = model.describe()
  assert about['name'] == 'tiny_llama' and about['sha256'] == embedded.sha256
  assert about['adapters'] == {
    'name': 'a',
    'sha256': adapters.weights_sha256(folder),
  }
  found = adapters.load_adapters(folder, embedded.config, embedded.sha256)
  merged = lora.merge(embedded.params, found.params, LORA)['layers']
  for i, layer in enumerate(model.params['layers']):
    for name, weight in layer.items():
      np.testing.assert_allclose(weight, merged[name][i], atol=1e-6)


def test_without_adapters_nothing_is_said_of_them():
  about = LanguageModel.load(BASE, 'float32').describe()
  assert 'adapters' not in about


def test_adapters_of_another_model_are_refused(folder, monkeypatch):
  def load(path=None, *, dtype):
    return load_pretrained(tiny_models.GOLDEN / 'tiny_qwen3', dtype=dtype)

  monkeypatch.setattr(language_model, 'load_pretrained', load)
  with pytest.raises(ModelFileError, match='adapts a model whose weights'):
    LanguageModel.load(folder, 'float32')


def test_adapters_are_asked_as_they_were_taught(folder):
  assert LanguageModel.load(folder, 'float32').taught_as == 'sft'
  assert LanguageModel.load(BASE, 'float32').taught_as == 'zero_shot'
