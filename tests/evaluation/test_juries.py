"""Juries: by hand, by enumeration, and what chance must do."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consensus_jax.evaluation import juries
from consensus_jax.evaluation.juries import Pool
from consensus_jax.strict_json import InputError

# Two statements: townspeople like the first, farmers the second.
POOL = Pool(
  ratings=np.array([[7.0, 5, 6, 1, 2], [3.0, 3, 3, 6, 5]]),
  attributes=('town', 'town', 'town', 'farm', 'farm'),
)


def test_expected_verdicts_by_hand():
  # Means of town: 6 and 3; of farm: 1.5 and 5.5.
  found = juries.expected(POOL, {'town': 2, 'farm': 1})
  np.testing.assert_allclose(found, [4.5, 11.5 / 3])
  assert juries.winners(POOL, {'town': 2, 'farm': 1}) == (0,)
  assert juries.winners(POOL, {'town': 1, 'farm': 1}) == (1,)
  assert juries.smallest_change(POOL, {'town': 2, 'farm': 1}) == juries.Change(
    moved=1, composition={'farm': 2, 'town': 1}, winners=(1,)
  )
  # A jury of one farmer has a town juror in place of it, and all townspeople.
  assert juries.smallest_change(POOL, {'farm': 1}).moved == 1
  assert juries.smallest_change(POOL, {'town': 3, 'farm': 2}) is None


def test_the_distribution_is_that_of_all_juries():
  composition = {'town': 2, 'farm': 1}
  found = juries.deliver(POOL, composition, num_juries=40_000, seed=0)
  every = [
    POOL.ratings[:, [*town, farm]].mean(1)
    for town in itertools.combinations(range(3), 2)
    for farm in (3, 4)
  ]
  values, counts = np.unique(np.round(found.means[0], 9), return_counts=True)
  expected, times = np.unique(
    np.round(np.array(every)[:, 0], 9), return_counts=True
  )
  np.testing.assert_allclose(values, expected)
  np.testing.assert_allclose(counts / 40_000, times / len(every), atol=0.01)
  np.testing.assert_allclose(found.expected, np.mean(every, axis=0))
  np.testing.assert_allclose(found.means.mean(1), found.expected, atol=0.01)
  median, low, high = found.verdicts[0]
  # Half of the juries are below 4.5: any of the three middle values.
  assert 4.3 < median < 4.7
  assert (low, high) == (expected[0], expected[-1])
  # One of the six is tied.
  wins = np.mean([0.5 + 0.5 * np.sign(a - b) for a, b in every])
  assert wins == pytest.approx(5.5 / 6)
  assert found.best == pytest.approx([wins, 1 - wins], abs=0.01)


def test_ties_are_shared():
  pool = Pool(ratings=np.ones((4, 3)), attributes=('a', 'a', 'b'))
  found = juries.deliver(pool, {'a': 1, 'b': 1}, num_juries=10, seed=0)
  np.testing.assert_allclose(found.best, [0.25] * 4)
  assert juries.winners(pool, {'a': 2}) == (0, 1, 2, 3)
  assert juries.smallest_change(pool, {'a': 2}) is None


@st.composite
def drawings(draw):
  sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
  composition = {
    str(i): draw(st.integers(0, size)) for i, size in enumerate(sizes)
  }
  assume(sum(composition.values()))
  attributes = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
  attributes = draw(st.permutations(attributes))
  statements, seed = draw(st.integers(1, 4)), draw(st.integers(0, 99))
  return attributes, statements, seed, composition


def pool_of(attributes, statements, seed):
  rng = np.random.default_rng(seed)
  ratings = rng.integers(1, 8, (statements, len(attributes))).astype(float)
  return Pool(ratings=ratings, attributes=tuple(attributes))


@given(drawings(), st.integers(0, 99))
def test_juries_are_of_their_composition(drawn, seed):
  *arguments, composition = drawn
  pool = pool_of(*arguments)
  found = juries.draw(pool, composition, num_juries=20, seed=seed)
  for jury in found:
    assert len({*jury.tolist()}) == len(jury)
    values = [pool.attributes[place] for place in jury]
    for value, count in composition.items():
      assert values.count(value) == count
  again = juries.draw(
    pool, dict(reversed(composition.items())), num_juries=20, seed=seed
  )
  np.testing.assert_array_equal(found, again)


@given(drawings())
def test_the_smallest_change_is_that_of_a_plain_search(drawn):
  *arguments, composition = drawn
  pool = pool_of(*arguments)
  sizes, total = pool.sizes, sum(composition.values())
  current = {*juries.winners(pool, composition)}
  fewest = None
  for counts in itertools.product(*(range(n + 1) for n in sizes.values())):
    if sum(counts) != total:
      continue
    other = dict(zip(sizes, counts))
    if current.isdisjoint(juries.winners(pool, other)):
      moved = sum(abs(n - composition[v]) for v, n in other.items()) // 2
      fewest = moved if fewest is None else min(moved, fewest)
  found = juries.smallest_change(pool, composition)
  if fewest is None:
    assert found is None
  else:
    assert found.moved == fewest > 0
    assert found.winners == juries.winners(pool, found.composition)
    assert current.isdisjoint(found.winners)
    assert sum(found.composition.values()) == total


@given(drawings(), st.integers(0, 99))
def test_the_order_of_people_has_no_part(drawn, seed):
  *arguments, composition = drawn
  pool = pool_of(*arguments)
  order = np.random.default_rng(seed).permutation(len(pool.attributes))
  other = Pool(
    ratings=pool.ratings[:, order],
    attributes=tuple(pool.attributes[i] for i in order),
  )
  np.testing.assert_allclose(
    juries.expected(pool, composition), juries.expected(other, composition)
  )


def test_every_set_of_people_is_equally_likely():
  pool = Pool(ratings=np.ones((1, 5)), attributes=('a',) * 5)
  found = juries.draw(pool, {'a': 3}, num_juries=20_000, seed=1)
  _, counts = np.unique(np.sort(found, axis=1), axis=0, return_counts=True)
  assert len(counts) == 10
  # Chi-square with 9 degrees of freedom: 27.9 is exceeded once in 1,000.
  assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


@pytest.mark.parametrize(
  ('composition', 'message'),
  [
    ({'town': 4}, 'town: 4 jurors are wanted, and the pool has 3'),
    ({'sea': 1}, 'sea: 1 jurors are wanted, and the pool has 0'),
    ({'town': -1}, 'town: must be 0 or more'),
    ({'town': 0}, 'at least one juror'),
    ({}, 'at least one juror'),
  ],
)
def test_impossible_juries_are_refused(composition, message):
  for ask in (juries.expected, juries.smallest_change):
    with pytest.raises(InputError, match=message):
      ask(POOL, composition)
  with pytest.raises(InputError, match=message):
    juries.deliver(POOL, composition, seed=0)


def test_bad_pools_and_numbers_are_refused():
  with pytest.raises(InputError, match='no statements or no jurors'):
    Pool(ratings=np.ones((0, 2)), attributes=('a', 'b'))
  with pytest.raises(InputError, match='one value for each of 2 jurors, got 1'):
    Pool(ratings=np.ones((1, 2)), attributes=('a',))
  with pytest.raises(InputError, match='juror 1 has no finite rating of sta'):
    Pool(ratings=np.array([[1.0, np.nan]]), attributes=('a', 'b'))
  with pytest.raises(ValueError, match='num_juries'):
    juries.draw(POOL, {'town': 1}, num_juries=0, seed=0)
  with pytest.raises(ValueError, match='level'):
    juries.deliver(POOL, {'town': 1}, seed=0, level=1.0)
  values = [str(i % 12) for i in range(240)]
  many = Pool(ratings=np.ones((1, 240)), attributes=tuple(values))
  with pytest.raises(InputError, match='more than 1000000 to look at'):
    juries.smallest_change(many, dict.fromkeys(values, 1))


def test_ten_thousand_juries_take_about_a_second():
  rng = np.random.default_rng(0)
  pool = Pool(
    ratings=rng.uniform(1, 7, (16, 300)),
    attributes=tuple(str(i % 3) for i in range(300)),
  )
  start = time.process_time()
  found = juries.deliver(pool, {'0': 6, '1': 3, '2': 3}, seed=0)
  assert found.means.shape == (16, 10_000)
  assert time.process_time() - start < 2
