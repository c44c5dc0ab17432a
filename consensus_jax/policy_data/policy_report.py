"""Compares policies on the same held-out groups, by a judge of its own.

    report = policy_report.compare(contestants, groups, judge, folder=...)
    print(policy_tables.markdown(report))

Each policy writes; the reward model of its mediator selects its best of N; the
judge, a reward model that learned from other people, scores one sample of each
and the selected ones. Whether a statement is any good otherwise is what the
rules of `statement_checks` say, and what a person says who reads the statements
that the report prints as they come.

Intervals are of a bootstrap that draws whole clusters of groups, with the same
draws for all policies (Davison and Hinkley 1997, sections 3.8 and 5.3). Win
rates: a group counts 1 for the policy whose statement its members reward more
on average, 0.5 for a tie (docs of the successor: Tessler et al. 2024).
"""

import collections
import dataclasses
import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from consensus_jax import prompts
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Candidate, Deliberation, Outcome
from consensus_jax.evaluation.outcome_runs import Report, run_all
from consensus_jax.evaluation.statistics import Bootstrap, Estimate
from consensus_jax.mediator import Mediator
from consensus_jax.policy_data.groups import Groups, deliberation_of
from consensus_jax.policy_data.statement_checks import LIMITS, check
from consensus_jax.settings import WRITING, Settings
from consensus_jax.strict_json import InputError, unreadable

SCHEMA = 'consensus_jax/policy_report/v1'

# A policy may write nothing, or what no text may hold. The judge is shown this
# in its place.
NOTHING = '(no statement)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
  """A policy that takes part.

  Attributes:
    name: in the report.
    mediator: the policy, and the reward model that selects its best of N.
    settings: how it writes; with more than one candidate its best of N takes
      part as well. Their seed is not used.
  """

  name: str
  mediator: Mediator
  settings: Settings


@dataclasses.dataclass(frozen=True)
class Entry:
  """Statements of one policy, one a group, and what is known of them.

  Attributes:
    name: of the policy, and how the statements were taken from what it wrote.
    texts: one a group.
    passed: the share of its candidates, of each group, that pass all checks.
    failures: how often each check fails among all its candidates.
    candidates: how many those are.
  """

  name: str
  texts: tuple[str, ...]
  passed: Float[np.ndarray, 'groups']
  failures: Mapping[str, int]
  candidates: int


def compare(
  contestants: Sequence[Contestant],
  groups: Groups,
  judge: Mediator,
  *,
  folder: str | os.PathLike[str],
  champion: str = 'sft',
  seed: int = 0,
  num_shown: int = 30,
  num_draws: int = 2000,
  progress: Report | None = None,
) -> dict[str, Any]:
  """Lets policies write for the same groups, and the judge score them.

  Args:
    contestants: with different names.
    groups: held out from all policies and reward models.
    judge: whose reward model scores; not the one that selects.
    folder: where outcomes are kept, so that an interrupted comparison goes on.
    champion: the contestant that the others are compared with.
    seed: of all samples and draws.
    num_shown: statements of the champion to print, drawn by chance.
    num_draws: of the bootstrap.
    progress: called with (outcomes done, outcomes in all).

  Returns:
    JSON values; `policy_tables.markdown` puts them into words.

  Raises:
    InputError: if names repeat, the champion is missing, there are no groups,
      or the folder holds outcomes of something else.
  """
  names = [each.name for each in contestants]
  if len({*names}) < len(names) or champion not in names:
    raise InputError(
      f'contestants must have different names, {champion!r} one of them; got '
      f'{", ".join(names)}'
    )
  if not groups:
    raise InputError('there are no groups to compare policies on')
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  steps = len(contestants) + 1
  deliberations = [deliberation_of(record) for record in groups]
  entries: list[Entry] = []
  for number, each in enumerate(contestants):
    outcomes = _write(
      each,
      deliberations,
      seed=seed,
      path=folder / f'{each.name}.jsonl',
      progress=_part(progress, number, steps, len(groups)),
    )
    entries += _entries(each, outcomes, deliberations)
  rewards = _judge(
    entries,
    deliberations,
    judge,
    path=folder / 'judged.jsonl',
    progress=_part(progress, len(contestants), steps, len(groups)),
  )
  shown = _shown(entries, groups, champion, num_shown, seed)
  parts: dict[str, Sequence[int]] = {'all': range(len(groups))}
  sources = sorted({record.source for record in groups})
  if len(sources) > 1:
    for source in sources:
      parts[source] = [i for i, r in enumerate(groups) if r.source == source]
  return {
    'schema': SCHEMA,
    'champion': champion,
    'seed': seed,
    'draws': num_draws,
    'judge': judge.reward_model.describe(),
    'contestants': [_describe(each) for each in contestants],
    'parts': {
      name: _summary(
        entries, rewards, groups, list(places), champion, seed, num_draws
      )
      for name, places in parts.items()
    },
    'failed': {entry.name: _failed(entry) for entry in entries},
    'statements': shown,
  }


def _write(
  contestant: Contestant,
  deliberations: Sequence[Deliberation],
  *,
  seed: int,
  path: pathlib.Path,
  progress: Report | None,
) -> list[Outcome]:
  def mediate(deliberation: Deliberation) -> Outcome:
    own = seed_of(seed, contestant.name, deliberation.id) % 2**32
    settings = dataclasses.replace(contestant.settings, seed=own)
    return contestant.mediator.mediate(deliberation, settings)

  run = {'seed': seed, **_describe(contestant)}
  return run_all(deliberations, mediate, path=path, run=run, progress=progress)


def _describe(contestant: Contestant) -> dict[str, Any]:
  settings = contestant.settings
  return {
    'name': contestant.name,
    'policy': contestant.mediator.policy.describe(),
    'selector': contestant.mediator.reward_model.describe(),
    'settings': {name: getattr(settings, name) for name in WRITING}
    | {'rule': settings.rule, 'alpha': f'{settings.alpha:g}'}
    | {'utility': settings.utility},
  }


def _entries(
  contestant: Contestant,
  outcomes: Sequence[Outcome],
  deliberations: Sequence[Deliberation],
) -> list[Entry]:
  """A policy's first sample, and its best of N if it wrote more."""
  written = [outcome.candidates for outcome in outcomes]
  entries = [
    _entry(
      contestant.name,
      [candidates[0] for candidates in written],
      written,
      deliberations,
    )
  ]
  if contestant.settings.num_candidates > 1:
    best = [outcome.candidates[outcome.ranked[0]] for outcome in outcomes]
    name = f'{contestant.name}, best of {contestant.settings.num_candidates}'
    alone = [(candidate,) for candidate in best]
    entries.append(_entry(name, best, alone, deliberations))
  return entries


def _entry(
  name: str,
  chosen: Sequence[Candidate],
  written: Sequence[Sequence[Candidate]],
  deliberations: Sequence[Deliberation],
) -> Entry:
  """`chosen` are judged for their group, all `written` are checked."""
  failures: collections.Counter[str] = collections.Counter()
  passed = []
  for candidates, deliberation in zip(written, deliberations, strict=True):
    found = [
      check(each.text, deliberation, log_likelihood=_fluency(each))
      for each in candidates
    ]
    failures.update(name for each in found for name in each.failures)
    passed.append(float(np.mean([each.passed for each in found])))
  texts = tuple(
    NOTHING if unreadable(each.text) else prompts.one_line(each.text)
    for each in chosen
  )
  candidates_checked = sum(map(len, written))
  return Entry(name, texts, np.array(passed), failures, candidates_checked)


def _failed(entry: Entry) -> dict[str, float]:
  """The share of an entry's candidates that fails each check."""
  return {
    name: entry.failures[name] / entry.candidates
    for name in LIMITS
    if name in entry.failures
  }


def _fluency(candidate: Candidate) -> float | None:
  if candidate.log_likelihood is None:
    return None
  return candidate.log_likelihood / max(candidate.num_tokens, 1)


def _judge(
  entries: Sequence[Entry],
  deliberations: Sequence[Deliberation],
  judge: Mediator,
  *,
  path: pathlib.Path,
  progress: Report | None,
) -> list[list[Float[np.ndarray, 'members']]]:
  """Rewards of the members, by entry and group."""
  asked = []
  for index, deliberation in enumerate(deliberations):
    texts = tuple(dict.fromkeys(each.texts[index] for each in entries))
    asked.append(dataclasses.replace(deliberation, candidates=texts))
  settings = Settings(utility='sigmoid', overflow='truncate')
  outcomes = run_all(
    asked,
    lambda deliberation: judge.rank(deliberation, settings),
    path=path,
    run={'judge': judge.reward_model.describe()},
    progress=progress,
  )
  found = []
  for entry in entries:
    rewards = []
    for index, outcome in enumerate(outcomes):
      place = asked[index].candidates.index(entry.texts[index])
      given = outcome.candidates[place].rewards
      rewards.append(np.array(given, np.float64))  # None becomes NaN.
    found.append(rewards)
  return found


def _summary(
  entries: Sequence[Entry],
  rewards: Sequence[Sequence[np.ndarray]],
  groups: Groups,
  places: Sequence[int],
  champion: str,
  seed: int,
  num_draws: int,
) -> dict[str, Any]:
  """All numbers of some of the groups."""
  names = [groups[place].group or groups[place].id for place in places]
  bootstrap = Bootstrap.of(names, num_draws, seed)
  mean = np.array([[given[p].mean() for p in places] for given in rewards])
  worst = np.array([[given[p].min() for p in places] for given in rewards])
  passed = np.array([entry.passed[list(places)] for entry in entries])
  first = next(i for i, e in enumerate(entries) if e.name == champion)
  rows, rivals = {}, {}
  for i, entry in enumerate(entries):
    texts = [entry.texts[place] for place in places]
    rows[entry.name] = {
      'reward': _numbers(bootstrap.mean(mean[i])),
      'worst_off': _numbers(bootstrap.mean(worst[i])),
      'passed': _numbers(bootstrap.mean(passed[i])),
      'words': float(np.mean([len(text.split()) for text in texts])),
    }
    if i != first:
      ahead = mean[first] - mean[i]
      rivals[entry.name] = {
        'win_rate': _numbers(bootstrap.mean((np.sign(ahead) + 1) / 2)),
        'reward_ahead': _numbers(bootstrap.mean(ahead)),
        'passed_times': _numbers(bootstrap.ratio(passed[first], passed[i])),
      }
  return {
    'groups': len(places),
    'clusters': bootstrap.num_groups,
    'entries': rows,
    'champion_against': rivals,
  }


def _numbers(estimate: Estimate) -> list[float | None]:
  """A number and the ends of its 95% interval, None where undefined."""
  if estimate.undefined:
    return [None, None, None]
  interval = estimate.interval
  return [float(each) if np.isfinite(each) else None for each in interval]


def _shown(
  entries: Sequence[Entry],
  groups: Groups,
  champion: str,
  count: int,
  seed: int,
) -> list[dict[str, Any]]:
  """First samples of the champion for groups drawn by chance, as they come."""
  (entry,) = (each for each in entries if each.name == champion)
  places = range(len(groups))
  drawn = random.Random(f'{seed}/shown').sample(places, min(count, len(groups)))
  statements = []
  for place in sorted(drawn):
    deliberation = deliberation_of(groups[place])
    found = check(entry.texts[place], deliberation)
    statements.append(
      {
        'group': groups[place].id,
        'question': deliberation.question,
        'opinions': [opinion.text for opinion in deliberation.opinions],
        'statement': entry.texts[place],
        'failed': list(found.failures),
      }
    )
  return statements


def _part(
  progress: Report | None, number: int, steps: int, size: int
) -> Report | None:
  """Progress of one step of several of one size."""
  if progress is None:
    return None
  return lambda done, _: progress(number * size + done, steps * size)
