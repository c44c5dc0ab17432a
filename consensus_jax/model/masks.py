"""Who sees whom in a row of several sequences, as segment ids.

A dense mask of `[rows, length, length]` is as large as the scores; segment ids
are as small as the tokens, and kernels and query blocks make of them what part
they need.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Segments:
  """Sequences packed into rows, each seeing itself and perhaps a prefix.

  No token sees a later one. Padding is a segment too, which no other sees: each
  token sees at least itself, so that a softmax always has a score to weigh.

  Attributes:
    segment_ids: 0 for padding, 1 and up for sequences.
    shared_prefix: whether all tokens see segment 1, as statements see the
      question and opinion that they continue.
  """

  segment_ids: Int[Array, 'rows length']
  shared_prefix: bool = dataclasses.field(
    default=False, metadata={'static': True}
  )

  def dense(self) -> Bool[Array, 'rows length length']:
    """True where a token (second axis) sees another (third axis)."""
    return self.block(0, self.segment_ids.shape[1])

  def block(self, start: int, stop: int) -> Bool[Array, 'rows queries {stop}']:
    """`dense` of the queries from `start` to `stop`, whose keys end there."""
    keys = self.segment_ids[:, None, :stop]
    queries = self.segment_ids[:, start:stop, None]
    seen = queries == keys
    if self.shared_prefix:
      seen |= keys == 1
    causal = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)
    return seen & causal
