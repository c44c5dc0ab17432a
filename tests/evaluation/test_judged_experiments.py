"""What a study's ratings say, as tables: by hand, and beside the truth."""

import dataclasses
import json

import numpy as np
import pytest

from consensus_jax.data import record_files
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.evaluation import findings, judged_experiments
from consensus_jax.evaluation.judged_experiments import OPINIONS, Judgements
from consensus_jax.strict_json import InputError


def member(name, agreement, quality=None, before=None, after=None):
  return Member(
    participant=name,
    opinion='o',
    judged=tuple(range(len(agreement))),
    agreement=agreement,
    quality=quality or (),
    position_before=before,
    position_after=after,
  )


def record(number, members, authors=('ours', 'theirs'), **question):
  return JudgedDeliberation(
    id=f'r{number}',
    source='study',
    group=f'g{number}',
    question=Question(text=f'Question {number}?', **question),
    statements=tuple(
      Statement(text=f'{author} says so.', id=author, author=author)
      for author in authors
    ),
    members=tuple(members),
  )


RECORDS = [
  record(
    0,
    [
      member('a', (7, 5), (6, 4), before=2, after=5),
      member('b', (6, 6), (5, 5), before=6, after=6),
    ],
    topic='town',
  ),
  record(
    1,
    [
      member('c', (3, 5), (4, 4), before=3, after=3),
      member('d', (5, 1), (7, 2), before=5, after=3),
    ],
    topic='town',
    split='ood_test',
  ),
  record(
    2,
    [member('e', (6, 2)), member('f', (5, None)), member('g', (5, 5))],
  ),
]


def run(tmp_path, records=RECORDS, **settings):
  path = tmp_path / 'study.jsonl'
  record_files.write(path, records)
  found = judged_experiments.run(
    Judgements(records=(str(path),), num_draws=50, **settings)
  )
  return {section.name: section for section in found}


def one(section, measure, system, against=''):
  (finding,) = [
    each
    for each in section.findings
    if (each.measure, each.system, each.against) == (measure, system, against)
  ]
  return finding.estimate.interval.value


def test_numbers_by_hand(tmp_path):
  found = run(tmp_path)
  systems = found['systems']
  assert one(systems, 'mean agreement', 'ours') == pytest.approx(
    np.mean([6.5, 4, 16 / 3])
  )
  assert one(systems, 'mean quality', 'theirs') == pytest.approx(
    np.mean([4.5, 3])
  )
  # Group 0: 6.5 to 5.5; group 1: 4 to 3; group 2, who rated both: 5.5 to 3.5.
  assert one(systems, findings.WIN_RATE, 'ours', 'theirs') == 1
  # a wins, b ties, c loses, d wins; e wins, g ties.
  by_rater = one(systems, 'win rate of raters', 'ours', 'theirs')
  assert by_rater == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 0.5) / 6)
  quality = one(systems, 'win rate, quality', 'ours', 'theirs')
  assert quality == 1
  reasons = {each.reason for each in systems.left_out}
  assert "rated 'ours' only" in reasons
  positions = found['positions']
  assert one(positions, 'divided groups', 'before') == 1
  assert one(positions, 'divided groups', 'after') == 0
  topics = found['topics']
  assert one(topics, 'mean agreement, out of distribution', 'ours') == 4
  assert one(topics, 'mean agreement, topic town', 'theirs') == (5.5 + 3) / 2
  assert one(topics, 'mean agreement, Question 2?', 'theirs') == 3.5
  alpha = one(found['reliability'], "Krippendorff's alpha, interval", 'quality')
  assert alpha < 1


def test_opinions_of_members_are_one_system(tmp_path):
  members = [member(name, (5, 6, 3)) for name in ('a', 'b', 'c')]
  found = run(tmp_path, [record(0, members, ('ours', 'a', 'b')), RECORDS[1]])
  # Nobody rates their own: a rated that of b, b that of a, c both.
  mean = one(found['systems'], 'mean agreement', OPINIONS)
  assert mean == pytest.approx(np.mean([3, 6, 4.5]))


def test_who_is_not_heard_is_told(tmp_path):
  unheard = tmp_path / 'unheard.jsonl'
  line = {'record': 'r0', 'statement': 'ours', 'participant': 'b'}
  unheard.write_text(json.dumps(line) + '\n')
  found = run(tmp_path, experiments=('exclusion',), unheard=str(unheard))
  (gap,) = found['exclusion'].findings
  assert gap.system == 'ours' and gap.estimate.interval.value == 7 - 6
  unheard.write_text('{"record": "r0"}\n')
  with pytest.raises(InputError, match=r'unheard\.jsonl:1: .*statement'):
    run(tmp_path, experiments=('exclusion',), unheard=str(unheard))
  unheard.write_text(json.dumps({**line, 'participant': 'z'}))
  with pytest.raises(InputError, match='records: nobody judged'):
    run(tmp_path, experiments=('exclusion',), unheard=str(unheard))


def test_systems_are_compared_as_they_are_named(tmp_path):
  found = run(tmp_path, experiments=('systems',), systems=('theirs', 'ours'))
  lost = one(found['systems'], findings.WIN_RATE, 'theirs', 'ours')
  assert lost == 0
  with pytest.raises(InputError, match=r"systems\[0\]: .* got 'best'"):
    run(tmp_path, systems=('best',))


def test_what_says_nothing_is_refused(tmp_path):
  silent = dataclasses.replace(
    RECORDS[2],
    members=(
      Member(participant='a', opinion='o', judged=(0, 1), votes=(1, 0)),
    ),
  )
  with pytest.raises(InputError, match='records: hold no ratings of agreement'):
    run(tmp_path, [silent])
  for settings, message in (
    ({'experiments': ('exclusion',)}, 'unheard: and the experiment'),
    ({'benchmarks': ('x',)}, 'benchmarks: and the experiment'),
    ({'experiments': ()}, 'experiments: must hold at least one'),
    ({'num_draws': 0}, 'num_draws: must be 1 or more'),
  ):
    with pytest.raises(InputError, match=message):
      Judgements(records=('study.jsonl',), **settings)
