"""The database: its versions, its protocol, and what it does when it cannot."""

import json
import pathlib
import sqlite3
import threading

import pytest
import sqlalchemy as sa
import study_people as people
from alembic import autogenerate, migration

from consensus_jax.strict_json import InputError
from consensus_jax.study import database, tables

STUDY = people.protocol_of()


def count_joins(engine):
  with database.reading(engine) as connection:
    query = sa.select(sa.func.count()).select_from(tables.participants)
    return connection.execute(query).scalar_one()


def test_migrations_make_the_tables_that_are_declared(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  with engine.connect() as connection:
    context = migration.MigrationContext.configure(connection)
    assert autogenerate.compare_metadata(context, tables.metadata) == []


def test_a_study_goes_on_where_it_was(tmp_path):
  people.join(people.opened(tmp_path, STUDY), STUDY)
  again = people.opened(tmp_path, STUDY)
  assert count_joins(again) == 1
  assert database.stored_protocol(again) == STUDY


def test_the_protocol_need_not_be_given_again(tmp_path):
  people.opened(tmp_path, STUDY)
  url = f'sqlite:///{tmp_path / "study.db"}'
  assert database.stored_protocol(database.open_database(url)) == STUDY


def test_another_protocol_is_refused(tmp_path):
  people.opened(tmp_path, STUDY)
  with pytest.raises(InputError, match='another protocol'):
    people.opened(tmp_path, people.protocol_of(title='Another'))


def test_a_database_without_a_study_is_refused(tmp_path):
  with pytest.raises(InputError, match='holds no study'):
    database.open_database(f'sqlite:///{tmp_path / "empty.db"}')


def test_a_newer_database_is_refused(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  with database.writing(engine) as connection:
    connection.exec_driver_sql(
      "UPDATE alembic_version SET version_num = '9999'"
    )
  with pytest.raises(InputError, match='newer version'):
    people.opened(tmp_path, STUDY)


@pytest.mark.parametrize(
  'url', ['sqlite://', 'mysql://localhost/x', 'study.db', 'sqlite:///:memory:']
)
def test_no_good_urls_are_refused(url):
  with pytest.raises(InputError, match='database'):
    database.open_database(url, STUDY)


def test_what_fails_leaves_nothing_behind(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  with pytest.raises(ZeroDivisionError), database.writing(engine) as connection:
    connection.execute(
      tables.admins.insert().values(id=1, password_hash='none')
    )
    raise ZeroDivisionError
  with database.reading(engine) as connection:
    assert connection.execute(sa.select(tables.admins)).all() == []


def test_a_full_database_says_so_and_keeps_what_it_has(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  people.join(engine, STUDY)
  with engine.connect() as connection:
    pages = connection.exec_driver_sql('PRAGMA page_count').scalar()
  engine.dispose()

  @sa.event.listens_for(engine, 'connect')
  def limit(connection, _):
    connection.execute(f'PRAGMA max_page_count = {pages}')

  with (
    pytest.raises(database.StorageError, match='full') as caught,
    database.writing(engine) as connection,
  ):
    for index in range(2, 400):
      connection.execute(
        tables.admins.insert().values(id=index, password_hash='x' * 1000)
      )
  assert caught.value.status == 507
  assert count_joins(engine) == 1


def test_a_database_that_is_no_database_says_so(tmp_path):
  (tmp_path / 'study.db').write_bytes(b'not a database' * 100)
  with pytest.raises((database.StorageError, InputError)):
    people.opened(tmp_path, STUDY)


def test_readers_see_one_state_and_change_nothing(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  with database.reading(engine) as connection:
    query = sa.select(sa.func.count()).select_from(tables.participants)
    assert connection.execute(query).scalar_one() == 0
    people.join(engine, STUDY)
    assert connection.execute(query).scalar_one() == 0
  assert count_joins(engine) == 1


def test_writers_take_turns(tmp_path):
  engine = people.opened(tmp_path, STUDY)
  with database.writing(engine) as connection:
    connection.execute(tables.admins.insert().values(id=1, password_hash='0'))

  def add():
    for _ in range(20):
      with database.writing(engine) as connection:
        value = connection.execute(
          sa.select(tables.admins.c.password_hash)
        ).scalar_one()
        connection.execute(
          tables.admins.update().values(password_hash=str(int(value) + 1))
        )

  threads = [threading.Thread(target=add) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  with database.reading(engine) as connection:
    query = sa.select(tables.admins.c.password_hash)
    assert connection.execute(query).scalar_one() == '80'


def test_an_acknowledged_write_is_synchronised(tmp_path):
  engine = database.open_database(f'sqlite:///{tmp_path / "a.db"}', STUDY)
  with engine.connect() as connection:
    pragma = connection.exec_driver_sql
    assert pragma('PRAGMA journal_mode').scalar() == 'wal'
    assert pragma('PRAGMA synchronous').scalar() == 2
    assert pragma('PRAGMA foreign_keys').scalar() == 1


def test_no_address_is_kept(tmp_path):
  people.opened(tmp_path, STUDY)
  with sqlite3.connect(pathlib.Path(tmp_path) / 'study.db') as connection:
    schema = json.dumps(
      connection.execute('SELECT sql FROM sqlite_master').fetchall()
    )
  assert ' ip' not in schema.lower()
  assert 'address' not in schema.lower()
