"""The database of a study: SQLite by default, PostgreSQL by URL.

An answer is acknowledged only after its transaction is on disk. Writers take
turns, so that what one reads stays true until it has written.
"""

import contextlib
import json
import pathlib
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from consensus_jax.strict_json import InputError
from consensus_jax.study import tables
from consensus_jax.study.protocol import Protocol

__all__ = [
  'StorageError',
  'open_database',
  'reading',
  'secret',
  'stored_protocol',
  'writing',
]

_MIGRATIONS = pathlib.Path(__file__).parent / 'migrations'
_BUSY_SECONDS = 20
# Errors of a database that works.
_OUR_FAULTS = (
  sa.exc.DataError,
  sa.exc.IntegrityError,
  sa.exc.NotSupportedError,
  sa.exc.ProgrammingError,
)
# Any number, the same for all processes of a study.
_POSTGRESQL_LOCK = 7_302_023_281
# Within a process, a lock is fairer than SQLite's way to sleep and ask again.
_turns: weakref.WeakKeyDictionary[sa.Engine, threading.Lock] = (
  weakref.WeakKeyDictionary()
)


class StorageError(Exception):
  """The database cannot be read or written; what it holds is unharmed.

  Attributes:
    status: of HTTP: 507 if there is no room, 503 otherwise.
  """

  def __init__(self, reason: str):
    super().__init__(reason)
    self.status = 507 if 'full' in reason or 'No space' in reason else 503


def open_database(url: str, protocol: Protocol | None = None) -> sa.Engine:
  """Opens the database, makes it if there is none, and upgrades it.

  Args:
    url: of SQLAlchemy, 'sqlite:///study.db' or 'postgresql+pg8000://...'.
    protocol: of the study. A new database keeps it; an old one must hold the
      same. None opens only a database that holds one (`stored_protocol`).

  Raises:
    InputError: if the URL is no good, the database is of another protocol or
      of a newer version of this package, or holds no study.
    StorageError: if it cannot be written.
  """
  engine = _engine(url)
  try:
    with writing(engine) as connection:
      _upgrade(connection)
      kept = connection.execute(
        sa.select(tables.studies.c.protocol_sha256)
      ).scalar()
      if protocol is None and kept is None:
        raise InputError('holds no study', field=('--database',))
      if protocol is not None and kept is None:
        connection.execute(
          tables.studies.insert().values(
            id=1,
            protocol=protocol.to_json(),
            protocol_sha256=protocol.sha256,
            secret=secrets.token_urlsafe(32),
            created_at=time.time(),
          )
        )
      elif protocol is not None and kept != protocol.sha256:
        raise InputError(
          'was made for another protocol; give that one, or another database',
          field=('--database',),
        )
  except BaseException:
    engine.dispose()
    raise
  return engine


def stored_protocol(engine: sa.Engine) -> Protocol:
  """The protocol that the database was made for."""
  with reading(engine) as connection:
    record = connection.execute(sa.select(tables.studies.c.protocol)).scalar()
  return Protocol.from_json(record)


def secret(connection: sa.Connection) -> str:
  """A secret of this study, for what forms must carry."""
  return connection.execute(sa.select(tables.studies.c.secret)).scalar_one()


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
  """A transaction that sees one state of the database and changes nothing.

  Raises:
    StorageError: if the database cannot be read.
  """
  with _storage_errors(), engine.connect() as connection, connection.begin():
    yield connection


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
  """A transaction that is on disk when the block ends; none writes beside it.

  Raises:
    StorageError: if the database cannot be written; nothing has changed.
  """
  with _storage_errors(), _turns[engine], engine.connect() as connection:
    connection = connection.execution_options(writes=True)
    with connection.begin():
      yield connection


def _engine(url: str) -> sa.Engine:
  try:
    parsed = sa.make_url(url)
  except sa.exc.ArgumentError as error:
    raise InputError(str(error), field=('--database',)) from None
  options: dict[str, Any] = {}
  if parsed.get_backend_name() == 'sqlite':
    if not parsed.database or parsed.database == ':memory:':
      raise InputError(
        'must be a file: several processes share it', field=('--database',)
      )
    options['connect_args'] = {'timeout': _BUSY_SECONDS}
  elif parsed.get_backend_name() != 'postgresql':
    raise InputError(
      f'must be sqlite or postgresql, got {parsed.get_backend_name()}',
      field=('--database',),
    )
  engine = sa.create_engine(
    parsed,
    pool_size=8,
    max_overflow=40,
    json_serializer=_dump,
    **options,
  )
  _turns[engine] = threading.Lock()
  if engine.dialect.name == 'sqlite':
    sa.event.listen(engine, 'connect', _set_up_sqlite)
    sa.event.listen(engine, 'begin', _begin_sqlite)
  else:
    sa.event.listen(engine, 'begin', _begin_postgresql)
  return engine


def _dump(value: object) -> str:
  return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _set_up_sqlite(connection, _):
  # Transactions begin where we say so, not where the driver guesses.
  connection.isolation_level = None
  cursor = connection.cursor()
  for pragma in (
    'journal_mode = WAL',
    # An acknowledged answer survives a loss of power too.
    'synchronous = FULL',
    'foreign_keys = ON',
    f'busy_timeout = {_BUSY_SECONDS * 1000}',
  ):
    cursor.execute(f'PRAGMA {pragma}')
  cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
  writes = connection.get_execution_options().get('writes')
  connection.exec_driver_sql('BEGIN IMMEDIATE' if writes else 'BEGIN')


def _begin_postgresql(connection: sa.Connection) -> None:
  if connection.get_execution_options().get('writes'):
    connection.exec_driver_sql(
      f'SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})'
    )
  else:
    connection.exec_driver_sql(
      'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY'
    )


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
  try:
    yield
  except (sa.exc.DatabaseError, sa.exc.InterfaceError) as error:
    if isinstance(error, _OUR_FAULTS):
      raise
    reason = ' '.join(str(error.orig).split())
    raise StorageError(reason) from error
  except sa.exc.TimeoutError as error:
    raise StorageError('too many requests wait for the database') from error


def _upgrade(connection: sa.Connection) -> None:
  from alembic import command, config, util

  settings = config.Config()
  settings.set_main_option('script_location', str(_MIGRATIONS))
  settings.attributes['connection'] = connection
  try:
    command.upgrade(settings, 'head')
  except util.CommandError as error:
    raise InputError(
      f'was made by a newer version of consensus_jax ({error})',
      field=('--database',),
    ) from None
