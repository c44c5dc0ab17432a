"""`consensus compile`: its arguments. What it does is imported when it runs."""

import argparse

from consensus_jax.training import command

_DESCRIPTION = """\
Compiles a step for a TPU slice with the TPU compiler, on any machine, and
prints what it would take of each chip: memory by kind and whether it fits,
operations, bytes moved, communication by kind, and the time that the compiler
estimates, as model FLOP utilisation. Nothing is run and no weights are needed.

  consensus compile --gin_file models/llama3_70b.gin \\
    --gin_file meshes/v5p_4x4x8.gin --topology v5p:4x4x8 --rows 128

A run file does too, with its bindings: model, mesh, execution and batch size
are then those of the run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the command's arguments, and what it says of itself."""
  parser.description = _DESCRIPTION
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  command.add_gin_arguments(parser)
  parser.add_argument(
    '--topology',
    required=True,
    metavar='CHIP:SHAPE',
    help='the slice, such as v5p:4x4x8',
  )
  parser.add_argument(
    '--step',
    choices=('sft', 'reward', 'sample'),
    help="training a policy or a reward model, or sampling (default: the run's "
    'kind, else sft)',
  )
  for name, text in (
    ('rows', 'rows of a training step, on all chips (default: one a chip)'),
    ('microbatches', 'parts that they are computed in'),
    ('length', 'tokens of a row or prompt'),
    ('statements', 'statements that a row of a reward model judges'),
    ('candidates', 'continuations of a prompt'),
    ('max_tokens', 'tokens of a continuation'),
  ):
    parser.add_argument(f'--{name}', type=_positive, metavar='N', help=text)
  parser.add_argument(
    '--compiler_option',
    action='append',
    type=_option,
    default=[],
    metavar='NAME=VALUE',
    help='of the TPU compiler, as LIBTPU_INIT_ARGS would set it; repeatable',
  )
  parser.add_argument(
    '--no_costs',
    action='store_true',
    help='leave out the cost analysis, which compiles two more programs',
  )
  parser.add_argument(
    '--out', metavar='FILE', help='also write the reports to FILE as JSON'
  )


def run(args: argparse.Namespace) -> int:
  """Runs the command, as `compile_command.run`."""
  from consensus_jax.training import compile_command

  return compile_command.run(args)


def _option(text: str) -> tuple[str, str]:
  name, equals, value = text.partition('=')
  if not (name and equals):
    raise argparse.ArgumentTypeError(f'{text!r} is not NAME=VALUE')
  return name, value


def _positive(text: str) -> int:
  if not text.isdecimal() or not int(text):
    raise argparse.ArgumentTypeError(f'{text!r} is no positive whole number')
  return int(text)
