"""An outcome, and the way to it, for a person at a terminal."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import rich.box
import rich.console
import rich.padding
import rich.panel
import rich.progress
import rich.table
import rich.text

from consensus_jax import wording
from consensus_jax.deliberation import Candidate, Outcome
from consensus_jax.settings import Progress

_STAGES = {
  'load': 'Loading the model',
  'prefill': 'Reading the opinions',
  'generate': 'Writing candidates',
  'score': 'Scoring candidates',
  'aggregate': 'Choosing',
}
# With more participants than this, the table gives their range only.
_MAX_NAMED = 12
NO_BREAK_SPACE = '\N{NO-BREAK SPACE}'


class ProgressBar:
  """Shows where a mediation is, on standard error, if that is a terminal."""

  def __init__(self):
    self._bar = rich.progress.Progress(
      rich.progress.SpinnerColumn(),
      rich.progress.TextColumn('{task.description}'),
      rich.progress.BarColumn(bar_width=24),
      rich.progress.MofNCompleteColumn(),
      rich.progress.TimeElapsedColumn(),
      rich.progress.TextColumn('{task.fields[detail]}', style='dim'),
      console=rich.console.Console(stderr=True),
      transient=True,
    )
    self._task = rich.progress.TaskID(0)
    self._title = ''

  @contextmanager
  def of(self, title: str) -> Iterator[None]:
    """Shows the bar, headed by `title`, while the block runs."""
    self._title = clean(title)
    self._task = self._bar.add_task('', total=None, detail='')
    try:
      with self._bar:
        yield
    finally:
      self._bar.remove_task(self._task)

  def __call__(self, progress: Progress) -> None:
    """Takes one report of a mediator."""
    self._bar.update(
      self._task,
      description=f'{self._title}{_STAGES[progress.stage]}',
      completed=progress.done,
      total=progress.total,
      detail=clean(progress.detail),
    )


def clean(text: str) -> str:
  """`text` without what a terminal would obey or show in another order."""
  return ''.join(
    character
    if character in '\n\t' or unicodedata.category(character)[0] != 'C'
    else '\N{REPLACEMENT CHARACTER}'
    for character in text
  )


def print_outcome(outcome: Outcome) -> None:
  """Prints the consensus, then a table of all candidates, best first."""
  console = rich.console.Console(highlight=False)
  console.print()
  console.print(rich.text.Text(clean(outcome.question), style='bold'))
  console.print()
  console.print(_winner(outcome))
  console.print(_table(outcome))
  for note in wording.notes(outcome):
    console.print(
      rich.padding.Padding(rich.text.Text(clean(note), style='dim'), (0, 1))
    )
  console.print()


def _winner(outcome: Outcome) -> rich.panel.Panel:
  if outcome.consensus is None:
    return rich.panel.Panel(
      'Every candidate was refused.',
      title='No consensus',
      title_align='left',
      border_style='red',
    )
  winner = outcome.candidates[outcome.consensus]
  return rich.panel.Panel(
    rich.text.Text(clean(winner.text)),
    title=f'Consensus {wording.tag(outcome.consensus)}',
    title_align='left',
    subtitle=f'welfare {wording.number(winner.welfare)}',
    subtitle_align='right',
    border_style='green',
    padding=(0, 1),
  )


def _table(outcome: Outcome) -> rich.table.Table:
  table = rich.table.Table(
    box=rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False
  )
  for heading in ('rank', '#', 'welfare'):
    table.add_column(heading, justify='right', no_wrap=True)
  table.add_column('rewards and statement', ratio=1, overflow='fold')
  repeats = wording.repeats(outcome)
  for index in outcome.ranked:
    candidate = outcome.candidates[index]
    if index in repeats:
      cell = rich.text.Text(repeats[index], style='dim')
    else:
      cell = _rewards(outcome, candidate)
      if index == outcome.consensus:
        cell.append('(the consensus above)', style='bold green')
      else:
        cell.append(' '.join(clean(candidate.text).split()))
    if candidate.refused is not None:
      cell.append(f' (refused: {clean(candidate.refused)})', style='red')
    table.add_row(
      '' if candidate.rank is None else str(candidate.rank),
      str(index),
      wording.number(candidate.welfare),
      cell,
      style='dim' if candidate.rank is None else None,
    )
  return table


def _rewards(outcome: Outcome, candidate: Candidate) -> rich.text.Text:
  names = [clean(opinion.participant) for opinion in outcome.participants]
  named = list(zip(candidate.rewards, names, strict=True))
  known = [(reward, name) for reward, name in named if reward is not None]
  if len(named) > _MAX_NAMED and known:
    mean = sum(reward for reward, _ in known) / len(known)
    lowest, highest = min(known), max(known)
    named = [
      (mean, 'mean'),
      (lowest[0], f'lowest, {lowest[1]},'),
      (highest[0], f'highest, {highest[1]},'),
    ]
  text = rich.text.Text()
  for reward, name in named:
    # A name and its number stay on one line.
    text.append(name.replace(' ', NO_BREAK_SPACE), style='dim')
    shown = wording.number(reward, sign=True)
    text.append(f'{NO_BREAK_SPACE}{shown}', style='cyan')
    text.append('  ')
  text.append('\n')
  return text
