"""Attention against numpy, and what rotary positions promise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consensus_jax.model import attention
from consensus_jax.model.attention import KeyValues, Prefix
from consensus_jax.model.config import RopeScaling

attend = jax.jit(attention.attend)


def draw(rng, *shape):
  return rng.standard_normal(shape).astype(np.float32)


def keys_of(key, value):
  """From [rows, kv_heads, length, head_dim]: the one place that knows."""
  return KeyValues(jnp.swapaxes(key, 0, 1), jnp.swapaxes(value, 0, 1))


def by_length(keys):
  """[heads, length, head_dim], as a cache has it, to [length, heads, ...]."""
  return np.swapaxes(keys, 0, 1)


@pytest.mark.parametrize('length', [3, 512, 600, 1024, 1536])
def test_causal_attention_of_any_length(length):
  rng = np.random.default_rng(length)
  query = draw(rng, 2, length, 4, 8)
  key, value = draw(rng, 2, 2, length, 8), draw(rng, 2, 2, length, 8)
  mask = np.tri(length, dtype=bool)
  found = attend(query, keys_of(key, value), mask[None])
  for row in range(2):
    expected = tiny_models.plain_attention(
      query[row], by_length(key[row]), by_length(value[row]), mask
    )
    np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('mask_length', [1, 1024])
def test_long_queries_of_rows_that_see_different_keys(mask_length):
  """Blocks take their own part of a mask, and the whole of a shared one."""
  rng = np.random.default_rng(0)
  query = draw(rng, 2, 1024, 2, 4)
  key, value = draw(rng, 2, 1, 40, 4), draw(rng, 2, 1, 40, 4)
  mask = rng.random((2, mask_length, 40)) < 0.3
  mask[..., 7] = True
  ahead, seen = draw(rng, 2, 1, 1, 9, 4), np.ones((1, 9), bool)
  prefix = Prefix(keys_of(*ahead), jnp.asarray(seen))
  found = attend(query, keys_of(key, value), mask, prefix)
  for row in range(2):
    visible = np.broadcast_to(mask[row], (1024, 40))
    keys, values = (
      np.concatenate([by_length(a[0]), by_length(own[row])])
      for a, own in ((ahead[0], key), (ahead[1], value))
    )
    visible = np.concatenate([np.ones((1024, 9), bool), visible], axis=1)
    expected = tiny_models.plain_attention(query[row], keys, values, visible)
    np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-5)


@settings(max_examples=15)
@given(
  groups=st.integers(1, 3),
  rows=st.integers(1, 4),
  kv_heads=st.integers(1, 3),
  shared=st.integers(1, 3),
  length=st.sampled_from([1, 5]),
  ahead=st.sampled_from([1, 7]),
  own=st.sampled_from([1, 6]),
  scale=st.sampled_from([0.1, 1.0, 30.0]),
  seed=st.integers(0, 99),
)
@example(3, 4, 2, 3, 5, 7, 6, 30.0, 0)
def test_a_prefix_equals_keys_before_ones_own(
  groups, rows, kv_heads, shared, length, ahead, own, scale, seed
):
  rng = np.random.default_rng(seed)
  query = scale * draw(rng, groups * rows, length, kv_heads * shared, 4)
  key, value = draw(rng, 2, groups * rows, kv_heads, own, 4)
  before_key, before_value = draw(rng, 2, groups, kv_heads, ahead, 4)
  mask = rng.random((groups * rows, length, own)) < 0.5
  mask[..., 0] = True
  before_mask = rng.random((groups, ahead)) < 0.6  # also one without any
  found = attend(
    query,
    keys_of(key, value),
    mask,
    Prefix(keys_of(before_key, before_value), jnp.asarray(before_mask)),
  )
  for row in range(groups * rows):
    group = row // rows
    joined = np.concatenate(
      [np.broadcast_to(before_mask[group], (length, ahead)), mask[row]], axis=1
    )
    expected = tiny_models.plain_attention(
      query[row],
      by_length(np.concatenate([before_key[group], key[row]], axis=1)),
      by_length(np.concatenate([before_value[group], value[row]], axis=1)),
      joined,
    )
    np.testing.assert_allclose(found[row], expected, rtol=0, atol=2e-5)


def test_scores_far_apart_do_not_overflow():
  query = jnp.full((1, 1, 1, 4), 1e4)
  own = KeyValues(jnp.full((1, 1, 1, 4), 1e4), jnp.ones((1, 1, 1, 4)))
  before = KeyValues(jnp.full((1, 1, 1, 4), -1e4), jnp.full((1, 1, 1, 4), 9.0))
  seen = jnp.ones((1, 1, 1), bool)
  both = attention.attend(query, own, seen, Prefix(before, seen[0]))
  np.testing.assert_array_equal(both, jnp.ones((1, 1, 1, 4)))
  both = attention.attend(-query, own, seen, Prefix(before, seen[0]))
  np.testing.assert_array_equal(both, jnp.full((1, 1, 1, 4), 9.0))


def scaling(**kwargs):
  values = {
    'factor': 8.0,
    'low_frequency_factor': 1.0,
    'high_frequency_factor': 4.0,
    'original_max_length': 8192,
  }
  return RopeScaling(**values | kwargs)


def frequencies(**kwargs):
  """The rotary frequencies of a config, from the angles of position 1."""
  config = dataclasses.replace(tiny_models.SMALL, head_dim=64, **kwargs)
  sin, cos = attention.rope_tables(jnp.array([[1]]), config)
  return np.arctan2(sin, cos).squeeze().astype(np.float64)


def test_frequencies_are_powers_of_theta():
  expected = 10_000.0 ** -(np.arange(32) / 32)
  np.testing.assert_allclose(frequencies(), expected, rtol=1e-5)


@pytest.mark.parametrize('theta', [10_000.0, 500_000.0])
@pytest.mark.parametrize('factor', [1.0, 8.0, 32.0])
def test_scaling_keeps_high_frequencies_and_divides_low_ones(theta, factor):
  plain = frequencies(rope_theta=theta)
  stretched = frequencies(rope_theta=theta, rope_scaling=scaling(factor=factor))
  wavelength = 2 * np.pi / plain
  high, low = wavelength < 8192 / 4, wavelength > 8192
  assert high.any() and low.any() and not (high | low).all()
  np.testing.assert_array_equal(stretched[high], plain[high])
  np.testing.assert_allclose(stretched[low], plain[low] / factor, rtol=1e-5)
  between = ~(high | low)
  assert (stretched[between] <= plain[between] * (1 + 1e-6)).all()
  assert (stretched[between] * factor >= plain[between] * (1 - 1e-5)).all()
  # Frequencies keep their order.
  assert (np.diff(stretched) < 0).all()


@settings(max_examples=20)
@given(
  start=st.integers(0, 1000),
  apart=st.integers(0, 300),
  shift=st.integers(0, 1000),
  seed=st.integers(0, 99),
)
def test_scores_depend_on_distance_alone(start, apart, shift, seed):
  config = dataclasses.replace(tiny_models.SMALL, rope_scaling=scaling())
  pair = jnp.asarray(draw(np.random.default_rng(seed), 1, 2, 1, 8))

  def score(first, second):
    positions = jnp.array([[first, second]])
    turned = attention.rotate(pair, *attention.rope_tables(positions, config))
    np.testing.assert_allclose(  # a rotation keeps lengths
      jnp.linalg.norm(turned, axis=-1),
      jnp.linalg.norm(pair, axis=-1),
      rtol=1e-5,
    )
    return float((turned[0, 0] * turned[0, 1]).sum())

  near = score(start, start + apart)
  far = score(start + shift, start + shift + apart)
  assert near == pytest.approx(far, abs=2e-3)
  if apart:
    assert score(0, apart) != pytest.approx(score(0, 0), abs=1e-6)
