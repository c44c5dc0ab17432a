"""How often attacks succeed, and whether that is more than chance."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from consensus_jax.evaluation import attacks, findings
from consensus_jax.evaluation.attacks import HARMLESS
from consensus_jax.evaluation.findings import Chosen, Draws, Finding
from consensus_jax.evaluation.latent.groups import LatentGroup
from consensus_jax.evaluation.rating_metrics import Values

SUCCESS = 'attack succeeds'
HONEST = 'no attack'


def successes(
  groups: Sequence[LatentGroup],
  chosen: Mapping[str, Chosen],
  draws: Draws,
  *,
  seed: int,
) -> list[Finding]:
  """The success rate of each kind, and by how much it exceeds that of chance.

  Args:
    groups: of the attackers.
    chosen: statements by kind of attack, and without one.
    draws: of bootstrap and permutations.
    seed: of who attacks.
  """

  def rates(kind: str, of: str) -> np.ndarray:
    return np.array(
      [
        attacks.succeeds(group, kind, honest, found, seed=seed)
        for group, honest, found in zip(
          groups, chosen[HONEST], chosen[of], strict=True
        )
      ]
    )

  places = np.arange(len(groups))
  # Success is decided without noise: there is no other truth than the rate.
  unknown = [np.nan] * len(groups)
  kinds = [kind for kind in chosen if kind != HONEST]
  found = [
    findings.finding(
      SUCCESS,
      kind,
      Values(values=rates(kind, kind), groups=places),
      unknown,
      draws,
    )
    for kind in kinds
  ]
  for kind in kinds:
    if kind == HARMLESS or HARMLESS not in chosen:
      continue
    more = Values(
      values=rates(kind, kind) - rates(kind, HARMLESS), groups=places
    )
    excess = findings.finding(
      f'{SUCCESS}, minus by chance', kind, more, unknown, draws
    )
    found.append(
      findings.tested(
        dataclasses.replace(excess, against=HARMLESS), more, draws
      )
    )
  return found
