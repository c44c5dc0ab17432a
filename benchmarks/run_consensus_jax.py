"""Runs one job with consensus_jax; prints one JSON line.

`python run_consensus_jax.py generate|score REPEATS [CANDIDATES MEMBERS PROMPT]`
"""

import dataclasses
import json
import resource
import sys
import time

import jax.numpy as jnp
import job
import numpy as np

from consensus_jax.inference import compute
from consensus_jax.inference.sampler import Sampling, sample
from consensus_jax.inference.scorer import score
from consensus_jax.language_model import LanguageModel


def main(
  which: str,
  repeats: str,
  num_candidates: str = str(job.NUM_CANDIDATES),
  num_members: str = str(job.NUM_MEMBERS),
  prompt_tokens: str = str(job.PROMPT_TOKENS),
) -> None:
  compute.keep_compilations()
  model = LanguageModel.load(None)
  # Nothing ends a text early: every program writes the same number of tokens.
  tokenizer = dataclasses.replace(model.tokenizer, eos_ids=(-1,))
  prompt = job.prompt(int(prompt_tokens))
  members = job.members(int(num_members))
  candidates = job.candidates(int(num_candidates))
  head = jnp.asarray(
    np.random.default_rng(3).normal(size=model.config.embed_dim), jnp.float32
  )
  marks = {}

  def progress(done, total):
    marks.setdefault(done, time.perf_counter())

  def generate():
    marks.clear()
    sample(
      model.params,
      model.config,
      tokenizer,
      prompt,
      num_candidates=int(num_candidates),
      max_tokens=job.NEW_TOKENS,
      sampling=Sampling(temperature=job.TEMPERATURE, top_p=job.TOP_P),
      seed=0,
      progress=progress,
    )

  def rate():
    score(model.params, model.config, head, members, candidates)

  seconds, prefill = [], []
  for _ in range(int(repeats) + 1):
    start = time.perf_counter()
    generate() if which == 'generate' else rate()
    seconds.append(time.perf_counter() - start)
    prefill.append(marks.get(1, start) - start)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(
    json.dumps(
      {
        'total': seconds[1:],
        'prefill': prefill[1:],
        'first': seconds[0],
        'peak_bytes': peak,
        'dtype': model.dtype,
      }
    )
  )


if __name__ == '__main__':
  main(*sys.argv[1:])
