"""Maximal lotteries: chances that no other lottery beats."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize  # type: ignore[import-untyped]
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Real

from consensus_jax.social_choice.pairwise import pairwise_support

__all__ = ['maximal_lottery', 'maximal_lottery_chances']

_DUST = 1e-8


def maximal_lottery(
  ranks: Num[ArrayLike, '*batch candidates members'],
  *,
  weights: Real[ArrayLike, '*#batch members'] | None = None,
) -> Float[Array, '*batch candidates']:
  """Chances of the candidates such that no other lottery has more support.

  Against any candidate, the lottery's expected margin is at least 0. A
  Condorcet winner gets all. Where several lotteries qualify, the most even one
  is taken (least sum of squares): it is unique, and treats candidates and
  members alike.

  Raises:
    ValueError: as `pairwise.pairwise_support`.

  Source: Fishburn 1984, "Probabilistic social choice based on simple voting
  comparisons"; Brandl, Brandt and Seedig 2016.
  """
  return maximal_lottery_chances(pairwise_support(ranks, weights=weights))


def maximal_lottery_chances(
  support: Real[Array, '*batch candidates candidates'],
) -> Float[Array, '*batch candidates']:
  """`maximal_lottery` from supports; runs on the host."""
  return jax.pure_callback(
    _chances,
    jax.ShapeDtypeStruct(support.shape[:-1], jnp.float32),
    support,
    vmap_method='broadcast_all',
  )


def _chances(support):
  support = np.asarray(support, np.float64)
  flat = support.reshape(-1, *support.shape[-2:])
  lotteries = [_lottery(one - one.T) for one in flat]
  return np.stack(lotteries).reshape(support.shape[:-1]).astype(np.float32)


def _lottery(margins):
  """Least squares p with p >= 0, p @ margins >= 0 and sum(p) = 1.

  By duality a problem of non-negative least squares (Lawson and Hanson 1974,
  chapter 23, "least distance programming").
  """
  candidates = len(margins)
  margins = margins / max(1.0, np.abs(margins).max())
  # As all else is a cone, sum(p) >= 1 holds with equality at the least p.
  limits = np.concatenate(
    [np.eye(candidates), margins.T, np.ones((1, candidates))]
  )
  bounds = np.zeros(len(limits))
  bounds[-1] = 1
  system = np.concatenate([limits.T, bounds[None]])
  target = np.zeros(candidates + 1)
  target[-1] = 1
  # Not scipy.optimize.nnls, which stops early on degenerate margins.
  solution = scipy.optimize.lsq_linear(
    system, target, (0, np.inf), method='bvls', tol=1e-14, max_iter=1000
  ).x
  residual = system @ solution - target
  chances = -residual[:-1] / residual[-1]
  chances = np.where(chances > _DUST, chances, 0)
  return chances / chances.sum()
