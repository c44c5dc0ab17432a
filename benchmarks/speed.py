"""Speed and memory of the main job against named peers, in one table.

`make bench`, or in an environment with the `bench` extra:
`python benchmarks/speed.py [--repeats 3] [--scaling]`. Every program runs the
same job (job.py) with the same weights, the embedded model's, in a process of
its own; the programs take turns, so that a slow minute of the machine hits all
of them. What counts are the ratios of medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import job
import numpy as np

from consensus_jax.interop.pretrained import (
  find_embedded_model,
  load_pretrained,
  save_pretrained,
)

HERE = pathlib.Path(__file__).parent
EXAMPLE = HERE.parent / 'examples' / 'speed_limit.json'
TARGETS = {
  'generation': {'llama.cpp float16': 0.6, 'transformers float32': 0.2},
  'scoring': {'transformers bfloat16': 0.5},
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument(
    '--scaling',
    action='store_true',
    help='also how time grows with candidates, members and prompt length',
  )
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    compare(pathlib.Path(scratch), args.repeats, args.rounds)
    if args.scaling:
      scaling()
    end_to_end(pathlib.Path(scratch))


def compare(scratch: pathlib.Path, repeats: int, rounds: int) -> None:
  """Both jobs with every program, in turns."""
  note('writing the weights for the peers')
  folder, gguf = scratch / 'hugging_face', scratch / 'f16.gguf'
  save_pretrained(folder, load_pretrained(None, dtype=np.dtype('float32')))
  run('write_f16_gguf.py', str(find_embedded_model()), str(gguf))
  programs = {
    'generation': {
      'consensus_jax': ('run_consensus_jax.py', 'generate', repeats),
      'llama.cpp float16': (
        'run_llama_cpp.py',
        gguf,
        job.PROMPT_TOKENS,
        job.NUM_CANDIDATES,
        job.NEW_TOKENS,
        repeats,
      ),
      'transformers float32': (
        'run_transformers.py',
        folder,
        'generate',
        'float32',
        repeats,
      ),
    },
    'scoring': {
      'consensus_jax': ('run_consensus_jax.py', 'score', repeats),
      'transformers bfloat16': (
        'run_transformers.py',
        folder,
        'score',
        'bfloat16',
        repeats,
      ),
    },
  }
  bandwidth, rates = ceilings()
  for name, entries in programs.items():
    results: dict[str, list[dict]] = {program: [] for program in entries}
    for turn in range(rounds):
      for program, command in entries.items():
        note(f'{name}, round {turn + 1} of {rounds}: {program}')
        results[program].append(json.loads(run(*map(str, command))))
    show(name, results, TARGETS[name])
    dtype = results['consensus_jax'][0]['dtype']
    floors(name, results['consensus_jax'], dtype, bandwidth, rates[dtype])


def show(name: str, results: dict[str, list[dict]], targets: dict) -> None:
  """One table: seconds, their range, memory, and our share of the peer's."""

  def seconds(program):
    return [s for result in results[program] for s in result['total']]

  ours = statistics.median(seconds('consensus_jax'))
  dtype = results['consensus_jax'][0]['dtype']
  print(f'\n### {name}\n')
  print('| program | median s | range | prefill s | peak GB | ours / it |')
  print('|---|---|---|---|---|---|')
  for program, found in results.items():
    times = seconds(program)
    prefill = statistics.median(s for r in found for s in r['prefill'])
    peak = max(r.get('peak_bytes', 0) for r in found) / 1e9
    ratio = ours / statistics.median(times)
    target = f' (target {targets[program]})' if program in targets else ''
    label = f'{program} {dtype}' if program == 'consensus_jax' else program
    print(
      f'| {label} | {statistics.median(times):.2f} '
      f'| {min(times):.2f} to {max(times):.2f} '
      f'| {f"{prefill:.2f}" if prefill else ""} '
      f'| {f"{peak:.2f}" if peak else ""} | {ratio:.2f}{target} |'
    )
    drawing = [s for r in found for s in r.get('sampling', [])]
    if drawing:
      # Its sampler sorts the vocabulary on one core: what is the rest worth?
      alone = statistics.median(times) - statistics.median(drawing)
      print(
        f'| {program}, its sampling not counted | {alone:.2f} | | | '
        f'| {ours / alone:.2f} |'
      )


def floors(name, results, dtype, bandwidth, rate) -> None:
  """How far each stage is from what the machine could do at best."""
  config = load_pretrained(None, dtype=np.dtype('float32')).config
  embedding = config.vocab_size * config.embed_dim
  layers = config.num_parameters - embedding
  size = 2 if dtype == 'bfloat16' else 4
  total = statistics.median(s for r in results for s in r['total'])
  stages = []
  if name == 'generation':
    prefill = statistics.median(s for r in results for s in r['prefill'])
    steps = job.NEW_TOKENS - 1
    # A step reads every weight once and multiplies it with 16 vectors.
    by_bytes = size * (layers + embedding) / bandwidth
    by_rate = 2 * job.NUM_CANDIDATES * (layers + embedding) / rate
    stages = [
      ('prefill', prefill, 2 * job.PROMPT_TOKENS * layers / rate),
      ('decode', total - prefill, steps * max(by_bytes, by_rate)),
    ]
  else:
    prefixes = sum(map(len, job.members()))
    suffixes = job.NUM_MEMBERS * sum(map(len, job.candidates()))
    tokens = prefixes + suffixes
    stages = [('scoring', total, 2 * tokens * layers / rate)]
  print(
    f'\nFloor ({bandwidth / 1e9:.0f} GB/s read, {rate / 1e9:.0f} GFLOP/s '
    f'{dtype}): '
    + '; '.join(
      f'{stage} {floor:.2f} s, {seconds / floor:.1f} times that taken'
      for stage, seconds, floor in stages
    )
  )


def ceilings() -> tuple[float, dict[str, float]]:
  """Bytes a second read, and operations a second by dtype, as measured here."""
  note('measuring the machine')
  array = jnp.ones(2**27, jnp.float32)
  total = jax.jit(lambda x: x.reshape(2, -1, 1024).max(axis=(1, 2)))
  bandwidth = array.nbytes / best(lambda: total(array))
  rates = {}
  for dtype in ('float32', 'bfloat16'):
    # As wide as the model's own products, one after the other in the caches.
    weight = jnp.eye(576, dtype=dtype)

    @jax.jit
    def chain(x, weight=weight):
      for _ in range(32):
        x = jax.lax.dot_general(
          x,
          weight,
          (((1,), (1,)), ((), ())),
          preferred_element_type=jnp.float32,
        ).astype(weight.dtype)
      return x

    x = jnp.ones((1024, 576), dtype)
    seconds = best(lambda f=chain, x=x: f(x))
    rates[dtype] = 32 * 2 * 1024 * 576 * 576 / seconds
  return bandwidth, rates


def best(function, repeats: int = 10) -> float:
  """Least seconds of a few calls after a first one."""
  jax.block_until_ready(function())
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(function())
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def scaling() -> None:
  """How time grows along each axis, the others at the job's size."""
  c, m, p = job.NUM_CANDIDATES, job.NUM_MEMBERS, job.PROMPT_TOKENS
  sweeps = {
    'generation by candidates': [('generate', n, m, p) for n in (1, 4, 16, 64)],
    'generation by prompt tokens': [
      ('generate', c, m, n) for n in (100, 500, 2000, 6000)
    ],
    'scoring by candidates': [('score', n, m, p) for n in (1, 4, 16, 64)],
    'scoring by members': [('score', c, n, p) for n in (1, 5, 20, 100)],
  }
  varying = {'candidates': 1, 'tokens': 3, 'members': 2}
  print('\n### scaling\n\n| axis | seconds |\n|---|---|')
  for name, jobs in sweeps.items():
    place = varying[name.split()[-1]]
    cells = []
    for entry in jobs:
      note(f'{name}: {entry[place]}')
      which, *sizes = map(str, entry)
      result = json.loads(run('run_consensus_jax.py', which, '1', *sizes))
      cells.append(f'{entry[place]}: {statistics.median(result["total"]):.2f}')
    print(f'| {name} | {", ".join(cells)} |')


def end_to_end(scratch: pathlib.Path) -> None:
  """`consensus deliberate` on the shipped example, start to finish."""
  environment = os.environ | {'XDG_CACHE_HOME': str(scratch / 'cache')}
  print()
  for name, target in (('first time', 60), ('afterwards', 25)):
    note(f'consensus deliberate, {name}')
    start = time.perf_counter()
    subprocess.run(
      [sys.executable, '-m', 'consensus_jax', 'deliberate', EXAMPLE],
      check=True,
      capture_output=True,
      env=environment,
    )
    seconds = time.perf_counter() - start
    print(
      f'`consensus deliberate` on the shipped example, {name}: '
      f'{seconds:.1f} s (target {target})'
    )


def run(script: str, *arguments: str) -> str:
  """The last line that a script beside this one prints."""
  finished = subprocess.run(
    [sys.executable, str(HERE / script), *arguments],
    capture_output=True,
    text=True,
  )
  if finished.returncode:
    raise RuntimeError(f'{script} failed:\n{finished.stderr[-2000:]}')
  return (finished.stdout.strip().splitlines() or [''])[-1]


def note(text: str) -> None:
  """Progress, apart from the table."""
  print(f'[{time.strftime("%H:%M:%S")}] {text}', file=sys.stderr, flush=True)


if __name__ == '__main__':
  main()
