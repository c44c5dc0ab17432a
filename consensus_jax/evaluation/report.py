"""Every number of an evaluation as one JSON document, and tables made of it.

The tables read nothing but the document, so that no number is typed by hand.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consensus_jax.data.record_files import make_folder, replacing
from consensus_jax.evaluation.benchmark import Comparison
from consensus_jax.evaluation.intervals import Interval
from consensus_jax.evaluation.regret import Regret
from consensus_jax.evaluation.robustness import Robustness
from consensus_jax.outcome_file import pretty
from consensus_jax.strict_json import InputError

SCHEMA = 'consensus_jax/reward_benchmark/v1'

# Titles of columns, by names of measures.
TITLES = {
  'auc': 'AUC',
  'auc_by_conversation': 'AUC within a conversation',
  'pair_accuracy': 'pairs in order, by person',
  'length_correlation': 'correlation with length',
  'log_loss': 'log loss',
  'calibration_error': 'calibration error',
}


def document(
  sections: Mapping[str, Comparison | Regret | Robustness],
  *,
  about: Mapping[str, Any],
) -> dict[str, Any]:
  """The document of an evaluation.

  Args:
    sections: results, by the titles they get.
    about: what else there is to know: models, sources, seeds, exclusions.
  """
  return {
    'schema': SCHEMA,
    'about': plain(about),
    'sections': [
      {'title': title, 'kind': _kind(result), **plain(result)}
      for title, result in sections.items()
    ],
  }


def markdown(document: Mapping[str, Any]) -> str:
  """The sections of a document as tables.

  Raises:
    InputError: if the document is of another schema.
  """
  if document.get('schema') != SCHEMA:
    raise InputError(
      f'must be {SCHEMA!r}, got {document.get("schema")!r}', field=('schema',)
    )
  parts: list[str] = []
  for section in document['sections']:
    parts.append(f'## {section["title"]}')
    parts += _SECTIONS[section['kind']](section)
  return '\n\n'.join(parts) + '\n'


def write(folder: str | pathlib.Path, document: Mapping[str, Any]) -> None:
  """Writes `benchmark.json` and `benchmark.md` into a folder.

  Raises:
    InputError: if the system refuses.
  """
  content = {
    'benchmark.json': pretty(document),
    'benchmark.md': markdown(document).encode(),
  }
  write_files(folder, content)


def write_files(
  folder: str | pathlib.Path, content: Mapping[str, bytes]
) -> None:
  """Writes files into a folder, each whole or not at all.

  Args:
    folder: made if it is not there.
    content: of the files, by name.

  Raises:
    InputError: if the system refuses.
  """
  target = make_folder(folder)
  for name, data in content.items():
    with replacing(target / name) as temporary:
      temporary.write_bytes(data)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table of Markdown; the first column to the left, the others right."""
  cells = [[_escaped(cell) for cell in row] for row in (head, *rows)]
  rule = ['---', *(['---:'] * (len(head) - 1))]
  lines = [cells[0], rule, *cells[1:]]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def estimate(interval: Mapping[str, float | None], *, signed=False) -> str:
  """`0.712 [0.690, 0.733]`, a sign before each number if asked for."""
  form = '+.3f' if signed else '.3f'
  value, low, high = (interval[key] for key in ('value', 'low', 'high'))
  if value is None:
    return '–'
  if low is None or high is None:
    return f'{value:{form}}'
  return f'{value:{form}} [{low:{form}}, {high:{form}}]'


def _comparison(section) -> list[str]:
  names = list(dict.fromkeys(m for r in section['rows'] for m in r['measures']))
  head = ['system', *(TITLES[name] for name in names), 'votes', 'people']
  counts = section['counts']
  parts = [
    f'{counts["judgements"]:,} votes for or against of {counts["people"]:,} '
    f'people in {counts["conversations"]} conversations; {counts["agree"]:.1%} '
    f'are for. In brackets 95% intervals from {section["num_draws"]:,} draws '
    f'of people, seed {section["seed"]}.',
    table(
      head,
      [
        [row['system'], *_cells(row, names, signed=False), *_sizes(row)]
        for row in section['rows']
      ],
    ),
  ]
  if section['differences']:
    head[0] = 'difference'
    parts.append(
      table(
        head,
        [
          [
            f'{each["first"]} minus {each["second"]}',
            *_cells(each, names, signed=True),
            *_sizes(each),
          ]
          for each in section['differences']
        ],
      )
    )
  return parts


def _cells(row, names, *, signed) -> list[str]:
  return [
    estimate(row['measures'][name], signed=signed)
    if name in row['measures']
    else ''
    for name in names
  ]


def _sizes(row) -> list[str]:
  return [f'{row["counts"][name]:,}' for name in ('judgements', 'people')]


def _regret(section) -> list[str]:
  groups = ', '.join(
    f'{count} have a {welfare} gap (mean {section["gaps"][welfare]:.3f})'
    if section['gaps'][welfare] is not None
    else f'none has a {welfare} gap'
    for welfare, count in section['groups'].items()
  )
  parts = [
    f'{section["all_groups"]} groups of {section["people"]} people, '
    f'{section["candidates"]:.1f} statements each on average; of these groups '
    f'{groups}. Share of the gap between a choice at random (0) and the best '
    'possible choice (1) that is closed; 95% intervals count groups that '
    'share a member as dependent. A vote for a statement is worth 1, a pass '
    '0.5, a vote against it 0.'
  ]
  for head, rows in (
    ('system', section['rows']),
    ('difference', section['differences']),
  ):
    if rows:
      parts.append(
        table(
          [head, 'welfare', 'mean share of a group', 'share of all gaps'],
          [
            [
              row['system'],
              row['welfare'],
              *(
                estimate(row[name], signed=head == 'difference')
                for name in ('mean_share', 'share')
              ),
            ]
            for row in rows
          ],
        )
      )
  return parts


def _robustness(section) -> list[str]:
  return [
    f'Of {section["cases"]:,} people; rewards have a standard deviation of '
    f'{section["deviation"]:.3f}. Only statements that a change alters count.',
    table(
      [
        'change',
        'mean change / standard deviation',
        'rank agreement',
        'AUC before',
        'AUC after',
        'statements',
        'people',
      ],
      [
        [
          each['change'],
          *(
            '–' if each[name] is None else f'{each[name]:.3f}'
            for name in ('mean_change', 'rank_agreement', 'auc', 'auc_changed')
          ),
          f'{each["rewards"]:,}',
          f'{each["cases"]:,}',
        ]
        for each in section['changes']
      ],
    ),
  ]


_SECTIONS: Mapping[str, Callable[[Any], list[str]]] = {
  'comparison': _comparison,
  'regret': _regret,
  'robustness': _robustness,
}


def _kind(result: Comparison | Regret | Robustness) -> str:
  return type(result).__name__.lower()


def plain(value: Any) -> Any:
  """As JSON can hold it; what is not finite is None."""
  if isinstance(value, Interval):
    return {key: plain(item) for key, item in value._asdict().items()}
  if dataclasses.is_dataclass(value):
    return {
      field.name: plain(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _escaped(cell: str) -> str:
  return ' '.join(cell.replace('|', '\\|').split())
