"""How the default reward model is made, from votes to adapters.

Runs of one recipe. `half_a` and `half_b` learn from people of one half of the
conversations each: what they say of the other half is what a reward model says
of questions it never saw. `full` learns from all and is what ships. The
`statements` runs see no opinion: what they know is not personal.

Next to votes, runs with opinions learn from invented stances (`stance_rows`),
which alone can be foretold from nothing but the opinion.

Every part is a folder that is there and complete, or is made: a run that was
stopped goes on where it was.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

from consensus_jax.data import batches, questions, record_files
from consensus_jax.defaults import people, stance_rows, vote_rows
from consensus_jax.defaults.people import HALF_A, HALF_B
from consensus_jax.inference import compute
from consensus_jax.interop import adapters
from consensus_jax.interop.pretrained import Pretrained, load_pretrained
from consensus_jax.model.lora import LoraConfig
from consensus_jax.strict_json import InputError
from consensus_jax.training import frozen_layers, launch
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, RewardRun

# Layers before this one stay as they are.
FIRST_LAYER = 16
BATCH_SIZE = 4
LEARNING_RATE = 1e-3
# Of comparing people on the same statement, beside the loss of each vote.
CONTRAST = 1.0
NUM_STANCES = 400
SEED = 0
# Of a row, on two cores with bfloat16 instructions: the layers that stay as
# they are, once; a step of those that learn.
_SECONDS_BELOW, _SECONDS_STEP = 0.3, 0.6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """One run: whose votes it learns from, and how often it sees them.

  Attributes:
    name: of the run.
    conversations: whose train participants it learns from.
    epochs: how often.
    with_opinion: False hides what people think.
  """

  name: str
  conversations: tuple[str, ...]
  epochs: int = 1
  with_opinion: bool = True


RECIPES = (
  Recipe(name='half_a', conversations=HALF_A),
  Recipe(name='half_b', conversations=HALF_B),
  Recipe(name='full', conversations=(*HALF_A, *HALF_B)),
  Recipe(name='statements_a', conversations=HALF_A, with_opinion=False),
  Recipe(name='statements_b', conversations=HALF_B, with_opinion=False),
)


def train_reward_models(
  polis: str | pathlib.Path,
  bank: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  recipes: Sequence[Recipe] = RECIPES,
  max_hours: float | None = None,
) -> dict[str, pathlib.Path]:
  """Trains each recipe that is not trained yet.

  Args:
    polis: the folder of the ten conversations.
    bank: the file of questions with positions.
    out: where everything goes: about 10 GB.
    recipes: which runs.
    max_hours: refuse to begin what would take two cores longer.

  Returns:
    The folder of adapters of each run.

  Raises:
    InputError: if a conversation or the bank is missing, or it would take too
      long.
  """
  folder = pathlib.Path(out)
  splits = people.read(polis)
  model = load_pretrained(dtype=compute.choose_dtype(None))
  for split, part in splits.items():
    _write_records(folder / 'records' / split, part)
  stances = _stances(folder, bank, model)
  sets = {
    recipe.name: {
      split: _rows(folder, splits[split], split, recipe, model)
      for split in ('train', 'validation')
    }
    for recipe in recipes
  }
  for recipe in recipes:
    if recipe.with_opinion:
      sets[recipe.name]['train'].append(stances)
  _announce(folder, sets, recipes, max_hours)
  for recipe in recipes:
    ready = {
      split: _with_activations(paths, model)
      for split, paths in sets[recipe.name].items()
    }
    launch.train(_run(folder, recipe, ready))
  return {r.name: folder / 'runs' / r.name / launch.ADAPTERS for r in recipes}


def ship(
  adapters_folder: str | pathlib.Path, target: str | pathlib.Path
) -> None:
  """Writes a run's adapters in half the size, in the place of what was there.

  Raises:
    ModelFileError: if they are not of the embedded model, or are not written.
  """
  model = load_pretrained(dtype='bfloat16')
  config = model.config
  found = adapters.load_adapters(adapters_folder, config, model.sha256)
  launch.replace_folder(
    pathlib.Path(target),
    lambda path: adapters.save_adapters(path, config, found, dtype='float16'),
  )


def _stances(
  folder: pathlib.Path, bank: str | pathlib.Path, model: Pretrained
) -> pathlib.Path:
  path = folder / 'rows' / 'stances'
  if not path.exists():
    found = [each for each in questions.read(bank) if each.split == 'train']
    stance_rows.write(
      path, found, model.tokenizer, num_rows=NUM_STANCES, seed=SEED
    )
  return path


def _rows(
  folder: pathlib.Path,
  part: people.People,
  split: str,
  recipe: Recipe,
  model: Pretrained,
) -> list[pathlib.Path]:
  """The sets of rows that a recipe learns from, one for each half."""
  kind = 'votes' if recipe.with_opinion else 'statements'
  paths = []
  for half, conversations in (('a', HALF_A), ('b', HALF_B)):
    if not {*conversations} <= {*recipe.conversations}:
      continue
    path = folder / 'rows' / f'{kind}_{split}_{half}'
    paths.append(path)
    if not path.exists():
      chosen = part.of(conversations)
      # Without opinions, both descriptions of a person are the same row.
      comments = chosen.comments if recipe.with_opinion else ()
      vote_rows.write(
        path,
        (*chosen.votes, *comments),
        model.tokenizer,
        seed=SEED,
        with_opinion=recipe.with_opinion,
      )
  return paths


def _with_activations(
  paths: Sequence[pathlib.Path], model: Pretrained
) -> pathlib.Path:
  """One set with what the layers below compute, which all runs share."""
  sets = []
  for path in paths:
    target = path.with_name(f'{path.name}_activations')
    sets.append(target)
    if not target.exists():
      frozen_layers.add_activations(
        batches.open_examples(path),
        target,
        model,
        FIRST_LAYER,
        dtype=compute.choose_dtype(None),
        rows=BATCH_SIZE,
      )
  if len(sets) == 1:
    return sets[0]
  names = [path.name for path in paths]
  joined = sets[0].with_name('_and_'.join([*names, 'activations']))
  if not joined.exists():
    vote_rows.join(joined, sets)
  return joined


def _run(
  folder: pathlib.Path, recipe: Recipe, sets: Mapping[str, pathlib.Path]
) -> RewardRun:
  num_rows = batches.open_examples(sets['train']).num_examples
  num_steps = recipe.epochs * num_rows // BATCH_SIZE
  return RewardRun(
    model_dir=str(folder / 'runs' / recipe.name),
    train_data=str(sets['train']),
    validation_data=str(sets['validation']),
    initial=Initial(pretrained='embedded'),
    optimizer=OptimizerSettings(
      learning_rate=LEARNING_RATE,
      num_steps=num_steps,
      warmup_steps=min(15, num_steps),
      weight_decay=0.01,
    ),
    lora=LoraConfig(first_layer=FIRST_LAYER),
    num_steps=num_steps,
    batch_size=BATCH_SIZE,
    seed=SEED,
    evaluate_every=max(num_steps // 2, 1),
    save_every=50,
    objective=RewardSettings(
      loss='logistic', contrast=CONTRAST if recipe.with_opinion else 0.0
    ),
  )


def _announce(
  folder: pathlib.Path,
  sets: Mapping[str, Mapping[str, Sequence[pathlib.Path]]],
  recipes: Sequence[Recipe],
  max_hours: float | None,
) -> None:
  """Says what is left and how long it takes two cores.

  Raises:
    InputError: if that is longer than asked.
  """
  number = {
    path: batches.open_examples(path).num_examples
    for of_run in sets.values()
    for paths in of_run.values()
    for path in paths
  }
  seconds = sum(
    num_rows * _SECONDS_BELOW
    for path, num_rows in number.items()
    if not path.with_name(f'{path.name}_activations').exists()
  )
  for recipe in recipes:
    if not (folder / 'runs' / recipe.name / launch.ADAPTERS).exists():
      num_rows = sum(number[path] for path in sets[recipe.name]['train'])
      seconds += recipe.epochs * num_rows * _SECONDS_STEP
  hours = seconds / 3600
  print(
    f'reward models: about {hours:.1f} hours on two cores, less with more',
    file=sys.stderr,
    flush=True,
  )
  if max_hours is not None and hours > max_hours:
    raise InputError(
      f'would take two cores about {hours:.1f} hours, more than {max_hours}',
      field=('--max_hours',),
    )


def _write_records(folder: pathlib.Path, part: people.People) -> None:
  """What `consensus evaluate` reads."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, records in (('votes', part.votes), ('comments', part.comments)):
    path = folder / f'{name}.jsonl'
    if not path.exists():
      record_files.write(path, records)
