"""Reward-model steps with consensus_jax, as `training.py` asks for them.

`python run_training.py PREFIX SHARED LENGTHS ROWS [LAYERS]`: each line read is
one step of Bradley-Terry on SmolLM2-135M's shape, all weights, AdamW, bfloat16
products with float32 masters; each line printed is a JSON object with its
seconds and the peak of memory so far. LENGTHS, `256,256`, are the tokens of
each statement after PREFIX tokens; SHARED is 1 if a row holds the prefix once
and then all its statements, 0 if each travels with a prefix of its own.
"""

import ctypes
import json
import resource
import sys
import time

# Memory that a step gives back is kept for the next one. Otherwise the system
# clears gigabytes of pages in each step, which takes a third of its time.
_LIBC = ctypes.CDLL(None)
for option, value in ((-8, 1), (-4, 0), (-1, -1)):  # arenas, maps, trimming
  _LIBC.mallopt(option, value)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import training_job  # noqa: E402

from consensus_jax.model import transformer  # noqa: E402
from consensus_jax.model.config import ModelConfig  # noqa: E402
from consensus_jax.model.execution import Execution  # noqa: E402
from consensus_jax.model.masks import Segments  # noqa: E402


def main(
  prefix: str, shared: str, lengths: str, rows: str, layers: str = '30'
) -> None:
  config = ModelConfig(
    vocab_size=training_job.VOCAB,
    num_layers=int(layers),
    embed_dim=576,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    mlp_dim=1536,
    max_length=8192,
    rope_theta=1e5,
    reward_head=True,
  )
  sizes = [int(length) for length in lengths.split(',')]
  arguments = int(rows), sizes, int(prefix)
  if shared == '1':
    tokens = training_job.shared_rows(*arguments)
    ids = np.repeat(range(1, len(sizes) + 2), [int(prefix), *sizes])
    positions = np.concatenate(
      [np.arange(int(prefix)), *(int(prefix) + np.arange(n) for n in sizes)]
    )
    ends = (int(prefix) + np.cumsum(sizes) - 1)[None].repeat(len(tokens), 0)
  else:
    tokens = training_job.separate_rows(*arguments)
    ids = np.ones(tokens.shape[1])
    positions = np.arange(tokens.shape[1])
    ends = np.full((len(tokens), 1), tokens.shape[1] - 1)
  segments = Segments(
    jnp.asarray(np.broadcast_to(ids, tokens.shape), jnp.int32), shared == '1'
  )
  tokens = jnp.asarray(tokens, jnp.int32)
  optimizer = optax.adamw(1e-6)

  def loss(masters):
    params = transformer.cast_matrices(masters, jnp.dtype('bfloat16'))
    x, _ = transformer.hidden(
      params,
      config,
      tokens,
      jnp.asarray(positions)[None],
      segments,
      # With 'none', keeping activations costs more than making them again.
      execution=Execution(remat='dots'),
    )
    x = jnp.take_along_axis(x, jnp.asarray(ends)[..., None], axis=1)
    rewards = (x * params['reward_head']).sum(-1).reshape(int(rows), -1)
    # The first of each two is the better.
    return -jax.nn.log_sigmoid(rewards[:, ::2] - rewards[:, 1::2]).mean()

  def step(params, state):
    value, gradients = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, value

  init = jax.jit(transformer.init_params, static_argnums=0)
  params = init(config, jax.random.key(0))
  state = optimizer.init(params)
  step = jax.jit(step, donate_argnums=(0, 1))
  for _ in sys.stdin:
    start, spent = time.perf_counter(), time.process_time()
    params, state, value = step(params, state)
    jax.block_until_ready((params, value))
    seconds = time.perf_counter() - start
    spent = time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
      json.dumps(
        {
          'seconds': seconds,
          'cpu_seconds': spent,
          'loss': float(value),
          'peak_bytes': peak,
        }
      ),
      flush=True,
    )


if __name__ == '__main__':
  main(*sys.argv[1:])
