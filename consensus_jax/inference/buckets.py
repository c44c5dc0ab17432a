"""Padded sizes: few enough that a new length seldom means a new compilation."""


def bucket(length: int, smallest: int = 32) -> int:
  """The smallest of 2^k and 1.5 * 2^k that holds `length`, from `smallest`.

  At most half of the result is padding, a third of it on average.
  """
  size = smallest
  while size < length:
    # 32, 48, 64, 96, 128, ...: alternately 3/2 and 4/3 of the last.
    size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
  return size


def round_up(length: int, multiple: int) -> int:
  """The smallest positive multiple of `multiple` that holds `length`."""
  return max(-(-length // multiple), 1) * multiple
