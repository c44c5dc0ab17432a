import dataclasses

import pytest
import tiny_models

from consensus_jax.model.config import RopeScaling

SCALING = RopeScaling(
  factor=8.0,
  low_frequency_factor=1.0,
  high_frequency_factor=4.0,
  original_max_length=64,
)


@pytest.mark.parametrize(
  'field, value',
  [
    ('vocab_size', 0),
    ('num_layers', -1),
    ('embed_dim', 1.5),
    ('mlp_dim', True),
    ('max_length', 0),
    ('num_kv_heads', 3),
    ('head_dim', 7),
    ('activation', 'relu'),
    ('norm_epsilon', 0.0),
    ('norm_epsilon', float('nan')),
    ('rope_theta', -1.0),
  ],
)
def test_refuses_what_no_decoder_can_be(field, value):
  # Past the check of types, which only runs in tests.
  values = dataclasses.asdict(tiny_models.SMALL) | {field: value}
  config = object.__new__(type(tiny_models.SMALL))
  for name, each in values.items():
    object.__setattr__(config, name, each)
  with pytest.raises(ValueError, match=field):
    config.__post_init__()


@pytest.mark.parametrize(
  'field, value',
  [
    ('factor', 0.5),
    ('factor', float('nan')),
    ('low_frequency_factor', 0.0),
    ('low_frequency_factor', 4.0),
    ('high_frequency_factor', 1.0),
    ('original_max_length', 0),
  ],
)
def test_refuses_impossible_scaling(field, value):
  with pytest.raises(ValueError, match=field):
    dataclasses.replace(SCALING, **{field: value})


@pytest.mark.slow
def test_counts_the_parameters_of_the_embedded_model():
  # As published: 134,515,008 parameters, embeddings counted once.
  config = tiny_models.load('smollm2').config
  assert config.num_parameters == 134_515_008
