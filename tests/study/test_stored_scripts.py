import html.parser

from study_site import Study, protocol

from consensus_jax.study import database, passwords

# Texts of people are texts.


class _Dangers(html.parser.HTMLParser):
  """Collects what a page that only shows texts of people does not have."""

  def __init__(self):
    super().__init__()
    self.found = []
    self.text = ''

  def handle_starttag(self, tag, attributes):
    own = dict(attributes)
    if tag in ('script', 'link'):
      address = own.get('src') or own.get('href') or ''
      if not address.startswith('/static/'):
        self.found.append((tag, attributes))
    elif tag in ('img', 'svg', 'iframe', 'style', 'b-mark'):
      self.found.append((tag, attributes))
    for name, value in attributes:
      if name.startswith('on') or name == 'style':
        self.found.append((tag, name))
      if (value or '').lower().startswith('javascript:'):
        self.found.append((tag, name))
      self.text += f' {value}'

  def handle_data(self, data):
    self.text += data


def _script(name):
  return (
    f'<script>{name}()</script><b-mark>\'"><img src=x onerror={name}()>'
    f'{{{{ 7 * 7 }}}} javascript:{name}() a b c d e'
  )


def _scripts_everywhere():
  return protocol(
    title=_script('title'),
    consent=_script('consent'),
    instructions=_script('instructions'),
    comprehension=[
      {
        'prompt': _script('check'),
        'options': [_script('wrong'), _script('right')],
        'answer': 1,
      }
    ],
    attention=[{'prompt': _script('attention'), 'answer': 7}],
    questions=[
      {
        'id': _script('question_id'),
        'text': _script('question'),
        'affirming': _script('side'),
        'negating': _script('side'),
      }
    ],
    labels={
      'agreement': [_script(f'agreement{i}') for i in range(7)],
      'quality': [_script(f'quality{i}') for i in range(7)],
      'importance': [_script(f'importance{i}') for i in range(5)],
    },
    conditions=[
      {'name': _script('condition'), 'systems': [{'name': _script('system')}]}
    ],
    survey=[
      {'id': 'scale"><b-mark>', 'prompt': _script('scale')},
      {
        'id': 'choice',
        'prompt': _script('choice'),
        'kind': 'choice',
        'options': [_script('option0'), _script('option1')],
      },
      {'id': 'text', 'prompt': _script('text'), 'kind': 'text'},
    ],
    endings={
      'done': {
        'text': _script('done'),
        'code': _script('code'),
        'link': f'https://example.org/{_script("link")}',
      }
    },
  )


def test_no_text_of_anybody_becomes_a_script(tmp_path):
  study = Study(tmp_path, _scripts_everywhere())
  shown = ''

  def look(browser):
    nonlocal shown
    dangers = _Dangers()
    dangers.feed(browser.page)
    assert dangers.found == [], browser.step
    shown += dangers.text

  def fill(browser):
    name = browser.step.replace('/', '_')
    browser.answer(text=_script(f'mine_{name}'))
    assert browser.response.status_code == 200, browser.step

  one, two = study.browser(), study.browser()
  for browser in (one, two):
    browser.get('/')
    look(browser)
    browser.join()
  for _ in range(60):
    for browser in (one, two):
      browser.get('/study')
      look(browser)
      step = browser.step
      if '/wait/' in step or step in ('lobby', 'done'):
        continue
      if step.endswith(('opinion', 'critique')) or step == 'survey':
        # The draft comes back in the page; so does what was refused.
        own = _script(f'draft_{step[-7:]}')
        form = browser.form
        draft = {**form.filled(text=own), 'csrf': form.fixed['csrf']}
        assert browser.client.post('/draft', json=draft).status_code == 204
        browser.get('/study')
        look(browser)
        refused = dict.fromkeys(form.texts, _script('refused') * 100)
        browser.answer(**refused)
        assert browser.response.status_code == 422
        look(browser)
      fill(browser)
    study.tick(
      _script('statement_{number}_{round}')
      .replace('{{', '{{{{')
      .replace('}}', '}}}}')
    )
  assert one.step == two.step == 'done'
  researcher = study.browser()
  with database.writing(study.engine) as connection:
    token = passwords.start_session(connection, now=study.now)
  researcher.client.cookies.set('admin', token)
  for path in ('/admin', '/admin/groups/1'):
    assert researcher.get(path).status_code == 200
    look(researcher)
  fields = (
    'title consent instructions check wrong right attention question side '
    'agreement0 agreement6 quality0 quality6 importance0 importance4 scale '
    'choice option0 option1 text done code refused condition system '
    'statement_1_0 statement_2_1 draft_opinion draft_ritique draft_survey '
    'mine_q1_opinion'
  )
  assert '{{ 7 * 7 }}' in shown
  for field in fields.split():
    assert f'<script>{field}()' in shown, field


def test_what_an_address_says_is_shown_as_text(tmp_path):
  study = Study(tmp_path, protocol(entry=['recruitment']))
  browser = study.browser()
  own = _script('address')
  for path, parameters in [
    ('/join', {'PROLIFIC_PID': own, 'STUDY_ID': own, 'invitation': own}),
    ('/', {'notice': own, own: own}),
    (f'/{own}', {}),
    (f'/continue/{own}', {}),
  ]:
    browser.response = browser.client.get(path, params=parameters)
    dangers = _Dangers()
    dangers.feed(browser.page)
    assert dangers.found == []
