"""Words of a text: whole, in runs, and down to what carries their content."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

Run = tuple[str, ...]

# A run that shares so many words in a row with a third text is that text's.
_NAMED = 3

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_APOSTROPHES = str.maketrans('’‘ʼ', "'''")
_SENTENCE_END = re.compile(r'(?<=[.!?…])["\'”’)\]]*\s+')
# Longest first: the first that fits is taken off.
_SUFFIXES = ('ing', 'ed', 'es', 'ly', 'er', 's', 'e')
_MIN_STEM = 3
_STEM = 5

# Words that any statement may use, whatever people said: grammar, how much and
# how many, how a group speaks of itself, and verbs and adjectives so general
# that they tell no subject.
_COMMON_WORDS = """
  a about above across after again against ago all almost along already also
  although always am among an and another any anybody anyone anything are aren't
  around as at away back be became because been before behind being below beside
  between beyond both but by can can't cannot could couldn't did didn't do does
  doesn't doing don't done down during each either else elsewhere enough even
  ever every everybody everyone everything except far few for from further had
  half has hasn't have haven't having he hence her here hers herself him himself
  his how however i i'd i'll i'm i've if in instead into is isn't it it's its
  itself just least less like likely little long longer many may maybe me might
  mine more most mostly much must my myself near nearly neither never new next
  no nobody none nor not nothing now of off often old on once one ones only onto
  or other others otherwise ought our ours ourselves out over own per perhaps
  quite rather really same several shall she should shouldn't simply since so
  some somebody someone something sometimes somewhere soon still such than that
  that's the their theirs them themselves then there there's therefore these
  they they're this those though through thus till to together too towards truly
  twice under unless until up upon us very was wasn't way we we'd we'll we're
  we've well were what whatever when where whereas wherever whether which while
  who whoever whole whom whose why will with within without won't would wouldn't
  yes yet you you'd you'll you're you've your yours yourself
  zero two three four five six seven eight nine ten
  accept agree agreement alike answer argue argument ask believe concern
  consider decide decision differ different difference disagree divided doubt
  expect fear feel felt find found glad group hear heard hope judge mean meant
  mind opinion prefer question reason refuse said say sense share side support
  talk think thought told trust understand united value view want willing wish
  worry
  able allow alone bad begin best better bring brought call came care carry case
  chance change choice choose chose clear come day deal deserve depend easy end
  fail fair fall fit follow full gave get give go goes gone good got great happy
  hard help hold honest important include keep kept kind know known large last
  later lead leave left let look lose lost made make matter meet move need offer
  open part people person place plain point proper put quick reach ready real
  rest right run saw see seem seen serious set short show single small spare
  stand start stay step stop strong suit sure take taken tell thing time today
  treat true try turn use went work world worse worst worth wrong year
"""


def words(text: str) -> list[str]:
  """The words of a text in lower case, without punctuation around them."""
  text = unicodedata.normalize('NFKC', text).translate(_APOSTROPHES)
  return _WORD.findall(text.casefold())


def names(text: str) -> list[str]:
  """The words of a text as names are compared: without plural or genitive."""
  parts = [part for word in words(text) for part in word.split('-')]
  return [part.removesuffix("'s").removesuffix('s') for part in parts]


def sentences(text: str) -> list[str]:
  """The sentences of a text, by their full stops."""
  return [part for part in _SENTENCE_END.split(text.strip()) if part]


@functools.lru_cache(maxsize=65536)
def stem(word: str) -> str:
  """What a word shares with its other forms, crudely: "limit" of "limiting".

  A common ending goes, then all after the fifth letter: cutting words off is
  nearly as good for matching English as a real stemmer (McNamee and Mayfield
  2004, "Character n-gram tokenization for European language text retrieval").
  """
  word = word.removesuffix("'s")
  if word.endswith('ies'):
    word = f'{word.removesuffix("ies")}y'
  for suffix in _SUFFIXES:
    if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
      word = word.removesuffix(suffix)
      break
  return word[:_STEM]


_COMMON = frozenset(map(stem, _COMMON_WORDS.split()))


def content(text: str) -> frozenset[str]:
  """Stems of the words that say what a text is about."""
  parts = [part for word in words(text) for part in word.split('-')]
  stems = {stem(part) for part in parts if len(part) > 1}
  return frozenset(s for s in stems if not s.isdecimal()) - _COMMON


def runs(own: Sequence[str], length: int) -> list[Run]:
  """All runs of `length` words, in order, those that recur each time."""
  return [tuple(own[i : i + length]) for i in range(len(own) - length + 1)]


def longest_run(
  one: Sequence[str], other: Sequence[str], apart: Sequence[str] = ()
) -> int:
  """Words of the longest run that two texts have in common.

  Args:
    one: the words of a text.
    other: those of another.
    apart: of a third; a run that holds three words in a row of it does not
      count.
  """
  named = {*runs(apart, _NAMED)}
  length = 0
  while any(
    named.isdisjoint(runs(run, _NAMED))
    for run in {*runs(one, length + 1)} & {*runs(other, length + 1)}
  ):
    length += 1
  return length


def share_of_runs(
  own: Sequence[str],
  others: Iterable[Sequence[str]],
  length: int,
  apart: Sequence[str] = (),
) -> float:
  """The share of a text's runs that occur in any of the others; 0 if none.

  Args:
    own: the words of the text.
    others: those of each of the others.
    length: of a run.
    apart: the words of a text whose runs never count as shared; they stay
      among the text's own.
  """
  mine = runs(own, length)
  theirs = {run for other in others for run in runs(other, length)}
  theirs -= {*runs(apart, length)}
  return sum(run in theirs for run in mine) / max(len(mine), 1)
