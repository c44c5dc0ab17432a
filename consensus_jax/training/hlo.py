"""What a compiled program does, read from its text.

The compiler's own cost analysis counts the body of a loop once, however often
it runs. Its text says how often: so what is summed here is multiplied by that.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

# What a communication is called, and how many bytes of its result each chip
# takes in from others (n chips): a sum over chips comes and goes.
KINDS = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)

_BYTES = {
  'pred': 1,
  's8': 1,
  'u8': 1,
  's16': 2,
  'u16': 2,
  'bf16': 2,
  'f16': 2,
  's32': 4,
  'u32': 4,
  'f32': 4,
  's64': 8,
  'u64': 8,
  'f64': 8,
}
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\{$')
_INSTRUCTION = re.compile(r'\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(')
_ARRAY = re.compile(r'\b(pred|bf16|[suf]\d+)\[([\d,]*)\]')
_CALLED = re.compile(
  r'\b(?:calls|body|(?:true|false)_computation|\w+_computations)='
  r'(?:%([\w.\-]+)|\{([^}]*)\})'
)
_CONDITION = re.compile(r'\bcondition=%([\w.\-]+)')
_CONSTANT = re.compile(r' = s32\[\]\S* constant\((\d+)\)')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CHANNEL = re.compile(r'\bchannel_id=(\d+)')
_GROUP_LISTS = re.compile(r'replica_groups=\{\{([\d,]*)\}')
_GROUP_GRID = re.compile(r'replica_groups=\[\d+,(\d+)\]')
_GROUP_MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}')
_AXIS = re.compile(r"'(\w+)'=(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One communication of a program.

  Attributes:
    kind: one of `KINDS`.
    bytes: of its result on each chip; of its input, where the result is a part
      of it (reduce-scatter).
    group: chips that take part together.
    times: how often it runs in one call of the program.
    hidden: whether the compiler runs it beside computation.
  """

  kind: str
  bytes: int
  group: int
  times: int
  hidden: bool

  @property
  def received(self) -> float:
    """Bytes that each chip takes in, in all runs, on a ring."""
    passes = 2 if self.kind == 'all-reduce' else 1
    share = (self.group - 1) / self.group
    if self.kind == 'collective-permute':
      share = 1.0
    return passes * share * self.bytes * self.times


@dataclasses.dataclass(frozen=True)
class Program:
  """What a program does in one call, on one chip.

  Attributes:
    cycles: the compiler's estimate for everything but communication and
      kernels written by hand, in cycles of the matrix units.
    repeated_cycles: the part of them that loops take after their first run.
    collectives: every communication, each once.
    kernels: names of kernels written by hand and how often each runs.
    unknown_loops: loops whose number of runs the text does not tell, counted
      as one run.
  """

  cycles: float
  repeated_cycles: float
  collectives: tuple[Collective, ...]
  kernels: dict[str, int]
  unknown_loops: int


def read(text: str) -> Program:
  """Reads the text of a compiled program, `Compiled.as_text()`.

  Of branches the cheapest counts: the sampler's other one is for rare cases.

  Raises:
    ValueError: if the text has no entry computation.
  """
  computations, entry = _computations(text)
  found: dict[object, Collective] = {}
  kernels: dict[str, int] = {}
  cycles, repeated, unknown = 0.0, 0.0, 0

  def walk(name: str, times: int, fused: str) -> None:
    nonlocal cycles, repeated, unknown
    for line in computations.get(name, ()):
      match = _INSTRUCTION.match(line)
      if match is None:
        continue
      instruction, shape, operation = match.groups()
      if (estimate := _CYCLES.search(line)) and not fused:
        cycles += int(estimate[1]) * times
        repeated += int(estimate[1]) * (times - 1)
      if 'custom_call_target="tpu_custom_call"' in line:
        kernel = re.sub(r'[.\d]+$', '', instruction)
        kernels[kernel] = kernels.get(kernel, 0) + times
      if operation.removesuffix('-start') in KINDS:
        _add(found, line, shape, operation, times, fused)
      inner = times
      if operation == 'while':
        trips = _trips(computations, line)
        unknown += trips is None
        inner = times * (trips or 1)
      callees = list(_called(line))
      if operation == 'conditional' and callees:
        callees = [min(callees, key=lambda one: _once(computations, one))]
      for called in callees:
        is_fusion = operation == 'fusion' or bool(fused)
        walk(called, inner, called if is_fusion else '')

  walk(entry, 1, '')
  return Program(cycles, repeated, tuple(found.values()), kernels, unknown)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  computations: dict[str, list[str]] = {}
  entry = ''
  lines: list[str] = []
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      lines = computations[header[2]] = []
      entry = header[2] if header[1] else entry
    else:
      lines.append(line)
  if not entry:
    raise ValueError('this is no text of a compiled program')
  return computations, entry


def _once(computations: dict[str, list[str]], name: str) -> int:
  """Cycles of a computation, its loops running once."""
  cycles = 0
  for line in computations.get(name, ()):
    if estimate := _CYCLES.search(line):
      cycles += int(estimate[1])
    elif ' fusion(' not in line:
      cycles += sum(_once(computations, called) for called in _called(line))
  return cycles


def _trips(computations: dict[str, list[str]], line: str) -> int | None:
  """Runs of a loop that counts from zero while less than a constant."""
  condition = _CONDITION.search(line)
  lines = computations[condition[1]] if condition else []
  bounds = _CONSTANT.findall('\n'.join(lines))
  counts = any('ROOT' in line and 'direction=LT' in line for line in lines)
  return int(bounds[0]) if counts and len(bounds) == 1 else None


def _add(found, line, shape, operation, times, fused) -> None:
  kind = operation.removesuffix('-start')
  sizes = [_array_bytes(*array) for array in _ARRAY.findall(shape)]
  # A started communication lists its inputs with its results.
  size = max(sizes) if operation.endswith('-start') else sum(sizes)
  # A sum of which each chip takes a part, as one fusion.
  if fused.startswith('all-reduce-scatter'):
    kind = 'reduce-scatter'
  hidden = operation.endswith('-start') or (
    bool(fused) and kind != 'reduce-scatter'
  )
  channel = _CHANNEL.search(line)
  # A communication that goes on beside several computations stands in each; of
  # a loop's first one there may be a part ahead of the loop.
  key = (kind, channel[1]) if channel else object()
  if key not in found or found[key].times < times:
    found[key] = Collective(kind, size, _group(line), times, hidden)


def _called(line: str) -> Iterator[str]:
  for one, several in _CALLED.findall(line):
    yield from [one] if one else re.findall(r'%([\w.\-]+)', several)


def _array_bytes(dtype: str, sizes: str) -> int:
  return _BYTES[dtype] * math.prod(int(n) for n in sizes.split(',') if n)


def _group(line: str) -> int:
  """Chips of one group."""
  if lists := _GROUP_LISTS.search(line):
    return lists[1].count(',') + 1
  if grid := _GROUP_GRID.search(line):
    return int(grid[1])
  if mesh := _GROUP_MESH.search(line):
    sizes = dict(_AXIS.findall(mesh[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r'\w+', mesh[2]))
  return 2
