"""Joins what the processes of a job have written into one file of outcomes.

Joined, the parts are what one interrupted process would have left. So the entry
point itself brings them in order, makes what is missing and checks that all
come from these deliberations, settings and weights.
"""

import os
import pathlib
import re
import sys

from consensus_jax import outcome_file
from consensus_jax.strict_json import InputError
from launch.job import Job, OutcomeFiles, entry_point, outcome_files
from launch.programs import Programs, note

_PART = re.compile(r'\.(\d+)-of-(\d+)')
_OURS = b'{"schema": "consensus_jax/'


def run(job: Job, programs: Programs, report: str | None = None) -> int:
  """Joins the parts; returns the exit code of the entry point.

  Raises:
    InputError: if parts are missing, or `--out` holds something else.
  """
  files = outcome_files(job)
  check_target(job)
  joined = f'{files.out}.joined'
  argv = [
    sys.executable,
    '-m',
    'consensus_jax',
    *entry_point(job.kind),
    *files.others,
    f'--out={joined}',
    *([] if report is None else [f'--report={report}']),
  ]
  if programs.dry_run:
    programs.show(['sh', '-c', f'cat {files.out}.*-of-* > {joined}'])
    programs.show(['python', *argv[1:]])
    programs.show(['mv', joined, files.out])
    return 0
  whole = b''.join(path.read_bytes() for path in parts(files))
  outcome_file.write_atomically(joined, whole)
  code = programs.follow(argv)
  # 1: some records are errors, which stand in the file.
  if code in (0, 1):
    os.replace(joined, files.out)
    note(f'outcomes are in {files.out}')
  return code


def parts(files: OutcomeFiles) -> list[pathlib.Path]:
  """The parts of all processes.

  Raises:
    InputError: naming those that are missing.
  """
  out = pathlib.Path(files.out)
  found: dict[int, dict[int, pathlib.Path]] = {}
  for path in out.parent.glob('*'):
    tail = path.name.removeprefix(out.name)
    match = path.name.startswith(out.name) and _PART.fullmatch(tail)
    if match:
      found.setdefault(int(match[2]), {})[int(match[1])] = path
  if len(found) != 1:
    message = (
      'has no parts'
      if not found
      else 'has parts of jobs of different sizes: of '
      + ' and of '.join(map(str, sorted(found)))
      + '; delete those that are not wanted'
    )
    raise InputError(message, file=files.out)
  ((count, there),) = found.items()
  missing = sorted(set(range(count)) - set(there))
  if missing:
    raise InputError(
      f'lacks the parts of processes {", ".join(map(str, missing))} of {count}',
      file=files.out,
    )
  return [there[index] for index in range(count)]


def check_target(job: Job) -> None:
  """Refuses to write over what is no file of outcomes.

  Raises:
    InputError: if `--out` is one.
  """
  out = pathlib.Path(outcome_files(job).out)
  if not out.exists():
    return
  with out.open('rb') as file:
    start = file.read(len(_OURS))
  if start and start != _OURS:
    raise InputError('holds no outcomes; choose another --out', file=str(out))
