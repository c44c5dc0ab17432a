"""The arguments of the command `consensus`, and its help."""

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

import consensus_jax
from consensus_jax import question_command, settings
from consensus_jax.data import command as data_command
from consensus_jax.deliberation import InputError
from consensus_jax.evaluation import command as evaluation_command
from consensus_jax.social_choice import names
from consensus_jax.study import command as study_command
from consensus_jax.training import command as training_command
from consensus_jax.training import compile_arguments

_DESCRIPTION = """\
Finds statements that a group with diverse opinions agrees on.

A language model writes candidate statements, a reward model predicts how much
each participant would agree with each of them, and a social welfare function
chooses."""

_INPUT = """\
FILE is JSON (one record, or an array of records) or JSONL (one record a line);
'-' is standard input. A record:

  {"question": "Should the speed limit be lowered?",
   "opinions": ["Yes, because ...", "No, because ..."]}

An opinion may name its author and a weight:

  {"participant": "Amira", "text": "Yes, because ...", "weight": 2}

A record may have an "id" of your own."""

_DELIBERATE = f"""\
{_INPUT} If it brings statements too,
"candidates": ["..."], these join those that the model writes, with
finish_reason 'given'."""

_RANK = f"""\
{_INPUT} It has to bring the statements
to rank, "candidates": ["...", "..."]."""

_OUTPUT = """\
Output: a table on a terminal, else one JSON object a line. --out takes the
JSON instead: one pretty object for one record, lines for an array or JSONL.
Such a run may be interrupted and started again: it goes on where it stopped.
A bad line is reported, gets an error record in its place, and the others go on.

Exit code: 0 all done, 1 some records failed, 2 nothing could be done,
130 interrupted."""


class _Parser(argparse.ArgumentParser):
  """An argument parser whose errors are one line, as all others are."""

  def error(self, message: str) -> NoReturn:
    self.exit(2, f'error: {message} (see {self.prog} --help)\n')


class _Version(argparse.Action):
  def __init__(self, **kwargs):
    super().__init__(nargs=0, help='print the version', **kwargs)

  def __call__(self, parser, *_):
    parser.exit(0, f'consensus {consensus_jax.__version__}\n')


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog='consensus',
    description=_DESCRIPTION,
    allow_abbrev=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--version', action=_Version)
  verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
  deliberate = _add_verb(
    verbs, 'deliberate', 'write candidates, score them and choose', _DELIBERATE
  )
  rank = _add_verb(
    verbs, 'rank', 'score the candidates of FILE and choose', _RANK
  )
  _add_writing(deliberate)
  for verb in (deliberate, rank):
    _add_choosing(verb)
    _add_files(verb)
  for name, summary, add_arguments, run in (
    (
      'data',
      'read human judgements and make training examples of them',
      _add_data_verbs,
      data_command.run,
    ),
    (
      'train',
      'train a policy or a reward model',
      training_command.add_train_verbs,
      training_command.run_train_verb,
    ),
    (
      'evaluate',
      'measure how well reward models predict real people',
      evaluation_command.add_arguments,
      evaluation_command.run,
    ),
    (
      'study',
      'run a study with human participants in their browsers',
      study_command.add_arguments,
      study_command.run,
    ),
    (
      'plot',
      'draw the curves of a training run',
      training_command.add_plot_arguments,
      training_command.run_plot,
    ),
    (
      'compile',
      'what a step would take of a TPU slice, found without one',
      compile_arguments.add_arguments,
      compile_arguments.run,
    ),
  ):
    verb = verbs.add_parser(
      name,
      help=summary,
      description=f'{summary[0].upper()}{summary[1:]}.',
      allow_abbrev=False,
    )
    add_arguments(verb)
    verb.set_defaults(run=run)
  return parser


def _add_data_verbs(parser: argparse.ArgumentParser) -> None:
  question_command.add_verbs(data_command.add_arguments(parser))


def _add_verb(verbs: Any, name: str, summary: str, text: str):
  verb = verbs.add_parser(
    name,
    help=summary,
    description=f'{summary.capitalize()}.\n\n{text}',
    epilog=_OUTPUT,
    allow_abbrev=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  verb.add_argument('file', metavar='FILE', help='the deliberations')
  verb.add_argument(
    '--model',
    metavar='PATH',
    help='a Hugging Face folder, a GGUF file or a folder of adapters; what '
    'ships by default',
  )
  verb.add_argument(
    '--reward_model',
    metavar='PATH',
    help='likewise, with a reward head (a Hugging Face sequence classifier '
    'with one label); by default the adapters that ship. '
    f"'{settings.PROMPTED_RATER}' asks --model instead, or the embedded model",
  )
  verb.add_argument(
    '--dtype',
    choices=('auto', 'bfloat16', 'float32'),
    default='auto',
    help='compute type; auto, the default, suits the processor',
  )
  return verb


def _add_setting(verb, name: str, **kwargs) -> None:
  default = getattr(settings.Settings(), name)
  shown = '' if default is None else f'; {default} by default'
  verb.add_argument(f'--{name}', **kwargs | {'help': kwargs['help'] + shown})


def _add_writing(verb) -> None:
  _add_setting(
    verb,
    'policy',
    choices=get_args(settings.Policy),
    help='the prompt of the language model, by default the one in which it '
    'was taught; without --model, sft is the policy that ships, the others '
    'the embedded model as it came',
  )
  for name, kind, text in (
    ('num_candidates', int, 'statements to write'),
    ('max_tokens', int, 'longest statement, in tokens'),
    ('temperature', float, '0 takes the likeliest token each time'),
    ('top_p', float, 'sample from the tokens with this probability in sum'),
    ('top_k', int, 'sample from this many likeliest tokens'),
    ('min_p', float, 'least probability, relative to the likeliest token'),
    (
      'no_repeat_ngram_size',
      int,
      'where so many tokens in a row would come twice in a statement, another '
      'word has to come; off above --max_tokens',
    ),
    (
      'no_copy_ngram_size',
      int,
      'likewise for so many in a row of the prompt, its question apart',
    ),
  ):
    _add_setting(verb, name, type=kind, metavar='N', help=text)


def _add_choosing(verb) -> None:
  _add_setting(
    verb,
    'rule',
    choices=get_args(names.Rule),
    metavar='RULE',
    help=f'how the group ranks: {", ".join(get_args(names.Rule))}',
  )
  welfare = verb.add_mutually_exclusive_group()
  welfare.add_argument(
    '--welfare',
    choices=tuple(settings.WELFARES),
    help='alpha 0, 1 or inf by name',
  )
  _add_setting(
    welfare,
    'alpha',
    type=float,
    metavar='A',
    help='aversion to inequality, from 0 to inf',
  )
  for name, text in (
    ('delta', "aversion to inequality of the rule 'gini', from 1 to inf"),
    ('threshold', "reward above which one approves, for the rule 'approval'"),
  ):
    _add_setting(verb, name, type=float, metavar='N', help=text)
  _add_setting(
    verb,
    'strength',
    choices=get_args(names.Strength),
    help='of a majority, for rules that compare in pairs',
  )
  _add_setting(
    verb,
    'tie_break',
    choices=get_args(names.TieBreak),
    help='which of equal candidates wins: by drawn ballots, at random, first',
  )
  _add_setting(
    verb,
    'seed',
    type=int,
    metavar='N',
    help='of statements and tie-breaks: the same seed gives the same ones',
  )
  _add_setting(
    verb,
    'utility',
    choices=get_args(names.MapName),
    help='the map from rewards to utilities',
  )
  _add_setting(
    verb,
    'overflow',
    choices=get_args(settings.Overflow),
    help='opinions too long for the model: refuse, or cut the longest first',
  )


def _add_files(verb) -> None:
  verb.add_argument('--out', metavar='OUT', help='write JSON to this file')
  verb.add_argument(
    '--report',
    metavar='OUT.html',
    help='write a page to read, print and share: one file for all records',
  )
  verb.add_argument(
    '--shard',
    type=_shard,
    metavar='I/N',
    help='of the records take only every N-th, from the I-th, counted from 0: '
    'for N processes at once, each with an --out of its own',
  )


def _shard(text: str) -> tuple[int, int]:
  index, _, count = text.partition('/')
  if index.isdecimal() and count.isdecimal() and int(index) < int(count):
    return int(index), int(count)
  raise argparse.ArgumentTypeError(f'must be I/N with 0 <= I < N, got {text!r}')


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  """Arguments of the command; those of the process if `argv` is None.

  Exits with one line on standard error, and code 2, if they are wrong.
  """
  parser = _parser()
  argv = sys.argv[1:] if argv is None else argv
  args, unknown = parser.parse_known_args(
    training_command.arguments_with_bindings(argv)
  )
  if unknown:
    flags = [f'--{name}' for name in vars(args)]
    flag = unknown[0].partition('=')[0]
    near = difflib.get_close_matches(flag, flags, n=1)
    hint = f', did you mean {near[0]}?' if near else ''
    parser.error(f'unknown argument {unknown[0]}{hint}')
  return args


def chosen_settings(args: argparse.Namespace) -> settings.Settings:
  """The settings that the arguments choose.

  Raises:
    InputError: naming the argument that is out of range.
  """
  chosen = {
    field.name: getattr(args, field.name)
    for field in dataclasses.fields(settings.Settings)
    if getattr(args, field.name, None) is not None
  }
  if args.welfare is not None:
    chosen['alpha'] = settings.WELFARES[args.welfare]
  try:
    return settings.Settings(**chosen)
  except InputError as error:
    raise InputError(error.message, field=(f'--{error.field[0]}',)) from None
