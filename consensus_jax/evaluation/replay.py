"""Real people whose real votes answer for them, on statements people wrote.

A group of a Polis conversation is asked about statements that all its members
voted on: a vote for is an agreement of 7, a pass 4, a vote against 1. What they
never voted on, such as what a model writes, they cannot be asked; that is
counted and not guessed.

Groups of one conversation may share members, so that they are no independent
sample: `regret.standard_error` reckons with it, a bootstrap over groups does
not.
"""

import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.near_duplicates import normalised
from consensus_jax.data.polis_export import read_opinion_groups
from consensus_jax.data.records import JudgedDeliberation, Member
from consensus_jax.evaluation.groups import Group, draw_groups
from consensus_jax.strict_json import InputError

# Between the id of a conversation and the number of a group.
_MARK = '/replay/'
# Groups that are drawn for each that is wanted, as most share members.
_SPARE = 20

AGREEMENT_OF_VOTE: Mapping[int, int] = {1: 7, 0: 4, -1: 1}


def draw(
  records: Iterable[JudgedDeliberation],
  *,
  per_conversation: int = 100,
  size: int = 5,
  fewest: int = 8,
  most: int = 16,
  people: Iterable[tuple[str, str]] | None = None,
  seed: int = 0,
) -> tuple[tuple[JudgedDeliberation, ...], tuple[Exclusion, ...]]:
  """Groups who all voted on all of their statements, as `groups.draw_groups`.

  Args:
    records: with votes, one of each conversation.
    per_conversation: how many groups of each, at most.
    size: members of a group.
    fewest: common statements of a group, at least.
    most: statements of a group; more common ones are drawn from.
    people: (conversation, participant) of those who may be members; None for
      all.
    seed: of the draws.

  Returns:
    Records of the groups, with `agreement` and `votes` of every member on every
    statement, and what is missing of those that were wanted.
  """
  by_id: dict[str, JudgedDeliberation] = {}
  for record in records:
    if record.id in by_id:
      raise InputError(f'the conversation {record.id} is there twice')
    by_id[record.id] = record
  groups, missing = draw_groups(
    by_id.values(),
    per_conversation=per_conversation,
    size=size,
    fewest=fewest,
    most=most,
    people=people,
    seed=seed,
  )
  places: Counter[str] = Counter()
  found = []
  for group in groups:
    name = f'{group.conversation}{_MARK}{places[group.conversation]}'
    places[group.conversation] += 1
    found.append(_record(name, by_id[group.conversation], group))
  return tuple(found), missing


def draw_apart(
  records: Iterable[JudgedDeliberation],
  *,
  per_conversation: int,
  size: int = 5,
  fewest: int = 8,
  most: int = 16,
  seed: int = 0,
) -> tuple[tuple[JudgedDeliberation, ...], tuple[Exclusion, ...]]:
  """As `draw`, groups without a common member: an independent sample.

  Of many groups that are drawn, those whose members are in none before.
  """
  records = tuple(records)
  drawn, _ = draw(
    records,
    per_conversation=_SPARE * per_conversation,
    size=size,
    fewest=fewest,
    most=most,
    seed=seed,
  )
  tally, found = Tally(), []
  for record in records:
    seen: set[str] = set()
    apart: list[JudgedDeliberation] = []
    for group in drawn:
      names = {member.participant for member in group.members}
      if conversation_of(group) == record.id and not names & seen:
        apart.append(group)
        seen |= names
    found += apart[:per_conversation]
    missing = per_conversation - len(apart[:per_conversation])
    reason = (
      f'no {size} further people with {fewest} common statements were drawn'
    )
    tally.add('group', reason, record.id, missing)
  return tuple(found), tally.exclusions()


def conversation_of(group: JudgedDeliberation) -> str:
  """The id of the record that a group was drawn from."""
  return group.id.rpartition(_MARK)[0]


def answers(
  record: JudgedDeliberation,
  participants: Sequence[str],
  texts: Sequence[str],
) -> tuple[Float[np.ndarray, 'statements members'], tuple[Exclusion, ...]]:
  """What people of a conversation think of texts, as far as they said it.

  A text is a statement if it differs in case, punctuation and white space only.

  Args:
    record: the whole conversation, with votes.
    participants: whom to ask.
    texts: what about, written by anybody.

  Returns:
    Agreement of 7, 4 or 1; NaN for what cannot be answered, and how often that
    is, and why.

  Raises:
    InputError: if somebody has no part in the conversation.
  """
  statements = {
    normalised(each.text): index for index, each in enumerate(record.statements)
  }
  members = {member.participant: member for member in record.members}
  tally = Tally()
  found = np.full((len(texts), len(participants)), np.nan)
  for column, name in enumerate(participants):
    if name not in members:
      raise InputError(
        f'{name!r} has no part in {record.id}', field=('participants', column)
      )
  votes = [_votes(members[name]) for name in participants]
  for row, text in enumerate(texts):
    index = statements.get(normalised(text))
    if index is None:
      tally.add('answer', 'on a text nobody voted on', text, len(participants))
      continue
    for column, name in enumerate(participants):
      vote = votes[column].get(index)
      if vote is None:
        example = f'{name} on {record.statements[index].id}'
        tally.add('answer', 'of a person who did not vote on it', example)
      else:
        found[row, column] = AGREEMENT_OF_VOTE[vote]
  return found, tally.exclusions()


def opinion_groups(
  folder: str | pathlib.Path, record: JudgedDeliberation
) -> dict[str, str]:
  """The group that Polis puts each member in, '' for none: juries draw by it.

  Args:
    folder: the export that `polis.read` made the record of.
    record: of a conversation.

  Raises:
    InputError: with file, line and column, if the export is not understood; if
      a member is not in it.
  """
  groups = {
    f'{record.id}/{participant}': group
    for participant, group in read_opinion_groups(folder).items()
  }
  for index, member in enumerate(record.members):
    if member.participant not in groups:
      raise InputError(
        f'{member.participant!r} has no row in {folder}',
        field=('members', index),
      )
  return {each.participant: groups[each.participant] for each in record.members}


def _record(
  name: str, record: JudgedDeliberation, group: Group
) -> JudgedDeliberation:
  """A group of a conversation as a record of its own."""
  places = {each.id: index for index, each in enumerate(record.statements)}
  asked = [places[id] for id in group.statement_ids]
  members = {member.participant: member for member in record.members}
  return JudgedDeliberation(
    id=name,
    source=record.source,
    group=name,
    question=record.question,
    statements=tuple(record.statements[index] for index in asked),
    members=tuple(_asked(members[who], asked) for who in group.participants),
  )


def _asked(member: Member, asked: Sequence[int]) -> Member:
  votes = _votes(member)
  given = tuple(votes[index] for index in asked)
  return Member(
    participant=member.participant,
    opinion=member.opinion,
    opinion_provenance=member.opinion_provenance,
    judged=tuple(range(len(asked))),
    agreement=tuple(AGREEMENT_OF_VOTE[vote] for vote in given),
    votes=given,
  )


def _votes(member: Member) -> dict[int, int]:
  return {
    index: vote
    for index, vote in zip(member.judged, member.votes)
    if vote is not None
  }
