"""What a person sees of a run while it trains, and what stays of it."""

import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import rich.console
import rich.progress

from consensus_jax.strict_json import InputError
from consensus_jax.training import distributed, hardware
from consensus_jax.training.journal import Journal

METRICS = 'metrics.jsonl'
_LINE_SECONDS = 10.0
# Of an evaluation; the rest is in the file.
_SHOWN = ('loss', 'accuracy', 'rank_correlation', 'length_correlation')


class Watch:
  """Metrics on standard error, in metrics.jsonl and in TensorBoard's events.

  Only the writing process shows and writes anything.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    num_steps: int,
    step: int,
    evaluated: int,
    flops_per_token: float | None = None,
    num_devices: int = 1,
    tensorboard: bool = False,
    profile: tuple[int, int] | None = None,
  ):
    """Opens what is written; a resumed run goes on in the same files.

    Args:
      folder: MODEL_DIR.
      num_steps: of the whole run.
      step: the step it starts from.
      evaluated: the last step whose evaluation is known.
      flops_per_token: of the model, for its utilisation of the devices.
      num_devices: of the mesh.
      tensorboard: whether to write events.
      profile: first and last step to record.
    """
    self._folder, self._num_steps = folder, num_steps
    self._writes = distributed.is_writer()
    self._journal = self._events = self._bar = None
    self._profile, self._profiling = profile, False
    peak = hardware.peak_flops(jax.devices()[0].device_kind)
    self._flops_share = (
      flops_per_token / (peak * num_devices)
      if peak and flops_per_token
      else None
    )
    self._shown = -math.inf
    if not self._writes:
      return
    self._journal = Journal(folder / METRICS, step=step, evaluated=evaluated)
    if tensorboard:
      self._events = _summary_writer(folder / 'tensorboard', step)
    if sys.stderr.isatty():
      self._bar = _progress_bar()
      self._bar.start()
      self._task = self._bar.add_task(
        '', total=num_steps, completed=step, detail=''
      )

  def __enter__(self) -> 'Watch':
    return self

  def __exit__(self, *_: object) -> None:
    if self._profiling:
      jax.profiler.stop_trace()
    for each in (self._journal, self._events):
      if each is not None:
        each.close()
    if self._bar:
      self._bar.stop()

  def note(self, text: str) -> None:
    """Says something once."""
    if not self._writes:
      return
    # One line, and nothing that a terminal would obey.
    line = str(InputError(text))
    if self._bar:
      self._bar.console.print(line, markup=False, highlight=False)
    else:
      print(line, file=sys.stderr, flush=True)

  def before_step(self, step: int) -> None:
    """Starts or stops jax's profiler, if `step` is where."""
    if self._profile is None or not self._writes:
      return
    first, last = self._profile
    if not self._profiling and first <= step <= last:
      jax.profiler.start_trace(str(self._folder / 'profile'))
      self._profiling = True
    elif self._profiling and step > last:
      jax.profiler.stop_trace()
      self._profiling = False
      self.note(f'profile of steps {first} to {last} in {self._folder}/profile')

  def step(
    self,
    step: int,
    metrics: Mapping[str, float],
    *,
    seconds: float,
    tokens: float,
    log: bool,
  ) -> None:
    """Shows a step, and writes it if `log`.

    Args:
      step: steps taken.
      metrics: of the step, with 'loss' and 'gradient_norm'.
      seconds: it took.
      tokens: it saw, padding left out, in all processes.
      log: whether to write it too.
    """
    if not self._writes:
      return
    rate = tokens / max(seconds, 1e-9)
    speed = {'seconds': seconds, 'tokens_per_second': rate}
    if self._flops_share is not None:
      speed['mfu'] = rate * self._flops_share
    if log:
      self._write('train', step, {**metrics, **speed})
    text = _summary({**metrics, **speed})
    if self._bar:
      self._bar.update(self._task, completed=step, detail=text)
    elif time.monotonic() - self._shown > _LINE_SECONDS:
      self._shown = time.monotonic()
      self.note(f'step {step}/{self._num_steps}  {text}')

  def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
    """Shows and writes an evaluation."""
    if not self._writes:
      return
    self._write('validation', step, metrics)
    text = '  '.join(
      f'{name} {value:.4g}' for name, value in metrics.items() if name in _SHOWN
    )
    self.note(f'step {step}/{self._num_steps}  validation: {text}')

  def _write(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
    # A metric that nothing defines, such as the accuracy of no pairs, is null.
    values = {
      name: value if math.isfinite(value) else None
      for name, value in metrics.items()
    }
    assert self._journal is not None
    self._journal.write({'kind': kind, 'step': step, **values})
    if self._events is not None:
      for name, value in metrics.items():
        self._events.add_scalar(f'{kind}/{name}', value, step)


def _summary(metrics: Mapping[str, float]) -> str:
  parts = [
    f'loss {metrics["loss"]:.4f}',
    f'gradient {metrics["gradient_norm"]:.3g}',
    f'{metrics["seconds"]:.3g} s/step',
    f'{metrics["tokens_per_second"]:,.0f} tokens/s',
  ]
  if 'mfu' in metrics:
    parts.append(f'{metrics["mfu"]:.1%} of peak')
  return '  '.join(parts)


def _progress_bar() -> rich.progress.Progress:
  return rich.progress.Progress(
    rich.progress.TextColumn('training'),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    rich.progress.TextColumn('{task.fields[detail]}', style='dim'),
    console=rich.console.Console(stderr=True),
  )


def _summary_writer(folder: pathlib.Path, step: int) -> Any:
  try:
    import tensorboardX
  except ImportError:
    raise InputError(
      'needs tensorboardX: `pip install tensorboardX`', field=('tensorboard',)
    ) from None
  # What follows `step` in earlier files is done again, and hidden.
  return tensorboardX.SummaryWriter(str(folder), purge_step=step + 1)
