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
    return _dense_adapted(x, weight, dtype, inputs)
  fan_in = math.prod(weight.shape[-inputs:])
  product = _product(
    (x.dtype, dtype), x.reshape(-1, fan_in), weight.reshape(-1, fan_in)
  )
  return product.reshape(*x.shape[:-inputs], *weight.shape[:-inputs])


def _dense_adapted(x, adapted, dtype, inputs):
  low = dense(x, adapted.a, dtype, inputs)
  weight, b = adapted.weight, adapted.b
  if jax.sharding.get_abstract_mesh().size > 1:
    # On a mesh the inputs may be divided, and the rank never is.
    return dense(x, weight, dtype, inputs) + dense(low, b, dtype)
  fan_in, rank = math.prod(weight.shape[-inputs:]), b.shape[-1]
  product = _joint_product(
    dtype,
    x.reshape(-1, fan_in),
    low.reshape(-1, rank),
    weight.reshape(-1, fan_in),
    b.reshape(-1, rank),
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
  return to_input, _to_weight(cotangent, x)


_product.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _joint_product(dtype, x, low, weight, b):
  """x W + low B as one product of [x low] and [W B].

  A product that contracts no more than the rank takes a CPU as long as that
  with the whole weight. The backward pass does not join the weights' gradients,
  since W's is rarely asked for.
  """
  return _joint_forward(dtype, x, low, weight, b)[0]


def _joint_forward(dtype, x, low, weight, b):
  joint = jnp.concatenate([x, low.astype(x.dtype)], 1).astype(weight.dtype)
  product = _contract(joint, jnp.concatenate([weight, b], 1), 1, 1, dtype)
  # Empty arrays carry the dtypes.
  return product, (joint, weight, b, x[:0], low[:0])


def _joint_backward(dtype, kept, cotangent):
  joint, weight, b, x, low = kept
  cotangent = cotangent.astype(weight.dtype)
  fan_in = weight.shape[1]
  both = _contract(
    cotangent, jnp.concatenate([weight, b], 1), 1, 0, jnp.float32
  )
  return (
    both[:, :fan_in].astype(x.dtype),
    both[:, fan_in:].astype(low.dtype),
    _to_weight(cotangent, joint[:, :fan_in]),
    _to_weight(cotangent, joint[:, fan_in:]),
  )


_joint_product.defvjp(_joint_forward, _joint_backward)


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


def _to_weight(cotangent, x):
  """The gradient of a weight, in the weight's dtype, which is that of `x`."""
  function = _weight_gradient
  mesh = jax.sharding.get_abstract_mesh()
  narrow = x.dtype != jnp.float32
  if narrow and mesh.size <= 1 and len(x) % _TURNED_PIECES == 0:
    function = functools.partial(
      jax.lax.platform_dependent,
      cpu=_weight_gradient_on_cpu,
      default=_weight_gradient,
    )
  return function(cotangent, x).astype(x.dtype)


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
