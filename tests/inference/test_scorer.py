"""The shared-prefix scorer against whole sequences, computed one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consensus_jax import partitioning
from consensus_jax.inference import scorer
from consensus_jax.inference.scorer import reward, score
from consensus_jax.model import transformer

CONFIG = dataclasses.replace(
  tiny_models.SMALL, num_kv_heads=4, qkv_bias=True, reward_head=True
)


@functools.cache
def params_of(unstacked=False):
  params = tiny_models.random_params(CONFIG, seed=9)
  params['reward_head'] /= CONFIG.embed_dim**0.5
  if unstacked:
    params = transformer.unstack_layers(params)
  return jax.tree.map(jnp.asarray, params)


def rewards_of(prefixes, continuations, unstacked=False, **kwargs):
  params = params_of(unstacked)
  head = params['reward_head']
  return score(params, CONFIG, head, prefixes, continuations, **kwargs)


def plain_rewards(prefixes, continuations):
  """Every pair as one sequence of its own, in float64."""
  params = params_of()
  head = np.asarray(params['reward_head'], np.float64)
  return np.array(
    [
      [
        tiny_models.plain_hidden(params, CONFIG, [*prefix, *candidate])[-1]
        @ head
        for prefix in prefixes
      ]
      for candidate in continuations
    ]
  )


def sequences(lengths, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.integers(0, 200, length).tolist() for length in lengths]


def close(found, expected, atol=1e-4):
  np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@settings(max_examples=12)
@given(
  prefixes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
  continuations=st.lists(st.integers(1, 40), min_size=1, max_size=20),
  seed=st.integers(0, 99),
)
@example([1], [1], 0)
@example([32, 33, 48, 49], [16, 17, 15, 1] * 5, 1)
def test_rewards_are_those_of_whole_sequences(prefixes, continuations, seed):
  prefixes = sequences(prefixes, seed)
  continuations = sequences(continuations, seed + 1)
  rewards = rewards_of(prefixes, continuations)
  assert rewards.dtype == np.float32
  expected = plain_rewards(prefixes, continuations)
  close(rewards, expected)


def test_layers_in_a_tuple_give_the_same_rewards():
  prefixes, candidates = sequences([30, 7]), sequences([20, 3], 1)
  rewards = rewards_of(prefixes, candidates, unstacked=True)
  close(rewards, plain_rewards(prefixes, candidates))


def test_rewards_tell_candidates_and_members_apart():
  """What the other tests compare is far more than their tolerance apart."""
  rewards = plain_rewards(sequences([30, 41, 12]), sequences([9, 8, 9, 30], 1))
  assert np.abs(np.diff(rewards, axis=0)).min() > 1e-2
  assert np.abs(np.diff(rewards, axis=1)).min() > 1e-2


def test_order_and_company_do_not_matter():
  prefixes, candidates = sequences([30, 7, 50]), sequences(range(1, 20), 1)
  rewards = rewards_of(prefixes, candidates)
  rng = np.random.default_rng(0)
  for size in (19, 11, 3, 1):
    chosen = rng.permutation(19)[:size]
    members = rng.permutation(3)[: rng.integers(1, 4)]
    some = rewards_of(
      [prefixes[i] for i in members], [candidates[i] for i in chosen]
    )
    close(some, rewards[chosen][:, members], atol=1e-5)


def test_equal_candidates_have_equal_rewards():
  candidate, *others = sequences([20, 5, 20, 33, 60, 9, 20, 20, 3, 4], 1)
  rewards = rewards_of(
    sequences([40]), [candidate, *others, candidate, candidate[:]]
  )
  close(rewards[-2:], np.broadcast_to(rewards[0], (2, 1)), atol=1e-5)


def test_what_a_member_says_does_not_change_the_others():
  prefixes, candidates = sequences([30, 31, 29]), sequences([9, 12, 30], 1)
  before = rewards_of(prefixes, candidates)
  prefixes[1] = sequences([31], seed=5)[0]
  after = rewards_of(prefixes, candidates)
  np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
  assert np.abs(after[:, 1] - before[:, 1]).min() > 1e-3
  # Nor does a text so long that all prefixes are padded to it.
  prefixes[1] = sequences([300], seed=5)[0]
  longer = rewards_of(prefixes, candidates)
  close(longer[:, [0, 2]], before[:, [0, 2]], atol=1e-5)


def test_a_nan_stays_with_its_member_and_candidate():
  params = params_of()
  embedding = params['embedding'].at[7].set(jnp.nan)
  prefixes, candidates = [[1, 2], [1, 7, 2]], [[3], [7], [4, 5]]
  rewards = score(
    {**params, 'embedding': embedding},
    CONFIG,
    params['reward_head'],
    prefixes,
    candidates,
  )
  expected = plain_rewards([[1, 2]], [[3], [4, 5]])
  close(rewards[[0, 2], :1], expected)
  assert np.isnan(rewards[1]).all() and np.isnan(rewards[:, 1]).all()


def test_the_reward_head_of_transformers():
  """Wherever prefix and candidate meet."""
  model = tiny_models.load('tiny_llama_reward')
  golden = tiny_models.golden('tiny_llama_reward', 'rewards.npz')
  head = jnp.asarray(model.params['reward_head'])
  ids = golden['input_ids'].tolist()
  for cut in (1, 12, 23):
    for row, expected in zip(ids, golden['rewards']):
      rewards = score(
        model.params, model.config, head, [row[:cut]], [row[cut:]]
      )
      close(rewards, expected[None, None])


def test_the_head_counts_in_float32():
  x = np.array([[1e4, 1.0, -1e4]], np.float32)
  head = jnp.array([1.0, 0.5, 1.0])
  assert reward(jnp.asarray(x), head).tolist() == [0.5]


def test_no_members_or_no_candidates_are_no_rewards():
  assert rewards_of([], [[1]]).shape == (1, 0)
  assert rewards_of([[1]], []).shape == (0, 1)


def test_progress_counts_rewards():
  steps = []
  rewards_of(
    sequences([3, 4]),
    sequences([2] * 9, 1),
    progress=lambda *step: steps.append(step),
  )
  counts = [done for done, _ in steps]
  assert counts == sorted(counts) and counts[-1] == 18
  assert {total for _, total in steps} == {18}


@pytest.mark.parametrize(
  'prefixes, continuations, message',
  [
    ([[1], []], [[1]], r'prefixes\[1\] has no tokens'),
    ([[1]], [[1], [2], []], r'continuations\[2\] has no tokens'),
    ([[1] * 2000], [[1] * 9, [1] * 50], 'context of 2048 by 2'),
    ([[1], [1] * 2048], [[1]], 'context of 2048 by 1'),
  ],
)
def test_refuses_what_cannot_be_scored(prefixes, continuations, message):
  with pytest.raises(ValueError, match=message):
    rewards_of(prefixes, continuations)


def test_the_whole_context_can_be_used():
  config = dataclasses.replace(CONFIG, max_length=50)
  prefixes, candidates = sequences([41, 3]), sequences([9, 2], 1)
  params = params_of()
  rewards = score(params, config, params['reward_head'], prefixes, candidates)
  close(rewards, plain_rewards(prefixes, candidates))


@pytest.mark.parametrize('mesh', [(8, 1, 1), (2, 1, 4), (2, 2, 2)], ids=str)
def test_every_mesh_scores_the_same(mesh):
  prefixes, candidates = sequences([30, 41]), sequences([9, 12, 30] * 4, 1)
  alone = rewards_of(prefixes, candidates)
  mesh = partitioning.make_mesh(*mesh)
  shardings = transformer.param_shardings(CONFIG, mesh)
  params = jax.device_put(params_of(), shardings)
  with jax.set_mesh(mesh):
    rewards = score(params, CONFIG, params['reward_head'], prefixes, candidates)
  close(rewards, alone, atol=2e-5)


def test_bfloat16_is_near_float32():
  model = tiny_models.load('tiny_llama_reward', 'bfloat16')
  golden = tiny_models.golden('tiny_llama_reward', 'rewards.npz')
  head = jnp.asarray(model.params['reward_head'])
  for row, expected in zip(golden['input_ids'].tolist(), golden['rewards']):
    rewards = score(model.params, model.config, head, [row[:9]], [row[9:]])
    assert 1e-6 < abs(rewards.item() - expected) < 0.1


def test_an_accelerator_compiles_less_and_says_the_same(monkeypatch):
  prefixes = sequences([5, 9, 14], seed=3)
  calls = [sequences([length] * 4, seed=length) for length in (3, 12, 40, 61)]

  def programs_and_rewards(backend):
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    before = scorer._continue._cache_size()
    found = [rewards_of(prefixes, each) for each in calls]
    return scorer._continue._cache_size() - before, found

  scorer._continue.clear_cache()
  on_cpu, expected = programs_and_rewards('cpu')
  scorer._continue.clear_cache()
  elsewhere, found = programs_and_rewards('gpu')
  assert (on_cpu, elsewhere) == (4, 1)
  for one, other in zip(found, expected, strict=True):
    close(one, other)
