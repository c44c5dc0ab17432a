"""What the verbs of `consensus data` share: arguments, and notes on stderr."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from consensus_jax import outcome_file
from consensus_jax.strict_json import InputError


def add_verb(
  verbs: Any,
  name: str,
  summary: str,
  run_verb: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
  """A further verb of `consensus data`, and what runs it."""
  verb = verbs.add_parser(
    name,
    help=summary,
    description=f'{summary.capitalize()}.',
    allow_abbrev=False,
  )
  verb.set_defaults(run_data_verb=run_verb)
  return verb


def add_out(
  verb: argparse.ArgumentParser,
  *,
  required: bool = True,
  metavar: str = 'FILE',
  what: str = 'records, .jsonl or .parquet',
) -> None:
  """Adds where a verb writes to."""
  verb.add_argument('--out', required=required, metavar=metavar, help=what)


def add_seed(verb: argparse.ArgumentParser) -> None:
  """Adds the seed of a verb that draws."""
  verb.add_argument(
    '--seed', type=int, default=0, metavar='N', help='0 by default'
  )


def check_out(path: str, *others: str, name: str = '--out') -> None:
  """Refuses a target that cannot be written, or is one of `others`."""
  outcome_file.check_target(path, name, others=others)


def pairs(items: Sequence[str], flag: str) -> list[tuple[str, str]]:
  """What stands on either side of the '=' of each item."""
  found = []
  for item in items:
    name, equals, value = item.partition('=')
    if not equals:
      raise InputError(f'{item!r} has no =', field=(flag,))
    found.append((name, value))
  return found


def note_all(warnings: Iterable[str], excluded: Iterable[Any]) -> None:
  """Notes what is odd, and what was left out."""
  for warning in warnings:
    note(f'warning: {warning}')
  for each in excluded:
    note(f'left out: {each.count} x {each.kind}: {each.reason}')


def note(text: str) -> None:
  """Prints a line on standard error; nothing that a terminal would obey."""
  print(InputError(text), file=sys.stderr)
