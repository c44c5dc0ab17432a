import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from consensus_jax.training import memory

if {keep}:
  memory.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
size = 64 << 20
for _ in range(10):
  block = libc.malloc(ctypes.c_size_t(size))
  ctypes.memset(block, 1, size)
  libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='of glibc')
def test_pages_are_cleared_once_only():
  faults = {}
  for keep in (False, True):
    program = PROGRAM.format(keep=keep)
    run = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      check=True,
    )
    faults[keep] = int(run.stdout)
  # Ten times 64 MiB in pages of 4 KiB, against once.
  assert faults[True] < faults[False] / 3
