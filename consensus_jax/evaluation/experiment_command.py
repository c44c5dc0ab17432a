"""`consensus evaluate experiments`. Imports what is heavy only when needed."""

import argparse
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import consensus_jax
from consensus_jax.strict_json import InputError
from consensus_jax.training.command import add_gin_arguments

if TYPE_CHECKING:
  from consensus_jax.evaluation.experiment_settings import Experiments
  from consensus_jax.evaluation.made import Maker
  from consensus_jax.language_model import LanguageModel


def add_verb(verbs: Any) -> None:
  """Adds the verb to those of `consensus evaluate`."""
  summary = 'the experiments of the paper on simulated participants'
  verb = verbs.add_parser(
    'experiments',
    help=summary,
    description=f'Runs {summary}, and reports what they find beside what is '
    'true. A run that was stopped goes on when it is called again.',
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


def run(args: argparse.Namespace) -> int:
  """Runs the experiments that the gin files say, and writes the report.

  Raises:
    InputError: if something is wrong with the input.
    ModelFileError: if a model is missing or broken.
  """
  from consensus_jax import gin_utils

  # Pictures come last; what they need is missed before the long work.
  from consensus_jax.evaluation import experiment_report, experiments
  from consensus_jax.evaluation.experiment_settings import Experiments

  try:
    settings, text = gin_utils.build(
      'RUN', args.gin_file, args.gin_binding, args.gin_search_paths
    )
  except ValueError as error:
    # gin adds lines on where it was; the first says what is wrong.
    raise InputError(str(error).splitlines()[0]) from error
  if not isinstance(settings, Experiments):
    raise InputError(
      f'RUN must be @experiment_settings.Experiments(), got '
      f'{type(settings).__name__}',
      file=', '.join(args.gin_file),
    )
  makers = load(settings)
  out = pathlib.Path(args.out)
  sections = experiments.run(settings, makers, folder=out / 'outcomes')
  document = experiment_report.document(
    sections,
    about={
      'consensus_jax': consensus_jax.__version__,
      'settings': dataclasses.asdict(settings),
      'models': {name: maker.about for name, maker in makers.items()},
      'gin': text,
    },
  )
  experiment_report.write(out, document)
  print(experiment_report.markdown(document), end='')
  return 0


def load(settings: 'Experiments') -> dict[str, 'Maker']:
  """What makes the statements of each system.

  Raises:
    InputError: if there is nothing at a path.
    ModelFileError: if a model is broken.
  """
  fields = ('model', 'trained_policy', 'other_model', 'reward_model')
  for field in (*fields, 'questions'):
    path = getattr(settings, field)
    if path is not None and not pathlib.Path(path).exists():
      raise InputError(f'there is no {path}', field=(field,))

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


def _title(model: 'LanguageModel') -> str:
  """What a policy is called where it is compared with another."""
  adapted = '' if model.adapters is None else f' with {model.adapters[0]!r}'
  millions = model.config.num_parameters / 1e6
  return f'{model.name}{adapted}, {millions:,.1f} million parameters'
