"""llama.cpp on the generation job, with the prompt's cache shared.

Run by `speed.py` in an environment that holds llama-cpp-python:
`python peer_llama_cpp.py MODEL.gguf PROMPT CANDIDATES NEW_TOKENS REPEATS` (all
but the first are numbers) prints one JSON line of seconds per repeat.
"""

import ctypes
import json
import resource
import sys
import time

import llama_cpp
import numpy as np


def _fill(batch, tokens, positions, sequences, wants_logits):
  batch.n_tokens = len(tokens)
  for i, token in enumerate(tokens):
    batch.token[i] = token
    batch.pos[i] = positions[i]
    batch.n_seq_id[i] = 1
    batch.seq_id[i][0] = sequences[i]
    batch.logits[i] = wants_logits[i]


def _sampler(seed):
  chain = llama_cpp.llama_sampler_chain_init(
    llama_cpp.llama_sampler_chain_default_params()
  )
  for link in (
    llama_cpp.llama_sampler_init_top_p(0.95, 1),
    llama_cpp.llama_sampler_init_temp(0.8),
    llama_cpp.llama_sampler_init_dist(seed),
  ):
    llama_cpp.llama_sampler_chain_add(chain, link)
  return chain


def main(path, prompt_tokens, candidates, new_tokens, repeats):
  prompt_tokens, candidates = int(prompt_tokens), int(candidates)
  new_tokens, repeats = int(new_tokens), int(repeats)

  @llama_cpp.llama_log_callback
  def quiet(level, text, user_data):
    del level, text, user_data

  llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
  llama_cpp.llama_backend_init()
  model_params = llama_cpp.llama_model_default_params()
  model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
  params = llama_cpp.llama_context_default_params()
  params.n_ctx = prompt_tokens + candidates * (new_tokens + 1) + 64
  params.n_batch = params.n_ubatch = 512
  params.n_seq_max = candidates
  params.n_threads = params.n_threads_batch = 2
  params.kv_unified = True
  context = llama_cpp.llama_init_from_model(model, params)
  vocab = llama_cpp.llama_model_get_vocab(model)
  vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
  memory = llama_cpp.llama_get_memory(context)
  rng = np.random.default_rng(0)
  prompt = rng.integers(100, vocab_size - 100, prompt_tokens).tolist()
  batch = llama_cpp.llama_batch_init(512, 0, 1)
  samplers = [_sampler(i) for i in range(candidates)]
  seconds = []
  for _ in range(repeats + 1):  # the first is a warm-up
    llama_cpp.llama_memory_clear(memory, True)
    start = time.perf_counter()
    for at in range(0, prompt_tokens, 512):
      piece = prompt[at : at + 512]
      last = [at + i == prompt_tokens - 1 for i in range(len(piece))]
      places = list(range(at, at + len(piece)))
      _fill(batch, piece, places, [0] * len(piece), last)
      assert llama_cpp.llama_decode(context, batch) == 0
    at = batch.n_tokens - 1
    chosen = [llama_cpp.llama_sampler_sample(s, context, at) for s in samplers]
    prefilled = time.perf_counter()
    sampling = 0.0
    for sequence in range(1, candidates):
      llama_cpp.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
    for step in range(new_tokens - 1):
      _fill(
        batch,
        chosen,
        [prompt_tokens + step] * candidates,
        list(range(candidates)),
        [True] * candidates,
      )
      assert llama_cpp.llama_decode(context, batch) == 0
      # The first look at the logits waits for the computation.
      llama_cpp.llama_get_logits(context)
      drawing = time.perf_counter()
      chosen = [
        llama_cpp.llama_sampler_sample(s, context, i)
        for i, s in enumerate(samplers)
      ]
      sampling += time.perf_counter() - drawing
    end = time.perf_counter()
    seconds.append((end - start, prefilled - start, sampling))
  total, prefill, drawn = zip(*seconds[1:])
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  result = {'total': total, 'prefill': prefill, 'sampling': drawn}
  print(json.dumps(result | {'peak_bytes': peak}))


if __name__ == '__main__':
  main(*sys.argv[1:])
