"""How far long work has come, on standard error."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from consensus_jax.data.arguments import note

# Takes what is done, and of how much, if that is known.
Report = Callable[[int, int | None], None]

# Between two lines where nobody watches.
_SECONDS_PER_LINE = 30.0


@contextlib.contextmanager
def shown(
  title: str, unit: str, *, line: Callable[[str], None] = note
) -> Iterator[Report]:
  """Shows how far the work in the block has come.

  On a terminal one line that goes when the block ends, elsewhere a line every
  half minute.

  Args:
    title: what is done.
    unit: what is counted.
    line: takes a line where there is no terminal.
  """
  if not sys.stderr.isatty():
    yield _lines(title, unit, line)
    return
  import rich.console
  import rich.progress

  bar = rich.progress.Progress(
    rich.progress.SpinnerColumn(),
    rich.progress.TextColumn('{task.description}', markup=False),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.TextColumn('{task.fields[count]}'),
    rich.progress.TimeElapsedColumn(),
    console=rich.console.Console(stderr=True),
    transient=True,
  )
  task = bar.add_task(title, total=None, count='')
  with bar:
    yield lambda done, total: bar.update(
      task, completed=done, total=total, count=_count(done, total, unit)
    )


def _lines(title: str, unit: str, line: Callable[[str], None]) -> Report:
  noted = time.monotonic()

  def report(done: int, total: int | None) -> None:
    nonlocal noted
    if time.monotonic() - noted >= _SECONDS_PER_LINE:
      line(f'{title}: {_count(done, total, unit)}')
      noted = time.monotonic()

  return report


def _count(done: int, total: int | None, unit: str) -> str:
  of = '' if total is None else f' of {total:,}'
  return f'{done:,}{of} {unit}'
