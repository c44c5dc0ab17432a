"""Where a run's first parameters come from, and what came with them.

In this order: a checkpoint in MODEL_DIR, `initial.checkpoint`,
`initial.pretrained`, scratch. A resumed run with adapters fetches the weights
that it does not train from where it first had them.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from consensus_jax import strict_json
from consensus_jax.interop import pretrained
from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig, RopeScaling
from consensus_jax.model.transformer import Params
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer
from consensus_jax.training import journal, train_state
from consensus_jax.training.checkpoints import Checkpoints
from consensus_jax.training.settings import Run

MODEL = 'model.json'
TOKENIZER = 'tokenizer'
CHECKPOINTS = 'checkpoints'
EMBEDDED = 'embedded'
_SCHEMA = 'consensus_jax/model/v1'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A model before its first step.

  Attributes:
    told: where it comes from, for the log.
    config: of the model; whether it has a reward head is up to the run.
    tokenizer: of the model; None where nothing says.
    sha256: of its files; None if it comes from none.
    load: its parameters on a mesh, float32, with a head if it has one.
  """

  told: str
  config: ModelConfig
  tokenizer: Tokenizer | None
  sha256: str | None = None
  load: Callable[[Mesh], Params]


def find(run: Run) -> Source:
  """The source that `run` names; the weights are read when they are asked for.

  Raises:
    InputError: if it names none, or one that does not fit `run.model`.
    ModelFileError: if files of another library cannot be read.
  """
  initial = run.initial
  if initial.checkpoint is not None:
    source = _of_run(pathlib.Path(initial.checkpoint))
  elif initial.pretrained is not None:
    source = _of_files(initial.pretrained)
  elif run.model is not None:
    source = _scratch(run, run.model)
  else:
    raise InputError(
      'say what to train: a model, initial.checkpoint or initial.pretrained',
      field=('model',),
    )
  check_same_model(run.model, source.config, source.told)
  return source


def check_same_model(
  wanted: ModelConfig | None, found: ModelConfig, where: str
) -> None:
  """Whether a model is what the run asked for, heads apart.

  Raises:
    InputError: naming every difference.
  """
  if wanted is None:
    return
  there = dataclasses.asdict(found)
  differences = [
    f'{name} is {value!r}, there {there[name]!r}'
    for name, value in dataclasses.asdict(wanted).items()
    if name not in ('reward_head', 'max_length') and value != there[name]
  ]
  if differences:
    raise InputError(
      f'is not the model of {where}: {"; ".join(differences)} (MODEL = None '
      'takes that one)',
      field=('model',),
    )


def write_model(
  folder: pathlib.Path,
  config: ModelConfig,
  tokenizer: Tokenizer | None,
  **more: Any,
) -> None:
  """Writes what a run's folder says of its model, for those who read it."""
  content = {
    'schema': _SCHEMA,
    'config': strict_json.plain(dataclasses.asdict(config), ()),
    **more,
  }
  journal.write_atomically(
    folder / MODEL, (json.dumps(content, indent=2) + '\n').encode()
  )
  if tokenizer is not None:
    (folder / TOKENIZER).mkdir(exist_ok=True)
    tokenizer.save(folder / TOKENIZER)


def read_model(
  folder: pathlib.Path,
) -> tuple[ModelConfig, Tokenizer | None, dict[str, Any]]:
  """The model of a run's folder, its tokenizer, and all that is said of it.

  Raises:
    InputError: if the folder is not that of a run.
  """
  path = folder / MODEL
  try:
    content = strict_json.parse(path.read_text(errors='surrogateescape'))
    if content.get('schema') != _SCHEMA:
      raise InputError(f'is no description of a model ({_SCHEMA})')
    fields = dict(content['config'])
    if fields['rope_scaling'] is not None:
      fields['rope_scaling'] = RopeScaling(**fields['rope_scaling'])
    config = ModelConfig(**fields)
  except OSError as error:
    raise InputError(
      f'is not the folder of a training run: {MODEL}: {error.strerror}',
      file=str(folder),
    ) from None
  except InputError as error:
    raise error.at(file=str(path)) from None
  except (TypeError, ValueError, KeyError, AttributeError) as error:
    raise InputError(f'is damaged: {error}', file=str(path)) from None
  tokenizer = None
  if (folder / TOKENIZER).is_dir():
    tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
  return config, tokenizer, content


def place(params: Params, mesh: Mesh, config: ModelConfig) -> Params:
  """Arrays of this process's memory on the mesh, in float32."""

  def one(sharding, leaf):
    return jax.make_array_from_callback(
      leaf.shape, sharding, lambda index: np.asarray(leaf[index], np.float32)
    )

  return jax.tree.map(one, transformer.param_shardings(config, mesh), params)


def _of_files(path: str) -> Source:
  model = pretrained.load_pretrained(None if path == EMBEDDED else path)
  return Source(
    told=f'pretrained {model.name}, sha256 {model.sha256}',
    config=model.config,
    tokenizer=model.tokenizer,
    sha256=model.sha256,
    load=lambda mesh: place(model.params, mesh, model.config),
  )


def _of_run(folder: pathlib.Path) -> Source:
  config, tokenizer, content = read_model(folder)
  if content.get('lora'):
    raise InputError(
      'holds adapters alone; give its export as initial.pretrained',
      field=('initial', 'checkpoint'),
      file=str(folder),
    )
  with Checkpoints(folder / CHECKPOINTS, writes=False) as saved:
    step = best_step(saved)

  def load(mesh: Mesh) -> Params:
    # What the run trained beside the model, cut points say, is left there.
    with Checkpoints(folder / CHECKPOINTS, writes=False) as saved:
      return saved.restore_params(
        train_state.abstract_params(config, mesh), step
      )[0]

  return Source(
    told=f'checkpoint {folder}, step {step}',
    config=config,
    tokenizer=tokenizer,
    load=load,
  )


def best_step(saved: Checkpoints) -> int:
  """The best checkpoint of a run, or its newest if none was evaluated.

  Raises:
    InputError: if there is none.
  """
  for step in reversed(saved.steps):
    try:
      best = saved.record(step)['progress']['best_step']
    except Exception:
      continue
    return best if best in saved.steps else step
  raise InputError('there is no checkpoint', file=str(saved.folder))


def _scratch(run: Run, config: ModelConfig) -> Source:
  tokenizer = None
  if run.initial.tokenizer is not None:
    tokenizer = Tokenizer.from_folder(run.initial.tokenizer)

  def load(mesh: Mesh) -> Params:
    make = jax.jit(
      lambda key: transformer.init_params(config, key),
      out_shardings=transformer.param_shardings(config, mesh),
    )
    with jax.set_mesh(mesh):
      return make(jax.random.key(run.seed))

  return Source(
    told=f'scratch, seed {run.seed}',
    config=config,
    tokenizer=tokenizer,
    load=load,
  )
