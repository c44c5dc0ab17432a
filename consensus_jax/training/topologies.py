"""TPU slices by name: what a chip can do, and devices to compile for.

With the package `libtpu` the TPU compiler runs on any machine. It is asked
for a slice, such as `v5p:4x4x8`, and compiles for it as if it were there.
"""

import dataclasses
import importlib.util
import os

import jax
import numpy as np
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from consensus_jax import partitioning
from consensus_jax.strict_json import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """One chip, from its vendor's tables.

  Attributes:
    name: as people say it.
    memory: bytes of high-bandwidth memory.
    bandwidth: bytes a second between memory and the chip.
    peak: bfloat16 operations a second; a multiplication and its addition are
      two.
    clock: cycles a second of the matrix units: peak / (2 * 128 * 128 * units).
    interconnect: bytes a second that it takes in from its neighbours, over all
      links: half of the vendor's figure for both directions.
    shapes: of slices.
    source: where the numbers are from, read in November 2026.
  """

  name: str
  memory: int
  bandwidth: float
  peak: float
  clock: float
  interconnect: float
  shapes: tuple[str, ...]
  source: str


_TORUS_SHAPES = (
  '2x2x1',
  '2x2x2',
  '2x2x4',
  '2x4x4',
  '4x4x4',
  '4x4x8',
  '4x8x8',
  '8x8x8',
  '8x8x16',
  '8x16x16',
  '16x16x16',
)
_GRID_SHAPES = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_DOCUMENTATION = 'https://cloud.google.com/tpu/docs/'

CHIPS: dict[str, Chip] = {
  'v4': Chip(
    name='TPU v4',
    memory=32 * 2**30,
    bandwidth=1200e9,
    peak=275e12,
    clock=1.05e9,
    interconnect=300e9,
    shapes=_TORUS_SHAPES,
    source=_DOCUMENTATION + 'v4',
  ),
  'v5e': Chip(
    name='TPU v5e',
    memory=16 * 2**30,
    bandwidth=819e9,
    peak=197e12,
    clock=1.5e9,
    interconnect=200e9,
    shapes=_GRID_SHAPES,
    source=_DOCUMENTATION + 'v5e',
  ),
  'v5p': Chip(
    name='TPU v5p',
    memory=95 * 2**30,
    bandwidth=2765e9,
    peak=459e12,
    clock=1.75e9,
    interconnect=600e9,
    shapes=_TORUS_SHAPES,
    source=_DOCUMENTATION + 'v5p',
  ),
}

# What the TPU runtime would ask its surroundings for; without it, it waits.
_ENVIRONMENT = {
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_ACCELERATOR_TYPE': 'v5p-8',
  # Nothing is run, so several may compile at a time.
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """A slice: chips of one kind, in a torus or grid.

  Attributes:
    name: such as 'v5p:4x4x8'.
    chip: what it is made of.
    shape: chips along each axis.
  """

  name: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def num_chips(self) -> int:
    """Chips in the slice."""
    return int(np.prod(self.shape))

  @property
  def wraps(self) -> tuple[bool, bool, bool]:
    """Along which of three axes the last chip is linked with the first.

    v4 and v5p are made of cubes of 4 x 4 x 4, linked through optical switches;
    of v5e only the axes of a whole pod of 16 x 16 close.
    """
    whole = 4 if len(self.shape) == 3 else 16
    cubes = all(size % whole == 0 for size in self.shape)
    wraps = [
      cubes if len(self.shape) == 3 else size % whole == 0
      for size in self.shape
    ]
    return (*wraps, *(False,) * (3 - len(wraps)))  # type: ignore[return-value]


def parse(name: str) -> Topology:
  """The slice of a name such as 'v5p:4x4x8'.

  Raises:
    InputError: if there is none, naming those there are.
  """
  kind, _, shape = name.partition(':')
  chip = CHIPS.get(kind)
  if chip is None or shape not in chip.shapes:
    known = '; '.join(
      f'{kind}: {", ".join(chip.shapes)}' for kind, chip in CHIPS.items()
    )
    raise InputError(
      f'there is no topology {name!r}. Write one as v5p:4x4x8. There are '
      f'{known}',
      field=('--topology',),
    )
  return Topology(name, chip, tuple(int(size) for size in shape.split('x')))


def prepare_environment() -> None:
  """Lets the TPU compiler start on a machine without a TPU.

  Call it before JAX computes anything.

  Raises:
    InputError: if the package `libtpu` is missing.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise InputError(
      'compiling for TPUs needs the package libtpu that fits this JAX: '
      "pip install 'consensus_jax[tpu]'"
    )
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  jax.config.update('jax_platforms', 'cpu')


def make_mesh(
  topology: Topology, *, data: int = 1, fsdp: int = 1, tensor: int = 1
) -> Mesh:
  """A mesh over all chips of a slice that need not exist.

  Logical axes are laid along the slice's own, so that neighbours on the mesh
  are neighbours on the wire where that can be.

  Raises:
    InputError: if the sizes do not multiply to the number of chips.
  """
  sizes = (data, fsdp, tensor)
  if int(np.prod(sizes)) != topology.num_chips:
    raise InputError(
      f'a mesh of data={data} x fsdp={fsdp} x tensor={tensor} has '
      f'{int(np.prod(sizes))} chips, {topology.name} has {topology.num_chips}'
    )
  described = topologies.get_topology_desc(
    platform='tpu',
    topology_name=topology.name,
    wrap=topology.wraps,
    # Both cores of a chip as one device, as jobs on real ones see them.
    chip_config_name=_config_name(topology),
  )
  devices = mesh_utils.create_device_mesh(
    sizes, described.devices, allow_split_physical_axes=True
  )
  return Mesh(
    devices, partitioning.MESH_AXES, axis_types=(AxisType.Auto,) * len(sizes)
  )


def _config_name(topology: Topology) -> str:
  return 'megacore' if len(topology.shape) == 3 else 'default'
