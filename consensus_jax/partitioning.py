"""Where arrays live: one mesh, and logical axis names mapped onto it.

Parameters and activations name their axes (`batch`, `embed`, `heads`, ...);
`RULES` says which mesh axes each name is split over. Everything runs under
`jax.jit` on a mesh with Auto axes; without a mesh every function here leaves
arrays alone, so one device needs no second code path.
"""

import math

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ('data', 'fsdp', 'tensor')

# Logical axis -> mesh axes it is split over. A name that is not here is an
# error, because a misspelt axis would otherwise be replicated in silence.
RULES: dict[str, tuple[str, ...]] = {
  'batch': ('data', 'fsdp'),
  # The batch where `fsdp` splits another axis of the same array.
  'replica': ('data',),
  'length': (),
  'vocab': ('tensor',),
  'embed': ('fsdp',),
  'mlp': ('tensor',),
  'heads': ('tensor',),
  'kv_heads': ('tensor',),
  'head_dim': (),
  'layers': (),
}


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
  """A mesh over the first `data * fsdp * tensor` devices.

  Raises:
    ValueError: if there are fewer devices than that.
  """
  needed, present = data * fsdp * tensor, jax.device_count()
  if needed > present:
    raise ValueError(
      f'a mesh of data={data} x fsdp={fsdp} x tensor={tensor} needs {needed} '
      f'devices, {present} are present'
    )
  return jax.make_mesh(
    (data, fsdp, tensor),
    MESH_AXES,
    axis_types=(AxisType.Auto,) * 3,
    devices=jax.devices()[:needed],
  )


def partition_spec(
  mesh: Mesh | jax.sharding.AbstractMesh,
  names: tuple[str | None, ...],
  shape: tuple[int, ...],
) -> PartitionSpec:
  """The spec of an array whose axes bear these logical names.

  An axis that its mesh axes do not divide stays whole: a prompt of one row
  under a mesh of eight, or three key-value heads over two tensor shards.

  Args:
    mesh: the mesh to place on.
    names: one logical name an axis; None leaves that axis whole.
    shape: the array's shape.

  Raises:
    ValueError: for a name without a rule, or a name count that is not the rank.
  """
  if len(names) != len(shape):
    raise ValueError(f'{len(names)} axis names {names} for shape {shape}')
  spec: list[tuple[str, ...] | None] = []
  for name, size in zip(names, shape):
    if name is not None and name not in RULES:
      raise ValueError(f'no partitioning rule for axis {name!r}: {list(RULES)}')
    axes = RULES[name] if name else ()
    shards = math.prod(mesh.shape[axis] for axis in axes)
    spec.append(axes if axes and size % shards == 0 else None)
  return PartitionSpec(*spec)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
  """Pins an activation's placement by logical names; no-op without a mesh."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  spec = partition_spec(mesh, names, x.shape)
  return jax.lax.with_sharding_constraint(x, spec)


def named_sharding(
  mesh: Mesh, names: tuple[str | None, ...], shape: tuple[int, ...]
) -> NamedSharding:
  """`partition_spec` bound to its mesh."""
  return NamedSharding(mesh, partition_spec(mesh, names, shape))
