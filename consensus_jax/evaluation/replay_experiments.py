"""The experiments by replay: real people's votes answer for what is chosen.

    sections = run(Replay(records=('polis:polis',)), rewards.of)

Groups of people of a Polis conversation who all voted on the same statements.
The statements are the candidates, the reward model predicts what each member
thinks of each, and what is chosen is judged by their votes.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import numpy as np

from consensus_jax.data import sources
from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.evaluation import made, replay, topics
from consensus_jax.evaluation.cases import Case
from consensus_jax.evaluation.experiment_settings import (
  check_alphas,
  check_names,
  ways,
)
from consensus_jax.evaluation.experiment_study import (
  MEAN,
  Section,
  measures_and_pairs,
)
from consensus_jax.evaluation.findings import Draws, Rated
from consensus_jax.evaluation.made import Choice
from consensus_jax.evaluation.ratings import from_records
from consensus_jax.evaluation.systems import Predict
from consensus_jax.social_choice.names import MapName, Rule
from consensus_jax.strict_json import InputError

NAMES = ('choice', 'welfare', 'conversations')
PREDICTED = 'reward model'
CHANCE = 'drawn by chance'
LONGEST = 'longest statement'
POPULAR = 'most popular among others'
KNOWN = 'votes known'

# What votes on several statements can tell of a group.
_MEASURES = (
  MEAN,
  'least agreement of a member',
  'share of members who disagree',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
  """What is to be found out, by whose votes.

  Attributes:
    records: sources of records with votes, such as `polis:FOLDER`.
    conversations: ids of those that count; all if none is named.
    experiments: some of `NAMES`.
    per_conversation: groups of each, at most; nobody is in two of them.
    size: members of a group.
    fewest: statements that all of a group voted on, at least.
    most: statements of a group; of more common ones some are drawn.
    alphas: aversions to inequality, numbers or 'inf'.
    rules: voting rules.
    utility: the map from rewards to utilities.
    num_draws: of bootstrap and permutations.
    seed: of everything.
    row_length: tokens of the longest row that it reads.
    reward_model: that chooses; None is the one that ships.

  Raises:
    InputError: naming the setting that is out of range.
  """

  records: Sequence[str]
  conversations: Sequence[str] = ()
  experiments: Sequence[str] = NAMES
  per_conversation: int = 8
  size: int = 5
  fewest: int = 8
  most: int = 16
  alphas: Sequence[float | int | str] = (0, 0.5, 1, 2, 10, 'inf')
  rules: Sequence[str] = ('schulze', 'borda', 'copeland', 'instant_runoff')
  utility: str = 'shift'
  num_draws: int = 10_000
  seed: int = 0
  row_length: int = 512
  reward_model: str | None = None

  def __post_init__(self):
    check_names('experiments', self.experiments, NAMES)
    check_names('rules', self.rules, get_args(Rule))
    check_names('utility', (self.utility,), get_args(MapName))
    for field in ('records', 'experiments'):
      if not getattr(self, field):
        raise InputError('must hold at least one', field=(field,))
    for name, least in (
      *(('per_conversation', 1), ('size', 2), ('fewest', 2)),
      *(
        ('most', self.fewest),
        ('num_draws', 1),
        ('seed', 0),
        ('row_length', 1),
      ),
    ):
      if getattr(self, name) < least:
        raise InputError(
          f'must be {least} or more, got {getattr(self, name)}', field=(name,)
        )
    check_alphas(self.alphas)

  @property
  def draws(self) -> Draws:
    """Of bootstrap and permutations."""
    return Draws(self.num_draws, self.seed)

  title = 'What real votes say of choices'

  @property
  def introduction(self) -> str:
    """What the numbers of the report are."""
    return (
      'Groups of people who all voted on the same statements of a Polis '
      'conversation; a vote for is an agreement of 7, a pass 4, a vote against '
      '1. Each number is a mean over groups, with a 95% interval of '
      f'{self.num_draws:,} draws of groups (seed {self.seed}) in brackets; '
      'nobody is in two groups. Intervals say nothing of other conversations.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Replayed:
  settings: Replay
  groups: tuple[JudgedDeliberation, ...]
  conversations: tuple[str, ...]  # of each group
  rewards: tuple[np.ndarray, ...]  # [statements, members] of each group
  popularity: tuple[np.ndarray, ...]
  left_out: tuple[Exclusion, ...]

  def best(self, **rule) -> list[int | None]:
    """What is chosen for each group by predicted rewards."""
    settings = self.settings
    return [
      made.winner(
        rewards,
        Choice(
          num=len(rewards),
          utility=settings.utility,
          seed=settings.seed,
          **rule,
        ),
      )
      for rewards in self.rewards
    ]

  def rated(self, chosen: Mapping[str, Sequence[int | None]]) -> Rated:
    """What people voted on what was chosen, by system."""
    tally, records = Tally(), []
    for place, group in enumerate(self.groups):
      said = {name: each[place] for name, each in chosen.items()}
      for name, index in said.items():
        if index is None:
          tally.add('group', f'has no statement of {name!r}', group.id)
      records.append(_asked(group, said))
    table, unrated = from_records(records, system=lambda each: each.id)
    return Rated(table=table, left_out=(*tally.exclusions(), *unrated))


def run(settings: Replay, predict: Predict) -> tuple[Section, ...]:
  """Runs the experiments.

  Args:
    settings: what is to be found out.
    predict: rewards of the reward model, of all groups together.

  Raises:
    InputError: if a conversation is not there, or no group can be drawn.
  """
  records = {
    record.id: record
    for source in settings.records
    for record in sources.load(source)
  }
  check_names('conversations', settings.conversations, [*records])
  wanted = settings.conversations or [*records]
  groups, missing = replay.draw_apart(
    [records[name] for name in wanted],
    per_conversation=settings.per_conversation,
    size=settings.size,
    fewest=settings.fewest,
    most=settings.most,
    seed=settings.seed,
  )
  if not groups:
    raise InputError(
      f'hold no {settings.size} people who voted on {settings.fewest} '
      'statements in common',
      field=('records',),
    )
  names = tuple(replay.conversation_of(group) for group in groups)
  found = iter(predict([case for group in groups for case in _cases(group)]))
  replayed = _Replayed(
    settings=settings,
    groups=groups,
    conversations=names,
    rewards=tuple(
      np.array([next(found) for _ in group.members]).T for group in groups
    ),
    popularity=tuple(
      _popularity(records[name], group) for name, group in zip(names, groups)
    ),
    left_out=missing,
  )
  return tuple(_EXPERIMENTS[name](replayed) for name in settings.experiments)


def _choice(of: _Replayed) -> Section:
  settings = of.settings
  chosen: dict[str, Sequence[int | None]] = {
    PREDICTED: of.best(),
    CHANCE: [
      random.Random(f'{settings.seed}/{group.id}').randrange(
        len(group.statements)
      )
      for group in of.groups
    ],
    LONGEST: [
      max(
        range(len(group.statements)),
        key=lambda i, group=group: len(group.statements[i].text),  # type: ignore[misc]
      )
      for group in of.groups
    ],
    POPULAR: [int(np.argmax(votes)) for votes in of.popularity],
    KNOWN: [int(np.argmax(_agreement(group).mean(1))) for group in of.groups],
  }
  rated = of.rated(chosen)
  return Section(
    name='choice',
    title='The statement that the reward model chooses',
    about=f'{len(of.groups)} groups of {settings.size} people of '
    f'{len({*of.conversations})} conversations, each with {settings.fewest} to '
    f'{settings.most} statements that other people wrote. The statement of '
    'greatest predicted mean utility, beside others. Popularity is that among '
    'all other people of the conversation, which no system knows before they '
    'vote; with votes known, the statement that the group agrees with most.',
    findings=measures_and_pairs(
      rated,
      _MEASURES,
      [(PREDICTED, name) for name in (CHANCE, LONGEST, POPULAR)],
      settings.draws,
    ),
    left_out=(*of.left_out, *rated.left_out),
  )


def _welfare(of: _Replayed) -> Section:
  settings = of.settings
  rated = of.rated(
    {
      name: of.best(**rule)
      for name, rule in ways(settings.alphas, settings.rules).items()
    }
  )
  names = rated.systems
  return Section(
    name='welfare',
    title='Social welfare functions and voting rules',
    about='Of the same statements, by the same predicted rewards. Compared '
    'with the first.',
    findings=measures_and_pairs(
      rated,
      _MEASURES,
      [(name, names[0]) for name in names[1:]],
      settings.draws,
    ),
    left_out=rated.left_out,
  )


def _conversations(of: _Replayed) -> Section:
  rated = of.rated({PREDICTED: of.best()})
  return Section(
    name='conversations',
    title='Conversations',
    about='Mean agreement with what the reward model chooses.',
    findings=topics.findings_of(
      rated,
      PREDICTED,
      topics=of.conversations,
      out=[False] * len(of.groups),
      draws=of.settings.draws,
    ),
    left_out=rated.left_out,
  )


_EXPERIMENTS: Mapping[str, Callable[[_Replayed], Section]] = {
  'choice': _choice,
  'welfare': _welfare,
  'conversations': _conversations,
}


def _cases(group: JudgedDeliberation) -> list[Case]:
  """What each member is asked; the votes of these cases are no votes."""
  texts = tuple(each.text for each in group.statements)
  return [
    Case(
      conversation=group.id,
      participant=member.participant,
      question=group.question.text,
      opinion=member.opinion,
      statements=texts,
      votes=(1,) * len(texts),
      statement_ids=tuple(each.id for each in group.statements),
    )
    for member in group.members
  ]


def _asked(
  group: JudgedDeliberation, said: Mapping[str, int | None]
) -> JudgedDeliberation:
  """The group's ratings of what systems chose, a statement a system."""
  chosen = {name: i for name, i in said.items() if i is not None}
  return dataclasses.replace(
    group,
    statements=tuple(
      dataclasses.replace(group.statements[i], id=name, author='')
      for name, i in chosen.items()
    ),
    members=tuple(
      dataclasses.replace(
        member,
        judged=tuple(range(len(chosen))),
        agreement=tuple(member.agreement[i] for i in chosen.values()),
        votes=(),
      )
      for member in group.members
    ),
  )


def _agreement(group: JudgedDeliberation) -> np.ndarray:
  """Of each statement and member."""
  return np.array([member.agreement for member in group.members], float).T


def _popularity(
  record: JudgedDeliberation, group: JudgedDeliberation
) -> np.ndarray:
  """Mean vote of everybody else on each of the group's statements."""
  members = {member.participant for member in group.members}
  places = {each.id: place for place, each in enumerate(group.statements)}
  votes: list[list[int]] = [[] for _ in places]
  for member in record.members:
    if member.participant in members:
      continue
    for index, vote in zip(member.judged, member.votes):
      place = places.get(record.statements[index].id)
      if place is not None and vote is not None:
        votes[place].append(vote)
  return np.array([np.mean(each) if each else -1.0 for each in votes])
