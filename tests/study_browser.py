"""A browser without scripts: it fills in and sends whatever form a page has."""

import dataclasses
import html.parser

from starlette.testclient import TestClient


@dataclasses.dataclass
class Form:
  """One form of a page: where it goes, and what can be said in it."""

  action: str
  fixed: dict[str, str]
  choices: dict[str, list[str]]
  chosen: dict[str, str]
  texts: dict[str, str]
  buttons: list[tuple[str, str]]

  def filled(self, text='', choose=-1, **given):
    """Fields with the last option of every choice, and one text everywhere."""
    return {
      **self.fixed,
      **{name: values[choose] for name, values in self.choices.items()},
      **dict.fromkeys(self.texts, text),
      **dict(self.buttons[:1]),
      **given,
    }


class _Forms(html.parser.HTMLParser):
  def __init__(self):
    super().__init__()
    self.forms = []
    self._text = None

  def handle_starttag(self, tag, attributes):
    own = dict(attributes)
    name, value = own.get('name'), own.get('value', '')
    if tag == 'form':
      self.forms.append(Form(own.get('action', ''), {}, {}, {}, {}, []))
    if not self.forms or name is None:
      return
    form = self.forms[-1]
    if tag == 'input' and own['type'] == 'radio':
      form.choices.setdefault(name, []).append(value)
      if 'checked' in own:
        form.chosen[name] = value
    elif tag == 'input':
      form.fixed[name] = value
    elif tag == 'textarea':
      self._text = name
      form.texts[name] = ''
    elif tag == 'button':
      form.buttons.append((name, value))

  def handle_data(self, data):
    if self._text is not None:
      self.forms[-1].texts[self._text] += data

  def handle_endtag(self, tag):
    if tag == 'textarea' and self._text is not None:
      # The first newline belongs to the tag.
      texts = self.forms[-1].texts
      texts[self._text] = texts[self._text].removeprefix('\n')
      self._text = None


def forms(page):
  """The forms of a page, in order."""
  parser = _Forms()
  parser.feed(page)
  return parser.forms


class Browser:
  """Cookies, and the page that was shown last."""

  def __init__(self, app, *, secure=False):
    scheme = 'https' if secure else 'http'
    self.client = TestClient(
      app, base_url=f'{scheme}://study.test', raise_server_exceptions=False
    )
    self.response = None

  @property
  def page(self):
    """The page as it was sent."""
    return self.response.text

  @property
  def form(self):
    """The first form of the page."""
    return forms(self.page)[0]

  @property
  def step(self):
    """The key of the step that the page shows."""
    return self.page.partition('data-key="')[2].partition('"')[0]

  def get(self, path):
    """Opens a page."""
    self.response = self.client.get(path)
    return self.response

  def post(self, path, fields):
    """Sends a form and follows to where it leads."""
    self.response = self.client.post(path, data=fields)
    return self.response

  def join(self, path='/'):
    """Joins the study by its front page; ends at the first step."""
    self.get(path)
    return self.post(self.form.action, self.form.filled())

  def answer(self, **given):
    """Fills in the form of the page, as `Form.filled` does, and sends it."""
    return self.post(self.form.action, self.form.filled(**given))
