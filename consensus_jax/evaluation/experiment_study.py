"""What experiments share: groups, what was written for them, a section."""

import dataclasses
from collections.abc import Mapping, Sequence

from consensus_jax.data.exclusions import Exclusion
from consensus_jax.evaluation import findings, made
from consensus_jax.evaluation.experiment_settings import Experiments
from consensus_jax.evaluation.findings import Draws, Finding, Rated
from consensus_jax.evaluation.latent.groups import LatentGroup
from consensus_jax.evaluation.made import Choice, Maker

MEAN = 'mean agreement'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """What one experiment found.

  Attributes:
    name: of the experiment.
    title: what it asks.
    about: how it is answered.
    findings: the numbers.
    left_out: what was not rated, and why.
    curves: systems that differ in one number, by what they are called without
      it: the number and the system of each point.
  """

  name: str
  title: str
  about: str
  findings: tuple[Finding, ...]
  left_out: tuple[Exclusion, ...] = ()
  curves: Mapping[str, tuple[tuple[int, str], ...]] = dataclasses.field(
    default_factory=dict
  )

  @property
  def recovered(self) -> tuple[int, int]:
    """Of how many findings the interval holds the truth, and of how many."""
    verdicts = [each.recovered for each in self.findings]
    return verdicts.count(True), len(verdicts) - verdicts.count(None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Study:
  """Simulated groups, and what was written for them.

  Attributes:
    settings: what is to be found out.
    groups: who rates.
    makers: of statements, by system.
    files: where outcomes are kept.
  """

  settings: Experiments
  groups: tuple[LatentGroup, ...]
  makers: Mapping[str, Maker]
  files: made.Files

  def write(
    self, system: str, name: str, groups: Sequence[LatentGroup]
  ) -> list[made.Outcome]:
    """Candidates of a system for groups, under a name of their own."""
    return made.write(
      [group.deliberation() for group in groups],
      self.makers[system],
      self.settings.writing(system),
      files=self.files,
      name=name,
    )

  def heard(self, system: str) -> list[made.Outcome]:
    """Where everybody is heard; written once, then read."""
    return self.write(system, system, self.groups)

  def best(
    self, outcomes: Sequence[made.Outcome], choice: Choice
  ) -> findings.Chosen:
    """What is chosen for each group; None where there is nothing."""
    return [
      made.chosen(group, outcome, choice)
      for group, outcome in zip(self.groups, outcomes, strict=True)
    ]

  def section(
    self,
    name: str,
    title: str,
    about: str,
    chosen: Mapping[str, findings.Chosen],
    *,
    measures: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    curves: Mapping[str, tuple[tuple[int, str], ...]] | None = None,
  ) -> Section:
    """Lets the groups rate what was chosen, and measures what they say."""
    rated = findings.rate(self.groups, chosen, seed=self.settings.seed)
    return Section(
      name=name,
      title=title,
      about=about,
      findings=measures_and_pairs(rated, measures, pairs, self.settings.draws),
      left_out=rated.left_out,
      curves=curves or {},
    )


def measures_and_pairs(
  rated: Rated,
  measures: Sequence[str],
  pairs: Sequence[tuple[str, str]],
  draws: Draws,
) -> tuple[Finding, ...]:
  """Measures of every system, then comparisons, corrected for their number."""
  systems = rated.systems
  found = [
    findings.measured(rated, measure, system, draws)
    for measure in measures
    for system in systems
  ]
  for first, second in pairs:
    if first in systems and second in systems:
      found += findings.compared(rated, first, second, draws)
  return findings.corrected(found)


def best_of(system: str, num: int) -> str:
  """What a system is called that chooses from so many candidates."""
  return f'{system}, best of {num}'
