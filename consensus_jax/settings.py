"""What a person can choose about a mediation, and how far it has come."""

import dataclasses
import math
from typing import Literal, get_args

from consensus_jax.deliberation import InputError
from consensus_jax.social_choice.names import MapName, Rule, Strength, TieBreak

Policy = Literal['zero_shot', 'few_shot', 'sft']
Overflow = Literal['error', 'truncate']
Stage = Literal['load', 'prefill', 'generate', 'score', 'aggregate']

# Settings that only matter where statements are written.
WRITING = (
  'policy',
  'num_candidates',
  'max_tokens',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'no_repeat_ngram_size',
  'no_copy_ngram_size',
)

# In place of a reward model's path: the policy is asked whether participants
# would agree.
PROMPTED_RATER = 'prompted_rater'

_OPTIONAL = ('top_k', 'no_repeat_ngram_size', 'no_copy_ngram_size')
_FINITE = math.nextafter(math.inf, 0)

# Alphas that have a name of their own.
WELFARES = {'utilitarian': 0.0, 'nash': 1.0, 'rawlsian': math.inf}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How candidates are written and chosen.

  Attributes:
    policy: which prompt the model gets; None takes that in which it was
      taught: 'sft' for a model with adapters, 'zero_shot' for any other.
    num_candidates: how many statements it writes.
    max_tokens: the longest statement, in tokens.
    temperature: of sampling; 0 takes the likeliest token each time.
    top_p: smallest set of tokens with this probability; 1 keeps all.
    top_k: that many likeliest tokens; None keeps all.
    min_p: tokens at least this likely, relative to the likeliest; 0 keeps all.
    no_repeat_ngram_size: a statement that says so many tokens in a row a second
      time goes on with another word than the first time; None lets it.
    no_copy_ngram_size: likewise if it copies so many in a row from the prompt,
      opinions included, its question apart.
    rule: how the group's ranking comes about.
    alpha: aversion to inequality of the rule 'isoelastic', in [0, inf]: 0 is
      utilitarian, 1 Bernoulli-Nash, inf Rawlsian.
    delta: aversion to inequality of the rule 'gini', in [1, inf].
    strength: of a majority, for rules that compare candidates in pairs.
    threshold: the reward above which a participant approves, for 'approval'.
    tie_break: which of equal candidates is the consensus.
    utility: the map from rewards to positive utilities.
    overflow: what to do with opinions too long for the model: an error, or
      cut the longest first and record it.
    seed: the same seed gives the same candidates.

  Raises:
    InputError: naming the setting that is out of range.
  """

  policy: Policy | None = None
  num_candidates: int = 16
  max_tokens: int = 160
  temperature: float | int = 0.3
  top_p: float | int = 0.95
  top_k: int | None = None
  min_p: float | int = 0.1
  no_repeat_ngram_size: int | None = 5
  no_copy_ngram_size: int | None = 14
  rule: Rule = 'isoelastic'
  alpha: float | int = 0.0
  delta: float | int = 2.0
  strength: Strength = 'winning_votes'
  threshold: float | int = 0.0
  utility: MapName = 'shift'
  tie_break: TieBreak = 'tbrc'
  overflow: Overflow = 'error'
  seed: int = 0

  def __post_init__(self):
    for name, known in (
      *((('policy', Policy),) if self.policy is not None else ()),
      ('rule', Rule),
      ('strength', Strength),
      ('utility', MapName),
      ('tie_break', TieBreak),
      ('overflow', Overflow),
    ):
      if getattr(self, name) not in get_args(known):
        _refuse(
          name, getattr(self, name), f'one of {", ".join(get_args(known))}'
        )
    for name, low, high in (
      ('num_candidates', 1, math.inf),
      ('max_tokens', 1, math.inf),
      ('top_k', 1, math.inf),
      ('no_repeat_ngram_size', 2, math.inf),
      ('no_copy_ngram_size', 2, math.inf),
      # jax.random.key keeps 32 bits: a larger seed would equal a smaller one.
      ('seed', 0, 2**32 - 1),
    ):
      value = getattr(self, name)
      if name in _OPTIONAL and value is None:
        continue
      whole = isinstance(value, int) and not isinstance(value, bool)
      if not (whole and low <= value <= high):
        limits = f'>= {low}' if high == math.inf else f'from {low} to {high}'
        _refuse(name, value, f'a whole number {limits}')
    for name, least, most, limits in (
      ('temperature', 0.0, _FINITE, 'finite and >= 0'),
      ('top_p', math.nextafter(0, 1), 1.0, 'above 0 and at most 1'),
      ('min_p', 0.0, 1.0, 'from 0 to 1'),
      ('alpha', 0.0, math.inf, 'from 0 to inf'),
      ('delta', 1.0, math.inf, 'from 1 to inf'),
      ('threshold', -_FINITE, _FINITE, 'that is finite'),
    ):
      value = getattr(self, name)
      number = isinstance(value, int | float) and not isinstance(value, bool)
      if not (number and least <= value <= most):
        _refuse(name, value, f'a number {limits}')
      object.__setattr__(self, name, float(value))


def _refuse(name: str, value: object, wanted: str) -> None:
  raise InputError(f'must be {wanted}, got {value!r}', field=(name,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """How far one stage of a mediation has come: `done` of `total` steps."""

  stage: Stage
  done: int
  total: int
  detail: str = ''
