"""Experiments on who is heard, what is asked, and whom a statement moves."""

from consensus_jax.data.exclusions import Exclusion
from consensus_jax.evaluation import findings, positions, topics
from consensus_jax.evaluation.experiment_study import Section, Study, best_of
from consensus_jax.evaluation.latent import groups as latent_groups


def exclusion(study: Study) -> Section:
  """Members who are not heard, and what they think of the statement."""
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
      for name in rated.systems
    ),
    left_out=rated.left_out,
  )


def topics_apart(study: Study) -> Section:
  """Questions in and out of distribution, and each question."""
  settings, last = study.settings, study.settings.best_of[-1]
  system = settings.systems[-1]
  best = study.best(study.heard(system), settings.choice(last))
  rated = findings.rate(
    study.groups, {best_of(system, last): best}, seed=settings.seed
  )
  asked = [group.question.question.id for group in rated.groups]
  return Section(
    name='topics',
    title='Questions in and out of distribution',
    about='Out of distribution: ' + ', '.join(settings.held_out) + '. Groups '
    'differ between questions; that is part of the difference.',
    findings=topics.findings_of(
      rated,
      best_of(system, last),
      topics=[f'question {name}' for name in asked],
      out=[name in settings.held_out for name in asked],
      draws=settings.draws,
    ),
    left_out=rated.left_out,
  )


def positions_moved(study: Study) -> Section:
  """How divided groups are before and after they read the statement."""
  settings, last = study.settings, study.settings.best_of[-1]
  found: list[findings.Finding] = []
  left_out: list[Exclusion] = []
  for system in settings.systems:
    said = study.best(study.heard(system), settings.choice(last))
    of_system, missing = positions.of_latent(
      study.groups,
      said,
      system=best_of(system, last),
      seed=settings.seed,
      draws=settings.draws,
    )
    # What people thought before does not depend on the system.
    found += [each for each in of_system if each not in found]
    left_out += missing
  return Section(
    name='positions',
    title='How divided groups are, before and after',
    about='Agreement with the position statement of the question before the '
    'deliberation and after reading the statement. Divided is who has members '
    'on both sides; internal agreement is 1 where all are on one side, 0 '
    'where as many are on either; the index is 100 where all are on the side '
    'that most were on before.',
    findings=findings.corrected(found),
    left_out=tuple(left_out),
  )
