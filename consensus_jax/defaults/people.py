"""The people that the default reward model learns from, and those kept apart.

Polis conversations twice over: everyone described by eight of their votes in
words, and those who wrote comments described by these. A participant is in one
split, in whichever form. Conversations are halved by place and topic, so that a
model of either half has seen nothing of the other.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Literal

from consensus_jax.data import polis, sources, splits
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.strict_json import InputError

Half = Literal['a', 'b']
Records = tuple[JudgedDeliberation, ...]

# A ships. B is of other places and other topics, and is what A is measured on.
HALF_A = (
  'american-assembly.bowling-green',
  'bg2050-volunteers',
  'football-concussions',
  'scoop-hivemind.biodiversity',
  'scoop-hivemind.freshwater',
)
HALF_B = (
  '15-per-hour-seattle',
  'brexit-consensus',
  'london.youth.policing',
  'scoop-hivemind.affordable-housing',
  'scoop-hivemind.ubi',
)
HALVES: Mapping[Half, tuple[str, ...]] = {'a': HALF_A, 'b': HALF_B}
FRACTIONS = {'train': 0.8, 'validation': 0.05, 'iid_test': 0.15}
SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class People:
  """One split's people, by how they are described.

  Attributes:
    votes: records of all of them, described by votes in words.
    comments: records of those who wrote, described by their comments.
  """

  votes: Records
  comments: Records

  def of(self, conversations: Iterable[str]) -> 'People':
    """Those of some conversations."""
    names = frozenset(conversations)
    return People(
      votes=tuple(r for r in self.votes if r.group in names),
      comments=tuple(r for r in self.comments if r.group in names),
    )


def read(folder: str | pathlib.Path, *, draw: int = 0) -> Mapping[str, People]:
  """People of the ten conversations, by split.

  Args:
    folder: holds a folder for each conversation, as Polis exports it.
    draw: another number describes the same people by others of their votes.

  Raises:
    InputError: if a conversation is missing or is not understood.
  """
  found = {path.name: path for path in sources.conversations(str(folder))}
  missing = sorted({*HALF_A, *HALF_B} - found.keys())
  if missing:
    raise InputError(
      f'lacks the conversations {", ".join(missing)}', file=str(folder)
    )
  records = []
  for name in (*HALF_A, *HALF_B):
    by_votes, _ = polis.read(
      found[name], polis.PolisSettings(opinions='votes', seed=draw)
    )
    as_comes, _ = polis.read(found[name])
    writers = tuple(
      member
      for member in as_comes.members
      if member.opinion_provenance == 'comments'
    )
    records.append(by_votes)
    if writers:
      by_comments = dataclasses.replace(
        as_comes, id=f'{name}/comments', members=writers
      )
      records.append(by_comments)
  parts = splits.split(records, 'participant', seed=SEED, fractions=FRACTIONS)
  return {
    name: People(
      votes=tuple(r for r in part if not r.id.endswith('/comments')),
      comments=tuple(r for r in part if r.id.endswith('/comments')),
    )
    for name, part in parts.items()
  }
