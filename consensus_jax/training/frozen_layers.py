"""What layers compute that are not trained, once for all epochs and runs.

With adapters on the upper layers only (`LoraConfig.first_layer`) the lower ones
compute the same for a row in every epoch: most of a step's work, if they are
many. A set of examples can hold it.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax.data import batches
from consensus_jax.data.batches import Examples
from consensus_jax.data.progress import Report, shown
from consensus_jax.interop.pretrained import Pretrained
from consensus_jax.model import transformer
from consensus_jax.model.masks import Segments
from consensus_jax.strict_json import InputError
from consensus_jax.training.job import ACTIVATIONS

# float16 keeps three more bits than bfloat16 and reaches far enough.
_DTYPE = np.float16


def add_activations(
  examples: Examples,
  path: str | os.PathLike[str],
  model: Pretrained,
  first_layer: int,
  *,
  dtype: jnp.dtype,
  rows: int = 8,
) -> None:
  """Writes the examples once more, with what layers before one compute.

  Shows on standard error how far it is.

  Args:
    examples: of a reward model.
    path: a folder that does not exist.
    model: whose layers they are, stacked.
    first_layer: the first of those that are left out.
    dtype: of products.
    rows: computed at once.

  Raises:
    InputError: if the examples are of another kind, or are not written.
    FloatingPointError: if an activation is no number, or too large to keep.
  """
  if examples.meta['kind'] != 'reward':
    raise InputError(
      f'holds examples of kind {examples.meta["kind"]!r}, not of reward models',
      file=str(examples.path),
    )
  params = transformer.cast_matrices(
    jax.tree.map(jnp.asarray, model.params), dtype
  )
  layers = transformer.unstack(params['layers'])[:first_layer]
  below = {'embedding': params['embedding'], 'layers': layers}

  @jax.jit
  def compute(params, tokens, positions, segment_ids):
    segments = Segments(segment_ids, shared_prefix=True)
    x, _ = transformer.hidden(params, model.config, tokens, positions, segments)
    return x

  def all_batches(report: Report) -> Iterator[Mapping[str, np.ndarray]]:
    done = 0
    for batch in batches.read_in_order(examples, rows):
      names = ('tokens', 'positions', 'segment_ids')
      x = np.asarray(compute(below, *(batch[name] for name in names)))
      # Padding is seen by nobody.
      x = np.where(batch['segment_ids'][..., None] > 0, x, 0)
      with np.errstate(over='ignore'):
        narrow = x.astype(_DTYPE)
      if not np.isfinite(narrow).all():
        raise FloatingPointError(
          f'activations of examples from {done} on are no finite float16'
        )
      number = min(rows, examples.num_examples - done)
      done += number
      report(done, examples.num_examples)
      yield {
        **{name: batch[name][:number] for name in examples.features},
        ACTIVATIONS: narrow[:number],
      }

  of = {'layer': first_layer, 'base_sha256': model.sha256}
  about = examples.description | {ACTIVATIONS: of}
  with shown(pathlib.Path(path).name, 'rows') as report:
    batches.write_examples(path, all_batches(report), about, kind='reward')


def check(
  examples: Examples, first_layer: int, base_sha256: str | None
) -> None:
  """Whether activations among the examples are those that a run needs.

  Raises:
    InputError: if they are of another layer or model.
  """
  about = examples.meta.get(ACTIVATIONS)
  if about is None:
    return
  needed = {'layer': first_layer, 'base_sha256': base_sha256}
  if about != needed:
    raise InputError(
      f'holds activations of {about}; this run needs those of {needed}',
      file=str(examples.path),
    )
