"""What the project wants of the default policy, and whether it is so."""

from collections.abc import Mapping, Sequence
from typing import Any

from consensus_jax.defaults.targets import Interval, Target

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
    As `Target.reached` does.
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
    target = Target(
      what=f'reward of {champion} minus {name}, by the judge',
      sure=True,
      why=_WHY_AHEAD,
    )
    found.append(target.reached(_interval(against[name]['reward_ahead'])))
  for name in others:
    target = Target(
      what=f'passes all checks, times as often as {name}',
      least=_TIMES,
      why=_WHY_CHECKS,
    )
    times = _interval(against[name]['passed_times'])
    found.append(target.reached(times))
    # Nothing that the other wrote passes where this is undefined.
    if times['value'] is None and passes > 0:
      found[-1] |= {'met': True, 'why': None}
  for name, row in against.items():
    if name.startswith(f'{champion}, '):
      target = Target(
        what=f'reward of {name}, minus one of {champion}, by the judge',
        sure=True,
        why=_WHY_BEST,
      )
      value, low, high = row['reward_ahead']
      gained = [_minus(value), _minus(high), _minus(low)]
      found.append(target.reached(_interval(gained)))
  return found


def _read(readings: Readings | None) -> dict[str, Any]:
  target = Target(
    what='share of statements that pass all four questions, by the stricter '
    'reader',
    least=_READ,
    why=_WHY_READ,
  )
  shares = [
    sum(all(verdict.values()) for verdict in read.values()) / len(read)
    for read in (readings or {}).values()
  ]
  return target.reached(
    _interval([min(shares), None, None]) if shares else None
  )


def _interval(numbers: Sequence[float | None]) -> Interval:
  return dict(zip(('value', 'low', 'high'), numbers, strict=True))


def _minus(number: float | None) -> float | None:
  return None if number is None else -number
