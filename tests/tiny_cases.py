"""Cases and models of evaluation that tests make up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import tiny_models

from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.evaluation.cases import Case
from consensus_jax.language_model import LanguageModel
from consensus_jax.model import transformer


def case(participant='p', conversation='c', opinion='o', votes=(1, -1), **kw):
  count = range(len(votes))
  return Case(
    conversation=conversation,
    participant=participant,
    question='Q?',
    opinion=opinion,
    statements=kw.pop('statements', tuple(f'text {i}' for i in count)),
    votes=tuple(votes),
    statement_ids=tuple(f's{i}' for i in count),
    **kw,
  )


def random_cases(rng, people=15, most=9):
  found = []
  for i in range(people):
    count = int(rng.integers(1, most))
    votes = rng.choice([-1, 1], count).tolist()
    texts = tuple('x' * int(n) for n in rng.integers(1, 6, count))
    found.append(case(f'p{i}', f'c{i % 3}', votes=votes, statements=texts))
  return found


def conversation(seed=0, people=30, statements=24, name='town'):
  """Most people voted on most statements; opinions quote one of them."""
  rng = np.random.default_rng(seed)
  return JudgedDeliberation(
    id=name,
    source='polis',
    question=Question(text='What now?'),
    statements=tuple(
      Statement(text=f'We want number {i}.', id=f's{i}', author=f'p{i}')
      for i in range(statements)
    ),
    members=tuple(
      Member(
        participant=f'p{i}',
        opinion=f'We want number {(i + 1) % statements}. Certainly.',
        judged=tuple(range(statements)),
        votes=tuple(
          vote if rng.random() < 0.8 else None
          for vote in rng.choice([-1, 0, 1], statements).tolist()
        ),
      )
      for i in range(people)
    ),
  )


def language_model(name, *, stacked=False):
  found = tiny_models.load(name)
  params = jax.tree.map(jnp.asarray, found.params)
  if not stacked:
    params = transformer.unstack_layers(params)
  config = dataclasses.replace(found.config, max_length=2048)
  return LanguageModel(config, params, found.tokenizer, name, 'sha', 'float32')


def loading_longer():
  """`LanguageModel.load` of models that read more than theirs say.

  Tiny ones read less than a prompt has tokens.
  """
  load = LanguageModel.load

  def longer(path, dtype=None):
    model = load(path, dtype)
    config = dataclasses.replace(model.config, max_length=8192)
    return dataclasses.replace(model, config=config)

  return longer
