"""Checkpoints: written in the background, read back only if they are whole.

A checkpoint is a folder `STEP/` of Orbax with two items: `state`, the arrays,
and `record`, JSON with the rest and a checksum of every array. What cannot be
read, or is not what was written, counts as absent, and is set aside.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orbax.checkpoint import v1 as ocp

from consensus_jax import strict_json
from consensus_jax.training import checksums, distributed
from consensus_jax.training.train_state import TrainState

_STATE, _RECORD = 'state', 'record'
# Orbax writes it last. On object stores it looks for it; on disks it trusts
# that the folder got its name at the end, and so does not see if it is lost.
_COMMIT_MARKER = 'commit_success.txt'
_DAMAGED = 'damaged'


class CheckpointError(ValueError):
  """A checkpoint that cannot be written, or none that can be read."""


class Checkpoints:
  """The checkpoints of one run; a context manager that waits for what it saves.

  Every process of a run makes the same calls in the same order.
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    *,
    keep: int = 1,
    writes: bool = True,
    note: Callable[[str], None] = lambda text: None,
  ):
    """Opens the folder, or makes it.

    Args:
      folder: of the checkpoints alone.
      keep: newest checkpoints that stay; the best one stays besides.
      writes: False for the checkpoints of another run, which may be writing.
      note: hears what was found damaged.

    Raises:
      CheckpointError: if it cannot be made or read.
    """
    self.folder = pathlib.Path(folder).absolute()
    self._keep = keep
    self._writes = writes
    self._note = note
    self._best: int | None = None
    self._saving: Any = None
    self._open()

  def _open(self) -> None:
    if not self._writes and not self.folder.is_dir():
      raise CheckpointError(f'{self.folder}: there are no checkpoints')
    policies = ocp.training
    try:
      self._orbax = policies.Checkpointer(
        self.folder,
        context=_context(),
        save_decision_policy=(
          policies.save_decision_policies.FixedIntervalPolicy(1)
        ),
        preservation_policy=_NewestAndBest(self._keep, lambda: self._best),
        cleanup_tmp_directories=self._writes,
      )
    except Exception as error:
      raise CheckpointError(f'{self.folder}: {_reason(error)}') from error

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, error_type: type | None, *_: object) -> None:
    try:
      self.wait()
    finally:
      try:
        self._orbax.close()
      except Exception as error:
        if error_type is None:
          raise self._failed(error) from error

  @property
  def steps(self) -> list[int]:
    """Steps of the checkpoints that were written to their end, ascending."""
    return [
      checkpoint.step
      for checkpoint in self._orbax.checkpoints
      if (self.folder / str(checkpoint.step) / _COMMIT_MARKER).exists()
    ]

  @property
  def started(self) -> bool:
    """Whether any checkpoint was begun here, whole or not."""
    return bool(_step_folders(self.folder))

  def save(
    self,
    state: TrainState,
    record: Mapping[str, Any],
    *,
    step: int,
    best: int | None,
  ) -> None:
    """Saves in the background; the state's arrays may be donated at once.

    Waits for the last save first. One of the same step is replaced.

    Args:
      state: what to save.
      record: what else belongs to it, as JSON.
      step: of the state.
      best: the step whose checkpoint is to be kept for being the best.

    Raises:
      CheckpointError: if this or the last one cannot be written.
    """
    self.wait()
    self._best = best
    content = {**record, 'checksums': checksums.checksums(state)}
    try:
      # Something unfinished of this step would be in the way.
      replace = self._set_aside(step, unfinished=True) or step in self.steps
      self._saving = self._orbax.save_checkpointables_async(
        step,
        {_STATE: state, _RECORD: _sealed(content)},
        force=True,
        overwrite=bool(replace),
      )
    except CheckpointError:
      raise
    except Exception as error:
      raise self._failed(error) from error

  def wait(self) -> None:
    """Returns when what was saved is on disk.

    Raises:
      CheckpointError: if it could not be written.
    """
    saving, self._saving = self._saving, None
    if saving is None:
      return
    try:
      saving.result()
    except Exception as error:
      raise self._failed(error) from error

  def restore(
    self, abstract: TrainState
  ) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest checkpoint that is whole, and its record; None if none is.

    Damaged ones that are newer are set aside, in the folder `damaged`.

    Args:
      abstract: shapes, types and shardings to restore into: any mesh.

    Raises:
      CheckpointError: if there are checkpoints, but none that can be read.
    """
    reasons = []
    for path in _step_folders(self.folder):
      if int(path.name) not in self.steps:
        reasons.append(f'step {path.name}: was not written to its end')
    for step in reversed(self.steps):
      try:
        found = self._load(step, abstract)
      except Exception as error:
        reasons.append(f'step {step}: {_reason(error)}')
      else:
        self._forget_after(step, reasons)
        return found
    if reasons:
      raise CheckpointError(
        f'{self.folder}: no checkpoint can be read: {"; ".join(reasons)}'
      )
    return None

  def _load(
    self, step: int, abstract: Any
  ) -> tuple[TrainState, dict[str, Any]]:
    record = self.record(step)
    loaded = self._orbax.load_checkpointables(step, {_STATE: abstract})
    _verify(loaded[_STATE], record['checksums'])
    return loaded[_STATE], record

  def record(self, step: int) -> dict[str, Any]:
    """The record of a checkpoint.

    Raises:
      CheckpointError: if it is not what was written.
    """
    loaded = self._orbax.load_checkpointables(step, {_RECORD: None})
    return _unsealed(loaded[_RECORD])

  def restore_params(
    self, abstract: Any, step: int
  ) -> tuple[Any, dict[str, Any]]:
    """The parameters of one checkpoint alone, and its record.

    Args:
      abstract: shapes, types and shardings; a parameter that the checkpoint
        has and this has not is left out.
      step: of the checkpoint.

    Raises:
      CheckpointError: if it cannot be read.
    """
    context = _context()
    context.pytree.loading.partial_load = True
    try:
      with ocp.training.Checkpointer(self.folder, context=context) as reader:
        loaded = reader.load_checkpointables(
          step, {_STATE: {'params': abstract}}
        )
      record = self.record(step)
      _verify(loaded[_STATE], record['checksums'])
    except Exception as error:
      raise CheckpointError(
        f'{self.folder / str(step)}: {_reason(error)}'
      ) from error
    return loaded[_STATE]['params'], record

  def _forget_after(self, step: int, reasons: Sequence[str]) -> None:
    for reason in reasons:
      self._note(f'{self.folder}: {reason}; set aside')
    later = [p for p in _step_folders(self.folder) if int(p.name) > step]
    for path in later:
      self._set_aside(int(path.name))
    if later:
      distributed.wait_for_all('set aside')
      self._orbax.close()
      self._open()

  def _set_aside(self, step: int, *, unfinished: bool = False) -> bool:
    """Moves a checkpoint away; if `unfinished`, only one that is."""
    path = self.folder / str(step)
    if not path.exists() or (unfinished and (path / _COMMIT_MARKER).exists()):
      return False
    if distributed.is_writer():
      place = self.folder.parent / _DAMAGED
      place.mkdir(exist_ok=True)
      taken = len(list(place.glob(f'{step}.*')))
      path.rename(place / f'{step}.{taken}')
    return any(c.step == step for c in self._orbax.checkpoints)

  def _failed(self, error: Exception) -> CheckpointError:
    good = self.steps
    kept = f'step {good[-1]} is good' if good else 'there is no other'
    return CheckpointError(
      f'{self.folder}: a checkpoint cannot be written: {_reason(error)}; {kept}'
    )


class _NewestAndBest:
  """What Orbax keeps after each save."""

  def __init__(self, keep: int, best: Callable[[], int | None]):
    self._keep, self._best = keep, best

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    del context
    newest = len(checkpoints) - self._keep
    best = self._best()
    return [
      place >= newest or checkpoint.step == best
      for place, checkpoint in enumerate(checkpoints)
    ]


def _context() -> Any:
  registry = ocp.handlers.local_registry()
  registry.add(ocp.handlers.JsonHandler, checkpointable_name=_RECORD)
  context = ocp.Context()
  context.checkpointables.registry = registry
  return context


def _step_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  paths = [p for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()]
  return sorted(paths, key=lambda path: int(path.name))


def _sealed(content: Mapping[str, Any]) -> dict[str, Any]:
  plain = strict_json.plain(dict(content), ())
  text = json.dumps(plain, sort_keys=True, allow_nan=False)
  return {'sha256': hashlib.sha256(text.encode()).hexdigest(), 'record': plain}


def _unsealed(sealed: Any) -> dict[str, Any]:
  record = sealed.get('record') if isinstance(sealed, dict) else None
  if record is None or _sealed(record) != sealed:
    raise CheckpointError('its record is not what was written')
  return record


def _verify(tree: Any, expected: Mapping[str, int]) -> None:
  for name, value in checksums.checksums(tree).items():
    if name not in expected:
      raise CheckpointError(f'its record does not know {name}')
    if value != expected[name]:
      raise CheckpointError(f'{name} is not what was written')


def _reason(error: BaseException) -> str:
  """What went wrong at the bottom, in one line."""
  while error.__cause__ is not None:
    error = error.__cause__
  text = str(error).strip() or type(error).__name__
  line = text.splitlines()[0]
  return line if len(line) <= 300 else line[:300] + ' ...'
