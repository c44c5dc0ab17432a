"""What ships, of what `train` and `policy` have trained.

The reward model is a weighted sum of two. One has learned from what each person
thinks, the other from what all of them like; of people in new conversations,
described by votes, the sum knows more than either (docs/models/recipes.md).
"""

import dataclasses
import pathlib

import numpy as np

from consensus_jax.interop import adapters
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.interop.pretrained import load_pretrained
from consensus_jax.model import lora
from consensus_jax.training import launch

# The reward model that ships, and how much of each run of `train` it is: chosen
# on validation people.
COMBINED = 'combined_a'
WEIGHTS = {'half_a': 0.75, 'statements_a': 0.5}


def combine(out: str | pathlib.Path) -> pathlib.Path:
  """Writes the sum of the adapters of runs and of their heads, by `WEIGHTS`.

  Args:
    out: where these runs are.

  Returns:
    The folder of the sum; one that was there is replaced.

  Raises:
    ModelFileError: if adapters are missing, not of the embedded model, without
      a reward head, or cannot be written.
  """
  runs = pathlib.Path(out, 'runs')
  model = load_pretrained(dtype='bfloat16')
  found = [
    adapters.load_adapters(
      runs / name / launch.ADAPTERS, model.config, model.sha256
    )
    for name in WEIGHTS
  ]
  weights = [*WEIGHTS.values()]
  heads = [each.reward_head for each in found if each.reward_head is not None]
  if len(heads) < len(found):
    raise ModelFileError(str(runs), 'a run has no reward head')
  combined = dataclasses.replace(
    found[0],
    params=lora.weighted_sum(
      found[0].lora, [each.params for each in found], weights
    ),
    reward_head=np.tensordot(weights, heads, 1).astype(np.float32),
  )
  target = runs / COMBINED / launch.ADAPTERS
  target.parent.mkdir(exist_ok=True)
  launch.replace_folder(
    target, lambda path: adapters.save_adapters(path, model.config, combined)
  )
  return target


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
