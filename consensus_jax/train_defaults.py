"""Entry point: `python -m consensus_jax.train_defaults --help`."""

import argparse
import sys
from collections.abc import Sequence

from consensus_jax.strict_json import InputError
from consensus_jax.training import command


def main(argv: Sequence[str] | None = None) -> int:
  """Trains the default reward models, or goes on training them."""
  parser = argparse.ArgumentParser(
    prog='python -m consensus_jax.train_defaults',
    description='Trains the default reward models from Polis conversations, '
    'or goes on training them.',
    allow_abbrev=False,
  )
  parser.add_argument(
    '--polis', required=True, metavar='FOLDER', help='of the ten conversations'
  )
  parser.add_argument(
    '--bank',
    required=True,
    metavar='FILE',
    help='of questions with an affirming and a negating statement, JSON',
  )
  parser.add_argument(
    '--out', required=True, metavar='FOLDER', help='for everything; about 10 GB'
  )
  parser.add_argument(
    '--only', action='append', metavar='NAME', help='one run; repeat it'
  )
  parser.add_argument(
    '--max_hours',
    type=float,
    metavar='H',
    help='do not begin what would take two cores longer',
  )
  parser.add_argument(
    '--ship',
    metavar='FOLDER',
    help="where the adapters of the run 'full' go, in half their size",
  )
  args = parser.parse_args(argv)
  return command.exit_code(lambda: _train(args))


def _train(args: argparse.Namespace) -> None:
  from consensus_jax.defaults import train

  names = args.only or [recipe.name for recipe in train.RECIPES]
  unknown = {*names} - {recipe.name for recipe in train.RECIPES}
  if unknown:
    raise InputError(f'there is no run {sorted(unknown)}', field=('--only',))
  if args.ship is not None and 'full' not in names:
    raise InputError("needs the run 'full'", field=('--ship',))
  trained = train.train_reward_models(
    args.polis,
    args.bank,
    args.out,
    recipes=[each for each in train.RECIPES if each.name in names],
    max_hours=args.max_hours,
  )
  if args.ship is not None:
    train.ship(trained['full'], args.ship)


if __name__ == '__main__':
  sys.exit(main())
