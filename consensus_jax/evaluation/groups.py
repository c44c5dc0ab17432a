"""Groups of real people who judged the same statements.

Whose votes answer for what a mediator would choose: the statements are the
candidates, the votes are what the members really think of each.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.evaluation.cases import Case, quotes

# Utilities of a vote: a pass lies between.
UTILITY_OF_VOTE: Mapping[int | None, float] = {1: 1.0, 0: 0.5, -1: 0.0}

# Attempts to draw a group, for each group that is wanted.
_ATTEMPTS = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Group:
  """People of one conversation, and statements that all of them judged.

  Attributes:
    conversation: id of the record.
    group: that of the record.
    question: what it is about.
    participants: the members.
    opinions: one a member.
    statements: candidates; in none of the opinions.
    statement_ids: of the candidates.
    utilities: what each candidate is worth to each member: 1 for a vote for
      it, 0.5 for a pass, 0 for a vote against.
  """

  conversation: str
  group: str
  question: str
  participants: tuple[str, ...]
  opinions: tuple[str, ...]
  statements: tuple[str, ...]
  statement_ids: tuple[str, ...]
  utilities: Float[np.ndarray, 'candidates members']


def draw_groups(
  records: Iterable[JudgedDeliberation],
  *,
  per_conversation: int = 100,
  size: int = 5,
  fewest: int = 8,
  most: int = 16,
  people: Iterable[tuple[str, str]] | None = None,
  seed: int = 0,
) -> tuple[tuple[Group, ...], tuple[Exclusion, ...]]:
  """Draws groups whose members all judged enough common statements.

  The first member is drawn from everybody, each further one from those who
  leave enough common statements; so people who judged much are in more groups.
  A person may be in several groups, a group is there once.

  Args:
    records: with `votes`, one of each conversation.
    per_conversation: how many groups of each, at most.
    size: members of a group.
    fewest: common statements of a group, at least.
    most: candidates of a group; more common statements are drawn from.
    people: (conversation, participant) of those who may be members; None for
      all. Others have no part in it.
    seed: of the draws.

  Returns:
    The groups, and what is missing of those that were wanted.
  """
  allowed = None if people is None else {*people}
  tally = Tally()
  groups: list[Group] = []
  for record in records:
    rng = np.random.default_rng([seed, *record.id.encode()])
    judged = _judged(record, allowed)
    found: set[tuple[int, ...]] = set()
    for _ in range(_ATTEMPTS * per_conversation):
      members = _draw_members(judged, rng, size, fewest)
      if len(found) == per_conversation:
        break
      if members is None or members in found:
        continue
      group = _group(record, members, judged, rng, fewest, most)
      if group is not None:
        found.add(members)
        groups.append(group)
    missing = per_conversation - len(found)
    reason = f'no {size} people with {fewest} common statements were drawn'
    tally.add('group', reason, record.id, missing)
  return tuple(groups), tally.exclusions()


def cases_of(groups: Sequence[Group]) -> tuple[Case, ...]:
  """Everything that is to be predicted for groups, a person once.

  The votes of these cases are no votes: they stand for all that is asked.
  """
  asked: dict[tuple[str, str], tuple[Group, int, dict[str, str]]] = {}
  for group in groups:
    for place, name in enumerate(group.participants):
      key = group.conversation, name
      _, _, texts = asked.setdefault(key, (group, place, {}))
      texts |= zip(group.statement_ids, group.statements, strict=True)
  return tuple(
    Case(
      conversation=group.conversation,
      participant=group.participants[place],
      question=group.question,
      opinion=group.opinions[place],
      statements=tuple(texts.values()),
      votes=(1,) * len(texts),
      statement_ids=tuple(texts),
      group=group.group,
    )
    for group, place, texts in asked.values()
  )


def rewards_by_group(
  groups: Sequence[Group],
  cases: Sequence[Case],
  rewards: Sequence[np.ndarray],
) -> list[np.ndarray]:
  """Rewards [candidates, members] of each group, of those of `cases_of`."""
  by_person = {
    (case.conversation, case.participant): dict(
      zip(case.statement_ids, values.tolist(), strict=True)
    )
    for case, values in zip(cases, rewards, strict=True)
  }
  return [
    np.array(
      [
        [by_person[group.conversation, name][id] for name in group.participants]
        for id in group.statement_ids
      ]
    )
    for group in groups
  ]


def _judged(
  record: JudgedDeliberation, allowed: set[tuple[str, str]] | None
) -> Bool[np.ndarray, 'members statements']:
  """Who may be asked about what; a person's own statements are left out."""
  judged = np.zeros((len(record.members), len(record.statements)), bool)
  for row, member in enumerate(record.members):
    known = allowed is None or (record.id, member.participant) in allowed
    if member.opinion and known:
      for index, vote in zip(member.judged, member.votes):
        own = record.statements[index].author == member.participant
        judged[row, index] = vote is not None and not own
  return judged


def _draw_members(
  judged: Bool[np.ndarray, 'members statements'],
  rng: np.random.Generator,
  size: int,
  fewest: int,
) -> tuple[int, ...] | None:
  fit = judged.sum(1) >= fewest
  common = np.ones(judged.shape[1], bool)
  members: list[int] = []
  while len(members) < size:
    if not fit.any():
      return None
    members.append(int(rng.choice(np.flatnonzero(fit))))
    common &= judged[members[-1]]
    fit &= judged[:, common].sum(1) >= fewest
    fit[members] = False
  return tuple(sorted(members))


def _group(
  record: JudgedDeliberation,
  places: tuple[int, ...],
  judged: Bool[np.ndarray, 'members statements'],
  rng: np.random.Generator,
  fewest: int,
  most: int,
) -> Group | None:
  members = [record.members[place] for place in places]
  common = np.flatnonzero(judged[list(places)].all(0))
  texts = [record.statements[index].text for index in common]
  for member in members:
    common = common[~quotes(member.opinion, texts)]
    texts = [record.statements[index].text for index in common]
  if len(common) < fewest:
    return None
  if len(common) > most:
    common = np.sort(rng.choice(common, most, replace=False))
  votes = [dict(zip(each.judged, each.votes)) for each in members]
  return Group(
    conversation=record.id,
    group=record.group,
    question=record.question.text,
    participants=tuple(each.participant for each in members),
    opinions=tuple(each.opinion for each in members),
    statements=tuple(record.statements[index].text for index in common),
    statement_ids=tuple(record.statements[index].id for index in common),
    utilities=np.array(
      [[UTILITY_OF_VOTE[own[int(i)]] for own in votes] for i in common]
    ),
  )
