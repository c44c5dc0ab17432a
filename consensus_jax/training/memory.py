"""Memory that a step gives back is kept for the next one."""

import ctypes
import sys

# Of mallopt in glibc's malloc.h, with what they are set to: one arena; large
# blocks not from mmap; nothing returned to the system.
_SETTINGS = ((-8, 1), (-4, 0), (-1, -1))


def keep_freed() -> None:
  """Lets the process keep what it frees; call it before jax allocates.

  Otherwise the system clears gigabytes of pages in each step on a CPU, up to a
  third of its time. Does nothing where the C library is not glibc.
  """
  if not sys.platform.startswith('linux'):
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    for option, value in _SETTINGS:
      mallopt(option, value)
