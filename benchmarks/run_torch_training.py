"""A reward-model step in PyTorch, as `training.py` asks for it.

`python run_torch_training.py`: each line read is one step of Bradley-Terry on
8 pairs of 256 tokens, all weights, AdamW, bfloat16 autocast; each line printed
is a JSON object with its seconds and the peak of memory so far. The weights are
random, in SmolLM2-135M's shape: no product's time depends on their values.
"""

import json
import resource
import sys
import time

import torch
import training_job
import transformers


def main() -> None:
  torch.manual_seed(0)
  torch.set_num_threads(2)
  model = transformers.LlamaModel(
    transformers.LlamaConfig(
      vocab_size=training_job.VOCAB,
      hidden_size=576,
      intermediate_size=1536,
      num_hidden_layers=30,
      num_attention_heads=9,
      num_key_value_heads=3,
      max_position_embeddings=8192,
      rope_parameters={'rope_type': 'default', 'rope_theta': 1e5},
      use_cache=False,
      attn_implementation='sdpa',
    )
  )
  head = torch.nn.Linear(576, 1, bias=False)
  optimizer = torch.optim.AdamW(
    [*model.parameters(), *head.parameters()], lr=1e-6, fused=True
  )
  # Rows 2i and 2i + 1 are a pair, the first the better; none is padded, so
  # that no mask is needed and attention takes its fastest path.
  tokens = torch.tensor(training_job.separate_rows(8, [256, 256], 0))

  def step() -> float:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast('cpu', torch.bfloat16):
      x = model(input_ids=tokens).last_hidden_state[:, -1]
    rewards = head(x.float())[:, 0]
    loss = -torch.nn.functional.logsigmoid(rewards[::2] - rewards[1::2]).mean()
    loss.backward()
    optimizer.step()
    return loss.item()

  for _ in sys.stdin:
    start, spent = time.perf_counter(), time.process_time()
    loss = step()
    seconds = time.perf_counter() - start
    spent = time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
      json.dumps(
        {
          'seconds': seconds,
          'cpu_seconds': spent,
          'loss': loss,
          'peak_bytes': peak,
        }
      ),
      flush=True,
    )


if __name__ == '__main__':
  main()
