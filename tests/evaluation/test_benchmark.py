"""The table of systems, and what is made of it."""

import json

import numpy as np
import pytest
from tiny_cases import case, random_cases

from consensus_jax.evaluation import benchmark, intervals, measures, report
from consensus_jax.strict_json import InputError


@pytest.fixture(scope='module')
def found():
  rng = np.random.default_rng(0)
  cases = random_cases(rng, people=40)
  noise = [rng.normal(size=len(c.votes)) for c in cases]
  good = [np.array(c.votes) + each for c, each in zip(cases, noise)]
  systems = {
    'good': good,
    'silent': [np.where(each < -1, np.nan, each) for each in good],
    'chance': noise,
  }
  comparison = benchmark.compare(
    cases,
    systems,
    log_odds=['good', 'silent'],
    differences=[('good', 'chance'), ('good', 'silent')],
    num_draws=300,
    seed=5,
  )
  return cases, systems, comparison


def test_rows_are_the_measures_of_each_system(found):
  cases, systems, comparison = found
  weights = intervals.draw(len(cases), 300, seed=5)
  for row, (name, rewards) in zip(
    comparison.rows, systems.items(), strict=True
  ):
    assert row.system == name
    of = measures.judgements(cases, rewards)
    of = of.where(~np.isnan(of.rewards))
    rated = measures.OF_LOG_ODDS if name != 'chance' else {}
    assert [*row.measures] == [*measures.MEASURES, *rated]
    for measure, interval in row.measures.items():
      function = (measures.MEASURES | measures.OF_LOG_ODDS)[measure]
      (value,) = function(of, np.ones((1, len(cases))))
      expected = np.nanquantile(function(of, weights), [0.025, 0.975])
      np.testing.assert_allclose(interval, [value, *expected])
    assert row.counts.judgements == len(of.agree)


def test_differences_are_paired(found):
  *_, comparison = found
  first, second = comparison.differences
  rows = {row.system: row for row in comparison.rows}
  assert 'log_loss' not in first.measures and 'log_loss' in second.measures
  apart = first.measures['auc']
  one, two = (rows[name].measures['auc'] for name in ('good', 'chance'))
  assert apart.value == pytest.approx(one.value - two.value)
  assert apart.low > 0
  # Of the same noise, on the same people: less wide than either alone.
  assert apart.high - apart.low < two.high - two.low
  # Where both speak they say the same.
  assert {*second.measures.values()} == {intervals.Interval(0, 0, 0)}
  assert second.counts == rows['silent'].counts
  assert second.counts.judgements < rows['good'].counts.judgements


def test_counts_by_hand():
  cases = [case('a', 'x'), case('b', 'x', votes=(1, 1)), case('c', 'y')]
  silent = [np.array([1.0, np.nan]), np.zeros(2), np.full(2, np.nan)]
  comparison = benchmark.compare(cases, {'silent': silent}, num_draws=10)
  assert comparison.counts == benchmark.Counts(
    judgements=6,
    people=3,
    cases_with_pairs=2,
    conversations=2,
    agree=4 / 6,
  )
  assert comparison.rows[0].counts == benchmark.Counts(
    judgements=3, people=2, cases_with_pairs=0, conversations=1, agree=1.0
  )


def test_what_does_not_fit_is_refused():
  cases = [case()]
  systems = {'a': [np.zeros(2)]}
  with pytest.raises(ValueError, match=r"\['b'\] are no systems"):
    benchmark.compare(cases, systems, differences=[('a', 'b')])
  with pytest.raises(ValueError, match='once in a conversation'):
    benchmark.compare(cases * 2, {'a': [np.zeros(2)] * 2})
  with pytest.raises(ValueError, match='once in a conversation'):
    benchmark.compare([], {})


def test_tables_are_made_of_the_document(found, tmp_path):
  *_, comparison = found
  document = report.document(
    {'Held out': comparison}, about={'seed': 5, 'share': np.float64(0.5)}
  )
  report.write(tmp_path / 'new', document)
  assert sorted(p.name for p in (tmp_path / 'new').iterdir()) == [
    'benchmark.json',
    'benchmark.md',
  ]
  stored = json.loads((tmp_path / 'new' / 'benchmark.json').read_text())
  text = (tmp_path / 'new' / 'benchmark.md').read_text()
  assert report.markdown(stored) == text
  assert stored['schema'] == report.SCHEMA and stored['about']['seed'] == 5
  auc = comparison.rows[0].measures['auc']
  assert stored['sections'][0]['rows'][0]['measures']['auc'] == auc._asdict()
  assert f'{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]' in text
  apart = comparison.differences[0].measures['auc']
  assert f'| good minus chance | {apart.value:+.3f} [{apart.low:+.3f}' in text
  assert '300 draws of people, seed 5' in text
  # Other numbers, other table: nothing is typed by hand.
  stored['sections'][0]['rows'][0]['measures']['auc']['value'] = 0.1234
  assert '| good | 0.123 [' in report.markdown(stored)
  # As wide as its head, each line.
  lines = [line for line in text.splitlines() if line.startswith('|')]
  assert {line.count(' | ') for line in lines} == {8}


def test_what_is_undefined_is_null_and_a_dash():
  comparison = benchmark.compare(
    [case(votes=(1, 1))], {'a|b': [np.zeros(2)]}, num_draws=5
  )
  document = report.document({'t': comparison}, about={})
  json.dumps(document, allow_nan=False)
  assert '| a\\|b | – | – | – | – | 2 | 1 |' in report.markdown(document)


def test_other_documents_and_places_are_refused(tmp_path):
  with pytest.raises(InputError, match="schema: must be 'consensus_jax/rew"):
    report.markdown({'schema': 'other'})
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be made'):
    report.write(tmp_path / 'file', report.document({}, about={}))
