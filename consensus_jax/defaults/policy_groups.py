"""Groups that the default policy writes for: to learn from, and held out.

Rounds write for people and questions of the train splits; the policy is judged
on people, topics and questions that neither it nor a reward model learned from.
"""

import dataclasses
import itertools
import os
import random
from collections.abc import Mapping, Sequence

from consensus_jax.data import questions, seed_deliberations
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.near_duplicates import normalised
from consensus_jax.data.records import JudgedDeliberation, Question
from consensus_jax.defaults.people import People
from consensus_jax.policy_data import groups
from consensus_jax.policy_data.groups import Groups
from consensus_jax.strict_json import InputError

# Of the statements of a seed deliberation, the one of whole clauses that its
# members said. A model as small as the embedded one that learns to paraphrase
# learns to invent.
LEARNED = 'plain'
# Of people kept apart there are few: four conversations have four who wrote.
HELD_OUT_SIZES = (3, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """Where people and questions come from.

  Attributes:
    people: by split, as `people.read` gives them.
    bank: the file of questions with an affirming and a negating statement.
    examples: the file of published deliberations, for evaluation only.
  """

  people: Mapping[str, People]
  bank: str | os.PathLike[str]
  examples: str | os.PathLike[str]


def seed_records() -> dict[str, Groups]:
  """Seed deliberations with the statement to learn alone, by split.

  The unrated ones are of topics of the train split.
  """
  splits = groups.seed_splits(seed_deliberations.read())
  unrated = {'train': seed_deliberations.read_unrated()}
  return {
    name: groups.only_statement((*part, *unrated.get(name, ())), LEARNED)
    for name, part in splits.items()
  }


def round_groups(sources: Sources, *, num_groups: int, seed: int) -> Groups:
  """Groups of a round: people of Polis and questions of the bank, in turns.

  Args:
    sources: of people and questions; of their train splits alone.
    num_groups: in all, fewer if there are not as many.
    seed: of all draws.

  Raises:
    InputError: for no groups, if a file cannot be read, or a source has none.
  """
  _check(num_groups)
  asked = groups.question_groups(
    _learned_questions(sources, seed_records()),
    split='train',
    num_groups=num_groups,
    seed=seed,
  )
  people = _polis_groups(
    sources.people['train'].comments, num_groups=num_groups, seed=seed
  )
  return _in_turns([people, asked], num_groups)


def evaluation_groups(
  sources: Sources, *, num_groups: int, seed: int = 0
) -> Groups:
  """Groups that policies are compared on, of four sources in turns.

  Seed deliberations on topics held out; people of Polis that were kept apart,
  those of 'validation' too, by whom at most a checkpoint was chosen, each in
  one group, as an interval takes groups to be independent; questions of
  the bank on topics held out and new ones on known topics; and the published
  deliberations.

  Args:
    sources: of people and questions.
    num_groups: in all, fewer if there are not as many.
    seed: of all draws.

  Raises:
    InputError: for no groups, if a file cannot be read, a source has none, or
      one shares something with what a policy may learn from.
  """
  _check(num_groups)
  seed_set = seed_records()
  bank = questions.read(sources.bank)
  apart = _together(sources.people, ('validation', 'iid_test'))
  polis = _polis_groups(
    apart,
    num_groups=num_groups,
    seed=seed,
    sizes=HELD_OUT_SIZES,
    disjoint=True,
  )
  new_topics, new_questions = (
    groups.question_groups(bank, split=split, num_groups=num_groups, seed=seed)
    for split in ('ood_test', 'iid_test')
  )
  held_out = groups.without_statements(seed_set['ood_test'])
  pools = [
    tuple(random.Random(seed).sample(held_out, len(held_out))),
    polis,
    _in_turns([new_topics, new_questions], num_groups),
    groups.without_statements(groups.read_examples(sources.examples)),
  ]
  chosen = _in_turns(pools, num_groups)
  learned = _learned_questions(sources, seed_set)
  groups.check_apart(
    (
      *seed_set['train'],
      *seed_set['validation'],
      *sources.people['train'].comments,
      *groups.question_groups(
        learned, split='train', num_groups=len(learned), seed=seed
      ),
    ),
    chosen,
  )
  return chosen


def _check(num_groups: int) -> None:
  if num_groups < 1:
    raise InputError(
      f'must be 1 or more, got {num_groups}', field=('num_groups',)
    )


def _learned_questions(
  sources: Sources, seed_set: Mapping[str, Groups]
) -> tuple[Question, ...]:
  """The bank without what the policy is judged on beside the bank's own tests.

  Topics of the seed set that are held out, and the published questions, which
  are in the bank's train split.
  """
  topics = {
    record.question.topic
    for split, part in seed_set.items()
    for record in part
    if split != 'train'
  }
  published = {
    normalised(record.question.text)
    for record in groups.read_examples(sources.examples)
  }
  return tuple(
    question
    for question in questions.read(sources.bank)
    if question.topic not in topics
    and normalised(question.text) not in published
  )


def _polis_groups(
  records: Sequence[JudgedDeliberation],
  *,
  num_groups: int,
  seed: int,
  sizes: Sequence[int] = (3, 4, 5),
  disjoint: bool = False,
) -> Groups:
  """Groups of each conversation in turns, which begin with any."""
  drawn = groups.polis_groups(
    records,
    num_groups=num_groups,
    seed=seed,
    excluded=Tally(),
    sizes=sizes,
    disjoint=disjoint,
  )
  of_each = itertools.groupby(drawn, key=lambda group: group.question.text)
  pools = [tuple(pool) for _, pool in of_each]
  random.Random(seed).shuffle(pools)
  return _in_turns(pools, num_groups)


def _together(
  splits: Mapping[str, People], names: Sequence[str]
) -> tuple[JudgedDeliberation, ...]:
  """Writers of several splits, a record for each conversation."""
  found: dict[str, JudgedDeliberation] = {}
  for record in itertools.chain(*(splits[name].comments for name in names)):
    before = found[record.id].members if record.id in found else ()
    members = (*before, *record.members)
    found[record.id] = dataclasses.replace(record, members=members)
  return tuple(found.values())


def _in_turns(pools: Sequence[Groups], number: int) -> Groups:
  """The first of each pool, then the second, until there are enough."""
  turns = itertools.chain.from_iterable(itertools.zip_longest(*pools))
  there = (group for group in turns if group is not None)
  return tuple(itertools.islice(there, number))
