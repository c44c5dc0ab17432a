import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import study_finished
import study_people as people

from consensus_jax import cli
from consensus_jax.study import collected, database, passwords, serve, tables

PROTOCOL = """\
entry: [open, invitation]
questions_per_group: 1
questions:
  - {id: a, text: "A?", affirming: A., negating: B.}
"""


def run(*args):
  return cli.main(['study', *map(str, args)])


@pytest.fixture
def file(tmp_path):
  study, engine, names = study_finished.finished(tmp_path)
  del study, names
  engine.dispose()
  return tmp_path / 'study.db'


def test_help_needs_nothing_heavy():
  code = (
    'import sys\n'
    'from consensus_jax import cli_arguments\n'
    'for verb in ("serve", "simulate"):\n'
    '  try:\n'
    '    cli_arguments.parse(["study", verb, "--help"])\n'
    '  except SystemExit:\n'
    '    pass\n'
    'print({"jax", "starlette", "sqlalchemy", "httpx2", "numpy"} '
    '& {*sys.modules})\n'
  )
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert result.stdout.splitlines()[-1] == 'set()'


def test_an_export_is_written_once(file, tmp_path, capsys):
  out = tmp_path / 'out'
  assert run('export', '--database', file, '--out', out) == 0
  assert capsys.readouterr().out.endswith('2 records\n')
  lines = (out / 'records.jsonl').read_text().splitlines()
  assert [json.loads(line)['source'] for line in lines] == ['study'] * 2
  assert not (out / 'recruitment.csv').exists()
  assert run('export', '--database', file, '--out', out) == 2
  assert 'is there already' in capsys.readouterr().err


def test_a_person_is_erased(file, tmp_path, capsys):
  engine = database.open_database(f'sqlite:///{file}')
  with database.reading(engine) as connection:
    study = collected.read(connection, database.stored_protocol(engine))
  name = next(iter(study.names.values()))
  engine.dispose()
  assert run('erase', name, '--database', file) == 0
  assert capsys.readouterr().out == f'{name}: erased 3 texts and 2 statements\n'
  assert run('erase', 'nobody', '--database', file) == 2
  assert capsys.readouterr().err == 'error: PARTICIPANT: is nobody here\n'


@pytest.mark.parametrize('verb', ['export --out x', 'erase x', 'invite 1'])
def test_a_database_that_is_not_there_is_not_made(verb, tmp_path, capsys):
  missing = tmp_path / 'none.db'
  assert run(*verb.split(), '--database', missing) == 2
  assert capsys.readouterr().err.startswith('error: --database: there is no ')
  assert not missing.exists()


def test_invitations_let_in(tmp_path, capsys):
  study = people.protocol_of(entry=['invitation'])
  engine = people.opened(tmp_path, study)
  arguments = ('--database', tmp_path / 'study.db', '--url', 'https://a.b/')
  assert run('invite', 2, *arguments, '--label', 'autumn') == 0
  links = capsys.readouterr().out.split()
  assert len({*links}) == 2
  for link in links:
    start, _, token = link.partition('=')
    assert start == 'https://a.b/join?invitation'
    assert people.join(engine, study, invitation=token)
  assert run('invite', 0, *arguments) == 2


def test_invitations_that_open_nothing_are_not_made(tmp_path, capsys):
  people.opened(tmp_path, people.protocol_of())
  assert run('invite', 1, '--database', tmp_path / 'study.db') == 2
  assert 'by invitation' in capsys.readouterr().err


def test_a_password_is_set(tmp_path, monkeypatch, capsys):
  engine = people.opened(tmp_path, people.protocol_of())
  arguments = ('password', '--database', tmp_path / 'study.db')
  monkeypatch.setattr(sys, 'stdin', io.StringIO('too short\n'))
  assert run(*arguments) == 2
  monkeypatch.setattr(sys, 'stdin', io.StringIO('long enough now\n'))
  assert run(*arguments) == 0
  assert 'long enough' not in ''.join(capsys.readouterr())
  with database.reading(engine) as connection:
    assert passwords.verify(connection, 'long enough now')
    assert not passwords.verify(connection, 'long enough now ')
    assert not passwords.may_set_up(
      connection, passwords.set_up_token(connection)
    )


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--host', '0.0.0.0'], '--host: 0.0.0.0 is not this machine alone'),
    (['--host', 'example.org'], '--host: example.org is not this machine'),
    (['--port', '0'], '--port: must be from 1 to 65535'),
    (['--model', '/absent'], '--model: there is no /absent'),
    (['--protocol', '/absent'], 'cannot be read'),
    (['--database', 'mysql://x/y'], 'must be sqlite or postgresql'),
  ],
)
def test_bad_arguments_are_told_before_anything_is_made(
  arguments, message, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert run('serve', *arguments) == 2
  assert message in capsys.readouterr().err
  assert [*tmp_path.iterdir()] == []


def test_other_machines_are_not_simulated_on(capsys):
  assert run('simulate', '--url', 'http://example.org') == 2
  assert '--i_run_this_server' in capsys.readouterr().err


def test_a_worker_that_died_is_started_again(tmp_path):
  log = tmp_path / 'log'
  code = (
    'import os, pathlib, sys, time\n'
    f'with open({str(log)!r}, "a") as file: print(os.getpid(), file=file)\n'
    'time.sleep(60)\n'
  )
  with serve.workers([sys.executable, '-c', code], 1):
    (first,) = wait_for(lambda: pids(log), 1)
    os.kill(first, signal.SIGKILL)
    first, second = wait_for(lambda: pids(log), 2)
  for pid in (first, second):
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def test_a_worker_ends_with_who_started_it(tmp_path):
  people.opened(tmp_path, people.protocol_of()).dispose()
  arguments = ('worker', '--database', str(tmp_path / 'study.db'))
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'consensus_jax', 'study', *arguments),
      '--end_with_parent',
    ],
    stdin=subprocess.PIPE,
  )
  try:
    time.sleep(0.5)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
  finally:
    process.kill()


@pytest.mark.slow
def test_a_study_is_served(tmp_path):
  (tmp_path / 'p.yaml').write_text(PROTOCOL)
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    port = found.getsockname()[1]
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'consensus_jax', 'study', 'serve'),
      *('--protocol', 'p.yaml', '--port', str(port), '--workers', '0'),
    ],
    cwd=tmp_path,
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {'PYTHONPATH': os.getcwd()},  # noqa: PTH109
  )
  try:
    lines = [process.stdout.readline() for _ in range(3)]
    assert f'http://127.0.0.1:{port}/\n' in lines[0]
    assert '/admin/set_up/' in lines[2]
    import httpx2

    def answer():
      try:
        return [httpx2.get(f'http://127.0.0.1:{port}/')]
      except httpx2.TransportError:
        return []

    (response,) = wait_for(answer, 1)
    assert response.status_code == 200
    assert 'server' not in response.headers
  finally:
    process.terminate()
    process.wait(30)
  engine = database.open_database(f'sqlite:///{tmp_path / "study.db"}')
  with database.reading(engine) as connection:
    stored = connection.execute(tables.studies.select()).one()
  assert stored.protocol['questions'][0]['id'] == 'a'


def pids(log):
  if not log.exists():
    return []
  return [int(line) for line in log.read_text().split()]


def wait_for(what, count, seconds=60.0):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    found = what()
    if len(found) >= count:
      return found
    time.sleep(0.05)
  raise AssertionError(f'{what()} after {seconds} s')
