"""The command `consensus evaluate`. Imports what is heavy only when needed.

`add_arguments` describes its verbs to argparse, `run` does what they say.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import consensus_jax
from consensus_jax.data.arguments import add_seed, note, note_all
from consensus_jax.evaluation import experiment_command
from consensus_jax.settings import PROMPTED_RATER
from consensus_jax.strict_json import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verbs to the parser of `consensus evaluate`."""
  verbs = parser.add_subparsers(
    dest='evaluate_verb', required=True, metavar='VERB'
  )
  experiment_command.add_verb(verbs)
  summary = 'how well reward models predict the votes of real people'
  verb = verbs.add_parser(
    'reward_model',
    help=summary,
    description=f'Measures {summary}, beside baselines.',
    allow_abbrev=False,
  )
  verb.set_defaults(run_evaluate_verb=_reward_model)
  verb.add_argument(
    '--reward_model',
    action='append',
    default=[],
    metavar='[NAME=]PATH',
    help='a model with a reward head; repeat it. The prompted rater is among '
    'the baselines',
  )
  verb.add_argument(
    '--records',
    nargs='+',
    required=True,
    metavar='FILE',
    help='people to predict: records, or polis:FOLDER',
  )
  verb.add_argument(
    '--train_records',
    nargs='+',
    default=[],
    metavar='FILE',
    help='what logistic regression learns from; without, there is none',
  )
  verb.add_argument(
    '--popularity_records',
    nargs='+',
    default=[],
    metavar='FILE',
    help='whose votes are popularity (default: those of --records)',
  )
  verb.add_argument(
    '--held_out',
    choices=('conversation', 'participant'),
    default='participant',
    help='what is new in --records beside --train_records',
  )
  verb.add_argument(
    '--baselines',
    nargs='*',
    metavar='NAME',
    help="by name, such as 'prompted rater'; all by default",
  )
  verb.add_argument(
    '--features',
    metavar='PATH',
    help='model of features and prompted rater (default: the embedded one)',
  )
  for name, default, what in (
    ('max_statements', 24, 'votes of a person, drawn'),
    ('max_people', 60, 'people of a conversation, drawn; 0 for all'),
    ('max_train_people', 200, 'the same of --train_records'),
    ('draws', 2000, 'draws of people, for intervals'),
    ('groups', 100, 'groups of a conversation, for regret; 0 for none'),
    ('row_length', 512, 'tokens of the longest row that a model reads'),
  ):
    verb.add_argument(
      f'--{name}', type=int, default=default, metavar='N', help=what
    )
  verb.add_argument(
    '--no_robustness',
    action='store_true',
    help='leave out what changes of texts do',
  )
  add_seed(verb)
  verb.add_argument(
    '--out', required=True, metavar='FOLDER', help='of report and pictures'
  )


def run(args: argparse.Namespace) -> int:
  """Does what the arguments of `add_arguments` say; returns the exit code.

  Raises:
    InputError: if something is wrong with the input.
    ModelFileError: if a model is missing or broken.
  """
  return args.run_evaluate_verb(args)


def _reward_model(args: argparse.Namespace) -> int:
  named = _named(args.reward_model)
  _check_numbers(args)
  # Pictures come last; what they need is missed before the long work.
  from consensus_jax.evaluation import figures  # noqa: F401

  records = _load(args.records, '--records')
  train_records = _load(args.train_records, '--train_records')
  popularity = _load(args.popularity_records, '--popularity_records') or records

  from consensus_jax.evaluation import (
    benchmark,
    cases,
    groups,
    regret,
    report,
    robustness,
    systems,
  )
  from consensus_jax.inference import compute
  from consensus_jax.language_model import LanguageModel

  _check_baselines(args.baselines, systems.BASELINES)
  test, excluded = cases.from_records(
    records,
    max_statements=args.max_statements,
    max_people=args.max_people or None,
    seed=args.seed,
  )
  if not test:
    raise InputError(
      'hold nobody with an opinion and a vote for or against',
      field=('--records',),
    )
  note_all((), excluded)
  train, _ = cases.from_records(
    train_records,
    max_statements=args.max_statements,
    max_people=args.max_train_people or None,
    seed=args.seed,
  )
  compute.keep_compilations()
  features = LanguageModel.load(args.features)
  models = {name: LanguageModel.load(path) for name, path in named.items()}
  found: dict[str, Any] = {}
  for name, model in models.items():
    found |= systems.of_model(
      name, model, seed=args.seed, row_length=args.row_length
    )
  rules = systems.baselines(
    features,
    train=train,
    records=popularity,
    held_out=args.held_out,
    seed=args.seed,
    row_length=args.row_length,
  )
  wanted = rules if args.baselines is None else args.baselines
  found |= {name: rules[name] for name in rules if name in wanted}

  rewards = {name: predict(test) for name, predict in found.items()}
  sections: dict[str, Any] = {
    'Votes': benchmark.compare(
      test,
      rewards,
      log_odds=systems.log_odds(found),
      differences=systems.differences(found, [*models]),
      num_draws=args.draws,
      seed=args.seed,
    )
  }
  if args.groups:
    people = [(case.conversation, case.participant) for case in test]
    drawn, missing = groups.draw_groups(
      records, per_conversation=args.groups, people=people, seed=args.seed
    )
    note_all((), missing)
    if drawn:
      asked = groups.cases_of(drawn)
      whole = [*models, *(name for name in found if name in rules)]
      sections['Welfare of groups'] = regret.measure(
        drawn,
        {
          name: groups.rewards_by_group(drawn, asked, found[name](asked))
          for name in whole
        },
        differences=[
          pair
          for pair in systems.differences(whole, [*models])
          if pair[1] in whole
        ],
      )
  if not args.no_robustness:
    for name in models:
      sections[f'Robustness: {name}'] = robustness.measure(
        test, found[name], seed=args.seed
      )
  document = report.document(
    sections,
    about={
      'consensus_jax': consensus_jax.__version__,
      'arguments': {
        key: value for key, value in vars(args).items() if not callable(value)
      },
      'models': {
        name: model.describe()
        for name, model in {**models, 'features': features}.items()
      },
      'left_out': [vars(each) for each in excluded],
    },
  )
  report.write(args.out, document)
  _draw(pathlib.Path(args.out), test, rewards, sections['Votes'], models)
  print(report.markdown(document), end='')
  return 0


def _draw(out, test, rewards, comparison, models) -> None:
  from consensus_jax.evaluation import figures

  figures.bars(out / 'auc.svg', comparison)
  for name in models:
    # Names may be paths, or hold what no file name may.
    plain = ''.join(c if c.isalnum() else '_' for c in name)
    figures.calibration(
      out / f'calibration.{plain}.svg', test, {name: rewards[name]}
    )
    figures.reward_by_length(out / f'length.{plain}.svg', test, rewards[name])


def _named(items: Sequence[str]) -> dict[str, str]:
  """{name: path} of reward models."""
  found: dict[str, str] = {}
  for item in items:
    name, equals, path = item.rpartition('=')
    if path == PROMPTED_RATER:
      raise InputError(
        f'{PROMPTED_RATER} is among the baselines', field=('--reward_model',)
      )
    name = name if equals else pathlib.Path(path).resolve().name
    if name in found:
      raise InputError(
        f'two are called {name!r}; say NAME=PATH', field=('--reward_model',)
      )
    if not pathlib.Path(path).exists():
      raise InputError(f'there is no {path}', field=('--reward_model',))
    found[name] = path
  return found


def _check_numbers(args: argparse.Namespace) -> None:
  for name, least in (
    ('max_statements', 1),
    ('max_people', 0),
    ('max_train_people', 0),
    ('draws', 1),
    ('groups', 0),
    ('row_length', 1),
    ('seed', 0),
  ):
    value = getattr(args, name)
    if value < least:
      raise InputError(
        f'must be {least} or more, got {value}', field=(f'--{name}',)
      )


def _check_baselines(names: Sequence[str] | None, known: Sequence[str]) -> None:
  for name in names or ():
    if name not in known:
      raise InputError(
        f'must be of {", ".join(map(repr, known))}, got {name!r}',
        field=('--baselines',),
      )


def _load(names: Sequence[str], flag: str) -> list[Any]:
  from consensus_jax.data import sources

  records = [record for name in names for record in sources.load(name)]
  ids = [record.id for record in records]
  twice = sorted({id for id in ids if ids.count(id) > 1})
  if twice:
    raise InputError(f'{twice[0]!r} is the id of two records', field=(flag,))
  if names:
    plural = '' if len(records) == 1 else 's'
    note(f'{flag}: {len(records)} record{plural}')
  return records
