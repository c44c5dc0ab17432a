"""Simulated participants who take part through real HTTP, as browsers do.

Every answer that the server acknowledged is kept, so that what is stored can be
held against it.
"""

import asyncio
import dataclasses
import ipaddress
import time
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
import numpy as np
import sqlalchemy as sa

from consensus_jax.evaluation.latent import questions as latent_questions
from consensus_jax.strict_json import InputError
from consensus_jax.study import entry
from consensus_jax.study.tables import answers, participants
from consensus_jax.study.visitors import NOT_FORMS, Ledger, Plan, Visitor


@dataclasses.dataclass(frozen=True)
class Report:
  """What a simulation found.

  Attributes:
    ledgers: of all participants.
    seconds: of each answered request, by what was asked.
    failures: requests that got no answer, or an error of the server, by kind.
    wall_seconds: from the first request to the last.
  """

  ledgers: tuple[Ledger, ...]
  seconds: Mapping[str, Sequence[float]]
  failures: Mapping[str, int]
  wall_seconds: float

  @property
  def pages(self) -> list[float]:
    """Seconds of pages: all but what scripts ask for."""
    return [
      s for what, all_ in self.seconds.items() if what != 'status' for s in all_
    ]

  @property
  def done(self) -> int:
    """How many came to the end."""
    return sum(ledger.step == 'done' for ledger in self.ledgers)

  @property
  def acknowledged(self) -> int:
    """Answers that the server said to have stored."""
    return sum(len(ledger.acknowledged) for ledger in self.ledgers)

  @property
  def asked_again(self) -> int:
    """Answers that were lost, as far as pages tell."""
    return sum(len(ledger.asked_again) for ledger in self.ledgers)

  def lines(self) -> list[str]:
    """The report in words and numbers."""
    found = [
      f'participants   {len(self.ledgers)}, of whom at the end {self.done}',
      f'wall time      {self.wall_seconds:.0f} s, '
      f'{sum(map(len, self.seconds.values())) / self.wall_seconds:.0f} '
      'requests a second',
    ]
    rows = {'all pages': self.pages, **self.seconds}
    for what, seconds in rows.items():
      if seconds:
        middle, late = np.percentile(seconds, [50, 99]) * 1000
        found.append(
          f'{what:<14} {len(seconds):6} times, median {middle:.0f} ms, '
          f'99th percentile {late:.0f} ms, longest {max(seconds) * 1000:.0f} ms'
        )
    failures = ', '.join(f'{n} x {k}' for k, n in self.failures.items())
    found.append(f'failures       {failures or "none"}')
    found.append(
      f'answers        {self.acknowledged} acknowledged, '
      f'{self.asked_again} asked for again'
    )
    return found


@dataclasses.dataclass(frozen=True)
class Stored:
  """What the database holds of what was acknowledged.

  Attributes:
    lost: acknowledged answers that are not stored, or are stored otherwise.
    duplicated: stored answers beyond one for each step of a participant.
    unacknowledged: stored answers whose acknowledgement did not arrive, as
      when a server dies between the two.
  """

  lost: tuple[str, ...]
  duplicated: tuple[str, ...]
  unacknowledged: tuple[str, ...]


def check_url(url: str, *, own_server: bool) -> str:
  """The address without its path; refuses other people's machines.

  Raises:
    InputError: if it is no HTTP address, or not of this machine and
      `own_server` is not set.
  """
  parts = urllib.parse.urlsplit(url)
  if parts.scheme not in ('http', 'https') or not parts.hostname:
    raise InputError(f'{url!r} is no http address', field=('--url',))
  host = parts.hostname
  try:
    here = ipaddress.ip_address(host).is_loopback
  except ValueError:
    here = host == 'localhost'
  if not here and not own_server:
    raise InputError(
      f'{host} is not this machine; --i_run_this_server says that you may',
      field=('--url',),
    )
  return f'{parts.scheme}://{parts.netloc}'


def run(
  url: str, plan: Plan, *, tell: Callable[[str], None] = lambda text: None
) -> Report:
  """Lets people take part, and tells how it went.

  Args:
    url: of the server, from `check_url`.
    plan: how many people, and how they are.
    tell: is told about the progress, in a line now and then.
  """
  return asyncio.run(_run(url, plan, tell))


def compare(connection: sa.Connection, report: Report) -> Stored:
  """Holds what is stored against what was acknowledged."""
  lost, duplicated, more = [], [], []
  for ledger in report.ledgers:
    rows = connection.execute(
      sa.select(answers.c.step_key, answers.c.content)
      .join(participants, participants.c.id == answers.c.participant_id)
      .where(participants.c.token_sha256 == entry.token_sha256(ledger.token))
    ).all()
    stored = {row.step_key: row.content for row in rows}
    counts = Counter(row.step_key for row in rows)
    duplicated += [key for key, count in counts.items() if count > 1]
    more += [key for key in stored if key not in ledger.acknowledged]
    for key, fields in ledger.acknowledged.items():
      if key not in stored or not _agree(fields, stored[key]):
        lost.append(key)
  return Stored(tuple(lost), tuple(duplicated), tuple(more))


def _agree(fields: Mapping[str, str], content: Mapping[str, Any]) -> bool:
  """Whether what is stored is what a form said."""
  for name, value in fields.items():
    if name == 'consent':
      same = content[name] == (value == 'yes')
    elif name.startswith('rank-'):
      same = str(content['ranks'].get(name[5:])) == value
    elif name.startswith('item-'):
      same = str(content.get(name[5:])) == value
    else:
      same = str(content.get(name)) == value
    if not same:
      return False
  return True


async def _run(url: str, plan: Plan, tell: Callable[[str], None]) -> Report:
  seconds: dict[str, list[float]] = defaultdict(list)
  failures: Counter[str] = Counter()
  questions = latent_questions.read()
  start = time.monotonic()
  limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
  visitors = []
  for number in range(plan.people):
    client = httpx2.AsyncClient(base_url=url, limits=limits, timeout=30.0)
    visitors.append(Visitor(client, plan, number, questions, seconds, failures))
  tasks = [asyncio.create_task(visitor.visit()) for visitor in visitors]
  reporting = asyncio.create_task(_report_progress(visitors, tell))
  try:
    _, late = await asyncio.wait(tasks, timeout=plan.limit_seconds)
    for task in late:
      task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
      if isinstance(result, Exception):
        raise result
  finally:
    reporting.cancel()
    for visitor in visitors:
      await visitor.client.aclose()
  return Report(
    ledgers=tuple(visitor.ledger for visitor in visitors),
    seconds=seconds,
    failures=failures,
    wall_seconds=time.monotonic() - start,
  )


async def _report_progress(
  visitors: Sequence['Visitor'], tell: Callable[[str], None]
) -> None:
  while True:
    await asyncio.sleep(5.0)
    counts = Counter(
      'not here yet'
      if not visitor.ledger.step
      else visitor.ledger.step
      if visitor.ledger.step in NOT_FORMS
      else 'waiting'
      if '/wait/' in visitor.ledger.step
      else 'answering'
      for visitor in visitors
    )
    tell(', '.join(f'{count} {what}' for what, count in sorted(counts.items())))
