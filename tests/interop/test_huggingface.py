import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gguf
from safetensors.numpy import load_file, save_file

from consensus_jax.interop import huggingface, pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import RopeScaling

GOLDEN = tiny_gguf.GOLDEN
ALL = (*tiny_gguf.FAMILIES, 'tiny_llama_reward')


def assert_same(first, second):
  def check(a, b):
    assert a.dtype == b.dtype
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

  jax.tree.map(check, first, second)


@pytest.fixture
def folder(tmp_path):
  """A copy of a golden folder, whose files may be changed."""

  def copy(name='tiny_llama'):
    target = tmp_path / name
    shutil.copytree(GOLDEN / name, target)
    return target

  return copy


def change_config(path, **values):
  file = path / 'config.json'
  config = json.loads(file.read_text()) | values
  config = {k: v for k, v in config.items() if v is not ...}
  file.write_text(json.dumps(config))


def change_tensors(path, function):
  file = path / 'model.safetensors'
  tensors = load_file(file)
  function(tensors)
  save_file(tensors, file)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('max_shard_bytes', [20_000, 10**9])
@pytest.mark.parametrize('name', ALL)
def test_import_export_import_is_bit_equal(
  tmp_path, name, max_shard_bytes, dtype
):
  first = pretrained.load_pretrained(GOLDEN / name, dtype=dtype)
  path = tmp_path / 'exported'
  pretrained.save_pretrained(path, first, max_shard_bytes=max_shard_bytes)
  second = pretrained.load_pretrained(path, dtype=dtype)
  assert first.config == second.config
  assert_same(first.params, second.params)
  shards = sorted(path.glob('*.safetensors'))
  assert (len(shards) > 1) == (max_shard_bytes == 20_000)
  if len(shards) > 1:
    assert all(shard.stat().st_size < 25_000 for shard in shards[1:])
    index = json.loads((path / 'model.safetensors.index.json').read_text())
    assert set(index['weight_map'].values()) == {s.name for s in shards}
  if dtype == 'float32':
    written = {}
    for shard in shards:
      written |= load_file(shard)
    source = load_file(GOLDEN / name / 'model.safetensors')
    assert written.keys() == source.keys()
    for key, tensor in source.items():
      np.testing.assert_array_equal(written[key], tensor)


def test_the_tree_holds_what_the_file_holds():
  """One value of each parameter, found by hand."""
  tensors = load_file(GOLDEN / 'tiny_qwen2' / 'model.safetensors')
  params = pretrained.load_pretrained(GOLDEN / 'tiny_qwen2').params
  layers, prefix = params['layers'], 'model.layers.1.'
  # Head 3, dimension 2 is row 3 * 4 + 2; input 5.
  name = f'{prefix}self_attn.q_proj'
  assert layers['query'][1, 3, 2, 5] == tensors[f'{name}.weight'][14, 5]
  assert layers['query_bias'][1, 3, 2] == tensors[f'{name}.bias'][14]
  name = f'{prefix}self_attn.v_proj'
  assert layers['value'][1, 1, 2, 5] == tensors[f'{name}.weight'][6, 5]
  assert layers['value_bias'][1, 1, 2] == tensors[f'{name}.bias'][6]
  name = f'{prefix}self_attn.o_proj.weight'
  assert layers['attention_output'][1, 5, 3, 2] == tensors[name][5, 14]
  assert (
    layers['down'][1, 3, 7] == tensors[f'{prefix}mlp.down_proj.weight'][3, 7]
  )
  assert (
    layers['gate'][1, 7, 3] == tensors[f'{prefix}mlp.gate_proj.weight'][7, 3]
  )
  assert params['lm_head'][9, 3] == tensors['lm_head.weight'][9, 3]


def test_norms_biases_and_head_stay_float32():
  for name in ('tiny_qwen2', 'tiny_qwen3', 'tiny_llama_reward'):
    model = pretrained.load_pretrained(GOLDEN / name, dtype=jnp.bfloat16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
      key = path[-1].key
      kept = 'norm' in key or 'bias' in key or key == 'reward_head'
      assert leaf.dtype == (np.float32 if kept else jnp.bfloat16), key


def test_reads_float16_and_rounds_to_bfloat16(folder):
  path = folder()

  def halve(tensors):
    for key in tensors:
      tensors[key] = tensors[key].astype(np.float16)

  change_tensors(path, halve)
  exact = load_file(path / 'model.safetensors')['model.embed_tokens.weight']
  full = pretrained.load_pretrained(path).params['embedding']
  np.testing.assert_array_equal(full, exact)
  rounded = pretrained.load_pretrained(path, dtype='bfloat16').params
  np.testing.assert_array_equal(
    rounded['embedding'], jnp.asarray(exact, jnp.bfloat16)
  )


def test_exports_arrays_of_jax(tmp_path):
  model = pretrained.load_pretrained(GOLDEN / 'tiny_qwen3', dtype='bfloat16')
  on_device = dataclasses.replace(
    model, params=jax.tree.map(jnp.asarray, model.params)
  )
  pretrained.save_pretrained(tmp_path / 'a', on_device)
  again = pretrained.load_pretrained(tmp_path / 'a', dtype='bfloat16')
  assert_same(model.params, again.params)


def test_a_reward_model_keeps_a_language_head_that_it_has(tmp_path):
  model = pretrained.load_pretrained(GOLDEN / 'tiny_llama')
  head = np.arange(16, dtype=np.float32)
  model = dataclasses.replace(
    model,
    config=dataclasses.replace(model.config, reward_head=True),
    params=model.params | {'reward_head': head},
  )
  pretrained.save_pretrained(tmp_path / 'a', model)
  again = pretrained.load_pretrained(tmp_path / 'a')
  assert again.config == model.config
  assert_same(model.params, again.params)


@pytest.mark.parametrize(
  'changes',
  [
    {'gated_mlp': False},
    {'activation': 'gelu'},
    {'qk_norm': True, 'qkv_bias': True},
  ],
)
def test_exports_only_what_a_family_has(tmp_path, changes):
  model = pretrained.load_pretrained(GOLDEN / 'tiny_llama')
  config = dataclasses.replace(model.config, **changes)
  model = dataclasses.replace(model, config=config)
  with pytest.raises(ModelFileError, match='no Hugging Face family matches'):
    pretrained.save_pretrained(tmp_path / 'a', model)
  assert not any(tmp_path.iterdir())


def test_exports_only_parameters_of_the_configuration(tmp_path):
  model = pretrained.load_pretrained(GOLDEN / 'tiny_llama')
  config = dataclasses.replace(model.config, mlp_dim=41)
  with pytest.raises(ValueError, match=r'layers/up should have the shape \(2'):
    huggingface.save(tmp_path, config, model.params, {})


def test_old_and_new_forms_of_rope_scaling_say_the_same(folder):
  path = folder()
  new = pretrained.load_pretrained(path).config
  config = json.loads((path / 'config.json').read_text())
  rope = config['rope_parameters']
  theta = rope.pop('rope_theta')
  change_config(path, rope_parameters=..., rope_theta=theta, rope_scaling=rope)
  assert pretrained.load_pretrained(path).config == new
  rope['type'] = rope.pop('rope_type')
  change_config(path, rope_scaling=rope)
  assert pretrained.load_pretrained(path).config == new
  assert new.rope_scaling == RopeScaling(
    factor=8.0,
    low_frequency_factor=1.0,
    high_frequency_factor=4.0,
    original_max_length=64,
  )


def test_reads_defaults_of_the_families(folder):
  path = folder('tiny_qwen2')
  expected = pretrained.load_pretrained(path).config
  change_config(
    path,
    head_dim=None,
    tie_word_embeddings=...,
    rms_norm_eps=...,
    use_sliding_window=True,
    layer_types=...,
    max_window_layers=2,
  )
  assert pretrained.load_pretrained(path).config == expected


def test_ignores_tied_heads_and_stored_frequencies(folder):
  path = folder('tiny_llama_tied')
  expected = pretrained.load_pretrained(path)

  def add(tensors):
    name = 'model.layers.0.self_attn.rotary_emb.inv_freq'
    tensors[name] = np.ones(4, np.float32)
    tensors['lm_head.weight'] = tensors['model.embed_tokens.weight'].copy()

  change_tensors(path, add)
  assert_same(pretrained.load_pretrained(path).params, expected.params)

  def untie(tensors):
    tensors['lm_head.weight'][3, 4] += 1

  change_tensors(path, untie)
  with pytest.raises(ModelFileError, match='ties the embeddings, but lm_head'):
    pretrained.load_pretrained(path)


ROPE = {'rope_theta': 1e4}


@pytest.mark.parametrize(
  ('name', 'values', 'message'),
  [
    ('tiny_llama', {'model_type': 'mamba'}, "model_type 'mamba'"),
    ('tiny_llama', {'model_type': ...}, 'model_type None'),
    ('tiny_llama', {'model_type': ['llama']}, 'supported are llama, qwen2'),
    ('tiny_llama', {'hidden_size': ...}, 'lacks hidden_size'),
    ('tiny_llama', {'hidden_size': '16'}, 'a whole number as hidden_size'),
    ('tiny_llama', {'hidden_size': True}, 'a whole number as hidden_size'),
    ('tiny_llama', {'rms_norm_eps': 10**400}, 'no finite number'),
    ('tiny_llama', {'rms_norm_eps': float('nan')}, 'no finite number'),
    ('tiny_llama', {'num_attention_heads': 0}, 'num_heads must be a positive'),
    ('tiny_llama', {'num_hidden_layers': 10**9}, '1000000000 layers'),
    ('tiny_llama', {'intermediate_size': 10**15}, 'should have the shape'),
    ('tiny_llama', {'attention_bias': True}, 'attention_bias'),
    ('tiny_llama', {'mlp_bias': True}, 'mlp_bias'),
    ('tiny_llama', {'hidden_act': 'relu'}, "hidden_act 'relu'"),
    ('tiny_llama', {'architectures': ['LlamaModel']}, 'LlamaForCausalLM'),
    ('tiny_llama', {'architectures': 3}, 'LlamaForCausalLM'),
    ('tiny_llama', {'quantization_config': {'bits': 4}}, 'quantization_config'),
    ('tiny_llama', {'num_local_experts': 8}, 'num_local_experts'),
    ('tiny_llama', {'tie_word_embeddings': 1}, 'true or false'),
    ('tiny_llama', {'rope_parameters': 3}, 'no JSON object'),
    (
      'tiny_llama',
      {'rope_parameters': ROPE | {'rope_type': 'yarn'}},
      "RoPE scaling 'yarn'",
    ),
    (
      'tiny_llama',
      {'rope_parameters': ROPE | {'rope_type': 'llama3', 'factor': 8}},
      'lacks low_freq_factor',
    ),
    (
      'tiny_llama',
      {'rope_parameters': {'full_attention': ROPE}},
      'is not supported|only llama3',
    ),
    (
      'tiny_qwen2',
      {'rope_parameters': ROPE | {'mrope_section': [1, 1]}},
      'mrope_section',
    ),
    (
      'tiny_qwen3',
      {'rope_parameters': ROPE | {'partial_rotary_factor': 0.5}},
      'partial_rotary_factor',
    ),
    (
      'tiny_qwen2',
      {'layer_types': ['full_attention', 'sliding_attention']},
      'sliding windows',
    ),
    (
      'tiny_qwen2',
      {
        'layer_types': ...,
        'use_sliding_window': True,
        'max_window_layers': 1,
      },
      'sliding windows',
    ),
    ('tiny_qwen2', {'num_key_value_heads': ...}, 'lacks num_key_value_heads'),
    ('tiny_llama_reward', {'id2label': ...}, 'classifies into 2 labels'),
    ('tiny_llama_reward', {'num_labels': 3}, 'classifies into 3 labels'),
    ('tiny_llama', {'vocab_size': 319}, 'should have the shape'),
  ],
)
def test_refuses_a_wrong_or_unsupported_config(folder, name, values, message):
  path = folder(name)
  change_config(path, **values)
  with pytest.raises(ModelFileError, match=message) as caught:
    pretrained.load_pretrained(path)
  assert str(caught.value).startswith(str(path))


def drop(*names):
  def change(tensors):
    for name in names:
      del tensors[name]

  return change


def put(**shapes):
  def change(tensors):
    for name, shape in shapes.items():
      tensors[name.replace('__', '.')] = np.zeros(shape, np.float32)

  return change


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (drop('model.norm.weight'), r'lacks tensor model\.norm\.weight'),
    (
      drop('lm_head.weight', 'model.layers.1.mlp.up_proj.weight'),
      r'lacks tensors model\.layers\.1\.mlp\.up_proj\.weight, lm_head\.weight',
    ),
    (put(extra__bias=(2,)), r'unexpected tensor extra\.bias'),
    (
      put(model__norm__weight=(17,)),
      r'tensor model\.norm\.weight should have the shape \[16\], it has \[17\]',
    ),
    (
      lambda tensors: tensors.update(
        {'model.norm.weight': np.zeros(16, np.float64)}
      ),
      'tensor model.norm.weight has the type F64',
    ),
  ],
)
def test_names_tensors_that_do_not_fit(folder, change, message):
  path = folder()
  change_tensors(path, change)
  with pytest.raises(ModelFileError, match=message):
    pretrained.load_pretrained(path)


def test_refuses_incomplete_and_foreign_indices(folder):
  path = folder()
  model = pretrained.load_pretrained(path)
  sharded = path.parent / 'sharded'
  pretrained.save_pretrained(sharded, model, max_shard_bytes=20_000)
  index = sharded / 'model.safetensors.index.json'
  last = max(sharded.glob('*.safetensors'))
  last.rename(sharded / 'elsewhere')
  with pytest.raises(ModelFileError, match='is missing, but named in'):
    pretrained.load_pretrained(sharded)
  shutil.copy(min(sharded.glob('*.safetensors')), last)
  with pytest.raises(
    ModelFileError, match=r'has tensor .*, as has model-00001'
  ):
    pretrained.load_pretrained(sharded)
  for value in (
    {},
    {'weight_map': {'a': '../../tiny_llama/model.safetensors'}},
    {'weight_map': {'a': '/etc/passwd'}},
    {'weight_map': {'a': 3}},
    {'weight_map': {'a': '.safetensors'}},
  ):
    index.write_text(json.dumps(value))
    with pytest.raises(ModelFileError, match='has no weight_map'):
      pretrained.load_pretrained(sharded)


def test_never_reads_a_pickle(folder):
  path = folder()
  (path / 'model.safetensors').rename(path / 'pytorch_model.bin')
  with pytest.raises(ModelFileError, match=r'pytorch_model\.bin, a pickle'):
    pretrained.load_pretrained(path)
  with pytest.raises(ModelFileError, match='is a pickle'):
    pretrained.load_pretrained(path / 'pytorch_model.bin')


def test_says_what_a_folder_lacks(folder):
  path = folder()
  (path / 'config.json').unlink()
  with pytest.raises(ModelFileError, match=r'has no config\.json'):
    pretrained.load_pretrained(path)
  with pytest.raises(ModelFileError, match=r'has no model\.safetensors'):
    pretrained.load_pretrained(pathlib.Path(path).parent)
