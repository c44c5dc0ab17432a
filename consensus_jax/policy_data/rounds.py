"""Rounds of best-of-N: a policy's own best statements, to learn from next.

    outcomes = rounds.sample_candidates(mediator, groups, settings, path=...)
    records = rounds.choose(outcomes, groups, settings, excluded)
    record_files.write('round_1.jsonl', records)

Bakker et al. 2022 and Tessler et al. 2024 sample from the policy, let people
rate the samples and fine-tune on those of high quality, again and again. Here
nobody rates: a sample is kept if it passes every rule of `statement_checks`,
and a reward model says which of those the group would like most ("expert
iteration", Anthony et al. 2017, with a learned judge). What the reward model
has wrong, the policy learns: judge it with another one (`policy_report`).
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from consensus_jax import prompts, strict_json
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.near_duplicates import NearDuplicates, normalised
from consensus_jax.data.records import JudgedDeliberation, Statement
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Candidate, Deliberation, Outcome
from consensus_jax.evaluation.outcome_runs import Report, run_all
from consensus_jax.inference.sampler import Sample
from consensus_jax.mediator import Mediator
from consensus_jax.policy_data.groups import (
  Groups,
  deliberation_of,
  without_statements,
)
from consensus_jax.policy_data.statement_checks import LIMITS, Limits, check
from consensus_jax.settings import WRITING, Settings
from consensus_jax.strict_json import InputError, unreadable

SOURCE = 'rounds'
# As the fine-tuned policy will be asked; longer than its statements are.
ROUND_SETTINGS = Settings(
  policy='sft',
  num_candidates=16,
  max_tokens=192,
  temperature=0.9,
  utility='sigmoid',
  overflow='truncate',
)
# Statements of two groups with this share of 3-grams in common say the same.
_NEAR = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundSettings:
  """How statements are sampled and chosen.

  Attributes:
    round: number of the round, from 1; part of every seed and every id.
    writing: how candidates are written, how many, and the seed of all. Their
      utility is what the floor is compared with and the welfare is made of.
    floor: the least utility that the worst-off member may have; with the map
      'sigmoid' a predicted probability of agreeing.
    limits: of the checks.

  Raises:
    InputError: naming the setting that is out of range.
  """

  round: int
  writing: Settings = ROUND_SETTINGS
  floor: float | int = 0.25
  limits: Limits = dataclasses.field(default_factory=lambda: LIMITS)

  def __post_init__(self):
    if self.round < 1:
      raise InputError(f'must be 1 or more, got {self.round}', field=('round',))
    if self.writing.rule != 'isoelastic' or self.writing.alpha != 0:
      raise InputError(
        'statements are chosen by mean utility, that is rule isoelastic with '
        f'alpha 0; got {self.writing.rule} with {self.writing.alpha:g}',
        field=('writing', 'rule'),
      )


def sample_candidates(
  mediator: Mediator,
  groups: Groups,
  settings: RoundSettings,
  *,
  path: str | os.PathLike[str],
  progress: Report | None = None,
) -> list[Outcome]:
  """Writes candidates for every group, checks them, and scores those that pass.

  Every outcome is on disk before the next group begins. Called again after an
  interruption, it keeps what is there and computes the rest.

  Args:
    mediator: the policy, and the reward model that selects.
    groups: with different ids.
    settings: of the round.
    path: JSONL of outcomes, one a group; those made by other models or
      settings are refused.
    progress: called with (groups done, groups).

  Returns:
    One outcome a group, in their order. Candidates that fail a check are
    refused in it, with the checks they fail, and have no rewards.

  Raises:
    InputError: if the file holds anything else, or a prompt is too long and
      may not be cut.
    ModelFileError: if a model computes no numbers.
  """
  return run_all(
    [deliberation_of(record) for record in groups],
    lambda deliberation: write_checked(mediator, deliberation, settings),
    path=path,
    run=_run(mediator, settings),
    progress=progress,
  )


def write_checked(
  mediator: Mediator, deliberation: Deliberation, settings: RoundSettings
) -> Outcome:
  """One group's candidates; only those that pass the checks are scored.

  Scoring costs more than writing, and most of what an early policy writes is
  not worth it.
  """
  seed = seed_of(
    settings.writing.seed, SOURCE, str(settings.round), deliberation.id
  )
  writing = dataclasses.replace(settings.writing, seed=seed % 2**32)
  samples, truncations = mediator.write(deliberation, writing, None)
  refusals = list(_refusals(samples, deliberation, settings.limits))
  passing = [i for i, reason in enumerate(refusals) if reason is None]
  policy = {
    **mediator.policy.describe(),
    **{name: getattr(writing, name) for name in WRITING},
  }
  silence = (None,) * len(deliberation.opinions)
  candidates = {
    i: _candidate(each, refused=refusals[i], silence=silence)
    for i, each in enumerate(samples)
    if refusals[i] is not None
  }
  if not passing:
    return Outcome(
      id=deliberation.id,
      question=deliberation.question,
      participants=deliberation.opinions,
      candidates=tuple(candidates[i] for i in range(len(samples))),
      consensus=None,
      aggregation={},
      sensitivity=(),
      policy=policy,
      reward_model=mediator.reward_model.describe(),
      seed=writing.seed,
      timings={},
      truncations=tuple(truncations),
    )
  texts = tuple(samples[i].text.strip() for i in passing)
  ranked = mediator.rank(
    dataclasses.replace(deliberation, candidates=texts), writing
  )
  for i, scored in zip(passing, ranked.candidates, strict=True):
    candidates[i] = dataclasses.replace(
      scored,
      num_tokens=len(samples[i].tokens),
      log_likelihood=samples[i].log_likelihood,
      finish_reason=samples[i].finish_reason,
    )
  winner = ranked.consensus
  return dataclasses.replace(
    ranked,
    candidates=tuple(candidates[i] for i in range(len(samples))),
    consensus=None if winner is None else passing[winner],
    sensitivity=(),
    policy=policy,
    truncations=(*truncations, *ranked.truncations),
  )


def choose(
  outcomes: Sequence[Outcome],
  groups: Groups,
  settings: RoundSettings,
  excluded: Tally,
) -> Groups:
  """The statement of highest welfare of each group that has a fit one.

  Fit is a candidate that passes all checks and that leaves nobody below the
  floor. A statement that says nearly what the one of an earlier group says is
  left out: a policy that learns from itself tends to say one thing to all.

  Args:
    outcomes: of `sample_candidates`.
    groups: those they are of, in the same order.
    settings: of the round.
    excluded: counts the candidates and groups that are left out, and why.

  Returns:
    Records with one statement each, 'consensus'. Nobody has judged it.

  Raises:
    ValueError: if outcomes and groups do not belong together.
  """
  records = []
  seen = NearDuplicates(_NEAR)
  for outcome, record in zip(outcomes, groups, strict=True):
    if outcome.id != record.id:
      raise ValueError(f'an outcome of {outcome.id!r} meets {record.id!r}')
    fit = []
    for index, candidate in enumerate(outcome.candidates):
      reason = _unfit(candidate, settings.floor)
      if reason:
        excluded.add('candidate', reason, f'{record.id}: {index}')
      else:
        fit.append(candidate)
    best = max(fit, key=_welfare, default=None)
    if best is None:
      excluded.add('group', 'has no fit candidate', record.id)
    elif seen.find(best.text) is not None:
      reason = 'would be told nearly what another group is told'
      excluded.add('group', reason, record.id)
    else:
      seen.add(best.text)
      records.append(_record(record, best, outcome, settings))
  return tuple(records)


def _run(mediator: Mediator, settings: RoundSettings) -> dict[str, Any]:
  """What an outcome depends on beside its group, for a resume to compare."""
  writing = settings.writing
  limits = {name: list(pair) for name, pair in sorted(settings.limits.items())}
  digest = hashlib.sha256(repr(limits).encode()).hexdigest()
  return {
    'round': settings.round,
    'policy': mediator.policy.describe(),
    'reward_model': mediator.reward_model.describe(),
    'limits_sha256': digest,
    'settings': {
      **{name: getattr(writing, name) for name in WRITING},
      'utility': writing.utility,
      'overflow': writing.overflow,
      'seed': writing.seed,
    },
  }


def _refusals(
  samples: Sequence[Sample], deliberation: Deliberation, limits: Limits
) -> Iterator[str | None]:
  """Why each sample is not worth scoring; None where it is."""
  seen: set[str] = set()
  for each in samples:
    mean = each.log_likelihood / max(len(each.tokens), 1)
    found = check(each.text, deliberation, log_likelihood=mean, limits=limits)
    text = normalised(each.text)
    if found.failures:
      yield f'fails {", ".join(found.failures)}'
    elif problem := unreadable(each.text.strip()):
      yield problem
    elif text in seen:
      yield 'says what another candidate says'
    else:
      seen.add(text)
      yield None


def _candidate(
  sample: Sample, *, refused: str | None, silence: tuple[None, ...]
) -> Candidate:
  return Candidate(
    text=sample.text.strip(),
    rewards=silence,
    utilities=silence,
    welfare=None,
    rank=None,
    num_tokens=len(sample.tokens),
    log_likelihood=sample.log_likelihood,
    finish_reason=sample.finish_reason,
    refused=refused,
  )


def _unfit(candidate: Candidate, floor: float) -> str:
  """Why a candidate is not to be learned from; '' if it is."""
  if candidate.refused is not None:
    return candidate.refused
  utilities = [u for u in candidate.utilities if u is not None]
  if len(utilities) < len(candidate.utilities):
    return 'has a reward that is no number'
  if min(utilities) < floor:
    return f'leaves a member with a utility below {floor:g}'
  return ''


def _welfare(candidate: Candidate) -> float:
  assert candidate.welfare is not None, 'fit candidates have one'
  return candidate.welfare


def _record(
  record: JudgedDeliberation,
  best: Candidate,
  outcome: Outcome,
  settings: RoundSettings,
) -> JudgedDeliberation:
  provenance = {
    'policy': outcome.policy.get('adapters', outcome.policy['sha256']),
    'seed': outcome.seed,
    'round': settings.round,
    'best_of': len(outcome.candidates),
    'welfare': round(_welfare(best), 4),
  }
  (group,) = without_statements((record,))
  return dataclasses.replace(
    group,
    id=f'{SOURCE}/{settings.round}/{record.id}',
    source=SOURCE,
    statements=(
      Statement(
        text=prompts.one_line(best.text),
        id='consensus',
        author=str(outcome.policy['name']),
        provenance=strict_json.dump(provenance),
      ),
    ),
  )
