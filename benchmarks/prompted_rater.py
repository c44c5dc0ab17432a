"""How well the prompted rater tells what real people agree with.

`python benchmarks/prompted_rater.py FOLDER [CONVERSATION ...]`: FOLDER holds
Polis exports, one folder a conversation (`comments.csv`, `summary.csv`,
`participants-votes.csv`). For each participant who wrote comments and voted on
others', the comments are the opinion, and the rater scores statements that
this person agreed or disagreed with. Printed: the share of (agreed, disagreed)
pairs that it orders rightly, 0.5 being chance, with a 95% interval from
resampling participants.
"""

import argparse
import collections
import csv
import pathlib

import numpy as np

from consensus_jax import prompts
from consensus_jax.deliberation import Deliberation
from consensus_jax.mediator import Mediator
from consensus_jax.settings import PROMPTED_RATER

# At most this many of each vote for one participant.
_PER_VOTE = 4
_OWN_COMMENTS = 4
_MIN_WORDS = 6


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('conversation', nargs='*')
  parser.add_argument('--participants', type=int, default=20, help='of each')
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  names = args.conversation or sorted(p.name for p in args.folder.iterdir())
  rng = np.random.default_rng(args.seed)
  mediator = Mediator.from_pretrained(reward_model=PROMPTED_RATER)
  by_rater, by_length = [], []
  for name in names:
    cases = read(args.folder / name, args.participants, rng)
    for deliberation, agreed in cases:
      outcome = mediator.rank(deliberation)
      rewards = np.array([c.rewards[0] for c in outcome.candidates])
      lengths = np.array([len(t) for t in deliberation.candidates])
      by_rater.append(accuracy(rewards, agreed))
      by_length.append(accuracy(lengths, agreed))
    print(f'{name}: {len(cases)} participants', flush=True)
  print(f'prompted rater: {interval(by_rater, rng)}')
  print(f'longer statement: {interval(by_length, rng)}')


def read(folder: pathlib.Path, most: int, rng: np.random.Generator):
  """Participants as deliberations of one, and which statements they liked."""
  with (folder / 'comments.csv').open(newline='') as file:
    comments = {
      row['comment-id']: row
      for row in csv.DictReader(file)
      if row['moderated'] != '-1'
    }
  with (folder / 'participants-votes.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  with (folder / 'summary.csv').open(newline='') as file:
    topic = dict(row[:2] for row in csv.reader(file) if len(row) > 1)['topic']
  own = collections.defaultdict(list)
  for comment in comments.values():
    if len(comment['comment-body'].split()) >= _MIN_WORDS:
      own[comment['author-id']].append(comment['comment-body'])
  cases = []
  for i in rng.permutation(len(rows)):
    person = rows[i]['participant']
    votes = [
      [
        comment['comment-body']
        for key, comment in comments.items()
        if rows[i].get(key) == vote and comment['author-id'] != person
      ]
      for vote in ('1', '-1')
    ]
    if person not in own or not all(votes) or len(cases) == most:
      continue
    chosen = [
      text
      for texts in votes
      for text in rng.permutation(texts)[:_PER_VOTE].tolist()
    ]
    num_agreed = min(len(votes[0]), _PER_VOTE)
    record = {
      'question': topic or folder.name,
      'opinions': [' '.join(own[person][:_OWN_COMMENTS])],
      'candidates': [prompts.one_line(text) for text in chosen],
    }
    agreed = np.arange(len(chosen)) < num_agreed
    cases.append((Deliberation.from_json(record), agreed))
  return cases


def accuracy(scores: np.ndarray, agreed: np.ndarray) -> float:
  """Share of (agreed, disagreed) pairs in the right order; ties count half."""
  difference = scores[agreed][:, None] - scores[~agreed][None]
  return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def interval(values: list[float], rng: np.random.Generator) -> str:
  """Mean over participants with its bootstrap interval."""
  sample = np.array(values)
  draws = rng.integers(len(sample), size=(10_000, len(sample)))
  low, high = np.quantile(sample[draws].mean(1), [0.025, 0.975])
  return (
    f'{sample.mean():.3f} [{low:.3f}, {high:.3f}] '
    f'over {len(sample)} participants'
  )


if __name__ == '__main__':
  main()
