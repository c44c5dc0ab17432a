import dataclasses
import json
import random
import shutil

import damage
import gguf
import jax
import numpy as np
import pytest
import tiny_gguf
from safetensors.numpy import load_file, save_file

from consensus_jax.interop import gguf_file, gguf_model
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.pretrained import load_pretrained
from consensus_jax.model.config import RopeScaling

LLAMA = tiny_gguf.GOLDEN / 'tiny_llama'
QWEN = tiny_gguf.GOLDEN / 'tiny_qwen2'


def assert_same(first, second):
  def check(a, b):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)

  jax.tree.map(check, first, second)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('name', tiny_gguf.FAMILIES)
def test_equals_the_safetensors_of_the_same_model(gguf_paths, name, dtype):
  ours = load_pretrained(gguf_paths[name], dtype=dtype)
  expected = load_pretrained(LLAMA.parent / name, dtype=dtype)
  assert ours.config == expected.config
  assert_same(ours.params, expected.params)


@pytest.fixture(scope='module')
def wide(tmp_path_factory):
  """A Llama with rows of 32, which quantised types need."""
  folder = tmp_path_factory.mktemp('wide') / 'tiny_llama'
  shutil.copytree(LLAMA, folder)
  config = json.loads((folder / 'config.json').read_text())
  config |= {'hidden_size': 32, 'intermediate_size': 64}
  (folder / 'config.json').write_text(json.dumps(config))
  generator = np.random.default_rng(0)
  tensors = {
    name: generator.standard_normal(
      [{16: 32, 40: 64}.get(size, size) for size in tensor.shape], np.float32
    )
    for name, tensor in load_file(folder / 'model.safetensors').items()
  }
  # Two heads of 8 each, whatever the hidden size.
  for name in tensors:
    if 'k_proj' in name or 'v_proj' in name:
      tensors[name] = tensors[name][:16]
  save_file(tensors, folder / 'model.safetensors')
  return folder


@pytest.mark.parametrize('kind', ['F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1'])
def test_quantised_weights_are_those_that_gguf_dequantises(
  wide, tmp_path, kind
):
  path = tiny_gguf.write(tmp_path / 'model.gguf', wide, kind)
  # The same rounding, put into a safetensors folder.
  rounded = tmp_path / 'rounded'
  shutil.copytree(wide, rounded)
  quantization = gguf.GGMLQuantizationType[kind]
  tensors = {
    name: tensor
    if tensor.ndim == 1
    else gguf.quants.dequantize(
      gguf.quants.quantize(tensor, quantization), quantization
    )
    for name, tensor in load_file(wide / 'model.safetensors').items()
  }
  save_file(tensors, rounded / 'model.safetensors')
  ours, expected = load_pretrained(path), load_pretrained(rounded)
  assert_same(ours.params, expected.params)
  exact = load_pretrained(wide).params['layers']['up']
  assert np.any(ours.params['layers']['up'] != exact)


@pytest.mark.parametrize(
  ('without', 'message'),
  [
    ('block_count', "lacks the field 'llama.block_count'"),
    ('attention.head_count', "lacks the field 'llama.attention.head_count'"),
    ('token_embd.weight', 'lacks tensor token_embd.weight'),
    ('blk.1.attn_q.weight', 'lacks tensor blk.1.attn_q.weight'),
    ('blk.0.ffn_norm.weight', 'lacks tensor blk.0.ffn_norm.weight'),
  ],
)
def test_names_what_is_missing(tmp_path, without, message):
  path = tmp_path / 'model.gguf'
  tiny_gguf.write(path, LLAMA, without=(without,))
  with pytest.raises(ModelFileError, match=message):
    load_pretrained(path)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'block_count': 2**31}, 'says that it has 2147483648 layers'),
    ({'block_count': 1}, 'has the unexpected tensors blk.1.attn_k.weight'),
    ({'block_count': 0}, 'num_layers must be a positive integer'),
    ({'block_count': 2.0}, "'llama.block_count' of a wrong type"),
    ({'attention.head_count': 0}, 'has 0 attention heads'),
    ({'attention.head_count_kv': 3}, 'num_kv_heads must divide num_heads'),
    ({'feed_forward_length': 2**31}, r'should have the shape \['),
    ({'attention.key_length': 2**31}, 'with heads of 2147483648'),
    ({'rope.dimension_count': 4}, 'rope.dimension_count 4 with heads of 8'),
    ({'attention.sliding_window': 64}, 'uses llama.attention.sliding_window'),
    ({'expert_count': 8}, 'uses llama.expert_count'),
    (
      {'attention.layer_norm_rms_epsilon': float('nan')},
      'norm_epsilon must be positive',
    ),
  ],
)
def test_refuses_a_wrong_or_unsupported_field(tmp_path, fields, message):
  path = tmp_path / 'model.gguf'
  tiny_gguf.write(path, LLAMA, fields=fields)
  with pytest.raises(ModelFileError, match=message) as caught:
    load_pretrained(path)
  assert str(caught.value).startswith(str(path))


def write_rope(path, factors, theta=500_000.0, head_dim=64, more=()):
  """The least from which a configuration can be read."""
  writer = gguf.GGUFWriter(path, 'llama')
  for key, value in {
    'block_count': 1,
    'context_length': 131_072,
    'embedding_length': head_dim,
    'feed_forward_length': 8,
    'attention.head_count': 1,
  }.items():
    writer.add_uint32(f'llama.{key}', value)
  writer.add_float32('llama.attention.layer_norm_rms_epsilon', 1e-5)
  writer.add_float32('llama.rope.freq_base', theta)
  for key, value in more:
    writer.add_string(key, value)
  writer.add_tensor('token_embd.weight', np.ones((1, head_dim), np.float32))
  writer.add_tensor('rope_freqs.weight', np.asarray(factors, np.float32))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return gguf_file.read_gguf(path)


def published(factor, theta=500_000.0, low=1.0):
  return {
    'factor': factor,
    'low_freq_factor': low,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
    'rope_theta': theta,
  }


@pytest.mark.parametrize(
  ('factor', 'theta', 'head_dim'),
  [
    (8.0, 500_000.0, 128),  # Llama 3.1
    (32.0, 500_000.0, 64),  # Llama 3.2 1B
    (16.0, 500_000.0, 128),
    (8.0, 10_000.0, 8),  # No frequency is low enough for the whole factor.
  ],
)
def test_finds_the_scaling_of_llama_3(tmp_path, factor, theta, head_dim):
  factors = tiny_gguf.rope_factors(published(factor, theta), head_dim)
  file = write_rope(tmp_path / 'model.gguf', factors, theta, head_dim)
  config = gguf_model.read_config(file)
  assert config.rope_scaling == RopeScaling(
    factor=factor,
    low_frequency_factor=1.0,
    high_frequency_factor=4.0,
    original_max_length=8192,
  )


def test_factors_of_one_are_no_scaling(tmp_path):
  file = write_rope(tmp_path / 'model.gguf', np.ones(32))
  assert gguf_model.read_config(file).rope_scaling is None


@pytest.mark.parametrize(
  'factors',
  [
    tiny_gguf.rope_factors(published(8.0, low=2.0), 64),
    np.full(32, np.nan),
    np.full(32, np.inf),
    np.linspace(0, 8, 32),
    -np.ones(32),
  ],
)
def test_refuses_factors_of_another_scaling(tmp_path, factors):
  file = write_rope(tmp_path / 'model.gguf', factors)
  with pytest.raises(ModelFileError, match='not the RoPE scaling of Llama 3'):
    gguf_model.read_config(file)


def test_refuses_other_scalings_and_architectures(tmp_path):
  path = tmp_path / 'model.gguf'
  file = write_rope(
    path, np.ones(32), more=[('llama.rope.scaling.type', 'yarn')]
  )
  with pytest.raises(ModelFileError, match="RoPE scaling 'yarn'"):
    gguf_model.read_config(file)
  with pytest.raises(ModelFileError, match=r'should have the shape \[32\]'):
    gguf_model.read_config(write_rope(path, np.ones(31)))
  fields = dict(file.fields, **{'general.architecture': 'mamba'})
  with pytest.raises(ModelFileError, match="architecture 'mamba'"):
    gguf_model.read_config(dataclasses.replace(file, fields=fields))


def test_damage_ends_in_one_error(tmp_path):
  path = tiny_gguf.write(tmp_path / 'model.gguf', LLAMA)
  data = path.read_bytes()
  start = min(t.offset for t in gguf_file.read_gguf(path).tensors.values())
  outcomes = set()
  for changed in damage.copies(data, start, seed=2, number=300):
    path.write_bytes(changed)
    try:
      load_pretrained(path)
      outcomes.add('loaded')
    except ModelFileError:
      outcomes.add('refused')
  assert outcomes == {'loaded', 'refused'}


def test_weights_may_be_anything(tmp_path):
  path = tiny_gguf.write(tmp_path / 'model.gguf', QWEN)
  data = bytearray(path.read_bytes())
  start = min(t.offset for t in gguf_file.read_gguf(path).tensors.values())
  chooser = random.Random(3)
  data[start:] = chooser.randbytes(len(data) - start)
  path.write_bytes(data)
  embedding = load_pretrained(path).params['embedding']
  assert not np.all(np.isfinite(embedding))
  load_pretrained(path, dtype='bfloat16')
