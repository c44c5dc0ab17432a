"""Benchmarks of reward models as a section of the report.

`consensus evaluate reward_model` measures reward models, of other losses or
fewer data say, and baselines on votes of real people, and writes a folder. What
stands there is read, and nothing is computed anew.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consensus_jax import strict_json
from consensus_jax.evaluation import report
from consensus_jax.evaluation.experiment_study import Section
from consensus_jax.evaluation.findings import Finding
from consensus_jax.evaluation.intervals import Interval
from consensus_jax.evaluation.statistics import Estimate
from consensus_jax.strict_json import InputError

_FILE = 'benchmark.json'


def section(folders: Sequence[str]) -> Section:
  """What reward models and baselines reach.

  Args:
    folders: of `consensus evaluate reward_model`.

  Raises:
    InputError: if one holds no benchmark.
  """
  found: list[Finding] = []
  for folder in folders:
    prefix = f'{pathlib.Path(folder).name}: ' if len(folders) > 1 else ''
    found += _findings(pathlib.Path(folder) / _FILE, prefix)
  return Section(
    name='reward_models',
    title='Reward models and baselines',
    about='How well the votes of real people are predicted, as `consensus '
    'evaluate reward_model` has measured it; intervals draw people.',
    findings=tuple(found),
  )


def _findings(path: pathlib.Path, prefix: str) -> Iterator[Finding]:
  try:
    document = strict_json.parse(path.read_bytes().decode())
    strict_json.check_object(document, required=('schema', 'about', 'sections'))
    assert isinstance(document, dict)
    if document['schema'] != report.SCHEMA:
      raise InputError(
        f'must be {report.SCHEMA!r}, got {document["schema"]!r}',
        field=('schema',),
      )
  except OSError as error:
    raise InputError(
      f'cannot be read: {error.strerror}', field=('benchmarks',), file=str(path)
    ) from error
  except UnicodeDecodeError:
    raise InputError('is no text', file=str(path)) from None
  except InputError as error:
    raise error.at(file=str(path)) from None
  for part in document['sections']:
    if part['kind'] != 'comparison':
      continue
    for row in part['rows']:
      for name, interval in row['measures'].items():
        yield Finding(
          measure=report.TITLES[name],
          system=f'{prefix}{row["system"]}',
          estimate=_estimate(interval, row, part),
          truth=float('nan'),
        )
    for each in part['differences']:
      for name, interval in each['measures'].items():
        yield Finding(
          measure=f'{report.TITLES[name]}, difference',
          system=f'{prefix}{each["first"]}',
          against=f'{prefix}{each["second"]}',
          estimate=_estimate(interval, each, part),
          truth=float('nan'),
        )


def _estimate(
  interval: Mapping[str, float | None],
  row: Mapping[str, Any],
  part: Mapping[str, Any],
) -> Estimate:
  ends = (interval[key] for key in ('value', 'low', 'high'))
  judged = row['counts']['judgements']
  return Estimate(
    interval=Interval(
      *(float('nan') if end is None else float(end) for end in ends)
    ),
    number=judged,
    undefined=part['counts']['judgements'] - judged,
    groups=row['counts']['people'],
    num_draws=part['num_draws'],
    seed=part['seed'],
  )
