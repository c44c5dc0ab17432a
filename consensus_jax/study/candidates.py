"""Candidates to be made: the queue, in the database, and what comes of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from consensus_jax.study.protocol import Condition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is asked of those who make candidates.

  Attributes:
    group_id: of the group.
    position: of its question, from 1.
    round: 0, or 1 after critiques.
    question: its text.
    opinions: by participant id, of those who are not silently excluded.
    critiques: likewise, of the statement `winner`; empty in round 0.
    winner: of round 0; '' in round 0.
    condition: whose systems make candidates.
    seed: for all that is random in making them.
  """

  group_id: int
  position: int
  round: int
  question: str
  opinions: Mapping[str, str]
  critiques: Mapping[str, str]
  winner: str
  condition: Condition
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
  """A candidate.

  Attributes:
    text: of the statement.
    system: name of the system that made it.
    rewards: by participant id; empty if nothing predicted them.
    provenance: JSON values: how it came about.
  """

  text: str
  system: str
  rewards: Mapping[str, float] = dataclasses.field(default_factory=dict)
  provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


ReportProgress = Callable[[float], None]  # 0 to 1
# All statements, of each system the best first.
MakeCandidates = Callable[[Request, ReportProgress], list[Statement]]
