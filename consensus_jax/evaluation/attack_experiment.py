"""The experiment on opinions that attack."""

import dataclasses

import numpy as np

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
  best = [made.winner(made.rewards(outcome), choice) for outcome in honest]
  # Who got no statement has nothing to be scored again.
  told = [place for place, each in enumerate(best) if each is not None]
  groups = [study.groups[place] for place in told]
  before = [
    (outcome, outcome.candidates[winner])
    for outcome, winner in zip(honest, best)
    if winner is not None
  ]
  chosen = {'no attack': [study.best(honest, choice)[i] for i in told]}
  moved: list[Finding] = []
  for kind in settings.attacks:
    # The statement without an attack is brought along, to be scored again.
    asked = [
      dataclasses.replace(
        attacks.attacked(group, kind, seed=seed), candidates=(said.text,)
      )
      for group, (_, said) in zip(groups, before, strict=True)
    ]
    written = made.write(
      asked, maker, writing, files=study.files, name=f'{system}.{kind}'
    )
    chosen[kind] = [
      made.chosen(group, outcome, choice)
      for group, outcome in zip(groups, written, strict=True)
    ]
    changes = np.array(
      [
        attacks.change_of_others(group, one, outcome, seed=seed)
        for group, one, outcome in zip(groups, before, written, strict=True)
      ]
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
    'statement without an attack, must not change, to three decimals.',
    findings=findings.corrected([*found, *moved]),
    left_out=rated.left_out,
  )
