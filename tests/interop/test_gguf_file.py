import struct
import tracemalloc

import damage
import gguf
import numpy as np
import pytest
import tiny_gguf

from consensus_jax.interop import gguf_file
from consensus_jax.interop.errors import ModelFileError

UINT32, STRING, ARRAY = 4, 8, 9


def text(value):
  return struct.pack('<Q', len(value)) + value.encode()


def field(key, kind, value):
  return text(key) + struct.pack('<I', kind) + value


def tensor(name, dimensions, kind=0, offset=0):
  return (
    text(name)
    + struct.pack('<I', len(dimensions))
    + struct.pack(f'<{len(dimensions)}Q', *dimensions)
    + struct.pack('<IQ', kind, offset)
  )


def header(fields=(), tensors=(), version=3, num_fields=None, num_tensors=None):
  return (
    b'GGUF'
    + struct.pack(
      '<IQQ',
      version,
      len(tensors) if num_tensors is None else num_tensors,
      len(fields) if num_fields is None else num_fields,
    )
    + b''.join(fields)
    + b''.join(tensors)
  )


def padded(data, num_bytes, alignment=32):
  return data + bytes(-len(data) % alignment + num_bytes)


@pytest.fixture
def read(tmp_path):
  def read_bytes(data):
    path = tmp_path / 'model.gguf'
    path.write_bytes(data)
    return gguf_file.read_gguf(path)

  return read_bytes


def test_reads_what_the_gguf_package_reads(gguf_paths):
  for path in gguf_paths.values():
    ours, theirs = gguf_file.read_gguf(path), gguf.GGUFReader(path)
    fields = {
      key: field.contents()
      for key, field in theirs.fields.items()
      if not key.startswith('GGUF.')
    }
    assert fields.keys() == ours.fields.keys()
    for key, value in fields.items():
      np.testing.assert_array_equal(ours.fields[key], value)
    assert len(theirs.tensors) == len(ours.tensors)
    for tensor in theirs.tensors:
      np.testing.assert_array_equal(ours.read(tensor.name), tensor.data)


@pytest.mark.parametrize(
  'kind',
  [
    'F32',
    'F16',
    'BF16',
    'Q4_0',
    'Q4_1',
    'Q5_0',
    'Q5_1',
    'Q8_0',
  ],
)
# The second is read in several pieces, the last of them a short one.
@pytest.mark.parametrize('shape', [(3, 64), (37, 32 * 257)])
def test_dequantises_as_the_gguf_package(tmp_path, kind, shape):
  weights = np.random.default_rng(0).standard_normal(shape, np.float32)
  quantization = gguf.GGMLQuantizationType[kind]
  data = gguf.quants.quantize(weights, quantization)
  writer = gguf.GGUFWriter(tmp_path / 'model.gguf', 'llama')
  writer.add_tensor('first', np.ones(5, np.float32))
  writer.add_tensor('weights', data, raw_dtype=quantization)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  read = gguf_file.read_gguf(tmp_path / 'model.gguf').read('weights')
  assert read.dtype == np.float32
  np.testing.assert_array_equal(
    read, gguf.quants.dequantize(data, quantization)
  )
  worst = {'F32': 0, 'F16': 2e-3, 'BF16': 2e-2, 'Q8_0': 2e-2}.get(kind, 0.5)
  assert np.abs(read - weights).max() <= worst


def test_knows_the_sizes_of_every_type():
  for number, (name, block, num_bytes) in gguf_file._TENSOR_TYPES.items():
    kind = gguf.GGMLQuantizationType(number)
    assert kind.name == name
    assert gguf.GGML_QUANT_SIZES[kind] == (block, num_bytes)
    data = np.zeros((1, num_bytes), np.uint8)
    assert gguf.quants.dequantize(data, kind).size == block


def test_reads_version_2_and_another_alignment(read):
  aligned = field('general.alignment', UINT32, struct.pack('<I', 64))
  data = header([aligned], [tensor('a', [4])], version=2)
  data = padded(data, 0, 64) + np.arange(4, dtype='<f4').tobytes()
  np.testing.assert_array_equal(read(data).read('a'), [0, 1, 2, 3])


@pytest.mark.parametrize(
  ('data', 'message'),
  {
    'empty': (b'', 'truncated'),
    'magic': (b'GGML' + bytes(40), 'is no GGUF file'),
    'version': (header(version=4), 'GGUF version 4'),
    'big-endian': (header(version=3 << 24), 'big-endian'),
    'tensors': (header(num_tensors=2**63), '9223372036854775808 tensors'),
    'fields': (header(num_fields=100_001), '100001 metadata fields'),
    'cut': (header(num_fields=1), 'truncated'),
    'key': (header([struct.pack('<QI', 2**64 - 1, 4)]), 'truncated'),
    'string': (
      header([field('a', STRING, struct.pack('<Q', 2**62))]),
      'truncated',
    ),
    'array': (
      header([field('a', ARRAY, struct.pack('<IQ', UINT32, 2**62))]),
      'truncated',
    ),
    'array of strings': (
      header([field('a', ARRAY, struct.pack('<IQ', STRING, 2**61))]),
      'truncated',
    ),
    'array of arrays': (
      header([field('a', ARRAY, struct.pack('<IQ', ARRAY, 1))]),
      'unknown type',
    ),
    'kind': (header([field('a', 99, b'')]), 'unknown type'),
    'not UTF-8': (
      header([field('a', STRING, struct.pack('<Q', 1) + b'\xff')]),
      'not UTF-8',
    ),
    'twice': (
      header([field('a', UINT32, bytes(4))] * 2),
      "the field 'a' twice",
    ),
    'alignment 48': (
      header([field('general.alignment', UINT32, struct.pack('<I', 48))]),
      'got 48',
    ),
    'alignment 0': (
      header([field('general.alignment', UINT32, bytes(4))]),
      'got 0',
    ),
    'alignment 8192': (
      header([field('general.alignment', UINT32, struct.pack('<I', 8192))]),
      'got 8192',
    ),
    # The gguf package 0.19.0 raises an IndexError.
    'dimensions': (
      header(num_tensors=1, tensors=[text('a') + struct.pack('<I', 2**32 - 1)]),
      'claims 4294967295 dimensions',
    ),
    # There the product wraps to zero.
    'overflow': (
      padded(header(tensors=[tensor('a', [2**33, 2**33])]), 64),
      'takes 295147905179352825856 bytes',
    ),
    'no weights': (padded(header(tensors=[tensor('a', [0])]), 64), '0 bytes'),
    'type': (
      padded(header(tensors=[tensor('a', [4], kind=4)]), 64),
      'unsupported type 4',
    ),
    'block': (
      padded(header(tensors=[tensor('a', [33], kind=2)]), 64),
      'no multiple of the 32',
    ),
    'unaligned': (
      padded(header(tensors=[tensor('a', [4], offset=8)]), 64),
      'unaligned',
    ),
    'outside': (
      padded(header(tensors=[tensor('a', [4], offset=2**62)]), 64),
      'truncated',
    ),
    'short': (padded(header(tensors=[tensor('a', [4])]), 15), 'truncated'),
    'overlap': (
      padded(
        header(tensors=[tensor('a', [16]), tensor('b', [4], offset=32)]), 64
      ),
      'overlaps',
    ),
    'same name': (
      padded(
        header(tensors=[tensor('a', [4]), tensor('a', [4], offset=32)]), 64
      ),
      "tensor 'a' twice",
    ),
  }.values(),
)
def test_refuses_a_hostile_header(read, data, message):
  with pytest.raises(ModelFileError, match=message) as caught:
    read(data)
  assert 'model.gguf: ' in str(caught.value)


def test_refuses_what_is_no_file(tmp_path):
  with pytest.raises(ModelFileError, match='cannot be read'):
    gguf_file.read_gguf(tmp_path)
  with pytest.raises(ModelFileError, match='cannot be read'):
    gguf_file.read_gguf(tmp_path / 'absent.gguf')


def test_an_error_is_one_short_printable_line(read):
  name = 'a\n\x1b[2J' * 1000
  with pytest.raises(ModelFileError) as caught:
    read(padded(header(tensors=[tensor(name, [4], kind=4)]), 64))
  assert str(caught.value).isprintable()
  assert len(str(caught.value)) <= 1000


def test_damage_ends_in_one_error_and_bounded_memory(tmp_path):
  path = tiny_gguf.write(
    tmp_path / 'model.gguf', tiny_gguf.GOLDEN / 'tiny_llama'
  )
  data = path.read_bytes()
  start = min(t.offset for t in gguf_file.read_gguf(path).tensors.values())
  refused = 0
  for changed in damage.copies(data, start, seed=0, number=800):
    path.write_bytes(changed)
    try:
      gguf_file.read_gguf(path)
    except ModelFileError:
      refused += 1
  assert 400 < refused < 800
  tracemalloc.start()
  for changed in damage.copies(data, start, seed=1, number=40):
    path.write_bytes(changed)
    try:
      file = gguf_file.read_gguf(path)
      for name in file.tensors:
        file.read(name)
    except ModelFileError:
      pass
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20 * len(data)
