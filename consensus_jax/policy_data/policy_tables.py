"""A comparison of policies as Markdown, for a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from consensus_jax.policy_data.statement_checks import LIMITS


def markdown(report: Mapping[str, Any]) -> str:
  """The report as tables, and the statements that it shows."""
  champion = report['champion']
  blocks = []
  for name, part in report['parts'].items():
    title = 'All groups' if name == 'all' else f'Groups of {name}'
    blocks.append(
      f'### {title}: {part["groups"]}, in {part["clusters"]} clusters'
    )
    blocks.append(_table(part))
    rivals = part['champion_against']
    if rivals:
      blocks.append(_rivals(champion, rivals))
  blocks.append(f'### Checks that are failed\n\n{_failures(report["failed"])}')
  passing = sum(not each['failed'] for each in report['statements'])
  blocks.append(
    f'### {len(report["statements"])} statements of {champion}, unselected\n\n'
    f'{passing} of them pass every check.'
  )
  for each in report['statements']:
    mark = f' *({", ".join(each["failed"])})*' if each['failed'] else ''
    blocks.append(
      f'**{_escaped(each["question"])}**\n\n{_escaped(each["statement"])}{mark}'
      f'\n\n{_opinions(each["opinions"])}'
    )
  return '\n\n'.join(blocks) + '\n'


def _opinions(opinions: Sequence[str]) -> str:
  """Folded, as they are longer than the statement."""
  lines = [f'- {_escaped(" ".join(each.split()))}' for each in opinions]
  number = f'{len(opinions)} opinion{"s" if len(opinions) != 1 else ""}'
  return '\n'.join(
    [f'<details><summary>{number}</summary>', '', *lines, '', '</details>']
  )


def _table(part: Mapping[str, Any]) -> str:
  lines = [
    '| policy | mean reward | worst-off member | passes all checks | words |',
    '|---|---|---|---|---|',
  ]
  for name, row in part['entries'].items():
    lines.append(
      f'| {name} | {_number(row["reward"])} | {_number(row["worst_off"])} | '
      f'{_percent(row["passed"])} | {row["words"]:.0f} |'
    )
  return '\n'.join(lines)


def _rivals(champion: str, rivals: Mapping[str, Any]) -> str:
  lines = [
    f'| {champion} against | is preferred | reward ahead | passes, times |',
    '|---|---|---|---|',
  ]
  for name, row in rivals.items():
    lines.append(
      f'| {name} | {_percent(row["win_rate"])} | '
      f'{_number(row["reward_ahead"])} | {_number(row["passed_times"])} |'
    )
  return '\n'.join(lines)


def _failures(failed: Mapping[str, Mapping[str, float]]) -> str:
  lines = [
    f'| share of candidates | {" | ".join(failed)} |',
    f'|---|{"---|" * len(failed)}',
  ]
  for name in LIMITS:
    shares = [row.get(name, 0.0) for row in failed.values()]
    if any(shares):
      cells = ' | '.join(f'{share:.0%}' for share in shares)
      lines.append(f'| {name.replace("_", " ")} | {cells} |')
  return '\n'.join(lines)


def _number(interval: Sequence[float | None]) -> str:
  value, low, high = (
    '-' if each is None else f'{each:.2f}' for each in interval
  )
  return f'{value} [{low}, {high}]'


def _percent(interval: Sequence[float | None]) -> str:
  value, low, high = (
    '-' if each is None else f'{each:.0%}' for each in interval
  )
  return f'{value} [{low}, {high}]'


def _escaped(text: str) -> str:
  """Text of people or models, so that nothing in it is read as Markdown."""
  return ''.join(f'\\{c}' if c in '\\`*_{}[]<>#|!' else c for c in text)
