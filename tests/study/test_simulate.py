import asyncio
import collections

import httpx2
import numpy as np
import pytest
import study_people as people
from study_site import Study, protocol

from consensus_jax.evaluation.latent import questions
from consensus_jax.strict_json import InputError
from consensus_jax.study import database, entry, simulate, visitors
from consensus_jax.study.visitors import Ledger, Page, Plan, Visitor


@pytest.mark.parametrize(
  'url', ['http://127.0.0.1:8000', 'http://localhost:1/a?b', 'http://[::1]:80']
)
def test_this_machine_may_be_asked(url):
  checked = simulate.check_url(url, own_server=False)
  assert url.startswith(checked) and checked.count('/') == 2


@pytest.mark.parametrize(
  'url',
  [
    'http://example.org',
    'https://127.0.0.1.example.org',
    'http://localhost.example.org',
    'http://192.168.0.1',
    'http://127.0.0.1@example.org',
  ],
)
def test_other_machines_are_not_asked_unless_they_are_ones_own(url):
  with pytest.raises(InputError, match='--i_run_this_server'):
    simulate.check_url(url, own_server=False)
  assert url.endswith(
    simulate.check_url(url, own_server=True).partition('//')[2]
  )


@pytest.mark.parametrize('url', ['ftp://127.0.0.1', '127.0.0.1:8000', ''])
def test_what_is_no_address_is_refused(url):
  with pytest.raises(InputError, match='is no http address'):
    simulate.check_url(url, own_server=True)


def test_pages_are_read_as_they_are_written(tmp_path):
  browser, other = Study(tmp_path, protocol(critique_round=False)).group()
  del other
  page = Page.read(browser.page)
  assert page.key == browser.step == 'q1/position'
  assert page.heading == 'Should cars drive at 30 in our town?'
  assert page.choices == {
    'position': [*'1234567'],
    'importance': [*'12345'],
  }
  assert page.fields['step_key'] == 'q1/position'
  assert set(page.legends) == {'position', 'importance'}


def visitor(handle, plan):
  """A participant whose server is `handle`."""
  client = httpx2.AsyncClient(
    base_url='http://study.test', transport=httpx2.MockTransport(handle)
  )
  return Visitor(
    client,
    plan,
    0,
    questions.read(),
    collections.defaultdict(list),
    collections.Counter(),
  )


def page(key, fields=''):
  return httpx2.Response(
    200,
    text=f'<body data-key="{key}"><h1>Buses?</h1><form>'
    f'<input type="hidden" name="step_key" value="{key}">{fields}</form>',
  )


def taking_part(pages, posts, **plan):
  """A ledger, after the server gave these pages and answers to forms."""
  pages, posts = iter(pages), iter(posts)

  def handle(request):
    match request.method, request.url.path:
      case 'GET', '/':
        return page('')
      case 'POST', '/join':
        return httpx2.Response(
          303,
          headers={'location': '/study', 'set-cookie': 'participant=t; path=/'},
        )
      case 'GET', '/status':
        return httpx2.Response(200, json={'key': 'new'})
      case 'GET', _:
        return next(pages)
    return next(posts)

  fast = {'think_seconds': 1e-6, 'arrive_seconds': 0.0, 'poll_seconds': 1e-6}
  one = visitor(handle, Plan(people=1, **fast, **plan))
  asyncio.run(one.visit())
  return one.ledger


STORED = httpx2.Response(303, headers={'location': '/study'})
LATE = httpx2.Response(303, headers={'location': '/study?notice=late'})


def test_what_is_acknowledged_is_kept():
  text = '<textarea name="text"></textarea>'
  ledger = taking_part(
    [page('q1/opinion', text), page('q1/wait/x'), page('final'), page('done')],
    [STORED, LATE],
  )
  assert ledger.step == 'done'
  assert ledger.token == 't'
  assert ledger.acknowledged.keys() == {'q1/opinion'}
  assert len(ledger.acknowledged['q1/opinion']['text'].split()) > 5
  assert ledger.asked_again == []


def test_an_answer_that_is_asked_for_again_is_lost():
  ledger = taking_part(
    [page('q1/result'), page('q1/result'), page('done')], [STORED, STORED]
  )
  assert ledger.asked_again == ['q1/result']


def test_who_is_refused_says_so_and_goes_on():
  ledger = taking_part(
    [page('a'), page('a'), page('done')], [httpx2.Response(422), STORED]
  )
  assert ledger.refused == [('a', 422)]
  assert ledger.asked_again == []


def test_a_server_that_is_away_is_asked_again(monkeypatch):
  monkeypatch.setattr(visitors, '_TRIES_SECONDS', 0.0)
  ledger = taking_part(
    [page('a'), page('done')],
    [httpx2.Response(503), httpx2.Response(500), STORED],
  )
  assert ledger.acknowledged == {'a': {}}


def test_checks_are_passed_by_who_knows_the_answers():
  choice = ''.join(
    f'<fieldset id="{name}"><legend>{prompt}</legend>'
    + ''.join(
      f'<input type="radio" name="{name}" value="{i}">' for i in range(1, 8)
    )
    + '</fieldset>'
    for name, prompt in (('choice', 'Who?'), ('attention', 'Choose 2.'))
  )
  study = people.protocol_of(
    comprehension=[{'prompt': 'Who?', 'options': [*'abcdefgh'], 'answer': 6}],
    attention=[{'prompt': 'Choose 2.', 'answer': 2}],
  )
  right = Plan.of(study, people=1).right
  ledger = taking_part([page('a', choice), page('done')], [STORED], right=right)
  assert ledger.acknowledged['a'] == {'choice': '6', 'attention': '2'}


def test_the_same_seed_says_the_same():
  text = '<textarea name="text"></textarea>'
  said = [
    taking_part([page('a', text), page('done')], [STORED], seed=seed)
    for seed in (1, 1, 2)
  ]
  assert said[0] == said[1] != said[2]


def report(*ledgers):
  return simulate.Report(ledgers, {'study': [0.1, 0.3]}, {}, 2.0)


def test_the_database_is_held_against_what_was_acknowledged(tmp_path):
  study = people.protocol_of()
  engine = people.opened(tmp_path, study)
  with database.writing(engine) as connection:
    name, token = entry.join(connection, study, now=0.0)
  people.submit(engine, study, name, 'consent', {'consent': True})
  people.join(engine, study)

  def compare(**acknowledged):
    with database.reading(engine) as connection:
      ledger = Ledger(token=token, acknowledged=acknowledged)
      return simulate.compare(connection, report(ledger))

  assert compare(consent={'consent': 'yes'}) == simulate.Stored((), (), ())
  assert compare().unacknowledged == ('consent',)
  assert compare(consent={'consent': 'no'}).lost == ('consent',)
  assert compare(consent={'consent': 'yes'}, more={}).lost == ('more',)


@pytest.mark.parametrize(
  'fields, content, same',
  [
    ({'agreement': '3'}, {'agreement': 3, 'statement': 9}, True),
    ({'agreement': '3'}, {'agreement': 4, 'statement': 9}, False),
    ({'text': 'a b'}, {'text': 'a b'}, True),
    ({'text': 'a b'}, {'text': ''}, False),
    ({'rank-7': '1', 'rank-8': '2'}, {'ranks': {'7': 1, '8': 2}}, True),
    ({'rank-7': '1', 'rank-8': '2'}, {'ranks': {'7': 1, '8': 1}}, False),
    ({'item-x': '2', 'item-y': 'so'}, {'x': 2, 'y': 'so'}, True),
    ({'item-x': '2', 'item-y': 'so'}, {'x': 2}, False),
    ({'choice': 'first'}, {'choice': 'first', 'preferred': 'same'}, True),
  ],
)
def test_what_is_the_same(fields, content, same):
  assert simulate._agree(fields, content) == same


def test_a_report_says_the_numbers():
  ledger = Ledger(token='t', step='done', acknowledged={'a': {}, 'b': {}})
  lines = '\n'.join(report(ledger, Ledger()).lines())
  assert '2, of whom at the end 1' in lines
  assert '2 acknowledged, 0 asked for again' in lines
  assert f'median {np.median([100, 300]):.0f} ms' in lines
