"""Statements of models for simulated groups: made, kept, chosen from."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from consensus_jax.data import progress
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Deliberation, Outcome
from consensus_jax.evaluation.latent import statements
from consensus_jax.evaluation.latent.groups import LatentGroup
from consensus_jax.evaluation.latent.ratings import LatentStatement
from consensus_jax.evaluation.outcome_runs import run_all
from consensus_jax.outcome_file import write_atomically
from consensus_jax.settings import WRITING, Settings
from consensus_jax.social_choice.aggregate import aggregate
from consensus_jax.social_choice.utilities import UtilityMap
from consensus_jax.strict_json import InputError


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
    model: what its policy is called where models are compared.
  """

  mediator: Mediates
  about: Mapping[str, Any]
  model: str = ''


class Shard(NamedTuple):
  """Of several processes, each of which takes one group in `number`.

  Attributes:
    place: which of them, from 0.
    number: how many there are.
  """

  place: int
  number: int


class Files(NamedTuple):
  """Where outcomes are kept.

  Attributes:
    folder: of the files.
    shard: whose files; None for the process that reads those of all.
  """

  folder: pathlib.Path
  shard: Shard | None = None

  def open(self, name: str) -> pathlib.Path:
    """The file of outcomes of a name, with what shards have put aside.

    Raises:
      InputError: if the system refuses.
    """
    path = self.folder / f'{name}.jsonl'
    if self.shard is not None:
      place, number = self.shard
      return path.with_suffix(f'.{place}-of-{number}.jsonl')
    # Names of outcomes have dots as well, but no parts that are numbers.
    parts = sorted(self.folder.glob(f'{name}.[0-9]*-of-[0-9]*.jsonl'))
    if parts:
      files = [path, *parts] if path.exists() else parts
      write_atomically(str(path), _joined(files))
    return path


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
  files: Files,
  name: str,
) -> list[Outcome]:
  """Candidates for each deliberation, scored; kept in a file.

  Each has a seed of its own, so that it does not depend on the others.

  Raises:
    InputError: if the file holds outcomes of something else.
  """
  return _kept('mediate', deliberations, maker, settings, files.open(name))


def rank(
  deliberations: Sequence[Deliberation],
  maker: Maker,
  settings: Settings,
  *,
  files: Files,
  name: str,
) -> list[Outcome]:
  """The candidates that each deliberation brings, scored; kept in a file.

  Raises:
    InputError: if the file holds outcomes of something else.
  """
  return _kept('rank', deliberations, maker, settings, files.open(name))


def _joined(files: Sequence[pathlib.Path]) -> bytes:
  """Whole lines of all files, those of one deliberation once."""
  lines: dict[str, bytes] = {}
  for path in files:
    for line in path.read_bytes().splitlines(keepends=True):
      # A line that a shard is still writing, or has torn, is not there yet.
      if line.endswith(b'\n'):
        try:
          key = json.loads(line)['run']['input_sha256']
        except (ValueError, TypeError, KeyError):
          raise InputError(
            'holds a line that is no outcome', file=str(path)
          ) from None
        lines.setdefault(key, line)
  return b''.join(lines.values())


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
  """The best of the first candidates, read; None if all of them are refused."""
  best = winner(rewards(outcome), choice)
  if best is None:
    return None
  return statements.read(group.question, outcome.candidates[best].text)


def rewards(outcome: Outcome) -> Float[np.ndarray, 'candidates members']:
  """Of all candidates; NaN where there is none."""
  return np.array(
    [
      [np.nan if value is None else value for value in each.rewards]
      for each in outcome.candidates
    ],
    np.float32,
  )


def winner(
  rewards: Float[np.ndarray, 'candidates members'], choice: Choice
) -> int | None:
  """Which of the first candidates is chosen; None if all are refused.

  A candidate does not depend on how many there are, so the first N of more are
  a draw of N.
  """
  some = rewards[: choice.num]
  if np.isnan(some).any(1).all():
    return None
  # In chunks, only the winner is computed and not all that changes it.
  return aggregate(
    some.astype(np.float32),
    alphas=(choice.alpha,),
    chunk=some.shape[1],
    rule=choice.rule,
    alpha=choice.alpha,
    utility=UtilityMap(choice.utility),
    seed=choice.seed,
  ).winner


def _kept(
  verb: Literal['mediate', 'rank'],
  deliberations: Sequence[Deliberation],
  maker: Maker,
  settings: Settings,
  path: pathlib.Path,
) -> list[Outcome]:
  make = getattr(maker.mediator, verb)

  def seeded(each: Deliberation) -> Outcome:
    own = seed_of(settings.seed, 'experiments', each.id) % 2**32
    return make(each, dataclasses.replace(settings, seed=own))

  names = (*WRITING, 'utility', 'overflow', 'seed')
  told = {name: getattr(settings, name) for name in names}
  with progress.shown(f'{verb}: {path.stem}', 'groups') as report:
    return run_all(
      deliberations,
      seeded,
      path=path,
      run={'verb': verb, **maker.about, 'settings': told},
      progress=report,
    )
