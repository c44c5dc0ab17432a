"""Training examples on disk, and batches of them as a pure function.

A set of examples is a folder: one memory-mapped `NAME.npy` a feature, and
`meta.json`, which says what they are. A batch depends on nothing but the set, a
seed and a position, the number of examples drawn before it. So a training run
resumes from one integer, and any number of processes draw the same batches.

Numpy only: training needs neither TensorFlow nor what made the set.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Int64

from consensus_jax import strict_json
from consensus_jax.strict_json import InputError

SCHEMA = 'consensus_jax/examples/v1'
META = 'meta.json'

Batch = dict[str, np.ndarray]

# Rounds of the Feistel network. Four make a pseudorandom permutation of large
# sets; the more, the less the smallest ones show of their arithmetic.
_ROUNDS = 8
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """A set of training examples, on disk.

  Attributes:
    path: its folder.
    meta: what `meta.json` holds: `kind`, `num_examples`, `features` and what
      the set was made of.
    features: memory-mapped arrays [examples, ...], by name.
  """

  path: pathlib.Path
  meta: dict[str, Any]
  features: dict[str, np.ndarray]

  @property
  def block_rows(self) -> int:
    """Examples that stay together in every order; 1 where each is alone."""
    return self.meta.get('block_rows', 1)

  @property
  def description(self) -> dict[str, Any]:
    """What `write_examples` was told beside the examples."""
    own = ('schema', 'kind', 'num_examples', 'features')
    return {name: x for name, x in self.meta.items() if name not in own}

  @property
  def num_examples(self) -> int:
    """How many examples the set holds; at least one."""
    return self.meta['num_examples']


def open_examples(path: str | os.PathLike[str]) -> Examples:
  """Opens a set of examples without reading them.

  Raises:
    InputError: if there is none, or its files are not what its `meta.json`
      says.
  """
  folder = pathlib.Path(path)
  file = folder / META
  try:
    text = file.read_bytes().decode(errors='surrogateescape')
  except OSError as error:
    raise InputError(
      f'holds no set of examples: {META}: {error.strerror or error}',
      file=str(folder),
    ) from None
  try:
    meta = _checked_meta(strict_json.parse(text))
  except InputError as error:
    raise error.at(file=str(file)) from None
  features = {
    name: _open_array(folder / f'{name}.npy', meta['num_examples'], spec)
    for name, spec in meta['features'].items()
  }
  return Examples(folder, meta, features)


def _checked_meta(meta: Any) -> dict[str, Any]:
  if not isinstance(meta, dict) or meta.get('schema') != SCHEMA:
    raise InputError(f'is no description of examples ({SCHEMA})')
  for field in ('kind', 'num_examples', 'features'):
    if field not in meta:
      raise InputError('is missing', field=(field,))
  if strict_json.check_integer(meta['num_examples'], ('num_examples',)) < 1:
    raise InputError('must be at least 1', field=('num_examples',))
  block_rows = strict_json.check_integer(
    meta.get('block_rows', 1), ('block_rows',)
  )
  if block_rows < 1 or meta['num_examples'] % block_rows:
    raise InputError(
      f'must divide the {meta["num_examples"]} examples, got {block_rows}',
      field=('block_rows',),
    )
  for name, spec in meta['features'].items():
    strict_json.check_object(
      spec, required=('dtype', 'shape'), path=('features', name)
    )
  return meta


def _open_array(
  file: pathlib.Path, num_examples: int, spec: Mapping[str, Any]
) -> np.ndarray:
  try:
    array = np.load(file, mmap_mode='r', allow_pickle=False)
  except (EOFError, OSError, ValueError) as error:
    # A file that was cut short is shorter than its own header says.
    raise InputError(f'cannot be read: {error}', file=str(file)) from None
  expected = (num_examples, *spec['shape'])
  if array.shape != expected or array.dtype != spec['dtype']:
    raise InputError(
      f'holds {array.dtype} {list(array.shape)}, where {META} says '
      f'{spec["dtype"]} {list(expected)}',
      file=str(file),
    )
  return array


def write_examples(
  path: str | os.PathLike[str],
  batches: Iterable[Mapping[str, np.ndarray]],
  describe: Mapping[str, Any] | None = None,
  *,
  kind: str,
) -> None:
  """Writes a set of examples; it appears at once and complete, or not at all.

  Memory holds one batch.

  Args:
    path: a folder that does not exist; what an interrupted call left beside it
      is removed.
    batches: any number of examples each, the same features in all of them. Read
      to its end before `describe` is.
    describe: what else `meta.json` is to hold.
    kind: 'sft' or 'reward'.

  Raises:
    InputError: if there are no examples, or it cannot be written.
  """
  target = pathlib.Path(path).absolute()
  part = target.with_name(f'.{target.name}.part')
  try:
    if target.exists():
      raise InputError('exists already', file=str(target))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    features, num_examples = _write_arrays(part, batches)
    if not num_examples:
      raise InputError('would hold no examples', file=str(target))
    meta = {
      'schema': SCHEMA,
      'kind': kind,
      'num_examples': num_examples,
      'features': features,
      **(describe or {}),
    }
    text = json.dumps(meta, ensure_ascii=False, allow_nan=False, indent=2)
    with (part / META).open('w', encoding='utf-8') as file:
      file.write(text + '\n')
      file.flush()
      os.fsync(file.fileno())
    _sync_folder(part)
    part.rename(target)
    _sync_folder(target.parent)
  except OSError as error:
    raise InputError(
      f'cannot be written: {error.strerror or error}', file=str(target)
    ) from error
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _write_arrays(
  folder: pathlib.Path, batches: Iterable[Mapping[str, np.ndarray]]
) -> tuple[dict[str, dict[str, Any]], int]:
  """Writes the arrays; returns their specs and the number of examples."""
  files: dict[str, Any] = {}
  specs: dict[str, dict[str, Any]] = {}
  num_examples = 0
  try:
    for batch in batches:
      arrays = {name: np.ascontiguousarray(a) for name, a in batch.items()}
      found = {
        name: {'dtype': array.dtype.name, 'shape': list(array.shape[1:])}
        for name, array in arrays.items()
      }
      if not files:
        specs = found
        for name, array in arrays.items():
          files[name] = (folder / f'{name}.npy').open('w+b')
          _write_header(files[name], array.dtype, (0, *array.shape[1:]))
      if found != specs or len({len(a) for a in arrays.values()}) > 1:
        raise ValueError(f'a batch of {found} after batches of {specs}')
      for name, array in arrays.items():
        files[name].write(array.data)
      num_examples += len(next(iter(arrays.values())))
    for name, file in files.items():
      spec = specs[name]
      file.seek(0)
      shape = (num_examples, *spec['shape'])
      _write_header(file, np.dtype(spec['dtype']), shape)
      file.flush()
      os.fsync(file.fileno())
  finally:
    for file in files.values():
      file.close()
  return specs, num_examples


def _write_header(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> None:
  # Numpy leaves room in a header for its first axis to grow, so that the number
  # of examples can be filled in at the end.
  np.lib.format.write_array_header_1_0(
    file,
    {
      'descr': np.lib.format.dtype_to_descr(dtype),
      'fortran_order': False,
      'shape': shape,
    },
  )


def _sync_folder(folder: pathlib.Path) -> None:
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def shuffled(
  indices: Int[np.ndarray, '*batch'],
  num_examples: int,
  *,
  seed: int,
  epoch: int,
) -> Int64[np.ndarray, '*batch']:
  """Where each place of a shuffled epoch takes its example from.

  A bijection on `range(num_examples)` without a table: a Feistel network on
  pairs of digits in base about sqrt(num_examples), walked along its cycle until
  it is back in range (Black and Rogaway 2002, "Ciphers with arbitrary finite
  domains"). Time and memory grow with `indices` alone.

  Args:
    indices: places in the epoch, each in `range(num_examples)`.
    num_examples: of the set.
    seed: of the run; not negative.
    epoch: every epoch has an order of its own; not negative.

  Raises:
    ValueError: if an index is out of range, or seed or epoch are negative.
  """
  values = np.asarray(indices)
  if values.size and not 0 <= values.min() <= values.max() < num_examples:
    raise ValueError(f'an index is not in range({num_examples})')
  if seed < 0 or epoch < 0:
    raise ValueError(f'seed {seed} and epoch {epoch} must not be negative')
  base = np.uint64(_even_base(num_examples))
  keys = _round_keys(seed, epoch)
  flat = _permute(values.astype(np.uint64).reshape(-1), base, keys)
  while (outside := flat >= num_examples).any():
    flat[outside] = _permute(flat[outside], base, keys)
  return flat.astype(np.int64).reshape(values.shape)


def _permute(values: np.ndarray, base: np.uint64, keys: np.ndarray):
  """One pass of the network: a bijection on range(base**2)."""
  high, low = np.divmod(values, base)
  for key in keys:
    high, low = low, (high + _mix(low ^ key) % base) % base
  return high * base + low


def _mix(x: np.ndarray) -> np.ndarray:
  """The finaliser of splitmix64: every bit depends on every other."""
  for shift, multiplier in zip((30, 27), _MULTIPLIERS):
    x = (x ^ (x >> np.uint64(shift))) * multiplier
  return x ^ (x >> np.uint64(31))


@functools.lru_cache(maxsize=16)
def _round_keys(seed: int, epoch: int) -> np.ndarray:
  sequence = np.random.SeedSequence((seed, epoch))
  return sequence.generate_state(_ROUNDS, np.uint64)


def _even_base(n: int) -> int:
  # With an odd base all rounds are even permutations, and so half of all orders
  # would be rare.
  root = math.isqrt(max(n - 1, 0)) + 1
  return root + root % 2


def draw(
  examples: Examples,
  *,
  seed: int,
  position: int,
  batch_size: int,
  rows: slice = slice(None),
) -> Batch:
  """The batch at a position of an endless, shuffled run over a set.

  Row r of the batch is the example number `position + r` of the run: place
  `(position + r) % num_examples` of epoch `(position + r) // num_examples`.
  Each epoch holds every example once, in an order of its own. Examples that
  `meta.json` keeps together, `block_rows` of them, follow each other.

  Args:
    examples: the set.
    seed: of the run.
    position: examples drawn before this batch, in all processes together.
    batch_size: rows of the whole batch, in all processes together.
    rows: those of this process.

  Returns:
    Arrays [rows, ...], by feature.

  Raises:
    ValueError: if the position or seed is negative.
  """
  if position < 0:
    raise ValueError(f'position {position} must not be negative')
  chosen = range(position, position + batch_size)[rows]
  epochs, places = np.divmod(
    np.array(chosen, np.int64), np.int64(examples.num_examples)
  )
  block_rows = examples.block_rows
  blocks, within = np.divmod(places, block_rows)
  indices = np.empty_like(places)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    order = shuffled(
      blocks[here],
      examples.num_examples // block_rows,
      seed=seed,
      epoch=int(epoch),
    )
    indices[here] = order * block_rows + within[here]
  return {
    name: np.asarray(array)[indices]
    for name, array in examples.features.items()
  }


def read_in_order(
  examples: Examples, batch_size: int, rows: slice = slice(None)
) -> Iterator[Batch]:
  """Every example once, in the order of the set, for evaluation.

  The last batch is filled up with rows that weigh nothing: zeros, and NaN for
  levels, which means that there is none.

  Args:
    examples: the set.
    batch_size: rows of the whole batch, in all processes together.
    rows: those of this process.

  Yields:
    Arrays [rows, ...], by feature; of the same shape each time.
  """
  for start in range(0, examples.num_examples, batch_size):
    chosen = np.arange(start, start + batch_size)[rows]
    there = chosen < examples.num_examples
    batch = {}
    for name, array in examples.features.items():
      empty = np.nan if name == 'levels' else 0
      shape = (len(chosen), *array.shape[1:])
      batch[name] = np.full(shape, empty, array.dtype)
      batch[name][there] = np.asarray(array)[chosen[there]]
    yield batch
