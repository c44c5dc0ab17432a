"""What a run knows of itself beside its arrays: plain numbers, saved as JSON.

Everything that decides how the run goes on is here, so that a resumed run
decides as an uninterrupted one.
"""

import dataclasses
import math
from typing import Any, Self

# A loss that has fallen below this counts as this when it rises again: the
# ratio of small losses is noise. About log 2, a coin's loss on a pair.
LOSS_FLOOR = 0.7
_SMOOTHING = 0.9


class Diverged(Exception):
  """The loss is no number any more, or has exploded.

  Attributes:
    progress: before the step whose batch did it.
  """

  def __init__(self, message: str, progress: 'Progress'):
    super().__init__(message)
    self.progress = progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Attributes, all as of `step`.

  Attributes:
    step: steps taken.
    position: examples drawn; `step * batch_size` unless the batch size changed.
    smooth_loss: exponential average of the training loss; None before any.
    lowest_loss: the lowest that `smooth_loss` was.
    evaluated: the last step evaluated; -1 for none.
    best_step: the evaluated step of the lowest loss.
    best_loss: that loss.
    stale: evaluations since then.
  """

  step: int = 0
  position: int = 0
  smooth_loss: float | None = None
  lowest_loss: float | None = None
  evaluated: int = -1
  best_step: int | None = None
  best_loss: float | None = None
  stale: int = 0

  def after_step(
    self, loss: float, *, batch_size: int, max_ratio: float
  ) -> Self:
    """After one more step whose mean loss was `loss`.

    Args:
      loss: of the step.
      batch_size: examples that it drew.
      max_ratio: how many times its lowest the smoothed loss may be.

    Raises:
      Diverged: if the loss is not finite or has exploded.
    """
    if not math.isfinite(loss):
      raise Diverged(f'the loss is {loss}', self)
    smooth = loss
    if self.smooth_loss is not None:
      smooth = _SMOOTHING * self.smooth_loss + (1 - _SMOOTHING) * loss
    lowest = smooth
    if self.lowest_loss is not None:
      lowest = min(self.lowest_loss, smooth)
    if smooth > max_ratio * max(lowest, LOSS_FLOOR):
      raise Diverged(
        f'the loss has exploded: smoothed {smooth:.4g}, lowest {lowest:.4g}, '
        f'limit {max_ratio:g} times that',
        self,
      )
    return dataclasses.replace(
      self,
      step=self.step + 1,
      position=self.position + batch_size,
      smooth_loss=smooth,
      lowest_loss=lowest,
    )

  def after_evaluation(self, loss: float) -> Self:
    """After an evaluation at this step whose mean loss was `loss`."""
    if self.best_loss is None or loss < self.best_loss:
      return dataclasses.replace(
        self,
        evaluated=self.step,
        best_step=self.step,
        best_loss=loss,
        stale=0,
      )
    return dataclasses.replace(self, evaluated=self.step, stale=self.stale + 1)

  def to_json(self) -> dict[str, Any]:
    """As a checkpoint's record holds it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, value: dict[str, Any]) -> Self:
    """What `to_json` gave."""
    return cls(**value)
