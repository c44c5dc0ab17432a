"""Objectives against sequences of their own, and batches cut in pieces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from consensus_jax import partitioning
from consensus_jax.inference import scorer
from consensus_jax.model import transformer
from consensus_jax.model.execution import DEFAULT, Execution
from consensus_jax.training import losses, objectives
from consensus_jax.training.objectives import RewardSettings

CONFIG = dataclasses.replace(
  tiny_models.SMALL, num_kv_heads=4, qkv_bias=True, reward_head=True
)
NAN = np.nan


@functools.cache
def params_of(cut_points=False):
  params = tiny_models.random_params(CONFIG, seed=9)
  params['reward_head'] /= CONFIG.embed_dim**0.5
  if cut_points:
    params['cut_points'] = losses.initial_cut_points()
  return jax.tree.map(jnp.asarray, params)


def ids(rng, length):
  return rng.integers(0, CONFIG.vocab_size, length).tolist()


def reward_row(prefix, statements, levels, *, length, width, weight=1.0):
  """One row of a materialised set of kind 'reward'."""
  row = {
    name: np.zeros(length, np.int32)
    for name in ('tokens', 'segment_ids', 'positions')
  }
  ends = np.zeros(width, np.int32)
  at = 0
  for segment, tokens in enumerate([prefix, *statements], 1):
    part = slice(at, at + len(tokens))
    row['tokens'][part] = tokens
    row['segment_ids'][part] = segment
    start = 0 if segment == 1 else len(prefix)
    row['positions'][part] = start + np.arange(len(tokens))
    at += len(tokens)
    if segment > 1:
      ends[segment - 2] = at - 1
  padded = np.full(width, NAN, np.float32)
  padded[: len(levels)] = levels
  return row | {
    'ends': ends,
    'levels': padded,
    'weights': np.float32(weight),
  }


def stacked(rows):
  return {
    name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]
  }


def judged(seed=0):
  """Prefixes, statements and judgements of four members."""
  rng = np.random.default_rng(seed)
  members = []
  for lengths, levels, weight in (
    ([9, 5, 11, 3], [7, 2, 2, NAN], 1.0),
    ([4, 4, 4, 4], [3, 1, 6, 5], 0.5),
    ([1, 12], [2, 5], 0.25),
    ([6, 2, 7], [4, 4, 4], 1.0),  # says nothing on pairs
  ):
    prefix = ids(rng, rng.integers(3, 20))
    members.append((prefix, [ids(rng, n) for n in lengths], levels, weight))
  return members


EMPTY = ([], [], [], 0.0)


def shared_batch(members, length=64, width=4):
  """Four rows, or more, of which those without a member are empty."""
  return stacked(
    [
      reward_row(*member[:3], weight=member[3], length=length, width=width)
      for member in [*members, *[EMPTY] * (4 - len(members))]
    ]
  )


@functools.partial(jax.jit, static_argnames=('settings', 'execution'))
def loss_and_gradient(params, batch, settings, execution=DEFAULT):
  return jax.value_and_grad(objectives.reward_loss, has_aux=True)(
    params, CONFIG, batch, settings=settings, execution=execution
  )


rewards_of = jax.jit(objectives.rewards_of, static_argnums=1)


def one_by_one(params, members, width=4):
  """Rewards `[members, width]`, each statement in a row of its own."""
  sequences = [
    [*prefix, *statement]
    for prefix, statements, *_ in members
    for statement in statements
  ]
  length = max(map(len, sequences))
  tokens = np.array([x + [0] * (length - len(x)) for x in sequences])
  x, _ = transformer.hidden(
    params,
    CONFIG,
    jnp.asarray(tokens),
    jnp.arange(length)[None],
    transformer.causal_mask(length),
  )
  ends = np.array([len(sequence) - 1 for sequence in sequences])
  found = scorer.reward(x[np.arange(len(x)), ends], params['reward_head'])
  rows, columns = zip(
    *[(i, j) for i, member in enumerate(members) for j in range(len(member[1]))]
  )
  return jnp.zeros((len(members), width)).at[rows, columns].set(found)


def close(found, expected, **kwargs):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, **({'rtol': 0, 'atol': 1e-4} | kwargs)
    ),
    found,
    expected,
  )


def test_rewards_and_gradients_are_those_of_separate_sequences():
  members = judged()
  batch = shared_batch(members)
  settings = RewardSettings(centring=0.01, margin_scale=0.1)

  def separate(params):
    rewards = one_by_one(params, members)
    loss, counts = losses.bradley_terry(
      rewards, batch['levels'], margin_scale=0.1
    )
    loss += 0.01 * losses.centring(rewards, batch['levels'])
    loss = jnp.where(counts, batch['weights'] * loss, 0).sum()
    return loss, rewards

  compute = jax.jit(jax.value_and_grad(separate, has_aux=True))
  (expected, rewards), gradient = compute(params_of())
  present = np.asarray(batch['ends']) > 0
  found = rewards_of(params_of(), CONFIG, batch)
  close(np.asarray(found)[present], np.asarray(rewards)[present])
  (loss, sums), found = loss_and_gradient(params_of(), batch, settings)
  close(loss, expected)
  assert sums['weight'] == 1.75
  assert max(float(abs(x).max()) for x in jax.tree.leaves(gradient)) > 0.1
  close(found, gradient)


def test_rewards_are_those_of_the_scorer():
  members = judged(seed=1)
  found = rewards_of(params_of(), CONFIG, shared_batch(members))
  for row, (prefix, statements, *_) in zip(np.asarray(found), members):
    expected = scorer.score(
      params_of(), CONFIG, params_of()['reward_head'], [prefix], statements
    )
    close(row[: len(statements)], expected[:, 0])


@pytest.mark.parametrize('loss', ['bradley_terry', 'plackett_luce', 'ordinal'])
def test_pieces_add_up_to_the_batch(loss):
  settings = RewardSettings(loss=loss)
  params = params_of(cut_points=loss == 'ordinal')
  members = judged(seed=2)
  whole = loss_and_gradient(params, shared_batch(members), settings)
  pieces = [
    loss_and_gradient(params, shared_batch(part), settings)
    for part in (members[:2], members[2:])
  ]
  summed = jax.tree.map(jnp.add, *pieces)
  close(summed, whole, rtol=1e-5, atol=1e-5)
  (_, sums), gradient = whole
  assert sums['weight'] == (2.75 if loss == 'ordinal' else 1.75)
  if loss == 'ordinal':
    assert (np.asarray(gradient['cut_points']) != 0).all()


def test_padding_does_not_matter():
  members = judged(seed=3)
  settings = RewardSettings(loss='plackett_luce')
  batch = shared_batch(members)
  # An empty row is what fills a last batch up.
  wide = shared_batch([*members, EMPTY], length=96, width=6)
  close(
    loss_and_gradient(params_of(), wide, settings),
    loss_and_gradient(params_of(), batch, settings),
    rtol=1e-5,
    atol=1e-5,
  )


def test_sums_count_pairs_and_statements():
  members = judged(seed=4)
  batch = shared_batch(members)
  (_, sums), _ = loss_and_gradient(params_of(), batch, RewardSettings())
  rewards = np.asarray(rewards_of(params_of(), CONFIG, batch))
  pairs, right, judged_rewards = 0, 0, []
  for row, (_, _, levels, _) in zip(rewards, members):
    for i, level in enumerate(levels):
      judged_rewards += [] if np.isnan(level) else [row[i]]
      for j, other in enumerate(levels):
        if level > other:
          pairs += 1
          right += row[i] > row[j]
  assert pairs == 2 + 6 + 1
  assert sums['pairs'] == pairs
  assert sums['right_pairs'] == right
  assert sums['statements'] == len(judged_rewards) == 12
  assert sums['reward'] == pytest.approx(np.sum(judged_rewards), rel=1e-4)
  assert sums['squared_reward'] == pytest.approx(
    np.square(judged_rewards).sum(), rel=1e-4
  )


def test_rematerialisation_changes_nothing():
  batch = shared_batch(judged(seed=5))
  settings = RewardSettings()
  close(
    loss_and_gradient(params_of(), batch, settings, Execution(remat='full')),
    loss_and_gradient(params_of(), batch, settings),
    rtol=1e-5,
    atol=1e-5,
  )


@functools.partial(jax.jit, static_argnames='execution')
def sft(params, batch, execution=DEFAULT):
  return jax.value_and_grad(objectives.sft_loss, has_aux=True)(
    params, CONFIG, batch, execution=execution
  )


def sft_batch(examples, length=32):
  """Rows of packed examples: (ids of the prompt, ids of the statement)."""
  rows = []
  for row in examples:
    arrays = {
      name: np.zeros(length, np.int32)
      for name in ('tokens', 'targets', 'segment_ids', 'positions')
    }
    weights = np.zeros(length, np.float32)
    at = 0
    for segment, (prompt, statement) in enumerate(row, 1):
      tokens = [*prompt, *statement]
      part = slice(at, at + len(tokens) - 1)
      arrays['tokens'][part] = tokens[:-1]
      arrays['targets'][part] = tokens[1:]
      arrays['segment_ids'][part] = segment
      arrays['positions'][part] = np.arange(len(tokens) - 1)
      weights[at + len(prompt) - 1 : part.stop] = 1
      at = part.stop
    rows.append(arrays | {'loss_weights': weights})
  return stacked(rows)


def test_packed_examples_are_as_good_as_separate_ones():
  rng = np.random.default_rng(6)
  examples = [(ids(rng, 4), ids(rng, n)) for n in (3, 9, 1, 7)]
  batch = sft_batch([examples[:2], examples[2:], [], []])
  (loss, sums), gradient = sft(params_of(), batch)
  expected = 0.0
  for prompt, statement in examples:
    tokens = [*prompt, *statement]
    log_probs = tiny_models.plain_log_probs(params_of(), CONFIG, tokens[:-1])
    for i in range(len(prompt) - 1, len(tokens) - 1):
      expected -= log_probs[i, tokens[i + 1]]
  assert loss == pytest.approx(expected, rel=1e-5)
  assert sums['weight'] == 3 + 9 + 1 + 7
  assert 0 <= sums['right'] <= sums['weight']
  separate = sft(params_of(), sft_batch([[example] for example in examples]))
  close(((loss, sums), gradient), separate, rtol=1e-4, atol=1e-4)


def test_a_mesh_changes_nothing():
  params = params_of(cut_points=True)
  batch = shared_batch(judged(seed=7))
  settings = RewardSettings(loss='ordinal', centring=0.01)
  expected = loss_and_gradient(params, batch, settings)
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  shardings = transformer.param_shardings(CONFIG, mesh)
  shardings['cut_points'] = partitioning.named_sharding(
    mesh, settings.param_axes()['cut_points'], (6,)
  )
  rows = {
    name: partitioning.named_sharding(
      mesh, ('batch', *(None,) * (x.ndim - 1)), x.shape
    )
    for name, x in batch.items()
  }
  with jax.set_mesh(mesh):
    found = loss_and_gradient(
      jax.device_put(params, shardings), jax.device_put(batch, rows), settings
    )
  close(jax.device_get(found), expected, rtol=1e-5, atol=1e-5)


def test_settings_that_make_no_sense_are_refused():
  for arguments, words in (
    ({'margin_scale': -1.0}, 'margin_scale must be at least 0'),
    ({'centring': float('nan')}, 'centring must be at least 0'),
    ({'loss': 'ordinal', 'soft_ties': True}, "of loss='bradley_terry'"),
    ({'loss': 'plackett_luce', 'margin_scale': 0.1}, 'margin_scale'),
  ):
    with pytest.raises(ValueError, match=words):
      RewardSettings(**arguments)
  # As gin sets it, which knows no types.
  settings = RewardSettings()
  object.__setattr__(settings, 'loss', 'hinge')
  with pytest.raises(ValueError, match='loss must be one of'):
    settings.__post_init__()
  RewardSettings(loss='ordinal').check_judgement('agreement')
  RewardSettings().check_judgement('ranking')
  RewardSettings(loss='logistic').check_judgement('votes')
  with pytest.raises(ValueError, match="the examples hold 'votes'"):
    RewardSettings(loss='ordinal').check_judgement('votes')


def test_only_ordinal_regression_has_parameters_of_its_own():
  assert RewardSettings().initial_params() == {}
  settings = RewardSettings(loss='ordinal')
  params, axes = settings.initial_params(), settings.param_axes()
  assert params.keys() == axes.keys() == {'cut_points'}
  assert len(axes['cut_points']) == params['cut_points'].ndim
