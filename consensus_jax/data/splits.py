"""Splits records by topic, by question or by participant; never by rating.

What must not stand on both sides depends on what a split is to show:

| split by    | shows         | kept apart                                   |
|-------------|---------------|----------------------------------------------|
| topic       | new topics    | topics, questions, statements, opinions and  |
|             |               | people                                       |
| question    | new questions | the same without topics                      |
| participant | new people    | people and opinions; the statements that     |
|             |               | they judged are shared                       |

Records that share anything of the kind stay together, however indirectly. A
split depends on the seed and on names alone: adding records that share nothing
with the others moves none of those.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

from consensus_jax.data.near_duplicates import normalised, words
from consensus_jax.data.records import JudgedDeliberation, Member
from consensus_jax.strict_json import InputError

Kind = Literal['topic', 'question', 'participant']
Trait = Literal['topic', 'question', 'participant', 'opinion', 'statement']
Records = tuple[JudgedDeliberation, ...]
Members = tuple[Member, ...]

# What may not stand on both sides.
_APART: dict[Kind, tuple[Trait, ...]] = {
  'topic': ('topic', 'question', 'participant', 'opinion', 'statement'),
  'question': ('question', 'participant', 'opinion', 'statement'),
  'participant': ('participant', 'opinion'),
}
# Many people write "Yes, I agree." A text of fewer words than this gives
# something away only about the question that it answers.
_TELLING_WORDS = 8
_MAX_EXAMPLES = 3
_MAX_SHOWN = 60


def split(
  records: Iterable[JudgedDeliberation],
  kind: Kind,
  *,
  seed: int,
  fractions: Mapping[str, float],
  shared_participants: bool = False,
) -> dict[str, Records]:
  """Deals records out to splits.

  By participant, a deliberation stands in every split that has some of its
  members, with those only; one that nobody took part in stands in none.

  Args:
    records: with different ids.
    kind: what is new in each split.
    seed: of the deal.
    fractions: of topics, questions or participants, by name of the split;
      they add up to 1. With few topics a small split may stay empty.
    shared_participants: whether, by topic or question, one person may stand
      in several splits. Needed where the same people answered all questions.

  Returns:
    The records of each split, in the order given.

  Raises:
    InputError: if a record has no topic and the split is by topic, or all
      records hang together.
    ValueError: for fractions that do not add up to 1.
  """
  _check_fractions(fractions)
  records = tuple(records)
  units = _units(records, kind)
  apart = _apart(kind, shared_participants)
  traits = [_traits(records[place], part, apart) for place, part in units]
  roots = _components(traits)
  if units and len({*roots}) == 1:
    raise InputError(_undivided(traits, kind, apart))
  names: dict[int, str] = {}
  for root, own in zip(roots, traits, strict=True):
    for trait, value in own:
      if trait == kind:
        # The least hash names all that hangs together; another one deals it.
        names[root] = min(
          names.get(root, value),
          value,
          key=lambda name: unit_hash('name', name),
        )
  dealt: dict[str, dict[int, list[Member]]] = {name: {} for name in fractions}
  for (place, part), root in zip(units, roots, strict=True):
    name = _choose(unit_hash(seed, kind, names[root]), fractions)
    dealt[name].setdefault(place, []).extend(part)
  return {
    name: tuple(
      dataclasses.replace(records[place], members=tuple(members))
      for place, members in parts.items()
    )
    for name, parts in dealt.items()
  }


def split_as_given(records: Iterable[JudgedDeliberation]) -> dict[str, Records]:
  """Records by the split that their source put their question in.

  Raises:
    InputError: for a record whose question is in none.
  """
  splits: dict[str, list[JudgedDeliberation]] = {}
  for record in records:
    if record.question.split is None:
      raise InputError(
        f'the question of {record.id!r} is in no split; split by topic, '
        'question or participant instead'
      )
    splits.setdefault(record.question.split, []).append(record)
  return {name: tuple(each) for name, each in splits.items()}


def check_no_leak(
  splits: Mapping[str, Iterable[JudgedDeliberation]],
  kind: Kind,
  *,
  shared_participants: bool = False,
) -> None:
  """Refuses splits that share what a split of this kind keeps apart.

  Args:
    splits: records by name of the split.
    kind: what is new in each split.
    shared_participants: whether one person may stand in several splits, by
      topic or question.

  Raises:
    InputError: with counts and the first few.
  """
  apart = _apart(kind, shared_participants)
  # Splits by trait, in the order in which they first come up.
  homes: dict[tuple[Trait, str], list[str]] = {}
  for name, records in splits.items():
    for record in records:
      for found in sorted(_traits(record, record.members, apart)):
        known = homes.setdefault(found, [])
        if name not in known:
          known.append(name)
  leaks: dict[Trait, list[str]] = {trait: [] for trait in apart}
  for (trait, value), names in homes.items():
    if len(names) > 1:
      shown = value.rsplit('\n', 1)[-1]
      if len(shown) > _MAX_SHOWN:
        shown = shown[:_MAX_SHOWN] + '...'
      leaks[trait].append(f'{shown!r} in {" and ".join(names)}')
  if any(leaks.values()):
    raise InputError(
      f'splits by {kind} leak: '
      + '; '.join(
        f'{len(leaks[trait])} {trait}{"s" if len(leaks[trait]) > 1 else ""} '
        f'({", ".join(leaks[trait][:_MAX_EXAMPLES])}'
        f'{", ..." if len(leaks[trait]) > _MAX_EXAMPLES else ""})'
        for trait in apart
        if leaks[trait]
      )
    )


def check_given(
  splits: Mapping[str, Records], *, shared_participants: bool = False
) -> None:
  """Refuses splits by name that share what their names promise to keep apart.

  No two share a question; `ood_test` shares no topic with the others.

  Args:
    splits: records by name of the split.
    shared_participants: whether one person may stand in several splits.

  Raises:
    InputError: with counts and the first few.
  """
  shared = shared_participants
  check_no_leak(splits, 'question', shared_participants=shared)
  sides: dict[str, list[JudgedDeliberation]] = {}
  for name, records in splits.items():
    side = name if name == 'ood_test' else 'the other splits'
    sides.setdefault(side, []).extend(r for r in records if r.question.topic)
  check_no_leak(sides, 'topic', shared_participants=shared)


def _apart(kind: Kind, shared_participants: bool) -> tuple[Trait, ...]:
  if kind not in _APART:
    raise ValueError(f'kind must be one of {get_args(Kind)}, got {kind!r}')
  apart = _APART[kind]
  if shared_participants and kind != 'participant':
    return tuple(trait for trait in apart if trait != 'participant')
  return apart


def _check_fractions(fractions: Mapping[str, float]) -> None:
  if not all(share > 0 for share in fractions.values()) or not math.isclose(
    sum(fractions.values()), 1
  ):
    raise ValueError(
      f'fractions must be positive and add up to 1, got {dict(fractions)}'
    )


def _units(records: Records, kind: Kind) -> list[tuple[int, Members]]:
  # What is dealt out as one: the place of a record, and members of it.
  if kind == 'participant':
    return [
      (place, (member,))
      for place, record in enumerate(records)
      for member in record.members
    ]
  for record in records:
    if kind == 'topic' and not record.question.topic:
      raise InputError(
        f'{record.id!r} has no topic; split by question or participant, or '
        'cluster the questions first',
        field=('question', 'topic'),
      )
  return [(place, record.members) for place, record in enumerate(records)]


def _traits(
  record: JudgedDeliberation, members: Members, apart: Iterable[Trait]
) -> set[tuple[Trait, str]]:
  values: dict[Trait, Callable[[], Iterable[str]]] = {
    'topic': lambda: [record.question.topic],
    'question': lambda: [normalised(record.question.text)],
    'participant': lambda: [each.participant for each in members],
    'opinion': lambda: [
      _telling(record, each.opinion) for each in members if each.opinion
    ],
    'statement': lambda: [
      _telling(record, each.text) for each in record.statements
    ],
  }
  return {(trait, value) for trait in apart for value in values[trait]()}


def _telling(record: JudgedDeliberation, text: str) -> str:
  plain = normalised(text)
  if len(words(text)) >= _TELLING_WORDS:
    return plain
  return f'{normalised(record.question.text)}\n{plain}'


def _components(units: Sequence[Iterable[tuple[Trait, str]]]) -> list[int]:
  """One number a unit, equal where units share a trait, however indirectly."""
  parents = list(range(len(units)))

  def root(unit: int) -> int:
    while parents[unit] != unit:
      parents[unit] = parents[parents[unit]]
      unit = parents[unit]
    return unit

  first: dict[tuple[Trait, str], int] = {}
  for unit, traits in enumerate(units):
    for trait in traits:
      parents[root(unit)] = root(first.setdefault(trait, unit))
  return [root(unit) for unit in range(len(units))]


def _undivided(
  traits: Sequence[Iterable[tuple[Trait, str]]],
  kind: Kind,
  apart: tuple[Trait, ...],
) -> str:
  number = len(
    {value for own in traits for trait, value in own if trait == kind}
  )
  if number == 1:
    return f'cannot be split by {kind}: there is only one'
  others = [trait for trait in apart if trait != kind]
  hint = ''
  if 'participant' in others:
    hint = '; let participants be shared, or split by participant'
  return (
    f'cannot be split by {kind}: all {number} hang together by what they '
    f'share ({", ".join(others)}){hint}'
  )


def unit_hash(*parts: object) -> float:
  """A number in [0, 1) that looks drawn by chance."""
  text = '\0'.join(map(str, parts))
  digest = hashlib.sha256(text.encode()).digest()
  return int.from_bytes(digest[:6]) / 2**48


def _choose(place: float, fractions: Mapping[str, float]) -> str:
  end = 0.0
  for name, share in fractions.items():
    end += share
    if place < end:
      return name
  return name  # The sum may miss 1 by a rounding.
