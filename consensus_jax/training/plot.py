"""Draws the curves of a run from its metrics.jsonl."""

import os
import pathlib
from typing import Any

from consensus_jax.strict_json import InputError
from consensus_jax.training import journal
from consensus_jax.training.watch import METRICS

# Title, and the metric of each kind of line that it shows.
_PANELS = (
  ('loss', 'loss'),
  ('accuracy', 'accuracy'),
  ('learning rate', 'learning_rate'),
  ('norm of the gradient', 'gradient_norm'),
)


def plot(
  run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> pathlib.Path:
  """Draws losses, accuracies, learning rate and gradient norm as a PNG.

  Args:
    run: MODEL_DIR.
    out: the picture; `curves.png` in `run` by default.

  Returns:
    Where the picture is.

  Raises:
    InputError: if the run has no metrics yet, matplotlib is not installed or
      the picture cannot be written.
  """
  folder = pathlib.Path(run)
  lines = list(journal.read(folder / METRICS))
  if not lines:
    raise InputError('holds no metrics yet', file=str(folder / METRICS))
  try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
  except ImportError:
    raise InputError('needs matplotlib: `pip install matplotlib`') from None
  figure = Figure(figsize=(10, 7), layout='constrained')
  FigureCanvasAgg(figure)
  for axes, (title, name) in zip(figure.subplots(2, 2).flat, _PANELS):
    _panel(axes, title, name, lines)
  figure.suptitle(folder.resolve().name)
  target = folder / 'curves.png' if out is None else pathlib.Path(out)
  temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
  try:
    figure.savefig(temporary, format='png', dpi=120)
    os.replace(temporary, target)
  except OSError as error:
    raise InputError(
      f'cannot be written: {error.strerror}', file=str(target)
    ) from error
  finally:
    temporary.unlink(missing_ok=True)
  return target


def _panel(axes: Any, title: str, name: str, lines: list[dict]) -> None:
  shown = False
  for kind, style in (('train', '-'), ('validation', 'o-')):
    points = [
      (line['step'], line[name])
      for line in lines
      if line['kind'] == kind and line.get(name) is not None
    ]
    if points:
      axes.plot(*zip(*points), style, label=kind, markersize=4, linewidth=1)
      shown = True
  axes.set(title=title, xlabel='step')
  axes.grid(alpha=0.3)
  axes.locator_params(axis='x', integer=True)
  if shown:
    axes.legend()
