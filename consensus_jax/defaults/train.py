"""How the default reward model is made, from votes to adapters.

Runs of one recipe. `half_a` learns from people of one half of the conversations
and ships; what it says of the other half is what a reward model says of
questions that it never saw. `half_b` is the same of the other half, and judges
the policy that `half_a` selects for. `real_b` learns from real people only, and
`statements_a` sees no opinion: what it knows is not personal.

Next to real people's votes, runs learn from synthetic ones: of invented
conversations, of the seed deliberations, and of invented stances. Each half has
its own, so that the two have learned from nothing in common.

Every part is a folder that is there and complete, or is made: a run that was
stopped goes on where it was.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence

from consensus_jax.data import (
  batches,
  invented,
  questions,
  record_files,
  seed_deliberations,
)
from consensus_jax.defaults import people, stance_rows, vote_rows
from consensus_jax.defaults.people import HALVES, Half
from consensus_jax.inference import compute
from consensus_jax.interop import adapters
from consensus_jax.interop.pretrained import Pretrained, load_pretrained
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import groups
from consensus_jax.strict_json import InputError
from consensus_jax.training import frozen_layers, launch
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, RewardRun

# Layers before this one stay as they are.
FIRST_LAYER = 16
BATCH_SIZE = 4
LEARNING_RATE = 5e-4
# Of comparing people on the same statement, beside the loss of each vote.
CONTRAST = 1.0
SEED = 0
# Rows of a conversation, by how its people are described.
MAX_ROWS = 56
MAX_VALIDATION_ROWS = 8
MAX_STATEMENT_ROWS = 20
# Invented people: of a conversation, every second time described by comments
# too; of stances; of seed deliberations.
INVENTED_ROWS = 4
NUM_STANCES = 120
NUM_SEED_ROWS = 72
# Of a row, on two cores without bfloat16 instructions: the layers that stay as
# they are, once; a step of those that learn.
_SECONDS_BELOW, _SECONDS_STEP = 1.0, 2.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """One run: whose votes it learns from.

  Attributes:
    name: of the run.
    half: of the conversations.
    with_opinion: False hides what people think; synthetic votes are then left
      out, as they teach nothing of real people's statements.
    synthetic: whether it learns from synthetic votes too.
    epochs: how often it sees each; below 1, the share that it sees.
  """

  name: str
  half: Half
  with_opinion: bool = True
  synthetic: bool = True
  epochs: float = 1


RECIPES = (
  Recipe(name='half_a', half='a', epochs=1.5),
  Recipe(name='half_b', half='b', epochs=0.6),
  Recipe(name='statements_a', half='a', with_opinion=False, synthetic=False),
  Recipe(name='real_b', half='b', synthetic=False, epochs=0.6),
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
  sets = {}
  for recipe in recipes:
    rows = {
      split: [_real(folder, splits[split], split, recipe, model)]
      for split in ('train', 'validation')
    }
    if recipe.synthetic:
      rows['train'] += _synthetic(folder, bank, recipe.half, model)
    sets[recipe.name] = rows
  _announce(folder, sets, recipes, max_hours)
  for recipe in recipes:
    ready = {
      split: _with_activations(paths, model, recipe.name)
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


def _real(
  folder: pathlib.Path,
  part: people.People,
  split: str,
  recipe: Recipe,
  model: Pretrained,
) -> pathlib.Path:
  """Rows of real people, described by votes and by comments."""
  kind = 'votes' if recipe.with_opinion else 'statements'
  path = folder / 'rows' / f'{kind}_{split}_{recipe.half}'
  if not path.exists():
    chosen = part.of(HALVES[recipe.half])
    if split == 'validation':
      max_rows = MAX_VALIDATION_ROWS
    else:
      max_rows = MAX_ROWS if recipe.with_opinion else MAX_STATEMENT_ROWS
    # Without opinions, both descriptions of a person are the same row.
    comments = chosen.comments if recipe.with_opinion else ()
    vote_rows.write(
      path,
      (*chosen.votes, *comments),
      model.tokenizer,
      seed=SEED,
      with_opinion=recipe.with_opinion,
      max_rows=max_rows,
    )
  return path


def _synthetic(
  folder: pathlib.Path, bank: str | pathlib.Path, half: Half, model: Pretrained
) -> list[pathlib.Path]:
  """Rows of invented people, of one half of what they are invented from."""
  place = 'ab'.index(half)
  rows = folder / 'rows'
  tokenizer = model.tokenizer
  paths = {n: rows / f'{n}_{half}' for n in ('invented', 'seed', 'stances')}
  if not paths['invented'].exists():
    own = invented.read()[place::2]
    simulate = functools.partial(
      invented.simulate, num_people=INVENTED_ROWS, seed=SEED
    )
    records = [
      *(simulate(each, opinions='votes') for each in own),
      *(simulate(each, opinions='comments') for each in own[::2]),
    ]
    vote_rows.write(paths['invented'], records, tokenizer, seed=SEED)
  if not paths['seed'].exists():
    learned = groups.seed_splits(seed_deliberations.read())['train']
    whole = [r for r in learned if len(r.members) >= vote_rows.GROUP]
    number = NUM_SEED_ROWS // vote_rows.GROUP
    records = [vote_rows.as_votes(r) for r in whole[place::2][:number]]
    vote_rows.write(paths['seed'], records, tokenizer, seed=SEED, min_judged=1)
  if not paths['stances'].exists():
    found = [each for each in questions.read(bank) if each.split == 'train']
    topics = sorted({each.topic for each in found})[place::2]
    stance_rows.write(
      paths['stances'],
      [each for each in found if each.topic in topics],
      tokenizer,
      num_rows=NUM_STANCES,
      seed=SEED,
    )
  return [*paths.values()]


def _with_activations(
  paths: Sequence[pathlib.Path], model: Pretrained, name: str
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
  joined = sets[0].with_name(f'joined_{name}')
  if not joined.exists():
    vote_rows.join(joined, sets)
  return joined


def _run(
  folder: pathlib.Path, recipe: Recipe, sets: Mapping[str, pathlib.Path]
) -> RewardRun:
  num_rows = batches.open_examples(sets['train']).num_examples
  num_steps = int(recipe.epochs * num_rows) // BATCH_SIZE
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
    head='vote_words',
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
  announce('reward models', seconds, max_hours)


def announce(what: str, seconds: float, max_hours: float | None) -> None:
  """Says how long something takes two cores.

  Raises:
    InputError: if that is longer than asked.
  """
  hours = seconds / 3600
  print(
    f'{what}: about {hours:.1f} hours on two cores, less with more',
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
