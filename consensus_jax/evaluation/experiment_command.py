"""`consensus evaluate experiments`. Imports what is heavy only when needed."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import consensus_jax
from consensus_jax.data.arguments import note
from consensus_jax.strict_json import InputError
from consensus_jax.training.command import add_gin_arguments

if TYPE_CHECKING:
  from consensus_jax.evaluation.experiment_settings import Experiments
  from consensus_jax.evaluation.experiment_study import Section
  from consensus_jax.evaluation.kept import Rewards
  from consensus_jax.evaluation.made import Maker, Shard
  from consensus_jax.evaluation.persona_experiments import Models, Personas
  from consensus_jax.evaluation.replay_experiments import Replay
  from consensus_jax.language_model import LanguageModel


def add_verb(verbs: Any) -> None:
  """Adds the verb to those of `consensus evaluate`."""
  summary = 'the experiments of the paper, on simulated or on real people'
  verb = verbs.add_parser(
    'experiments',
    help=summary,
    description=f'Runs {summary}, and reports what they find. A run that was '
    'stopped goes on when it is called again.',
    allow_abbrev=False,
  )
  verb.set_defaults(run_evaluate_verb=run)
  add_gin_arguments(verb)
  verb.add_argument(
    '--out',
    required=True,
    metavar='FOLDER',
    help='of the report, pictures and outcomes',
  )
  verb.add_argument(
    '--shard',
    metavar='I/N',
    help='write only outcomes, of every N-th group from the I-th, counted from '
    '0: for N processes at once, with one --out. The same command without '
    'it then reports',
  )


def run(args: argparse.Namespace) -> int:
  """Runs the experiments that the gin files say, and writes the report.

  Raises:
    InputError: if something is wrong with the input.
    ModelFileError: if a model is missing or broken.
  """
  shard = None if args.shard is None else _shard(args.shard)
  from consensus_jax import gin_utils

  # Pictures come last; what they need is missed before the long work.
  from consensus_jax.evaluation import (
    experiment_report,
    experiments,
    judged_experiments,
    persona_experiments,
    replay_experiments,
  )
  from consensus_jax.evaluation.experiment_settings import Experiments
  from consensus_jax.evaluation.judged_experiments import Judgements
  from consensus_jax.evaluation.persona_experiments import Personas
  from consensus_jax.evaluation.replay_experiments import Replay

  try:
    settings, text = gin_utils.build(
      'RUN', args.gin_file, args.gin_binding, args.gin_search_paths
    )
  except ValueError as error:
    # gin adds lines on where it was; the first says what is wrong.
    raise InputError(str(error).splitlines()[0]) from error
  out = pathlib.Path(args.out)
  if shard is not None:
    if not isinstance(settings, Experiments):
      raise InputError('is of simulated participants', field=('--shard',))
    # What a part of the groups says is reported by nobody.
    settings = dataclasses.replace(settings, num_draws=1)
  models: dict[str, Any] = {}
  sections: Sequence[Section]
  if isinstance(settings, Experiments):
    makers = load(settings)
    folder = out / 'outcomes'
    sections = experiments.run(settings, makers, folder=folder, shard=shard)
    models = {name: maker.about for name, maker in makers.items()}
    if shard is not None:
      note(f'outcomes of shard {args.shard} are in {folder}')
      return 0
  elif isinstance(settings, Replay):
    rewards, models = load_rewards(settings, out)
    sections = replay_experiments.run(settings, rewards.of)
  elif isinstance(settings, Personas):
    players, models = load_players(settings)
    sections = persona_experiments.run(settings, players, folder=out)
  elif isinstance(settings, Judgements):
    sections = judged_experiments.run(settings)
  else:
    raise InputError(
      'RUN must be @experiment_settings.Experiments(), '
      '@persona_experiments.Personas(), @replay_experiments.Replay() or '
      f'@judged_experiments.Judgements(), got {type(settings).__name__}',
      file=', '.join(args.gin_file),
    )
  document = experiment_report.document(
    sections,
    title=settings.title,
    introduction=settings.introduction,
    about={
      'consensus_jax': consensus_jax.__version__,
      'settings': dataclasses.asdict(settings),
      'models': models,
      'gin': text,
    },
  )
  experiment_report.write(out, document)
  print(experiment_report.markdown(document), end='')
  return 0


def load(settings: 'Experiments | Personas') -> dict[str, 'Maker']:
  """What makes the statements of each system.

  Raises:
    InputError: if there is nothing at a path.
    ModelFileError: if a model is broken.
  """
  fields = ('model', 'trained_policy', 'other_model', 'reward_model')
  for field in (*fields, 'questions'):
    _check_path(field, getattr(settings, field))

  from consensus_jax.evaluation.experiment_settings import OTHER
  from consensus_jax.evaluation.made import Maker
  from consensus_jax.inference import compute
  from consensus_jax.language_model import POLICY, REWARD_MODEL, LanguageModel
  from consensus_jax.mediator import Mediator

  compute.keep_compilations()
  rater = LanguageModel.load(settings.reward_model or REWARD_MODEL)
  paths = {
    'sft': settings.trained_policy or POLICY,
    OTHER: settings.other_model,
  }
  policies: dict[str | pathlib.Path | None, LanguageModel] = {}
  makers = {}
  for system in settings.systems:
    path = paths.get(system, settings.model)
    if path not in policies:
      policies[path] = LanguageModel.load(path)
    makers[system] = Maker(
      Mediator(policies[path], rater),
      {
        'policy': policies[path].describe(),
        'reward_model': rater.describe(),
      },
      _title(policies[path]),
    )
  return makers


def load_players(settings: 'Personas') -> tuple['Models', dict[str, Any]]:
  """What plays people, writes for them and rates, and what it is.

  Raises:
    InputError: if there is nothing at a path.
    ModelFileError: if a model is broken.
  """
  _check_path('rater', settings.rater)
  makers = load(settings)

  from consensus_jax.evaluation.made import Maker
  from consensus_jax.evaluation.persona_experiments import Models
  from consensus_jax.language_model import REWARD_MODEL, LanguageModel
  from consensus_jax.mediator import Mediator

  plays = LanguageModel.load(settings.model)
  rates = LanguageModel.load(settings.rater or REWARD_MODEL)
  about = {name: maker.about for name, maker in makers.items()}
  rater = Maker(Mediator(plays, rates), {'rater': rates.describe()})
  return (
    Models(plays, makers, rater),
    {**about, 'people': plays.describe(), 'rater': rates.describe()},
  )


def load_rewards(
  settings: 'Replay', out: pathlib.Path
) -> tuple['Rewards', dict[str, Any]]:
  """What predicts what people think, kept on disk, and what it is.

  Raises:
    InputError: if there is nothing at its path, or the file is damaged.
    ModelFileError: if the model is broken.
  """
  _check_path('reward_model', settings.reward_model)

  from consensus_jax.evaluation.kept import Answers, Rewards
  from consensus_jax.inference import compute
  from consensus_jax.language_model import REWARD_MODEL, LanguageModel

  compute.keep_compilations()
  rater = LanguageModel.load(settings.reward_model or REWARD_MODEL)
  sha256 = rater.sha256 if rater.adapters is None else rater.adapters[1]
  path = out / 'outcomes' / f'rewards.{sha256[:16]}.{rater.dtype}.npz'
  answers = Answers.open(path)
  rewards = Rewards('replay', lambda: rater, answers, settings.row_length)
  return rewards, {'reward_model': rater.describe()}


def _check_path(field: str, path: str | None) -> None:
  if path is not None and not pathlib.Path(path).exists():
    raise InputError(f'there is no {path}', field=(field,))


def _title(model: 'LanguageModel') -> str:
  """What a policy is called where it is compared with another."""
  adapted = '' if model.adapters is None else f' with {model.adapters[0]!r}'
  millions = model.config.num_parameters / 1e6
  return f'{model.name}{adapted}, {millions:,.1f} million parameters'


def _shard(text: str) -> 'Shard':
  from consensus_jax.evaluation.made import Shard

  place, _, number = text.partition('/')
  if place.isdecimal() and number.isdecimal() and int(place) < int(number):
    return Shard(int(place), int(number))
  raise InputError(
    f'must be I/N with 0 <= I < N, got {text!r}', field=('--shard',)
  )
