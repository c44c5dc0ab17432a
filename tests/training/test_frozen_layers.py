"""Activations in examples: the same rewards and gradients, of a model's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
import tiny_training

from consensus_jax.data import batches
from consensus_jax.model.lora import LoraConfig
from consensus_jax.strict_json import InputError
from consensus_jax.training import frozen_layers, settings
from consensus_jax.training.job import ACTIVATIONS, make_job
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings

FIRST = 1
FLOAT32 = jnp.dtype('float32')


@pytest.fixture(scope='module')
def model():
  return tiny_models.load('tiny_llama')


@pytest.fixture(scope='module')
def sets(tmp_path_factory, model):
  """Examples without and with activations."""
  folder = tmp_path_factory.mktemp('sets')
  tiny_training.reward_examples(folder / 'plain', num_examples=7)
  plain = batches.open_examples(folder / 'plain')
  frozen_layers.add_activations(
    plain, folder / 'more', model, FIRST, dtype=FLOAT32, rows=3
  )
  return plain, batches.open_examples(folder / 'more')


def test_everything_else_is_kept(sets):
  plain, more = sets
  assert more.num_examples == plain.num_examples == 7
  assert {*more.features} == {*plain.features, ACTIVATIONS}
  for name, feature in plain.features.items():
    np.testing.assert_array_equal(more.features[name], feature)
  assert more.meta['judgement'] == plain.meta['judgement']
  padding = plain.features['segment_ids'] == 0
  assert not more.features[ACTIVATIONS][padding].any()
  assert more.features[ACTIVATIONS].dtype == np.float16


def test_a_step_from_activations_is_that_from_tokens(model, sets):
  run = settings.RewardRun(
    model_dir='unused',
    train_data='unused',
    optimizer=OptimizerSettings(learning_rate=1e-3, num_steps=1),
    lora=LoraConfig(rank=2, alpha=4.0, first_layer=FIRST),
    num_steps=1,
    batch_size=7,
    objective=RewardSettings(),
  )
  config = dataclasses.replace(model.config, reward_head=False)
  length = sets[0].features['tokens'].shape[1]
  job = make_job(run, config, dtype=FLOAT32, length=length)
  params = jax.tree.map(jnp.asarray, model.params)
  trained, frozen = job.split(params, jax.random.key(0))
  # B starts at zero, and so would most gradients.
  trained = jax.tree.map(lambda x: x + 0.02, trained)
  results = []
  for examples in sets:
    batch = {
      name: jnp.asarray(np.asarray(x)) for name, x in examples.features.items()
    }
    (loss, _), gradient = jax.jit(
      jax.value_and_grad(job.loss_function, has_aux=True)
    )(trained, frozen, batch)
    results.append((loss, gradient, job.rewards(trained, frozen, batch)))
  (loss, gradient, rewards), found = results[0], results[1]
  np.testing.assert_allclose(found[0], loss, rtol=2e-3)
  here = ~np.isnan(sets[0].features['levels'])
  np.testing.assert_allclose(
    np.asarray(found[2])[here], np.asarray(rewards)[here], atol=5e-3
  )
  for one, other in zip(
    jax.tree.leaves(found[1]), jax.tree.leaves(gradient), strict=True
  ):
    np.testing.assert_allclose(one, other, atol=2e-2 * abs(other).max() + 1e-4)


def test_activations_of_another_model_or_layer_are_refused(model, sets):
  plain, more = sets
  frozen_layers.check(plain, 0, None)
  frozen_layers.check(more, FIRST, model.sha256)
  for first, sha in ((0, model.sha256), (FIRST, 'b' * 64), (FIRST, None)):
    with pytest.raises(InputError, match='this run needs those of'):
      frozen_layers.check(more, first, sha)


def test_examples_of_policies_have_none(tmp_path, model):
  tiny_training.sft_examples(tmp_path / 'sft', num_examples=2)
  examples = batches.open_examples(tmp_path / 'sft')
  with pytest.raises(InputError, match='not of reward models'):
    frozen_layers.add_activations(
      examples, tmp_path / 'more', model, FIRST, dtype=FLOAT32
    )


def test_activations_that_overflow_are_an_error(tmp_path, model, sets):
  huge = jax.tree.map(np.array, model.params)
  huge['embedding'] = huge['embedding'] * 1e9
  with pytest.raises(FloatingPointError, match='no finite float16'):
    frozen_layers.add_activations(
      sets[0],
      tmp_path / 'more',
      dataclasses.replace(model, params=huge),
      FIRST,
      dtype=FLOAT32,
    )
  assert not (tmp_path / 'more').exists()
