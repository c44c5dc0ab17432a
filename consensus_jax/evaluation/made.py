"""Statements of models for simulated groups: made, kept, chosen from."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from consensus_jax.data import progress
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Deliberation, Outcome
from consensus_jax.evaluation.latent import statements
from consensus_jax.evaluation.latent.groups import LatentGroup
from consensus_jax.evaluation.latent.ratings import LatentStatement
from consensus_jax.evaluation.outcome_runs import run_all
from consensus_jax.settings import WRITING, Settings
from consensus_jax.social_choice.aggregate import aggregate
from consensus_jax.social_choice.utilities import UtilityMap


@runtime_checkable
class Mediates(Protocol):
  """What writes and ranks: a `Mediator`."""

  def mediate(self, deliberation: Deliberation, settings: Settings) -> Outcome:
    """Writes candidates and scores them."""

  def rank(self, deliberation: Deliberation, settings: Settings) -> Outcome:
    """Scores the candidates that the deliberation brings."""


class Maker(NamedTuple):
  """Who makes statements.

  Attributes:
    mediator: that writes and ranks.
    about: its models as JSON values; kept outcomes of others are refused.
  """

  mediator: Mediates
  about: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """How one of several candidates is chosen.

  Attributes:
    num: of how many; the first of them.
    rule: as `aggregate`.
    alpha: as `aggregate`.
    utility: name of the map from rewards to utilities.
    seed: of the tie-break.
  """

  num: int
  rule: str = 'isoelastic'
  alpha: float | int = 0.0
  utility: str = 'shift'
  seed: int = 0


def write(
  deliberations: Sequence[Deliberation],
  maker: Maker,
  settings: Settings,
  *,
  path: str | os.PathLike[str],
) -> list[Outcome]:
  """Candidates for each deliberation, scored; kept in a file.

  Each has a seed of its own, so that it does not depend on the others.

  Raises:
    InputError: if the file holds outcomes of something else.
  """
  return _kept('mediate', deliberations, maker, settings, path)


def rank(
  deliberations: Sequence[Deliberation],
  maker: Maker,
  settings: Settings,
  *,
  path: str | os.PathLike[str],
) -> list[Outcome]:
  """The candidates that each deliberation brings, scored; kept in a file.

  Raises:
    InputError: if the file holds outcomes of something else.
  """
  return _kept('rank', deliberations, maker, settings, path)


def candidates(
  group: LatentGroup, outcome: Outcome
) -> tuple[LatentStatement, ...]:
  """What was written for a group, read; without what is refused."""
  return tuple(
    statements.read(group.question, each.text)
    for each in outcome.candidates
    if each.refused is None
  )


def chosen(
  group: LatentGroup, outcome: Outcome, choice: Choice
) -> LatentStatement | None:
  """The best of the first candidates; None if all of them are refused.

  A candidate does not depend on how many there are, so the first N of more are
  a draw of N.
  """
  some = outcome.candidates[: choice.num]
  rewards = np.array(
    [
      [np.nan if value is None else value for value in each.rewards]
      for each in some
    ],
    np.float32,
  )
  if np.isnan(rewards).any(1).all():
    return None
  # In chunks, only the winner is computed and not all that changes it.
  winner = aggregate(
    rewards,
    alphas=(choice.alpha,),
    chunk=rewards.shape[1],
    rule=choice.rule,
    alpha=choice.alpha,
    utility=UtilityMap(choice.utility),
    seed=choice.seed,
  ).winner
  if winner is None:
    return None
  return statements.read(group.question, some[winner].text)


def _kept(
  verb: Literal['mediate', 'rank'],
  deliberations: Sequence[Deliberation],
  maker: Maker,
  settings: Settings,
  path: str | os.PathLike[str],
) -> list[Outcome]:
  make = getattr(maker.mediator, verb)

  def seeded(each: Deliberation) -> Outcome:
    own = seed_of(settings.seed, 'experiments', each.id) % 2**32
    return make(each, dataclasses.replace(settings, seed=own))

  names = (*WRITING, 'utility', 'overflow', 'seed')
  told = {name: getattr(settings, name) for name in names}
  with progress.shown(f'{verb}: {pathlib.Path(path).stem}', 'groups') as report:
    return run_all(
      deliberations,
      seeded,
      path=path,
      run={'verb': verb, **maker.about, 'settings': told},
      progress=report,
    )
