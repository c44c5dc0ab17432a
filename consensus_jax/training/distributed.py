"""Several processes that train one model: who is there, who has which rows.

Nothing here splits by the index of a process. Which rows a process feeds comes
from the sharding of the batch, so that a mesh whose tensor axis lies across
hosts feeds both hosts the same rows.
"""

import contextlib
import dataclasses
import json
import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from consensus_jax.strict_json import InputError

# The exit code of one of several processes that cannot go on.
LOST = 5

_RETRY_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
  """Where this process stands among those of a run.

  Attributes:
    coordinator: HOST:PORT of process 0, reachable from all.
    num_processes: how many there are.
    process_id: this one, from 0.
    timeout: seconds to wait for the others.
  """

  coordinator: str
  num_processes: int
  process_id: int
  timeout: float = 300.0

  def __post_init__(self):
    host, _, port = self.coordinator.rpartition(':')
    if not host or not port.isdecimal():
      raise ValueError(
        f'coordinator must be HOST:PORT, got {self.coordinator!r}'
      )
    if not 0 <= self.process_id < self.num_processes:
      raise ValueError(
        f'process_id {self.process_id} is not in range({self.num_processes})'
      )
    if not self.timeout > 0:
      raise ValueError(f'timeout must be positive, got {self.timeout}')

  @property
  def address(self) -> tuple[str, int]:
    """Host and port of the coordinator."""
    host, _, port = self.coordinator.rpartition(':')
    return host, int(port)


def start(cluster: Cluster) -> None:
  """Joins this process with the others; before anything asks for a device.

  Raises:
    InputError: if some do not come in time, saying which.
  """
  roll_call(cluster)
  jax.distributed.initialize(
    cluster.coordinator,
    cluster.num_processes,
    cluster.process_id,
    initialization_timeout=math.ceil(cluster.timeout),
  )


def roll_call(cluster: Cluster) -> None:
  """Returns when all processes are there; jax itself would only hang.

  Process 0 listens where jax's coordinator will, hears who calls, and tells
  everyone.

  Raises:
    InputError: naming the processes that are missing when time is up.
  """
  if cluster.num_processes == 1:
    return
  deadline = time.monotonic() + cluster.timeout
  if cluster.process_id == 0:
    answer = _hear(cluster, deadline)
  else:
    answer = _report(cluster, deadline)
  if answer:
    raise InputError(answer)


def _hear(cluster: Cluster, deadline: float) -> str:
  there = {0: socket.gethostname()}
  calls: list[socket.socket] = []
  answer = ''
  try:
    with socket.create_server(('', cluster.address[1])) as server:
      while len(there) < cluster.num_processes and not answer:
        server.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
          call, _ = server.accept()
          calls.append(call)
          call.settimeout(5)
          said = json.loads(call.makefile().readline())
        except TimeoutError:
          if time.monotonic() >= deadline:
            answer = _missing(cluster, there)
          continue
        except (OSError, ValueError):
          continue  # Not one of ours.
        answer = _contradiction(cluster, there, said)
        there[said['process_id']] = said['host']
  except OSError as error:
    answer = f'cannot listen at {cluster.coordinator}: {error.strerror}'
  for call in calls:
    with contextlib.suppress(OSError):
      call.sendall(json.dumps({'answer': answer}).encode() + b'\n')
    call.close()
  return answer


def _contradiction(
  cluster: Cluster, there: Mapping[int, str], said: Mapping[str, Any]
) -> str:
  index, count = said['process_id'], said['num_processes']
  if count != cluster.num_processes:
    return (
      f'process {index} on {said["host"]} was told of {count} processes, '
      f'process 0 of {cluster.num_processes}'
    )
  if index in there:
    return f'both {there[index]} and {said["host"]} are process {index}'
  return ''


def _missing(cluster: Cluster, there: Mapping[int, str]) -> str:
  absent = sorted(set(range(cluster.num_processes)) - set(there))
  present = ', '.join(f'{index} on {there[index]}' for index in sorted(there))
  return (
    f'{len(there)} of {cluster.num_processes} processes came within '
    f'{cluster.timeout:g} s: {present}; missing: '
    f'{", ".join(map(str, absent))}'
  )


def _report(cluster: Cluster, deadline: float) -> str:
  said = {
    'process_id': cluster.process_id,
    'num_processes': cluster.num_processes,
    'host': socket.gethostname(),
  }
  while time.monotonic() < deadline:
    try:
      with socket.create_connection(cluster.address, timeout=5) as call:
        call.sendall(json.dumps(said).encode() + b'\n')
        # Process 0 answers when all are there, or when its time is up.
        call.settimeout(max(deadline - time.monotonic(), 0) + 5)
        return json.loads(call.makefile().readline())['answer']
    except (OSError, ValueError):
      time.sleep(_RETRY_SECONDS)
  return (
    f'process 0 at {cluster.coordinator} did not answer within '
    f'{cluster.timeout:g} s'
  )


@contextlib.contextmanager
def together(alike: tuple[type[Exception], ...] = ()) -> Iterator[None]:
  """Ends this process, with code `LOST`, on an error that others do not share.

  One that is killed takes its part of every sum along, and the others hear of
  it as an error of jax, or of a checkpoint that waits for it. They end where
  they stand: on its way out Python would wait, for minutes, for the one that is
  gone, and so would the others for one that fails alone. What is half saved
  does not count anyway.

  Args:
    alike: errors that all processes raise at the same step. They pass, as does
      every error of a process that is the only one.
  """
  try:
    yield
  except Exception as error:
    if jax.process_count() == 1 or isinstance(error, alike):
      raise
    if not isinstance(error, ValueError | OSError | RuntimeError):
      traceback.print_exc()
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    print(
      f'error: process {jax.process_index()} of {jax.process_count()} cannot '
      f'go on: {reason[:300].rstrip(".")}. If another process has ended, that '
      'is why: see what it said. Start all again, and the run goes on from its '
      'last checkpoint',
      file=sys.stderr,
      flush=True,
    )
    os._exit(LOST)


def is_writer() -> bool:
  """Whether this process writes what is written once: it is one in all."""
  return jax.process_index() == 0


def decided(value: int) -> int:
  """What process 0 has decided, in every process."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def largest(value: int) -> int:
  """The largest of the processes' values, in every process."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def wait_for_all(name: str) -> None:
  """Returns when every process has called it."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def local_rows(sharding: Any, rows: int) -> slice:
  """The rows of a batch that this process must feed.

  Args:
    sharding: of an array whose first axis is the rows.
    rows: of the whole batch.

  Raises:
    ValueError: if they are not contiguous, as no mesh of `make_mesh` has them.
  """
  spans = {
    index[0].indices(rows)[:2]
    for index in sharding.addressable_devices_indices_map((rows,)).values()
    if index is not None
  }
  first, last = min(a for a, _ in spans), max(b for _, b in spans)
  if sum(b - a for a, b in spans) != last - first:
    raise ValueError(f'rows {sorted(spans)} of a process are not contiguous')
  return slice(first, last)


def place(
  batch: Mapping[str, np.ndarray], shardings: Mapping[str, Any], rows: int
) -> dict[str, jax.Array]:
  """The whole batch on the mesh, from each process's rows.

  Args:
    batch: this process's rows.
    shardings: of the whole batch's features.
    rows: of the whole batch.
  """
  return {
    name: jax.make_array_from_process_local_data(
      shardings[name], x, (rows, *x.shape[1:])
    )
    for name, x in batch.items()
  }


def gather(tree: Any) -> Any:
  """Whole arrays, on the host of every process."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return jax.tree.map(
    lambda x: multihost_utils.process_allgather(x, tiled=True), tree
  )
