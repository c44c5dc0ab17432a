"""Reads GGUF files: header and metadata here, dequantisation by `gguf`.

The header is checked here, in Python integers and against the size of the file,
before anything is allocated: readers of this format have not been safe against
hostile files. Reading is also lean: a file with 49,000 tokens takes some 0.1 s.

Source: docs/gguf.md of the ggml project, versions 2 and 3 of the format.
"""

import dataclasses
import math
import mmap
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from consensus_jax.interop.errors import ModelFileError

_MAGIC = b'GGUF'
_MAX_TENSORS = 100_000
_MAX_FIELDS = 100_000
_MAX_NAME = 65_535
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT = 4096
_DEFAULT_ALIGNMENT = 32

# Weights that are dequantised at a time.
_PIECE = 1 << 18

# Types of metadata values by their number in the file, as struct names them.
_SCALARS = {
  0: 'B',
  1: 'b',
  2: 'H',
  3: 'h',
  4: 'I',
  5: 'i',
  6: 'f',
  7: '?',
  10: 'Q',
  11: 'q',
  12: 'd',
}
_UINT32, _UINT64 = 'I', 'Q'
_STRING = 8
_ARRAY = 9

# Types of tensors: number in the file to name, weights a block, bytes a block.
# These are the ones that `gguf.quants.dequantize` knows.
_TENSOR_TYPES = {
  0: ('F32', 1, 4),
  1: ('F16', 1, 2),
  2: ('Q4_0', 32, 18),
  3: ('Q4_1', 32, 20),
  6: ('Q5_0', 32, 22),
  7: ('Q5_1', 32, 24),
  8: ('Q8_0', 32, 34),
  10: ('Q2_K', 256, 84),
  11: ('Q3_K', 256, 110),
  12: ('Q4_K', 256, 144),
  13: ('Q5_K', 256, 176),
  14: ('Q6_K', 256, 210),
  16: ('IQ2_XXS', 256, 66),
  17: ('IQ2_XS', 256, 74),
  18: ('IQ3_XXS', 256, 98),
  19: ('IQ1_S', 256, 50),
  20: ('IQ4_NL', 32, 18),
  21: ('IQ3_S', 256, 110),
  22: ('IQ2_S', 256, 82),
  23: ('IQ4_XS', 256, 136),
  29: ('IQ1_M', 256, 56),
  30: ('BF16', 1, 2),
  39: ('MXFP4', 32, 17),
}


@dataclasses.dataclass(frozen=True)
class GgufTensor:
  """Where one tensor lies: `num_bytes` at `offset` from the file's start."""

  shape: tuple[int, ...]
  type_name: str
  offset: int
  num_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class GgufFile:
  """A checked GGUF file: metadata, and tensors that are not yet read.

  `fields` holds Python numbers, booleans and strings, lists of strings and
  one-dimensional numpy arrays. Shapes have the slowest axis first, so a linear
  layer is [outputs, inputs].
  """

  path: pathlib.Path
  fields: Mapping[str, Any]
  tensors: Mapping[str, GgufTensor]
  data: mmap.mmap

  def read(self, name: str) -> Float32[np.ndarray, '...']:
    """One tensor, dequantised."""
    from gguf import constants, quants

    tensor = self.tensors[name]
    kind = constants.GGMLQuantizationType[tensor.type_name]
    block, block_bytes = constants.GGML_QUANT_SIZES[kind]
    raw = np.frombuffer(self.data, np.uint8, tensor.num_bytes, tensor.offset)
    weights = np.empty(tensor.num_bytes // block_bytes * block, np.float32)
    # By pieces that fit into a processor's cache, each as one long row, since
    # `dequantize` would take 16 rows at a time.
    step = _PIECE // block
    # A file may hold any bits as scales; what is made of them is not finite.
    with np.errstate(all='ignore'):
      for start in range(0, len(weights) // block, step):
        piece = raw[start * block_bytes : (start + step) * block_bytes]
        weights[start * block : (start + step) * block] = quants.dequantize(
          piece.reshape(1, -1), kind
        )[0]
    return weights.reshape(tensor.shape)


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
  """Reads a file's metadata and finds its tensors, without reading those.

  Args:
    path: a little-endian GGUF file of version 2 or 3.

  Returns:
    The file, mapped into memory.

  Raises:
    ModelFileError: if the file cannot be read, is truncated or inconsistent,
      or holds tensors of a type that cannot be dequantised.
  """
  path = pathlib.Path(path)
  try:
    with path.open('rb') as file:
      size = os.fstat(file.fileno()).st_size
      if size < 24:
        raise ModelFileError(path, 'is no GGUF file, or is truncated')
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  except OSError as error:
    raise ModelFileError(path, f'cannot be read: {error.strerror}') from error
  cursor = _Cursor(path, data)
  if cursor.take(4) != _MAGIC:
    raise ModelFileError(path, 'is no GGUF file (its first bytes differ)')
  version = cursor.scalar(_UINT32)
  if version not in (2, 3):
    if version.to_bytes(4, 'little') in (b'\0\0\0\2', b'\0\0\0\3'):
      raise ModelFileError(path, 'is a big-endian GGUF file')
    raise ModelFileError(path, f'has GGUF version {version}, not 2 or 3')
  num_tensors = cursor.count('tensors', _MAX_TENSORS)
  num_fields = cursor.count('metadata fields', _MAX_FIELDS)
  fields = _read_fields(cursor, num_fields)
  alignment = _alignment(path, fields)
  tensors = _read_tensors(cursor, num_tensors, alignment)
  return GgufFile(path, fields, tensors, data)


class _Cursor:
  """A place in a mapped file that moves forward and never past the end."""

  def __init__(self, path: pathlib.Path, data: mmap.mmap):
    self.path = path
    self.data = data
    self.offset = 0
    self.size = len(data)

  def take(self, num_bytes: int) -> bytes:
    if num_bytes > self.size - self.offset:
      raise self.truncated()
    self.offset += num_bytes
    return self.data[self.offset - num_bytes : self.offset]

  def truncated(self) -> ModelFileError:
    return ModelFileError(self.path, 'is truncated or damaged in its header')

  def scalar(self, code: str) -> Any:
    unpacker = struct.Struct(f'<{code}')
    return unpacker.unpack(self.take(unpacker.size))[0]

  def count(self, what: str, limit: int) -> int:
    number = self.scalar(_UINT64)
    if number > limit:
      raise ModelFileError(
        self.path, f'claims {number} {what}; at most {limit} are read'
      )
    return number

  def name(self) -> str:
    (text,) = self.strings(1, limit=_MAX_NAME)
    return text

  def strings(self, number: int, limit: int | None = None) -> list[str]:
    # Every string takes at least the eight bytes of its length.
    if number > (self.size - self.offset) // 8:
      raise self.truncated()
    unpack_length = struct.Struct('<Q').unpack_from
    data, offset, size = self.data, self.offset, self.size
    texts = []
    for _ in range(number):
      if size - offset < 8:
        raise self.truncated()
      (length,) = unpack_length(data, offset)
      offset += 8
      if length > size - offset or (limit is not None and length > limit):
        raise self.truncated()
      try:
        texts.append(data[offset : offset + length].decode())
      except UnicodeDecodeError:
        raise ModelFileError(
          self.path, f'holds text that is not UTF-8 at byte {offset}'
        ) from None
      offset += length
    self.offset = offset
    return texts


def _read_fields(cursor: _Cursor, number: int) -> dict[str, Any]:
  fields: dict[str, Any] = {}
  for _ in range(number):
    key = cursor.name()
    if key in fields:
      raise ModelFileError(cursor.path, f'has the field {key!r} twice')
    kind = cursor.scalar(_UINT32)
    fields[key] = _read_value(cursor, key, kind)
  return fields


def _read_value(cursor: _Cursor, key: str, kind: int) -> Any:
  if kind == _STRING:
    (text,) = cursor.strings(1)
    return text
  if kind in _SCALARS:
    return cursor.scalar(_SCALARS[kind])
  if kind == _ARRAY:
    element = cursor.scalar(_UINT32)
    number = cursor.scalar(_UINT64)
    if element == _STRING:
      return cursor.strings(number)
    if element in _SCALARS:
      dtype = np.dtype(f'<{_SCALARS[element]}')
      return np.frombuffer(cursor.take(number * dtype.itemsize), dtype)
  raise ModelFileError(cursor.path, f'has a value of unknown type in {key!r}')


def _alignment(path: pathlib.Path, fields: Mapping[str, Any]) -> int:
  alignment = fields.get('general.alignment', _DEFAULT_ALIGNMENT)
  if (
    type(alignment) is not int
    or not 1 <= alignment <= _MAX_ALIGNMENT
    or alignment & (alignment - 1)
  ):
    raise ModelFileError(
      path,
      'general.alignment must be a power of two up to '
      f'{_MAX_ALIGNMENT}, got {alignment!r}',
    )
  return alignment


def _read_tensors(
  cursor: _Cursor, number: int, alignment: int
) -> dict[str, GgufTensor]:
  """Reads where tensors lie and checks that each fits into its own place."""
  path = cursor.path
  tensors: dict[str, GgufTensor] = {}
  for _ in range(number):
    name = cursor.name()
    if name in tensors:
      raise ModelFileError(path, f'has the tensor {name!r} twice')
    num_dimensions = cursor.scalar(_UINT32)
    if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
      raise ModelFileError(
        path,
        f'tensor {name!r} claims {num_dimensions} dimensions; 1 to '
        f'{_MAX_DIMENSIONS} are read',
      )
    # The file has the fastest axis first.
    shape = tuple(cursor.scalar(_UINT64) for _ in range(num_dimensions))[::-1]
    kind = cursor.scalar(_UINT32)
    offset = cursor.scalar(_UINT64)
    if kind not in _TENSOR_TYPES:
      raise ModelFileError(
        path, f'tensor {name!r} has the unknown or unsupported type {kind}'
      )
    type_name, block, block_bytes = _TENSOR_TYPES[kind]
    if shape[-1] % block:
      raise ModelFileError(
        path,
        f'tensor {name!r} has rows of {shape[-1]}, no multiple of the {block} '
        f'of {type_name}',
      )
    num_bytes = math.prod(shape) // block * block_bytes
    if not 0 < num_bytes <= cursor.size:
      raise ModelFileError(
        path,
        f'tensor {name!r} of shape {list(shape)} takes {num_bytes} bytes, the '
        f'file has {cursor.size}',
      )
    if offset % alignment:
      raise ModelFileError(path, f'tensor {name!r} lies at an unaligned offset')
    tensors[name] = GgufTensor(shape, type_name, offset, num_bytes)
  start = -(-cursor.offset // alignment) * alignment
  end = start
  for name, tensor in sorted(tensors.items(), key=lambda item: item[1].offset):
    tensor = dataclasses.replace(tensor, offset=start + tensor.offset)
    if tensor.offset < end:
      raise ModelFileError(path, f'tensor {name!r} overlaps another one')
    end = tensor.offset + tensor.num_bytes
    if end > cursor.size:
      raise ModelFileError(
        path,
        f'is truncated: tensor {name!r} ends at byte {end}, the file at '
        f'{cursor.size}',
      )
    tensors[name] = tensor
  return tensors
