"""Which statement wins, by what a group answered."""

import random

import pytest
import sqlalchemy as sa
import study_people as people

from consensus_jax.study import candidates, database, tables, winners


def make(engine, study, now):
  with database.writing(engine) as connection:
    job = candidates.claim(connection, study, 'w', now=now, lease_seconds=60.0)
    if job:
      made = people.statements_of(job.request)
      candidates.finish(connection, study, job, made, now=now)


@pytest.mark.parametrize('rank', [True, False])
def test_what_everybody_prefers_wins_whoever_sees_it_first(tmp_path, rank):
  study = people.protocol_of(rank=rank, candidates_shown=3, group_size=3)
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(3)]
  people.go_to(engine, study, names, 'rate', make=make)
  best = 'Statement 1'
  for name in names:
    while (step := people.current(engine, study, name)).kind == 'rate':
      liked = best in step.content['statement']
      answer = {'agreement': 7 if liked else 3, 'quality': 1}
      people.submit(engine, study, name, step.key, answer)
    if rank:
      assert step.kind == 'rank'
      ranks = {
        each['id']: 1 if best in each['text'] else 3
        for each in step.content['statements']
      }
      people.submit(engine, study, name, step.key, {'ranks': ranks})
  for name in names:
    step = people.current(engine, study, name)
    assert step.kind == 'result'
    assert best in step.content['statement']


def test_the_condorcet_winner_wins_in_groups_of_any_size():
  chance = random.Random(0)
  for members in (2, 3, 4, 5):
    # All put the third first, and the rest as they like.
    table = [[0] * members for _ in range(4)]
    for member in range(members):
      others = [1, 2, 3]
      chance.shuffle(others)
      for row, rank in zip([0, 1, 3], others, strict=True):
        table[row][member] = rank
    assert winners._first(table, 5, True, seed=members) == 2


def test_a_known_paradox():
  # Schulze 2011, example 1, halved to what 45 voters say: A, C, B, E, D ...
  orders = (
    5 * ['ACBED'] + 5 * ['ADECB'] + 8 * ['BEDAC'] + 3 * ['CABED']
    + 7 * ['CAEBD'] + 2 * ['CBADE'] + 7 * ['DCEBA'] + 8 * ['EBADC']
  )  # fmt: skip
  table = [[order.index(name) for order in orders] for name in 'ABCDE']
  assert 'ABCDE'[winners._first(table, len(orders), True, seed=0)] == 'E'


def test_ties_are_broken_by_the_seed():
  table = [[0, 1, 0, 1], [1, 0, 1, 0]]
  found = {winners._first(table, 4, True, seed) for seed in range(20)}
  assert found == {0, 1}
  assert winners._first(table, 4, True, 3) == winners._first(table, 4, True, 3)


def test_the_only_statement_wins_without_a_ranking(tmp_path):
  study = people.protocol_of(candidates_shown=1, rank=True)
  engine = people.opened(tmp_path, study)
  names = [people.join(engine, study) for _ in range(3)]
  people.go_to(engine, study, names, 'result', make=make)
  with database.reading(engine) as connection:
    kinds = set(connection.execute(sa.select(tables.answers.c.kind)).scalars())
  assert 'rank' not in kinds
