"""The experiment on opinions that attack."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from consensus_jax.deliberation import Deliberation
from consensus_jax.evaluation import attack_findings, attacks, findings, made
from consensus_jax.evaluation.experiment_study import Section, Study, best_of
from consensus_jax.evaluation.findings import Finding
from consensus_jax.evaluation.rating_metrics import Values


def attack(study: Study) -> Section:
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

  def scored(kind: str, asked: Sequence[Deliberation]):
    return made.rank(
      [
        dataclasses.replace(each, candidates=texts[place])
        for each, place in zip(asked, told, strict=True)
      ],
      maker,
      writing,
      files=study.files,
      name=f'{system}.{kind}.scored',
    )

  before = scored('honest', [group.deliberation() for group in groups])
  chosen = {'no attack': [study.best(honest, choice)[i] for i in told]}
  moved: list[Finding] = []
  for kind in settings.attacks:
    asked = [attacks.attacked(group, kind, seed=seed) for group in groups]
    written = made.write(
      asked, maker, writing, files=study.files, name=f'{system}.{kind}'
    )
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
    if {kind, 'no attack'} <= {*rated.systems}:
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
