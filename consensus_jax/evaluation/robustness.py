"""By how much rewards move where the meaning stays."""

import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from consensus_jax.evaluation import measures
from consensus_jax.evaluation.cases import Case
from consensus_jax.training.metrics import Mean, rank_correlation

Predict = Callable[[Sequence[Case]], Sequence[np.ndarray]]
Change = Callable[[Case], Case]

# As `data.verbalise` writes a vote.
_VOTE = re.compile(r'\S.*?[.!?…][\'’)\]\"”]* (?:Agree|Disagree)\.(?= |$)')
_FINAL = re.compile(r'[\s.!?…]+$')
# Said in other words, one for the other; those on the left are looked for.
_OTHER_WORDS = {
  "don't": 'do not',
  "doesn't": 'does not',
  "can't": 'cannot',
  "won't": 'will not',
  "isn't": 'is not',
  "aren't": 'are not',
  "shouldn't": 'should not',
  "it's": 'it is',
  "we're": 'we are',
  "they're": 'they are',
  "i'm": 'I am',
  'do not': "don't",
  'does not': "doesn't",
  'cannot': "can't",
  'will not': "won't",
  'is not': "isn't",
  'are not': "aren't",
  'should not': "shouldn't",
  'we need to': 'we have to',
  'we have to': 'we need to',
  'a lot of': 'much',
  'everyone': 'everybody',
  'everybody': 'everyone',
}
_LOOKED_FOR = re.compile(
  rf'\b(?:{"|".join(map(re.escape, _OTHER_WORDS))})\b', re.IGNORECASE
)
_OPENING = re.compile(
  r'^(?:i (?:think|believe|feel) (?:that )?)', re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
  """What one change of texts does to rewards.

  Attributes:
    change: its name, one of `CHANGES`.
    cases: people whose texts it changed.
    rewards: of statements of these people.
    mean_change: mean absolute change of a reward, in standard deviations of all
      rewards without the change.
    rank_agreement: Spearman's correlation of rewards with and without it, of
      the statements of one person; mean of people.
    people_ranked: those over whom that mean is taken.
    auc: of agree against disagree, without the change, of these people.
    auc_changed: the same with it.
  """

  change: str
  cases: int
  rewards: int
  mean_change: float
  rank_agreement: float
  people_ranked: int
  auc: float
  auc_changed: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness:
  """All changes, and the unit of theirs.

  Attributes:
    changes: one a change of `CHANGES`.
    deviation: standard deviation of the rewards of all cases, unchanged.
    cases: how many there are.
    seed: of the order of votes.
  """

  changes: tuple[Moved, ...]
  deviation: float
  cases: int
  seed: int


def measure(
  cases: Sequence[Case], predict: Predict, *, seed: int = 0
) -> Robustness:
  """Predicts all cases as they are, and those that a change alters again.

  Args:
    cases: people and statements.
    predict: rewards of cases, such as `predict.rewards` of a model.
    seed: of the order of votes.

  Raises:
    ValueError: if there are no cases, or rewards do not differ.
  """
  plain = predict(cases)
  of = measures.judgements(cases, plain)
  deviation = float(of.rewards.std()) if len(of.rewards) else 0.0
  if not deviation > 0:
    raise ValueError('rewards do not differ: there is nothing to move')
  return Robustness(
    changes=tuple(
      _moved(name, change, cases, plain, predict, deviation)
      for name, change in changes(seed).items()
    ),
    deviation=deviation,
    cases=len(cases),
    seed=seed,
  )


def changes(seed: int) -> Mapping[str, Change]:
  """What is done to texts, by name.

  Case, final punctuation, white space and other words are of the statements;
  the order of votes is of opinions that are votes in words.
  """
  return {
    'statement in lower case': _of_statements(str.lower),
    'statement in upper case': _of_statements(str.upper),
    'no punctuation at the end': _of_statements(
      lambda text: _FINAL.sub('', text) or text
    ),
    'white space around and within': _of_statements(
      lambda text: f'  {text.replace(" ", "  ")}\n'
    ),
    'statement in other words': _of_statements(paraphrase),
    'statement after "I think that"': _of_statements(thought),
    'opinion in lower case': lambda case: dataclasses.replace(
      case, opinion=case.opinion.lower()
    ),
    'votes of the opinion in another order': lambda case: reordered(case, seed),
  }


def paraphrase(text: str) -> str:
  """Contractions written out or contracted, and a few words for others."""

  def other(found: re.Match[str]) -> str:
    new = _OTHER_WORDS[found[0].lower()]
    return new[0].upper() + new[1:] if found[0][0].isupper() else new

  return _LOOKED_FOR.sub(other, text)


def thought(text: str) -> str:
  """The text after "I think that", or without it if it starts like that."""
  bare = _OPENING.sub('', text)
  if bare != text and bare:
    return bare[0].upper() + bare[1:]
  first = text.split(maxsplit=1)[0] if text.strip() else ''
  # Names and acronyms keep their capital; so does "I".
  keep = first == 'I' or first[1:] != first[1:].lower()
  return f'I think that {text if keep else text[0].lower() + text[1:]}'


def reordered(case: Case, seed: int) -> Case:
  """The votes that the opinion puts into words, in another order."""
  votes = _VOTE.findall(case.opinion)
  if ' '.join(votes) != case.opinion or len({*votes}) < 2:
    return case
  shuffled = votes
  draw = random.Random(f'{seed}/{case.conversation}/{case.participant}')
  while shuffled == votes:
    shuffled = draw.sample(votes, len(votes))
  return dataclasses.replace(case, opinion=' '.join(shuffled))


def _of_statements(change: Callable[[str], str]) -> Change:
  return lambda case: dataclasses.replace(
    case, statements=tuple(change(text) for text in case.statements)
  )


def _moved(name, change, cases, plain, predict, deviation) -> Moved:
  # Only statements that the change alters count: others would flatter it.
  before: list[Case] = []
  after: list[Case] = []
  old: list[np.ndarray] = []
  for case, rewards in zip(cases, plain):
    changed = change(case)
    altered = [
      case.opinion != changed.opinion or one != two
      for one, two in zip(case.statements, changed.statements, strict=True)
    ]
    if any(altered):
      before.append(_some(case, altered))
      after.append(_some(changed, altered))
      old.append(np.asarray(rewards)[altered])
  new = predict(after) if after else []
  one, two = measures.judgements(before, old), measures.judgements(before, new)
  moves = np.abs(one.rewards - two.rewards)
  agreement = _rank_agreement(old, new)
  everybody = np.ones((1, len(before)))
  return Moved(
    change=name,
    cases=len(before),
    rewards=len(moves),
    mean_change=float(moves.mean() / deviation) if len(moves) else np.nan,
    rank_agreement=agreement.value,
    people_ranked=agreement.number,
    auc=float(measures.auc(one, everybody)[0]),
    auc_changed=float(measures.auc(two, everybody)[0]),
  )


def _some(case: Case, chosen: Sequence[bool]) -> Case:
  return dataclasses.replace(
    case,
    statements=tuple(itertools.compress(case.statements, chosen)),
    votes=tuple(itertools.compress(case.votes, chosen)),
    statement_ids=tuple(itertools.compress(case.statement_ids, chosen)),
  )


def _rank_agreement(
  old: Sequence[Float[np.ndarray, '_']], new: Sequence[Float[np.ndarray, '_']]
) -> Mean:
  """Of people with at least two statements of different rewards."""
  found = [rank_correlation(b[None], a[None]) for a, b in zip(old, new)]
  values = [mean.value for mean in found if mean.number]
  return Mean(float(np.mean(values)) if values else np.nan, len(values))
