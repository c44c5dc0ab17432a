"""Judged deliberations, drawn by hypothesis and by hand, for tests."""

import unicodedata

from hypothesis import strategies as st

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)

# Words of letters, so that no text is blank or holds half a character.
WORDS = st.text(
  st.characters(codec='utf-8', categories=('L', 'N')), min_size=1, max_size=8
)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(' '.join)
OPTIONAL_TEXTS = st.just('') | TEXTS
LIKERT = st.none() | st.integers(1, 7)


def dense(levels):
  """Ranks from 0 without gaps, in the order of `levels`; None stays."""
  order = sorted({level for level in levels if level is not None})
  return [None if level is None else order.index(level) for level in levels]


@st.composite
def members(draw, name, rounds):
  """One member who judged some statements; `rounds` has one a statement."""
  judged = draw(st.permutations(range(len(rounds))))
  judged = judged[: draw(st.integers(0, len(judged)))]
  entries = st.lists(LIKERT, min_size=len(judged), max_size=len(judged))
  values = {field: draw(st.just([]) | entries) for field in _JUDGED_BY}
  if values['ranking']:
    ranks = {}
    for round_ in set(rounds):
      places = [i for i, s in enumerate(judged) if rounds[s] == round_]
      levels = dense([values['ranking'][i] for i in places])
      ranks |= dict(zip(places, levels, strict=True))
    values['ranking'] = [ranks[i] for i in range(len(judged))]
  values['votes'] = [v and (v % 3) - 1 for v in values['votes']]
  return Member(
    participant=name,
    opinion=draw(OPTIONAL_TEXTS),
    opinion_provenance=draw(st.sampled_from(('written', 'comments', 'votes'))),
    judged=tuple(judged),
    critique=draw(OPTIONAL_TEXTS),
    position_before=draw(LIKERT),
    position_after=draw(LIKERT),
    **{field: tuple(entries) for field, entries in values.items()},
  )


_JUDGED_BY = ('agreement', 'quality', 'ranking', 'votes')


@st.composite
def deliberations(draw, id='d'):
  """A whole record."""
  rounds = draw(st.lists(st.integers(0, 1), max_size=5))
  names = draw(st.lists(WORDS, max_size=3, unique_by=same_name))
  return JudgedDeliberation(
    id=id,
    source=draw(TEXTS),
    group=draw(OPTIONAL_TEXTS),
    question=Question(
      text=draw(TEXTS),
      id=draw(OPTIONAL_TEXTS),
      topic=draw(OPTIONAL_TEXTS),
      split=draw(st.sampled_from((None, 'train', 'iid_test', 'ood_test'))),
      affirming=draw(OPTIONAL_TEXTS),
      negating=draw(OPTIONAL_TEXTS),
    ),
    statements=tuple(
      Statement(
        text=draw(TEXTS),
        id=f's{index}',
        author=draw(OPTIONAL_TEXTS),
        provenance=draw(OPTIONAL_TEXTS),
        round=round_,
      )
      for index, round_ in enumerate(rounds)
    ),
    members=tuple(draw(members(name, rounds)) for name in names),
  )


def same_name(name):
  return unicodedata.normalize('NFC', name)


@st.composite
def lists_of_deliberations(draw, min_size=1, max_size=4):
  """Records with different ids."""
  size = draw(st.integers(min_size, max_size))
  return [draw(deliberations(id=f'd{index}')) for index in range(size)]


def example():
  """Two rounds, three people, every field used."""
  return JudgedDeliberation(
    id='library',
    source='ours',
    group='monday',
    question=Question(
      text='Should the library open on Sundays?',
      id='Q1',
      topic='town',
      split='train',
      affirming='The library should open on Sundays.',
      negating='The library should NOT open on Sundays.',
    ),
    statements=(
      Statement(text='Open it every Sunday.', id='a', author='policy'),
      Statement(text='Open it twice a month.', id='b', provenance='SFT'),
      Statement(text='Open it on Sunday mornings.', id='c', round=1),
    ),
    members=(
      Member(
        participant='Amira',
        opinion='I work all week, so yes.',
        judged=(1, 0, 2),
        agreement=(4, 7, None),
        quality=(5, 5, 5),
        ranking=(1, 0, 0),
        critique='Twice a month is too little.',
        position_before=6,
        position_after=7,
      ),
      Member(
        participant='Ben',
        opinion='No, staff need a rest.',
        judged=(0, 1),
        ranking=(0, 0),
      ),
      Member(
        participant='Chloé',
        opinion='I agree that it should open.',
        opinion_provenance='votes',
        judged=(0, 2),
        votes=(-1, 1),
      ),
    ),
  )
