"""How the default policy `sft` is made: fine-tuned on consensus statements.

As in Bakker et al. 2022, on good statements in the template in which the policy
is asked later: the consensus of each seed deliberation on a topic for training.

Every part is a folder or file that is there and complete, or is made: what was
stopped goes on where it was.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping

from consensus_jax.data import (
  batches,
  materialise,
  record_files,
  seed_deliberations,
)
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.defaults import statement_rows, train
from consensus_jax.model.execution import Execution
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import groups
from consensus_jax.policy_data.groups import Groups
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
_SECONDS_STEP, _SECONDS_EVALUATION = 0.006, 0.003

# Adapters of a policy ship as those of a reward model do.
ship = train.ship


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How a policy is fine-tuned.

  Attributes:
    pretrained: what adapters are trained of: 'embedded', or a folder or file
      of another library.
    row_length: tokens of a row. A seed deliberation has 280 to 490 of SmolLM2,
      so that two fill a row of 768 to 97%, and one of 1,024 to 79%.
    batch_size: rows of a step.
    epochs: how often each statement is seen, unless it stops early.
    learning_rate: at its highest.
    lora: which weights are adapted.

  Raises:
    InputError: if there are no epochs.
  """

  pretrained: str = initialise.EMBEDDED
  row_length: int = 768
  batch_size: int = 4
  epochs: int = 3
  learning_rate: float = 1e-3
  lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)

  def __post_init__(self):
    if self.epochs < 1:
      raise InputError(
        f'must be 1 or more, got {self.epochs}', field=('epochs',)
      )


def train_policy(
  out: str | pathlib.Path,
  *,
  recipe: Recipe = Recipe(),
  max_hours: float | None = None,
) -> dict[str, pathlib.Path]:
  """Trains the policy, or goes on training it.

  Args:
    out: where everything goes.
    recipe: of the run.
    max_hours: refuse to begin what would take two cores longer.

  Returns:
    The folder of adapters of each run, the last one being the policy.

  Raises:
    InputError: if it would take too long.
  """
  folder = pathlib.Path(out)
  records = seed_records()
  sets = {
    name: write_rows(folder, name, records[split], recipe)
    for name, split in (('sft', 'train'), ('validation', 'validation'))
  }
  _announce(folder, sets, recipe, max_hours)
  return {'sft': fine_tune(folder, 'sft', recipe)}


def seed_records() -> dict[str, Groups]:
  """Seed deliberations with their consensus alone, by split."""
  splits = groups.seed_splits(seed_deliberations.read())
  return {name: groups.only_consensus(part) for name, part in splits.items()}


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


def _announce(
  folder: pathlib.Path,
  sets: Mapping[str, pathlib.Path],
  recipe: Recipe,
  max_hours: float | None,
) -> None:
  """Says what is left and how long it takes two cores.

  Raises:
    InputError: if that is longer than asked.
  """
  number = {
    name: batches.open_examples(path).num_examples
    for name, path in sets.items()
  }
  seconds = 0.0
  if not (folder / 'runs' / 'sft' / launch.ADAPTERS).exists():
    evaluations = EVALUATIONS * recipe.epochs + 1
    seconds = recipe.row_length * (
      number['sft'] * recipe.epochs * _SECONDS_STEP
      + number['validation'] * evaluations * _SECONDS_EVALUATION
    )
  hours = seconds / 3600
  print(
    f'policy: about {hours:.1f} hours on two cores, less with more',
    file=sys.stderr,
    flush=True,
  )
  if max_hours is not None and hours > max_hours:
    raise InputError(
      f'would take two cores about {hours:.1f} hours, more than {max_hours}',
      field=('--max_hours',),
    )
