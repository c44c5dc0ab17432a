"""Topics of questions: clusters of embeddings, and what to hold out."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from consensus_jax.data.records import Question, Split
from consensus_jax.data.splits import unit_hash
from consensus_jax.strict_json import InputError

# Texts to rows of numbers, [texts, embed].
Embed = Callable[[Sequence[str]], np.ndarray]


def cluster(
  questions: Sequence[Question], embed: Embed, *, num_topics: int, seed: int
) -> tuple[Question, ...]:
  """The questions with topics, '0', '1', ... in the order they first come up.

  K-means on whitened embeddings (Su et al. 2021, arXiv 2103.15316): as they
  are, those of a language model differ most in a few directions that say more
  of the model than of the text.

  Args:
    questions: of any topics or none.
    embed: the sentence embedder.
    num_topics: how many clusters.
    seed: of the first centres.

  Raises:
    InputError: if there are fewer questions than topics.
  """
  import sklearn.cluster
  import threadpoolctl  # type: ignore[import-untyped]

  if not 0 < num_topics <= len(questions):
    raise InputError(
      f'{len(questions)} questions cannot have {num_topics} topics'
    )
  rows = embed([question.text for question in questions])
  # The centres, less their mean, span one direction less than there are.
  rows = whitened(rows, max(num_topics - 1, 1))
  k_means = sklearn.cluster.KMeans(num_topics, n_init=4, random_state=seed)
  # In one thread it adds up in one order; several would also wait on each
  # other for longer than they work.
  with threadpoolctl.threadpool_limits(1):
    labels = k_means.fit_predict(rows).tolist()
  names = {label: str(n) for n, label in enumerate(dict.fromkeys(labels))}
  return tuple(
    dataclasses.replace(question, topic=names[label])
    for question, label in zip(questions, labels, strict=True)
  )


def whitened(
  rows: Float[np.ndarray, 'texts embed'], num_directions: int
) -> Float[np.ndarray, 'texts directions']:
  """The rows in the directions in which they differ most, of length 1.

  In each direction they differ equally much. There are fewer directions where
  the rows span fewer.
  """
  rows = rows.astype(np.float64) - rows.mean(0)
  variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
  # From the largest on; what is left of equal rows is rounding.
  keep = np.flatnonzero(variances > 1e-9 * variances.max(initial=0))[::-1]
  keep = keep[:num_directions]
  rows = rows @ directions[:, keep] / np.sqrt(variances[keep])
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(lengths > 0, lengths, 1)


def hold_out(
  questions: Sequence[Question],
  *,
  seed: int,
  topics: float = 0.1,
  within: float = 0.1,
) -> tuple[Question, ...]:
  """The questions with splits: whole topics held out, and some of the others.

  Depends on the seed and on names alone, so that new questions move no others.

  Args:
    questions: each with a topic.
    seed: of the choice.
    topics: the share of topics that become `ood_test`.
    within: the share of the other topics' questions that become `iid_test`.

  Raises:
    InputError: for a question without topic.
  """

  def split(question: Question) -> Split:
    if unit_hash(seed, 'topic', question.topic) < topics:
      return 'ood_test'
    held_out = unit_hash(seed, 'question', question.text) < within
    return 'iid_test' if held_out else 'train'

  for question in questions:
    if not question.topic:
      raise InputError(f'{question.text!r} has no topic')
  return tuple(
    dataclasses.replace(question, split=split(question))
    for question in questions
  )
