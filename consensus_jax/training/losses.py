"""Losses of reward models and policies: pure functions on arrays.

A loss of rewards is one number a row, where a row is what one member judged:
rewards and levels `[batch, statements]`, a higher level being the better
judgement and NaN none. With it comes whether the row says anything at all; a
row without one comparison must not count in a mean. Number types narrower than
float32 are widened first.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Ratings run from 1 to this.
NUM_RATINGS = 7

# Nodes of the integral in `plackett_luce`, on a logarithmic axis. Beyond the
# ends lies less than 2e-8 of it. The error of the sum is below
# 2^n exp(-pi^2 / step) for n tied statements: 1e-8 for thirty.
_STEP = 0.25
_FIRST, _LAST = -18.0, 5.25

Rewards = Float[Array, 'batch statements']
PerRow = tuple[Float[Array, 'batch'], Bool[Array, 'batch']]


def bradley_terry(
  rewards: Rewards,
  levels: Rewards,
  *,
  margin_scale: float = 0.0,
  soft_ties: bool = False,
) -> PerRow:
  """Mean of -log sigmoid(r_better - r_worse - margin) over a row's pairs.

  Source: Stiennon et al. 2020, section 3.4; the margin, which grows with the
  distance of the judgements, is Llama 2's (Touvron et al. 2023, section 3.2.2).

  Args:
    rewards: of the statements.
    levels: the member's judgements, NaN where there is none.
    margin_scale: the margin for one level of distance.
    soft_ties: whether a pair of one level counts, either order being as likely,
      rather than being left out.

  Returns:
    The loss of each row, and whether the row has any pair that counts.
  """
  rewards, present = _judged(rewards, levels)
  difference = rewards[:, :, None] - rewards[:, None, :]
  distance = jnp.where(
    present[:, :, None] & present[:, None, :],
    levels[:, :, None] - levels[:, None, :],
    jnp.nan,
  )
  better = distance > 0  # a comparison with NaN is False
  margin = jnp.where(better, margin_scale * distance, 0)
  loss = jnp.where(better, jax.nn.softplus(margin - difference), 0)
  pairs = better.sum((1, 2))
  if soft_ties:
    # Both orders of a pair are here, each with half of its weight. Levels of
    # one statement are no pair.
    tied = (distance == 0) & ~jnp.eye(rewards.shape[1], dtype=bool)
    loss += jnp.where(tied, jax.nn.softplus(-difference) / 2, 0)
    pairs += tied.sum((1, 2)) // 2
  return loss.sum((1, 2)) / jnp.maximum(pairs, 1), pairs > 0


def plackett_luce(rewards: Rewards, levels: Rewards) -> PerRow:
  """Mean of -log P(the next best | what is left) over the choices of a ranking.

  Statements of one level were not told apart: the likelihood is that of any
  order among them, so a tie says nothing on those it ties, only that they come
  before what is worse. With weights w = exp(reward), those T of one level come
  before the worse ones, of total weight W, with the probability

      P = integral from 0 to infinity of exp(-t) prod_T (1 - exp(-t w_j / W)) dt

  as in a race of exponential clocks. One statement alone has w / (w + W), so a
  ranking without ties has the likelihood of Plackett and Luce, and two
  statements that of Bradley and Terry.

  Source: Plackett 1975; for ties Kalbfleisch and Prentice 1973 (marginal
  likelihood of ranks), in the form of DeLong, Guirguis and So 1994.

  Args:
    rewards: of the statements.
    levels: the member's judgements, NaN where there is none.

  Returns:
    The loss of each row, and whether the row has any choice: a level with a
    worse one below it.
  """
  rewards, present = _judged(rewards, levels)
  both = present[:, :, None] & present[:, None, :]
  tied = both & (levels[:, :, None] == levels[:, None, :])
  worse = both & (levels[:, :, None] > levels[:, None, :])
  # Each level counts once, by its first statement.
  first = present & ~jnp.tril(tied, -1).any(-1)
  choice = first & worse.any(-1)
  # Where there is no choice, of whatever: the result is not used, but finite.
  rest = jnp.where(worse | ~choice[:, :, None], rewards[:, None, :], -jnp.inf)
  log_odds = rewards[:, None, :] - jax.nn.logsumexp(rest, -1, keepdims=True)
  alone = jax.nn.softplus(-jnp.diagonal(log_odds, axis1=1, axis2=2))
  several = -_log_all_before(log_odds, tied)
  loss = jnp.where(tied.sum(-1) > 1, several, alone)
  choices = choice.sum(-1)
  loss = jnp.where(choice, loss, 0).sum(-1) / jnp.maximum(choices, 1)
  return loss, choices > 0


def _log_all_before(log_odds, chosen):
  """log of the integral in `plackett_luce`, over t = exp(node).

  The trapezoid rule converges fast for an integrand that is smooth and falls
  off on both sides; sums of logarithms keep small probabilities exact.
  """
  node = jnp.arange(_FIRST, _LAST, _STEP, log_odds.dtype)
  log_rate = log_odds[..., None] + node
  log_done = jnp.where(chosen[..., None], _log_ring(log_rate), 0).sum(-2)
  return jax.nn.logsumexp(node - jnp.exp(node) + log_done, -1) + jnp.log(_STEP)


def _log_ring(log_rate):
  """log(1 - exp(-exp(log_rate))), finite with its gradient."""
  # Below, it is log_rate itself; above, zero.
  low, high = -16.0, 4.5
  inside = jnp.clip(log_rate, low, high)
  value = jnp.log(-jnp.expm1(-jnp.exp(inside)))
  return value + jnp.minimum(log_rate - low, 0)


def initial_cut_points() -> Float[Array, 'cuts']:
  """Free parameters of the cut points under which all ratings are as likely."""
  levels = jnp.arange(1, NUM_RATINGS) / NUM_RATINGS
  cuts = jnp.log(levels / (1 - levels))
  gaps = jnp.diff(cuts)
  return jnp.concatenate([cuts[:1], jnp.log(jnp.expm1(gaps))])


def cut_points(
  free: Float[Array, 'cuts'],
) -> Float[Array, 'cuts']:
  """Rising cut points: the first, then sums of softplus of the others."""
  gaps = jax.nn.softplus(free[1:])
  return jnp.concatenate([free[:1], free[0] + jnp.cumsum(gaps)])


def ordinal(
  rewards: Rewards,
  levels: Rewards,
  free: Float[Array, 'cuts'],
) -> PerRow:
  """Mean of -log P(rating | reward) over a row's ratings of 1 to 7.

  P(rating <= k) = sigmoid(cut_k - reward): proportional odds. A rating outside
  1..7 makes the loss NaN.

  Source: McCullagh 1980, section 2.

  Args:
    rewards: of the statements.
    levels: the ratings, NaN where there is none.
    free: of the cut points, as `cut_points` takes them.

  Returns:
    The loss of each row, and whether the row has any rating.
  """
  rewards, present = _judged(rewards, levels)
  rating = jnp.where(present, levels, 1)
  cuts, gaps = cut_points(free), jax.nn.softplus(free[1:])
  index = rating.astype(jnp.int32) - 1
  last = NUM_RATINGS - 1
  # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), without
  # the difference of two numbers near to each other.
  above = cuts[jnp.clip(index, 0, last - 1)] - rewards
  below = cuts[jnp.clip(index - 1, 0, last - 1)] - rewards
  gap = gaps[jnp.clip(index - 1, 0, last - 2)]
  between = (index > 0) & (index < last)
  loss = jnp.where(index < last, jax.nn.softplus(-above), 0)
  loss += jnp.where(index > 0, jax.nn.softplus(below), 0)
  loss -= jnp.where(between, jnp.log(-jnp.expm1(-gap)), 0)
  loss = jnp.where((rating >= 1) & (rating <= NUM_RATINGS), loss, jnp.nan)
  ratings = present.sum(-1)
  loss = jnp.where(present, loss, 0).sum(-1) / jnp.maximum(ratings, 1)
  return loss, ratings > 0


def logistic(rewards: Rewards, levels: Rewards) -> PerRow:
  """Mean of -log P(vote | reward) over a row's votes, from -1 to 1.

  P(agree) = sigmoid(reward). A pass, 0, is half an agreement and half a
  disagreement, and a mean of votes as much of each as it says. Any other level
  makes the loss NaN.

  Source: logistic regression; with fractions, Papke and Wooldridge 1996.

  Args:
    rewards: of the statements.
    levels: the votes, or means of votes, NaN where there is none.

  Returns:
    The loss of each row, and whether the row has any vote.
  """
  rewards, present = _judged(rewards, levels)
  vote = jnp.where(present, levels, 0)
  loss = jax.nn.softplus(-rewards) + (1 - vote) / 2 * rewards
  loss = jnp.where(jnp.abs(vote) <= 1, loss, jnp.nan)
  votes = present.sum(-1)
  loss = jnp.where(present, loss, 0).sum(-1) / jnp.maximum(votes, 1)
  return loss, votes > 0


def contrast(
  rewards: Rewards, levels: Rewards, statements: Int[Array, 'batch statements']
) -> PerRow:
  """Mean of -log sigmoid(r_agrees - r_disagrees) over pairs of people.

  Pairs are of two rows that judged the same statement differently. What makes a
  statement popular is alike for both and drops out: only what is personal is
  left to learn from.

  Args:
    rewards: of the statements.
    levels: the members' judgements, NaN where there is none.
    statements: equal numbers are the same statement.

  Returns:
    The loss of each row, a mean over its pairs, and whether it has any.
  """
  rewards, present = _judged(rewards, levels)
  flat = rewards.reshape(-1)
  level = jnp.where(present, levels, jnp.nan).reshape(-1)
  statement = statements.reshape(-1)
  row = jnp.repeat(jnp.arange(len(rewards)), rewards.shape[1])
  better = level[:, None] > level[None]  # a comparison with NaN is False
  better &= statement[:, None] == statement[None]
  better &= row[:, None] != row[None]
  loss = jnp.where(better, jax.nn.softplus(flat[None] - flat[:, None]), 0)
  # A pair counts for both of its rows.
  both = loss.sum(0) + loss.sum(1)
  pairs = better.sum(0) + better.sum(1)
  both, pairs = (x.reshape(rewards.shape).sum(1) for x in (both, pairs))
  return both / jnp.maximum(pairs, 1), pairs > 0


def centring(rewards: Rewards, levels: Rewards) -> Float[Array, 'batch']:
  """Mean of (r_i + r_j)^2 over a row's pairs, which draws rewards to zero.

  Comparisons leave the zero of rewards open; a little of this settles it.

  Source: Eisenstein et al. 2023 (Helping or Herding?), section 3, for pairs.
  """
  rewards, present = _judged(rewards, levels)
  pair = present[:, :, None] & present[:, None, :]
  pair &= ~jnp.eye(rewards.shape[1], dtype=bool)
  squares = jnp.where(pair, (rewards[:, :, None] + rewards[:, None, :]) ** 2, 0)
  return squares.sum((1, 2)) / jnp.maximum(pair.sum((1, 2)), 1)


def cross_entropy(
  logits_of: Callable[[Array], Array],
  x: Float[Array, 'rows length embed'],
  targets: Int[Array, 'rows length'],
  weights: Float[Array, 'rows length'],
  *,
  block: int = 256,
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """Weighted sums of -log P(target), and of whether it was the likeliest.

  Logits of a large vocabulary are the largest arrays of a step: they are made
  `block` positions at a time, and again in the backward pass.

  Args:
    logits_of: logits `[rows, block, vocab]` of hidden states.
    x: hidden states.
    targets: the token that follows each one.
    weights: 0 where the target does not count.
    block: positions a time.

  Returns:
    The sum of losses and the sum of right guesses, each times its weight.
  """
  block = min(block, x.shape[1])
  fill = -x.shape[1] % block

  def in_blocks(array):
    array = jnp.pad(array, [(0, 0), (0, fill)] + [(0, 0)] * (array.ndim - 2))
    shape = (array.shape[0], -1, block, *array.shape[2:])
    return jnp.moveaxis(array.reshape(shape), 1, 0)

  @jax.checkpoint
  def one_block(sums, arrays):
    x, targets, weights = arrays
    logits = _wide(logits_of(x))
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    # A weight of zero must give zero, whatever it is multiplied with.
    loss = jnp.where(weights > 0, jax.nn.logsumexp(logits, -1) - chosen, 0)
    right = chosen >= logits.max(-1)
    loss_sum, right_sum = sums
    return (
      loss_sum + (weights * loss).sum(),
      right_sum + (weights * right).sum(),
    ), None

  zero = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
  arrays = (in_blocks(x), in_blocks(targets), in_blocks(_wide(weights)))
  (loss, right), _ = jax.lax.scan(one_block, (zero, zero), arrays)
  return loss, right


def _judged(rewards, levels):
  """Rewards, zero where there is no judgement, and where there is one.

  Zero before anything is computed: the gradient of what a later `where` leaves
  out would be zero times infinity.
  """
  present = ~jnp.isnan(levels)
  return jnp.where(present, _wide(rewards), 0), present


def _wide(x):
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
