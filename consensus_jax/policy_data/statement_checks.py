"""Whether a text will do as a consensus statement: rules, no model.

Each check is a number and the limits within which it passes. The rules are
those of the seed set's brief (docs/data/seed.md) and of the faults that small
models show: statements that break off, speak as one person, repeat the prompt
or an opinion, add facts, or go in circles. They say nothing about whether
people would agree: that is the reward model's part. Bakker et al. 2022 filter
by people's quality ratings instead, which nobody gave here.

The limits come from the consensus statements of the seed set on its training
topics: at least 97% of them pass all checks, opinions handed in as statements
and statements of other deliberations fail (tests/policy_data measures both).
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from consensus_jax import prompts
from consensus_jax.deliberation import Deliberation
from consensus_jax.policy_data.words import (
  content,
  longest_run,
  names,
  runs,
  sentences,
  share_of_runs,
  words,
)

# What each number must be: (least, most).
Limits = Mapping[str, tuple[float | int, float | int]]
LIMITS: Limits = MappingProxyType(
  {
    # The brief asks for 50 to 110 words; people's own mean 105 to 126.
    'words': (25, 130),
    'broken_sentences': (0, 0),
    'marks_of_layout': (0, 0),
    # The group speaks, no member of it.
    'plural_words': (1, math.inf),
    'singular_words': (0, 0),
    'leaked_phrases': (0, 0),
    'leaked_runs': (0, 0),
    # The longest run that a seed consensus shares with an opinion is 8 words.
    # Two of the three published consensus statements have runs of 9 and 10.
    'copied_run': (0, 12),
    'copied_share': (0, 0.3),
    'copied_share_of_all': (0, 0.5),
    # A share, and the number that it is made of. In the median 0.5 and 10; of
    # a statement on another question 0.04 and 1.
    'grounded': (0.15, 1),
    'new_numbers': (0, 0),
    'new_names': (0, 0),
    'on_question': (3, math.inf),
    'repeated': (0, 0.1),
    'repeated_sentences': (0, 0),
    # In nats a token. Gibberish is far below; a policy's own samples are above.
    'log_likelihood': (-4.5, math.inf),
  }
)

_RUN_OF_SHARE = 3
_RUN_OF_REPEATS = 3
_RUN_OF_LEAKS = 7
# A sentence is much like another with this share of the words of either.
_SAME_SENTENCE = 0.8

_BEGINNING = re.compile(r'["\'“‘(]?[A-Z0-9£$€]')
_END = re.compile(r'[.!?…]["\'”’)\]]*')
# Bullets and numbered points, headings and emphasis, links, markup, tables.
_LAYOUT = re.compile(
  r'\n|^\s*(?:[-*•#>]|\d+[.)]\s|[a-z]\)\s)|\*\*|__|https?:|www\.|'
  r'[<>{}|\\\[\]~`]|\.{4,}|[-_=*]{3,}',
  re.IGNORECASE,
)
_PLURAL = frozenset(words("we our ours us ourselves we'd we'll we're we've"))
_SINGULAR = frozenset(words("i my me mine myself i'd i'll i'm i've"))
# What only a prompt, a chat or a text about the task says.
_LEAKS = re.compile(
  r"""
  \b(?:(?-i:Question|Opinion|Consensus|Statement|Answer|Response|Candidate|
    View|Citizen|Participant|Person|User|Assistant|System|Example|Note|Task|
    Summary|Conclusion)|(?:final|initial|revised|draft)\ \w+)\ ?[\dA-Z]?\ ?:
  | <\|? | \|> | \[/?inst\] | </?s> | \#\#\#
  | \bopinions?\ (?:number\ )?\d | \b(?:participant|citizen|person)\ \d
  | \bcitizen'?s'?\ jur(?:y|ies)\b | \bthe\ jur(?:y|ors)\b
  | \bconsensus\ (?:statement|view|opinion)s?\b | \bfollowing\ consensus\b
  | \b(?:this|the\ following|our|a|above)\ statement\b
  | \b(?:the|these|their|all|each|every|those|given|above|following|individual)
    \ (?:\w+\ )?opinions?\b
  | \bmembers?\ of\ (?:the|our)\ group\b | \bgroup\ members?\b
  | \bas\ an?\ (?:ai|language|assistant)\b | \blanguage\ model\b
  | \b(?:here\ is|here's|below\ is)\ (?:a|the|our|my)\b
  | \bafter\ (?:a\ good|much|careful)\ debate\b
  """,
  re.IGNORECASE | re.VERBOSE,
)
_PROMPTS = (
  prompts.JURY,
  prompts.VERDICT,
  prompts.CHAT_TASK,
  prompts.RATER_TASK,
  prompts.RATER_QUESTION,
  *(each.consensus for each in prompts.EXAMPLES),
)
_LEAKED_RUNS = frozenset(
  run for prompt in _PROMPTS for run in runs(words(prompt), _RUN_OF_LEAKS)
)
_FIGURE = re.compile(r'\d+(?:[.,]\d+)*')
# Up to ten a group counts its own members, and people use them loosely.
_SMALL = words('one two three four five six seven eight nine ten')
_TEENS = words(
  'eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'
)
_TENS = words('twenty thirty forty fifty sixty seventy eighty ninety')
_SMALL_NUMBERS = {name: str(n) for n, name in enumerate(_SMALL, 1)}
_NUMBERS = {name: str(n) for n, name in enumerate(_TEENS, 11)} | {
  name: str(10 * n) for n, name in enumerate(_TENS, 2)
}
_NAME = re.compile(r"(?<![\w'’-])[A-Z][\w’'-]*")
# A name is known by its beginning: "Britain" is where "British" comes from.
_NAME_STEM = 4
# Names that everybody has at hand and that tell nothing new.
_COMMON_NAMES = frozenset(
  names(
    'Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February '
    'March April May June July August September October November December '
    'Christmas Easter God King Queen Crown Government Parliament Internet'
  )
)


@dataclasses.dataclass(frozen=True)
class Check:
  """One number of a statement, and whether it is within its limits."""

  name: str
  value: float
  passed: bool


@dataclasses.dataclass(frozen=True)
class Checks:
  """All checks of one statement."""

  verdicts: tuple[Check, ...]

  @property
  def passed(self) -> bool:
    """Whether the statement passes every check."""
    return not self.failures

  @property
  def failures(self) -> tuple[str, ...]:
    """Names of the checks that it fails."""
    return tuple(each.name for each in self.verdicts if not each.passed)

  def to_json(self) -> dict[str, float]:
    """The numbers by name."""
    return {each.name: each.value for each in self.verdicts}


def check(
  statement: str,
  deliberation: Deliberation,
  *,
  log_likelihood: float | None = None,
  limits: Limits = LIMITS,
) -> Checks:
  """Checks a statement against the question and opinions it is to speak for.

  Args:
    statement: as the policy wrote it, line breaks included.
    deliberation: its question and opinions.
    log_likelihood: mean over its tokens under the model that wrote it, in
      nats; None leaves fluency unchecked.
    limits: (least, most) by name of the check.

  Raises:
    ValueError: if a limit is of no check, or one is missing.
  """
  if limits.keys() != LIMITS.keys():
    raise ValueError(
      f'limits must be of {", ".join(LIMITS)}, got {", ".join(limits)}'
    )
  numbers = measure(statement, deliberation)
  if log_likelihood is not None:
    numbers['log_likelihood'] = log_likelihood
  return Checks(
    tuple(
      Check(name, value, limits[name][0] <= value <= limits[name][1])
      for name, value in numbers.items()
    )
  )


def measure(statement: str, deliberation: Deliberation) -> dict[str, float]:
  """The numbers of a statement, by name of the check; see the functions."""
  text = statement.strip()
  opinions = [opinion.text for opinion in deliberation.opinions]
  said = [deliberation.question, *opinions]
  own, others = words(text), [words(opinion) for opinion in opinions]
  # Who names the question copies nobody, though an opinion may repeat it.
  asked = words(deliberation.question)
  known = frozenset().union(*map(content, said))
  subject = content(text)
  numbers = {
    'words': len(own),
    'broken_sentences': broken_sentences(text),
    'marks_of_layout': len(_LAYOUT.findall(text)),
    'plural_words': sum(word in _PLURAL for word in own),
    'singular_words': sum(word in _SINGULAR for word in own),
    'leaked_phrases': leaked_phrases(text, said),
    'leaked_runs': leaked_runs(own, said),
    'copied_run': max(longest_run(own, other, asked) for other in others),
    'copied_share': max(
      share_of_runs(own, [other], _RUN_OF_SHARE, asked) for other in others
    ),
    'copied_share_of_all': share_of_runs(own, others, _RUN_OF_SHARE, asked),
    'grounded': len(subject & known) / max(len(subject), 1),
    'new_numbers': len(figures(text) - _all_figures(said)),
    'new_names': len(new_names(text, said)),
    'on_question': len(subject & known),
    'repeated': repeated(own),
    'repeated_sentences': repeated_sentences(text),
  }
  return {name: float(number) for name, number in numbers.items()}


def broken_sentences(text: str) -> int:
  """Sentences that begin without a capital, or a text that just ends."""
  beginnings = [bool(_BEGINNING.match(each)) for each in sentences(text)]
  ends = bool(re.search(rf'{_END.pattern}$', text))
  return beginnings.count(False) + (not ends)


def leaked_phrases(text: str, said: Sequence[str]) -> int:
  """Phrases of the prompt or the task that neither question nor opinion has.

  A group that deliberates on juries may speak of juries.
  """
  theirs = ' '.join(said).casefold()
  found = [match.group().casefold() for match in _LEAKS.finditer(text)]
  return sum(phrase not in theirs for phrase in found)


def leaked_runs(own: Sequence[str], said: Sequence[str]) -> int:
  """Runs of seven words of a prompt or its worked examples.

  A run that the question or an opinion has as well is theirs.
  """
  found = _LEAKED_RUNS.intersection(runs(own, _RUN_OF_LEAKS))
  theirs = {run for each in said for run in runs(words(each), _RUN_OF_LEAKS)}
  return len(found - theirs)


def figures(text: str) -> set[str]:
  """Numbers that a text names, from eleven on also those in letters."""
  digits = {each.replace(',', '') for each in _FIGURE.findall(text)}
  spelled = {
    _NUMBERS[part]
    for word in words(text)
    for part in word.split('-')
    if part in _NUMBERS
  }
  return digits | spelled


def _all_figures(said: Sequence[str]) -> set[str]:
  """Numbers of the question and the opinions, the small ones too."""
  text = ' '.join(said)
  own = words(text)
  small = {_SMALL_NUMBERS[word] for word in own if word in _SMALL_NUMBERS}
  return figures(text) | small


def new_names(text: str, said: Sequence[str]) -> set[str]:
  """Capitalised words within sentences that nobody said.

  Names are compared by their first letters, in any case: people do not always
  write capitals.
  """
  theirs = {name[:_NAME_STEM] for each in said for name in names(each)}
  found = set()
  for sentence in sentences(text):
    for match in _NAME.finditer(sentence):
      before = sentence[: match.start()].rstrip(' "\'“‘(')
      # The first word, and that of a sentence quoted or after a colon.
      if before and before[-1] not in ':.!?':
        found |= {*names(match.group())}
  known = _COMMON_NAMES | _SINGULAR | _PLURAL
  return {name for name in found - known if name[:_NAME_STEM] not in theirs}


def repeated(own: Sequence[str]) -> float:
  """The share of a text's runs of three words that came before in it."""
  found = runs(own, _RUN_OF_REPEATS)
  return 1 - len(set(found)) / len(found) if found else 0.0


def repeated_sentences(text: str) -> int:
  """Sentences that nearly repeat the words of an earlier one."""
  bags = [frozenset(words(each)) for each in sentences(text)]
  return sum(
    any(
      len(bag & earlier) >= _SAME_SENTENCE * len(bag | earlier)
      for earlier in bags[:place]
    )
    for place, bag in enumerate(bags)
  )
