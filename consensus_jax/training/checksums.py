"""Checksums of arrays that do not depend on how they are sharded.

Checkpoint formats do not check what they stored: one flipped bit of a weight is
read back without an error. These sums are computed where the arrays live, are
exact in any order of addition, and change with any change of a single element.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def checksums(tree: Any) -> dict[str, int]:
  """One 32-bit checksum an array, by its place in the tree.

  sum_i (2 i + 1) x_i modulo 2^32, of the elements' bits: an odd factor loses
  none of the 32 bits, and differs between places. Waits for the arrays.

  Args:
    tree: arrays of at most 32 bits an element.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  sums = jax.device_get(_sums([leaf for _, leaf in leaves]))
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): int(value)
    for (path, _), value in zip(leaves, sums)
  }


def combined(sums: dict[str, int]) -> int:
  """One number for many checksums and their names."""
  total = 0
  for name in sorted(sums):
    for byte in f'{name}={sums[name]};'.encode():
      total = (total * 1_000_003 + byte) % 2**64
  return total


@jax.jit
def _sums(leaves: list[jax.Array]) -> list[jax.Array]:
  return [_sum(leaf) for leaf in leaves]


def _sum(x: jax.Array) -> jax.Array:
  words = jax.lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize])
  words = words.astype(jnp.uint32)
  place = jnp.zeros(x.shape, jnp.uint32)
  for axis in range(x.ndim):
    # Wraps around like the sum: arrays may have more than 2^32 elements.
    stride = np.uint32(math.prod(x.shape[axis + 1 :]) % 2**32)
    index = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    place += index * stride
  return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)
