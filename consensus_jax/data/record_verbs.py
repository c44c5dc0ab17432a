"""The verbs of `consensus data` that make, check and split records."""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from consensus_jax.data import example_settings
from consensus_jax.data.arguments import (
  add_out,
  add_seed,
  add_verb,
  check_out,
  note,
  note_all,
  pairs,
)
from consensus_jax.strict_json import InputError

_FRACTIONS = ('train=0.8', 'validation=0.1', 'iid_test=0.1')


def add_verbs(verbs: Any) -> None:
  """Adds them to the verbs of `consensus data`."""
  polis = add_verb(verbs, 'polis', 'read Polis conversations', _polis)
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
  add_seed(polis)
  add_out(polis)

  habermas = add_verb(verbs, 'habermas', 'read the Habermas Machine', _habermas)
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
  add_out(habermas, required=False)

  table = add_verb(verbs, 'import', 'read a table of your own', _import)
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
  add_out(table)

  convert = add_verb(verbs, 'convert', 'check and convert records', _convert)
  convert.add_argument('file', metavar='IN', help='records, .jsonl or .parquet')
  convert.add_argument('out', metavar='OUT', help='likewise')
  convert.add_argument(
    '--exclude',
    action='store_true',
    help='leave bad records out and list them, instead of refusing the file',
  )

  bank = add_verb(verbs, 'questions', 'check and count questions', _questions)
  bank.add_argument('file', metavar='FILE', help='a bank of questions, JSON')

  split = add_verb(verbs, 'split', 'split records, and check for leaks', _split)
  split.add_argument('file', metavar='FILE', help='records, JSONL or parquet')
  how = split.add_mutually_exclusive_group(required=True)
  how.add_argument(
    '--by',
    choices=('topic', 'question', 'participant'),
    help='what is new in each split',
  )
  how.add_argument(
    '--as_given',
    action='store_true',
    help='the splits that the questions bring',
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
  add_seed(split)
  add_out(split, metavar='FOLDER', what='folder, a file a split')


def _polis(args: argparse.Namespace) -> int:
  from consensus_jax.data import polis, record_files, sources

  check_out(args.out)
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
      note(
        f'{folder}: {report.statements} statements, {report.writers} members '
        f'with comments, {report.voters} with votes in words, '
        f'{report.judgements} judgements'
      )
      note_all(report.warnings, report.excluded)
  record_files.write(args.out, records)
  note(f'{args.out}: {_records(len(records))}')
  return 0


def _habermas(args: argparse.Namespace) -> int:
  from consensus_jax.data import habermas, record_files

  if args.out is not None:
    check_out(args.out)
  if args.download:
    from consensus_jax.data import habermas_download

    habermas_download.download(args.folder)
  elif args.out is None:
    raise InputError('give --out, --download, or both')
  if args.out is None:
    return 0
  records, report = habermas.read(args.folder)
  note(
    f'{args.folder}: {report.comparisons} comparisons, {report.statements} '
    f'statements, {report.members} members, {report.judgements} judgements; '
    f'{report.stripped} statements lost a leaked heading'
  )
  note_all(report.warnings, report.excluded)
  record_files.write(args.out, records)
  note(f'{args.out}: {_records(len(records))}')
  return 0


def _import(args: argparse.Namespace) -> int:
  from consensus_jax.data import record_files, table_import

  check_out(args.out, args.file)
  imported = table_import.read(
    args.file,
    columns=dict(pairs(args.column, '--column')),
    source=args.source,
    best_rank=args.best_rank,
    encoding=args.encoding,
  )
  note(
    f'{args.file}: {imported.num_rows} rows, {imported.num_judgements} '
    f'judgements; {imported.num_stripped} statements lost a leaked heading'
  )
  if imported.unused_columns:
    note(f'not read: {", ".join(imported.unused_columns)}')
  note_all((), imported.exclusions)
  record_files.write(args.out, imported.records)
  note(f'{args.out}: {_records(len(imported.records))}')
  return 0


def _convert(args: argparse.Namespace) -> int:
  from consensus_jax.data import record_files

  check_out(args.out, args.file, name='OUT')
  excluded: list[InputError] | None = [] if args.exclude else None
  try:
    records = record_files.read(args.file, excluded=excluded)
    count = record_files.write(args.out, records)
  finally:
    for error in excluded or ():
      note(f'left out: {error}')
  left_out = f', {len(excluded)} left out' if excluded else ''
  note(f'{args.out}: {_records(count)}{left_out}')
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
  from consensus_jax.data import record_files

  parts = _dealt(list(record_files.read(args.file)), args)
  folder = record_files.make_folder(args.out)
  for name, part in parts.items():
    if part:
      file = folder / f'{name}{pathlib.Path(args.file).suffix}'
      record_files.write(file, _marked(part, name))
      note(f'{file}: {_records(len(part))}')
    else:
      note(f'{name}: stays empty')
  return 0


def _records(count: int) -> str:
  return '1 record' if count == 1 else f'{count} records'


def _dealt(
  records: Sequence[Any], args: argparse.Namespace
) -> dict[str, tuple[Any, ...]]:
  """Records by split: as their questions say, or dealt out."""
  from consensus_jax.data import splits

  shared = args.shared_participants
  if args.as_given:
    if args.fraction:
      raise InputError('goes with --by', field=('--fraction',))
    parts = splits.split_as_given(records)
    splits.check_given(parts, shared_participants=shared)
    return parts
  given = pairs(args.fraction or _FRACTIONS, '--fraction')
  try:
    parts = splits.split(
      records,
      args.by,
      seed=args.seed,
      fractions={name: float(share) for name, share in given},
      shared_participants=shared,
    )
  except InputError:
    raise
  except ValueError as error:
    raise InputError(str(error), field=('--fraction',)) from None
  splits.check_no_leak(parts, args.by, shared_participants=shared)
  return parts


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
