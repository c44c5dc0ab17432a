import dataclasses
import html.parser
import json
import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from consensus_jax import report
from consensus_jax.deliberation import Opinion, Outcome

_DATA = pathlib.Path(__file__).parent / 'data'
_OUTCOME = Outcome.from_json(json.loads((_DATA / 'outcome.json').read_text()))


class _Page(html.parser.HTMLParser):
  """A page's tags, texts and ids, and whether its tags are well nested."""

  _VOID = frozenset({'meta', 'br', 'img', 'link', 'input'})

  def __init__(self, text):
    super().__init__()
    self.tags: list[tuple[str, dict[str, str | None]]] = []
    self.texts: list[str] = []
    self.open: list[str] = []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self._VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] not in ('style', 'title'):
      self.texts.append(data)

  @property
  def text(self):
    return ' '.join(''.join(self.texts).split())


def _with_text(text: str) -> Outcome:
  return dataclasses.replace(
    _OUTCOME,
    question=f'Q {text}',
    participants=tuple(
      Opinion(f'{n} {text}', f'O {text}', 1.0 + n) for n in range(5)
    ),
    candidates=tuple(
      dataclasses.replace(c, text=f'C {text}') for c in _OUTCOME.candidates
    ),
    reward_model={'kind': 'prompted_rater', 'name': f'M {text}'},
    policy={f'K {text}': f'V {text}'},
    truncations=({'participant': f'T {text}'},),
  )


_PLAIN = _Page(report.render([_OUTCOME]))


def _shape(page: _Page):
  return [
    (tag, sorted(attrs), attrs.get('class'), attrs.get('style'))
    for tag, attrs in page.tags
  ]


_WITHOUT_TEXT = _shape(_Page(report.render([_with_text('')])))


def test_what_is_written_again_is_shown_once():
  page = _Page(report.render([_with_text('the same')])).text
  ranked = [c for c in _OUTCOME.candidates if c.refused is None]
  best = _OUTCOME.ranked[0]
  # In the table of rewards, and in the list of statements.
  assert page.count(f'(word for word #{best})') == 2 * (len(ranked) - 1)


@hypothesis.given(st.text(st.characters(codec='utf-8')))
@hypothesis.example('<script>alert(1)</script>')
@hypothesis.example('"><img src=x onerror=alert(1)>')
@hypothesis.example("' onmouseover='alert(1)")
@hypothesis.example('</style></title></p></td><!-- ]]> &lt; &#60; {{ 7*7 }}')
@hypothesis.example('javascript:alert(1)//')
def test_no_text_becomes_anything_else(text):
  page = _Page(report.render([_with_text(text)]))
  assert _shape(page) == _WITHOUT_TEXT
  flat = ' '.join(text.split())
  for kind in 'QOC':
    assert ' '.join(f'{kind} {flat}'.split()) in page.text


def test_the_page_needs_nothing_from_elsewhere():
  text = report.render([_OUTCOME])
  policy = next(
    attrs['content']
    for tag, attrs in _PLAIN.tags
    if attrs.get('http-equiv') == 'Content-Security-Policy'
  )
  assert "default-src 'none'" in policy
  assert 'script' not in {tag for tag, _ in _PLAIN.tags}
  assert 'link' not in {tag for tag, _ in _PLAIN.tags}
  for _, attrs in _PLAIN.tags:
    assert not {'src', 'srcset', 'action'} & attrs.keys()
    assert not [name for name in attrs if name.startswith('on')]
    assert attrs.get('href', '#').startswith('#')
  assert not re.search(r'url\(|@import|https?://', text)


def test_every_link_leads_somewhere():
  page = _Page(report.render([_OUTCOME, _OUTCOME]))
  ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
  links = {attrs['href'][1:] for tag, attrs in page.tags if tag == 'a'}
  assert len(ids) == len(set(ids)) == 2 * 17
  assert links <= set(ids)
  assert {'d1', 'd2'} <= links


def test_everything_is_said():
  assert _OUTCOME.question in _PLAIN.text
  for opinion in _OUTCOME.participants:
    assert opinion.participant in _PLAIN.text
    assert opinion.text in _PLAIN.text
  for candidate in _OUTCOME.candidates:
    assert ' '.join(candidate.text.split()) in _PLAIN.text
  for words in (
    'prompted rater, not a reward model',
    'utilitarian, the mean (alpha 0)',
    'alpha 0 to 5 · chosen',
    'The winner changes at 6.49 from #0 to #9.',
    'Predicted agreement runs from +0.21 (Kwame) to +2.28 (Ingrid).',
    'refused: empty statement',
    'The opinion of Kwame did not fit when it was scored',
    '128 tokens, cut at the limit',
    'seed 0',
    'generate 7.9 s',
  ):
    assert words in _PLAIN.text
  # No weights where all weigh the same.
  assert 'weight' not in {w.strip() for w in _PLAIN.texts}
  assert 'weight 5' in _Page(report.render([_with_text('')])).text


def test_the_heat_map_has_a_number_in_every_cell_best_row_first():
  text = report.render([_OUTCOME])
  body = text[text.index('<tbody>') : text.index('</tbody>')]
  rows = body.split('<tr')[1:]
  for row, index in zip(rows, _OUTCOME.ranked, strict=True):
    cells = re.findall(r'<td class="cell (\w+)" [^>]*>([^<]*)</td>', row)
    rewards = _OUTCOME.candidates[index].rewards
    assert len(cells) == len(rewards)
    for (side, shown), reward in zip(cells, rewards, strict=True):
      if reward is None:
        assert (side, shown) == ('none', '–')
      else:
        assert shown == f'{reward:+.2f}'.replace('-', '−')
        assert side == ('high' if reward >= 0 else 'low')


@pytest.mark.parametrize(
  ('rewards', 'sides', 'middle'),
  [
    ((-1.0, 0.5), ('low', 'high'), '0.00'),
    ((1.0, 2.0), ('low', 'high'), '+1.50'),
    ((-3.0, -2.0), ('low', 'high'), '−2.50'),
    ((2.0, 2.0), ('high', 'high'), '+2.00'),
    ((None, 1.0), ('none', 'high'), '+1.00'),
    ((None, None), ('none', 'none'), None),
  ],
)
def test_colours_turn_where_the_legend_says(rewards, sides, middle):
  candidate = dataclasses.replace(
    _OUTCOME.candidates[0], rewards=rewards, utilities=(1.0, 1.0)
  )
  if None in rewards:
    candidate = dataclasses.replace(candidate, rank=None, refused='NaN')
  outcome = dataclasses.replace(
    _OUTCOME,
    participants=_OUTCOME.participants[:2],
    candidates=(candidate,),
    consensus=None if None in rewards else 0,
    sensitivity=(),
    aggregation={'alpha': 0.0},
  )
  text = report.render([outcome])
  body = text[text.index('<tbody>') : text.index('</tbody>')]
  assert tuple(re.findall(r'class="cell (\w+)"', body)) == sides
  if middle is None:
    assert 'the colours turn' not in text
  else:
    assert f'the colours turn at {middle}' in text


def test_one_participant_one_candidate_and_no_consensus():
  candidate = dataclasses.replace(
    _OUTCOME.candidates[0],
    rewards=(None,),
    utilities=(None,),
    welfare=None,
    rank=None,
    refused='NaN reward',
  )
  outcome = dataclasses.replace(
    _OUTCOME,
    participants=_OUTCOME.participants[:1],
    candidates=(candidate,),
    consensus=None,
    sensitivity=(),
  )
  text = _Page(report.render([outcome])).text
  assert 'No consensus' in text
  assert 'Deliberation of 1 participant ' in text
