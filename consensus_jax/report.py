"""Outcomes as one self-contained HTML page, to read, print and share."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2

from consensus_jax import wording
from consensus_jax.deliberation import Candidate, Outcome

_TEMPLATES = pathlib.Path(__file__).parent / 'templates'


class _Scale(NamedTuple):
  # Colours turn at `middle` and are full at a distance of `reach` from it.
  middle: float
  reach: float


def render(outcomes: Sequence[Outcome]) -> str:
  """One HTML page with a section for each outcome.

  The page needs nothing from elsewhere and runs no script; whatever people or
  models wrote is shown as text.
  """
  sections = [
    _section(outcome, number) for number, outcome in enumerate(outcomes, 1)
  ]
  return page('outcome.html', sections=sections)


def page(template: str, **values: Any) -> str:
  """A template of the library with values, which are shown as text."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template(template).render(values)


def _section(outcome: Outcome, number: int) -> dict[str, Any]:
  scale = _scale(outcome)
  weights = [opinion.weight for opinion in outcome.participants]
  repeats = wording.repeats(outcome)
  winner = None
  if outcome.consensus is not None:
    winner = outcome.candidates[outcome.consensus]
  return {
    'anchor': f'd{number}',
    'outcome': outcome,
    'winner': winner,
    'winner_tag': wording.tag(outcome.consensus),
    'standing': '' if winner is None else _standing(outcome, winner),
    'range': [] if winner is None else _range(outcome, winner),
    'weighted': len(set(weights)) > 1,
    'prompted': wording.is_prompted(outcome.reward_model),
    'meaning': wording.reward_meaning(outcome.reward_model),
    'welfare': wording.welfare(outcome.aggregation),
    'utility': wording.utility(outcome.aggregation),
    'rows': [
      _row(outcome, index, scale, repeats.get(index))
      for index in outcome.ranked
    ],
    'legend': None if scale is None else _legend(scale),
    'spans': _spans(outcome),
    'changes': wording.changes(outcome.aggregation),
    'notes': wording.remarks(outcome),
    'details': _details(outcome),
  }


def _scale(outcome: Outcome) -> _Scale | None:
  rewards = [
    reward
    for candidate in outcome.candidates
    for reward in candidate.rewards
    if reward is not None
  ]
  if not rewards:
    return None
  low, high = min(rewards), max(rewards)
  # Rewards that all lie on one side of zero would share one colour.
  middle = 0.0 if low <= 0 <= high else (low + high) / 2
  return _Scale(middle, max(high - middle, middle - low))


def _legend(scale: _Scale) -> dict[str, Any]:
  steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
  values = [scale.middle + step * scale.reach for step in steps]
  return {
    'cells': [_cell(value, scale) for value in values],
    'middle': wording.number(scale.middle, sign=True),
  }


def _cell(reward: float | None, scale: _Scale | None) -> dict[str, Any]:
  share = 0.0
  if reward is not None and scale is not None and scale.reach > 0:
    share = (reward - scale.middle) / scale.reach
  return {
    'text': wording.number(reward, sign=True),
    'side': 'none' if reward is None else ('high' if share >= 0 else 'low'),
    'share': f'{abs(share):.0%}',
  }


def _row(
  outcome: Outcome, index: int, scale: _Scale | None, repeated: str | None
) -> dict[str, Any]:
  candidate = outcome.candidates[index]
  return {
    'index': index,
    'tag': wording.tag(index),
    'candidate': candidate,
    'text': repeated or candidate.text or '(empty)',
    'won': index == outcome.consensus,
    'rank': '' if candidate.rank is None else str(candidate.rank),
    'welfare': wording.number(candidate.welfare),
    'finished': wording.finished(candidate),
    'cells': [_cell(reward, scale) for reward in candidate.rewards],
  }


def _standing(outcome: Outcome, winner: Candidate) -> str:
  ranked = sum(c.rank is not None for c in outcome.candidates)
  welfare = wording.number(winner.welfare)
  return f'Best of {wording.count(ranked, "statement")}, welfare {welfare}.'


def _range(outcome: Outcome, winner: Candidate) -> list[tuple[str, str]]:
  # The least and the greatest reward of the winner, and whose they are.
  named = [
    (reward, opinion.participant)
    for reward, opinion in zip(
      winner.rewards, outcome.participants, strict=True
    )
    if reward is not None
  ]
  if len(named) < 2:
    return []
  return [
    (wording.number(reward, sign=True), name)
    for reward, name in (min(named), max(named))
  ]


def _spans(outcome: Outcome) -> list[dict[str, Any]]:
  chosen = wording.alpha(outcome.aggregation.get('alpha'))
  return [
    {
      'alphas': wording.span(alphas),
      'steps': len(alphas),
      'winner': winner,
      'tag': wording.tag(winner),
      'text': '' if winner is None else outcome.candidates[winner].text,
      'won': winner == outcome.consensus,
      'chosen': chosen in alphas,
    }
    for alphas, winner in wording.winners(outcome)
  ]


def _details(outcome: Outcome) -> list[tuple[str, list[tuple[str, str]]]]:
  parts: list[tuple[str, dict[str, Any]]] = [
    ('Policy', outcome.policy),
    ('Reward model', outcome.reward_model),
    ('Aggregation', outcome.aggregation),
    ('Run', {'id': outcome.id, 'seed': outcome.seed, **outcome.run}),
  ]
  named = [
    (
      title,
      [
        (key.replace('_', ' '), wording.record(value))
        for key, value in part.items()
        if value not in (None, [], {})
      ],
    )
    for title, part in parts
  ]
  named.append(('Time', wording.seconds(outcome.timings)))
  return [(title, pairs) for title, pairs in named if pairs]
