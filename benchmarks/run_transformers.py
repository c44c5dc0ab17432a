"""Runs one job with transformers on PyTorch; prints one JSON line.

`python run_transformers.py FOLDER generate|score float32|bfloat16 REPEATS`
"""

import copy
import json
import resource
import sys
import time

import job
import torch
import transformers


def generate(model, prompt):
  """Prefills once, repeats the cache for each candidate and decodes."""
  start = time.perf_counter()
  output = model(input_ids=torch.tensor([prompt]), use_cache=True)
  logits = output.logits[:, -1].expand(job.NUM_CANDIDATES, -1)
  cache = copy.deepcopy(output.past_key_values)
  cache.batch_repeat_interleave(job.NUM_CANDIDATES)
  prefilled = time.perf_counter()
  for step in range(job.NEW_TOKENS):
    probs = torch.softmax(logits.float() / job.TEMPERATURE, -1)
    ordered, order = probs.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= job.TOP_P, 0)
    chosen = order.gather(1, torch.multinomial(ordered, 1))
    if step + 1 < job.NEW_TOKENS:
      output = model(input_ids=chosen, past_key_values=cache, use_cache=True)
      logits = output.logits[:, -1]
  return prefilled - start


def score(model, members, candidates, head):
  """Every pair in full, in batches of like length, padded on the right."""
  pairs = sorted(
    (member + candidate for member in members for candidate in candidates),
    key=len,
  )
  for start in range(0, len(pairs), 16):
    batch = pairs[start : start + 16]
    longest = len(batch[-1])
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, pair in enumerate(batch):
      ids[row, : len(pair)] = torch.tensor(pair)
      mask[row, : len(pair)] = 1
    hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False)
    last = hidden.last_hidden_state[torch.arange(len(batch)), mask.sum(1) - 1]
    (last.float() @ head).tolist()


def main(folder: str, which: str, dtype: str, repeats: str) -> None:
  torch.manual_seed(0)
  torch.set_num_threads(2)
  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=getattr(torch, dtype)
  ).eval()
  head = torch.randn(model.config.hidden_size)
  seconds, prefill = [], []
  with torch.inference_mode():
    for _ in range(int(repeats) + 1):
      start = time.perf_counter()
      if which == 'generate':
        prefill.append(generate(model, job.prompt()))
      else:
        score(model, job.members(), job.candidates(), head)
        prefill.append(0.0)
      seconds.append(time.perf_counter() - start)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(
    json.dumps(
      {'total': seconds[1:], 'prefill': prefill[1:], 'peak_bytes': peak}
    )
  )


if __name__ == '__main__':
  main(*sys.argv[1:])
