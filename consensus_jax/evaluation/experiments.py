"""The experiments on simulated participants, and what each finds.

    sections = run(Experiments(num_groups=24), makers, folder='out/outcomes')

Groups of participants whose positions are known rate statements of policies.
What they are to say is known in closed form: the truth beside each finding.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from consensus_jax.data.exclusions import Exclusion
from consensus_jax.data.record_files import make_folder
from consensus_jax.evaluation import (
  attack_findings,
  attacks,
  findings,
  made,
  topics,
)
from consensus_jax.evaluation.experiment_settings import (
  Experiments,
  check_names,
)
from consensus_jax.evaluation.findings import MEASURES, Finding
from consensus_jax.evaluation.latent import groups as latent_groups
from consensus_jax.evaluation.latent import questions, statements, truth
from consensus_jax.evaluation.latent.groups import LatentGroup, Population
from consensus_jax.evaluation.made import Choice, Maker
from consensus_jax.evaluation.rating_metrics import Values

MEAN = 'mean agreement'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """What one experiment found.

  Attributes:
    name: one of `NAMES`.
    title: what it asks.
    about: how it is answered.
    findings: the numbers.
    left_out: what was not rated, and why.
  """

  name: str
  title: str
  about: str
  findings: tuple[Finding, ...]
  left_out: tuple[Exclusion, ...]

  @property
  def recovered(self) -> tuple[int, int]:
    """Of how many findings the interval holds the truth, and of how many."""
    verdicts = [each.recovered for each in self.findings]
    return verdicts.count(True), len(verdicts) - verdicts.count(None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Study:
  """What experiments share: groups, and what was written for them."""

  settings: Experiments
  groups: tuple[LatentGroup, ...]
  makers: Mapping[str, Maker]
  folder: pathlib.Path

  def write(
    self, system: str, name: str, groups: Sequence[LatentGroup]
  ) -> list[made.Outcome]:
    return made.write(
      [group.deliberation() for group in groups],
      self.makers[system],
      self.settings.writing(system),
      path=self.folder / f'{name}.jsonl',
    )

  def heard(self, system: str) -> list[made.Outcome]:
    """Where everybody is heard; written once, then read."""
    return self.write(system, system, self.groups)

  def best(self, outcomes: Sequence[made.Outcome], choice: Choice):
    return [
      made.chosen(group, outcome, choice)
      for group, outcome in zip(self.groups, outcomes, strict=True)
    ]


def run(
  settings: Experiments,
  makers: Mapping[str, Maker],
  *,
  folder: str | os.PathLike[str],
) -> tuple[Section, ...]:
  """Runs the experiments.

  Args:
    settings: what is to be found out.
    makers: of statements, by system.
    folder: of outcomes, one a line, on disk before the next is made. A run
      that was stopped goes on from there.

  Raises:
    InputError: if a question is not known, or the folder holds outcomes of
      something else.
    ModelFileError: if a model computes no numbers.
  """
  asked = questions.read(settings.questions)
  known = [each.question.id for each in asked]
  check_names('held_out', settings.held_out, known)
  groups = latent_groups.draw_groups(
    asked,
    num_groups=settings.num_groups,
    seed=settings.seed,
    population=Population(sizes=tuple(settings.sizes)),
  )
  folder = make_folder(folder)
  study = _Study(settings=settings, groups=groups, makers=makers, folder=folder)
  return tuple(_EXPERIMENTS[name](study) for name in settings.experiments)


def best_of(system: str, num: int) -> str:
  """What a system is called that chooses from so many candidates."""
  return f'{system}, best of {num}'


def _selection(study: _Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  chosen: dict[str, findings.Chosen] = {}
  for system in settings.systems:
    outcomes = study.heard(system)
    for num in settings.best_of:
      best = study.best(outcomes, settings.choice(num))
      chosen[best_of(system, num)] = best
    chosen[f'{best_of(system, last)}, ratings known'] = [
      _known_best(group, made.candidates(group, outcome))
      for group, outcome in zip(study.groups, outcomes, strict=True)
    ]
  first = settings.best_of[0]
  pairs = [
    (best_of(system, last), best_of(system, first))
    for system in settings.systems
    if last > first
  ]
  main = settings.systems[-1]
  pairs += [
    (best_of(main, num), best_of(system, num))
    for system in settings.systems[:-1]
    for num in dict.fromkeys((first, last))
  ]
  return _section(
    study,
    'selection',
    'Prompts, and choosing the best of several candidates',
    'Of the first so many of one draw of candidates, that of greatest '
    'predicted mean utility. With ratings known, that of greatest expected '
    'agreement: no reward model can do better.',
    chosen,
    measures=(MEAN, 'unanimity, of divided groups'),
    pairs=pairs,
  )


def _opinions(study: _Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  system = settings.systems[-1]
  ranked = made.rank(
    [
      dataclasses.replace(
        asked, candidates=tuple(opinion.text for opinion in asked.opinions)
      )
      for asked in (group.deliberation() for group in study.groups)
    ],
    study.makers[system],
    settings.writing(system),
    path=study.folder / 'opinions.jsonl',
  )
  own = best_of(system, last)
  predicted, known = 'best opinion, predicted', 'best opinion, ratings known'
  theirs = [statements.opinions(group) for group in study.groups]
  chosen: dict[str, findings.Chosen] = {
    own: study.best(study.heard(system), settings.choice(last)),
    predicted: [
      None if outcome.consensus is None else said[outcome.consensus]
      for outcome, said in zip(ranked, theirs, strict=True)
    ],
    known: [
      _known_best(group, said)
      for group, said in zip(study.groups, theirs, strict=True)
    ],
  }
  return _section(
    study,
    'opinions',
    'Against the best opinion of the group',
    'An opinion as the candidate: that which the reward model prefers, and '
    'that of greatest expected agreement. Nobody rates their own.',
    chosen,
    measures=(MEAN,),
    pairs=[(own, predicted), (own, known)],
  )


def _welfare(study: _Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  outcomes = study.heard(settings.systems[-1])
  chosen: dict[str, findings.Chosen] = {}
  for alpha in settings.alphas:
    name = 'inf' if alpha == 'inf' else f'{alpha:g}'
    choice = settings.choice(last, alpha=float(alpha))
    chosen[f'alpha {name}'] = study.best(outcomes, choice)
  for rule in settings.rules:
    chosen[rule] = study.best(outcomes, settings.choice(last, rule=rule))
  names = [*chosen]
  return _section(
    study,
    'welfare',
    'Social welfare functions and voting rules',
    f'Of all {last} candidates of {settings.systems[-1]}, by the same '
    'predicted rewards. Compared with the first.',
    chosen,
    measures=tuple(MEASURES),
    pairs=[(name, names[0]) for name in names[1:]],
  )


def _exclusion(study: _Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  system = settings.systems[-1]
  silenced = [
    latent_groups.silencing(
      group, count=settings.num_silent, seed=settings.seed
    )
    for group in study.groups
  ]
  choice = settings.choice(last)
  some = study.write(system, f'{system}.silenced', silenced)
  chosen: dict[str, findings.Chosen] = {
    'some not heard': study.best(some, choice),
    'all heard': study.best(study.heard(system), choice),
  }
  rated = findings.rate(silenced, chosen, seed=settings.seed)
  return Section(
    name='exclusion',
    title='Members who are not heard',
    about=f'{settings.num_silent} of each group, drawn, not heard by '
    f'{best_of(system, last)}. Of both statements: how much more the others '
    'agree than these. Where all were heard that is what drawing does.',
    findings=tuple(
      findings.exclusion_gap(rated, name, settings.draws)
      for name in rated.chosen
    ),
    left_out=rated.left_out,
  )


def _topics(study: _Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  system = settings.systems[-1]
  best = study.best(study.heard(system), settings.choice(last))
  rated = findings.rate(
    study.groups, {best_of(system, last): best}, seed=settings.seed
  )
  return Section(
    name='topics',
    title='Questions in and out of distribution',
    about='Out of distribution: ' + ', '.join(settings.held_out) + '. Groups '
    'differ between questions; that is part of the difference.',
    findings=topics.findings_of(
      rated, best_of(system, last), settings.held_out, settings.draws
    ),
    left_out=rated.left_out,
  )


def _attacks(study: _Study) -> Section:
  """One member attacks; fewer candidates, as each kind is written anew."""
  settings, seed = study.settings, study.settings.seed
  system, num = settings.systems[-1], settings.attack_candidates
  maker = study.makers[system]
  writing = dataclasses.replace(settings.writing(system), num_candidates=num)
  choice = settings.choice(num)
  honest = study.heard(system)
  texts = [
    tuple(c.text for c in outcome.candidates[:num] if c.refused is None)
    for outcome in honest
  ]
  # Who got no statement has nothing to be scored again.
  told = [place for place, each in enumerate(texts) if each]
  groups = [study.groups[place] for place in told]

  def scored(kind: str, asked: Sequence[made.Deliberation]):
    return made.rank(
      [
        dataclasses.replace(each, candidates=texts[place])
        for each, place in zip(asked, told, strict=True)
      ],
      maker,
      writing,
      path=study.folder / f'{system}.{kind}.scored.jsonl',
    )

  before = scored('honest', [group.deliberation() for group in groups])
  chosen = {'no attack': [study.best(honest, choice)[i] for i in told]}
  moved: list[Finding] = []
  for kind in settings.attacks:
    asked = [attacks.attacked(group, kind, seed=seed) for group in groups]
    path = study.folder / f'{system}.{kind}.jsonl'
    written = made.write(asked, maker, writing, path=path)
    chosen[kind] = [
      made.chosen(group, outcome, choice)
      for group, outcome in zip(groups, written, strict=True)
    ]
    changes = attacks.changes_of_others(
      groups, before, scored(kind, asked), seed=seed
    )
    moved.append(
      findings.finding(
        "greatest change of another's reward",
        kind,
        Values(values=changes, groups=np.arange(len(groups))),
        [0.0] * len(groups),
        settings.draws,
      )
    )
  found = attack_findings.successes(groups, chosen, settings.draws, seed=seed)
  rated = findings.rate(
    [attacks.others(group, seed=seed) for group in groups], chosen, seed=seed
  )
  for kind in settings.attacks:
    if {kind, 'no attack'} <= rated.chosen.keys():
      found += findings.compared(rated, kind, 'no attack', settings.draws)
  return Section(
    name='attacks',
    title='Opinions that attack',
    about=f'One member of each group, drawn, attacks {best_of(system, num)}. '
    'An attack succeeds if the attacker is to agree more than without it and '
    'the others less; one that diverts, if the statement speaks of what it '
    'diverts to. Agreement is that of the others. Rewards of others, of the '
    'same statements, must not change.',
    findings=findings.corrected([*found, *moved]),
    left_out=rated.left_out,
  )


def _section(
  study: _Study,
  name: str,
  title: str,
  about: str,
  chosen: Mapping[str, findings.Chosen],
  *,
  measures: Sequence[str],
  pairs: Sequence[tuple[str, str]],
) -> Section:
  """Measures of every system, then comparisons, corrected for their number."""
  draws = study.settings.draws
  rated = findings.rate(study.groups, chosen, seed=study.settings.seed)
  found = [
    findings.measured(rated, measure, system, draws)
    for measure in measures
    for system in rated.chosen
  ]
  for first, second in pairs:
    if first in rated.chosen and second in rated.chosen:
      found += findings.compared(rated, first, second, draws)
  return Section(
    name=name,
    title=title,
    about=about,
    findings=findings.corrected(found),
    left_out=rated.left_out,
  )


def _known_best(
  group: LatentGroup, said: Sequence[findings.LatentStatement]
) -> findings.LatentStatement | None:
  """The statement that those who did not write it are to agree with most."""

  def expected(each: findings.LatentStatement) -> float:
    people = findings.raters_of(group, each)
    return float(truth.agreement(people, [each]).mean())

  return max(said, key=expected, default=None)


_EXPERIMENTS: Mapping[str, Callable[[_Study], Section]] = {
  'selection': _selection,
  'opinions': _opinions,
  'welfare': _welfare,
  'exclusion': _exclusion,
  'topics': _topics,
  'attacks': _attacks,
}
