"""Small models that write and score, and small groups, for rounds."""

import dataclasses
import functools

import tiny_models

from consensus_jax.data.records import JudgedDeliberation, Member, Question
from consensus_jax.language_model import LanguageModel
from consensus_jax.mediator import Mediator


@functools.cache
def model_of(name):
  """A model with a context long enough for prompts in letters."""
  model = tiny_models.load(name)
  return LanguageModel(
    config=dataclasses.replace(model.config, max_length=4096),
    params=tiny_models.unstacked(name),
    tokenizer=model.tokenizer,
    name=name,
    sha256=model.sha256,
    dtype='float32',
  )


@functools.cache
def mediator(policy='tiny_llama', reward_model='tiny_llama_reward'):
  return Mediator(model_of(policy), model_of(reward_model))


def group(name, opinions=('Yes, for all.', 'No. Who pays for them?')):
  return JudgedDeliberation(
    id=name,
    source='polis',
    group=name,
    question=Question(text=f'Should buses be free in {name}?'),
    members=tuple(
      Member(
        participant=f'{name}/{i}', opinion=text, opinion_provenance='comments'
      )
      for i, text in enumerate(opinions)
    ),
  )
