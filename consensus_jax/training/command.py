"""`consensus train` and `consensus plot`: arguments, and what they run."""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from consensus_jax.strict_json import InputError

Kind = Literal['sft', 'reward_model']

# Exit codes; 128 and more for signals.
BAD_INPUT = 2
DIVERGED = 3
BAD_CHECKPOINTS = 4

_BINDING = '--gin_binding'


def arguments_with_bindings(argv: Sequence[str]) -> list[str]:
  """`--gin.NAME=VALUE` as `--gin_binding=NAME=VALUE`, which argparse knows."""
  return [
    f'{_BINDING}={argument.removeprefix("--gin.")}'
    if argument.startswith('--gin.')
    else argument
    for argument in argv
  ]


def add_train_verbs(parser: argparse.ArgumentParser) -> None:
  """Adds the verbs to the parser of `consensus train`."""
  verbs = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
  for kind, summary in (
    ('sft', 'a policy, by supervised fine-tuning on statements'),
    ('reward_model', 'a reward model, on what people judged'),
  ):
    verb = verbs.add_parser(
      kind, help=summary, description=f'Trains {summary}.', allow_abbrev=False
    )
    add_train_arguments(verb)


def run_train_verb(args: argparse.Namespace) -> int:
  """Trains what `args.kind` says, and returns the exit code."""
  return run_train(args.kind, args)


def add_gin_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares what configures a run; see also `arguments_with_bindings`."""
  parser.add_argument(
    '--gin_file',
    action='append',
    required=True,
    metavar='FILE',
    help='configuration, such as runs/sft.gin; repeatable, later ones override',
  )
  parser.add_argument(
    _BINDING,
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='one value, also as --gin.NAME=VALUE; a text needs quotes of its own',
  )
  parser.add_argument(
    '--gin_search_paths',
    action='append',
    default=[],
    metavar='FOLDER',
    help='where to look for files before those that come with the library',
  )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares what a training run is told."""
  add_gin_arguments(parser)
  parser.add_argument(
    '--coordinator',
    metavar='HOST:PORT',
    help='of process 0, if there are several processes',
  )
  parser.add_argument('--num_processes', type=int, metavar='N')
  parser.add_argument('--process_id', type=int, metavar='I')
  parser.add_argument(
    '--start_timeout',
    type=float,
    default=300,
    metavar='SECONDS',
    help='to wait for the other processes (default: 300)',
  )
  parser.add_argument(
    '--autodetect',
    action='store_true',
    help='ask the cluster for the processes: on Cloud TPU, Slurm or Kubernetes',
  )


def add_plot_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares what a plot is made of."""
  parser.add_argument('model_dir', metavar='RUN', help='the MODEL_DIR of a run')
  parser.add_argument(
    '--out', metavar='FILE', help='of the picture (default: RUN/curves.png)'
  )


def run_train(kind: Kind, args: argparse.Namespace) -> int:
  """Trains as told, and returns the exit code."""
  return exit_code(lambda: _train(kind, args))


def exit_code(work: Callable[[], None]) -> int:
  """What training ends with: 0, or what an error or a signal is worth."""
  from consensus_jax.training import memory

  memory.keep_freed()
  # Before jax is imported: nothing may ask for a device before `start`.
  from consensus_jax.training.checkpoints import CheckpointError
  from consensus_jax.training.interruption import Interrupted
  from consensus_jax.training.progress import Diverged

  try:
    work()
  except Diverged as error:
    position = error.progress.position
    _print(f'{error}, at position {position} of the examples (failure.json)')
    return DIVERGED
  except (CheckpointError, OSError) as error:
    # The latter: metrics that a full disk does not take, say.
    _print(str(error))
    return BAD_CHECKPOINTS
  except Interrupted as error:
    print(f'stopped by {error}; saved', file=sys.stderr, flush=True)
    if any(thread.name == 'compile' for thread in threading.enumerate()):
      # A compilation cannot be stopped, and Python would not end under it.
      os._exit(error.exit_code)
    return error.exit_code
  except ValueError as error:
    _print(str(error))
    return BAD_INPUT
  return 0


def _train(kind: Kind, args: argparse.Namespace) -> None:
  from consensus_jax import gin_utils
  from consensus_jax.training import launch, settings

  _start_processes(args)
  run, operative = gin_utils.build(
    'RUN', args.gin_file, args.gin_binding, args.gin_search_paths
  )
  wanted = settings.PolicyRun if kind == 'sft' else settings.RewardRun
  if not isinstance(run, wanted):
    raise InputError(
      f'RUN must be @settings.{wanted.__name__}(), got {type(run).__name__}',
      file=', '.join(args.gin_file),
    )
  launch.train(run, operative)


def _start_processes(args: argparse.Namespace) -> None:
  import jax

  from consensus_jax.training import distributed

  told = (args.coordinator, args.num_processes, args.process_id)
  if args.autodetect:
    timeout = round(args.start_timeout)
    try:
      jax.distributed.initialize(initialization_timeout=timeout)
    except ValueError as error:
      raise InputError(
        f'found no cluster here ({error}); name --coordinator, --num_processes '
        'and --process_id instead',
        field=('--autodetect',),
      ) from error
  elif all(value is not None for value in told):
    distributed.start(
      distributed.Cluster(
        coordinator=args.coordinator,
        num_processes=args.num_processes,
        process_id=args.process_id,
        timeout=args.start_timeout,
      )
    )
  elif any(value is not None for value in told):
    raise InputError(
      '--coordinator, --num_processes and --process_id go together'
    )


def run_plot(args: argparse.Namespace) -> int:
  """Draws a run's curves, and returns the exit code."""
  from consensus_jax.training import plot

  try:
    print(plot.plot(args.model_dir, args.out))
  except InputError as error:
    _print(str(error))
    return BAD_INPUT
  return 0


def main(kind: Kind, argv: Sequence[str] | None = None) -> int:
  """`python -m consensus_jax.train_sft` or `train_reward_model`."""
  parser = argparse.ArgumentParser(
    prog=f'python -m consensus_jax.train_{kind}',
    description='Trains a policy on statements, or goes on training it.'
    if kind == 'sft'
    else 'Trains a reward model on judgements, or goes on training it.',
    allow_abbrev=False,
  )
  add_train_arguments(parser)
  argv = sys.argv[1:] if argv is None else argv
  return run_train(kind, parser.parse_args(arguments_with_bindings(argv)))


def _print(text: Any) -> None:
  # One line, and nothing that a terminal would obey.
  print(f'error: {InputError(str(text))}', file=sys.stderr, flush=True)
