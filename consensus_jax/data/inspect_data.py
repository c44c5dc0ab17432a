"""What data holds, for a person at a terminal.

Counts, splits, lengths and judgements of records or of materialised examples,
and a few of them exactly as the model reads them.
"""

import collections
import dataclasses
from collections.abc import (
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, Literal

import numpy as np
import rich.box
import rich.console
import rich.table
import rich.text

from consensus_jax.data import reward_examples, sft_examples
from consensus_jax.data.batches import Examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import JUDGEMENTS, JudgedDeliberation
from consensus_jax.terminal import clean
from consensus_jax.tokenizer import Tokenizer

_BAR = 30
_BINS = 8
# Of the names over a table, beside its first column, in 80 columns.
_NAMES_WIDTH = 60
# How a line break is shown, before it is made.
_LINE_BREAK = '\N{RETURN SYMBOL}\n'


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of what a model reads.

  Attributes:
    label: what it is.
    ids: its tokens.
  """

  label: str
  ids: tuple[int, ...]


def print_records(records: Sequence[JudgedDeliberation]) -> None:
  """Prints what records hold."""
  console = _console()
  columns: dict[str, dict[str, int]] = {}
  for (source, split), group in _by_source_and_split(records).items():
    columns[f'{source}, {split}' if split else source] = {
      'questions': len({record.question.text for record in group}),
      'deliberations': len(group),
      'statements': sum(len(record.statements) for record in group),
      'members': sum(len(record.members) for record in group),
      'people': len({m.participant for r in group for m in r.members}),
      'opinions': sum(bool(m.opinion) for r in group for m in r.members),
      **{
        field: sum(len(_given(m, field)) for r in group for m in r.members)
        for field in JUDGEMENTS
      },
    }
  for names in _in_lines(list(columns)):
    table = _table('records of', *names, numeric=names)
    for fact in columns[names[0]]:
      if any(column[fact] for column in columns.values()):
        table.add_row(fact, *(f'{columns[name][fact]:,}' for name in names))
    console.print(table)
  kinds = collections.Counter(
    m.opinion_provenance for r in records for m in r.members if m.opinion
  )
  _print_counts(console, 'kind of opinion', kinds)
  for title, texts in (
    ('words of an opinion', (m.opinion for r in records for m in r.members)),
    ('words of a statement', (s.text for r in records for s in r.statements)),
  ):
    lengths = [len(text.split()) for text in texts if text]
    _print_histogram(console, title, np.array(lengths))
  for field in JUDGEMENTS:
    counts = collections.Counter(
      value
      for record in records
      for member in record.members
      for value in _given(member, field)
    )
    _print_counts(console, field, counts)


def _by_source_and_split(
  records: Iterable[JudgedDeliberation],
) -> dict[tuple[str, str], list[JudgedDeliberation]]:
  groups: dict[tuple[str, str], list[JudgedDeliberation]] = {}
  for record in records:
    key = clean(record.source), record.question.split or ''
    groups.setdefault(key, []).append(record)
  return groups


def _in_lines(names: Sequence[str]) -> Iterator[list[str]]:
  """The names, as many together as fit beside each other."""
  line: list[str] = []
  for name in names:
    if line and sum(len(each) + 3 for each in (*line, name)) > _NAMES_WIDTH:
      yield line
      line = []
    line.append(name)
  if line:
    yield line


def _given(member: Any, field: str) -> list[int]:
  return [value for value in getattr(member, field) if value is not None]


def print_encoded(
  records: Iterable[JudgedDeliberation],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  num_shown: int,
) -> None:
  """Prints the first examples that a task makes of records."""
  console = _console()
  shown: Iterator[list[Piece]]
  if settings.kind == 'sft':
    shown = (
      [Piece('prompt', each.prompt), Piece('statement', each.statement)]
      for each in sft_examples.encode(records, tokenizer, settings, Tally())
    )
  else:
    shown = (
      [
        Piece(f'prefix, weight {each.weight:.3g}', each.prefix),
        *(
          Piece(f'{settings.judgement} {level:g}', ids)
          for level, ids in zip(each.levels, each.statements)
        ),
      ]
      for each in reward_examples.encode(records, tokenizer, settings, Tally())
    )
  for _, pieces in zip(range(num_shown), shown):
    _print_example(console, pieces, tokenizer)


def print_examples(
  examples: Examples, tokenizer: Tokenizer | None, num_shown: int
) -> None:
  """Prints what a materialised set holds.

  Args:
    examples: the set.
    tokenizer: that it was made with; None shows no examples.
    num_shown: examples to show, spread over the set.
  """
  console = _console()
  meta, features = examples.meta, examples.features
  table = _table('training examples', '')
  table.add_row('rows', f'{examples.num_examples:,}')
  for name, value in meta.get('settings', {}).items():
    if name not in _ONLY[_OTHER[meta['kind']]]:
      table.add_row(name, clean(_setting(name, value)))
  for name in ('participants', 'questions'):
    if name in meta:
      table.add_row(name, f'{len(meta[name]):,}')
  console.print(table)
  _print_excluded(console, meta.get('excluded', ()))
  used = (np.asarray(features['segment_ids']) > 0).sum(1)
  _print_histogram(console, 'tokens of a row', used)
  if meta['kind'] == 'sft':
    segments = np.asarray(features['segment_ids']).max(1)
    _print_histogram(console, 'examples of a row', segments)
    full = used.mean() / features['segment_ids'].shape[1]
    console.print(f'{full:.1%} of the tokens are no padding\n')
  else:
    levels = np.asarray(features['levels'])
    told = levels[~np.isnan(levels)]
    values, counts = np.unique(told, return_counts=True)
    _print_counts(
      console,
      meta.get('judgement', 'levels'),
      {f'{value:g}': int(count) for value, count in zip(values, counts)},
    )
  if tokenizer is None:
    return
  places = np.linspace(0, examples.num_examples - 1, num_shown).astype(int)
  for place in dict.fromkeys(places.tolist()):
    row = {name: np.asarray(array[place]) for name, array in features.items()}
    console.print(f'row {place}', style='bold')
    pieces = _sft_row(row) if meta['kind'] == 'sft' else _reward_row(row, meta)
    _print_example(console, pieces, tokenizer)


# Settings that only one kind of rows knows.
_ONLY = {
  'sft': ('prompt', 'max_opinions', 'rounds')
  + ('min_quality', 'min_agreement', 'min_vote'),
  'reward': ('judgement', 'statements_per_row', 'max_pairs', 'ties'),
}
_OTHER = {'sft': 'reward', 'reward': 'sft'}


def _setting(name: str, value: Any) -> str:
  """A setting as a person would write it."""
  if isinstance(value, list):
    return ', '.join(map(str, value))
  if value is None:
    return "the embedded model's" if name == 'tokenizer' else 'none'
  return str(value)


def _sft_row(row: Mapping[str, np.ndarray]) -> list[Piece]:
  """The prompts and statements of a packed row."""
  pieces = []
  for segment in range(1, int(row['segment_ids'].max()) + 1):
    here = row['segment_ids'] == segment
    learned = int((row['loss_weights'][here] > 0).sum())
    ids = (*row['tokens'][here].tolist(), int(row['targets'][here][-1]))
    pieces.append(Piece(f'segment {segment}: prompt', ids[:-learned]))
    pieces.append(Piece('statement', ids[-learned:]))
  return pieces


def _reward_row(
  row: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> list[Piece]:
  """The prefix and the statements of a row."""
  who = meta['participants'][int(row['participants'])]
  label = f'prefix of {who}, weight {float(row["weights"]):.3g}'
  pieces = [Piece(label, _segment(row, 1))]
  for place, level in enumerate(row['levels'].tolist()):
    ids = _segment(row, place + 2)
    if ids:
      pieces.append(Piece(f'{meta.get("judgement", "level")} {level:g}', ids))
  return pieces


def _segment(row: Mapping[str, np.ndarray], segment: int) -> tuple[int, ...]:
  return tuple(row['tokens'][row['segment_ids'] == segment].tolist())


def shown(ids: Sequence[int], tokenizer: Tokenizer) -> str:
  """The text of ids as a model reads it, with special tokens by their names."""
  text = tokenizer.with_added.decode(list(ids), skip_special_tokens=False)
  return text.replace('\n', _LINE_BREAK)


def _print_example(
  console: rich.console.Console, pieces: Sequence[Piece], tokenizer: Tokenizer
) -> None:
  for piece in pieces:
    learned = not piece.label.endswith('prompt') and 'prefix' not in piece.label
    heading = f'[{piece.label}, {len(piece.ids)} tokens]'
    console.print(rich.text.Text(clean(heading), style='dim'))
    text = clean(shown(piece.ids, tokenizer))
    console.print(rich.text.Text(text, style='green' if learned else ''))
  console.print()


def _print_excluded(
  console: rich.console.Console, excluded: Sequence[Mapping[str, Any]]
) -> None:
  if not excluded:
    return
  table = _table('left out', 'reason', 'count', 'such as', numeric=('count',))
  for each in excluded:
    table.add_row(
      clean(each['kind']),
      clean(each['reason']),
      f'{each["count"]:,}',
      clean(each['examples'][0]),
    )
  console.print(table)


def _print_counts(
  console: rich.console.Console, title: str, counts: Mapping[Any, int]
) -> None:
  if not counts:
    return
  table = _table(title, 'count', 'share', '', numeric=('count', 'share'))
  total, most = sum(counts.values()), max(counts.values())
  for value, count in sorted(counts.items(), key=_in_order):
    bar = '█' * round(_BAR * count / most)
    table.add_row(str(value), f'{count:,}', f'{count / total:.0%}', bar)
  console.print(table)


def _in_order(item: tuple[Any, int]) -> Any:
  try:
    return 0, float(item[0]), ''
  except ValueError:
    return 1, 0.0, str(item[0])


def _print_histogram(
  console: rich.console.Console, title: str, values: np.ndarray
) -> None:
  if not len(values):
    return
  low, high = int(values.min()), int(values.max())
  width = max(1, -(-(high - low + 1) // _BINS))
  counts = np.bincount((values - low) // width)
  table = _table(title, 'count', '', numeric=('count',))
  for index, count in enumerate(counts.tolist()):
    first = low + index * width
    last = first + width - 1
    label = str(first) if width == 1 else f'{first} to {last}'
    bar = '█' * round(_BAR * count / counts.max())
    table.add_row(label, f'{count:,}', bar)
  console.print(table)
  console.print(
    f'mean {values.mean():.1f}, median {np.median(values):g}, '
    f'99% up to {np.quantile(values, 0.99):.0f}\n'
  )


def _table(*headings: str, numeric: Collection[str] = ()) -> rich.table.Table:
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  for heading in headings:
    justify: Literal['left', 'right'] = (
      'right' if heading in numeric else 'left'
    )
    table.add_column(heading, justify=justify, overflow='fold')
  return table


def _console() -> rich.console.Console:
  return rich.console.Console(highlight=False)
