"""How a forward and backward pass is carried out, never what it computes."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

Remat = Literal['none', 'dots', 'full']
Attention = Literal['einsum', 'splash']
Residual = Literal['float32', 'bfloat16']

# What a layer computes on the way and may keep for the backward pass: rotated
# queries and keys, values, what attention mixed, its product with the output
# weights, and the products inside and at the end of the MLP.
Activation = Literal[
  'query', 'key', 'value', 'mixed', 'attention_output', 'gate', 'up', 'down'
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
  """Memory against time, and the kernels and number types of activations.

  The defaults suit a CPU, and inference.

  Attributes:
    remat: what of a layer the backward pass computes again: 'none'; all but
      the products with weights, 'dots'; or the whole layer, 'full', of which
      then only `saved`, `offloaded` and the layer's input are kept.
    saved: activations that 'full' keeps all the same.
    offloaded: activations that 'full' keeps in the host's memory.
    attention: 'einsum' writes scores to memory; 'splash' is a kernel for TPUs,
      for masks given as `Segments`.
    residual: the dtype of the residual stream and of the products with weights.
      With bfloat16, memory and traffic of activations are halved; norms and
      softmax are float32 all the same. On a CPU float32 is faster.
    unrolled: compile each layer by itself rather than one loop over stacked
      layers: a longer compilation, in which costs are counted in full.
  """

  remat: Remat = 'none'
  saved: tuple[Activation, ...] = ()
  offloaded: tuple[Activation, ...] = ()
  attention: Attention = 'einsum'
  residual: Residual = 'float32'
  unrolled: bool = False

  def __post_init__(self):
    for field, allowed in (
      ('remat', get_args(Remat)),
      ('attention', get_args(Attention)),
      ('residual', get_args(Residual)),
    ):
      if getattr(self, field) not in allowed:
        raise ValueError(
          f'{field} must be one of {allowed}, got {getattr(self, field)!r}'
        )
    for field in ('saved', 'offloaded'):
      names = getattr(self, field)
      if not isinstance(names, tuple):
        raise ValueError(f'{field} must be a tuple, got {names!r}')
      for name in names:
        if name not in get_args(Activation):
          raise ValueError(
            f'{field} names {name!r}, which is none of {get_args(Activation)}'
          )
      if names and self.remat != 'full':
        raise ValueError(f"{field} needs remat='full', got {self.remat!r}")
    if both := set(self.saved) & set(self.offloaded):
      raise ValueError(f'{sorted(both)} are both saved and offloaded')

  @property
  def dtype(self) -> jnp.dtype:
    """`residual` as a dtype."""
    return jnp.dtype(self.residual)

  def named(self, x: jax.Array, name: Activation) -> jax.Array:
    """`x`, under a name that `remat` knows if it asks for any."""
    kept = self.saved or self.offloaded
    return checkpoint_name(x, name) if kept else x

  def rematerialised(self, body: Callable, *, in_scan: bool) -> Callable:
    """`body` of one layer, its backward pass computing again what it must.

    Args:
      body: the layer, a pure function.
      in_scan: whether a loop runs it, which already keeps XLA from merging the
        second computation with the first.
    """
    if self.remat == 'none':
      return body
    policies = jax.checkpoint_policies
    if self.remat == 'dots':
      policy = policies.dots_with_no_batch_dims_saveable
    elif self.offloaded:
      policy = policies.save_and_offload_only_these_names(
        names_which_can_be_saved=list(self.saved),
        names_which_can_be_offloaded=list(self.offloaded),
        offload_src='device',
        offload_dst='pinned_host',
      )
    else:
      policy = policies.save_only_these_names(*self.saved)
    return jax.checkpoint(body, policy=policy, prevent_cse=not in_scan)


DEFAULT = Execution()
