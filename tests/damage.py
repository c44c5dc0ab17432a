"""Damages files."""

import random
import struct


def copies(data, header_size, seed, number):
  """Damaged copies, mostly of the header, in every simple way."""
  chooser = random.Random(seed)
  extremes = [
    bytes(8),
    b'\xff' * 8,
    struct.pack('<Q', 2**63),
    struct.pack('<Q', 2**32 - 1),
    struct.pack('<Q', 2**33),
    struct.pack('<Q', len(data)),
  ]
  for _ in range(number):
    place = chooser.randrange(header_size)
    match chooser.randrange(5):
      case 0:
        yield data[:place]
      case 1:
        changed = bytearray(data)
        changed[place] ^= 1 << chooser.randrange(8)
        yield bytes(changed)
      case 2:
        extreme = chooser.choice(extremes)[: chooser.choice([1, 4, 8])]
        yield data[:place] + extreme + data[place + len(extreme) :]
      case 3:
        yield data[:place] + data[place + chooser.randrange(1, 9) :]
      case 4:
        yield data[:place] + chooser.randbytes(4) + data[place:]
