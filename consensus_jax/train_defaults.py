"""Entry point: `python -m consensus_jax.train_defaults --help`."""

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence

from consensus_jax.data.arguments import note
from consensus_jax.strict_json import InputError
from consensus_jax.training import command

# What is made, in this order.
_PARTS = (
  *('half_a', 'half_b', 'statements_a', 'synthetic_b', 'reward_card'),
  *('policy', 'policy_card'),
)
# Held-out groups that policies are compared on.
_NUM_GROUPS = 80
# That each policy writes for a group, of which the best takes part too.
_NUM_CANDIDATES = 16


def main(argv: Sequence[str] | None = None) -> int:
  """Trains the default models, or goes on training them, and measures them."""
  parser = argparse.ArgumentParser(
    prog='python -m consensus_jax.train_defaults',
    description='Trains the default reward model and policy, or goes on '
    'training them, and writes their cards.',
    allow_abbrev=False,
  )
  for flag, metavar, text in (
    ('polis', 'FOLDER', 'of the ten Polis conversations'),
    ('bank', 'FILE', 'of questions with position statements, JSON'),
    ('examples', 'FILE', 'of published deliberations, JSON'),
    ('out', 'FOLDER', 'for everything; about 5 GB'),
    ('cards', 'FOLDER', 'for model cards'),
  ):
    parser.add_argument(f'--{flag}', required=True, metavar=metavar, help=text)
  parser.add_argument(
    '--only',
    action='append',
    metavar='PART',
    help=f'of {", ".join(_PARTS)}; repeat it',
  )
  parser.add_argument(
    '--max_hours',
    type=float,
    metavar='H',
    help='do not begin if all training would take two cores longer',
  )
  parser.add_argument(
    '--ship',
    metavar='FOLDER',
    help="where adapters go, in half their size: a sum of those of 'half_a' "
    "and 'statements_a' as reward_model, of the policy's run 'sft' as policy",
  )
  parser.add_argument(
    '--readings',
    metavar='FILE',
    help="JSON of what readers say of the policy's statements in its card",
  )
  args = parser.parse_args(argv)
  return command.exit_code(lambda: _train(args))


def _train(args: argparse.Namespace) -> None:
  from consensus_jax.defaults import measure, policy, shipped, train

  parts = args.only or _PARTS
  if unknown := sorted({*parts} - {*_PARTS}):
    raise InputError(f'there is no part {unknown}', field=('--only',))
  out = pathlib.Path(args.out)
  recipes = [each for each in train.RECIPES if each.name in parts]
  _check_files(args, parts)
  hours = {}
  if recipes:
    hours['reward models'] = train.hours_left(args.polis, out, recipes=recipes)
  if 'policy' in parts:
    hours['policy'] = policy.hours_left(out / 'policy')
  _announce(hours, args.max_hours)
  if recipes:
    train.train_reward_models(args.polis, args.bank, out, recipes=recipes)
  if {*parts} & {*shipped.WEIGHTS, 'reward_card', 'policy_card'}:
    if missing := {*shipped.WEIGHTS} - {*measure.trained(out)}:
      note(f'no reward model ships yet: {sorted(missing)} not trained')
    else:
      combined = shipped.combine(out)
      if args.ship is not None:
        shipped.ship(combined, pathlib.Path(args.ship, 'reward_model'))
  if 'reward_card' in parts:
    _measure(args, out)
  if 'policy' in parts:
    trained = policy.train_policy(out / 'policy')
    if args.ship is not None:
      shipped.ship(trained['sft'], pathlib.Path(args.ship, 'policy'))
  if 'policy_card' in parts:
    _compare(args, out)


def _check_files(args: argparse.Namespace, parts: Sequence[str]) -> None:
  """Reads what is needed hours later.

  Raises:
    InputError: if it is missing; of all but readings, which belong to what
      is written yet, also if it holds something else.
  """
  from consensus_jax.data import questions
  from consensus_jax.defaults import people
  from consensus_jax.policy_data import groups

  if {'reward_card', 'policy_card'} & {*parts}:
    people.read(args.polis)
  if {'synthetic_b', 'policy_card'} & {*parts}:
    questions.read(args.bank)
  if 'policy_card' in parts:
    groups.read_examples(args.examples)
    if args.readings is not None and not pathlib.Path(args.readings).is_file():
      raise InputError('is no file', file=args.readings)


def _announce(hours: Mapping[str, float], max_hours: float | None) -> None:
  """Says how long two cores take for all that is left to train.

  Raises:
    InputError: if that is longer than asked.
  """
  for what, number in hours.items():
    note(f'{what}: about {number:.1f} hours on two cores, less with more')
  total = sum(hours.values())
  if max_hours is not None and total > max_hours:
    raise InputError(
      f'would take two cores about {total:.1f} hours, more than {max_hours}',
      field=('--max_hours',),
    )


def _measure(args: argparse.Namespace, out: pathlib.Path) -> None:
  from consensus_jax.defaults import card, measure, people, shipped

  found = measure.measure(
    people.read(args.polis), measure.trained(out), out / 'measured'
  )
  card.write_reward_card(
    args.cards,
    found,
    out / 'runs' / shipped.COMBINED / 'adapters',
    {out / 'runs' / name: each for name, each in shipped.WEIGHTS.items()},
    shipped=args.ship and pathlib.Path(args.ship, 'reward_model'),
  )


def _compare(args: argparse.Namespace, out: pathlib.Path) -> None:
  from consensus_jax.defaults import (
    people,
    policy,
    policy_card,
    policy_groups,
    shipped,
  )

  sources = policy_groups.Sources(
    people=people.read(args.polis), bank=args.bank, examples=args.examples
  )
  groups = policy_groups.evaluation_groups(sources, num_groups=_NUM_GROUPS)
  run = out / 'policy' / 'runs' / 'sft'
  combined, half_b = (
    out / 'runs' / name / 'adapters' for name in (shipped.COMBINED, 'half_b')
  )
  # A selector does not judge what it selected: alone it selects nothing.
  judged_apart = half_b.exists()
  comparison, _ = policy.compare(
    groups,
    out / ('compared' if judged_apart else 'compared_alone'),
    sft=run / 'adapters',
    selector=combined,
    judge=half_b if judged_apart else combined,
    num_candidates=_NUM_CANDIDATES if judged_apart else 1,
  )
  policy_card.write_policy_card(
    args.cards,
    comparison,
    run,
    policy_groups.seed_records()['train'],
    readings=args.readings,
    shipped=args.ship and pathlib.Path(args.ship, 'policy'),
  )


if __name__ == '__main__':
  sys.exit(main())
