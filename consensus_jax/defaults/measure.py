"""What the reward models of `train` reach, on people that they never saw.

New conversations: everyone of one half of the conversations, by the model of
the other half. New people: those kept apart in conversations that `full` knows.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from consensus_jax.data.record_files import replacing
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.defaults import vote_rows
from consensus_jax.defaults.people import HALF_A, HALF_B, People
from consensus_jax.evaluation import (
  benchmark,
  cases,
  groups,
  regret,
  robustness,
  systems,
)
from consensus_jax.evaluation.cases import Case
from consensus_jax.language_model import LanguageModel

MODEL = 'reward model'
# Trained without opinions, and asked without.
STATEMENTS = 'reward model of statements only'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """How much is measured; time grows with all of it.

  Attributes:
    people: of a conversation, drawn.
    statements: votes of a person, drawn.
    train_people: of a conversation, for logistic regression.
    groups: of a conversation, for regret.
    draws: of people, for intervals.
  """

  people: int = 40
  statements: int = 16
  train_people: int = 120
  groups: int = 12
  draws: int = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
  """People to predict, by models that know nothing of them."""

  name: str
  records: tuple[JudgedDeliberation, ...]
  train: tuple[JudgedDeliberation, ...]
  models: Mapping[str, pathlib.Path]
  held_out: systems.HeldOut


def measure(
  splits: Mapping[str, People],
  runs: Mapping[str, pathlib.Path],
  cache: pathlib.Path,
  *,
  sizes: Sizes = Sizes(),
  seed: int = 0,
) -> dict[str, Any]:
  """Sections of a report (`evaluation.report.document`), by their titles.

  Args:
    splits: as `people.read` gives them.
    runs: folders of adapters, by name of the run.
    cache: a folder; what models said stays there, so that a measurement that
      was stopped goes on.
    sizes: how much is measured.
    seed: of all draws.
  """
  everyone = _everyone(splits)
  train = splits['train']

  def new_conversations(form: str) -> list[_Part]:
    return [
      _Part(
        name=f'new_{form}_{half}',
        records=_fully_described(getattr(everyone.of(unseen), form)),
        train=_fully_described(getattr(train.of(seen), form)),
        models=_models(runs, half),
        held_out='conversation',
      )
      for half, seen, unseen in (('a', HALF_A, HALF_B), ('b', HALF_B, HALF_A))
    ]

  known = _Part(
    name='known_votes',
    records=_fully_described(splits['iid_test'].votes),
    train=_fully_described(train.votes),
    models={MODEL: runs['full']},
    held_out='participant',
  )
  sections: dict[str, Any] = {}
  for title, parts in (
    ('New conversations, described by votes', new_conversations('votes')),
    ('New conversations, described by comments', new_conversations('comments')),
    ('New people of known conversations', [known]),
  ):
    sections[title] = _compare(parts, everyone, cache, sizes, seed)
  sections['Welfare of groups in new conversations'] = _regret(
    new_conversations('votes'), everyone, cache, sizes, seed
  )
  some = cases.from_records(
    known.records, max_statements=8, max_people=6, seed=seed
  )[0]
  model = LanguageModel.load(runs['full'])
  own = systems.of_model(MODEL, model, seed=seed)[MODEL]
  sections['Robustness'] = robustness.measure(some, own, seed=seed)
  return sections


def _models(runs, half) -> dict[str, pathlib.Path]:
  found = {MODEL: runs[f'half_{half}']}
  if f'statements_{half}' in runs:
    found[STATEMENTS] = runs[f'statements_{half}']
  return found


def _everyone(splits: Mapping[str, People]) -> People:
  """People of all splits: a model of the other half has seen none of them."""

  def joined(form: str) -> tuple[JudgedDeliberation, ...]:
    records: dict[str, JudgedDeliberation] = {}
    for part in splits.values():
      for record in getattr(part, form):
        before = records.get(record.id)
        members = (*(before.members if before else ()), *record.members)
        records[record.id] = dataclasses.replace(record, members=members)
    return tuple(records.values())

  return People(votes=joined('votes'), comments=joined('comments'))


def _fully_described(
  records: Sequence[JudgedDeliberation],
) -> tuple[JudgedDeliberation, ...]:
  """People with enough votes that eight of them make an opinion."""
  kept = (
    dataclasses.replace(
      record,
      members=tuple(
        member
        for member in record.members
        if sum(vote != 0 for vote in member.votes) >= vote_rows.MIN_JUDGED
      ),
    )
    for record in records
  )
  return tuple(record for record in kept if len(record.members) > 1)


def _systems(part: _Part, popularity, sizes: Sizes, seed: int):
  """What predicts the votes of a part's people, by name."""
  features = LanguageModel.load(None)
  train, _ = cases.from_records(
    part.train,
    max_statements=sizes.statements,
    max_people=sizes.train_people,
    seed=seed,
  )
  model = LanguageModel.load(part.models[MODEL])
  found = systems.of_model(MODEL, model, seed=seed, row_length=768)
  if STATEMENTS in part.models:
    alone = LanguageModel.load(part.models[STATEMENTS])
    of_nobody = systems.of_nobody(STATEMENTS)
    found[STATEMENTS] = systems.of_model(STATEMENTS, alone)[of_nobody]
  return found | systems.baselines(
    features,
    train=train,
    records=popularity,
    held_out=part.held_out,
    seed=seed,
    row_length=768,
  )


def _compare(parts, everyone: People, cache, sizes: Sizes, seed: int):
  together: list[Case] = []
  rewards: list[dict[str, list[np.ndarray]]] = []
  for part in parts:
    test, _ = cases.from_records(
      part.records,
      max_statements=sizes.statements,
      max_people=sizes.people,
      seed=seed,
    )
    predicts = _systems(part, everyone.votes, sizes, seed)
    rewards.append(
      {
        name: _kept(cache / part.name, name, test, predict)
        for name, predict in predicts.items()
      }
    )
    together += test
  joined = systems.joined(rewards)
  differences = systems.differences(joined, [MODEL])
  if STATEMENTS in joined:
    differences.append((MODEL, STATEMENTS))
  return benchmark.compare(
    together,
    joined,
    log_odds=systems.log_odds(joined),
    differences=differences,
    num_draws=sizes.draws,
    seed=seed,
  )


def _regret(parts, everyone: People, cache, sizes: Sizes, seed: int):
  drawn: list[groups.Group] = []
  rewards: list[dict[str, list[np.ndarray]]] = []
  for part in parts:
    here, _ = groups.draw_groups(
      part.records, per_conversation=sizes.groups, seed=seed
    )
    asked = groups.cases_of(here)
    predicts = _systems(part, everyone.votes, sizes, seed)
    whole = {
      name: predict
      for name, predict in predicts.items()
      if name not in (systems.of_another(MODEL), systems.of_nobody(MODEL))
    }
    rewards.append(
      {
        name: groups.rewards_by_group(
          here,
          asked,
          _kept(cache / f'groups_{part.name}', name, asked, predict),
        )
        for name, predict in whole.items()
      }
    )
    drawn += here
  joined = systems.joined(rewards)
  return regret.measure(
    drawn, joined, differences=systems.differences(joined, [MODEL])
  )


def _kept(
  folder: pathlib.Path,
  name: str,
  asked: Sequence[Case],
  predict: Callable[[Sequence[Case]], list[np.ndarray]],
) -> list[np.ndarray]:
  """What a system says of cases, from the file where it stands already."""
  plain = ''.join(c if c.isalnum() else '_' for c in name)
  path = folder / f'{plain}.npy'
  sizes = [len(case.statements) for case in asked]
  if path.exists():
    values = np.load(path)
  else:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.concatenate(predict(asked))
    with replacing(path) as temporary, temporary.open('wb') as file:
      np.save(file, values)
  if len(values) != sum(sizes):
    raise ValueError(f'{path} is of other cases; delete it')
  return np.split(values, np.cumsum(sizes)[:-1])
