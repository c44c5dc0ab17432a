import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from consensus_jax.data import near_duplicates

FEW_WORDS = st.lists(
  st.sampled_from(['should', 'we', 'ban', 'all', 'tax', 'on', 'cars']),
  max_size=8,
).map(' '.join)


def _similarity(one, other):
  """Jaccard by its definition."""
  a, b = near_duplicates.shingles(one), near_duplicates.shingles(other)
  return len(a & b) / len(a | b)


@pytest.mark.parametrize(
  ('one', 'other', 'similarity'),
  [
    # ^ should we, should we ban, we ban cars, ban cars $: 4 of 6 in all.
    ('Should we ban cars?', 'should we ban cars', 1.0),
    ('Should we ban cars?', 'Should we ban cats?', 2 / 6),
    ('Should we ban all cars?', 'Should we ban old cars?', 2 / 8),
    ('Yes', 'yes!', 1.0),
    ('Yes', 'No', 0.0),
    ('', '?', 1.0),
    ('Ｆｕｌｌ width', 'full WIDTH', 1.0),
  ],
)
def test_similarity_is_the_share_of_common_3_grams(one, other, similarity):
  assert _similarity(one, other) == pytest.approx(similarity)
  index = near_duplicates.NearDuplicates(1e-9)
  index.add(one)
  expected = (0, pytest.approx(similarity)) if similarity else None
  assert index.find(other) == expected


@hypothesis.given(
  st.lists(FEW_WORDS, max_size=12), FEW_WORDS, st.sampled_from((0.2, 0.5, 1.0))
)
def test_the_index_finds_what_comparing_with_all_finds(texts, text, threshold):
  index = near_duplicates.NearDuplicates(threshold)
  for each in texts:
    index.add(each)
  similar = [_similarity(each, text) for each in texts]
  found = index.find(text)
  if max(similar, default=0) >= threshold:
    assert found == (similar.index(max(similar)), max(similar))
  else:
    assert found is None


@hypothesis.given(st.lists(FEW_WORDS, max_size=12))
def test_what_is_kept_is_unlike_and_what_is_not_is_like_an_earlier_one(texts):
  kept = near_duplicates.distinct(texts, 0.5)
  for index, text in enumerate(texts):
    before = [texts[i] for i in kept if i < index]
    like = any(_similarity(text, each) >= 0.5 for each in before)
    assert like == (index not in kept)


def test_cosine_keeps_the_first_of_those_that_point_one_way():
  angles = np.deg2rad([0, 90, 5, 200, 92, 48])
  rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  assert near_duplicates.distinct_by_cosine(rows, 0.9) == [0, 1, 3, 5]


def test_a_threshold_that_everything_reaches_is_refused():
  with pytest.raises(ValueError, match='threshold must be in'):
    near_duplicates.NearDuplicates(0.0)


def test_texts_that_differ_in_punctuation_are_the_same():
  same = ['Should we?', ' should  WE', '"Should we"']
  assert len({*map(near_duplicates.normalised, same)}) == 1
  assert near_duplicates.normalised('👍') != near_duplicates.normalised('👎')


def test_order_of_other_texts_does_not_matter():
  words = ['tax', 'cars', 'trains', 'schools', 'prisons', 'trees', 'water']
  chooser = random.Random(0)
  texts = [' '.join(chooser.sample(words, 6)) for _ in range(50)]
  index = near_duplicates.NearDuplicates(0.1)
  for text in texts:
    index.add(text)
  shuffled = near_duplicates.NearDuplicates(0.1)
  for text in reversed(texts):
    shuffled.add(text)
  text = ' '.join(words)
  found, other = index.find(text), shuffled.find(text)
  assert found is not None
  assert other is not None
  assert found[1] == other[1]
