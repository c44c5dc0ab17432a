"""SIGTERM and SIGINT, noticed at the next safe point of any loop."""

import signal
import threading
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
  """Someone asked the run to stop; what was to be saved has been.

  Attributes:
    signal: which signal; its exit code is 128 more, as a shell has it.
  """

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.signal = number

  @property
  def exit_code(self) -> int:
    """What the process should return: not zero, so that it is restarted."""
    return 128 + self.signal


class Interruption:
  """Notes signals while its `with` block runs; a second one acts at once.

  Attributes:
    signal: the first that came, or 0.
  """

  def __init__(self):
    self.signal = 0
    self._before: dict[int, Any] = {}

  def __enter__(self) -> 'Interruption':
    if threading.current_thread() is threading.main_thread():
      for number in _SIGNALS:
        self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *_: object) -> None:
    self._restore()

  def _note(self, number: int, frame: Any) -> None:
    del frame
    self.signal = number
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}
