"""One job for each combination of gin bindings, and one table of results."""

import dataclasses
import itertools
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from consensus_jax.strict_json import InputError
from consensus_jax.training import journal
from launch.job import Job, training_arguments
from launch.programs import note

# By SIGINT and SIGTERM, as a shell has it.
_STOPPED = (130, 143)


@dataclasses.dataclass(frozen=True)
class Point:
  """One combination.

  Attributes:
    bindings: (name, value) in gin's words.
    job: with these, and a MODEL_DIR of its own.
    model_dir: where it writes.
  """

  bindings: tuple[tuple[str, str], ...]
  job: Job
  model_dir: str


def points(job: Job, over: Sequence[str]) -> list[Point]:
  """The jobs of a sweep.

  Args:
    job: what all have in common; its MODEL_DIR is the folder of all runs.
    over: NAME=VALUE, several of the same name being its values.

  Raises:
    InputError: if there is nothing to vary, or a value is malformed.
  """
  if not job.trains:
    raise InputError('only training jobs can be swept')
  values: dict[str, list[str]] = {}
  for binding in over:
    name, separator, value = binding.partition('=')
    if not separator or not name or not value:
      raise InputError(
        f'must be NAME=VALUE, got {binding!r}', field=('--over',)
      )
    if name == 'MODEL_DIR':
      raise InputError('is set by the sweep', field=('--over', name))
    if value in values.setdefault(name, []):
      raise InputError(f'has {value} twice', field=('--over', name))
    values[name].append(value)
  if not values:
    raise InputError('is missing: what to vary', field=('--over',))
  folder = _model_dir(job)
  found = []
  combinations = itertools.product(*values.values())
  for number, combination in enumerate(combinations):
    bindings = tuple(zip(values, combination))
    model_dir = f'{folder}/{number:03d}'
    more = [f'--gin.{name}={value}' for name, value in bindings]
    more.append(f'--gin.MODEL_DIR={model_dir!r}')
    found.append(
      Point(
        bindings,
        dataclasses.replace(
          job,
          name=f'{job.name}-{number:03d}',
          arguments=(*job.arguments, *more),
        ),
        model_dir,
      )
    )
  return found


def _model_dir(job: Job) -> str:
  """The MODEL_DIR that the job's own arguments set."""
  from consensus_jax import gin_utils

  args = training_arguments(job.arguments)
  try:
    run, _ = gin_utils.build(
      'RUN', args.gin_file, args.gin_binding, args.gin_search_paths
    )
  except ValueError as error:
    raise InputError(str(error)) from error
  return str(run.model_dir).rstrip('/')


def run(sweep: Sequence[Point], launch: Callable[[Job], int]) -> int:
  """Launches every point; the first exit code that is not 0, if any.

  A point that fails does not keep the others from being tried; Ctrl-C and
  SIGTERM do.
  """
  first = 0
  for number, point in enumerate(sweep):
    told = '  '.join(f'{name}={value}' for name, value in point.bindings)
    note(f'[{number + 1}/{len(sweep)}] {told}')
    code = launch(point.job)
    if code:
      note(f'[{number + 1}/{len(sweep)}] ended with {code}')
      first = first or code
    if code in _STOPPED:
      break
  return first


def table(sweep: Sequence[Point]) -> str:
  """What has become of each point, as a table in Markdown, best first.

  Best is the lowest validation loss of any evaluation; without validation, the
  last training loss. A run that has written nothing yet stands last.
  """
  names = [name for name, _ in sweep[0].bindings]
  rows = sorted(
    ((_result(point.model_dir), point) for point in sweep),
    key=lambda row: row[0]['loss'],
  )
  metrics = sorted({name for result, _ in rows for name in result['others']})
  head = ['run', *names, 'state', 'step', 'loss', *metrics]
  lines = [head, ['---'] * len(head)]
  for result, point in rows:
    lines.append(
      [
        point.model_dir,
        *(value for _, value in point.bindings),
        result['state'],
        str(result['step']),
        _number(result['loss']),
        *(_number(result['others'].get(name, math.nan)) for name in metrics),
      ]
    )
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


# Beside the loss, where a run has them.
_METRICS = ('accuracy', 'rank_correlation')


def _result(model_dir: str) -> dict[str, Any]:
  folder = pathlib.Path(model_dir)
  metrics = folder / 'metrics.jsonl'
  lines = list(journal.read(metrics)) if metrics.is_file() else []
  by_kind: dict[str, list[dict[str, Any]]] = {}
  for line in lines:
    by_kind.setdefault(line['kind'], []).append(line)
  trained, validated = by_kind.get('train', []), by_kind.get('validation', [])
  best = (
    min(validated, key=_loss) if validated else (trained[-1] if trained else {})
  )
  if (folder / 'failure.json').is_file():
    state = 'diverged'
  elif (folder / 'export').is_dir() or (lines and _last(folder, lines)):
    state = 'done'
  else:
    state = 'under way' if lines else 'not started'
  return {
    'state': state,
    'step': best.get('step', 0),
    'loss': _loss(best),
    'others': {name: best[name] for name in _METRICS if name in best},
  }


def _last(folder: pathlib.Path, lines: list[dict[str, Any]]) -> bool:
  """Whether the run has taken all its steps."""
  try:
    about = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    return lines[-1]['step'] >= about['configuration']['num_steps']
  except (OSError, ValueError, KeyError):
    return False


def _loss(line: dict[str, Any]) -> float:
  loss = line.get('loss')
  return float(loss) if isinstance(loss, int | float) else math.inf


def _number(value: Any) -> str:
  return f'{value:.4g}' if math.isfinite(value) else ''
