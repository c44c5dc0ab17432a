import json
import pathlib
import re

import pytest

from consensus_jax.strict_json import InputError
from consensus_jax.study import messages
from consensus_jax.study.rendering import Renderer

_ROOM = pathlib.Path(messages.__file__).parent
# A call with its first argument, whether more is joined to it, and the rest.
_CALL = re.compile(
  r"\b(?:t|messages)\(\s*'([\w.]+)'(\s*~)?([^()]*(?:\([^()]*\)[^()]*)*)\)"
)


def _calls():
  """What templates and modules ask the catalogue for: key, prefix?, values."""
  calls = []
  for path in (*_ROOM.glob('*.py'), *_ROOM.glob('templates/*.html')):
    for key, joined, rest in _CALL.findall(path.read_text()):
      calls.append((key, bool(joined), set(re.findall(r'\b(\w+)=', rest))))
  return calls


def test_every_key_is_there_and_every_text_is_used():
  english = messages.load('en').texts
  calls = _calls()
  assert len(calls) > 50
  whole = {key for key, joined, _ in calls if not joined}
  prefixes = tuple(key for key, joined, _ in calls if joined)
  assert whole - set(english) == set()
  assert all(any(k.startswith(p) for k in english) for p in prefixes)
  unused = {k for k in english if k not in whole and not k.startswith(prefixes)}
  assert unused == set()


def test_every_placeholder_gets_a_value():
  english = messages.load('en').texts
  given = {}
  for key, joined, values in _calls():
    if not joined:
      assert messages.placeholders(english[key]) <= values, key
      given[key] = values
  for key, text in english.items():
    if key not in given:
      assert messages.placeholders(text) == set(), key


def test_values_are_put_in_once():
  catalogue = messages.Messages('en', {'greet': '{name} of {place}'})
  assert catalogue('greet', name='{place}', place='X') == '{place} of X'


def _with(tmp_path, texts):
  (tmp_path / 'de.json').write_text(json.dumps(texts))
  return messages.load('de', tmp_path)


def test_another_language_falls_back_to_english(tmp_path):
  german = _with(tmp_path, {'place': 'Frage {number} von {of}'})
  assert german.language == 'de'
  assert german('place', number=2, of=4) == 'Frage 2 von 4'
  assert german('skip') == messages.load('en')('skip')


def test_a_page_says_its_language_and_direction(tmp_path):
  texts = _with(tmp_path, {'direction': 'rtl', 'skip': 'Zur Seite'})
  page = Renderer('Title', texts).render('base.html').body.decode()
  assert '<html lang="de" dir="rtl">' in page
  assert 'Zur Seite' in page


@pytest.mark.parametrize(
  ('texts', 'message'),
  [
    ({'plaice': 'x'}, 'plaice: unknown key'),
    ({'place': 'Frage {nummer}'}, 'place: placeholders must be among'),
    ({'place': ''}, 'place: is empty'),
    ({'place': 3}, 'place: must be a text'),
    ([], 'must be an object'),
  ],
)
def test_a_broken_catalogue_is_refused(tmp_path, texts, message):
  with pytest.raises(InputError, match=message) as caught:
    _with(tmp_path, texts)
  assert 'de.json' in str(caught.value)


@pytest.mark.parametrize('language', ['tlh', '../en', ''])
def test_an_unknown_language_is_refused(language):
  with pytest.raises(InputError, match=r'language: no messages in .*known: en'):
    messages.load(language)
