"""The command `consensus`. Imports what is heavy only when it is needed."""

import argparse
import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consensus_jax import (
  cli_arguments,
  deliberation_file,
  outcome_file,
  settings,
  strict_json,
)
from consensus_jax.deliberation import Deliberation, InputError, Outcome

# Makes a `Mediator` from the values of --model, --reward_model, --dtype and
# --policy, None if not given.
LoadMediator = Callable[
  [str | None, str | None, str | None, settings.Policy | None], Any
]

# Packages that only some verbs need, and the extra that brings them.
_EXTRAS = {
  'alembic': 'study',
  'argon2': 'study',
  'gin': 'train',
  'httpx2': 'study',
  'libtpu': 'tpu',
  'limits': 'study',
  'matplotlib': 'train',
  'optax': 'train',
  'orbax': 'train',
  'patsy': 'evaluate',
  'pg8000': 'study',
  'pyarrow': 'data',
  'seqio': 'data',
  'sklearn': 'data',
  'sqlalchemy': 'study',
  'starlette': 'study',
  'statsmodels': 'evaluate',
  'tensorflow': 'data',
  'tensorflow_datasets': 'data',
  'uvicorn': 'study',
  'yaml': 'study',
}


def load_mediator(
  model: str | None,
  reward_model: str | None,
  dtype: str | None,
  policy: settings.Policy | None,
) -> Any:
  """The mediator of model folders or files; None is what ships."""
  from consensus_jax import mediator

  return mediator.Mediator.from_pretrained(
    model, reward_model=reward_model, dtype=dtype, policy=policy
  )


def main(
  argv: Sequence[str] | None = None,
  *,
  load: LoadMediator = load_mediator,
) -> int:
  """Runs the command.

  Args:
    argv: arguments; those of the process by default.
    load: makes the mediator from the values of --model, --reward_model,
      --dtype and --policy.

  Returns:
    The exit code.
  """
  args = cli_arguments.parse(argv)
  try:
    if args.verb in ('deliberate', 'rank'):
      return _run(args, load)
    return args.run(args)
  except InputError as error:
    _print_error(error)
    return 2
  except KeyboardInterrupt:
    return 130
  except BrokenPipeError:
    # Whoever read our output has left; Python must not flush into the pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
  except ModuleNotFoundError as error:
    extra = _EXTRAS.get((error.name or '').partition('.')[0])
    if extra is None:
      raise
    _print_error(
      InputError(
        f'needs {error.name}, which is not installed: '
        f"pip install 'consensus_jax[{extra}]'"
      )
    )
    return 2
  except ValueError as error:
    if not _is_model_error(error):
      raise
    _print_error(error)
    return 2


def _is_model_error(error: ValueError) -> bool:
  from consensus_jax.interop import errors

  return isinstance(error, errors.ModelFileError)


def _run(args: argparse.Namespace, load: LoadMediator) -> int:
  chosen = cli_arguments.chosen_settings(args)
  for flag in ('model', 'reward_model'):
    path = getattr(args, flag)
    if flag == 'reward_model' and path == settings.PROMPTED_RATER:
      continue
    if path is not None and not pathlib.Path(path).exists():
      raise InputError(f'there is no {path}', field=(f'--{flag}',))
  taken = [] if args.file == '-' else [args.file]
  for flag in ('out', 'report'):
    path = getattr(args, flag)
    if path is not None:
      outcome_file.check_target(path, f'--{flag}', others=taken)
      taken.append(path)
  source = deliberation_file.read(args.file)
  if args.verb == 'rank':
    source = deliberation_file.require_candidates(source)
  if args.shard is not None:
    if not source.many:
      raise InputError('needs a file of many records', field=('--shard',))
    source = deliberation_file.shard(source, *args.shard)
  run = _run_record(args, chosen)
  lines = _output_lines(args, source, run)
  kept = {} if lines is None else lines.kept
  for entry in source.entries:
    if isinstance(entry.content, InputError):
      _print_error(entry.content)

  # Nothing can be wrong with the input any more: now the long work.
  mediate = _mediation(args, chosen, load, of=len(source.entries))
  write = _writer(args, source, lines)
  done = dict(kept)
  for index, entry in enumerate(source.entries):
    if index in kept:
      continue
    result: Outcome | InputError
    if isinstance(entry.content, InputError):
      result = entry.content
    else:
      try:
        result = mediate(index, entry.content)
      except InputError as error:
        result = error.at(file=source.name, line=entry.line)
        if not source.many:
          raise result from None
        _print_error(result)
    if isinstance(result, Outcome):
      result = dataclasses.replace(result, run=run | result.run)
      _check_same_model(args.out, kept, result)
      done[index] = result
    write(index, result)
  outcomes = [done[index] for index in sorted(done)]
  if args.report is not None and outcomes:
    from consensus_jax import report

    page = report.render(outcomes).encode()
    outcome_file.write_atomically(args.report, page)
  return _exit_code(source, done)


def _run_record(
  args: argparse.Namespace, chosen: settings.Settings
) -> dict[str, Any]:
  # What has to be equal for an interrupted run to go on.
  record = dataclasses.asdict(chosen)
  if args.verb == 'rank':
    for name in settings.WRITING:
      del record[name]
  return {
    'verb': args.verb,
    'model': args.model,
    'reward_model': args.reward_model,
    'dtype': args.dtype,
    'settings': record,
  }


def _output_lines(
  args: argparse.Namespace,
  source: deliberation_file.Source,
  run: dict[str, Any],
) -> outcome_file.OutcomeLines | None:
  if args.out is None:
    return None
  if not source.many:
    outcome_file.check_replaceable(args.out)
    return None
  fingerprints = {
    index: entry.content.fingerprint
    for index, entry in enumerate(source.entries)
    if isinstance(entry.content, Deliberation)
  }
  lines = outcome_file.OutcomeLines(args.out, fingerprints, run)
  if lines.torn:
    _note(f'{args.out}: dropped a last line that was not written to its end')
  if lines.kept:
    _note(f'{args.out}: kept {len(lines.kept)} of {len(source.entries)}')
  return lines


def _mediation(
  args: argparse.Namespace,
  chosen: settings.Settings,
  load: LoadMediator,
  *,
  of: int,
) -> Callable[[int, Deliberation], Outcome]:
  bar: Any = None
  if sys.stderr.isatty():
    from consensus_jax import terminal

    bar = terminal.ProgressBar()

  @functools.cache
  def loaded() -> Any:
    if bar:
      bar(settings.Progress(stage='load', done=0, total=1))
    dtype = None if args.dtype == 'auto' else args.dtype
    return load(args.model, args.reward_model, dtype, chosen.policy)

  def mediate(index: int, deliberation: Deliberation) -> Outcome:
    title = f'[{index + 1}/{of}] ' if of > 1 else ''
    start = time.monotonic()
    with bar.of(title) if bar else contextlib.nullcontext():
      mediator = loaded()
      if bar:
        bar(settings.Progress(stage='prefill', done=0, total=1))
      call = mediator.rank if args.verb == 'rank' else mediator.mediate
      outcome = call(deliberation, chosen, progress=bar)
    fingerprint = {'input_sha256': deliberation.fingerprint}
    outcome = dataclasses.replace(outcome, run=fingerprint)
    if not bar:
      _note(f'{title}{deliberation.id}: {time.monotonic() - start:.1f} s')
    return outcome

  return mediate


def _check_same_model(
  out: str | None, kept: Mapping[int, Outcome], outcome: Outcome
) -> None:
  # The path of a model may be the same, and its weights others.
  for before in kept.values():
    for name in ('policy', 'reward_model'):
      digests = [getattr(o, name).get('sha256') for o in (before, outcome)]
      if digests[0] != digests[1]:
        raise InputError(
          f'was made with other weights, {digests[0]}, now {digests[1]}; '
          'choose another --out, or delete this file',
          file=out,
          field=(name,),
        )
    return


def _writer(
  args: argparse.Namespace,
  source: deliberation_file.Source,
  lines: outcome_file.OutcomeLines | None,
) -> Callable[[int, Outcome | InputError], None]:
  # With --out, standard output is free for the table of a single outcome.
  table = sys.stdout.isatty() or (args.out is not None and not source.many)
  if isinstance(sys.stdout, io.TextIOWrapper):
    if table:
      sys.stdout.reconfigure(errors='replace')
    else:
      sys.stdout.reconfigure(encoding='utf-8')
  if lines is not None:
    lines.start()

  def write(index: int, result: Outcome | InputError) -> None:
    if isinstance(result, InputError):
      record = outcome_file.error_record(source.entries[index].id, result)
    else:
      record = result.to_json()
    if lines is not None:
      lines.put(index, record)
    elif args.out is not None:
      outcome_file.write_atomically(args.out, outcome_file.pretty(record))
    if table and isinstance(result, Outcome):
      from consensus_jax import terminal

      terminal.print_outcome(result)
      sys.stdout.flush()
    elif not table and args.out is None:
      print(strict_json.dump(record), flush=True)

  return write


def _exit_code(
  source: deliberation_file.Source, done: Mapping[int, Outcome]
) -> int:
  if not done and source.entries:
    return 2
  for index, outcome in sorted(done.items()):
    if outcome.consensus is None:
      line = source.entries[index].line
      message = 'every candidate was refused'
      _print_error(InputError(message, file=source.name, line=line))
  good = sum(outcome.consensus is not None for outcome in done.values())
  return 0 if good == len(source.entries) else 1


def _print_error(error: ValueError) -> None:
  text = str(error if isinstance(error, InputError) else InputError(str(error)))
  print(f'error: {text}', file=sys.stderr)


def _note(text: str) -> None:
  # As an error, a note is one line, and nothing that a terminal would obey.
  print(InputError(text), file=sys.stderr)
