"""Fetches the Habermas Machine's files from their public bucket.

What is fetched goes to NAME.part and becomes NAME only when it is whole and
its checksum is right, so a download that was cut is never taken for the file;
the next one goes on where it ended.
"""

import base64
import fcntl
import hashlib
import http.client
import os
import pathlib
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import IO

import rich.console
import rich.progress

from consensus_jax.data.habermas_schema import FILES, URL, File
from consensus_jax.strict_json import InputError

_BLOCK = 1 << 20
_TIMEOUT = 60  # Seconds without a byte.


class _Cut(Exception):
  """The connection ended too early; trying again may help."""


def download(
  folder: str | pathlib.Path,
  *,
  url: str = URL,
  files: Sequence[File] = FILES,
  retries: int = 5,
  pause: float = 1.0,
) -> tuple[pathlib.Path, ...]:
  """Fetches the files that are not there yet, about 450 MB.

  Shows a bar on standard error.

  Args:
    folder: made if it is not there.
    url: of the folder that holds the files.
    files: which of them.
    retries: how often to go on after a connection was cut, in all, without
      one more byte in between.
    pause: seconds before the first of them; each waits twice as long.

  Returns:
    Where the files are.

  Raises:
    InputError: if they cannot be reached or written, or are not the published
      ones; says what to do.
  """
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise _unwritable(folder, error) from None
  bar = rich.progress.Progress(
    rich.progress.TextColumn('{task.description}'),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.DownloadColumn(),
    rich.progress.TransferSpeedColumn(),
    rich.progress.TimeRemainingColumn(),
    console=rich.console.Console(file=sys.stderr),
  )
  with bar:
    for file in files:
      _fetch(folder / file.name, file, url, retries, pause, bar)
  return tuple(folder / file.name for file in files)


def _fetch(
  target: pathlib.Path,
  file: File,
  url: str,
  retries: int,
  pause: float,
  bar: rich.progress.Progress,
) -> None:
  if target.exists():
    _check(target, file, None)
    size = target.stat().st_size
    bar.add_task(file.name, total=size, completed=size)
    return
  part = target.with_name(f'{target.name}.part')
  task = bar.add_task(file.name, total=None)
  source = f'{url}/{file.name}'
  try:
    with part.open('ab') as out:
      _lock(out)
      resumed = out.tell() > 0
      md5 = _complete(out, source, retries, pause, bar, task)
      try:
        _check(part, file, md5)
      except InputError:
        # The start may be of another file, or damaged; once from anew.
        out.truncate(0)
        if not resumed:
          part.unlink()
          raise
        md5 = _complete(out, source, retries, pause, bar, task)
        _check(part, file, md5)
      os.fsync(out.fileno())
      os.replace(part, target)
  except OSError as error:
    raise _unwritable(part, error) from None


def _lock(out: IO[bytes]) -> None:
  try:
    fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    raise InputError(
      'another download writes this file', file=str(out.name)
    ) from None


def _complete(
  out: IO[bytes],
  url: str,
  retries: int,
  pause: float,
  bar: rich.progress.Progress,
  task: rich.progress.TaskID,
) -> str | None:
  # Fills the file, over as many connections as it takes; its MD5, if stated.
  failures, size = 0, out.tell()
  while True:
    try:
      return _continue(out, url, bar, task)
    except _Cut as cut:
      failures = 0 if out.tell() > size else failures + 1
      size = out.tell()
      if failures > retries:
        raise InputError(
          f'{cut}; {size:,} bytes are kept, run it again to go on. Without '
          f'internet here, fetch it elsewhere and put it into '
          f'{pathlib.Path(out.name).parent}',
          file=url,
        ) from None
      time.sleep(pause * 2 ** max(failures - 1, 0))


def _continue(
  out: IO[bytes],
  url: str,
  bar: rich.progress.Progress,
  task: rich.progress.TaskID,
) -> str | None:
  # One connection, from where the file ends.
  out.seek(0, 2)
  start = out.tell()
  headers = {'Range': f'bytes={start}-'} if start else {}
  try:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
      if start and not _goes_on(response, start):
        out.truncate(0)
        start = 0
      length = response.headers['Content-Length']
      total = None if length is None else start + int(length)
      _check_space(out, (total or start) - start)
      bar.update(task, total=total, completed=start)
      while block := _read(response):
        out.write(block)
        bar.advance(task, len(block))
      out.flush()
      if total is not None and out.tell() < total:
        raise _Cut(f'the connection was cut at {out.tell():,} of {total:,}')
      return _stated_md5(response)
  except urllib.error.HTTPError as error:
    if error.code == 416:  # Nothing comes after the end of what is here.
      if error.headers['Content-Range'] == f'bytes */{start}':
        return _stated_md5(error)
      out.truncate(0)
      raise _Cut('what was kept is no part of the file') from None
    if error.code in (408, 429) or error.code >= 500:
      raise _Cut(f'the server answers {error.code} {error.reason}') from None
    raise InputError(
      f'the server answers {error.code} {error.reason}', file=url
    ) from None
  except urllib.error.URLError as error:
    raise _Cut(f'cannot be reached: {error.reason}') from None
  except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
    raise _Cut(f'the connection was cut: {error!r}') from None


def _read(response: http.client.HTTPResponse) -> bytes:
  # Apart, as errors of the network and of the disk are both OSError.
  try:
    return response.read(_BLOCK)
  except (OSError, http.client.HTTPException) as error:
    raise _Cut(f'the connection was cut: {error!r}') from None


def _goes_on(response: http.client.HTTPResponse, start: int) -> bool:
  # Some servers send the whole file, whatever they were asked for.
  stated = response.headers['Content-Range'] or ''
  return response.status == 206 and stated.startswith(f'bytes {start}-')


def _stated_md5(response) -> str | None:
  # Google Cloud Storage: `x-goog-hash: crc32c=...` and `x-goog-hash: md5=...`
  for value in response.headers.get_all('x-goog-hash') or ():
    for item in value.split(','):
      name, _, digest = item.strip().partition('=')
      if name == 'md5':
        return base64.b64decode(digest).hex()
  return None


def _check_space(out: IO[bytes], needed: int) -> None:
  free = shutil.disk_usage(pathlib.Path(out.name).parent).free
  if needed > free:
    raise InputError(
      f'needs {needed:,} bytes more, {free:,} are free', file=str(out.name)
    )


def _check(path: pathlib.Path, file: File, stated_md5: str | None) -> None:
  """Refuses a file that is not the published one, as far as that is known.

  Raises:
    InputError: with both checksums.
  """
  for name, expected in (
    ('sha256', file.sha256),
    ('md5', file.md5),
    ('md5', stated_md5),
  ):
    if expected is None:
      continue
    with path.open('rb') as content:
      digest = hashlib.file_digest(content, name).hexdigest()
    if digest != expected:
      raise InputError(
        f'is not the published file: its {name} is {digest}, not {expected}; '
        'delete it and run this again',
        file=str(path),
      )
    return


def _unwritable(path: pathlib.Path, error: OSError) -> InputError:
  message = f'cannot be written: {error.strerror or error}'
  return InputError(message, file=str(path))
