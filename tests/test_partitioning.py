import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from consensus_jax import partitioning
from consensus_jax.model import transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.masks import Segments
from consensus_jax.partitioning import make_mesh, partition_spec


def test_a_mesh_has_its_axes_in_order():
  mesh = make_mesh(data=2, fsdp=1, tensor=4)
  assert mesh.shape == {'data': 2, 'fsdp': 1, 'tensor': 4}
  assert mesh.axis_names == partitioning.MESH_AXES
  assert set(mesh.axis_types) == {AxisType.Auto}
  assert make_mesh().size == 1
  # Fewer than all devices: the first ones.
  assert make_mesh(fsdp=2).devices.ravel().tolist() == jax.devices()[:2]


def test_refuses_a_mesh_of_more_devices_than_there_are():
  with pytest.raises(ValueError, match='needs 16 devices, 8 are present'):
    make_mesh(data=2, fsdp=2, tensor=4)


@pytest.mark.parametrize(
  'names, shape, expected',
  [
    (('vocab', 'embed'), (8, 4), (('tensor',), ('fsdp',))),
    (('batch', 'length', None), (4, 7, 3), (('data', 'fsdp'), None, None)),
    # Four shards of a batch do not divide two rows, or six.
    (('batch', 'length'), (2, 8), (None, None)),
    (('batch', 'length'), (6, 8), (None, None)),
    (('kv_heads', 'head_dim'), (3, 8), (None, None)),
    (('kv_heads', 'head_dim'), (4, 8), (('tensor',), None)),
    # None leaves an axis whole that could be split.
    ((None, 'mlp'), (8, 8), (None, ('tensor',))),
    ((), (), ()),
  ],
)
def test_axes_are_split_by_name_where_they_can_be(names, shape, expected):
  mesh = make_mesh(data=2, fsdp=2, tensor=2)
  assert partition_spec(mesh, names, shape) == PartitionSpec(*expected)


def test_every_rule_names_axes_of_the_mesh():
  mesh = make_mesh(data=2, fsdp=2, tensor=2)
  for name, axes in partitioning.RULES.items():
    assert set(axes) <= set(partitioning.MESH_AXES)
    spec = partition_spec(mesh, (name,), (8,))
    assert spec == PartitionSpec(axes or None)


def test_a_misspelt_axis_is_an_error():
  with pytest.raises(ValueError, match="'head'"):
    partition_spec(make_mesh(), ('head', 'embed'), (4, 4))


@pytest.mark.parametrize('names', [('embed',), ('embed', 'mlp', 'heads')])
def test_each_axis_needs_a_name(names):
  with pytest.raises(ValueError, match=r'shape \(4, 4\)'):
    partition_spec(make_mesh(), names, (4, 4))


def test_named_sharding_places_an_array():
  mesh = make_mesh(fsdp=2, tensor=4)
  x = np.arange(64.0).reshape(8, 8)
  sharding = partitioning.named_sharding(mesh, ('mlp', 'embed'), x.shape)
  assert sharding == NamedSharding(mesh, PartitionSpec('tensor', 'fsdp'))
  placed = jax.device_put(x, sharding)
  assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 4)}
  np.testing.assert_array_equal(placed, x)


def test_constrain_splits_under_a_mesh():
  mesh = make_mesh(data=4, tensor=2)

  @jax.jit
  def double(x):
    return partitioning.constrain(2 * x, 'batch', 'mlp')

  x = jnp.arange(32.0).reshape(8, 4)
  with jax.set_mesh(mesh):
    y = double(x)
  assert y.sharding.shard_shape(y.shape) == (2, 2)
  np.testing.assert_array_equal(y, 2 * x)


def test_constrain_leaves_alone_what_has_no_mesh():
  x = jnp.ones((8, 4))
  assert partitioning.constrain(x, 'batch', 'mlp') is x


def test_constrain_refuses_misspelt_names_under_a_mesh():
  with jax.set_mesh(make_mesh(data=2)), pytest.raises(ValueError, match='bath'):
    jax.jit(lambda x: partitioning.constrain(x, 'bath'))(jnp.ones(4))


def test_a_training_step_holds_no_activation_of_all_rows():
  """Rows stay split by data and fsdp from the lookup to its gradient."""
  config = ModelConfig(
    vocab_size=256,
    num_layers=2,
    embed_dim=48,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=112,
    max_length=64,
  )
  mesh = make_mesh(2, 2, 2)
  shardings = transformer.param_shardings(config, mesh)
  params = jax.tree.map(
    lambda leaf, place: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=place
    ),
    transformer.abstract_params(config, jnp.dtype('float32')),
    shardings,
  )
  by_rows = NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))
  tokens = jax.ShapeDtypeStruct((8, 20), jnp.int32, sharding=by_rows)

  def loss(params, tokens):
    mask = Segments(jnp.ones((8, 20), jnp.int32))
    positions = jnp.arange(20)[None]
    x, _ = transformer.hidden(params, config, tokens, positions, mask)
    return jax.nn.log_softmax(transformer.logits(params, x))[..., 0].mean()

  with jax.set_mesh(mesh):
    step = jax.jit(jax.grad(loss), out_shardings=shardings)
    text = step.lower(params, tokens).compile().as_text()
  shapes = set(re.findall(r' f32\[([\d,]+)\]', text))
  # A quarter of the rows, or half of them with half of the embedding; half of
  # the vocabulary in the logits; half of the MLP and of the heads.
  assert {'2,20,48', '4,20,24', '2,20,128', '2,20,56'} <= shapes
  assert not [s for s in shapes if s.startswith(('8,20,', '160,'))]
  assert not [s for s in shapes if s.endswith((',256', ',112'))]
  kinds = {
    kind: len(re.findall(rf' {kind}(?:-start)?\(', text))
    for kind in ('all-gather', 'all-reduce', 'all-to-all')
  }
  # Weights are gathered layer by layer; a lookup is one exchange each way.
  assert 10 <= kinds['all-gather'] <= 40
  assert 5 <= kinds['all-reduce'] <= 30
  assert 1 <= kinds['all-to-all'] <= 4
