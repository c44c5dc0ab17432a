"""Simulated participants that a language model plays: what they think.

    groups = personas.draw_groups(asked, community, num_groups=8, seed=0)
    written = personas.write(model, groups, path='out/opinions.jsonl', ...)

A group is a question and people of a community, each with a leaning. A language
model is told who one of them is and writes what that person thinks of the
question, as the generative agents of Park et al. 2022 (Social Simulacra) do.
What they say is the model's idea of people, and no person's.
"""

import dataclasses
import json
import os
import pathlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from consensus_jax import prompts, strict_json
from consensus_jax.data.record_files import make_folder
from consensus_jax.data.sft_examples import seed_of
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.inference.sampler import Sampling, sample
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.language_model import LanguageModel
from consensus_jax.outcome_file import write_atomically
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer

SOURCE = 'personas'
# As likely as each other.
LEANINGS = ('is in favour', 'is against it', 'has doubts and conditions')
MAX_TOKENS = 96
# Draws of an opinion before the person is left without one.
_TRIES = 3

Report = Callable[[int, int | None], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Community:
  """Whom groups are drawn from.

  Attributes:
    description: of the community, a sentence or two.
    people: who lives there, a few words each, such as 'a nurse on nights'.

  Raises:
    InputError: if a text is empty, or a person stands there twice.
  """

  description: str
  people: tuple[str, ...]

  def __post_init__(self):
    strict_json.check_text(self.description, ('community',))
    for index, person in enumerate(self.people):
      strict_json.check_text(person, ('people', index))
      if person in self.people[:index]:
        raise InputError(
          f'{person!r} stands there twice', field=('people', index)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Persona:
  """One person of a group.

  Attributes:
    name: unique in its group: who they are.
    leaning: what they think of the question, one of `LEANINGS`.
  """

  name: str
  leaning: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonaGroup:
  """A question, and those who are asked.

  Attributes:
    id: of the group.
    question: its text.
    personas: who is asked.
  """

  id: str
  question: str
  personas: tuple[Persona, ...]


def draw_groups(
  questions: Sequence[str],
  community: Community,
  *,
  num_groups: int,
  size: int,
  seed: int,
) -> tuple[PersonaGroup, ...]:
  """Draws groups, the questions in turns, nobody twice in one.

  Args:
    questions: their texts.
    community: whose people.
    num_groups: in all.
    size: of a group.
    seed: of people and leanings.

  Raises:
    InputError: for fewer people than a group has, or no questions.
  """
  if not questions:
    raise InputError('holds no questions', field=('questions',))
  if len(community.people) < size:
    raise InputError(
      f'must be as many as a group has, {size}, got {len(community.people)}',
      field=('people',),
    )
  groups = []
  for number in range(num_groups):
    name = f'{SOURCE}/{seed}/{number}'
    rng = random.Random(name)
    groups.append(
      PersonaGroup(
        id=name,
        question=questions[number % len(questions)],
        personas=tuple(
          Persona(name=person, leaning=rng.choice(LEANINGS))
          for person in rng.sample(community.people, size)
        ),
      )
    )
  return tuple(groups)


def write(
  model: LanguageModel,
  community: Community,
  groups: Sequence[PersonaGroup],
  *,
  path: str | os.PathLike[str],
  sampling: Sampling,
  seed: int,
  progress: Report | None = None,
) -> list[Deliberation | None]:
  """Lets a model write the opinions of all groups.

  A group's are on disk before the next one's are written; called again, it
  goes on from there.

  Args:
    model: that plays the people.
    community: where they live.
    groups: of people.
    path: JSONL of opinions, a line a group.
    sampling: of opinions.
    seed: of all draws; each person's depends on nothing else.
    progress: called with (groups done, groups).

  Returns:
    A deliberation of each group, without those for whom the model wrote
    nothing readable in three tries; None where fewer than two are left.

  Raises:
    InputError: if the file holds opinions of something else.
    ModelFileError: if a prompt is longer than the model reads, or the model
      computes no numbers.
  """
  target = pathlib.Path(path)
  run = {
    'model': model.describe(),
    'community': dataclasses.asdict(community),
    'sampling': dataclasses.asdict(sampling),
    'seed': seed,
  }
  kept = _read(target, run)
  for number, group in enumerate(groups):
    if progress:
      progress(number, len(groups))
    asked = dataclasses.asdict(group)
    line = kept.get(group.id)
    if line is None or line['group'] != strict_json.plain(asked, ()):
      opinions = [
        _opinion(model, community, group, each, sampling, seed)
        for each in group.personas
      ]
      kept[group.id] = {'run': run, 'group': asked, 'opinions': opinions}
      _write(target, kept.values())
  if progress:
    progress(len(groups), len(groups))
  return [_deliberation(each, kept[each.id]['opinions']) for each in groups]


def prompt(
  community: Community, question: str, persona: Persona, tokenizer: Tokenizer
) -> list[int]:
  """Token ids of what the model is asked: chat form, if it has a template."""
  about = (
    f'{prompts.one_line(community.description)}\n\n'
    f'Question: {prompts.one_line(question)}\n\n'
    f'Person: {prompts.one_line(persona.name)}, who {persona.leaning}.'
  )
  if tokenizer.chat_template is None:
    text = f'{about}\n\nIn two or three sentences this person says: I'
    return [*tokenizer.bos_ids, *tokenizer.encode(text)]
  task = (
    f'{about}\n\nWrite what this person says about the question: two or three '
    'sentences in the first person, with a reason from their own life.'
  )
  return [*tokenizer.encode_chat([('user', task)]), *tokenizer.encode('I')]


def _opinion(
  model: LanguageModel,
  community: Community,
  group: PersonaGroup,
  persona: Persona,
  sampling: Sampling,
  seed: int,
) -> str:
  """What a person says; '' if the model wrote nothing readable."""
  ids = prompt(community, group.question, persona, model.tokenizer)
  room = model.config.max_length - MAX_TOKENS
  if len(ids) > room:
    raise ModelFileError(
      model.name,
      f'reads {model.config.max_length} tokens; a prompt has {len(ids)}, and '
      f'an opinion up to {MAX_TOKENS}',
    )
  for attempt in range(_TRIES):
    own = seed_of(seed, SOURCE, group.id, persona.name, str(attempt)) % 2**32
    try:
      (written,) = sample(
        model.params,
        model.config,
        model.tokenizer,
        ids,
        num_candidates=1,
        max_tokens=MAX_TOKENS,
        sampling=sampling,
        seed=own,
        stop_strings=prompts.STOP_STRINGS,
        whole_sentences=True,
      )
    except FloatingPointError as error:
      raise ModelFileError(model.name, str(error)) from error
    text = prompts.one_line(f'I{written.text}')
    if not strict_json.unreadable(written.text):
      return text
  return ''


def _deliberation(
  group: PersonaGroup, opinions: Sequence[str]
) -> Deliberation | None:
  said = tuple(
    Opinion(persona.name, text)
    for persona, text in zip(group.personas, opinions, strict=True)
    if text
  )
  if len(said) < 2:
    return None
  return Deliberation(group.id, group.question, said)


def _read(path: pathlib.Path, run: dict[str, Any]) -> dict[str, dict]:
  """Lines by group; none if there is no file."""
  make_folder(path.parent)
  if not path.exists():
    return {}
  found = {}
  wanted = strict_json.plain(run, ())
  for number, text in enumerate(path.read_text().splitlines(), 1):
    try:
      line = strict_json.check_object(
        strict_json.parse(text), required=('run', 'group', 'opinions')
      )
    except InputError as error:
      raise error.at(file=str(path), line=number) from None
    if line['run'] != wanted:
      raise InputError(
        'holds opinions of another model, community, sampling or seed',
        file=str(path),
        line=number,
      )
    found[line['group']['id']] = line
  return found


def _write(path: pathlib.Path, lines: Any) -> None:
  text = ''.join(json.dumps(each, ensure_ascii=False) + '\n' for each in lines)
  write_atomically(str(path), text.encode())
