"""Benchmarks of reward models become rows, number by number."""

import json

import numpy as np
import pytest
from tiny_cases import random_cases

from consensus_jax.evaluation import benchmark, benchmark_rows, report
from consensus_jax.strict_json import InputError


def write(folder, seed):
  rng = np.random.default_rng(seed)
  cases = random_cases(rng)
  found = benchmark.compare(
    cases,
    {
      name: [rng.normal(size=len(case.votes)) for case in cases]
      for name in ('ours', 'ours, 10% of the data', 'length')
    },
    log_odds=['ours'],
    differences=[('ours', 'length')],
    num_draws=50,
  )
  report.write(folder, report.document({'Votes': found}, about={}))
  return found


def test_rows_are_those_of_the_benchmark(tmp_path):
  folder = tmp_path / 'losses'
  found = write(folder, seed=0)
  section = benchmark_rows.section([str(folder)])
  assert section.recovered == (0, 0)
  by_name = {
    (each.measure, each.system, each.against): each.estimate
    for each in section.findings
  }
  for row in found.rows:
    estimate = by_name['AUC', row.system, '']
    assert estimate.interval == pytest.approx(row.measures['auc'])
    assert estimate.number == row.counts.judgements
    assert estimate.groups == row.counts.people
  difference = by_name['AUC, difference', 'ours', 'length']
  assert difference.interval == pytest.approx(
    found.differences[0].measures['auc']
  )
  assert ('log loss', 'ours', '') in by_name
  assert ('log loss', 'length', '') not in by_name


def test_several_folders_are_told_apart(tmp_path):
  for seed, name in enumerate(('one', 'two')):
    write(tmp_path / name, seed=seed)
  section = benchmark_rows.section([str(tmp_path / n) for n in ('one', 'two')])
  systems = {each.system for each in section.findings}
  assert {'one: ours', 'two: ours', 'two: length'} <= systems


def test_what_is_no_benchmark_is_refused(tmp_path):
  with pytest.raises(InputError, match='benchmarks: cannot be read: No such'):
    benchmark_rows.section([str(tmp_path)])
  path = tmp_path / 'benchmark.json'
  path.write_text(json.dumps({'schema': 'x', 'about': {}, 'sections': []}))
  with pytest.raises(InputError, match=r'benchmark\.json: schema: must be'):
    benchmark_rows.section([str(tmp_path)])
  path.write_text('[]')
  with pytest.raises(InputError, match='must be an object'):
    benchmark_rows.section([str(tmp_path)])
