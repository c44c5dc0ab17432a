"""The systems of the reward-model benchmark, each a function of cases.

systems = of_model('reward model', model, seed=0) | baselines(...)
rewards = {name: predict(cases) for name, predict in systems.items()}
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.evaluation import baselines as rules
from consensus_jax.evaluation import predict
from consensus_jax.evaluation.cases import Case, swapped, without_opinion
from consensus_jax.language_model import LanguageModel

Predict = Callable[[Sequence[Case]], list[np.ndarray]]
HeldOut = Literal['conversation', 'participant']

CHANCE = 'chance'
LENGTH = 'length of the statement'
POPULARITY = 'popularity among others'
COSINE = 'cosine of embeddings'
LOGISTIC = 'logistic regression'
LOGISTIC_ALONE = 'logistic regression, no opinion'
PROMPTED_RATER = 'prompted rater'
BASELINES = (
  CHANCE,
  LENGTH,
  COSINE,
  LOGISTIC_ALONE,
  LOGISTIC,
  PROMPTED_RATER,
  POPULARITY,
)
NO_LOG_ODDS = frozenset({CHANCE, LENGTH, COSINE})


def of_another(name: str) -> str:
  """What the system is called with the opinion of another person."""
  return f"{name}, another's opinion"


def of_nobody(name: str) -> str:
  """What the system is called without an opinion."""
  return f'{name}, no opinion'


def of_model(
  name: str, model: LanguageModel, *, seed: int = 0, row_length: int = 512
) -> dict[str, Predict]:
  """A reward model as it is, with swapped opinions, and without them.

  With swapped opinions it says nothing about statements that the other
  opinion quotes.

  Args:
    name: what it is called.
    model: with a reward head, or a prompted rater.
    seed: of the swaps.
    row_length: as of `predict.rewards`.
  """

  def own(cases, title=name):
    return predict.rewards(model, cases, row_length=row_length, title=title)

  def anothers(cases):
    others = swapped(cases, seed=seed)
    found = own(others, of_another(name))
    return predict.silent_where_quoted(found, others)

  def nobodys(cases):
    return own(without_opinion(cases), of_nobody(name))

  return {name: own, of_another(name): anothers, of_nobody(name): nobodys}


def baselines(
  model: LanguageModel,
  *,
  train: Sequence[Case] = (),
  records: Iterable[JudgedDeliberation] = (),
  held_out: HeldOut = 'participant',
  seed: int = 0,
  row_length: int = 512,
  embed: rules.Embed | None = None,
) -> dict[str, Predict]:
  """All of `BASELINES` for which there is what they need.

  Args:
    model: without a reward head: gives the frozen features, and is the
      prompted rater.
    train: what logistic regression learns from; without, there is none.
    records: whose votes are popularity; without, there is none.
    held_out: what is new in the cases to predict; its strength of penalty is
      chosen by leaving out the same of `train`.
    seed: of chance, and of what is left out.
    row_length: of the prompted rater, as of `predict.rewards`.
    embed: the features of texts, if they are kept somewhere.
  """
  features_of = embed or functools.partial(predict.embeddings, model)

  @functools.lru_cache(maxsize=2)
  def embedded(cases: tuple[Case, ...]) -> rules.Embedded:
    return rules.embedded(features_of, cases)

  @functools.cache
  def fitted(features: Callable) -> rules.Logistic:
    names = [
      case.conversation
      if held_out == 'conversation'
      else f'{case.conversation}/{case.participant}'
      for case in train
      for _ in case.votes
    ]
    _, groups = np.unique(names, return_inverse=True)
    agree = np.array([vote > 0 for case in train for vote in case.votes])
    texts = embedded(tuple(train))
    return rules.fit(features(texts), agree, groups, seed=seed)

  def logistic(features: Callable, cases: Sequence[Case]) -> list[np.ndarray]:
    texts = embedded(tuple(cases))
    return texts.split(fitted(features).log_odds(features(texts)))

  found: dict[str, Predict] = {
    CHANCE: functools.partial(rules.chance, seed=seed),
    LENGTH: rules.length,
    COSINE: lambda cases: rules.cosine(embedded(tuple(cases))),
  }
  if train:
    found |= {
      LOGISTIC_ALONE: functools.partial(logistic, rules.statement_features),
      LOGISTIC: functools.partial(logistic, rules.pair_features),
    }
  if not model.config.reward_head:
    found[PROMPTED_RATER] = functools.partial(
      predict.rewards, model, row_length=row_length, title=PROMPTED_RATER
    )
  if records := tuple(records):
    found[POPULARITY] = functools.partial(rules.popularity, records=records)
  return found


def log_odds(names: Iterable[str]) -> set[str]:
  """Those systems whose rewards are log-odds of agreeing."""
  return {*names} - NO_LOG_ODDS


def differences(
  names: Iterable[str], of: Sequence[str]
) -> list[tuple[str, str]]:
  """What each system of `of` is compared with, as far as it is there.

  Length, logistic regression, popularity, and itself with another's opinion and
  with none.

  Args:
    names: all systems.
    of: reward models.
  """
  there = {*names}
  return [
    (name, other)
    for name in of
    for other in (
      *(LENGTH, LOGISTIC, POPULARITY),
      *(of_another(name), of_nobody(name)),
    )
    if other in there
  ]


def joined(
  parts: Sequence[Mapping[str, Sequence[np.ndarray]]],
) -> dict[str, list[np.ndarray]]:
  """Rewards of cases that follow each other, of systems that all parts have.

  For halves of the data that different models predict under one name.
  """
  return {
    name: [values for part in parts for values in part[name]]
    for name in parts[0]
    if all(name in part for part in parts)
  }
