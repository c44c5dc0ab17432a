"""How an outcome is put into words, the same on a terminal and on a page."""

from typing import Any

from consensus_jax.deliberation import Candidate, Outcome

MINUS = '\N{MINUS SIGN}'
INFINITY = '\N{INFINITY}'
_NAMES = {
  'utilitarian': 'utilitarian, the mean',
  'nash': 'Bernoulli-Nash, the geometric mean',
  'rawlsian': 'Rawlsian, the worst-off member',
  'isoelastic': 'isoelastic',
}
_FINISHED = {
  'stop': 'ended by itself',
  'length': 'cut at the limit',
  'given': 'given',
}


def number(value: float | None, *, digits: int = 2, sign: bool = False) -> str:
  """A number with a true minus; a dash where there is none."""
  if value is None:
    return '\N{EN DASH}'
  text = f'{value:+.{digits}f}' if sign else f'{value:.{digits}f}'
  if not text.strip('+-0.'):
    text = text.lstrip('+-')
  return text.replace('-', MINUS)


def count(many: int, noun: str) -> str:
  """'1 candidate', '2 candidates'."""
  return f'{many} {noun}' if many == 1 else f'{many} {noun}s'


def alpha(value: object, *, digits: int = 6) -> str:
  """An alpha as in the record, with a sign for infinity."""
  if value == 'inf':
    return INFINITY
  number = isinstance(value, int | float)
  return f'{value:.{digits}g}' if number else str(value)


def welfare(aggregation: dict[str, Any]) -> str:
  """Which welfare function is shown for the candidates, and ranked them."""
  name = str(aggregation.get('name', aggregation.get('rule', 'welfare')))
  if aggregation.get('rule', 'isoelastic') != 'isoelastic':
    return (
      f'isoelastic, alpha {alpha(aggregation.get("alpha"))}; the ranking is by '
      f'{name.replace("_", " ")}'
    )
  return f'{_NAMES.get(name, name)} (alpha {alpha(aggregation.get("alpha"))})'


def utility(aggregation: dict[str, Any]) -> str:
  """Which map made utilities from rewards."""
  value = aggregation.get('utility')
  parts = value if isinstance(value, dict) else {'map': value}
  name = str(parts.get('map'))
  if name == 'shift':
    low, high = parts.get('low', -10.0), parts.get('high', 10.0)
    constant = parts.get('constant', 11.0)
    return (
      f'the reward, kept within {number(low, digits=0)} and '
      f'{number(high, digits=0)}, plus {number(constant, digits=0)}'
    )
  if name in ('sigmoid', 'softplus'):
    return f'the {name} of the reward'
  return name


def is_prompted(reward_model: dict[str, Any]) -> bool:
  """Whether the rewards come from a language model that was merely asked."""
  return 'prompt' in str(reward_model.get('kind', ''))


def reward_meaning(reward_model: dict[str, Any]) -> str:
  """What a reward is and which model made it, in a sentence or two."""
  name = reward_model.get('name', 'a model')
  if is_prompted(reward_model):
    return (
      f'A reward is the log-odds that {name}, asked in the place of the '
      'participant, agrees with the statement rather than disagrees: above 0 '
      'it leans to agreeing. This is a prompted rater, not a reward model '
      'trained on human judgements.'
    )
  who = f'{name}, a reward model,'
  if adapters := reward_model.get('adapters'):
    who = f'a reward model, the adapters {adapters["name"]} of {name},'
  return (
    f'A reward is how much {who} predicts the participant to agree with the '
    'statement; higher is more.'
  )


def finished(candidate: Candidate) -> str:
  """How a candidate came to its end."""
  return _FINISHED[candidate.finish_reason]


def winners(outcome: Outcome) -> list[tuple[list[str], int | None]]:
  """Neighbouring alphas with one winner: their names, and its index."""
  runs: list[tuple[list[str], int | None]] = []
  for step in outcome.sensitivity:
    if not runs or runs[-1][1] != step['winner']:
      runs.append(([], step['winner']))
    runs[-1][0].append(alpha(step['alpha']))
  return runs


def span(alphas: list[str]) -> str:
  """'0 to 0.5', or '1' for one alone."""
  return alphas[0] if len(alphas) == 1 else f'{alphas[0]} to {alphas[-1]}'


def changes(aggregation: dict[str, Any]) -> str:
  """Where exactly the winner changes with alpha; '' if it does not."""
  found = [
    f'at {alpha(change["alpha"], digits=3)} from {tag(change["before"])} to '
    f'{tag(change["after"])}'
    for change in aggregation.get('changes', [])
  ]
  return f'The winner changes {", ".join(found)}.' if found else ''


def repeats(outcome: Outcome) -> dict[int, str]:
  """What to say of ranked candidates that say what a better one does.

  A sure policy writes the same again, and is rewarded the same for it.
  """
  first: dict[str, int] = {}
  found = {}
  for index in outcome.ranked:
    candidate = outcome.candidates[index]
    if candidate.refused is None:
      said = first.setdefault(' '.join(candidate.text.split()), index)
      if said != index:
        found[index] = f'(word for word {tag(said)})'
  return found


def tag(index: int | None) -> str:
  """A candidate's name: its index in the record."""
  return 'none' if index is None else f'#{index}'


def seconds(timings: dict[str, Any]) -> list[tuple[str, str]]:
  """Stages and their times."""
  return [
    (name.replace('_', ' '), f'{value:.1f} s')
    for name, value in timings.items()
    if isinstance(value, int | float)
  ]


def record(value: object) -> str:
  """Any value of a record, in one line."""
  if isinstance(value, dict):
    return ', '.join(f'{key}: {record(item)}' for key, item in value.items())
  if isinstance(value, list):
    return ', '.join(record(item) for item in value)
  if isinstance(value, float):
    return f'{value:g}'
  return 'none' if value is None else str(value)


def remarks(outcome: Outcome) -> list[str]:
  """What went otherwise than a reader would expect, a sentence each."""
  lines = []
  tied = outcome.aggregation.get('tied', [])
  if isinstance(tied, list) and len(tied) > 1:
    names = ', '.join(tag(index) for index in tied)
    lines.append(f'Tied for best: {names}.')
  total = count(len(outcome.candidates), 'candidate')
  cut = sum(c.finish_reason == 'length' for c in outcome.candidates)
  if cut:
    lines.append(f'Broken off at the limit of tokens: {cut} of {total}.')
  refused = [
    f'{tag(index)} ({candidate.refused})'
    for index, candidate in enumerate(outcome.candidates)
    if candidate.refused is not None
  ]
  if refused:
    names = ', '.join(refused)
    lines.append(f'Refused: {len(refused)} of {total}, {names}.')
  for truncation in outcome.truncations:
    lines.append(_truncation(truncation))
  return lines


def _truncation(cut: dict[str, Any]) -> str:
  scoring = cut.get('stage') == 'score'
  place = 'when it was scored' if scoring else 'into the prompt of the policy'
  return (
    f'The opinion of {cut.get("participant")} did not fit {place}: '
    f'{cut.get("kept_tokens")} of {cut.get("tokens")} tokens were kept.'
  )


def notes(outcome: Outcome) -> list[str]:
  """What a reader of the numbers has to know, a sentence or two each."""
  lines = [
    f'Welfare: {welfare(outcome.aggregation)}. '
    f'Utility: {utility(outcome.aggregation)}.',
    reward_meaning(outcome.reward_model),
  ]
  if outcome.sensitivity:
    spans = [
      f'alpha {span(alphas)}: {tag(winner)}'
      for alphas, winner in winners(outcome)
    ]
    lines.append(f'Winner at {"; ".join(spans)}.')
  if changes(outcome.aggregation):
    lines.append(changes(outcome.aggregation))
  lines += remarks(outcome)
  times = ', '.join(f'{name} {time}' for name, time in seconds(outcome.timings))
  if times:
    lines.append(f'Time: {times}. Seed {outcome.seed}.')
  return lines
