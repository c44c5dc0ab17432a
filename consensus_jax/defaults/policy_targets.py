"""What the project wants of the default policy, and whether it is so."""

from collections.abc import Mapping, Sequence
from typing import Any

# Of statements that a reader passes on all questions.
_READ = 0.8
# As often as another policy's statements pass all checks.
_TIMES = 2.0

_WHY_READ = (
  'A model of this size copies what members said. With opinions of several '
  'sentences it takes clauses that mean something else alone, or joins two '
  'into what nobody said; where opinions are short, most statements pass.'
)
_WHY_AHEAD = (
  'The judge rewards what people vote for, and not what is true to opinions.'
)
_WHY_CHECKS = 'See the table of checks that are failed.'
_WHY_BEST = (
  'Its candidates for one group are much alike, so there is little to choose.'
)

Readings = Mapping[str, Mapping[str, Mapping[str, bool]]]


def reached(
  comparison: Mapping[str, Any], readings: Readings | None
) -> list[dict[str, Any]]:
  """What the project wants, what was found, and whether that is it.

  Args:
    comparison: a report of `policy_report.compare`.
    readings: by reader and group, what they say of each question.

  Returns:
    As `targets.reached` does.
  """
  found = [_read(readings)]
  champion = comparison['champion']
  against = comparison['parts']['all']['champion_against']
  passes = comparison['parts']['all']['entries'][champion]['passed'][0]
  others = [
    each['name']
    for each in comparison['contestants']
    if each['name'] != champion
  ]
  for name in others:
    ahead = _interval(against[name]['reward_ahead'])
    found.append(
      _target(
        f'reward of {champion} minus {name}, by the judge',
        'interval above zero',
        ahead,
        met=_above_zero(ahead),
        why=_WHY_AHEAD,
      )
    )
  for name in others:
    times = _interval(against[name]['passed_times'])
    # Nothing that the other wrote passes where this is undefined.
    enough = passes > 0 if times['value'] is None else times['value'] >= _TIMES
    found.append(
      _target(
        f'passes all checks, times as often as {name}',
        f'at least {_TIMES:g}',
        times,
        met=enough,
        why=_WHY_CHECKS,
      )
    )
  for name, row in against.items():
    if name.startswith(f'{champion}, '):
      value, low, high = row['reward_ahead']
      gained = _interval([_minus(value), _minus(high), _minus(low)])
      found.append(
        _target(
          f'reward of {name}, minus one of {champion}, by the judge',
          'interval above zero',
          gained,
          met=_above_zero(gained),
          why=_WHY_BEST,
        )
      )
  return found


def _read(readings: Readings | None) -> dict[str, Any]:
  shares: Sequence[float] = [
    sum(all(verdict.values()) for verdict in read.values()) / len(read)
    for read in (readings or {}).values()
  ]
  return _target(
    'share of statements that pass all four questions, by the stricter reader',
    f'at least {_READ:g}',
    _interval([min(shares), None, None]) if shares else None,
    met=min(shares) >= _READ if shares else None,
    why=_WHY_READ,
  )


def _target(
  what: str,
  wanted: str,
  found: Mapping[str, float | None] | None,
  *,
  met: bool | None,
  why: str,
) -> dict[str, Any]:
  return {
    'what': what,
    'wanted': wanted,
    'found': found,
    'met': met,
    'why': why if met is False else None,
  }


def _interval(numbers: Sequence[float | None]) -> dict[str, float | None]:
  return dict(zip(('value', 'low', 'high'), numbers, strict=True))


def _above_zero(interval: Mapping[str, float | None]) -> bool:
  return interval['low'] is not None and interval['low'] > 0


def _minus(number: float | None) -> float | None:
  return None if number is None else -number
