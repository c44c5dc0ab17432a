"""The schedule by hand, AdamW by hand, and what decays."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from consensus_jax.model import lora, transformer
from consensus_jax.model.config import ModelConfig
from consensus_jax.training import losses
from consensus_jax.training.optimizers import (
  OptimizerSettings,
  decays,
  learning_rate,
  make_optimizer,
)

SETTINGS = OptimizerSettings(
  learning_rate=0.1, num_steps=14, warmup_steps=4, final_fraction=0.2
)
CONFIG = ModelConfig(
  vocab_size=9,
  num_layers=2,
  embed_dim=4,
  num_heads=2,
  num_kv_heads=1,
  head_dim=2,
  mlp_dim=6,
  max_length=8,
  tied_embeddings=False,
  qkv_bias=True,
  qk_norm=True,
  reward_head=True,
)


def rates(steps=20, **changes):
  settings = dataclasses.replace(SETTINGS, **changes)
  return np.array([float(learning_rate(settings, i)) for i in range(steps)])


@pytest.mark.parametrize('schedule', ['constant', 'linear', 'cosine'])
def test_the_learning_rate_rises_in_equal_parts(schedule):
  found = rates(schedule=schedule)
  np.testing.assert_allclose(found[:4], [0.025, 0.05, 0.075, 0.1], rtol=1e-6)
  assert found.max() == pytest.approx(0.1)


def test_the_learning_rate_falls_as_the_schedule_says():
  np.testing.assert_allclose(rates(schedule='constant')[4:], 0.1, rtol=1e-6)
  progress = np.arange(10) / 9
  for schedule, fall in (
    ('linear', 1 - progress),
    ('cosine', (1 + np.cos(np.pi * progress)) / 2),
  ):
    found = rates(schedule=schedule)
    np.testing.assert_allclose(found[4:14], 0.1 * (0.2 + 0.8 * fall), rtol=1e-5)
    # The last step has what is left; whoever goes on keeps it.
    np.testing.assert_allclose(found[13:], 0.02, rtol=1e-5)


def test_a_run_of_warmup_alone_and_one_of_one_step():
  np.testing.assert_allclose(rates(14, warmup_steps=14)[-1], 0.1, rtol=1e-6)
  assert rates(1, warmup_steps=0, num_steps=1)[0] == pytest.approx(0.1)


def test_matrices_decay_and_nothing_else():
  params = transformer.abstract_params(CONFIG, jnp.dtype('float32'))
  params['cut_points'] = losses.initial_cut_points()
  params['adapters'] = jax.eval_shape(
    lambda key: lora.init(CONFIG, lora.LoraConfig(rank=2), key),
    jax.random.key(0),
  )
  flat = jax.tree_util.tree_leaves_with_path(decays(params))
  named = {'/'.join(key.key for key in path): decay for path, decay in flat}
  assert named.keys() == {
    '/'.join(key.key for key in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  }
  kept = {name for name, decay in named.items() if not decay}
  assert kept == {
    'final_norm',
    'reward_head',
    'cut_points',
    *(
      f'layers/{name}'
      for name in (
        'attention_norm',
        'mlp_norm',
        'query_norm',
        'key_norm',
        'query_bias',
        'key_bias',
        'value_bias',
      )
    ),
  }
  assert named['layers/up'] and named['adapters/query/a']


def by_hand(settings, params, gradients):
  """AdamW of Loshchilov and Hutter, algorithm 2, in float64."""
  params = {name: np.asarray(x, np.float64) for name, x in params.items()}
  mean = {name: np.zeros_like(x) for name, x in params.items()}
  square = {name: np.zeros_like(x) for name, x in params.items()}
  for step, gradient in enumerate(gradients):
    norm = np.sqrt(sum((x**2).sum() for x in gradient.values()))
    rate = rates(step + 1)[-1]
    for name, x in gradient.items():
      x = x * min(1, settings.max_norm / max(norm, 1e-9))
      b1, b2 = settings.beta1, settings.beta2
      mean[name] = b1 * mean[name] + (1 - b1) * x
      square[name] = b2 * square[name] + (1 - b2) * x**2
      ahead = mean[name] / (1 - b1 ** (step + 1))
      spread = np.sqrt(square[name] / (1 - b2 ** (step + 1)))
      decay = settings.weight_decay if name == 'up' else 0
      params[name] = params[name] - rate * (
        ahead / (spread + settings.epsilon) + decay * params[name]
      )
  return params


def test_steps_are_those_of_adamw_by_hand():
  settings = dataclasses.replace(
    SETTINGS, weight_decay=0.3, max_norm=2.0, epsilon=1e-3
  )
  rng = np.random.default_rng(0)
  params = {
    'up': rng.normal(size=(3, 2)).astype(np.float32),
    'mlp_norm': rng.normal(size=3).astype(np.float32),
  }
  gradients = [
    {name: rng.normal(size=x.shape) * size for name, x in params.items()}
    for size in (0.1, 5.0, 0.5, 100.0, 0.0)
  ]
  optimizer = make_optimizer(settings)
  found = jax.tree.map(jnp.asarray, params)
  state = optimizer.init(found)
  for gradient in gradients:
    gradient = jax.tree.map(
      functools.partial(jnp.asarray, dtype='float32'), gradient
    )
    updates, state = optimizer.update(gradient, state, found)
    found = optax.apply_updates(found, updates)
  expected = by_hand(settings, params, gradients)
  for name in params:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def test_without_a_limit_gradients_are_as_they_are():
  settings = dataclasses.replace(SETTINGS, max_norm=None, epsilon=1e6)
  params = {'up': jnp.zeros(2)}
  optimizer = make_optimizer(settings)
  updates, _ = optimizer.update(
    {'up': jnp.array([300.0, 400.0])}, optimizer.init(params), params
  )
  np.testing.assert_allclose(updates['up'], [-7.5e-6, -1e-5], rtol=1e-2)


@pytest.mark.parametrize(
  'change, words',
  [
    ({'num_steps': 0, 'warmup_steps': 0}, 'at least one step'),
    ({'warmup_steps': 15}, 'warmup_steps'),
    ({'learning_rate': -1.0}, 'learning_rate'),
    ({'learning_rate': float('nan')}, 'learning_rate'),
    ({'final_fraction': 1.5}, 'final_fraction'),
    ({'beta2': 1.0}, 'beta2'),
    ({'weight_decay': -0.1}, 'weight_decay'),
    ({'epsilon': 0.0}, 'epsilon'),
    ({'max_norm': 0.0}, 'max_norm'),
  ],
)
def test_settings_that_make_no_sense_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(SETTINGS, **change)


def test_settings_of_a_wrong_type_are_refused():
  # As gin sets them, which knows no types.
  for field, value in (('schedule', 'step'), ('num_steps', 2.5)):
    settings = dataclasses.replace(SETTINGS)
    object.__setattr__(settings, field, value)
    with pytest.raises(ValueError, match=field):
      settings.__post_init__()
