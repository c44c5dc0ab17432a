"""What a batch of examples costs: one forward pass and a loss.

A loss is a sum, and with it comes the weight to divide it by. Sums of
microbatches and of shards of the data add up, and so do their gradients; who
adds them divides once, by the weight in all, and has what one large batch
gives.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from consensus_jax.inference.scorer import reward
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import DEFAULT, Execution
from consensus_jax.model.masks import Segments
from consensus_jax.model.transformer import Params, hidden, logits
from consensus_jax.partitioning import constrain
from consensus_jax.training import losses

# Names of sums; 'weight' is what to divide 'loss' by.
Sums = dict[str, Float[Array, '']]
Batch = Mapping[str, Array]

RewardLoss = Literal['bradley_terry', 'plackett_luce', 'ordinal', 'logistic']


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardSettings:
  """What a reward model learns from judgements.

  Attributes:
    loss: of pairs ('bradley_terry'), of rankings ('plackett_luce'), of ratings
      of 1 to 7 ('ordinal') or of votes of -1, 0 and 1 ('logistic').
    margin_scale: of pairs: by how much the better reward should exceed the
      worse one, for each level between them.
    soft_ties: of pairs: whether equal judgements draw rewards together.
    centring: weight of what draws rewards to zero; 0.01 in its source.
    contrast: weight of comparisons of people who judged the same statement.
      Made within a microbatch, of rows that the examples keep together.
  """

  loss: RewardLoss = 'bradley_terry'
  margin_scale: float = 0.0
  soft_ties: bool = False
  centring: float = 0.0
  contrast: float = 0.0

  def __post_init__(self):
    if self.loss not in get_args(RewardLoss):
      raise ValueError(
        f'loss must be one of {get_args(RewardLoss)}, got {self.loss!r}'
      )
    for field in ('margin_scale', 'centring', 'contrast'):
      if not 0 <= getattr(self, field) < float('inf'):
        raise ValueError(
          f'{field} must be at least 0 and finite, got {getattr(self, field)}'
        )
    if self.loss != 'bradley_terry' and (self.margin_scale or self.soft_ties):
      raise ValueError(
        f"margin_scale and soft_ties are of loss='bradley_terry', not of "
        f'{self.loss!r}'
      )

  def check_judgement(self, judgement: str) -> None:
    """Whether the loss can learn from examples of this judgement.

    Args:
      judgement: as `meta.json` of the examples names it.

    Raises:
      ValueError: if not.
    """
    if self.loss == 'ordinal' and judgement != 'agreement':
      raise ValueError(
        "loss='ordinal' learns from ratings of 1 to 7; the examples hold "
        f'{judgement!r}'
      )
    if self.loss == 'logistic' and judgement != 'votes':
      raise ValueError(
        f"loss='logistic' learns from votes; the examples hold {judgement!r}"
      )

  def initial_params(self) -> Params:
    """Parameters beside the model's, at the top of the same tree."""
    if self.loss != 'ordinal':
      return {}
    return {'cut_points': losses.initial_cut_points()}

  def param_axes(self) -> Params:
    """Logical axes of `initial_params`."""
    return {'cut_points': (None,)} if self.loss == 'ordinal' else {}


def sft_loss(
  params: Params,
  config: ModelConfig,
  batch: Batch,
  *,
  execution: Execution = DEFAULT,
) -> tuple[Float[Array, ''], Sums]:
  """Cross entropy of the tokens that count, over rows of packed examples.

  Args:
    params: of the policy, in the compute dtype.
    config: of the policy.
    batch: `tokens`, `targets`, `segment_ids`, `positions` and `loss_weights`,
      each `[rows, length]`.
    execution: how it is computed.

  Returns:
    The sum of losses, and the sums 'loss', 'weight' and 'right': the weight of
    tokens that were the likeliest.
  """
  batch = {name: constrain(x, 'batch', 'length') for name, x in batch.items()}
  x, _ = hidden(
    params,
    config,
    batch['tokens'],
    batch['positions'],
    Segments(batch['segment_ids']),
    execution=execution,
  )
  loss, right = losses.cross_entropy(
    functools.partial(logits, params),
    x,
    batch['targets'],
    batch['loss_weights'],
  )
  weight = batch['loss_weights'].astype(jnp.float32).sum()
  return loss, {'loss': loss, 'weight': weight, 'right': right}


def rewards_of(
  params: Params,
  config: ModelConfig,
  batch: Batch,
  *,
  execution: Execution = DEFAULT,
) -> Float[Array, 'rows statements']:
  """Rewards of the statements of rows that share their prefix, float32.

  Args:
    params: of the reward model, in the compute dtype.
    config: of the reward model.
    batch: `tokens`, `segment_ids` and `positions` `[rows, length]`; `ends`
      `[rows, statements]`, where each statement's last token is, 0 for none.
      With `activations` `[rows, length, embed]` of layers that come before,
      `params` holds only the layers that come after them.
    execution: how it is computed.

  Returns:
    Rewards; what stands where there is no statement has no meaning.
  """
  tokens, segment_ids, positions = (
    constrain(batch[name], 'batch', 'length')
    for name in ('tokens', 'segment_ids', 'positions')
  )
  x, _ = hidden(
    params,
    config,
    tokens,
    positions,
    Segments(segment_ids, shared_prefix=True),
    activations=batch.get('activations'),
    execution=execution,
  )
  x = jnp.take_along_axis(x, batch['ends'][..., None], axis=1)
  return reward(constrain(x, 'batch', None, None), params['reward_head'])


def reward_loss(
  params: Params,
  config: ModelConfig,
  batch: Batch,
  *,
  settings: RewardSettings,
  execution: Execution = DEFAULT,
) -> tuple[Float[Array, ''], Sums]:
  """The loss of what members judged, one row a member.

  Args:
    params: of the reward model, in the compute dtype, and what
      `settings.initial_params` adds.
    config: of the reward model.
    batch: as `rewards_of` takes it, with `levels` `[rows, statements]`, higher
      being better and NaN none, `weights` `[rows]`, and for `contrast` numbers
      of `statements` `[rows, statements]`.
    settings: of the loss.
    execution: how it is computed.

  Returns:
    The sum of losses, and sums. 'weight' is that of rows which say anything.
    Pairs of statements of different levels: 'pairs', and 'right_pairs' in whose
    order the rewards agree, half of one for equal rewards. Judged statements:
    'statements', 'reward' and 'squared_reward'.
  """
  rewards = rewards_of(params, config, batch, execution=execution)
  levels = batch['levels']
  if settings.loss == 'bradley_terry':
    loss, says = losses.bradley_terry(
      rewards,
      levels,
      margin_scale=settings.margin_scale,
      soft_ties=settings.soft_ties,
    )
  elif settings.loss == 'plackett_luce':
    loss, says = losses.plackett_luce(rewards, levels)
  elif settings.loss == 'logistic':
    loss, says = losses.logistic(rewards, levels)
  else:
    loss, says = losses.ordinal(rewards, levels, params['cut_points'])
  if settings.centring:
    loss += settings.centring * losses.centring(rewards, levels)
  if settings.contrast:
    compared, _ = losses.contrast(rewards, levels, batch['statements'])
    loss += settings.contrast * compared
  weights = jnp.where(says, batch['weights'].astype(jnp.float32), 0)
  total = jnp.where(weights > 0, weights * loss, 0).sum()
  return total, {
    'loss': total,
    'weight': weights.sum(),
    **_reward_sums(rewards, levels, batch['weights'] > 0),
  }


def _reward_sums(rewards, levels, counted):
  present = ~jnp.isnan(levels) & counted[:, None]
  levels = jnp.where(present, levels, jnp.nan)
  better = levels[:, :, None] > levels[:, None, :]
  difference = rewards[:, :, None] - rewards[:, None, :]
  right = (difference > 0) + (difference == 0) / 2
  judged = jnp.where(present, rewards, 0)
  return {
    'pairs': better.sum().astype(jnp.float32),
    'right_pairs': jnp.where(better, right, 0).sum(),
    'statements': present.sum().astype(jnp.float32),
    'reward': judged.sum(),
    'squared_reward': (judged**2).sum(),
  }
