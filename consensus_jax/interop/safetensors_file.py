"""Reads and writes safetensors files, whose headers are not trusted.

The header is checked in Python integers against the size of the file before
anything is allocated; tensors are views of the mapped file until they are used.

Source: the format section of the safetensors project's README.
"""

import dataclasses
import json
import math
import mmap
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from consensus_jax.interop.errors import ModelFileError

# The limit of the safetensors library itself.
_MAX_HEADER = 100_000_000
_MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 8

_DTYPES = {
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
}
# Types that a file may hold but no parameter may have, by their bytes.
_OTHER_DTYPES = {
  'BOOL': 1,
  'U8': 1,
  'I8': 1,
  'F8_E4M3': 1,
  'F8_E5M2': 1,
  'U16': 2,
  'I16': 2,
  'U32': 4,
  'I32': 4,
  'U64': 8,
  'I64': 8,
  'F64': 8,
}


@dataclasses.dataclass(frozen=True)
class SafetensorsTensor:
  """Where one tensor lies: `num_bytes` at `offset` from the file's start."""

  dtype: str
  shape: tuple[int, ...]
  offset: int
  num_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class SafetensorsFile:
  """A checked safetensors file; tensors are read when asked for."""

  path: pathlib.Path
  tensors: Mapping[str, SafetensorsTensor]
  data: mmap.mmap

  def read(self, name: str) -> Shaped[np.ndarray, '...']:
    """One tensor as a read-only view of the file.

    Raises:
      ModelFileError: if it is not of a type that a parameter may have.
    """
    tensor = self.tensors[name]
    if tensor.dtype not in _DTYPES:
      raise ModelFileError(
        self.path,
        f'tensor {name} has the type {tensor.dtype}; parameters may have '
        f'{", ".join(_DTYPES)}',
      )
    raw = np.frombuffer(self.data, np.uint8, tensor.num_bytes, tensor.offset)
    return raw.view(_DTYPES[tensor.dtype]).reshape(tensor.shape)


def read_safetensors(path: str | os.PathLike[str]) -> SafetensorsFile:
  """Reads a file's header and finds its tensors, without reading those.

  Raises:
    ModelFileError: if the file cannot be read, is truncated or inconsistent.
  """
  path = pathlib.Path(path)
  try:
    with path.open('rb') as file:
      size = os.fstat(file.fileno()).st_size
      if size < 8:
        raise ModelFileError(path, 'is no safetensors file, or is truncated')
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  except OSError as error:
    raise ModelFileError(path, f'cannot be read: {error.strerror}') from error
  length = int.from_bytes(data[:8], 'little')
  if length > min(_MAX_HEADER, size - 8):
    raise ModelFileError(
      path,
      f'claims a header of {length} bytes: it is no safetensors file, or is '
      'truncated',
    )
  try:
    header = json.loads(data[8 : 8 + length].decode())
  except (ValueError, RecursionError) as error:
    raise ModelFileError(path, f'has a header that is no JSON: {error}') from (
      error
    )
  if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
    raise ModelFileError(path, 'has a header that is no table of tensors')
  header.pop('__metadata__', None)
  start = 8 + length
  tensors = {
    name: _parse_entry(path, name, entry, start)
    for name, entry in header.items()
  }
  # As the library demands: tensors follow each other without gap or overlap.
  end = start
  for name, tensor in sorted(
    tensors.items(), key=lambda item: (item[1].offset, item[1].num_bytes)
  ):
    if tensor.offset != end:
      raise ModelFileError(path, f'tensor {name!r} overlaps or leaves a gap')
    end += tensor.num_bytes
  if end != size:
    raise ModelFileError(
      path,
      f'is truncated or damaged: its tensors end at byte {end}, the file at '
      f'{size}',
    )
  return SafetensorsFile(path, tensors, data)


def _parse_entry(
  path: pathlib.Path, name: str, entry: Any, start: int
) -> SafetensorsTensor:
  def is_sizes(value):
    return isinstance(value, list) and all(
      type(number) is int and number >= 0 for number in value
    )

  if not (
    isinstance(entry, dict)
    and isinstance(entry.get('dtype'), str)
    and is_sizes(entry.get('shape'))
    and len(entry['shape']) <= _MAX_DIMENSIONS
    and is_sizes(entry.get('data_offsets'))
    and len(entry['data_offsets']) == 2
  ):
    raise ModelFileError(path, f'describes tensor {name!r} wrongly')
  dtype, shape = entry['dtype'], tuple(entry['shape'])
  if dtype in _DTYPES:
    item_bytes = _DTYPES[dtype].itemsize
  elif dtype in _OTHER_DTYPES:
    item_bytes = _OTHER_DTYPES[dtype]
  else:
    raise ModelFileError(
      path, f'tensor {name!r} has the unknown type {dtype!r}'
    )
  first, last = entry['data_offsets']
  if last - first != math.prod(shape) * item_bytes:
    raise ModelFileError(
      path,
      f'tensor {name!r} of shape {list(shape)} and type {dtype} does not take '
      f'{last - first} bytes',
    )
  return SafetensorsTensor(dtype, shape, start + first, last - first)


def write_safetensors(
  path: str | os.PathLike[str],
  tensors: Sequence[tuple[str, tuple[int, ...], np.dtype]],
  read: Callable[[str], Shaped[np.ndarray, '...']],
) -> None:
  """Writes a file one tensor at a time, and waits until it is on the disk.

  Args:
    path: of the new file.
    tensors: name, shape and type of each, float32, float16 or bfloat16.
    read: gives a tensor of that shape and type by its name.
  """
  names = {dtype: name for name, dtype in _DTYPES.items()}
  header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
  end = 0
  for name, shape, dtype in tensors:
    begin, end = end, end + math.prod(shape) * dtype.itemsize
    header[name] = {
      'dtype': names[dtype],
      'shape': list(shape),
      'data_offsets': [begin, end],
    }
  text = json.dumps(header, separators=(',', ':')).encode()
  # Spaces, so that the tensors begin at a multiple of eight bytes.
  text += b' ' * (-len(text) % 8)
  with pathlib.Path(path).open('wb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for name, shape, dtype in tensors:
      array = np.ascontiguousarray(read(name))
      assert array.shape == shape and array.dtype == dtype, name
      # Bytes, because bfloat16 arrays offer no buffer.
      file.write(array.view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
