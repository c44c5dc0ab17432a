"""What a run computes: the model, its loss and its state, as pure functions.

Supervised fine-tuning and reward models differ in `Job` and in nothing else.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from consensus_jax import partitioning
from consensus_jax.data.batches import Examples
from consensus_jax.model import flops, lora, transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.transformer import Params
from consensus_jax.training import metrics, objectives, optimizers, train_state
from consensus_jax.training.settings import PolicyRun, RewardRun
from consensus_jax.training.step import LOSS, WEIGHT, LossFunction
from consensus_jax.training.train_state import TrainState

# Where adapters are among what is trained, and the head there and elsewhere.
ADAPTERS = 'adapters'
HEAD = 'reward_head'

# Of the layers before the first that is adapted, in examples that hold them.
ACTIVATIONS = 'activations'

# What a next word's log-odds are multiplied by to start a head. As they are,
# their standard deviation over people's statements is 3: far too sure, and what
# the first steps would learn is to say nothing.
WORDS_SCALE = 0.2

# The judgement between for and against, by what was judged.
_NEUTRAL = {'agreement': 4, 'quality': 4, 'votes': 0}

# Means of what was summed, for a person.
Metrics = Callable[[Mapping[str, float]], dict[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A run's computation.

  Attributes:
    kind: of the examples it learns from: 'sft' or 'reward'.
    config: of the model, with its head.
    lora: adapters that are trained instead of the model's weights.
    dtype: of matrix products.
    extra_params: parameters beside the model's, before the first step.
    extra_axes: their logical axes.
    objective: of parameters in `dtype` and a batch: the loss's sum, and sums.
    metrics: means of these sums.
    rewards_of: of parameters in `dtype` and a batch: rewards [rows,
      statements]; None for a policy.
    optimizer: of what is trained.
    flops_per_token: of a step, for its utilisation of the devices; None where
      the formula does not hold.
    head_words: token ids of two words: a head that the model does not bring
      starts as the log-odds of the first rather than the second; None for a
      random one.
  """

  kind: str
  config: ModelConfig
  lora: lora.LoraConfig | None
  dtype: Any
  extra_params: Params
  extra_axes: Params
  objective: Callable[[Params, Any], tuple[Any, dict[str, Any]]]
  metrics: Metrics
  rewards_of: Callable[[Params, Any], Any] | None = None
  optimizer: optax.GradientTransformation
  flops_per_token: float | None
  head_words: tuple[int, int] | None = None

  @property
  def loss_function(self) -> LossFunction:
    """The loss of what is trained, what is frozen, and a batch."""

    def loss(trained, frozen, batch):
      return self.objective(self.assemble(trained, frozen), batch)

    return loss

  def rewards(self, trained: Params, frozen: Params, batch: Any) -> Any:
    """Rewards of a batch, [rows, statements]; None for a policy."""
    if self.rewards_of is None:
      return None
    return self.rewards_of(self.assemble(trained, frozen), batch)

  def report(self, rewards: np.ndarray, examples: Examples) -> dict[str, float]:
    """What `metrics.judgement_metrics` says of the rewards of all examples."""
    features = examples.features
    # A statement's tokens: those of segment 2 and up.
    segments = 2 + np.arange(rewards.shape[1])[:, None]
    ids = np.asarray(features['segment_ids'])
    lengths = np.stack([(row == segments).sum(-1) for row in ids])
    found = metrics.judgement_metrics(
      rewards.astype(np.float64),
      np.asarray(features['levels'], np.float64),
      np.asarray(features['participants']),
      np.asarray(features['questions']),
      lengths.astype(np.float64),
      neutral=_NEUTRAL.get(examples.meta.get('judgement', '')),
    )
    return {name: float(value) for name, value in found.items()}

  def assemble(self, trained: Params, frozen: Params) -> Params:
    """What the model computes with, its matrices in the compute dtype."""
    params = transformer.cast_matrices(
      frozen if self.lora else trained, self.dtype
    )
    if self.lora is None:
      return params
    adapted = lora.adapt(params, trained[ADAPTERS], self.lora)
    return {**adapted, **_without(trained, ADAPTERS)}

  def split(self, params: Params, key: PRNGKeyArray) -> tuple[Params, Params]:
    """What is trained and what is frozen, before the first step; traceable.

    Args:
      params: of the model, float32.
      key: for what the model does not have yet.
    """
    head_key, adapter_key = jax.random.split(key)
    if self.config.reward_head and HEAD not in params:
      params = {**params, HEAD: self._first_head(params, head_key)}
    if self.lora is None:
      return {**params, **self.extra_params}, {}
    frozen = {name: x for name, x in params.items() if name != HEAD}
    heads = {name: x for name, x in params.items() if name == HEAD}
    adapters = lora.init(self.config, self.lora, adapter_key)
    trained = {ADAPTERS: adapters, **heads, **self.extra_params}
    return trained, transformer.cast_matrices(frozen, self.dtype)

  def _first_head(self, params: Params, key: PRNGKeyArray) -> Any:
    if self.head_words is not None:
      tied = self.config.tied_embeddings
      first, second = self.head_words
      rows = params['embedding' if tied else 'lm_head']
      words = (rows[first] - rows[second]).astype(jnp.float32)
      return WORDS_SCALE * words
    size = self.config.embed_dim
    # As `Decoder` has it: near zero, indifferent.
    return jax.random.normal(key, (size,)) / (size + 1)

  def abstract(self, mesh: Mesh) -> tuple[TrainState, Params]:
    """Shapes and shardings of the state and of what is frozen."""
    axes = transformer.param_axes(self.config)
    shapes = transformer.abstract_params(self.config, jnp.dtype('float32'))
    trained, frozen = jax.eval_shape(self.split, shapes, jax.random.key(0))
    if self.lora is None:
      trained_axes, frozen_axes = {**axes, **self.extra_axes}, {}
    else:
      head = {HEAD: axes.pop(HEAD)} if HEAD in axes else {}
      trained_axes = {
        ADAPTERS: lora.axes(self.config, self.lora),
        **head,
        **self.extra_axes,
      }
      frozen_axes = axes

    def place(leaf, names):
      sharding = partitioning.named_sharding(mesh, names, leaf.shape)
      return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return (
      train_state.abstract_state(
        jax.tree.map(place, trained, trained_axes), self.optimizer, mesh
      ),
      jax.tree.map(place, frozen, frozen_axes),
    )

  def export(self, trained: Params, frozen: Params) -> Params:
    """The model's parameters as other programs take them: merged, no extras.

    Adapters are merged in float32, where nothing of them is lost.
    """
    params = trained
    if self.lora is not None:
      wide = transformer.cast_matrices(frozen, jnp.dtype('float32'))
      merged = lora.merge(wide, trained[ADAPTERS], self.lora)
      params = {**merged, **_without(trained, ADAPTERS)}
    return _without(params, *self.extra_params)


def policy_job(
  run: PolicyRun, config: ModelConfig, *, dtype: Any, length: int
) -> Job:
  """Supervised fine-tuning of `config` on rows of `length` tokens."""

  def objective(params, batch):
    return objectives.sft_loss(params, config, batch, execution=run.execution)

  def means(sums):
    return {
      'loss': _mean(sums[LOSS], sums[WEIGHT]),
      'accuracy': _mean(sums['right'], sums[WEIGHT]),
    }

  return Job(
    kind='sft',
    config=config,
    lora=run.lora,
    dtype=dtype,
    extra_params={},
    extra_axes={},
    objective=objective,
    metrics=means,
    optimizer=optimizers.make_optimizer(run.optimizer),
    flops_per_token=_flops(run, config, length, vocab_logits=True),
  )


def reward_job(
  run: RewardRun,
  config: ModelConfig,
  *,
  dtype: Any,
  length: int,
  head_words: tuple[int, int] | None = None,
) -> Job:
  """Training of a reward model of `config` on rows of `length` tokens."""
  config = dataclasses.replace(config, reward_head=True)
  first = run.lora.first_layer if run.lora else 0

  def above(params, batch):
    """Without the layers whose activations the batch brings."""
    if ACTIVATIONS not in batch:
      return params
    return {**params, 'layers': params['layers'][first:]}

  def objective(params, batch):
    return objectives.reward_loss(
      above(params, batch),
      config,
      batch,
      settings=run.objective,
      execution=run.execution,
    )

  def rewards_of(params, batch):
    return objectives.rewards_of(
      above(params, batch), config, batch, execution=run.execution
    )

  def means(sums):
    mean = _mean(sums['reward'], sums['statements'])
    variance = _mean(sums['squared_reward'], sums['statements']) - mean**2
    return {
      'loss': _mean(sums[LOSS], sums[WEIGHT]),
      'accuracy': _mean(sums['right_pairs'], sums['pairs']),
      'reward': mean,
      'reward_deviation': max(variance, 0.0) ** 0.5,
    }

  return Job(
    kind='reward',
    config=config,
    lora=run.lora,
    dtype=dtype,
    rewards_of=rewards_of,
    extra_params=run.objective.initial_params(),
    extra_axes=run.objective.param_axes(),
    objective=objective,
    metrics=means,
    optimizer=optimizers.make_optimizer(run.optimizer),
    flops_per_token=_flops(run, config, length, vocab_logits=False),
    head_words=head_words,
  )


def make_job(
  run: PolicyRun | RewardRun,
  config: ModelConfig,
  *,
  dtype: Any,
  length: int,
  head_words: tuple[int, int] | None = None,
) -> Job:
  """What `run` computes with a model of `config`; see `Job` for the rest."""
  if isinstance(run, RewardRun):
    return reward_job(
      run, config, dtype=dtype, length=length, head_words=head_words
    )
  return policy_job(run, config, dtype=dtype, length=length)


def _flops(run, config, length, *, vocab_logits):
  # Frozen weights get no gradient: the formula counts too much.
  if run.lora is not None:
    return None
  return flops.model_flops_per_token(config, length, vocab_logits=vocab_logits)


def _without(params: Params, *names: str) -> Params:
  return {name: x for name, x in params.items() if name not in names}


def _mean(total: float, weight: float) -> float:
  return total / weight if weight else float('nan')
