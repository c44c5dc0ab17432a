"""Simulated participants, each with a browser that reads a study's pages.

They write opinions and judge as `evaluation.latent` has people do, seeded.
"""

import asyncio
import dataclasses
import html.parser
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx2

from consensus_jax.evaluation.latent import groups as latent_groups
from consensus_jax.evaluation.latent import questions as latent_questions
from consensus_jax.evaluation.latent import ratings, statements
from consensus_jax.strict_json import InputError
from consensus_jax.study.protocol import Attention, Comprehension, Protocol

_ENDS = ('done', 'declined', 'excluded', 'withdrawn', 'timed_out')
NOT_FORMS = ('lobby', 'paused', *_ENDS)
# A page that waits asks as often as study.js does.
POLL_SECONDS = 3.0
_TRIES_SECONDS = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """How people take part.

  Attributes:
    people: how many, all at the same time.
    seed: of all that they say and how long they think.
    think_seconds: mean time on a page (exponential).
    arrive_seconds: within which all of them come.
    poll_seconds: between a waiting page's questions.
    limit_seconds: after which those who are not done stop.
    patience_seconds: for which one asks again a server that does not answer.
    right: answers to checks, by what is asked; others are chosen at random.
  """

  people: int
  seed: int = 0
  think_seconds: float = 3.0
  arrive_seconds: float = 10.0
  poll_seconds: float = POLL_SECONDS
  limit_seconds: float = 1800.0
  patience_seconds: float = 60.0
  right: Mapping[str, int] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, protocol: Protocol, **fields: Any) -> Self:
    """A plan of people who pass the checks of a protocol."""
    checks: list[Comprehension | Attention] = [
      *protocol.comprehension,
      *protocol.attention,
    ]
    return cls(right={each.prompt: each.answer for each in checks}, **fields)


@dataclasses.dataclass
class Ledger:
  """What one participant was told to be stored.

  Attributes:
    token: of the browser, as its cookie has it.
    step: the page shown last.
    acknowledged: what was said in forms that were accepted, by step key.
    refused: forms that were not, with the status.
    asked_again: steps that were shown after they had been acknowledged.
  """

  token: str = ''
  step: str = ''
  acknowledged: dict[str, dict[str, str]] = dataclasses.field(
    default_factory=dict
  )
  refused: list[tuple[str, int]] = dataclasses.field(default_factory=list)
  asked_again: list[str] = dataclasses.field(default_factory=list)


class Visitor:
  """One participant: a browser, and somebody with opinions in front of it."""

  def __init__(
    self,
    client: httpx2.AsyncClient,
    plan: Plan,
    number: int,
    questions: Sequence[latent_questions.LatentQuestion],
    seconds: dict[str, list[float]],
    failures: Counter[str],
  ):
    self.client = client
    self.ledger = Ledger()
    self._plan = plan
    self._rng = random.Random(f'{plan.seed}/visitor/{number}')
    self._seconds = seconds
    self._failures = failures
    # Questions of a study need not be among those that simulated people know:
    # one of theirs stands for each.
    self._known = {each.question.text: each for each in questions}
    self._others = questions
    self._number = number

  async def visit(self) -> None:
    """Takes part from the front page to the end."""
    await asyncio.sleep(self._rng.uniform(0, self._plan.arrive_seconds))
    page = await self._get('/', 'front')
    form = Page.read(page.text)
    page = await self._post('/join', form.fields, {}, 'join')
    self.ledger.token = self._token()
    if self.ledger.token == '':
      raise InputError(f'no place in the study: {page.status_code}')
    while True:
      shown = Page.read(page.text)
      self._note(shown.key)
      if shown.key in _ENDS:
        return
      if shown.key in NOT_FORMS or '/wait/' in shown.key:
        await self._wait(shown.key)
        page = await self._get('/study', 'study')
        continue
      await asyncio.sleep(self._rng.expovariate(1 / self._plan.think_seconds))
      said = self._answer(shown)
      page = await self._post('/study', shown.fields, said, 'answer')

  def _note(self, key: str) -> None:
    if key in self.ledger.acknowledged:
      self.ledger.asked_again.append(key)
    self.ledger.step = key

  def _token(self) -> str:
    for cookie in self.client.cookies.jar:
      if cookie.name.endswith('participant'):
        return cookie.value or ''
    return ''

  async def _wait(self, key: str) -> None:
    while True:
      await asyncio.sleep(self._plan.poll_seconds)
      status = await self._get('/status', 'status')
      if status.status_code != 200 or status.json()['key'] != key:
        return

  async def _get(self, path: str, what: str) -> httpx2.Response:
    return await self._ask('GET', path, None, what)

  async def _post(
    self, path: str, hidden: Mapping[str, str], said: dict[str, str], what: str
  ) -> httpx2.Response:
    """Sends a form and follows; what is acknowledged goes into the ledger."""
    response = await self._ask('POST', path, {**hidden, **said}, what)
    key = hidden.get('step_key')
    if response.status_code == 303:
      if key and 'notice=' not in response.headers['location']:
        self.ledger.acknowledged[key] = said
      return await self._get(response.headers['location'], 'study')
    self.ledger.refused.append((key or path, response.status_code))
    return await self._get('/study', 'study')

  async def _ask(
    self,
    method: str,
    path: str,
    fields: Mapping[str, str] | None,
    what: str,
  ) -> httpx2.Response:
    """Asks until the server answers, as somebody would who reloads a page."""
    give_up = time.monotonic() + self._plan.patience_seconds
    while True:
      start = time.monotonic()
      try:
        response = await self.client.request(
          method, path, data=None if fields is None else dict(fields)
        )
      except httpx2.TransportError as error:
        self._failures[type(error).__name__] += 1
        if time.monotonic() > give_up:
          raise
      else:
        self._seconds[what].append(time.monotonic() - start)
        if response.status_code < 500:
          if response.status_code >= 400:
            self._failures[f'status {response.status_code}'] += 1
          return response
        self._failures[f'status {response.status_code}'] += 1
        if time.monotonic() > give_up:
          return response
      await asyncio.sleep(_TRIES_SECONDS)

  # What people think.

  def _answer(self, page: 'Page') -> dict[str, str]:
    """What this person says to a form, by the names of its fields."""
    question, person = self._person(page.heading)
    given: dict[str, str] = {}
    for name, options in page.choices.items():
      if name in ('agreement', 'quality') and page.statements:
        continue
      elif name == 'consent':
        given[name] = 'yes'
      elif page.legends.get(name) in self._plan.right:
        given[name] = str(self._plan.right[page.legends[name]])
      else:
        given[name] = self._rng.choice(options)
    if page.statements and page.choices.keys() & {'agreement', 'quality'}:
      judged = [statements.read(question, text) for text in page.statements[:1]]
      said = ratings.rate([person], judged, seed=self._rng.getrandbits(31))
      given['agreement'] = str(said.agreement[0, 0])
      given['quality'] = str(said.quality[0, 0])
    for name in page.texts:
      given[name] = person.opinion
      if name.startswith('item-'):
        given[name] = 'It was good to take part.'
    return given

  def _person(
    self, heading: str
  ) -> tuple[latent_questions.LatentQuestion, latent_groups.Participant]:
    """Who this is, on the question that a page is about."""
    question = self._known.get(heading)
    if question is None:
      question = self._others[len(heading) % len(self._others)]
    (group,) = latent_groups.draw_groups(
      [question], num_groups=1, seed=self._plan.seed + self._number
    )
    return question, group.participants[0]


@dataclasses.dataclass
class Page:
  """What of a page people need to answer it.

  Attributes:
    key: of the step.
    heading: the question, mostly.
    fields: that the form sends unseen.
    choices: options of each field, of which one is chosen.
    legends: what is asked, by field.
    texts: names of fields to write in.
    statements: texts of the statements shown.
  """

  key: str = ''
  heading: str = ''
  fields: dict[str, str] = dataclasses.field(default_factory=dict)
  choices: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  legends: dict[str, str] = dataclasses.field(default_factory=dict)
  texts: list[str] = dataclasses.field(default_factory=list)
  statements: list[str] = dataclasses.field(default_factory=list)

  @classmethod
  def read(cls, text: str) -> 'Page':
    """Reads HTML as the templates of a study write it."""
    parser = _Parser()
    parser.feed(text)
    page = parser.page
    page.heading = ' '.join(page.heading.split())
    page.statements = [' '.join(each.split()) for each in page.statements]
    return page


class _Parser(html.parser.HTMLParser):
  """Fills a `Page`; of the page's forms the first one counts."""

  def __init__(self):
    super().__init__()
    self.page = Page()
    self._forms = 0
    self._inside = ''
    self._field = ''

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    name, value = given.get('name') or '', given.get('value') or ''
    page = self.page
    match tag:
      case 'body':
        page.key = given.get('data-key') or ''
      case 'h1':
        self._inside = 'h1'
      case 'div' if given.get('class') == 'statement':
        self._inside = 'div'
        page.statements.append('')
      case 'fieldset':
        self._field = given.get('id') or ''
      case 'legend':
        self._inside = 'legend'
      case 'form':
        self._forms += 1
      case 'input' if self._forms == 1 and given.get('type') == 'radio':
        page.choices.setdefault(name, []).append(value)
      case 'input' if self._forms == 1:
        page.fields[name] = value
      case 'textarea' if self._forms == 1:
        page.texts.append(name)
      case 'button' if self._forms == 1 and name:
        page.choices.setdefault(name, []).append(value)

  def handle_data(self, data):
    if self._inside == 'h1':
      self.page.heading += data
    elif self._inside == 'legend':
      legend = self.page.legends.get(self._field, '') + data
      self.page.legends[self._field] = legend.strip()
    elif self._inside == 'div':
      self.page.statements[-1] += data

  def handle_endtag(self, tag):
    if tag == self._inside:
      self._inside = ''
