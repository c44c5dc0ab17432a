"""The verbs of `consensus data`. Imports what is heavy only when it is needed.

`add_arguments` describes them to argparse, `run` does what they say.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

from consensus_jax import outcome_file
from consensus_jax.data import example_settings
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.strict_json import InputError

_CACHE = 'examples'
_FRACTIONS = ('train=0.8', 'validation=0.1', 'iid_test=0.1')
# Settings of an example, by how they are given.
_WORDS = {
  'judgement': 'what the reward model learns from',
  'split': 'records of this split; train takes those of none, too',
  'prompt': 'of the policy: the paper’s template, or the model’s own',
  'ties': 'of equal judgements: drop, or keep as half a win',
  'long_examples': 'cut the longest opinions, or leave the example out',
}
_NUMBERS = {
  'row_length': 'tokens of a row',
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verbs to the parser of `consensus data`."""
  verbs = parser.add_subparsers(dest='data_verb', required=True, metavar='VERB')
  polis = _add(verbs, 'polis', 'read Polis conversations', _polis)
  polis.add_argument(
    'folder',
    nargs='+',
    metavar='FOLDER',
    help='an export, with comments.csv and participants-votes.csv',
  )
  polis.add_argument(
    '--verbalised_votes',
    type=int,
    metavar='N',
    help='votes put into words for people who wrote nothing',
  )
  polis.add_argument(
    '--include_unmoderated',
    action='store_true',
    help='also take comments that nobody accepted or rejected',
  )
  _add_seed(polis)
  _add_out(polis)

  habermas = _add(verbs, 'habermas', 'read the Habermas Machine', _habermas)
  habermas.add_argument(
    'folder',
    nargs='?',
    default='habermas_machine',
    metavar='FOLDER',
    help='of the four parquet files; habermas_machine by default',
  )
  habermas.add_argument(
    '--download', action='store_true', help='fetch the files, about 450 MB'
  )
  _add_out(habermas, required=False)

  table = _add(verbs, 'import', 'read a table of your own', _import)
  table.add_argument('file', metavar='FILE', help='CSV, JSONL or parquet')
  table.add_argument(
    '--column',
    action='append',
    default=[],
    metavar='OURS=THEIRS',
    help='name of a column in FILE, such as question=Frage; repeat it',
  )
  table.add_argument('--source', default='table', help='name of the study')
  table.add_argument(
    '--best_rank', type=int, choices=(0, 1), default=1, help='1 by default'
  )
  table.add_argument('--encoding', default='utf-8', help='utf-8 by default')
  _add_out(table)

  bank = _add(verbs, 'questions', 'check and count questions', _questions)
  bank.add_argument('file', metavar='FILE', help='a bank of questions, JSON')

  split = _add(verbs, 'split', 'split records, and check for leaks', _split)
  split.add_argument('file', metavar='FILE', help='records, JSONL or parquet')
  split.add_argument(
    '--by',
    required=True,
    choices=('topic', 'question', 'participant'),
    help='what is new in each split',
  )
  split.add_argument(
    '--fraction',
    action='append',
    metavar='SPLIT=SHARE',
    help=f'repeat it; {" ".join(_FRACTIONS)} by default',
  )
  split.add_argument(
    '--shared_participants',
    action='store_true',
    help='let one person stand in several splits, by topic or question',
  )
  _add_seed(split)
  _add_out(split, metavar='FOLDER', what='folder, a file a split')

  prepare = _add(verbs, 'prepare', 'write training examples', _prepare)
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

  look = _add(verbs, 'inspect', 'show what data holds', _inspect)
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


def run(args: argparse.Namespace) -> int:
  """Does what the arguments of `add_arguments` say; returns the exit code.

  Raises:
    InputError: if something is wrong with the input.
    ModelFileError: if there is no such tokenizer.
  """
  return args.run_data_verb(args)


def _add(
  verbs: Any,
  name: str,
  summary: str,
  run_verb: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
  verb = verbs.add_parser(
    name,
    help=summary,
    description=f'{summary.capitalize()}.',
    allow_abbrev=False,
  )
  verb.set_defaults(run_data_verb=run_verb)
  return verb


def _add_out(
  verb: argparse.ArgumentParser,
  *,
  required: bool = True,
  metavar: str = 'FILE',
  what: str = 'records, .jsonl or .parquet',
) -> None:
  verb.add_argument('--out', required=required, metavar=metavar, help=what)


def _add_seed(verb: argparse.ArgumentParser) -> None:
  verb.add_argument(
    '--seed', type=int, default=0, metavar='N', help='0 by default'
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
  if args.opinions:
    chosen['opinions'] = tuple(args.opinions)
  return ExampleSettings(sources=tuple(sources), **chosen)


def _polis(args: argparse.Namespace) -> int:
  from consensus_jax.data import polis, record_files, sources

  _check_out(args.out)
  chosen: dict[str, Any] = {'seed': args.seed}
  chosen['include_unmoderated'] = args.include_unmoderated
  if args.verbalised_votes is not None:
    chosen['verbalised_votes'] = args.verbalised_votes
  try:
    settings = polis.PolisSettings(**chosen)
  except ValueError as error:
    raise InputError(str(error)) from None
  records = []
  for path in args.folder:
    for folder in sources.conversations(path):
      record, report = polis.read(folder, settings)
      records.append(record)
      _note(
        f'{folder}: {report.statements} statements, {report.writers} members '
        f'with comments, {report.voters} with votes in words, '
        f'{report.judgements} judgements'
      )
      _note_all(report.warnings, report.excluded)
  record_files.write(args.out, records)
  _note(f'{args.out}: {len(records)} records')
  return 0


def _habermas(args: argparse.Namespace) -> int:
  from consensus_jax.data import habermas, record_files

  if args.out is not None:
    _check_out(args.out)
  if args.download:
    from consensus_jax.data import habermas_download

    habermas_download.download(args.folder)
  elif args.out is None:
    raise InputError('give --out, --download, or both')
  if args.out is None:
    return 0
  records, report = habermas.read(args.folder)
  _note(
    f'{args.folder}: {report.comparisons} comparisons, {report.statements} '
    f'statements, {report.members} members, {report.judgements} judgements; '
    f'{report.stripped} statements lost a leaked heading'
  )
  _note_all(report.warnings, report.excluded)
  record_files.write(args.out, records)
  _note(f'{args.out}: {len(records)} records')
  return 0


def _import(args: argparse.Namespace) -> int:
  from consensus_jax.data import record_files, table_import

  _check_out(args.out, args.file)
  imported = table_import.read(
    args.file,
    columns=dict(_pairs(args.column, '--column')),
    source=args.source,
    best_rank=args.best_rank,
    encoding=args.encoding,
  )
  _note(
    f'{args.file}: {imported.num_rows} rows, {imported.num_judgements} '
    f'judgements; {imported.num_stripped} statements lost a leaked heading'
  )
  if imported.unused_columns:
    _note(f'not read: {", ".join(imported.unused_columns)}')
  _note_all((), imported.exclusions)
  record_files.write(args.out, imported.records)
  _note(f'{args.out}: {len(imported.records)} records')
  return 0


def _questions(args: argparse.Namespace) -> int:
  from consensus_jax.data import questions

  counts = questions.count(questions.read(args.file))
  least, mean, most = counts.words
  print(f'{counts.questions} questions on {counts.topics} topics')
  for split, number in counts.by_split.items():
    topics = counts.topics_by_split[split]
    print(f'{split or "no split"}: {number} questions on {topics} topics')
  print(f'words of a question: {least} to {most}, {mean:.1f} on average')
  return 0


def _split(args: argparse.Namespace) -> int:
  from consensus_jax.data import record_files, splits

  given = _pairs(args.fraction or _FRACTIONS, '--fraction')
  try:
    fractions = {name: float(share) for name, share in given}
    records = list(record_files.read(args.file))
    shared = args.shared_participants
    parts = splits.split(
      records,
      args.by,
      seed=args.seed,
      fractions=fractions,
      shared_participants=shared,
    )
  except InputError:
    raise
  except ValueError as error:
    raise InputError(str(error), field=('--fraction',)) from None
  splits.check_no_leak(parts, args.by, shared_participants=shared)
  folder = pathlib.Path(args.out)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f'cannot be made: {error.strerror}', file=args.out
    ) from None
  for name, part in parts.items():
    if part:
      file = folder / f'{name}{pathlib.Path(args.file).suffix}'
      record_files.write(file, _marked(part, name))
      _note(f'{file}: {len(part)} records')
    else:
      _note(f'{name}: stays empty')
  return 0


def _marked(records: Iterable[Any], split: str) -> list[Any]:
  """Records that say which split they are in, if it is one of ours."""
  if split not in get_args(example_settings.Split):
    return list(records)
  return [
    dataclasses.replace(
      record, question=dataclasses.replace(record.question, split=split)
    )
    for record in records
  ]


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


def _check_out(path: str, *others: str) -> None:
  outcome_file.check_target(path, '--out', others=others)


def _pairs(items: Sequence[str], flag: str) -> list[tuple[str, str]]:
  """What stands on either side of the '=' of each item."""
  pairs = []
  for item in items:
    name, equals, value = item.partition('=')
    if not equals:
      raise InputError(f'{item!r} has no =', field=(flag,))
    pairs.append((name, value))
  return pairs


def _note_all(warnings: Iterable[str], excluded: Iterable[Any]) -> None:
  for warning in warnings:
    _note(f'warning: {warning}')
  for each in excluded:
    _note(f'left out: {each.count} x {each.kind}: {each.reason}')


def _note(text: str) -> None:
  # One line, and nothing that a terminal would obey.
  print(InputError(text), file=sys.stderr)
