"""What a source leaves out and why, counted, so that nothing vanishes."""

import dataclasses

_MAX_EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Exclusion:
  """Things of one kind that were left out for one reason.

  Attributes:
    kind: what they are, singular: 'comment', 'participant', 'vote', ...
    reason: why, such that `KIND: REASON` reads well.
    count: how many.
    examples: the first few, each such that a person finds it.
  """

  kind: str
  reason: str
  count: int
  examples: tuple[str, ...]


class Tally:
  """Counts what is left out while a source is read."""

  def __init__(self):
    self._counts: dict[tuple[str, str], int] = {}
    self._examples: dict[tuple[str, str], list[str]] = {}

  def add(self, kind: str, reason: str, example: str, count: int = 1) -> None:
    """Counts `count` things; a count of 0 leaves no trace."""
    if not count:
      return
    key = kind, reason
    self._counts[key] = self._counts.get(key, 0) + count
    examples = self._examples.setdefault(key, [])
    if len(examples) < _MAX_EXAMPLES:
      examples.append(example)

  def exclusions(self) -> tuple[Exclusion, ...]:
    """What has been counted, in the order in which reasons first came up."""
    return tuple(
      Exclusion(*key, count, tuple(self._examples[key]))
      for key, count in self._counts.items()
    )


def total(exclusions: tuple[Exclusion, ...], kind: str) -> int:
  """How many of one kind were left out, for all reasons."""
  return sum(each.count for each in exclusions if each.kind == kind)
