"""What a reward model is tested on: a person's opinion, votes to predict."""

import dataclasses
import hashlib
import random
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.near_duplicates import words
from consensus_jax.data.records import JudgedDeliberation, Member


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """One person of a conversation, and how they voted on some statements.

  Attributes:
    conversation: id of the record; a person is in it once.
    participant: who voted; equal names are the same person everywhere.
    question: what the conversation is about.
    opinion: what is known of the person; '' for nothing.
    statements: what they voted on; none is their own.
    votes: 1 (for) or -1 (against), one a statement.
    statement_ids: unique within the conversation, one a statement.
    group: people who deliberated together share it, over several records too;
      '' if they are those of the conversation.

  Raises:
    ValueError: if there are not as many votes and ids as statements, none at
      all, or a vote without a side.
  """

  conversation: str
  participant: str
  question: str
  opinion: str
  statements: tuple[str, ...]
  votes: tuple[int, ...]
  statement_ids: tuple[str, ...]
  group: str = ''

  def __post_init__(self):
    lengths = {len(self.statements), len(self.votes), len(self.statement_ids)}
    if len(lengths) != 1 or not self.statements:
      raise ValueError(
        f'{self.participant}: {len(self.statements)} statements, '
        f'{len(self.votes)} votes and {len(self.statement_ids)} ids'
      )
    if not {*self.votes} <= {-1, 1}:
      raise ValueError(f'{self.participant}: a vote is 1 or -1: {self.votes}')


Cases = tuple[Case, ...]


def from_records(
  records: Iterable[JudgedDeliberation],
  *,
  max_statements: int | None = 24,
  max_people: int | None = None,
  seed: int = 0,
) -> tuple[Cases, tuple[Exclusion, ...]]:
  """Cases of all members who have an opinion and voted for or against.

  Which statements and people are drawn depends on the seed and on names alone.

  Args:
    records: judged deliberations with `votes`.
    max_statements: that many votes of a person, drawn; None takes all.
    max_people: that many people of a conversation, drawn; None takes all.
    seed: of the draws.

  Returns:
    The cases by conversation and person, in the order of the records, and what
    was left out and why.
  """
  tally = Tally()
  cases: list[Case] = []
  for record in records:
    found = [
      case
      for member in record.members
      if (case := _case(record, member, max_statements, seed, tally))
    ]
    drawn = {
      case.participant
      for case in sorted(found, key=lambda each: _hash(seed, each))[:max_people]
    }
    for case in found:
      if case.participant in drawn:
        cases.append(case)
      else:
        reason = f'beyond {max_people} of a conversation, by draw'
        tally.add('participant', reason, case.participant)
  return tuple(cases), tally.exclusions()


def without_opinion(cases: Sequence[Case]) -> Cases:
  """The same people as if nothing were known of them."""
  return tuple(dataclasses.replace(case, opinion='') for case in cases)


def swapped(cases: Sequence[Case], *, seed: int) -> Cases:
  """The same people and votes, with the opinion of another person.

  Everybody gives an opinion and gets one, of the same conversation: people are
  put into a circle by a seeded draw, and each gets that of the next.

  Raises:
    ValueError: if a conversation has one person only, or a person twice.
  """
  opinions: dict[tuple[str, str], str] = {}
  for name, people in by_conversation(cases).items():
    if len(people) < 2 or len({cases[i].participant for i in people}) < len(
      people
    ):
      raise ValueError(
        f'{name}: opinions are swapped between two people or more, each there '
        f'once; got {len(people)}'
      )
    circle = sorted(people, key=lambda i: _hash(seed, cases[i]))
    for giver, taker in zip(circle, circle[1:] + circle[:1], strict=True):
      opinions[name, cases[taker].participant] = cases[giver].opinion
  return tuple(
    dataclasses.replace(
      case, opinion=opinions[case.conversation, case.participant]
    )
    for case in cases
  )


def by_conversation(cases: Sequence[Case]) -> dict[str, list[int]]:
  """Places of the cases of each conversation, in order."""
  places: dict[str, list[int]] = {}
  for index, case in enumerate(cases):
    places.setdefault(case.conversation, []).append(index)
  return places


def quoted(case: Case) -> Bool[np.ndarray, 'statements']:
  """Which statements stand in the opinion, word by word.

  A person's own opinion quotes none of what they are asked about; that of
  another person may, and would give away what people like them think of it.
  """
  return quotes(case.opinion, case.statements)


def quotes(
  opinion: str, statements: Sequence[str]
) -> Bool[np.ndarray, 'statements']:
  """Which statements stand in an opinion, without case and punctuation."""
  within = f' {" ".join(words(opinion))} '
  texts = [' '.join(words(text)) for text in statements]
  return np.array([bool(text) and f' {text} ' in within for text in texts])


def _case(
  record: JudgedDeliberation,
  member: Member,
  max_statements: int | None,
  seed: int,
  tally: Tally,
) -> Case | None:
  if not member.opinion:
    tally.add('participant', 'wrote no opinion', member.participant)
    return None
  chosen: list[tuple[int, int]] = []
  for index, vote in zip(member.judged, member.votes):
    if record.statements[index].author == member.participant:
      tally.add('vote', "on the person's own statement", member.participant)
    elif vote == 0:
      tally.add('vote', 'a pass', member.participant)
    elif vote is not None:
      chosen.append((index, vote))
  if not chosen:
    reason = 'voted neither for nor against anything'
    tally.add('participant', reason, member.participant)
    return None
  if max_statements is not None and len(chosen) > max_statements:
    reason = f'beyond {max_statements} of a person, by draw'
    number = len(chosen) - max_statements
    tally.add('vote', reason, member.participant, number)
    draw = random.Random(f'{seed}/{record.id}/{member.participant}')
    chosen = sorted(draw.sample(chosen, max_statements))
  return Case(
    conversation=record.id,
    participant=member.participant,
    question=record.question.text,
    opinion=member.opinion,
    statements=tuple(record.statements[index].text for index, _ in chosen),
    votes=tuple(vote for _, vote in chosen),
    statement_ids=tuple(record.statements[index].id for index, _ in chosen),
    group=record.group,
  )


def _hash(seed: int, case: Case) -> bytes:
  name = f'{seed}/{case.conversation}/{case.participant}'
  return hashlib.sha256(name.encode()).digest()
