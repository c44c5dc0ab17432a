import json
import tracemalloc

import damage
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from consensus_jax.interop import safetensors_file
from consensus_jax.interop.errors import ModelFileError

ARRAYS = {
  'a': np.arange(6, dtype=np.float32).reshape(2, 3),
  'b': np.array([1, -2, np.inf], np.float16),
  'c': np.arange(4).astype(ml_dtypes.bfloat16).reshape(4, 1),
  'd': np.zeros((0, 3), np.float32),
}


def encode(header, data=b''):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return len(text).to_bytes(8, 'little') + text + data


def entry(dtype='F32', shape=(1,), offsets=(0, 4)):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': offsets}


@pytest.fixture
def read(tmp_path):
  def read_bytes(data):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(data)
    return safetensors_file.read_safetensors(path)

  return read_bytes


def write(path, arrays):
  safetensors_file.write_safetensors(
    path,
    [(name, array.shape, array.dtype) for name, array in arrays.items()],
    arrays.__getitem__,
  )


def test_the_library_reads_what_is_written(tmp_path):
  path = tmp_path / 'model.safetensors'
  write(path, ARRAYS)
  with safe_open(path, 'np') as file:
    assert file.metadata() == {'format': 'pt'}
    assert list(file.keys()) == list(ARRAYS)
    for name in 'abd':
      read = file.get_tensor(name)
      assert read.dtype == ARRAYS[name].dtype
      np.testing.assert_array_equal(read, ARRAYS[name])
    assert file.get_slice('c').get_dtype() == 'BF16'


def test_reads_what_the_library_and_this_module_write(tmp_path):
  path = tmp_path / 'model.safetensors'
  for writer in (lambda: save_file(ARRAYS, path), lambda: write(path, ARRAYS)):
    writer()
    file = safetensors_file.read_safetensors(path)
    assert file.tensors.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
      read = file.read(name)
      assert read.dtype == array.dtype
      np.testing.assert_array_equal(read, array)
      assert not read.flags.writeable


def test_refuses_to_read_integers_as_parameters(read):
  file = read(encode({'a': entry('I32')}, bytes(4)))
  with pytest.raises(ModelFileError, match='tensor a has the type I32'):
    file.read('a')


@pytest.mark.parametrize(
  ('data', 'message'),
  {
    'empty': (b'', 'truncated'),
    'length': ((2**63).to_bytes(8, 'little'), '9223372036854775808 bytes'),
    'cut': (encode({'a': entry()}, bytes(4))[:30], 'truncated'),
    'no JSON': (encode(b'{'), 'no JSON'),
    'deep': (encode(b'[' * 100_000), 'no JSON'),
    'no UTF-8': (encode(b'{"\xff": 1}'), 'no JSON'),
    'list': (encode([]), 'no table'),
    'no entry': (encode({'a': 1}), "describes tensor 'a' wrongly"),
    'no type': (encode({'a': {'shape': []}}), 'wrongly'),
    'negative': (encode({'a': entry(shape=[-1])}), 'wrongly'),
    'boolean': (encode({'a': entry(shape=[True])}), 'wrongly'),
    'fraction': (encode({'a': entry(shape=[1.0])}), 'wrongly'),
    'dimensions': (encode({'a': entry(shape=[1] * 9)}, bytes(4)), 'wrongly'),
    'offsets': (encode({'a': entry(offsets=[0])}), 'wrongly'),
    'type': (encode({'a': entry('F31')}, bytes(4)), "unknown type 'F31'"),
    'size': (encode({'a': entry(shape=[2])}, bytes(8)), 'does not take 4'),
    # In 64 bits this product would wrap to zero.
    'overflow': (
      encode({'a': entry(shape=[2**33, 2**33], offsets=[0, 0])}),
      'does not take 0 bytes',
    ),
    'backwards': (encode({'a': entry(offsets=[4, 0])}), 'does not take -4'),
    'outside': (encode({'a': entry(offsets=[96, 100])}, bytes(4)), 'a gap'),
    'short': (encode({'a': entry()}, bytes(3)), 'truncated'),
    'long': (encode({'a': entry()}, bytes(5)), 'damaged'),
    'overlap': (encode({'a': entry(), 'b': entry()}, bytes(4)), 'overlaps'),
  }.values(),
)
def test_refuses_a_hostile_header(read, data, message):
  with pytest.raises(ModelFileError, match=message) as caught:
    read(data)
  assert 'model.safetensors: ' in str(caught.value)


def test_damage_ends_in_one_error_and_bounded_memory(tmp_path):
  path = tmp_path / 'model.safetensors'
  write(path, ARRAYS)
  data = path.read_bytes()
  header_size = 8 + int.from_bytes(data[:8], 'little')
  refused = 0
  tracemalloc.start()
  for changed in damage.copies(data, header_size, seed=0, number=500):
    path.write_bytes(changed)
    try:
      file = safetensors_file.read_safetensors(path)
      for name in file.tensors:
        file.read(name)
    except ModelFileError:
      refused += 1
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert 250 < refused < 500
  assert peak < 1_000_000


def test_accepts_whatever_the_library_accepts(tmp_path):
  path = tmp_path / 'model.safetensors'
  write(path, {'a': ARRAYS['a'], 'b': ARRAYS['b']})
  data = path.read_bytes()
  header_size = 8 + int.from_bytes(data[:8], 'little')
  accepted = 0
  for changed in damage.copies(data, header_size, seed=1, number=500):
    path.write_bytes(changed)
    try:
      theirs = load_file(path)
    except Exception:  # Their errors are many.
      continue
    file = safetensors_file.read_safetensors(path)
    accepted += 1
    for name, array in theirs.items():
      np.testing.assert_array_equal(file.read(name), array)
  assert accepted > 2
