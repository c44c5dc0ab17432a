"""A whole run: from its settings to an exported model."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax

from consensus_jax import strict_json
from consensus_jax.data import batches, verbalise
from consensus_jax.data.batches import Examples
from consensus_jax.data.record_files import make_folder
from consensus_jax.inference import compute
from consensus_jax.interop import adapters, pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model.transformer import Params
from consensus_jax.strict_json import InputError
from consensus_jax.training import (
  checksums,
  distributed,
  frozen_layers,
  initialise,
  journal,
  provenance,
  train_state,
  trainer,
)
from consensus_jax.training.checkpoints import Checkpoints
from consensus_jax.training.initialise import CHECKPOINTS, Source
from consensus_jax.training.interruption import Interrupted, Interruption
from consensus_jax.training.job import ADAPTERS, HEAD, Job, make_job
from consensus_jax.training.progress import Diverged, Progress
from consensus_jax.training.settings import PolicyRun, RewardRun
from consensus_jax.training.train_state import TrainState
from consensus_jax.training.watch import Watch

EXPORT = 'export'
FAILURE = 'failure.json'


def train(run: PolicyRun | RewardRun, operative: str = '') -> None:
  """Trains, or goes on training, in `run.model_dir`.

  Args:
    run: the settings.
    operative: the same as text that a person can run again.

  Raises:
    InputError: for settings or data that do not fit.
    Interrupted: after a signal, with everything saved.
    Diverged: when the loss is no number or has exploded; `failure.json` says
      where.
    CheckpointError: when checkpoints cannot be written or read.
  """
  compute.keep_compilations()
  mesh = run.mesh.build()
  folder = make_folder(run.model_dir)
  examples = _open(run.train_data, folder, run)
  validation = (
    None
    if run.validation_data is None
    else _open(run.validation_data, folder, run)
  )
  notes: list[str] = []
  with contextlib.ExitStack() as stack:
    saved = stack.enter_context(
      Checkpoints(folder / CHECKPOINTS, keep=run.keep, note=notes.append)
    )
    # Inside, as leaving `saved` waits for the others.
    alike = InputError, Interrupted, Diverged
    stack.enter_context(distributed.together(alike))
    resuming = saved.started
    source = _resumed(run, folder) if resuming else initialise.find(run)
    for each in (examples, validation):
      if each is not None:
        first_layer = run.lora.first_layer if run.lora else 0
        frozen_layers.check(each, first_layer, source.sha256)
    job = make_job(
      run,
      dataclasses.replace(source.config, reward_head=False),
      dtype=compute.choose_dtype(run.compute_dtype),
      length=examples.features['tokens'].shape[1],
      head_words=_head_words(run, source),
    )
    state, frozen, progress = _start(run, job, mesh, source, saved, resuming)
    record = _record(run, job, examples, operative, frozen)
    if resuming:
      _check_same_run(saved.record(progress.step), record)
    told = source.told
    if resuming:
      told = f'resuming {folder}, step {progress.step}'
    if distributed.is_writer():
      _write_about(folder, run, job, source, operative, told, resuming)
    watch = stack.enter_context(
      Watch(
        folder,
        num_steps=run.num_steps,
        step=progress.step,
        evaluated=progress.evaluated,
        flops_per_token=job.flops_per_token,
        num_devices=mesh.size,
        tensorboard=run.tensorboard,
        profile=run.profile,
      )
    )
    for note in (*notes, f'initialisation: {told}'):
      watch.note(note)
    if not trainer.finished(run, progress):
      state, progress = _trained(
        run,
        job,
        state,
        frozen,
        progress,
        mesh=mesh,
        examples=examples,
        validation=validation,
        saved=saved,
        record=record,
        watch=watch,
      )
    if run.export:
      params = state.params
      best = progress.best_step
      if best is not None and best != progress.step:
        abstract, _ = job.abstract(mesh)
        params, _ = saved.restore_params(abstract.params, best)
      _export(folder, job, params, frozen, source, watch)
  if distributed.is_writer():
    (folder / FAILURE).unlink(missing_ok=True)


def _trained(
  run: Any,
  job: Job,
  state: TrainState,
  frozen: Params,
  progress: Progress,
  **around: Any,
) -> tuple[TrainState, Progress]:
  with Interruption() as interruption:
    compiled = trainer.warm_up(
      run,
      job,
      around['mesh'],
      around['examples'],
      around['validation'],
      interruption,
    )
    try:
      return trainer.train(
        run,
        job,
        compiled,
        state,
        frozen,
        progress,
        interruption=interruption,
        **around,
      )
    except Diverged as error:
      _write_failure(pathlib.Path(run.model_dir), run, error)
      raise


def _open(data: Any, folder: pathlib.Path, run: Any) -> Examples:
  if not isinstance(data, str):
    from consensus_jax.data import materialise

    data = materialise.materialise(data, folder / 'data')
  examples = batches.open_examples(data)
  kind = 'reward' if isinstance(run, RewardRun) else 'sft'
  if examples.meta['kind'] != kind:
    raise InputError(
      f'holds examples of kind {examples.meta["kind"]!r}; this run learns from '
      f'{kind!r}',
      file=str(examples.path),
    )
  if isinstance(run, RewardRun):
    run.objective.check_judgement(examples.meta.get('judgement', ''))
    if run.objective.contrast and 'statements' not in examples.features:
      raise InputError(
        'does not say which statements are the same, as contrast needs',
        file=str(examples.path),
      )
  return examples


def _head_words(run: Any, source: Source) -> tuple[int, int] | None:
  """Token ids of the words of votes, if a head is to start from them."""
  if not isinstance(run, RewardRun) or run.head == 'random':
    return None
  if source.tokenizer is None:
    raise InputError('needs a tokenizer (initial.tokenizer)', field=('head',))
  return verbalise.first_tokens(source.tokenizer)


def _resumed(run: Any, folder: pathlib.Path) -> Source:
  """The source of a run that has checkpoints: read only for frozen weights."""
  if run.lora is not None:
    return initialise.find(run)
  config, tokenizer, _ = initialise.read_model(folder)
  initialise.check_same_model(run.model, config, str(folder))

  def load(mesh: Any) -> Params:
    raise AssertionError('a resumed run has its parameters')

  return Source(told='', config=config, tokenizer=tokenizer, load=load)


def _start(
  run: Any,
  job: Job,
  mesh: Any,
  source: Source,
  saved: Checkpoints,
  resuming: bool,
) -> tuple[TrainState, Params, Progress]:
  abstract, abstract_frozen = job.abstract(mesh)
  trained: Params = {}
  frozen: Params = {}
  if not resuming or job.lora is not None:
    # The mesh is not set here: `split` is the same on any.
    split = jax.jit(
      job.split,
      out_shardings=(
        train_state.shardings_of(abstract.params),
        train_state.shardings_of(abstract_frozen),
      ),
    )
    params = source.load(mesh)
    if not job.config.reward_head:
      params = {k: v for k, v in params.items() if k != 'reward_head'}
    trained, frozen = split(params, train_state.step_key(run.seed, 2**31 - 1))
  if resuming:
    found = saved.restore(abstract)
    assert found is not None
    state, record = found
    return state, frozen, Progress.from_json(record['progress'])
  return (
    train_state.create(trained, job.optimizer, abstract),
    frozen,
    Progress(),
  )


def _record(
  run: Any, job: Job, examples: Examples, operative: str, frozen: Params
) -> dict[str, Any]:
  return {
    'kind': job.kind,
    'seed': run.seed,
    'num_examples': examples.num_examples,
    'features': examples.meta['features'],
    'lora': None if job.lora is None else dataclasses.asdict(job.lora),
    'frozen': checksums.combined(checksums.checksums(frozen)),
    'provenance': provenance.provenance(),
    'configuration': _plain(run),
    'gin': operative,
  }


def _check_same_run(before: dict[str, Any], now: dict[str, Any]) -> None:
  """Whether going on would be the same run: its order of examples, above all.

  Raises:
    InputError: saying what differs.
  """
  now = strict_json.plain(now, ())
  for name in ('kind', 'seed', 'num_examples', 'features', 'lora', 'frozen'):
    if before[name] != now[name]:
      raise InputError(
        f'was {before[name]!r} when this run was saved, is {now[name]!r} now; '
        'start a new MODEL_DIR with initial.checkpoint instead',
        field=(name,),
      )


def _plain(run: Any) -> Any:
  return strict_json.plain(dataclasses.asdict(run), ())


def _write_about(
  folder: pathlib.Path,
  run: Any,
  job: Job,
  source: Source,
  operative: str,
  told: str,
  resuming: bool,
) -> None:
  about = {
    'seed': run.seed,
    'initialisation': told,
    **provenance.provenance(),
    'configuration': _plain(run),
  }
  text = json.dumps(about, indent=2, ensure_ascii=False) + '\n'
  journal.write_atomically(folder / 'config.json', text.encode())
  if operative:
    journal.write_atomically(folder / 'config.gin', operative.encode())
  if not resuming:
    lora = (
      None
      if job.lora is None
      else strict_json.plain(dataclasses.asdict(job.lora), ())
    )
    initialise.write_model(
      folder, job.config, source.tokenizer, initial=source.told, lora=lora
    )


def _write_failure(folder: pathlib.Path, run: Any, error: Diverged) -> None:
  """Which examples did it: those drawn at this position, with this seed."""
  if distributed.is_writer():
    content = {
      'error': str(error),
      'step': error.progress.step,
      'position': error.progress.position,
      'batch_size': run.batch_size,
      'seed': run.seed,
    }
    text = json.dumps(content, indent=2) + '\n'
    journal.write_atomically(folder / FAILURE, text.encode())


def _export(
  folder: pathlib.Path,
  job: Job,
  trained: Params,
  frozen: Params,
  source: Source,
  watch: Watch,
) -> None:
  if source.tokenizer is None:
    watch.note('no export: no tokenizer is known (initial.tokenizer)')
    return
  params = distributed.gather(jax.jit(job.export)(trained, frozen))
  parts = {} if job.lora is None else distributed.gather(trained)
  cut_points = distributed.gather(trained.get('cut_points'))
  if not distributed.is_writer():
    return
  model = pretrained.Pretrained(
    config=job.config,
    params=params,
    tokenizer=source.tokenizer,
    name=folder.name,
    sha256='',
    cut_points=cut_points,
  )
  try:
    replace_folder(
      folder / EXPORT, lambda path: pretrained.save_pretrained(path, model)
    )
    if job.lora is not None and source.sha256 is not None:
      alone = adapters.Adapters(
        params=parts[ADAPTERS],
        lora=job.lora,
        base_sha256=source.sha256,
        reward_head=parts.get(HEAD),
        cut_points=cut_points,
      )
      replace_folder(
        folder / ADAPTERS,
        lambda path: adapters.save_adapters(path, job.config, alone),
      )
  except ModelFileError as error:
    watch.note(f'no export: {error}')
  else:
    watch.note(f'best parameters in {folder / EXPORT}')


def replace_folder(
  target: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> None:
  """Writes a folder in the place of what was there.

  Args:
    target: the folder.
    write: makes the folder that it is given.
  """
  fresh = target.with_name(f'.{target.name}.new')
  shutil.rmtree(fresh, ignore_errors=True)
  write(fresh)
  shutil.rmtree(target, ignore_errors=True)
  fresh.rename(target)
