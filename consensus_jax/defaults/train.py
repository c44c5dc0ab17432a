"""How the default reward model is made, from votes to adapters.

`half_a` learns from people of one half of the conversations. `statements_a`
sees no opinion, and learns what all of them together like. A sum of both ships,
`combined_a`; what it says of the other half is what a reward model says of
questions that it never saw. `half_b` learns from people of the other half, and
judges the policy. `synthetic_b` learns from synthetic votes as well: of
invented conversations, of the seed deliberations, and of invented stances.

Every part is a folder that is there and complete, or is made: a run that was
stopped goes on where it was.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from consensus_jax.data import (
  batches,
  invented,
  questions,
  record_files,
  seed_deliberations,
)
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.defaults import (
  people,
  popular_rows,
  stance_rows,
  vote_rows,
)
from consensus_jax.defaults.people import HALVES, Half
from consensus_jax.inference import compute
from consensus_jax.interop.pretrained import Pretrained, load_pretrained
from consensus_jax.model.execution import Execution
from consensus_jax.model.lora import LoraConfig
from consensus_jax.policy_data import groups
from consensus_jax.training import launch
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, RewardRun

# Times that each person is described anew, by other votes of theirs; every time
# they are asked about other statements too.
DRAWS = 8
# That a model of statements sees each of them.
PASSES = 8
LEARNING_RATE = 5e-4
LORA = LoraConfig()
# Of comparing people on the same statement, beside the loss of each vote.
CONTRAST = 1.0
EVALUATIONS = 4
SEED = 0
# Rows of a conversation in a draw, by how its people are described.
MAX_ROWS = 400
MAX_VALIDATION_ROWS = 40
# Invented people of a conversation, in each form; of stances; of the seed
# deliberations.
INVENTED_ROWS = 24
INVENTED_FORMS: tuple[Literal['votes', 'comments'], ...] = ('votes', 'comments')
NUM_STANCES = 4000
# A row's share of a step, on two cores without bfloat16 instructions.
_SECONDS_STEP = 4.5

# Of the number of a draw, people by split.
Drawn = Callable[[int], Mapping[str, people.People]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """One run: whose votes it learns from.

  Attributes:
    name: of the run.
    half: of the conversations.
    with_opinion: False hides what people think: statements are all there is.
    synthetic: whether it learns from synthetic votes too.
    batch_size: rows of a step.
    warmup_steps: of the learning rate.
  """

  name: str
  half: Half
  with_opinion: bool = True
  synthetic: bool = False
  batch_size: int = 16
  warmup_steps: int = 20


RECIPES = (
  Recipe(name='half_a', half='a'),
  Recipe(name='half_b', half='b'),
  Recipe(
    name='statements_a',
    half='a',
    with_opinion=False,
    batch_size=4,
    warmup_steps=10,
  ),
  Recipe(name='synthetic_b', half='b', synthetic=True),
)


def train_reward_models(
  polis: str | pathlib.Path,
  bank: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  recipes: Sequence[Recipe] = RECIPES,
) -> dict[str, pathlib.Path]:
  """Trains each recipe that is not trained yet.

  Args:
    polis: the folder of the ten conversations.
    bank: the file of questions with positions.
    out: where everything goes: about 5 GB.
    recipes: which runs.

  Returns:
    The folder of adapters of each run.

  Raises:
    InputError: if a conversation is missing; if the bank is, which only a run
      with synthetic votes reads.
  """
  folder = pathlib.Path(out)
  model = load_pretrained(dtype=compute.choose_dtype(None))
  drawn = functools.cache(lambda draw: people.read(polis, draw=draw))
  for split, part in drawn(0).items():
    _write_records(folder / 'records' / split, part)
  for recipe in recipes:
    if recipe.with_opinion:
      sets = {
        'train': _train(folder, drawn, bank, recipe, model),
        'validation': _validation(folder, drawn, recipe, model),
      }
    else:
      sets = {'train': _statements(folder, drawn, recipe, model)}
    launch.train(_run(folder, recipe, sets))
  return {r.name: folder / 'runs' / r.name / launch.ADAPTERS for r in recipes}


def hours_left(
  polis: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  recipes: Sequence[Recipe] = RECIPES,
) -> float:
  """Hours that two cores take for what is not trained yet.

  Args:
    polis: the folder of the ten conversations.
    out: as in `train_reward_models`; nothing is written.
    recipes: which runs.

  Raises:
    InputError: if a conversation is missing.
  """
  part = people.read(polis)['train']
  model = load_pretrained(dtype=compute.choose_dtype(None))
  rows = sum(
    _num_rows(recipe, part.of(HALVES[recipe.half]), model)
    for recipe in recipes
    if not pathlib.Path(out, 'runs', recipe.name, launch.ADAPTERS).exists()
  )
  return rows * _SECONDS_STEP / 3600


def _train(
  folder: pathlib.Path,
  drawn: Drawn,
  bank: str | pathlib.Path,
  recipe: Recipe,
  model: Pretrained,
) -> pathlib.Path:
  """All rows that a run learns from."""
  path = folder / 'rows' / f'joined_{recipe.name}'
  if not path.exists():
    parts = _real(folder, drawn, recipe, model)
    if recipe.synthetic:
      parts += _synthetic(folder, bank, recipe.half, model)
    vote_rows.join(path, parts)
  return path


def _real(
  folder: pathlib.Path, drawn: Drawn, recipe: Recipe, model: Pretrained
) -> list[pathlib.Path]:
  """Rows of real people, described by votes and by comments, of each draw."""
  paths = []
  for draw in range(DRAWS):
    path = folder / 'rows' / f'votes_train_{recipe.half}_{draw}'
    if not path.exists():
      chosen = drawn(draw)['train'].of(HALVES[recipe.half])
      _write_rows(path, chosen, model, MAX_ROWS, SEED + draw)
    paths.append(path)
  return paths


def _validation(
  folder: pathlib.Path, drawn: Drawn, recipe: Recipe, model: Pretrained
) -> pathlib.Path:
  """Rows of people kept apart, by which a run chooses its checkpoint."""
  path = folder / 'rows' / f'votes_validation_{recipe.half}'
  if not path.exists():
    chosen = drawn(0)['validation'].of(HALVES[recipe.half])
    _write_rows(path, chosen, model, MAX_VALIDATION_ROWS, SEED)
  return path


def _write_rows(
  path: pathlib.Path,
  chosen: people.People,
  model: Pretrained,
  max_rows: int,
  seed: int,
) -> None:
  vote_rows.write(
    path,
    (*chosen.votes, *chosen.comments),
    model.tokenizer,
    seed=seed,
    max_rows=max_rows,
  )


def _statements(
  folder: pathlib.Path, drawn: Drawn, recipe: Recipe, model: Pretrained
) -> pathlib.Path:
  """Rows of statements, which are few: nothing is kept apart."""
  path = folder / 'rows' / f'statements_train_{recipe.half}'
  if not path.exists():
    voters = drawn(0)['train'].of(HALVES[recipe.half]).votes
    popular_rows.write(path, voters, model.tokenizer, passes=PASSES, seed=SEED)
  return path


def _synthetic(
  folder: pathlib.Path, bank: str | pathlib.Path, half: Half, model: Pretrained
) -> list[pathlib.Path]:
  """Rows of invented people, of one half of what they are invented from."""
  rows = folder / 'rows'
  tokenizer = model.tokenizer
  paths = {n: rows / f'{n}_{half}' for n in ('invented', 'seed', 'stances')}
  if not paths['invented'].exists():
    vote_rows.write(paths['invented'], _invented(half), tokenizer, seed=SEED)
  if not paths['seed'].exists():
    vote_rows.write(
      paths['seed'], _rated(half), tokenizer, seed=SEED, min_judged=1
    )
  if not paths['stances'].exists():
    found = [each for each in questions.read(bank) if each.split == 'train']
    topics = sorted({each.topic for each in found})[_place(half) :: 2]
    stance_rows.write(
      paths['stances'],
      [each for each in found if each.topic in topics],
      tokenizer,
      num_rows=NUM_STANCES,
      seed=SEED,
    )
  return [*paths.values()]


def _invented(half: Half) -> list[JudgedDeliberation]:
  return [
    invented.simulate(each, num_people=INVENTED_ROWS, seed=SEED, opinions=form)
    for each in invented.read()[_place(half) :: 2]
    for form in INVENTED_FORMS
  ]


def _rated(half: Half) -> list[JudgedDeliberation]:
  """Seed deliberations, their ratings as votes."""
  learned = groups.seed_splits(seed_deliberations.read())['train']
  whole = [r for r in learned if len(r.members) >= vote_rows.GROUP]
  return [vote_rows.as_votes(r) for r in whole[_place(half) :: 2]]


def _place(half: Half) -> int:
  return 'ab'.index(half)


def _run(
  folder: pathlib.Path, recipe: Recipe, sets: Mapping[str, pathlib.Path]
) -> RewardRun:
  num_rows = batches.open_examples(sets['train']).num_examples
  num_steps = num_rows // recipe.batch_size
  return RewardRun(
    model_dir=str(folder / 'runs' / recipe.name),
    train_data=str(sets['train']),
    validation_data=str(sets['validation']) if 'validation' in sets else None,
    initial=Initial(pretrained='embedded'),
    optimizer=OptimizerSettings(
      learning_rate=LEARNING_RATE,
      num_steps=num_steps,
      warmup_steps=min(recipe.warmup_steps, num_steps),
      weight_decay=0.01,
    ),
    # The memory of a laptop is enough so, for a tenth of the time.
    execution=Execution(remat='dots'),
    lora=LORA,
    num_steps=num_steps,
    batch_size=recipe.batch_size,
    seed=SEED,
    evaluate_every=max(num_steps // EVALUATIONS, 1),
    save_every=max(num_steps // EVALUATIONS, 1),
    objective=RewardSettings(
      loss='logistic', contrast=CONTRAST if recipe.with_opinion else 0.0
    ),
    head='vote_words',
  )


def _num_rows(recipe: Recipe, part: people.People, model: Pretrained) -> int:
  """That a run learns from."""
  if not recipe.with_opinion:
    rows = popular_rows.make(
      part.votes, model.tokenizer, passes=PASSES, seed=SEED
    )
    return len(rows)
  real = vote_rows.count((*part.votes, *part.comments), max_rows=MAX_ROWS)
  if not recipe.synthetic:
    return DRAWS * real
  return (
    DRAWS * real
    + vote_rows.count(_invented(recipe.half))
    + vote_rows.count(_rated(recipe.half), min_judged=1)
    + NUM_STANCES
  )


def _write_records(folder: pathlib.Path, part: people.People) -> None:
  """What `consensus evaluate` reads."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, records in (('votes', part.votes), ('comments', part.comments)):
    path = folder / f'{name}.jsonl'
    if not path.exists():
      record_files.write(path, records)
