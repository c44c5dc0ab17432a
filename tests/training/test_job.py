"""Where the head of a reward model starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from consensus_jax.model import transformer
from consensus_jax.model.lora import LoraConfig
from consensus_jax.model.masks import Segments
from consensus_jax.training import job, settings
from consensus_jax.training.optimizers import OptimizerSettings


def run(**changes):
  return settings.RewardRun(
    model_dir='unused',
    train_data='unused',
    optimizer=OptimizerSettings(learning_rate=1e-3, num_steps=1),
    num_steps=1,
    batch_size=1,
    **changes,
  )


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_llama_tied'])
@pytest.mark.parametrize('lora', [None, LoraConfig(rank=2, alpha=4.0)])
def test_a_head_of_vote_words_starts_as_tempered_log_odds(name, lora):
  model = tiny_models.load(name)
  params = jax.tree.map(jnp.asarray, model.params)
  words = 7, 11
  made = job.make_job(
    run(lora=lora, head='vote_words'),
    model.config,
    dtype=jnp.dtype('float32'),
    length=8,
    head_words=words,
  )
  trained, frozen = made.split(params, jax.random.key(0))
  tokens = jnp.array([model.tokenizer.encode('We need more buses.')])
  length = tokens.shape[1]
  positions = jnp.arange(length)[None]
  segments = jnp.ones_like(tokens)
  batch = {
    'tokens': tokens,
    'positions': positions,
    'segment_ids': segments,
    'ends': jnp.array([[length - 1]]),
  }
  reward = made.rewards(trained, frozen, batch)[0, 0]
  x, _ = transformer.hidden(
    params, model.config, tokens, positions, Segments(segments)
  )
  logits = transformer.logits(params, x)[0, -1]
  np.testing.assert_allclose(
    reward,
    job.WORDS_SCALE * (logits[words[0]] - logits[words[1]]),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_head_of_its_own_stays():
  model = tiny_models.load('tiny_llama')
  own = jnp.arange(model.config.embed_dim, dtype=jnp.float32)
  params = {**jax.tree.map(jnp.asarray, model.params), 'reward_head': own}
  made = job.make_job(
    run(),
    model.config,
    dtype=jnp.dtype('float32'),
    length=8,
    head_words=(1, 2),
  )
  trained, _ = made.split(params, jax.random.key(0))
  np.testing.assert_array_equal(trained['reward_head'], own)
