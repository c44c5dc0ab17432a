"""The same study on PostgreSQL, where its programs are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time

import pytest
import sqlalchemy as sa
import study_people as people
from alembic import autogenerate, migration

from consensus_jax.study import candidates, database, tables

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    shutil.which('initdb') is None or shutil.which('postgres') is None,
    reason='needs PostgreSQL (initdb and postgres on the path)',
  ),
]


@pytest.fixture(scope='module')
def server():
  """The folder of the socket of a server of our own, without a network."""
  # It refuses to run as root; then nobody runs it.
  user = 'nobody' if os.geteuid() == 0 else None
  name = user or pwd.getpwuid(os.geteuid()).pw_name
  # A socket's path must be short.
  folder = tempfile.mkdtemp(prefix='pg_', dir='/tmp')
  if user:
    shutil.chown(folder, user)
  data = f'{folder}/data'
  subprocess.run(
    ['initdb', '--auth=trust', '--no-sync', '-E', 'UTF8', '-D', data],
    check=True,
    user=user,
    stdout=subprocess.DEVNULL,
  )
  process = subprocess.Popen(
    ['postgres', '-D', data, '-k', folder, '-c', 'listen_addresses='],
    user=user,
    stderr=subprocess.DEVNULL,
  )
  try:
    yield f'{name}@', f'{folder}/.s.PGSQL.5432'
  finally:
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def url(server):
  """Of an empty database."""
  user, socket = server

  def of(name):
    return f'postgresql+pg8000://{user}/{name}?unix_sock={socket}'

  name = f'study_{time.monotonic_ns()}'
  engine = sa.create_engine(of('postgres'), isolation_level='AUTOCOMMIT')
  for _ in range(100):
    try:
      with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE {name}')
      break
    except sa.exc.DBAPIError:  # It is still starting.
      time.sleep(0.2)
  engine.dispose()
  return of(name)


def test_a_whole_study(url):
  study = people.protocol_of(critique_round=True, position=True)
  engine = database.open_database(url, study)
  database.open_database(url, study).dispose()
  assert database.stored_protocol(engine) == study

  def make(engine, study, now):
    with database.writing(engine) as connection:
      job = candidates.claim(
        connection, study, 'w', now=now, lease_seconds=60.0
      )
      if job:
        made = people.statements_of(job.request)
        candidates.finish(connection, study, job, made, now=now)

  names = [people.join(engine, study) for _ in range(3)]
  people.go_to(engine, study, names, 'done', make=make)
  with engine.connect() as connection:
    context = migration.MigrationContext.configure(connection)
    assert autogenerate.compare_metadata(context, tables.metadata) == []
  engine.dispose()


def test_answers_sent_twice_at_once_are_stored_once(url):
  study = people.protocol_of()
  engine = database.open_database(url, study)
  name = people.join(engine, study)
  found = []

  def send():
    answer = {'consent': True}
    found.append(people.submit(engine, study, name, 'consent', answer))

  threads = [threading.Thread(target=send) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(found) == ['same'] * 5 + ['stored']
  engine.dispose()


def test_readers_change_nothing(url):
  engine = database.open_database(url, people.protocol_of())
  with (
    pytest.raises(sa.exc.DBAPIError, match='read-only'),
    database.reading(engine) as connection,
  ):
    connection.execute(tables.admins.insert().values(id=1, password_hash='x'))
  engine.dispose()
