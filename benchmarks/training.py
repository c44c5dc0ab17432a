"""A reward-model step against PyTorch's, and what sharing a prefix saves.

`python training.py [--torch-python PYTHON] [--rounds 5]`

Programs run side by side and take turns, one step each a round, so that a busy
machine slows all of them; the first step of each, which compiles, is not
counted. PYTHON has torch and transformers installed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
STATEMENTS = (40, 60, 100)
PREFIX = 200


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--torch-python', default=sys.executable)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--only', choices=('torch', 'prefix'))
  arguments = parser.parse_args()
  load = os.getloadavg()[0]
  print(f'{os.cpu_count()} cores, load {load:.1f} at the start')
  if arguments.only != 'prefix':
    against_torch(arguments.torch_python, arguments.rounds)
  if arguments.only != 'torch':
    shared_prefix(arguments.rounds)


def against_torch(torch_python: str, rounds: int) -> None:
  print('\n### 8 pairs of 256 tokens, all weights, AdamW, bfloat16\n')
  ours = ['run_training.py', '0', '0', '256,256', '8']
  programs = {
    'consensus_jax': [sys.executable, *ours],
    'PyTorch, autocast': [torch_python, 'run_torch_training.py'],
  }
  report(in_turns(programs, rounds), 'PyTorch, autocast')


def shared_prefix(rounds: int) -> None:
  print(f'\n### 4 statements after a prefix of {PREFIX} tokens, 4 members\n')
  for length in STATEMENTS:
    lengths = ','.join([str(length)] * 4)
    programs = {
      f'{length} tokens, {name}': [
        sys.executable,
        'run_training.py',
        str(PREFIX),
        flag,
        lengths,
        '4',
      ]
      for name, flag in (('shared', '1'), ('separate', '0'))
    }
    report(in_turns(programs, rounds), f'{length} tokens, separate')


def in_turns(programs: dict, rounds: int) -> dict:
  """Each program's steps: [{'seconds', 'peak_bytes', 'loss'}]."""
  running = {
    name: subprocess.Popen(
      command,
      cwd=HERE,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for name, command in programs.items()
  }
  steps: dict[str, list] = {name: [] for name in programs}
  try:
    for number in range(rounds + 1):
      for name, process in running.items():
        process.stdin.write('\n')
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
          raise RuntimeError(f'{name} ended with {process.wait()}')
        steps[name].append(json.loads(line))
        seconds = steps[name][-1]['seconds']
        clock = time.strftime('%H:%M:%S')
        print(f'[{clock}] {number} {name}: {seconds:.2f} s', file=sys.stderr)
  finally:
    for process in running.values():
      process.stdin.close()
      process.wait()
  return {name: found[1:] for name, found in steps.items()}


def report(steps: dict, peer: str) -> None:
  print('| program | seconds | range | ratio | CPU seconds | ratio | peak GB |')
  print('|---|---|---|---|---|---|---|')
  for name, found in steps.items():
    times = [step['seconds'] for step in found]
    cells = [f'{min(times):.2f} to {max(times):.2f}']
    for kind in ('seconds', 'cpu_seconds'):
      ours = [step[kind] for step in found]
      # Round by round: what slows the machine slows neighbours in time alike.
      ratios = [x / step[kind] for x, step in zip(ours, steps[peer])]
      cells.insert(
        len(cells) - (kind == 'seconds'), f'{statistics.median(ours):.2f}'
      )
      cells.append(f'{statistics.median(ratios):.2f}')
    cells.append(f'{found[-1]["peak_bytes"] / 1e9:.1f}')
    print('| ' + ' | '.join([name, *cells]) + ' |')


if __name__ == '__main__':
  main()
