"""What `consensus compile` does: asks the TPU compiler, without a TPU."""

import argparse
import dataclasses
import json
import re
import sys
import time
from typing import Any

import jax

from consensus_jax import gin_utils, outcome_file
from consensus_jax.model.execution import Execution
from consensus_jax.strict_json import InputError
from consensus_jax.training import (
  compile_report,
  compile_steps,
  settings,
  topologies,
)
from consensus_jax.training.compile_steps import Job
from consensus_jax.training.topologies import Topology


def run(args: argparse.Namespace) -> int:
  """Runs the command.

  Returns:
    The exit code: 0, or 1 if something does not fit.

  Raises:
    InputError: for what a person has to mend.
  """
  topology = topologies.parse(args.topology)
  options = dict(args.compiler_option)
  try:
    job, shape = read_job(args, topology)
  except ValueError as error:
    raise InputError(str(error)) from error
  if args.out is not None:
    outcome_file.check_target(args.out, '--out', others=[])
  topologies.prepare_environment()
  try:
    reports = compile_job(
      job, topology, shape, with_costs=not args.no_costs, options=options
    )
  except ValueError as error:
    raise InputError(str(error)) from error
  print('\n\n'.join(compile_report.render(report) for report in reports))
  if args.out is not None:
    text = json.dumps([report.as_json() for report in reports], indent=2)
    outcome_file.write_atomically(args.out, f'{text}\n'.encode())
  return 0 if all(report.fits for report in reports) else 1


def compile_job(
  job: Job,
  topology: Topology,
  shape: dict[str, int],
  *,
  with_costs: bool = True,
  options: dict[str, str | bool] | None = None,
) -> list[compile_report.Report]:
  """Compiles a job's programs; says on stderr what it is at.

  Args:
    job: what to compile.
    topology: what for.
    shape: sizes of the mesh, by axis.
    with_costs: whether to compile unrolled programs of few layers too.
    options: of the compiler, for the whole program; the unrolled ones count
      operations, which these would count twice.

  Raises:
    InputError: if the mesh does not fit the slice, or a program its chips.
  """
  mesh = topologies.make_mesh(topology, **shape)
  chip = topology.chip
  with_costs = with_costs and job.kind != 'sample'
  costs = None
  if with_costs:
    few, more = (
      compile_report.costs(
        _compile(lowered, f'{layers} layers, unrolled'), chip
      )
      for layers in (compile_report.SHALLOW, compile_report.DEEP)
      for lowered in compile_steps.lower(job.with_layers(layers), mesh).values()
    )
    costs = compile_report.extrapolate(few, more, job.model.num_layers)
  reports = []
  for name, lowered in compile_steps.lower(job, mesh).items():
    start = time.monotonic()
    compiled = _compile(lowered, f'all layers of one {name}', options)
    reports.append(
      compile_report.make(
        name,
        job,
        topology,
        shape,
        compiled,
        inputs=lowered.inputs,
        compile_seconds=time.monotonic() - start,
        extrapolated=costs,
        options=options or {},
      )
    )
  return reports


def _compile(
  lowered: compile_steps.Lowered,
  what: str,
  options: dict[str, str | bool] | None = None,
) -> jax.stages.Compiled:
  print(f'compiling {what} ...', file=sys.stderr, flush=True)
  try:
    return lowered.lowered.compile(compiler_options=options or None)
  except jax.errors.JaxRuntimeError as error:
    used = re.search(r'Used \S+ of \S+ hbm', str(error))
    if 'RESOURCE_EXHAUSTED' not in str(error) or used is None:
      raise
    raise InputError(
      f'{what}: does not fit the memory of a chip: {used[0]}'
    ) from error


def read_job(
  args: argparse.Namespace, topology: Topology
) -> tuple[Job, dict[str, int]]:
  """The job, and the mesh's sizes by axis, of files and arguments.

  Raises:
    ValueError: for what gin files or arguments have wrong.
  """

  def build(macro):
    return gin_utils.build(
      macro, args.gin_file, args.gin_binding, args.gin_search_paths
    )[0]

  run = build('RUN')
  if run is None:
    model, mesh, execution = map(build, ('MODEL', 'MESH', 'EXECUTION'))
    chosen: dict[str, Any] = {'batch_size': topology.num_chips}
  else:
    model, mesh, execution = run.model, run.mesh, run.execution
    reward = isinstance(run, settings.RewardRun)
    chosen = {
      'kind': 'reward' if reward else 'sft',
      'batch_size': run.batch_size,
      'microbatches': run.microbatches,
    }
  if model is None:
    raise InputError('no gin file sets MODEL: add models/llama3_70b.gin')
  mesh = mesh or settings.MeshShape(fsdp=topology.num_chips)
  given = {
    'kind': args.step,
    'batch_size': args.rows,
    'microbatches': args.microbatches,
    'length': args.length,
    'statements': args.statements,
    'candidates': args.candidates,
    'max_tokens': args.max_tokens,
  }
  chosen |= {name: value for name, value in given.items() if value is not None}
  job = Job(model=model, execution=execution or Execution(), **chosen)
  others = mesh.fsdp * mesh.tensor
  data = topology.num_chips // others if mesh.data is None else mesh.data
  return job, dataclasses.asdict(mesh) | {'data': data}
