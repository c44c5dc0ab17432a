"""A study being served: the web server in this process, workers beside it.

A worker that dies is started again. Workers end with the process that started
them, however that ends: they notice that their standard input is closed.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa
import uvicorn

from consensus_jax.study import flow, web
from consensus_jax.study.protocol import Protocol

_log = logging.getLogger(__name__)
# A worker that cannot live is not started more often than this.
_LONGEST_PAUSE_SECONDS = 60.0


def serve(
  engine: sa.Engine,
  protocol: Protocol,
  *,
  host: str,
  port: int,
  https: bool,
  worker: Sequence[str],
  num_workers: int,
  ready: Callable[[], None],
) -> None:
  """Serves until a signal ends it.

  Args:
    engine: of the study.
    protocol: likewise.
    host: to listen on.
    port: likewise.
    https: whether a proxy on this machine speaks TLS for us, so that cookies
      are for HTTPS only and the proxy's word counts for who asks.
    worker: the command that runs a worker.
    num_workers: how many.
    ready: called before the first request is taken.
  """
  flow.prepare(protocol)
  app = web.make_app(engine, protocol, secure_cookies=https)
  config = uvicorn.Config(
    app,
    host=host,
    port=port,
    # A log of requests would be a log of addresses.
    access_log=False,
    log_level='warning',
    server_header=False,
    proxy_headers=https,
    forwarded_allow_ips='127.0.0.1',
    timeout_graceful_shutdown=10,
  )
  ready()
  with workers(worker, num_workers):
    uvicorn.Server(config).run()


@contextlib.contextmanager
def workers(command: Sequence[str], count: int) -> Iterator[None]:
  """Keeps `count` processes of the command alive, and ends them at the end."""
  stop = threading.Event()
  threads = [
    threading.Thread(target=_keep_alive, args=(command, stop), daemon=True)
    for _ in range(count)
  ]
  for thread in threads:
    thread.start()
  try:
    yield
  finally:
    stop.set()
    for thread in threads:
      thread.join()


def _keep_alive(command: Sequence[str], stop: threading.Event) -> None:
  pause = 1.0
  while not stop.is_set():
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    while process.poll() is None and not stop.wait(0.2):
      pass
    if process.poll() is None:
      _end(process)
      return
    if time.monotonic() - started > _LONGEST_PAUSE_SECONDS:
      pause = 1.0
    _log.warning(
      'A worker ended with code %s; the next one starts in %.0f s.',
      process.returncode,
      pause,
    )
    stop.wait(pause)
    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _end(process: subprocess.Popen) -> None:
  # Its job goes back to the queue.
  process.terminate()
  try:
    process.wait(10)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()


def end_with_parent() -> None:
  """Ends this process, as SIGTERM does, when its standard input is closed."""

  def wait() -> None:
    while sys.stdin.buffer.read(1024):
      pass
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=wait, daemon=True).start()


def exit_on_sigterm() -> None:
  """Lets SIGTERM unwind the stack, so that a job under way is handed back."""

  def leave(number: int, frame: object) -> None:
    sys.exit(128 + number)

  signal.signal(signal.SIGTERM, leave)
