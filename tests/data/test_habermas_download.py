import base64
import contextlib
import dataclasses
import hashlib
import http.server
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from consensus_jax.data.habermas_download import download
from consensus_jax.data.habermas_schema import FILES, POSITIONS, PREFERENCES
from consensus_jax.strict_json import InputError

CONTENT = random.Random(0).randbytes(3_000_000)
FILE = dataclasses.replace(
  POSITIONS,
  sha256=hashlib.sha256(CONTENT).hexdigest(),
  md5=hashlib.md5(CONTENT).hexdigest(),
)
UNKNOWN = dataclasses.replace(PREFERENCES, sha256=None, md5=None)


@dataclasses.dataclass
class Bucket:
  """What the server does, and what it was asked."""

  url: str = ''
  content: bytes = CONTENT
  ranges: bool = True
  # How many bytes each connection sends before it ends; then all.
  cuts: list[int] = dataclasses.field(default_factory=list)
  statuses: list[int] = dataclasses.field(default_factory=list)
  hashed: bool = False
  pace: float = 0.0
  asked: list[str | None] = dataclasses.field(default_factory=list)


@pytest.fixture
def bucket(monkeypatch):
  monkeypatch.setenv('no_proxy', '127.0.0.1')
  state = Bucket()

  class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
      pass

    def do_GET(self):
      asked = self.headers['Range']
      state.asked.append(asked)
      if state.statuses:
        self.send_error(state.statuses.pop(0))
        return
      start = 0
      if asked and state.ranges:
        start = int(asked.removeprefix('bytes=').removesuffix('-'))
      size = len(state.content)
      if start >= size:
        self.send_response(416)
        self.send_header('Content-Range', f'bytes */{size}')
        body = b''
      else:
        body = state.content[start:]
        self.send_response(206 if start else 200)
        if start:
          self.send_header('Content-Range', f'bytes {start}-{size - 1}/{size}')
      if state.hashed:
        digest = base64.b64encode(hashlib.md5(state.content).digest())
        self.send_header('x-goog-hash', 'crc32c=AAAAAA==')
        self.send_header('x-goog-hash', f'md5={digest.decode()}')
      self.send_header('Content-Length', str(len(body)))
      self.end_headers()
      if state.cuts:
        body = body[: state.cuts.pop(0)]
        self.close_connection = True
      with contextlib.suppress(ConnectionError):
        for at in range(0, len(body), 100_000):
          self.wfile.write(body[at : at + 100_000])
          time.sleep(state.pace)

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  state.url = f'http://127.0.0.1:{server.server_port}'
  yield state
  server.shutdown()
  server.server_close()
  thread.join()


def fetch(folder, bucket, file=FILE, retries=2):
  return download(
    folder, url=bucket.url, files=[file], retries=retries, pause=0.001
  )


def part(folder, file=FILE):
  return folder / f'{file.name}.part'


def test_a_file_is_fetched_once(tmp_path, bucket, capsys):
  folder = tmp_path / 'new' / 'data'
  (path,) = fetch(folder, bucket)
  assert path == folder / FILE.name
  assert path.read_bytes() == CONTENT
  assert [*folder.iterdir()] == [path]
  fetch(folder, bucket)
  assert bucket.asked == [None]
  shown = capsys.readouterr()
  assert not shown.out and FILE.name[:20] in shown.err


def test_all_files_of_the_bucket_are_asked_for(tmp_path, bucket):
  files = [dataclasses.replace(f, sha256=None, md5=None) for f in FILES]
  paths = download(tmp_path, url=bucket.url, files=files)
  assert [path.name for path in paths] == [file.name for file in FILES]
  assert len(FILES) == len(bucket.asked) == 4


def test_it_goes_on_after_a_cut(tmp_path, bucket):
  bucket.cuts = [1_000_000, 500_000]
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked == [None, 'bytes=1000000-', 'bytes=1500000-']


def test_many_cuts_are_no_error_while_bytes_come(tmp_path, bucket):
  bucket.cuts = [200_000] * 12
  (path,) = fetch(tmp_path, bucket, retries=1)
  assert path.read_bytes() == CONTENT


def test_when_no_more_bytes_come_the_next_run_goes_on(tmp_path, bucket):
  bucket.cuts = [700_000, 0, 0, 0]
  with pytest.raises(InputError) as error:
    fetch(tmp_path, bucket, retries=2)
  assert '700,000 of 3,000,000' in str(error.value)
  assert 'run it again to go on' in str(error.value)
  # Nothing that somebody would take for the file.
  assert [*tmp_path.iterdir()] == [part(tmp_path)]
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked[-1] == 'bytes=700000-'


def test_a_server_without_ranges_starts_anew(tmp_path, bucket):
  bucket.ranges = False
  bucket.cuts = [1_000_000]
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked == [None, 'bytes=1000000-']


def test_a_wrong_checksum(tmp_path, bucket):
  bucket.content = CONTENT[:-1] + b'x'
  with pytest.raises(InputError, match='not the published file: its sha256'):
    fetch(tmp_path, bucket)
  assert not [*tmp_path.iterdir()]


def test_md5_is_checked_where_no_sha256_is_known(tmp_path, bucket):
  file = dataclasses.replace(FILE, sha256=None)
  fetch(tmp_path, bucket, file)
  (tmp_path / FILE.name).unlink()
  bucket.content = CONTENT[:-1] + b'x'
  with pytest.raises(InputError, match='its md5 is'):
    fetch(tmp_path, bucket, file)


@pytest.mark.parametrize('size', [1000, len(CONTENT), len(CONTENT) + 5])
def test_a_damaged_start_is_fetched_again(tmp_path, bucket, size):
  part(tmp_path).write_bytes(b'x' * size)
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked[0] == f'bytes={size}-'
  assert bucket.asked[-1] is None


def test_a_whole_part_is_taken(tmp_path, bucket):
  part(tmp_path).write_bytes(CONTENT)
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked == [f'bytes={len(CONTENT)}-']


def test_a_file_without_known_checksum(tmp_path, bucket):
  bucket.cuts = [100]
  (path,) = fetch(tmp_path, bucket, UNKNOWN)
  assert path.read_bytes() == CONTENT
  path.unlink()
  # Too long: no part of it, though no checksum says so.
  part(tmp_path, UNKNOWN).write_bytes(CONTENT + b'x')
  assert fetch(tmp_path, bucket, UNKNOWN)[0].read_bytes() == CONTENT
  # The bucket states a checksum: a start of something else is noticed.
  path.unlink()
  bucket.hashed = True
  part(tmp_path, UNKNOWN).write_bytes(b'x' * 100)
  assert fetch(tmp_path, bucket, UNKNOWN)[0].read_bytes() == CONTENT


def test_another_file_of_that_name_is_not_overwritten(tmp_path, bucket):
  (tmp_path / FILE.name).write_bytes(b'mine')
  with pytest.raises(InputError, match='not the published file'):
    fetch(tmp_path, bucket)
  assert (tmp_path / FILE.name).read_bytes() == b'mine'
  assert not bucket.asked


def test_answers_of_the_server(tmp_path, bucket):
  bucket.statuses = [503, 429]
  fetch(tmp_path, bucket)
  (tmp_path / FILE.name).unlink()
  bucket.statuses = [404]
  with pytest.raises(InputError, match='the server answers 404 Not Found'):
    fetch(tmp_path, bucket)
  bucket.statuses = [500] * 9
  with pytest.raises(InputError, match='the server answers 500'):
    fetch(tmp_path, bucket)


def test_without_internet(tmp_path, bucket):
  bucket.url = 'http://127.0.0.1:9'  # Nobody listens.
  with pytest.raises(InputError) as error:
    fetch(tmp_path, bucket, retries=1)
  text = str(error.value)
  assert 'cannot be reached' in text and f'/{FILE.name}' in text
  assert f'fetch it elsewhere and put it into {tmp_path}' in text


def test_a_folder_that_cannot_be(tmp_path, bucket):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be written'):
    fetch(tmp_path / 'file', bucket)


def test_one_download_at_a_time(tmp_path, bucket):
  bucket.pace = 0.05
  first = threading.Thread(target=fetch, args=(tmp_path, bucket))
  first.start()
  while not bucket.asked:
    time.sleep(0.01)
  with pytest.raises(InputError, match='another download writes this file'):
    fetch(tmp_path, bucket)
  first.join()
  assert (tmp_path / FILE.name).read_bytes() == CONTENT


PROGRAM = """
import dataclasses, sys
from consensus_jax.data.habermas_download import download
from consensus_jax.data.habermas_schema import POSITIONS
folder, url, sha256 = sys.argv[1:]
file = dataclasses.replace(POSITIONS, sha256=sha256, md5=None)
download(folder, url=url, files=[file])
"""


def test_a_killed_download_leaves_a_part(tmp_path, bucket):
  bucket.pace = 0.1
  process = subprocess.Popen(
    [sys.executable, '-c', PROGRAM, str(tmp_path), bucket.url, FILE.sha256],
    cwd=pathlib.Path(__file__).parents[2],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 60
  while time.monotonic() < deadline:
    if part(tmp_path).exists() and part(tmp_path).stat().st_size:
      break
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert [*tmp_path.iterdir()] == [part(tmp_path)]
  kept = part(tmp_path).stat().st_size
  assert 0 < kept < len(CONTENT)
  bucket.pace = 0.0
  (path,) = fetch(tmp_path, bucket)
  assert path.read_bytes() == CONTENT
  assert bucket.asked[-1] == f'bytes={kept}-'
