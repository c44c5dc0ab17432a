"""The verbs of `consensus data` that make and show training examples."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, get_args

from consensus_jax.data import example_settings
from consensus_jax.data.arguments import add_verb
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.strict_json import InputError

_CACHE = 'examples'
# Of a reward model that learns from votes: people are described by few votes
# and judge short statements, and the rest of a longer row is padding.
_ROW_LENGTH_OF_VOTES = 512
# Settings of an example, by how they are given.
_WORDS = {
  'judgement': 'what the reward model learns from',
  'split': 'records of this split; train takes those of none, too',
  'prompt': 'of the policy: the paper’s template, or the model’s own',
  'ties': 'of equal judgements: drop, or keep as half a win',
  'long_examples': 'cut the longest opinions, or leave the example out',
}
_NUMBERS = {
  'row_length': f'tokens of a row (rewards from votes: {_ROW_LENGTH_OF_VOTES})',
  'statements_per_row': 'most statements of a row; a pair has two',
  'max_pairs': 'most pairs of one member of one deliberation',
  'max_opinions': 'most opinions of a prompt of the policy',
  'seed': 'of every choice and order',
}
_LEAST = {
  'min_quality': 'mean quality that a statement of the policy is above, or '
  "'none'",
  'min_agreement': 'least mean agreement of such a statement',
  'min_vote': 'its least mean vote, from -1 to 1',
}


def add_verbs(verbs: Any) -> None:
  """Adds them to the verbs of `consensus data`."""
  prepare = add_verb(verbs, 'prepare', 'write training examples', _prepare)
  prepare.add_argument(
    'sources',
    nargs='+',
    metavar='SOURCE',
    help='records, polis:FOLDER or habermas:FOLDER',
  )
  _add_settings(prepare, task_required=True)
  prepare.add_argument(
    '--cache',
    default=_CACHE,
    metavar='FOLDER',
    help=f'where they are kept; {_CACHE} by default',
  )

  look = add_verb(verbs, 'inspect', 'show what data holds', _inspect)
  look.add_argument(
    'name',
    metavar='NAME',
    help='records, polis:FOLDER, habermas:FOLDER, or a folder of examples',
  )
  _add_settings(look, task_required=False)
  look.add_argument(
    '--examples',
    type=int,
    default=3,
    metavar='N',
    help='how many to show; 3 by default',
  )


def _add_settings(
  verb: argparse.ArgumentParser, *, task_required: bool
) -> None:
  defaults: dict[str, Any] = {
    f.name: f.default for f in dataclasses.fields(ExampleSettings)
  }
  kinds = ExampleSettings.__annotations__
  verb.add_argument(
    '--task',
    required=task_required,
    choices=get_args(example_settings.Task),
    help='what the examples teach',
  )
  verb.add_argument(
    '--tokenizer',
    metavar='PATH',
    help='a Hugging Face folder or a GGUF file; the embedded model by default',
  )
  verb.add_argument(
    '--opinions',
    action='append',
    choices=defaults['opinions'],
    help='kinds that count; repeat it; all by default',
  )
  for names, kind in ((_WORDS, str), (_NUMBERS, int), (_LEAST, _number)):
    for name, text in names.items():
      shown = '' if defaults[name] is None else f'; {defaults[name]} by default'
      verb.add_argument(
        f'--{name}',
        type=kind,
        choices=get_args(kinds[name]) if kind is str else None,
        metavar=None if kind is str else 'N',
        help=text + shown,
      )


def _number(text: str) -> float | str:
  return text if text == 'none' else float(text)


def _settings(
  args: argparse.Namespace, sources: Sequence[str]
) -> ExampleSettings:
  chosen: dict[str, Any] = {
    name: None if value == 'none' else value
    for name in (*_WORDS, *_NUMBERS, *_LEAST, 'task', 'tokenizer')
    if (value := getattr(args, name)) is not None
  }
  if chosen.get('judgement') == 'votes' and args.task != example_settings.SFT:
    chosen.setdefault('row_length', _ROW_LENGTH_OF_VOTES)
  if args.opinions:
    chosen['opinions'] = tuple(args.opinions)
  return ExampleSettings(sources=tuple(sources), **chosen)


def _prepare(args: argparse.Namespace) -> int:
  from consensus_jax.data import materialise

  print(materialise.materialise(_settings(args, args.sources), args.cache))
  return 0


def _inspect(args: argparse.Namespace) -> int:
  from consensus_jax.data import batches, inspect_data, materialise, sources

  if (pathlib.Path(args.name) / batches.META).is_file():
    examples = batches.open_examples(args.name)
    path = args.tokenizer or examples.meta.get('settings', {}).get('tokenizer')
    tokenizer = materialise.load_tokenizer(path) if args.examples else None
    made_with = examples.meta.get('tokenizer_sha256')
    if tokenizer and made_with != materialise.tokenizer_sha256(tokenizer):
      raise InputError(
        'was made with another tokenizer; name it with --tokenizer, or show '
        'no examples with --examples 0',
        file=args.name,
      )
    inspect_data.print_examples(examples, tokenizer, args.examples)
    return 0
  records = sources.load(args.name)
  inspect_data.print_records(records)
  if args.task:
    inspect_data.print_encoded(
      records,
      materialise.load_tokenizer(args.tokenizer),
      _settings(args, [args.name]),
      args.examples,
    )
  return 0
