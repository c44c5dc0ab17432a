"""Adapters in files: back as they were, as PEFT reads them, and damaged."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tiny_models
from safetensors.numpy import load_file, save_file

from consensus_jax.interop import adapters as adapter_files
from consensus_jax.interop.adapters import (
  Adapters,
  load_adapters,
  save_adapters,
)
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model import lora, transformer
from consensus_jax.model.lora import LoraConfig

CONFIG = dataclasses.replace(tiny_models.SMALL, reward_head=True)
LORA = LoraConfig(rank=3, alpha=5.0)
SHA = 'ab' * 32


def made(config=CONFIG, settings=LORA, reward=False, cuts=False, sha=SHA):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
    lambda: lora.init(config, settings, jax.random.key(0))
  )
  return Adapters(
    base_sha256=sha,
    lora=settings,
    params=jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32) / 4, shapes
    ),
    reward_head=rng.normal(size=config.embed_dim).astype(np.float32)
    if reward
    else None,
    cut_points=rng.normal(size=6).astype(np.float32) if cuts else None,
  )


@pytest.mark.parametrize(
  'settings',
  [
    LORA,
    LoraConfig(rank=1, alpha=2.0, targets=('attention_output', 'key')),
    dataclasses.replace(LORA, first_layer=1),
  ],
)
@pytest.mark.parametrize(
  'reward, cuts', [(False, False), (True, False), (True, True)]
)
def test_adapters_come_back_as_they_were(tmp_path, settings, reward, cuts):
  saved = made(settings=settings, reward=reward, cuts=cuts)
  on_device = dataclasses.replace(
    saved, params=jax.tree.map(jnp.asarray, saved.params)
  )
  save_adapters(tmp_path / 'new' / 'a', CONFIG, on_device)
  loaded = load_adapters(tmp_path / 'new' / 'a', CONFIG, SHA)
  assert loaded.lora == settings and loaded.base_sha256 == SHA
  for field in ('params', 'reward_head', 'cut_points'):
    found, expected = getattr(loaded, field), getattr(saved, field)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert [x.name for x in (tmp_path / 'new').iterdir()] == ['a']


def test_the_folder_is_complete_or_not_there(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(adapter_files, '_write_json', full)
  with pytest.raises(ModelFileError, match='cannot be written: No space'):
    save_adapters(tmp_path / 'a', CONFIG, made())
  assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
  (tmp_path / 'mine').write_text('mine')
  with pytest.raises(ModelFileError, match='exists and is no empty folder'):
    save_adapters(tmp_path, CONFIG, made())
  assert (tmp_path / 'mine').read_text() == 'mine'


def test_adapters_of_another_shape_are_not_written(tmp_path):
  wide = dataclasses.replace(CONFIG, mlp_dim=48)
  with pytest.raises(ValueError, match=r'gate_proj.lora_B.weight.*\(48, 3\)'):
    save_adapters(tmp_path / 'a', wide, made())
  assert not (tmp_path / 'a').exists()


@pytest.fixture
def folder(tmp_path):
  save_adapters(tmp_path / 'a', CONFIG, made(reward=True))
  return tmp_path / 'a'


def refused(folder, words, config=CONFIG, sha=SHA):
  with pytest.raises(ModelFileError, match=words):
    load_adapters(folder, config, sha)


def test_another_model_is_refused(folder):
  refused(folder, f'sha256 {SHA}.*not this one, which has cd', sha='cd' * 32)
  for change, words in (
    ({'mlp_dim': 48}, r'lora_A.weight should have|lora_B.weight should have'),
    ({'num_layers': 3}, 'lacks 14 tensors, the first .*layers.2'),
    ({'num_layers': 1}, 'has 14 unexpected tensors, the first .*layers.1'),
    ({'gated_mlp': False}, "target_modules must be .*'gate_proj'"),
    ({'embed_dim': 32}, r'should have the shape'),
  ):
    refused(folder, words, dataclasses.replace(CONFIG, **change))


def test_missing_files_are_named(folder):
  refused(folder / 'nowhere', 'is no folder')
  for name, words in (
    ('adapter_model.safetensors', 'adapter_model.safetensors.*cannot be read'),
    ('adapter_config.json', 'adapter_config.json: is missing'),
    ('consensus_jax.json', 'has no consensus_jax.json'),
  ):
    (folder / name).unlink()
    refused(folder, words)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'r': 4}, r'should have the shape \[4, 24\], it has \[3, 24\]'),
    ({'r': '3'}, 'r must be an integer'),
    ({'r': 0}, 'rank must be positive'),
    ({'r': 10**12}, 'should have the shape'),
    ({'lora_alpha': None}, 'lora_alpha must be a number'),
    ({'lora_alpha': 10**400}, 'too large'),
    ({'peft_type': 'IA3'}, "peft_type 'IA3'"),
    ({'target_modules': 'all-linear'}, 'target_modules must be a list'),
    ({'target_modules': []}, 'targets must be'),
    ({'target_modules': ['q_proj', 'q_proj']}, 'twice'),
    ({'target_modules': ['q_proj', 'lm_head']}, 'lm_head'),
    ({'target_modules': ['q_proj']}, 'unexpected tensors'),
    ({'layers_to_transform': [0]}, 'must be the last layers of 2'),
    ({'layers_to_transform': []}, 'must be the last layers of 2'),
    ({'layers_to_transform': '1'}, 'must be the last layers of 2'),
    ({'layers_to_transform': [1]}, 'unexpected tensors'),
    ({'use_dora': True}, 'uses use_dora'),
    ({'use_rslora': True}, 'uses use_rslora'),
    ({'rank_pattern': {'q_proj': 2}}, 'uses rank_pattern'),
    ({'bias': 'all'}, 'trains biases'),
  ],
)
def test_a_configuration_we_cannot_follow_is_refused(folder, changes, words):
  path = folder / 'adapter_config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  refused(folder, words)


@pytest.mark.parametrize(
  'values, words',
  [
    ([], 'is no JSON object'),
    ({'schema': 'other/v9', 'base_sha256': SHA}, "schema 'other/v9'"),
    ({'schema': adapter_files.SCHEMA}, 'sha256 None'),
  ],
)
def test_a_folder_that_names_no_model_is_refused(folder, values, words):
  (folder / 'consensus_jax.json').write_text(json.dumps(values))
  refused(folder, words)


def change_tensors(folder, change):
  path = folder / 'adapter_model.safetensors'
  tensors = load_file(path)
  change(tensors)
  save_file(tensors, path)


def test_a_damaged_file_of_tensors_is_refused(folder):
  path = folder / 'adapter_model.safetensors'
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  refused(folder, 'truncated')
  path.write_bytes(whole)
  head = 'base_model.model.score.weight'
  change_tensors(folder, lambda x: x.update({head: x[head][0]}))
  refused(folder, r'score.weight should have the shape \[1, 24\]')
  path.write_bytes(whole)
  cuts = {'consensus_jax.cut_points': np.zeros((2, 3), np.float32)}
  change_tensors(folder, lambda x: x.update(cuts))
  refused(folder, r'cut_points should have the shape \[6\]')


def test_half_the_size_is_nearly_the_same(tmp_path):
  saved = made(reward=True)
  for dtype in ('float32', 'float16'):
    save_adapters(tmp_path / dtype, CONFIG, saved, dtype=dtype)
  whole, half = (
    (tmp_path / dtype / 'adapter_model.safetensors').stat().st_size
    for dtype in ('float32', 'float16')
  )
  assert half < 0.7 * whole
  loaded = load_adapters(tmp_path / 'float16', CONFIG, SHA)
  np.testing.assert_array_equal(loaded.reward_head, saved.reward_head)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3),
    loaded.params,
    saved.params,
  )


def test_narrow_tensors_are_widened(folder):
  def narrow(tensors):
    for name, array in tensors.items():
      tensors[name] = array.astype(ml_dtypes.bfloat16)

  change_tensors(folder, narrow)
  loaded = load_adapters(folder, CONFIG, SHA)
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(
      a, b.astype(ml_dtypes.bfloat16).astype(np.float32)
    ),
    loaded.params,
    made(reward=True).params,
  )
  assert loaded.params['up']['a'].dtype == np.float32


@pytest.mark.parametrize('first_layer', [0, 1])
@pytest.mark.parametrize(
  'name', ['tiny_llama', 'tiny_qwen3', 'tiny_llama_reward']
)
def test_peft_computes_the_same(tmp_path, name, first_layer):
  peft = pytest.importorskip('peft')
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  model = tiny_models.load(name)
  reward = model.config.reward_head
  if first_layer >= model.config.num_layers:
    pytest.skip('has one layer')
  settings = dataclasses.replace(LORA, first_layer=first_layer)
  adapters = made(model.config, settings, reward=reward, sha=model.sha256)
  save_adapters(tmp_path / 'a', model.config, adapters)
  auto = (
    transformers.AutoModelForSequenceClassification
    if reward
    else transformers.AutoModelForCausalLM
  )
  base = auto.from_pretrained(tiny_models.GOLDEN / name)
  adapted = peft.PeftModel.from_pretrained(base, tmp_path / 'a').eval()
  tokens = np.random.default_rng(1).integers(0, 60, (2, 9))
  with torch.no_grad():
    expected = adapted.model.model(torch.tensor(tokens)).last_hidden_state
  loaded = load_adapters(tmp_path / 'a', model.config, model.sha256)
  params = lora.merge(
    jax.tree.map(jnp.asarray, model.params), loaded.params, loaded.lora
  )
  found, _ = transformer.hidden(
    params,
    model.config,
    jnp.asarray(tokens),
    jnp.arange(9)[None],
    transformer.causal_mask(9),
  )
  np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
  if reward:
    (head,) = [
      module.weight
      for path, module in adapted.named_modules()
      if path.endswith('score.modules_to_save.default')
    ]
    np.testing.assert_array_equal(head.detach()[0], loaded.reward_head)
