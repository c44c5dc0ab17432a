"""Judged deliberations as examples for a policy: a prompt and a statement.

The paper fine-tunes on statements of high quality, in the template of its
zero-shot prompt. That completion template is the default here, also for a model
with a chat template, and inference asks a fine-tuned policy in it: the prompt
is `prompts.policy_prompt` of the policy 'sft'. The chat form is the other
choice; who takes it has to ask in it, with `prompt_ids`.
"""

import dataclasses
import functools
import hashlib
import random
import statistics
from collections.abc import Iterable, Iterator, Sequence

from consensus_jax import prompts
from consensus_jax.data.example_settings import ExampleSettings, PromptForm
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import JudgedDeliberation, Member, Statement
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.overflow import fit
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SftExample:
  """A prompt and the statement that should follow it, as token ids.

  The statement ends with a token at which generation stops.
  """

  prompt: tuple[int, ...]
  statement: tuple[int, ...]


def prompt_ids(
  deliberation: Deliberation, tokenizer: Tokenizer, form: PromptForm
) -> list[int]:
  """Token ids of the prompt of a fine-tuned policy.

  Both forms hold no worked examples. The chat form does not begin the
  assistant's message: a fine-tuned policy knows how a statement begins.

  Args:
    deliberation: the question and opinions.
    tokenizer: of the policy.
    form: 'completion', the paper's template, or 'chat', the model's own.

  Raises:
    ModelFileError: if the model has no chat template for the chat form.
  """
  if form == 'completion':
    return prompts.policy_prompt(deliberation, tokenizer, 'sft')
  task = prompts.policy_text(deliberation)
  return tokenizer.encode_chat(prompts.chat_messages(task))


def statement_ids(
  text: str, tokenizer: Tokenizer, form: PromptForm
) -> list[int]:
  """Token ids of a statement after `prompt_ids`, with its end."""
  space = '' if form == 'chat' else ' '
  return [*tokenizer.encode(space + prompts.one_line(text)), end_id(tokenizer)]


def end_id(tokenizer: Tokenizer) -> int:
  """The token that a statement ends with; generation stops at it."""
  name = tokenizer.special_tokens.get('eos_token')
  index = None if name is None else tokenizer.token_id(name)
  if index is not None and index in tokenizer.eos_ids:
    return index
  return tokenizer.eos_ids[0]


def encode(
  records: Iterable[JudgedDeliberation],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  excluded: Tally,
) -> Iterator[SftExample]:
  """Examples of the statements that people judged to be good.

  The order of the opinions, and which of a large group they are, depends on
  the seed, the deliberation and the statement alone. A statement is never
  learned from the opinion of its own author.

  Args:
    records: the judged deliberations.
    tokenizer: of the policy.
    settings: what to learn, and how long a row is.
    excluded: counts what is left out or cut.
  """
  for record in records:
    for index, statement in enumerate(record.statements):
      name = f'{record.id}: statement {statement.id}'
      reason = _unfit(record, index, settings)
      if reason:
        excluded.add('statement', reason, name)
        continue
      members = _group(record, statement, settings)
      if not members:
        excluded.add('statement', 'nobody else wrote an opinion', name)
        continue
      example = _encode_one(
        record, statement, members, tokenizer, settings, excluded, name
      )
      if example:
        yield example


def _unfit(
  record: JudgedDeliberation, index: int, settings: ExampleSettings
) -> str:
  """Why the policy is not to learn a statement; '' if it is."""
  statement_round = record.statements[index].round
  if statement_round not in settings.rounds:
    return f'belongs to round {statement_round}'
  for field, least, above in (
    ('quality', settings.min_quality, True),
    ('agreement', settings.min_agreement, False),
    ('votes', settings.min_vote, False),
  ):
    if least is None:
      continue
    given = _judgements(record, field)[index]
    if not given:
      return f'nobody judged it: {field}'
    mean = statistics.fmean(given)
    if mean < least or (above and mean == least):
      compared = 'not above' if above else 'below'
      return f'mean of {field} is {compared} {least:g}'
  return ''


@functools.lru_cache(maxsize=8)
def _judgements(record: JudgedDeliberation, field: str) -> list[list[int]]:
  """What the members said about each statement."""
  given: list[list[int]] = [[] for _ in record.statements]
  for member in record.members:
    for index, value in zip(member.judged, getattr(member, field)):
      if value is not None:
        given[index].append(value)
  return given


def _group(
  record: JudgedDeliberation, statement: Statement, settings: ExampleSettings
) -> list[Member]:
  """The members whose opinions the prompt holds, in their order in it."""
  members = [
    member
    for member in record.members
    if member.opinion
    and member.opinion_provenance in settings.opinions
    and member.participant != statement.author
  ]
  rng = random.Random(seed_of(settings.seed, record.id, statement.id))
  return rng.sample(members, min(len(members), settings.max_opinions))


def seed_of(seed: int, *names: str) -> int:
  """A seed for one choice among many, the same wherever it is made."""
  key = '\0'.join([str(seed), *names]).encode()
  return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), 'big')


def _encode_one(
  record: JudgedDeliberation,
  statement: Statement,
  members: Sequence[Member],
  tokenizer: Tokenizer,
  settings: ExampleSettings,
  excluded: Tally,
  name: str,
) -> SftExample | None:
  deliberation = Deliberation(
    record.id,
    record.question.text,
    tuple(Opinion(m.participant, m.opinion) for m in members),
  )
  target = statement_ids(statement.text, tokenizer, settings.prompt)
  make_prompt = functools.partial(
    prompt_ids, tokenizer=tokenizer, form=settings.prompt
  )
  # The last token is only a target and takes no place in the row.
  room = settings.row_length + 1 - len(target)
  cut: Sequence[object] = ()
  prompt = make_prompt(deliberation)
  if len(prompt) > room and settings.long_examples == 'truncate':
    try:
      fitted, cut = fit(deliberation, make_prompt, tokenizer, room, 'truncate')
      prompt = make_prompt(fitted)
    except InputError:
      pass  # Not even one token of each opinion fits.
  if len(prompt) > room:
    reason = f'longer than {settings.row_length} tokens with its prompt'
    excluded.add('statement', reason, name)
    return None
  reason = f'cut to fit into {settings.row_length} tokens'
  excluded.add('end of an opinion', reason, name, len(cut))
  return SftExample(tuple(prompt), tuple(target))
