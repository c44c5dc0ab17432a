"""Names of TPU slices and what their chips can do."""

import importlib.util

import pytest

from consensus_jax.strict_json import InputError
from consensus_jax.training import hardware, topologies


def test_a_name_gives_chips_and_their_arrangement():
  topology = topologies.parse('v5p:4x4x8')
  assert topology.num_chips == 128
  assert topology.chip.name == 'TPU v5p'
  assert topology.shape == (4, 4, 8)


@pytest.mark.parametrize(
  'name', ['v5p:4x4x7', 'v5e:4x4x4', 'v9:2x2', 'v5p', '']
)
def test_a_wrong_name_lists_the_right_ones(name):
  with pytest.raises(InputError, match='there is no topology') as error:
    topologies.parse(name)
  assert 'v5p: 2x2x1, 2x2x2' in str(error.value)
  assert 'v5e: 2x2, 2x4' in str(error.value)


@pytest.mark.parametrize(
  ('name', 'wraps'),
  [
    ('v5p:4x4x8', (True, True, True)),
    ('v5p:2x2x4', (False, False, False)),
    ('v5e:16x16', (True, True, False)),
    ('v5e:8x16', (False, True, False)),
    ('v5e:4x4', (False, False, False)),
  ],
)
def test_rings_close_in_cubes_and_whole_pods(name, wraps):
  assert topologies.parse(name).wraps == wraps


def test_a_clock_explains_the_peak():
  # Matrix units of 128 x 128, each place a product and a sum a cycle.
  units = {'v4': 8, 'v5e': 4, 'v5p': 8}
  for kind, chip in topologies.CHIPS.items():
    peak = units[kind] * 128 * 128 * 2 * chip.clock
    assert peak == pytest.approx(chip.peak, rel=0.03)
    assert chip.peak == hardware.peak_flops(chip.name)


def test_a_missing_compiler_is_named(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError, match=r'consensus_jax\[tpu\]'):
    topologies.prepare_environment()


def test_a_mesh_must_have_all_chips():
  with pytest.raises(InputError, match='has 8 chips, v5e:4x4 has 16'):
    topologies.make_mesh(topologies.parse('v5e:4x4'), fsdp=8)
