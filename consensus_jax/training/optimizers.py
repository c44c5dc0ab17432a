"""AdamW with a warm-up, a schedule and a limit on the size of gradients."""

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from consensus_jax.model.transformer import MATRICES

Schedule = Literal['constant', 'linear', 'cosine']


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
  """How parameters follow their gradients.

  Attributes:
    learning_rate: at its highest, after the warm-up.
    num_steps: of the training run, warm-up included.
    warmup_steps: over which the learning rate rises in equal parts; the first
      step already has a part.
    schedule: of the learning rate after the warm-up: 'constant', or falling to
      `final_fraction` at the last step, 'linear' or as half a 'cosine'.
    final_fraction: of the learning rate, at the end of a falling schedule.
    beta1: decay of the mean of gradients.
    beta2: decay of the mean of their squares.
    epsilon: added to the root of the latter.
    weight_decay: part of a weight taken off at each step, times the learning
      rate. Only of matrices, LoRA's included: norms, biases, the reward head
      and cut points have a scale that means something.
    max_norm: gradients of all parameters together are scaled down to this norm
      if theirs is larger; None for no limit.
  """

  learning_rate: float
  num_steps: int
  warmup_steps: int = 0
  schedule: Schedule = 'cosine'
  final_fraction: float = 0.1
  beta1: float = 0.9
  beta2: float = 0.95
  epsilon: float = 1e-8
  weight_decay: float = 0.0
  max_norm: float | None = 1.0

  def __post_init__(self):
    if self.schedule not in get_args(Schedule):
      raise ValueError(
        f'schedule must be one of {get_args(Schedule)}, got {self.schedule!r}'
      )
    for field in ('num_steps', 'warmup_steps'):
      value = getattr(self, field)
      if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f'{field} must be an integer, got {value!r}')
    if not 0 <= self.warmup_steps <= self.num_steps or not self.num_steps:
      raise ValueError(
        'need 0 <= warmup_steps <= num_steps and at least one step, got '
        f'{self.warmup_steps} and {self.num_steps}'
      )
    for field, low, high in (
      ('learning_rate', 0, float('inf')),
      ('final_fraction', 0, 1 + 1e-9),
      ('beta1', 0, 1),
      ('beta2', 0, 1),
      ('weight_decay', 0, float('inf')),
    ):
      if not low <= getattr(self, field) < high:
        raise ValueError(f'{field} is out of range: {getattr(self, field)}')
    if not self.epsilon > 0:
      raise ValueError(f'epsilon must be positive, got {self.epsilon}')
    if self.max_norm is not None and not self.max_norm > 0:
      raise ValueError(f'max_norm must be positive, got {self.max_norm}')


def learning_rate(
  settings: OptimizerSettings, step: Int[Array, ''] | int
) -> Float[Array, '']:
  """The learning rate of a step, the first being 0."""
  done = jnp.asarray(step, jnp.float32)
  warmup = settings.warmup_steps
  rise = jnp.minimum((done + 1) / max(warmup, 1), 1)
  # 0 at the end of the warm-up, 1 at the last step and after it.
  falling_steps = max(settings.num_steps - 1 - warmup, 1)
  progress = jnp.clip((done - warmup) / falling_steps, 0, 1)
  if settings.schedule == 'constant':
    fall = jnp.ones(())
  elif settings.schedule == 'linear':
    fall = 1 - progress
  else:
    fall = (1 + jnp.cos(jnp.pi * progress)) / 2
  least = settings.final_fraction if settings.schedule != 'constant' else 0
  return settings.learning_rate * rise * (least + (1 - least) * fall)


def decays(params: Any) -> Any:
  """For each parameter, whether weight decay applies: to matrices alone."""

  def one(path, _):
    return any(getattr(key, 'key', None) in MATRICES for key in path)

  return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
  """AdamW (Loshchilov and Hutter 2019), its moments in the parameters' dtype.

  Gradients are those of the mean loss: already divided by the batch's weight.
  """
  limit = (
    optax.identity()
    if settings.max_norm is None
    else optax.clip_by_global_norm(settings.max_norm)
  )
  return optax.chain(
    limit,
    optax.adamw(
      lambda step: learning_rate(settings, step),
      b1=settings.beta1,
      b2=settings.beta2,
      eps=settings.epsilon,
      weight_decay=settings.weight_decay,
      mask=decays,
    ),
  )
