"""How the default policy `sft` is made: fine-tuned on consensus statements.

As in Bakker et al. 2022, on good statements in the template in which the policy
is asked later. The first run learns the plain statement of each seed
deliberation of the train split, those that nobody rated too. In a round after
it, the policy of the run before writes for groups of its own, and the next run
also learns the best of what it wrote, again from the model as it came.

Every part is a folder or file that is there and complete, or is made: what was
stopped goes on where it was.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from consensus_jax.data import batches, materialise, progress, record_files
from consensus_jax.data.arguments import note_all
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.defaults import policy_groups, statement_rows
from consensus_jax.defaults.policy_groups import Sources
from consensus_jax.inference import compute
from consensus_jax.language_model import LanguageModel
from consensus_jax.mediator import Mediator
from consensus_jax.model.execution import Execution
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import policy_report, policy_tables, rounds
from consensus_jax.policy_data.groups import Groups
from consensus_jax.policy_data.policy_report import Contestant
from consensus_jax.policy_data.rounds import RoundSettings
from consensus_jax.settings import Policy, Settings
from consensus_jax.strict_json import InputError
from consensus_jax.training import initialise, launch
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, PolicyRun

SEED = 0
EVALUATIONS = 2  # of an epoch
# Evaluations without a better loss, after which a run stops.
PATIENCE = 3
WEIGHT_DECAY = 0.01
WARMUP_STEPS = 10
# Of a token of SmolLM2-135M, on two cores without bfloat16 instructions.
_SECONDS_STEP, _SECONDS_EVALUATION = 0.011, 0.004


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How a policy is fine-tuned.

  Attributes:
    pretrained: what adapters are trained of: 'embedded', or a folder or file
      of another library.
    row_length: tokens of a row, which holds two rated seed deliberations of
      280 to 490 tokens of SmolLM2, or three unrated ones.
    batch_size: rows of a step.
    epochs: how often each statement is seen, unless it stops early.
    learning_rate: at its highest.
    lora: which weights are adapted.

  Raises:
    InputError: if there are no epochs.
  """

  pretrained: str = initialise.EMBEDDED
  row_length: int = 768
  batch_size: int = 2
  epochs: int = 2
  learning_rate: float = 1e-3
  lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)

  def __post_init__(self):
    if self.epochs < 1:
      raise InputError(
        f'must be 1 or more, got {self.epochs}', field=('epochs',)
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
  """Rounds of best-of-N after the first run.

  Attributes:
    number: how many.
    num_groups: that each writes for.
    sources: of the groups.
    selector: adapters of the reward model that says what is best.

  Raises:
    InputError: for no rounds.
  """

  number: int
  num_groups: int
  sources: Sources
  selector: str | pathlib.Path

  def __post_init__(self):
    if self.number < 1:
      raise InputError(
        f'must be 1 or more, got {self.number}', field=('number',)
      )


def train_policy(
  out: str | pathlib.Path,
  *,
  recipe: Recipe = Recipe(),
  after: Rounds | None = None,
) -> dict[str, pathlib.Path]:
  """Trains the policy, or goes on training it.

  Args:
    out: where everything goes.
    recipe: of each run.
    after: rounds that follow the first run, if any.

  Returns:
    The folder of adapters of each run, 'sft' and 'round_1', 'round_2', ...

  Raises:
    InputError: if the rounds' sources are wrong.
    ModelFileError: if the selector is no model.
  """
  folder = pathlib.Path(out)
  records = policy_groups.seed_records()
  _write_sets(folder, records, recipe)
  # Both here, so that what is missing is missed before hours of training.
  asked = _groups_of_rounds(after)
  selector = LanguageModel.load(after.selector) if after else None
  trained = {'sft': fine_tune(folder, 'sft', recipe)}
  learned = records['train']
  for number, here in enumerate(asked, 1):
    name, before = f'round_{number}', [*trained][-1]
    if not (folder / 'rows' / name).exists():
      assert selector is not None, 'rounds have one'
      policy = LanguageModel.load(folder / 'runs' / before / launch.EXPORT)
      mediator = Mediator(policy, selector)
      best = best_of(
        mediator, here, number, folder / 'rounds' / f'{name}.jsonl'
      )
      write_rows(folder, name, (*learned, *best), recipe)
    learned = tuple(record_files.read(folder / 'records' / f'{name}.jsonl'))
    trained[name] = fine_tune(folder, name, recipe)
  return trained


def hours_left(out: str | pathlib.Path, *, recipe: Recipe = Recipe()) -> float:
  """Hours that two cores take for what is left of the first run.

  Args:
    out: as in `train_policy`; rows are written there.
    recipe: of the run.
  """
  folder = pathlib.Path(out)
  if (folder / 'runs' / 'sft' / launch.ADAPTERS).exists():
    return 0.0
  sets = _write_sets(folder, policy_groups.seed_records(), recipe)
  train_rows, validation_rows = (
    batches.open_examples(sets[name]).num_examples
    for name in ('sft', 'validation')
  )
  evaluations = EVALUATIONS * recipe.epochs + 1
  seconds = recipe.row_length * (
    train_rows * recipe.epochs * _SECONDS_STEP
    + validation_rows * evaluations * _SECONDS_EVALUATION
  )
  return seconds / 3600


def best_of(
  mediator: Mediator, groups: Groups, number: int, path: pathlib.Path
) -> Groups:
  """Groups with the best statement that a policy wrote for them, if one is fit.

  Args:
    mediator: the policy, and the reward model that selects.
    groups: to write for.
    number: of the round.
    path: JSONL of all that it wrote; what is there is not written again.

  Raises:
    InputError: if the file holds anything else, or no group got a statement.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  settings = RoundSettings(round=number)
  with progress.shown(f'round {number}', 'groups') as told:
    outcomes = rounds.sample_candidates(
      mediator, groups, settings, path=path, progress=told
    )
  excluded = Tally()
  chosen = rounds.choose(outcomes, groups, settings, excluded)
  note_all((), excluded.exclusions())
  if not chosen:
    raise InputError('no group got a fit statement', file=str(path))
  return chosen


def compare(
  groups: Groups,
  folder: str | pathlib.Path,
  *,
  sft: str | pathlib.Path,
  selector: str | pathlib.Path,
  judge: str | pathlib.Path,
  num_candidates: int = 8,
  seed: int = 0,
) -> tuple[dict[str, Any], str]:
  """Compares the policy with the embedded model that is only asked.

  Args:
    groups: held out, as `policy_groups.evaluation_groups` gives them.
    folder: where outcomes are kept; a comparison that was stopped goes on.
    sft: adapters of the policy.
    selector: adapters of the reward model that selects each policy's best.
    judge: adapters of another, which learned from other people.
    num_candidates: of each policy and group.
    seed: of all samples and draws.

  Returns:
    The report of `policy_report.compare`, and as Markdown.

  Raises:
    InputError: if the folder holds outcomes of something else.
    ModelFileError: if adapters are none of the embedded model.
  """
  compute.keep_compilations()
  embedded = LanguageModel.load(None)
  selects = LanguageModel.load(selector)
  judges = LanguageModel.load(judge)
  models: dict[Policy, LanguageModel] = {
    'zero_shot': embedded,
    'few_shot': embedded,
    'sft': LanguageModel.load(sft),
  }
  contestants = [
    Contestant(
      name=name,
      mediator=Mediator(model, selects),
      settings=Settings(
        policy=name,
        num_candidates=num_candidates,
        utility='sigmoid',
        overflow='truncate',
      ),
    )
    for name, model in models.items()
  ]
  with progress.shown('comparison', 'outcomes') as told:
    report = policy_report.compare(
      contestants,
      groups,
      Mediator(embedded, judges),
      folder=folder,
      seed=seed,
      progress=told,
    )
  return report, policy_tables.markdown(report)


def write_rows(
  folder: pathlib.Path, name: str, records: Groups, recipe: Recipe
) -> pathlib.Path:
  """The rows of records, written with them if they are not there.

  Args:
    folder: of everything.
    name: of the run that learns from them, or 'validation'.
    records: with the statements to learn.
    recipe: says of which model, and how long a row is.

  Raises:
    InputError: if none fits into a row.
    ModelFileError: if the model has no tokenizer.
  """
  path = folder / 'rows' / name
  if not path.exists():
    source = folder / 'records' / f'{name}.jsonl'
    source.parent.mkdir(parents=True, exist_ok=True)
    record_files.write(source, records)
    base = recipe.pretrained
    settings = ExampleSettings(
      sources=(str(source),),
      task='consensus_sft',
      tokenizer=None if base == initialise.EMBEDDED else base,
      row_length=recipe.row_length,
      min_quality=None,  # Nobody has rated them.
      seed=SEED,
    )
    tokenizer = materialise.load_tokenizer(settings.tokenizer)
    statement_rows.write(path, records, tokenizer, settings)
  return path


def fine_tune(folder: pathlib.Path, name: str, recipe: Recipe) -> pathlib.Path:
  """Trains one run on its rows, or goes on training it.

  Args:
    folder: of everything; `write_rows` has put rows there for this run and for
      'validation'.
    name: of the run.
    recipe: how.

  Returns:
    The folder of its adapters: those of the least loss on 'validation'.

  Raises:
    InputError: if rows are missing, or the run began with others.
  """
  rows = folder / 'rows'
  number = batches.open_examples(rows / name).num_examples
  num_steps = max(recipe.epochs * number // recipe.batch_size, 1)
  every = max(num_steps // (EVALUATIONS * recipe.epochs), 1)
  run = PolicyRun(
    model_dir=str(folder / 'runs' / name),
    train_data=str(rows / name),
    validation_data=str(rows / 'validation'),
    initial=Initial(pretrained=recipe.pretrained),
    # The memory of a laptop is enough so, for a tenth of the time.
    execution=Execution(remat='dots'),
    optimizer=OptimizerSettings(
      learning_rate=recipe.learning_rate,
      num_steps=num_steps,
      warmup_steps=min(WARMUP_STEPS, num_steps),
      weight_decay=WEIGHT_DECAY,
    ),
    lora=recipe.lora,
    num_steps=num_steps,
    batch_size=recipe.batch_size,
    seed=SEED,
    evaluate_every=every,
    patience=PATIENCE,
    save_every=every,
  )
  launch.train(run)
  return folder / 'runs' / name / launch.ADAPTERS


def _groups_of_rounds(after: Rounds | None) -> list[Groups]:
  if after is None:
    return []
  return [
    policy_groups.round_groups(
      after.sources, num_groups=after.num_groups, seed=number
    )
    for number in range(1, after.number + 1)
  ]


def _write_sets(
  folder: pathlib.Path, records: Mapping[str, Groups], recipe: Recipe
) -> dict[str, pathlib.Path]:
  """Rows of the first run, and of validation."""
  return {
    name: write_rows(folder, name, records[split], recipe)
    for name, split in (('sft', 'train'), ('validation', 'validation'))
  }
