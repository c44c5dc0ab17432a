"""The verbs of `consensus data` that ask a language model.

`generate_questions` writes new questions and `topics` groups them. They stand
above `data`, which knows no model. What is heavy is imported only when needed.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from consensus_jax.data.arguments import (
  add_out,
  add_seed,
  add_verb,
  check_out,
  note,
  note_all,
)
from consensus_jax.strict_json import InputError


def add_verbs(verbs: Any) -> None:
  """Adds them to the verbs of `consensus data`."""
  generate = add_verb(
    verbs, 'generate_questions', 'write new debate questions', _generate
  )
  generate.add_argument(
    '--num', type=int, required=True, metavar='N', help='how many'
  )
  generate.add_argument(
    '--known',
    action='append',
    default=[],
    metavar='BANK',
    help='a bank of questions that must not come again; repeat it',
  )
  topics = add_verb(verbs, 'topics', 'group questions by topic', _topics)
  topics.add_argument('file', metavar='BANK', help='a bank of questions, JSON')
  topics.add_argument(
    '--num_topics', type=int, required=True, metavar='K', help='how many'
  )
  topics.add_argument(
    '--hold_out',
    action='store_true',
    help='put a tenth of the topics into ood_test, and a tenth of the '
    "others' questions into iid_test",
  )
  for verb in (generate, topics):
    verb.add_argument(
      '--model',
      metavar='PATH',
      help='a Hugging Face folder or a GGUF file; the embedded model by '
      'default',
    )
    add_seed(verb)
    add_out(verb, what='a bank of questions, JSON')


def _generate(args: argparse.Namespace) -> int:
  from consensus_jax.data import progress, question_generator, questions

  if args.num < 1:
    raise InputError(f'must be at least 1, got {args.num}', field=('--num',))
  _check_seed(args.seed)
  check_out(args.out, *args.known)
  known = [each.text for path in args.known for each in questions.read(path)]
  write = _writer(_load(args.model))
  with progress.shown('Writing questions', 'questions') as told:
    made = question_generator.generate(
      write, args.num, seed=args.seed, known=known, progress=told
    )
  note_all((), made.exclusions)
  if not made.questions:
    raise InputError(f'none of {made.num_calls} texts is a new question')
  questions.write(args.out, made.questions)
  note(f'{args.out}: {len(made.questions)} of {made.num_calls} texts')
  return 0 if len(made.questions) == args.num else 1


def _topics(args: argparse.Namespace) -> int:
  import collections
  import dataclasses

  from consensus_jax.data import questions, topics

  _check_seed(args.seed)
  check_out(args.out, args.file)
  bank = questions.read(args.file)
  if not 0 < args.num_topics <= len(bank):
    raise InputError(
      f'must be from 1 to {len(bank)}, the number of questions',
      field=('--num_topics',),
    )
  if any(question.topic or question.split for question in bank):
    note(f'{args.file}: its topics and splits are replaced')
  # Splits that were made by other topics say nothing of these.
  bank = tuple(dataclasses.replace(q, topic='', split=None) for q in bank)
  model = _load(args.model)
  bank = topics.cluster(
    bank,
    lambda texts: _embed(model, texts),
    num_topics=args.num_topics,
    seed=args.seed,
  )
  if args.hold_out:
    bank = topics.hold_out(bank, seed=args.seed)
  questions.write(args.out, bank)
  sizes = collections.Counter(question.topic for question in bank).values()
  note(
    f'{args.out}: {len(bank)} questions on {len(sizes)} topics of '
    f'{min(sizes)} to {max(sizes)}'
  )
  return 0


def _check_seed(seed: int) -> None:
  if not 0 <= seed < 2**32:
    raise InputError(
      f'must be from 0 to {2**32 - 1}, got {seed}', field=('--seed',)
    )


def _load(path: str | None) -> Any:
  from consensus_jax import language_model
  from consensus_jax.inference import compute

  compute.keep_compilations()
  model = language_model.LanguageModel.load(path)
  note(f'{model.name}: loaded')
  return model


def _writer(model: Any) -> Any:
  """The model as `question_generator.generate` wants it."""
  from consensus_jax.data import question_generator
  from consensus_jax.inference import sampler
  from consensus_jax.interop.errors import ModelFileError

  sampling = sampler.Sampling(temperature=0.7, top_p=0.95, min_p=0.1)
  room = model.config.max_length - question_generator.MAX_TOKENS

  def write_one(prompt: str, seed: int) -> str:
    ids = [*model.tokenizer.bos_ids, *model.tokenizer.encode(prompt)]
    if len(ids) > room:
      raise ModelFileError(
        model.name,
        f'reads {model.config.max_length} tokens; a prompt has {len(ids)}, and '
        f'a question up to {question_generator.MAX_TOKENS}',
      )
    try:
      (written,) = sampler.sample(
        model.params,
        model.config,
        model.tokenizer,
        ids,
        num_candidates=1,
        max_tokens=question_generator.MAX_TOKENS,
        sampling=sampling,
        seed=seed,
        stop_strings=question_generator.STOP_STRINGS,
      )
    except FloatingPointError as error:
      raise ModelFileError(model.name, str(error)) from error
    return written.text

  def write(prompts: list[str], seeds: list[int]) -> list[str]:
    return [write_one(*each) for each in zip(prompts, seeds, strict=True)]

  return write


def _embed(model: Any, texts: Sequence[str]) -> Any:
  from consensus_jax.data import progress
  from consensus_jax.inference import embeddings

  ids = [model.tokenizer.encode(text) for text in texts]
  try:
    with progress.shown('Reading questions', 'questions') as told:
      return embeddings.embed(model.params, model.config, ids, progress=told)
  except ValueError as error:
    raise InputError(str(error)) from None
