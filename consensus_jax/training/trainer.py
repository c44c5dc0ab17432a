"""The loop: steps, evaluations and checkpoints, until the end or a stop."""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from consensus_jax.data import batches
from consensus_jax.data.batches import Examples
from consensus_jax.model.transformer import Params
from consensus_jax.training import distributed, optimizers, train_state
from consensus_jax.training import step as steps
from consensus_jax.training.checkpoints import Checkpoints
from consensus_jax.training.interruption import Interrupted, Interruption
from consensus_jax.training.job import Job
from consensus_jax.training.progress import Progress
from consensus_jax.training.settings import Run
from consensus_jax.training.train_state import TrainState
from consensus_jax.training.watch import Watch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """The two programs of a run, ready to be called.

  Attributes:
    train: (state, frozen, batch) -> (state, sums).
    evaluate: (params, frozen, batch) -> (sums, rewards [rows, statements] or
      None); None without validation.
  """

  train: Callable[..., Any]
  evaluate: Callable[..., Any] | None


def finished(run: Run, progress: Progress) -> bool:
  """Whether a run has nothing left to do but to export."""
  evaluated = run.validation_data is None or progress.evaluated == progress.step
  return evaluated and (
    _stalled(run, progress) or progress.step >= run.num_steps
  )


def warm_up(
  run: Run,
  job: Job,
  mesh: Mesh,
  train: Examples,
  validation: Examples | None,
  interruption: Interruption,
) -> Compiled:
  """Compiles both programs, which may take minutes; nothing is lost by a stop.

  Raises:
    Interrupted: at once when a signal comes, though a compilation cannot be
      stopped: it goes on in its thread until the process ends.
  """
  abstract, frozen = job.abstract(mesh)

  def evaluate(params, frozen, batch):
    loss, sums = job.loss_function(params, frozen, batch)
    return {**sums, steps.LOSS: loss}, job.rewards(params, frozen, batch)

  def compile_both():
    step = steps.jit_train_step(
      abstract,
      frozen,
      mesh,
      loss_function=job.loss_function,
      optimizer=job.optimizer,
      microbatches=run.microbatches,
    )
    # The mesh of a `with` block belongs to its thread.
    with jax.set_mesh(mesh):
      batch = _abstract_batch(train, run.batch_size, mesh)
      compiled = step.lower(abstract, frozen, batch).compile()
      if validation is None:
        return Compiled(train=compiled, evaluate=None)
      rows = _abstract_batch(validation, run.rows_of_evaluation, mesh)
      evaluation = jax.jit(evaluate, out_shardings=train_state.replicated(mesh))
      return Compiled(
        train=compiled,
        evaluate=evaluation.lower(abstract.params, frozen, rows).compile(),
      )

  return _in_thread(compile_both, interruption)


def train(
  run: Run,
  job: Job,
  compiled: Compiled,
  state: TrainState,
  frozen: Params,
  progress: Progress,
  *,
  mesh: Mesh,
  examples: Examples,
  validation: Examples | None,
  saved: Checkpoints,
  record: Mapping[str, Any],
  watch: Watch,
  interruption: Interruption,
) -> tuple[TrainState, Progress]:
  """Trains until `run.num_steps`, or until the validation loss has stalled.

  Args:
    run: the settings.
    job: what is computed.
    compiled: its programs.
    state: to start from; donated.
    frozen: parameters that are not trained.
    progress: that belongs to `state`.
    mesh: where everything lives.
    examples: to learn from.
    validation: to evaluate on, if any.
    saved: where checkpoints go.
    record: what each checkpoint's record holds besides progress.
    watch: sees everything.
    interruption: is asked at every step and every batch of an evaluation.

  Returns:
    The last state, which is saved, and its progress.

  Raises:
    Interrupted: after a signal; the state is saved.
    Diverged: when the loss is no number, or has exploded; it says at which
      position.
    CheckpointError: when a checkpoint cannot be written.
  """
  shardings = steps.batch_shardings(
    _abstract_batch(examples, run.batch_size, mesh), mesh
  )
  rows = _rows(shardings, run.batch_size)
  on_disk = progress.step if progress.step in saved.steps else -1
  pending: tuple[Any, float] | None = None
  clock = time.monotonic()

  def settle() -> None:
    """Waits for the numbers of the step under way, and judges them."""
    nonlocal progress, pending, clock
    if pending is None:
      return
    (sums, tokens), pending = pending, None
    values = _floats(sums)
    now = time.monotonic()
    seconds, clock = now - clock, now
    metrics = job.metrics(values)
    metrics['gradient_norm'] = values[steps.GRADIENT_NORM]
    metrics['learning_rate'] = float(
      optimizers.learning_rate(run.optimizer, progress.step)
    )
    progress = progress.after_step(
      metrics['loss'],
      batch_size=run.batch_size,
      max_ratio=run.max_loss_ratio,
    )
    watch.step(
      progress.step,
      metrics,
      seconds=seconds,
      tokens=tokens,
      log=progress.step % run.log_every == 0,
    )

  def save() -> None:
    nonlocal on_disk
    content = {**record, 'progress': progress.to_json()}
    saved.save(state, content, step=progress.step, best=progress.best_step)
    on_disk = progress.step

  def stop_if_asked() -> None:
    number = distributed.largest(interruption.signal)
    if number:
      settle()
      if on_disk != progress.step:
        save()
      saved.wait()
      raise Interrupted(number)

  while True:
    step = progress.step + (pending is not None)
    last = step >= run.num_steps
    evaluates = validation is not None and (
      last or step % run.evaluate_every == 0
    )
    saves = last or (step % run.save_every == 0 and step > 0)
    if evaluates or saves:
      settle()
    if evaluates and progress.evaluated != step:
      assert validation is not None and compiled.evaluate is not None
      metrics = _evaluate(
        run,
        job,
        compiled,
        state.params,
        frozen,
        mesh,
        validation,
        stop_if_asked,
      )
      progress = progress.after_evaluation(metrics['loss'])
      watch.evaluation(step, metrics)
      saves = saves or progress.best_step == step
      on_disk = -1 if saves else on_disk
      clock = time.monotonic()
    stops = bool(distributed.decided(int(last or _stalled(run, progress))))
    if (saves or stops) and on_disk != step:
      save()
      clock = time.monotonic()
    if stops:
      if not last:
        watch.note(
          f'stopped at step {step}: {progress.stale} evaluations without a '
          f'better loss than {progress.best_loss:.4g} of step '
          f'{progress.best_step}'
        )
      saved.wait()
      return state, progress
    stop_if_asked()
    watch.before_step(step)
    position = progress.position + run.batch_size * (pending is not None)
    mine = batches.draw(
      examples,
      seed=run.seed,
      position=position,
      batch_size=run.batch_size,
      rows=rows,
    )
    batch = distributed.place(mine, shardings, run.batch_size)
    if pending is None:
      clock = time.monotonic()
    state, sums = compiled.train(state, frozen, batch)
    # While the devices compute this step, the one before is looked at.
    settle()
    pending = sums, _tokens(mine) * run.batch_size / len(mine['tokens'])


def _stalled(run: Run, progress: Progress) -> bool:
  return run.patience is not None and progress.stale >= run.patience


def _evaluate(
  run: Run,
  job: Job,
  compiled: Compiled,
  params: Params,
  frozen: Params,
  mesh: Mesh,
  validation: Examples,
  stop_if_asked: Callable[[], None],
) -> dict[str, float]:
  size = run.rows_of_evaluation
  shardings = steps.batch_shardings(
    _abstract_batch(validation, size, mesh), mesh
  )
  totals: dict[str, float] = {}
  rewards = []
  assert compiled.evaluate is not None
  for mine in batches.read_in_order(validation, size, _rows(shardings, size)):
    stop_if_asked()
    batch = distributed.place(mine, shardings, size)
    sums, of_rows = jax.device_get(compiled.evaluate(params, frozen, batch))
    rewards.append(of_rows)
    for name, value in sums.items():
      totals[name] = totals.get(name, 0.0) + float(value)
  if rewards[0] is None:
    return job.metrics(totals)
  whole = np.concatenate(rewards)[: validation.num_examples]
  return job.metrics(totals) | job.report(whole, validation)


def _abstract_batch(examples: Examples, rows: int, mesh: Mesh) -> Any:
  shapes = {
    name: jax.ShapeDtypeStruct((rows, *array.shape[1:]), array.dtype)
    for name, array in examples.features.items()
  }
  return steps.abstract_batch(shapes, mesh)


def _rows(shardings: Mapping[str, Any], rows: int) -> slice:
  return distributed.local_rows(shardings['tokens'], rows)


def _tokens(batch: Mapping[str, np.ndarray]) -> float:
  return float(np.count_nonzero(batch['segment_ids']))


def _floats(sums: Mapping[str, Any]) -> dict[str, float]:
  return {name: float(x) for name, x in jax.device_get(dict(sums)).items()}


def _in_thread(work: Callable[[], Any], interruption: Interruption) -> Any:
  outcome: dict[str, Any] = {}

  def call() -> None:
    try:
      outcome['value'] = work()
    except BaseException as error:
      outcome['error'] = error

  thread = threading.Thread(target=call, name='compile', daemon=True)
  thread.start()
  while thread.is_alive():
    thread.join(0.1)
    if interruption.signal:
      raise Interrupted(interruption.signal)
  if 'error' in outcome:
    raise outcome['error']
  return outcome['value']
