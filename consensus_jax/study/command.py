"""The command `consensus study`. Imports what is heavy only when needed.

`add_arguments` describes its verbs to argparse, `run` does what they say.
"""

import argparse
import getpass
import ipaddress
import pathlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus_jax import outcome_file, settings
from consensus_jax.strict_json import InputError

if TYPE_CHECKING:
  import sqlalchemy as sa

  from consensus_jax.study.protocol import Protocol

_DATABASE = 'study.db'
_URL = 'http://127.0.0.1:8000'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verbs to the parser of `consensus study`."""
  verbs = parser.add_subparsers(
    dest='study_verb', required=True, metavar='VERB'
  )
  serve = _add_verb(
    verbs,
    'serve',
    'serve a study to participants, with what makes candidates',
    _serve,
  )
  serve.add_argument(
    '--protocol',
    metavar='FILE',
    help='YAML; without it, the one that the database was made for, or for a '
    'new one what ships',
  )
  serve.add_argument(
    '--host',
    default='127.0.0.1',
    metavar='HOST',
    help='to listen on; another one than this machine needs --https',
  )
  serve.add_argument('--port', type=int, default=8000, metavar='N', help='8000')
  serve.add_argument(
    '--https',
    action='store_true',
    help='browsers come through a proxy that speaks TLS',
  )
  serve.add_argument(
    '--workers',
    type=int,
    default=1,
    metavar='N',
    help='processes that make candidates; 1 by default, 0 for none here',
  )
  _add_models(serve)

  worker = _add_verb(
    verbs, 'worker', 'make candidates for a study that is served', _worker
  )
  _add_models(worker)
  worker.add_argument(
    '--end_with_parent',
    action='store_true',
    help='end when standard input is closed',
  )

  export = _add_verb(
    verbs, 'export', 'write what was collected, as records and tables', _export
  )
  export.add_argument(
    '--out', required=True, metavar='FOLDER', help='a new folder'
  )
  export.add_argument(
    '--with_recruitment_ids',
    action='store_true',
    help='add a file that says who is who at the recruitment platform',
  )

  simulate = _add_verb(
    verbs,
    'simulate',
    'let simulated people take part in a study that is served',
    _simulate,
    database=None,
  )
  simulate.add_argument('--url', default=_URL, metavar='URL', help=_URL)
  for name, kind, default, what in (
    ('people', int, 10, 'how many, all at the same time'),
    ('think', float, 3.0, 'mean seconds on a page'),
    ('limit', float, 1800.0, 'seconds after which all stop'),
    ('seed', int, 0, 'of what they say and do'),
  ):
    simulate.add_argument(
      f'--{name}',
      type=kind,
      default=default,
      metavar='N',
      help=f'{what}; {default} by default',
    )
  simulate.add_argument(
    '--i_run_this_server',
    action='store_true',
    help='the server is yours, though not on this machine',
  )

  erase = _add_verb(
    verbs, 'erase', "erase a person's texts; counts stay", _erase
  )
  erase.add_argument(
    'participant',
    metavar='PARTICIPANT',
    help='the name in exports, the id at a recruitment platform, or the '
    'personal link',
  )

  invite = _add_verb(
    verbs, 'invite', 'make links that let one in once', _invite
  )
  invite.add_argument('count', type=int, metavar='N', help='how many')
  invite.add_argument(
    '--url', default=_URL, metavar='URL', help=f'of the study; {_URL}'
  )
  invite.add_argument(
    '--label', default='', metavar='TEXT', help='kept with them, for you'
  )

  _add_verb(verbs, 'password', "set the researcher's password", _password)


def run(args: argparse.Namespace) -> int:
  """Does what the arguments of `add_arguments` say; returns the exit code.

  Raises:
    InputError: if something is wrong with the input.
  """
  if args.database is None:  # Only `simulate` can do without.
    return args.run_study_verb(args)
  from consensus_jax.study.database import StorageError

  try:
    return args.run_study_verb(args)
  except StorageError as error:
    raise InputError(str(error), field=('--database',)) from None


def _add_verb(
  verbs: Any,
  name: str,
  summary: str,
  run_verb: Callable[[argparse.Namespace], int],
  database: str | None = _DATABASE,
) -> argparse.ArgumentParser:
  verb = verbs.add_parser(
    name,
    help=summary,
    description=f'{summary[0].upper()}{summary[1:]}.',
    allow_abbrev=False,
  )
  verb.set_defaults(run_study_verb=run_verb)
  verb.add_argument(
    '--database',
    default=database,
    metavar='URL',
    help=f'a file, or postgresql+pg8000://...; {database} by default'
    if database
    else 'of the study, to hold what is stored against what was acknowledged',
  )
  return verb


def _add_models(verb: argparse.ArgumentParser) -> None:
  for flag in ('model', 'reward_model'):
    verb.add_argument(
      f'--{flag}',
      metavar='PATH',
      help='as of `consensus deliberate`; what ships by default',
    )


# ---- Verbs.


def _serve(args: argparse.Namespace) -> int:
  from consensus_jax.study import database, passwords, serve
  from consensus_jax.study.protocol import default, load

  if not args.https and not _is_here(args.host):
    raise InputError(
      f'{args.host} is not this machine alone: put a proxy that speaks TLS in '
      'front and say --https',
      field=('--host',),
    )
  if not 0 < args.port < 65536:
    raise InputError('must be from 1 to 65535', field=('--port',))
  if args.workers < 0:
    raise InputError('must be 0 or more', field=('--workers',))
  _check_models(args)
  url = _database_url(args.database)
  chosen = load(args.protocol) if args.protocol else None
  if chosen is None and _is_new(url):
    chosen = default()
  engine = database.open_database(url, chosen)
  protocol = chosen or database.stored_protocol(engine)
  with database.reading(engine) as connection:
    token = (
      None
      if passwords.is_set(connection)
      else passwords.set_up_token(connection)
    )
  name = f'[{args.host}]' if ':' in args.host else args.host
  # With a proxy, only the proxy knows what browsers call it.
  address = 'https://...' if args.https else f'http://{name}:{args.port}'

  def ready() -> None:
    print(f'participants  {address}/', flush=True)
    print(f'researcher    {address}/admin', flush=True)
    if token is not None:
      print(
        f'set the password once: {address}/admin/set_up/{token}', flush=True
      )

  worker = [
    *(sys.executable, '-m', 'consensus_jax', 'study', 'worker'),
    *('--database', url, '--end_with_parent'),
  ]
  for flag in ('model', 'reward_model'):
    if getattr(args, flag):
      worker += [f'--{flag}', getattr(args, flag)]
  serve.serve(
    engine,
    protocol,
    host=args.host,
    port=args.port,
    https=args.https,
    worker=worker,
    num_workers=args.workers,
    ready=ready,
  )
  return 0


def _worker(args: argparse.Namespace) -> int:
  from consensus_jax.study import serve, worker

  serve.exit_on_sigterm()
  if args.end_with_parent:
    serve.end_with_parent()
  _check_models(args)
  engine, protocol = _open(args)

  def load_mediator(policy: settings.Policy) -> Any:
    from consensus_jax import mediator

    return mediator.Mediator.from_pretrained(
      args.model, reward_model=args.reward_model, policy=policy
    )

  worker.run(
    engine,
    protocol,
    worker.from_mediators(load_mediator),
    stop=threading.Event(),
  )
  return 0


def _export(args: argparse.Namespace) -> int:
  from consensus_jax.study import export

  engine, protocol = _open(args)
  content = export.files(
    engine, protocol, with_recruitment_ids=args.with_recruitment_ids
  )
  export.write(args.out, content)
  records = content['records.jsonl'].count(b'\n')
  print(f'{args.out}: {len(content)} files, {records} records')
  return 0


def _simulate(args: argparse.Namespace) -> int:
  from consensus_jax.study import database, protocol, simulate, visitors

  url = simulate.check_url(args.url, own_server=args.i_run_this_server)
  for name, least in (('people', 1), ('think', 0.001), ('limit', 1)):
    if getattr(args, name) < least:
      raise InputError(f'must be {least} or more', field=(f'--{name}',))
  engine, study = None, protocol.default()
  if args.database is not None:
    engine, study = _open(args)
  plan = visitors.Plan.of(
    study,
    people=args.people,
    seed=args.seed,
    think_seconds=args.think,
    limit_seconds=args.limit,
  )
  report = simulate.run(url, plan, tell=_note)
  for line in report.lines():
    print(line)
  wrong = report.asked_again
  if engine is not None:
    with database.reading(engine) as connection:
      stored = simulate.compare(connection, report)
    print(
      f'in the database: {len(stored.lost)} lost, '
      f'{len(stored.duplicated)} duplicated, {len(stored.unacknowledged)} '
      'stored without an acknowledgement'
    )
    wrong += len(stored.lost) + len(stored.duplicated)
  return 1 if wrong or report.done < args.people else 0


def _erase(args: argparse.Namespace) -> int:
  from consensus_jax.study import database, erase

  engine, protocol = _open(args)
  with database.reading(engine) as connection:
    participant = erase.find(connection, args.participant)
  erased = erase.erase(engine, protocol, participant, now=time.time())
  print(
    f'{erased.name}: erased {erased.texts} texts and {erased.statements} '
    'statements'
  )
  if not erased.wiped:
    _note(
      "the database's files may hold traces for a while; a server with nobody "
      'in it leaves none'
    )
  return 0


def _invite(args: argparse.Namespace) -> int:
  from consensus_jax.study import database, entry

  if not 1 <= args.count <= 100_000:
    raise InputError('must be from 1 to 100000', field=('N',))
  engine, protocol = _open(args)
  if 'invitation' not in protocol.entry:
    raise InputError(
      "the study's protocol does not let people in by invitation",
      field=('entry',),
    )
  with database.writing(engine) as connection:
    tokens = entry.invite(
      connection, [args.label] * args.count, now=time.time()
    )
  for token in tokens:
    print(f'{args.url.rstrip("/")}/join?invitation={token}')
  return 0


def _password(args: argparse.Namespace) -> int:
  from consensus_jax.study import database, passwords

  engine, _ = _open(args)
  if sys.stdin.isatty():
    password = getpass.getpass('New password: ')
    passwords.check_new(password)
    if getpass.getpass('The same again: ') != password:
      raise InputError('the two differ', field=('password',))
  else:
    password = passwords.check_new(sys.stdin.readline().rstrip('\r\n'))
  hashed = passwords.hashed(password)
  with database.writing(engine) as connection:
    passwords.store(connection, hashed)
  _note('the password is set, and all sessions are ended')
  return 0


# ---- What they share.


def _open(args: argparse.Namespace) -> tuple['sa.Engine', 'Protocol']:
  from consensus_jax.study import database

  url = _database_url(args.database)
  if _is_new(url):
    raise InputError(f'there is no {args.database}', field=('--database',))
  engine = database.open_database(url)
  return engine, database.stored_protocol(engine)


def _database_url(text: str) -> str:
  """A URL as it is; the name of a file as a URL of SQLite."""
  if '://' in text:
    return text
  path = pathlib.Path(text)
  outcome_file.check_target(str(path), '--database', others=())
  return f'sqlite:///{path}'


def _is_new(url: str) -> bool:
  """Whether this names a file that does not exist yet."""
  if not url.startswith('sqlite:///'):
    return False
  return not pathlib.Path(url.removeprefix('sqlite:///')).exists()


def _is_here(host: str) -> bool:
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == 'localhost'


def _check_models(args: argparse.Namespace) -> None:
  for flag in ('model', 'reward_model'):
    path = getattr(args, flag)
    if path is None or path == settings.PROMPTED_RATER:
      continue
    if not pathlib.Path(path).exists():
      raise InputError(f'there is no {path}', field=(f'--{flag}',))


def _note(text: str) -> None:
  print(InputError(text), file=sys.stderr)
