"""What ships, of what `train` and `policy` have trained.

The reward model is a mean of two. One has learned from what each person thinks,
the other from what all of them like; of people in new conversations, described
by votes, the mean knows more than either (docs/models/README.md).
"""

import dataclasses
import pathlib

import numpy as np

from consensus_jax.interop import adapters
from consensus_jax.interop.pretrained import load_pretrained
from consensus_jax.model import lora
from consensus_jax.training import launch

# The reward model that ships, and the runs of `train` whose mean it is.
AVERAGE = 'average_a'
AVERAGED = ('half_a', 'statements_a')


def average(out: str | pathlib.Path) -> pathlib.Path:
  """Writes the mean of the adapters of `AVERAGED`, and of their heads.

  Args:
    out: where these runs are.

  Returns:
    The folder of the mean; one that was there is replaced.

  Raises:
    ModelFileError: if adapters are missing, not of the embedded model, or
      cannot be written.
  """
  runs = pathlib.Path(out, 'runs')
  model = load_pretrained(dtype='bfloat16')
  found = [
    adapters.load_adapters(
      runs / name / launch.ADAPTERS, model.config, model.sha256
    )
    for name in AVERAGED
  ]
  heads = [each.reward_head for each in found if each.reward_head is not None]
  mean = dataclasses.replace(
    found[0],
    params=lora.average(found[0].lora, *(each.params for each in found)),
    reward_head=np.mean(heads, axis=0),
  )
  target = runs / AVERAGE / launch.ADAPTERS
  target.parent.mkdir(exist_ok=True)
  launch.replace_folder(
    target, lambda path: adapters.save_adapters(path, model.config, mean)
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
