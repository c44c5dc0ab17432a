"""What a step would take of each chip: memory, work, communication, time."""

import dataclasses
import math
from typing import Any

from consensus_jax.model import flops, splash
from consensus_jax.training import hlo
from consensus_jax.training.compile_steps import Job
from consensus_jax.training.topologies import Chip, Topology

# Layers of the two unrolled programs whose costs are extrapolated: the
# compiler's cost analysis counts the body of a loop over layers once.
SHALLOW, DEEP = 2, 4

# Share of a chip's peak at which the attention kernel is taken to run, on the
# blocks that it computes. The compiler counts no time for a kernel.
KERNEL_EFFICIENCY = 0.4


@dataclasses.dataclass(frozen=True)
class Costs:
  """What the compiler counts for one chip and one call.

  Attributes:
    flops: operations, kernels written by hand left out.
    bytes: moved between the chip and its memory.
    seconds: the compiler's `optimal_seconds`, by rates of computing and of
      memory; communication takes no time. None where the compiler gives a
      negative number, as it does for communication in the background on some
      chips.
  """

  flops: float
  bytes: float
  seconds: float | None


def costs(compiled: Any, chip: Chip) -> Costs:
  """Costs of a program without a loop over layers.

  Other loops, such as over blocks of a loss, are in `seconds` as often as they
  run: from the second time on by the cycles that the compiler gives them.

  Args:
    compiled: a `jax.stages.Compiled`.
    chip: what it is compiled for.
  """
  counted = compiled.cost_analysis()
  seconds = counted['optimal_seconds']
  if seconds > 0:
    program = hlo.read(compiled.as_text())
    seconds += program.repeated_cycles / chip.clock
  return Costs(
    counted['flops'],
    counted['bytes accessed'],
    seconds if seconds > 0 else None,
  )


def extrapolate(shallow: Costs, deep: Costs, num_layers: int) -> Costs:
  """Costs of `num_layers` layers from those of `SHALLOW` and `DEEP` ones."""

  def one(few, more):
    if few is None or more is None:
      return None
    return few + (more - few) / (DEEP - SHALLOW) * (num_layers - SHALLOW)

  return Costs(
    *map(one, dataclasses.astuple(shallow), dataclasses.astuple(deep))
  )


@dataclasses.dataclass(frozen=True)
class Communication:
  """All communication of one kind, on one chip, in one call.

  Attributes:
    kind: such as 'all-gather'.
    times: how often.
    bytes: that the chip takes in from others.
    hidden_bytes: the part that the compiler runs beside computation.
  """

  kind: str
  times: int
  bytes: float
  hidden_bytes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
  """One program on one slice.

  Times are the compiler's estimates, in seconds of one call; nothing has been
  run.

  Attributes:
    program: such as 'step'.
    topology: the slice's name.
    num_chips: in the slice.
    mesh: chips along each axis of the mesh.
    job: what was compiled.
    num_parameters: of the model.
    memory: bytes of a chip by kind.
    peak_memory: bytes in use at once, at most, as the compiler lays them out:
      below the sum of kinds, as outputs and working space take turns.
    memory_of_chip: bytes it has.
    compile_seconds: time to compile the whole program.
    options: of the compiler, beside its defaults.
    communication: by kind.
    communication_seconds: for all bytes over all of a chip's links, at their
      full rate: the least it can take.
    exposed_seconds: the part of it that the compiler runs beside nothing.
    kernel_seconds: for attention kernels, at `KERNEL_EFFICIENCY`.
    schedule_seconds: the cycles that the compiler gives to each operation of
      the whole program, as often as it runs; without kernels and
      communication.
    costs: extrapolated from unrolled programs; None if these were not made.
    model_seconds: for the model's operations at the peak of all chips, without
      rematerialisation; None for sampling.
  """

  program: str
  topology: str
  num_chips: int
  mesh: dict[str, int]
  job: Job
  num_parameters: int
  memory: dict[str, int]
  peak_memory: int
  memory_of_chip: int
  compile_seconds: float
  options: dict[str, str | bool]
  communication: tuple[Communication, ...]
  communication_seconds: float
  exposed_seconds: float
  kernel_seconds: float
  schedule_seconds: float
  costs: Costs | None
  model_seconds: float | None

  @property
  def total_memory(self) -> int:
    """The sum of all kinds of memory."""
    return sum(self.memory.values())

  @property
  def fits(self) -> bool:
    """Whether a chip has what is needed; else the compiler mostly refuses."""
    return self.peak_memory <= self.memory_of_chip

  @property
  def times(self) -> dict[str, float]:
    """Seconds of one call, by what they are estimated from."""
    schedule = self.schedule_seconds + self.kernel_seconds
    times = {}
    if self.costs is not None and self.costs.seconds is not None:
      times['cost analysis'] = self.costs.seconds + self.kernel_seconds
    times['schedule'] = schedule
    times['schedule, communication too'] = schedule + self.exposed_seconds
    return times

  def utilisation(self, seconds: float) -> float | None:
    """Model FLOP utilisation, were one call to take so long."""
    return None if self.model_seconds is None else self.model_seconds / seconds

  def as_json(self) -> dict[str, Any]:
    """Everything, for `json.dumps`."""
    return {
      **dataclasses.asdict(self),
      'total_memory': self.total_memory,
      'fits': self.fits,
      'times': self.times,
      'utilisation': {
        name: self.utilisation(seconds) for name, seconds in self.times.items()
      },
    }


def make(
  name: str,
  job: Job,
  topology: Topology,
  mesh: dict[str, int],
  compiled: Any,
  *,
  inputs: dict[str, int],
  compile_seconds: float,
  extrapolated: Costs | None,
  options: dict[str, str | bool],
) -> Report:
  """The report of a compiled program.

  Args:
    name: of the program, as `compile_steps.lower` names it.
    job: what was compiled.
    topology: what for.
    mesh: sizes by axis.
    compiled: the whole program, a `jax.stages.Compiled`.
    inputs: bytes on a chip, by kind.
    compile_seconds: what compiling it took.
    extrapolated: see `Report.costs`.
    options: see `Report.options`.
  """
  chip = topology.chip
  program = hlo.read(compiled.as_text())
  received = sum(one.received for one in program.collectives)
  exposed = sum(one.received for one in program.collectives if not one.hidden)
  kernels = _kernel_flops(program, job, mesh)
  return Report(
    program=name,
    topology=topology.name,
    num_chips=topology.num_chips,
    mesh=mesh,
    job=job,
    num_parameters=job.model.num_parameters,
    memory=_memory(compiled, inputs),
    peak_memory=compiled.memory_analysis().peak_memory_in_bytes,
    memory_of_chip=chip.memory,
    compile_seconds=compile_seconds,
    options=options,
    communication=_by_kind(program),
    communication_seconds=received / chip.interconnect,
    exposed_seconds=exposed / chip.interconnect,
    kernel_seconds=kernels / (KERNEL_EFFICIENCY * chip.peak),
    schedule_seconds=program.cycles / chip.clock,
    costs=extrapolated,
    model_seconds=model_seconds(job, topology),
  )


def _memory(compiled: Any, inputs: dict[str, int]) -> dict[str, int]:
  used = compiled.memory_analysis()
  return {
    **inputs,
    # What inputs take beyond their elements: small ones, and filled-up tiles.
    'other inputs': max(used.argument_size_in_bytes - sum(inputs.values()), 0),
    'outputs beside inputs': (
      used.output_size_in_bytes - used.alias_size_in_bytes
    ),
    'gradients, activations': used.temp_size_in_bytes,
    'program': used.generated_code_size_in_bytes,
  }


def _by_kind(program: hlo.Program) -> tuple[Communication, ...]:
  kinds = []
  for kind in hlo.KINDS:
    some = [one for one in program.collectives if one.kind == kind]
    if some:
      kinds.append(
        Communication(
          kind,
          sum(one.times for one in some),
          sum(one.received for one in some),
          sum(one.received for one in some if one.hidden),
        )
      )
  return tuple(kinds)


def _kernel_flops(
  program: hlo.Program, job: Job, mesh: dict[str, int]
) -> float:
  """Operations of attention kernels on a chip."""
  copies = mesh['data'] * mesh['fsdp']
  rows = math.ceil(job.batch_size / job.microbatches / copies)
  heads = math.ceil(job.model.num_heads / mesh['tensor'])
  total = 0.0
  for name, times in program.kernels.items():
    if name.startswith('splash'):
      once = splash.flops(
        job.length, job.model.head_dim, backward='_fwd_' not in name
      )
      total += times * rows * heads * once
  return total


def model_seconds(job: Job, topology: Topology) -> float | None:
  """Seconds for the model's operations at the peak of all chips.

  Without rematerialisation: see `flops.model_flops_per_token`. None for
  sampling, which has other bounds.
  """
  if job.kind == 'sample':
    return None
  per_token = flops.model_flops_per_token(
    job.model, job.length, vocab_logits=job.kind == 'sft'
  )
  tokens = job.batch_size * job.length
  return tokens * per_token / (topology.num_chips * topology.chip.peak)


def render(report: Report) -> str:
  """The report as text to print."""
  job, execution = report.job, report.job.execution
  mesh = ' x '.join(f'{axis}={n}' for axis, n in report.mesh.items())
  what = {
    'step': f'{job.batch_size} rows of {job.length} tokens',
    'prompt': f'one prompt of {job.length} tokens',
    'token': f'one token of each of {job.candidates} candidates after a prompt '
    f'of {job.length}',
  }[report.program]
  lines = [
    f'{job.kind}: {what}',
    f'{report.num_parameters / 1e9:.2f}e9 parameters, {report.topology}: '
    f'{report.num_chips} chips, {mesh}',
    f'execution: {_execution(execution)}',
    *(f'compiler: {name}={value}' for name, value in report.options.items()),
    f'compiled in {report.compile_seconds:.0f} s; nothing was run',
    '',
    'memory of a chip, GiB',
    *_table((k, f'{v / 2**30:10.2f}') for k, v in report.memory.items()),
    *_table(
      [
        ('in all', f'{report.total_memory / 2**30:10.2f}'),
        ('at its peak', f'{report.peak_memory / 2**30:10.2f}'),
      ]
    ),
    f'  a chip has {report.memory_of_chip / 2**30:.0f}: '
    + ('it fits' if report.fits else 'IT DOES NOT FIT'),
  ]
  if report.costs is not None:
    lines += [
      '',
      'work of a chip, kernels left out',
      *_table(
        [
          ('operations, 1e12', f'{report.costs.flops / 1e12:10.1f}'),
          (
            'bytes to and from memory, 1e9',
            f'{report.costs.bytes / 1e9:10.1f}',
          ),
        ]
      ),
    ]
  lines += ['', 'communication: what a chip takes in, 1e9 bytes']
  lines += _table(
    (
      f'{one.kind}, {one.times} times',
      f'{one.bytes / 1e9:10.2f}, of which {one.hidden_bytes / 1e9:.2f} beside '
      'computation',
    )
    for one in report.communication
  )
  lines += ['', 'seconds, as the compiler estimates them']
  rows = [
    ('schedule of operations', report.schedule_seconds),
    ('attention kernels (assumed)', report.kernel_seconds),
    ('communication, at least', report.communication_seconds),
    ('  of which beside nothing', report.exposed_seconds),
  ]
  lines += _table((name, f'{seconds:10.4f}') for name, seconds in rows)
  lines += ['', 'in all, and model FLOP utilisation']
  for name, seconds in report.times.items():
    utilisation = report.utilisation(seconds)
    share = '' if utilisation is None else f'{utilisation:8.1%}'
    lines += _table([(name, f'{seconds:10.4f}{share}')])
  return '\n'.join(lines) + '\n\n' + _notes(report)


def _notes(report: Report) -> str:
  notes = []
  if report.costs is not None and report.costs.seconds is None:
    notes.append(
      'The compiler gives a negative optimal_seconds for this program; it is '
      'left out.'
    )
  elif report.costs is not None:
    notes.append(
      'cost analysis: optimal_seconds of programs with '
      f'{SHALLOW} and {DEEP} layers, unrolled, extrapolated to all, as the '
      'compiler counts the body of a loop once; and the kernels.'
    )
  notes.append(
    'schedule: cycles that the compiler gives to each operation of the whole '
    'program, times its runs; and the kernels. The last line adds the '
    'communication that the compiler runs beside nothing, at the full rate of '
    'all links of a chip.'
  )
  if report.kernel_seconds:
    notes.append(
      'The compiler counts no time for attention kernels: they are taken to '
      f'reach {KERNEL_EFFICIENCY:.0%} of the peak on the blocks they compute.'
    )
  return ''.join(f'{note}\n' for note in notes)


def _execution(execution: Any) -> str:
  fields = dataclasses.asdict(execution).items()
  return ', '.join(
    f'{name}={"+".join(value) if isinstance(value, tuple) else value}'
    for name, value in fields
    if value and name != 'unrolled'
  )


def _table(rows: Any) -> list[str]:
  return [f'  {name:<30}{value}' for name, value in rows]
