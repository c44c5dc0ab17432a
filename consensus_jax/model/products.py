"""Products of activations with weights, and their gradients.

Every product takes its inputs in the weight's dtype and sums in float32, in the
backward pass too: without a rule of our own, a float32 cotangent would meet a
bfloat16 weight and all of it would run in float32.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Pieces in which an operand is turned on a CPU; see `_weight_gradient_on_cpu`.
_TURNED_PIECES = 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adapted:
  """A weight W and low-rank factors whose product B A is added to it.

  Never added up: in bfloat16 the sum would round a small B A away, and it would
  take the memory of another W.

  Attributes:
    weight: W, of one layer or of all layers stacked.
    a: A, from the inputs to the rank.
    b: B, from the rank to the outputs.
  """

  weight: Float[Array, '...']
  a: Float[Array, '...']
  b: Float[Array, '...']

  @property
  def dtype(self) -> jnp.dtype:
    """Of the products with all three."""
    return self.weight.dtype


def dense(
  x: Float[Array, '...'],
  weight: Float[Array, '...'] | Adapted,
  dtype: jnp.dtype,
  inputs: int = 1,
) -> Float[Array, '...']:
  """Contracts the last `inputs` axes of both, in the weight's dtype.

  The sum is made in float32 and returned in `dtype`: on a CPU a bfloat16
  product that returns bfloat16 is ten times slower. Both sides are flattened to
  matrices, as XLA would otherwise copy a weight of three axes before each
  product.
  """
  if isinstance(weight, Adapted):
    low = dense(x, weight.a, dtype, inputs)
    own = dense(x, weight.weight, dtype, inputs)
    return own + dense(low, weight.b, dtype)
  fan_in = math.prod(weight.shape[-inputs:])
  product = _product(
    (x.dtype, dtype), x.reshape(-1, fan_in), weight.reshape(-1, fan_in)
  )
  return product.reshape(*x.shape[:-inputs], *weight.shape[:-inputs])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(dtypes, x, weight):
  return _forward(dtypes, x, weight)[0]


def _forward(dtypes, x, weight):
  x = x.astype(weight.dtype)
  return _contract(x, weight, 1, 1, dtypes[1]), (x, weight)


def _backward(dtypes, kept, cotangent):
  x, weight = kept
  cotangent = cotangent.astype(weight.dtype)
  to_input = _contract(cotangent, weight, 1, 0, dtypes[0])
  to_weight = _weight_gradient
  mesh = jax.sharding.get_abstract_mesh()
  narrow = weight.dtype != jnp.float32
  if narrow and mesh.size <= 1 and len(x) % _TURNED_PIECES == 0:
    to_weight = functools.partial(
      jax.lax.platform_dependent,
      cpu=_weight_gradient_on_cpu,
      default=_weight_gradient,
    )
  return to_input, to_weight(cotangent, x).astype(weight.dtype)


_product.defvjp(_forward, _backward)


def look_up(
  table: Float[Array, 'vocab embed'], tokens: Int[Array, '*batch']
) -> Float[Array, '*batch embed']:
  """The tokens' rows of a table; its gradient sums in float32.

  A common token occurs hundreds of times in a batch, and a bfloat16 sum stops
  growing at a few hundred equal terms.
  """
  return _look_up((table.shape, table.dtype), table, tokens)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _look_up(kind, table, tokens):
  return table.at[tokens].get(mode='clip')


def _look_up_forward(kind, table, tokens):
  return _look_up(kind, table, tokens), tokens


def _look_up_backward(kind, tokens, cotangent):
  shape, dtype = kind
  (gradient,) = jax.linear_transpose(
    lambda table: table.at[tokens].get(mode='clip'),
    jax.ShapeDtypeStruct(shape, jnp.float32),
  )(cotangent.astype(jnp.float32))
  return gradient.astype(dtype), None


_look_up.defvjp(_look_up_forward, _look_up_backward)


def _weight_gradient(cotangent, x):
  """[outputs, inputs] of [rows, outputs] and [rows, inputs]."""
  return _contract(cotangent, x, 0, 0, jnp.float32)


def _weight_gradient_on_cpu(cotangent, x):
  """The same, three times faster.

  XLA's bfloat16 kernel for CPUs contracts the last axis of the left side only,
  so the narrower side is turned first. A plain transpose would be folded into
  the product again; one made piece by piece in a loop is not.
  """
  pieces = _TURNED_PIECES
  swap = cotangent.shape[1] > x.shape[1]
  left, right = (x, cotangent) if swap else (cotangent, x)
  left, right = (a.reshape(pieces, -1, a.shape[1]) for a in (left, right))
  left = jax.lax.map(jnp.transpose, left)
  product = jax.lax.dot_general(
    left,
    right,
    (((2,), (1,)), ((0,), (0,))),
    preferred_element_type=jnp.float32,
  ).sum(0)
  return product.T if swap else product


def _contract(x, y, x_axis, y_axis, dtype):
  return jax.lax.dot_general(
    x, y, (((x_axis,), (y_axis,)), ((), ())), preferred_element_type=dtype
  )
