"""What the experiments on simulated participants are told."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, get_args

from consensus_jax.evaluation.attacks import KINDS
from consensus_jax.evaluation.findings import Draws
from consensus_jax.evaluation.made import Choice
from consensus_jax.settings import Policy, Settings
from consensus_jax.social_choice.names import MapName, Rule
from consensus_jax.strict_json import InputError

NAMES = (
  *('selection', 'opinions', 'welfare', 'exclusion', 'topics', 'models'),
  *('reward_models', 'positions', 'attacks'),
)
# A policy beside those of `Policy`: another model, asked as it was taught.
OTHER = 'other'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiments:
  """What is to be found out, of whom.

  Attributes:
    experiments: some of `NAMES`.
    systems: prompts that policies are asked with, or 'other'; most
      experiments are about the last of them.
    models: two of the systems, whose models are compared.
    num_groups: simulated groups, the questions in turns.
    sizes: of a group, drawn from these.
    best_of: how many candidates are chosen from, increasing; all are among the
      same draw of the greatest number.
    alphas: aversions to inequality, numbers or 'inf'.
    rules: voting rules.
    utility: the map from rewards to utilities.
    num_silent: members who are not heard, where some are not.
    held_out: ids of questions that count as out of distribution.
    attacks: kinds of attack, of `attacks.KINDS`.
    attack_candidates: how many are chosen from there; at most all.
    max_tokens: the longest statement.
    num_draws: of bootstrap and permutations.
    seed: of everything.
    model: of the prompted systems; None is the embedded model.
    trained_policy: of the system 'sft'; None is the one that ships.
    other_model: of the system 'other', say a larger one.
    reward_model: that chooses; None is the one that ships.
    questions: JSONL of questions; None is what ships.
    benchmarks: folders that `consensus evaluate reward_model` wrote, for the
      experiment 'reward_models'.

  Raises:
    InputError: naming the setting that is out of range.
  """

  experiments: Sequence[str] = tuple(
    name for name in NAMES if name != 'reward_models'
  )
  systems: Sequence[str] = ('zero_shot', 'few_shot', 'sft')
  models: Sequence[str] = ('zero_shot', 'sft')
  num_groups: int = 6
  sizes: Sequence[int] = (4, 5)
  best_of: Sequence[int] = (1, 2, 4, 8, 16)
  alphas: Sequence[float | int | str] = (0, 0.5, 1, 2, 10, 'inf')
  rules: Sequence[str] = ('schulze', 'borda', 'copeland', 'instant_runoff')
  utility: str = 'shift'
  num_silent: int = 1
  held_out: Sequence[str] = ('office', 'allotments')
  attacks: Sequence[str] = tuple(KINDS)
  attack_candidates: int = 3
  max_tokens: int = 96
  num_draws: int = 10_000
  seed: int = 0
  model: str | None = None
  trained_policy: str | None = None
  other_model: str | None = None
  reward_model: str | None = None
  questions: str | None = None
  benchmarks: Sequence[str] = ()

  def __post_init__(self):
    for name, known in (
      ('experiments', NAMES),
      ('systems', (*get_args(Policy), OTHER)),
      ('rules', get_args(Rule)),
      ('attacks', tuple(KINDS)),
    ):
      check_names(name, getattr(self, name), known)
    if self.utility not in get_args(MapName):
      raise InputError(
        f'must be one of {", ".join(get_args(MapName))}, got {self.utility!r}',
        field=('utility',),
      )
    if not self.systems or not self.experiments:
      empty = 'experiments' if self.systems else 'systems'
      raise InputError('must hold at least one', field=(empty,))
    for field, system in (('trained_policy', 'sft'), ('other_model', OTHER)):
      if getattr(self, field) is not None and system not in self.systems:
        raise InputError(
          f'is of the system {system!r}, which is not among the systems',
          field=(field,),
        )
    if OTHER in self.systems and self.other_model is None:
      raise InputError(
        f'says which model the system {OTHER!r} is', field=('other_model',)
      )
    if 'models' in self.experiments:
      check_names('models', self.models, self.systems)
      if len(self.models) != 2:
        raise InputError(
          f'must be two, got {len(self.models)}', field=('models',)
        )
    if ('reward_models' in self.experiments) != bool(self.benchmarks):
      raise InputError(
        "and the experiment 'reward_models' go together: a folder that "
        '`consensus evaluate reward_model` wrote',
        field=('benchmarks',),
      )
    for name, least in (('num_groups', 2), ('num_draws', 1), ('num_silent', 1)):
      if getattr(self, name) < least:
        raise InputError(
          f'must be {least} or more, got {getattr(self, name)}', field=(name,)
        )
    if min(self.sizes, default=0) < 3:
      raise InputError(
        f'a group has 3 members or more, got {tuple(self.sizes)}',
        field=('sizes',),
      )
    if self.num_silent >= min(self.sizes):
      raise InputError(
        f'leaves nobody of a group of {min(self.sizes)} to be heard',
        field=('num_silent',),
      )
    counts = [*self.best_of]
    if not counts or counts[0] < 1 or counts != sorted({*counts}):
      raise InputError(
        f'must be increasing numbers from 1, got {tuple(counts)}',
        field=('best_of',),
      )
    attacked = 'attacks' in self.experiments
    if attacked and not 1 <= self.attack_candidates <= counts[-1]:
      raise InputError(
        f'must be from 1 to {counts[-1]}, got {self.attack_candidates}',
        field=('attack_candidates',),
      )
    check_alphas(self.alphas)
    self.writing(self.systems[0])

  def writing(self, system: str) -> Settings:
    """How a system writes the candidates of all experiments."""
    return writing(
      system,
      num_candidates=self.best_of[-1],
      max_tokens=self.max_tokens,
      utility=self.utility,
      seed=self.seed,
    )

  title = 'Experiments on simulated participants'

  @property
  def introduction(self) -> str:
    """What the numbers of the report are."""
    return (
      f'{self.num_groups} simulated groups, whose positions are known, rated '
      'statements. Each number is a mean over groups, with a 95% interval of '
      f'{self.num_draws:,} draws of groups (seed {self.seed}) in brackets, and '
      'in parentheses what it is expected to be. What people say and how they '
      'rate is made up: this tests the pipeline, and says nothing of real '
      'people.'
    )

  @property
  def draws(self) -> Draws:
    """Of bootstrap and permutations."""
    return Draws(self.num_draws, self.seed)

  def choice(self, num: int, **rule: Any) -> Choice:
    """Of the best of the first `num` candidates."""
    return Choice(num=num, utility=self.utility, seed=self.seed, **rule)

  def choices(self) -> dict[str, dict[str, Any]]:
    """As `ways`."""
    return ways(self.alphas, self.rules)


def writing(
  system: str, *, num_candidates: int, max_tokens: int, utility: str, seed: int
) -> Settings:
  """How a system of an experiment writes; long opinions are cut."""
  return Settings(
    # Another model is asked as it was taught.
    policy=None if system == OTHER else system,  # type: ignore[arg-type]
    num_candidates=num_candidates,
    max_tokens=max_tokens,
    utility=utility,  # type: ignore[arg-type]
    overflow='truncate',
    seed=seed,
  )


def ways(
  alphas: Sequence[float | int | str], rules: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Aversions to inequality and voting rules as arguments of `Choice`."""
  found: dict[str, dict[str, Any]] = {
    'alpha inf' if alpha == 'inf' else f'alpha {alpha:g}': {
      'alpha': float(alpha)
    }
    for alpha in alphas
  }
  return found | {rule: {'rule': rule} for rule in rules}


def check_alphas(alphas: Sequence[float | int | str]) -> None:
  """Refuses what is no aversion to inequality.

  Raises:
    InputError: naming the place.
  """
  for index, alpha in enumerate(alphas):
    number = math.inf if alpha == 'inf' else alpha
    if isinstance(number, str) or not 0 <= number:
      raise InputError(
        f"must be 0 or more, or 'inf', got {alpha!r}",
        field=('alphas', index),
      )


def check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
  """Refuses a name that is not known, or stands twice.

  Raises:
    InputError: naming field and place.
  """
  for index, name in enumerate(names):
    if name not in known:
      raise InputError(
        f'must be one of {", ".join(known)}, got {name!r}', field=(field, index)
      )
    if name in names[:index]:
      raise InputError(f'{name!r} stands there twice', field=(field, index))
