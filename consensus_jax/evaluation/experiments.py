"""The experiments on simulated participants, and what each finds.

    sections = run(Experiments(num_groups=24), makers, folder='out/outcomes')

Groups of participants whose positions are known rate statements of policies.
What they are to say is known in closed form: the truth beside each finding.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from consensus_jax.data.record_files import make_folder
from consensus_jax.evaluation import (
  attack_experiment,
  benchmark_rows,
  findings,
  made,
  member_experiments,
)
from consensus_jax.evaluation.experiment_settings import (
  Experiments,
  check_names,
)
from consensus_jax.evaluation.experiment_study import (
  MEAN,
  Section,
  Study,
  best_of,
)
from consensus_jax.evaluation.findings import MEASURES
from consensus_jax.evaluation.latent import groups as latent_groups
from consensus_jax.evaluation.latent import questions, statements, truth
from consensus_jax.evaluation.latent.groups import LatentGroup, Population
from consensus_jax.evaluation.made import Files, Maker, Shard

UNANIMITY = 'unanimity, of divided groups'


def run(
  settings: Experiments,
  makers: Mapping[str, Maker],
  *,
  folder: str | os.PathLike[str],
  shard: Shard | None = None,
) -> tuple[Section, ...]:
  """Runs the experiments.

  Args:
    settings: what is to be found out.
    makers: of statements, by system.
    folder: of outcomes, one a line, on disk before the next is made. A run
      that was stopped goes on from there.
    shard: of the groups only these; what is found is about them, and a later
      run of all groups reads what was written.

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
  study = Study(
    settings=settings,
    groups=groups if shard is None else groups[shard.place :: shard.number],
    makers=makers,
    files=Files(make_folder(folder), shard),
  )
  return tuple(_EXPERIMENTS[name](study) for name in settings.experiments)


def _selection(study: Study) -> Section:
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
  return study.section(
    'selection',
    'Prompts, and choosing the best of several candidates',
    'Of the first so many of one draw of candidates, that of greatest '
    'predicted mean utility. With ratings known, that of greatest expected '
    'agreement: no reward model can do better.',
    chosen,
    measures=(MEAN, UNANIMITY),
    pairs=pairs,
    curves={
      system: tuple((num, best_of(system, num)) for num in settings.best_of)
      for system in settings.systems
    },
  )


def _opinions(study: Study) -> Section:
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
    files=study.files,
    name=f'{system}.opinions',
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
  return study.section(
    'opinions',
    'Against the best opinion of the group',
    'An opinion as the candidate: that which the reward model prefers, and '
    'that of greatest expected agreement. Nobody rates their own.',
    chosen,
    measures=(MEAN,),
    pairs=[(own, predicted), (own, known)],
  )


def _welfare(study: Study) -> Section:
  settings, last = study.settings, study.settings.best_of[-1]
  outcomes = study.heard(settings.systems[-1])
  chosen = {
    name: study.best(outcomes, settings.choice(last, **rule))
    for name, rule in settings.choices().items()
  }
  names = [*chosen]
  return study.section(
    'welfare',
    'Social welfare functions and voting rules',
    f'Of all {last} candidates of {settings.systems[-1]}, by the same '
    'predicted rewards. Compared with the first.',
    chosen,
    measures=tuple(MEASURES),
    pairs=[(name, names[0]) for name in names[1:]],
  )


def _models(study: Study) -> Section:
  """Two systems of different models, say a small and a large one."""
  settings = study.settings
  first, last = settings.best_of[0], settings.best_of[-1]
  chosen: dict[str, findings.Chosen] = {}
  for system in settings.models:
    outcomes = study.heard(system)
    for num in dict.fromkeys((first, last)):
      best = study.best(outcomes, settings.choice(num))
      chosen[best_of(system, num)] = best
  one, other = settings.models
  names = [f'{each} is {study.makers[each].model}' for each in settings.models]
  return study.section(
    'models',
    'Two models',
    f'{"; ".join(names)}. Both write for the same groups, and the same reward '
    'model chooses.',
    chosen,
    measures=(MEAN, UNANIMITY),
    pairs=[
      (best_of(other, num), best_of(one, num))
      for num in dict.fromkeys((first, last))
    ],
  )


def _reward_models(study: Study) -> Section:
  return benchmark_rows.section(study.settings.benchmarks)


def _known_best(
  group: LatentGroup, said: Sequence[findings.LatentStatement]
) -> findings.LatentStatement | None:
  """The statement that those who did not write it are to agree with most."""

  def expected(each: findings.LatentStatement) -> float:
    people = findings.raters_of(group, each)
    return float(truth.agreement(people, [each]).mean())

  return max(said, key=expected, default=None)


_EXPERIMENTS: Mapping[str, Callable[[Study], Section]] = {
  'selection': _selection,
  'opinions': _opinions,
  'welfare': _welfare,
  'exclusion': member_experiments.exclusion,
  'topics': member_experiments.topics_apart,
  'models': _models,
  'reward_models': _reward_models,
  'positions': member_experiments.positions_moved,
  'attacks': attack_experiment.attack,
}
