"""Steps of large models, lowered from shapes alone: nothing is allocated."""

import dataclasses
import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from consensus_jax import partitioning
from consensus_jax.inference import sampler
from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import DEFAULT, Execution
from consensus_jax.training import objectives, step, train_state
from consensus_jax.training.optimizers import OptimizerSettings, make_optimizer

Kind = Literal['sft', 'reward', 'sample']

_BFLOAT16 = jnp.dtype('bfloat16')
# Of no influence on what is compiled.
_OPTIMIZER = OptimizerSettings(learning_rate=1e-5, num_steps=1000)
_SAMPLING = sampler.Sampling(temperature=0.8, top_p=0.95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """What to compile.

  Attributes:
    kind: a training step of a policy ('sft') or of a reward model ('reward'),
      all weights, with AdamW, float32 parameters and moments, and bfloat16
      products; or 'sample', reading a prompt and writing a token of each of
      its continuations, with bfloat16 parameters.
    model: the model; a reward model gets its head.
    execution: memory against time.
    batch_size: rows of a training step, on all chips together.
    microbatches: parts that the batch is computed in, one after another.
    length: tokens of a row; of a prompt.
    statements: that a row of a reward model judges.
    candidates: continuations of a prompt.
    max_tokens: of a continuation.
  """

  kind: Kind = 'sft'
  model: ModelConfig
  execution: Execution = DEFAULT
  batch_size: int = 1
  microbatches: int = 1
  length: int = 2048
  statements: int = 4
  candidates: int = 16
  max_tokens: int = 256

  def __post_init__(self):
    if self.kind not in get_args(Kind):
      raise ValueError(f'kind must be one of {get_args(Kind)}, got {self.kind}')

  def with_layers(self, num_layers: int) -> 'Job':
    """The same job with so many layers, each compiled by itself."""
    return dataclasses.replace(
      self,
      model=dataclasses.replace(self.model, num_layers=num_layers),
      execution=dataclasses.replace(self.execution, unrolled=True),
    )


@dataclasses.dataclass(frozen=True)
class Lowered:
  """A program to be compiled, and the bytes on each chip of what it is given.

  Attributes:
    lowered: to call `compile` of.
    inputs: bytes on a chip by kind, such as 'parameters'.
  """

  lowered: jax.stages.Lowered
  inputs: dict[str, int]


def lower(job: Job, mesh: Mesh) -> dict[str, Lowered]:
  """The job's programs, by name: one step, or reading and writing."""
  if job.kind == 'sample':
    return _sampling(job, mesh)
  return {'step': _training_step(job, mesh)}


def _training_step(job: Job, mesh: Mesh) -> Lowered:
  reward = job.kind == 'reward'
  model = dataclasses.replace(job.model, reward_head=reward)
  settings = objectives.RewardSettings()

  def loss(params, frozen, batch):
    del frozen
    params = transformer.cast_matrices(params, _BFLOAT16)
    if reward:
      return objectives.reward_loss(
        params, model, batch, settings=settings, execution=job.execution
      )
    return objectives.sft_loss(params, model, batch, execution=job.execution)

  optimizer = make_optimizer(_OPTIMIZER)
  params = train_state.abstract_params(model, mesh)
  state = train_state.abstract_state(params, optimizer, mesh)
  batch = step.abstract_batch(_batch(job), mesh)
  jitted = step.jit_train_step(
    state,
    {},
    mesh,
    loss_function=loss,
    optimizer=optimizer,
    microbatches=job.microbatches,
  )
  with jax.set_mesh(mesh):
    lowered = jitted.lower(state, {}, batch)
  return Lowered(
    lowered,
    {
      'parameters': _bytes_on_chip(state.params),
      'optimizer state': _bytes_on_chip(state.opt_state),
      'batch': _bytes_on_chip(batch),
    },
  )


def _batch(job: Job) -> dict[str, jax.ShapeDtypeStruct]:
  """A batch of materialised examples, as data/batches.py draws it."""
  row = (job.batch_size, job.length)
  whole = ['tokens', 'segment_ids', 'positions']
  shapes: dict[str, Any] = {}
  if job.kind == 'sft':
    whole.append('targets')
    shapes['loss_weights'] = (row, jnp.float32)
  else:
    judged = (job.batch_size, job.statements)
    shapes['ends'] = (judged, jnp.int32)
    shapes['levels'] = (judged, jnp.float32)
    shapes['weights'] = (row[:1], jnp.float32)
  shapes |= dict.fromkeys(whole, (row, jnp.int32))
  return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}


def _sampling(job: Job, mesh: Mesh) -> dict[str, Lowered]:
  """Reading one prompt, and writing one token of each continuation."""
  model = job.model
  params = jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    transformer.abstract_params(model, _BFLOAT16),
    transformer.param_shardings(model, mesh),
  )

  def placed(leaf):
    axes: tuple[str | None, ...] = (None,) * len(leaf.shape)
    if len(leaf.shape) == 5:  # keys or values of all layers
      axes = ('layers', 'kv_heads', 'batch', 'length', 'head_dim')
    sharding = partitioning.named_sharding(mesh, axes, leaf.shape)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  def shapes_of(function, *args):
    return jax.tree.map(placed, jax.eval_shape(function, *args))

  number = jax.ShapeDtypeStruct((), jnp.int32)
  ends = jax.ShapeDtypeStruct((1,), jnp.int32)
  tokens = jax.ShapeDtypeStruct((1, job.length), jnp.int32)
  prefill = functools.partial(sampler.prefill, config=model)
  prefix, next_logits = shapes_of(prefill, params, tokens, number)
  draw = shapes_of(lambda: sampler.Draw.of(_SAMPLING, 0, job.candidates))
  start = functools.partial(
    sampler.start, capacity=job.max_tokens, greedy=False
  )
  source = jax.ShapeDtypeStruct((job.length,), jnp.int32)
  word_starts = jax.ShapeDtypeStruct((model.vocab_size,), jnp.bool_)
  state = shapes_of(start, params, next_logits, source, draw, ends)
  with jax.set_mesh(mesh):
    read = sampler.prefill.lower(params, tokens, number, config=model)
    write = sampler.decode.lower(
      params,
      state,
      prefix,
      number,
      source,
      word_starts,
      draw,
      ends,
      number,
      config=model,
      greedy=False,
    )
  parameters = {'parameters': _bytes_on_chip(params)}
  caches = _bytes_on_chip(prefix) + _bytes_on_chip(state.cache)
  return {
    'prompt': Lowered(read, parameters),
    'token': Lowered(write, parameters | {'keys and values': caches}),
  }


def _bytes_on_chip(tree: Any) -> int:
  def one(leaf):
    sharding: NamedSharding = leaf.sharding
    shape = sharding.shard_shape(leaf.shape)
    return functools.reduce(int.__mul__, shape, leaf.dtype.itemsize)

  return sum(one(leaf) for leaf in jax.tree.leaves(tree))
