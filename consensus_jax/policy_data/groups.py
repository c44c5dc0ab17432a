"""Deliberations for rounds of best-of-N and for evaluation, and who is in them.

A group is a record of a question and people's opinions that has no statement
yet. Nothing of what a policy is evaluated on may be in what it is trained on,
so whole topics of the seed set and of the question bank are held out, and
participants of Polis conversations: who calls `polis_groups` gives it the
people of one split.
"""

import dataclasses
import itertools
import os
import pathlib
import random
from collections.abc import Collection, Iterable, Iterator, Sequence

from consensus_jax import strict_json
from consensus_jax.data import splits
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.near_duplicates import normalised
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Split,
  Statement,
)
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.policy_data.words import content, words
from consensus_jax.strict_json import (
  InputError,
  check_array,
  check_object,
  check_text,
)

Groups = tuple[JudgedDeliberation, ...]

# Of the 66 topics of the seed set, this seed deals out 49, 10 and 7.
_SEED_OF_SPLITS = 2
_FRACTIONS = {'train': 0.8, 'validation': 0.1, 'ood_test': 0.1}
# Those whom a member of a group is drawn from: the nearest by what they speak
# of. In a conversation on everything in a town, people drawn at random have
# nothing to agree on.
_NEAREST = 8


def seed_splits(records: Iterable[JudgedDeliberation]) -> dict[str, Groups]:
  """The seed set by topic: 'train', 'validation' and 'ood_test'.

  The same for everyone, so that no reward model or policy learns from what
  another is tested on.
  """
  return splits.split(
    records, 'topic', seed=_SEED_OF_SPLITS, fractions=_FRACTIONS
  )


def deliberation_of(record: JudgedDeliberation) -> Deliberation:
  """The question and opinions of a record, as a policy is asked.

  Raises:
    InputError: if nobody in it wrote an opinion.
  """
  opinions = tuple(
    Opinion(member.participant, member.opinion)
    for member in record.members
    if member.opinion
  )
  return Deliberation(record.id, record.question.text, opinions)


def without_statements(records: Iterable[JudgedDeliberation]) -> Groups:
  """The same people and opinions, without statements and judgements."""
  return tuple(
    dataclasses.replace(
      record,
      statements=(),
      members=tuple(_speaker(member) for member in record.members),
    )
    for record in records
  )


def only_statement(
  records: Iterable[JudgedDeliberation], statement_id: str
) -> Groups:
  """Records of the seed set with one statement each.

  A policy learns from that one; others are there for the reward model.
  """
  return tuple(
    dataclasses.replace(
      bare,
      statements=tuple(s for s in record.statements if s.id == statement_id),
    )
    for record in records
    for bare in without_statements((record,))
  )


def polis_groups(
  records: Iterable[JudgedDeliberation],
  *,
  num_groups: int,
  seed: int,
  excluded: Tally,
  sizes: Sequence[int] = (3, 4, 5),
  disjoint: bool = False,
  min_words: int = 8,
  max_words: int = 90,
) -> Groups:
  """Groups of people who wrote comments in one conversation.

  The first member of each group is the next of the writers in random order, so
  that all have their turn before one comes again; the others are drawn among
  the writers whose comments have most words in common with the first one's,
  those of the question aside. They need not be of one mind.

  Args:
    records: conversations, with the people of one split only.
    num_groups: the most groups of a conversation that has enough writers.
    seed: of all draws.
    excluded: counts who is left out, and why.
    sizes: of a group, drawn from these.
    disjoint: nobody is in two groups, so that groups are independent, and
      there are as many as there are people for.
    min_words: of an opinion.
    max_words: of an opinion.

  Raises:
    InputError: if no conversation has enough writers.
    ValueError: for sizes below 2.
  """
  if min(sizes, default=0) < 2:
    raise ValueError(f'sizes must be 2 or more, got {tuple(sizes)}')
  groups: list[JudgedDeliberation] = []
  for record in records:
    writers = _writers(record, min_words, max_words, excluded)
    if len(writers) < max(sizes):
      reason = f'has fewer than {max(sizes)} writers with a fit opinion'
      excluded.add('conversation', reason, record.id)
      continue
    rng = random.Random(f'{seed}/{record.id}')
    asked = content(record.question.text)
    subjects = [content(member.opinion) - asked for member in writers]
    draw = _draw_apart if disjoint else _draw_in_turns
    drawn = draw(subjects, sizes, rng)
    for number, chosen in enumerate(itertools.islice(drawn, num_groups)):
      name = f'{record.id}/group-{seed}-{number}'
      groups.append(
        JudgedDeliberation(
          id=name,
          source=record.source,
          group=name,
          question=record.question,
          members=tuple(_speaker(writers[place]) for place in chosen),
        )
      )
  if not groups:
    raise InputError(
      f'no conversation has {max(sizes)} writers of {min_words} to '
      f'{max_words} words'
    )
  return tuple(groups)


def question_groups(
  questions: Iterable[Question],
  *,
  split: Split,
  num_groups: int,
  seed: int,
  excluded_topics: Collection[str] = (),
) -> Groups:
  """Two opinions on questions of the bank: its own position statements.

  No person wrote an opinion on these questions here. The affirming and the
  negating position statement stand for the two sides; they give no reasons.
  Questions for training that share one with a held-out question are left out.

  Args:
    questions: of the bank.
    split: of the bank, whose questions are taken.
    num_groups: the most groups, drawn without putting back.
    seed: of the draw.
    excluded_topics: topics to leave out, such as those of the seed set that
      are held out.

  Raises:
    InputError: if there is no such question with both statements.
  """
  questions = tuple(questions)
  held_out = {
    normalised(side)
    for question in questions
    if split == 'train' and question.split != 'train'
    for side in (question.affirming, question.negating)
  }
  fit = [
    question
    for question in questions
    if question.split == split
    and question.topic not in excluded_topics
    and question.affirming
    and question.negating
    and held_out.isdisjoint(
      map(normalised, (question.affirming, question.negating))
    )
  ]
  if not fit:
    raise InputError(
      f'no question of split {split} has both position statements'
    )
  rng = random.Random(f'{seed}/{split}')
  groups = []
  for question in rng.sample(fit, min(num_groups, len(fit))):
    sides = [question.affirming, question.negating]
    rng.shuffle(sides)
    name = f'question/{question.id or normalised(question.text)}'
    members = tuple(
      Member(participant=f'{name}/{number}', opinion=side)
      for number, side in enumerate(sides, 1)
    )
    groups.append(
      JudgedDeliberation(
        id=name,
        source='question_bank',
        group=name,
        question=question,
        members=members,
      )
    )
  return tuple(groups)


def read_examples(path: str | os.PathLike[str]) -> Groups:
  """The published deliberations with their consensus, for evaluation only.

  Args:
    path: examples.json of the Habermas Machine's repository: a list of
      `{"question", "opinions": ["..."], "consensus"}`.

  Raises:
    InputError: with the field.
  """
  file = str(path)
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f'cannot read: {error}', file=file) from None
  try:
    items = check_array(strict_json.parse(text), ())
    return tuple(_example(item, index) for index, item in enumerate(items))
  except InputError as error:
    line = error.line or strict_json.line_of(text, error.field)
    raise error.at(file=file, line=line) from None


def check_apart(train: Iterable[JudgedDeliberation], test: Groups) -> None:
  """Refuses groups for evaluation that share what a policy has learned from.

  No person and no opinion may be on both sides, and no question of the bank
  or of the seed set; conversations are shared, as their people are split.

  Raises:
    InputError: with counts and the first few.
  """
  sides = {'training': tuple(train), 'evaluation': test}
  splits.check_no_leak(sides, 'participant')
  asked = {
    name: tuple(r for r in side if r.source != 'polis')
    for name, side in sides.items()
  }
  splits.check_no_leak(asked, 'question')


def _speaker(member: Member) -> Member:
  """A member who has judged nothing."""
  return Member(
    participant=member.participant,
    opinion=member.opinion,
    opinion_provenance=member.opinion_provenance,
  )


def _writers(
  record: JudgedDeliberation, min_words: int, max_words: int, excluded: Tally
) -> list[Member]:
  """Members with comments of a fit length, no two of one wording."""
  writers: dict[str, Member] = {}
  for member in record.members:
    length = len(words(member.opinion))
    if member.opinion_provenance != 'comments':
      reason = 'wrote no comment'
    elif not min_words <= length <= max_words:
      reason = f'wrote fewer than {min_words} or more than {max_words} words'
    elif normalised(member.opinion) in writers:
      reason = 'says what another says'
    else:
      writers[normalised(member.opinion)] = member
      continue
    excluded.add('participant', reason, member.participant)
  return list(writers.values())


def _draw_in_turns(
  subjects: Sequence[frozenset[str]], sizes: Sequence[int], rng: random.Random
) -> Iterator[list[int]]:
  """Groups without end, each around the next of all writers."""
  everyone = range(len(subjects))
  while True:
    for first in rng.sample(everyone, len(subjects)):
      yield _draw_around(first, everyone, subjects, rng.choice(sizes), rng)


def _draw_apart(
  subjects: Sequence[frozenset[str]], sizes: Sequence[int], rng: random.Random
) -> Iterator[list[int]]:
  """Groups of different writers, until too few are left."""
  left = rng.sample(range(len(subjects)), len(subjects))
  while fit := [size for size in sizes if size <= len(left)]:
    chosen = _draw_around(left[0], left, subjects, rng.choice(fit), rng)
    yield chosen
    left = [place for place in left if place not in chosen]


def _draw_around(
  first: int,
  writers: Iterable[int],
  subjects: Sequence[frozenset[str]],
  size: int,
  rng: random.Random,
) -> list[int]:
  """A group around one of the writers, in random order."""
  others = [place for place in writers if place != first]
  rng.shuffle(others)  # Equally near ones in random order.
  others.sort(
    key=lambda place: -_overlap(subjects[first], subjects[place]),
  )
  chosen = [first, *rng.sample(others[:_NEAREST], size - 1)]
  rng.shuffle(chosen)
  return chosen


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
  return len(one & other) / max(len(one | other), 1)


def _example(item: object, index: int) -> JudgedDeliberation:
  record = check_object(
    item, required=('question', 'opinions', 'consensus'), path=(index,)
  )
  name = f'habermas/example-{index}'
  opinions = check_array(record['opinions'], (index, 'opinions'))
  return JudgedDeliberation(
    id=name,
    source='habermas',
    group=name,
    question=Question(text=check_text(record['question'], (index, 'question'))),
    statements=(
      Statement(
        text=check_text(record['consensus'], (index, 'consensus')),
        id='consensus',
        author='Habermas Machine',
      ),
    ),
    members=tuple(
      Member(
        participant=f'{name}/{number}',
        opinion=check_text(opinion, (index, 'opinions', number - 1)),
      )
      for number, opinion in enumerate(opinions, 1)
    ),
  )
