"""Entry point: `python -m consensus_jax.train_defaults --help`."""

import argparse
import sys
from collections.abc import Sequence

from consensus_jax.strict_json import InputError


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
  from consensus_jax.training import memory

  memory.keep_freed()
  from consensus_jax.defaults import train
  from consensus_jax.training.interruption import Interrupted

  try:
    names = args.only or [recipe.name for recipe in train.RECIPES]
    unknown = {*names} - {recipe.name for recipe in train.RECIPES}
    if unknown:
      raise InputError(f'there is no run {sorted(unknown)}', field=('--only',))
    trained = train.train_reward_models(
      args.polis,
      args.bank,
      args.out,
      recipes=[each for each in train.RECIPES if each.name in names],
      max_hours=args.max_hours,
    )
    if args.ship is not None:
      if 'full' not in trained:
        raise InputError("needs the run 'full'", field=('--ship',))
      train.ship(trained['full'], args.ship)
  except Interrupted as error:
    print(f'stopped by {error}; saved', file=sys.stderr)
    return error.exit_code
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
