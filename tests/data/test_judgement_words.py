import pytest

from consensus_jax.data import judgement_words
from consensus_jax.strict_json import InputError

# As the released data of the Habermas Machine name them.
AGREEMENT = (
  'STRONGLY_DISAGREE',
  'DISAGREE',
  'SOMEWHAT_DISAGREE',
  'NEUTRAL',
  'SOMEWHAT_AGREE',
  'AGREE',
  'STRONGLY_AGREE',
)
QUALITY = (
  'TERRIBLE_QUALITY',
  'POOR_QUALITY',
  'SOMEWHAT_POOR_QUALITY',
  'NEUTRAL',
  'SOMEWHAT_GOOD_QUALITY',
  'GOOD_QUALITY',
  'EXCELLENT_QUALITY',
)


@pytest.mark.parametrize('change', [str, str.lower, str.title])
def test_words_of_both_scales(change):
  for number, (agreement, quality) in enumerate(zip(AGREEMENT, QUALITY), 1):
    assert judgement_words.likert_agreement(change(agreement)) == number
    spaced = change(quality).replace('_', ' ')
    assert judgement_words.likert_quality(spaced) == number
    assert judgement_words.likert_agreement(str(number)) == number
    assert judgement_words.likert_quality(f'{number}.0') == number


@pytest.mark.parametrize('text', ['', ' ', 'MOCK', 'N/A', 'nan', '-', 'null'])
def test_no_answer(text):
  assert judgement_words.likert_agreement(text) is None
  assert judgement_words.likert_quality(text) is None
  assert judgement_words.vote(text) is None
  assert judgement_words.rank(text, best=1) is None


@pytest.mark.parametrize(
  ('text', 'number'),
  [('-1', -1), ('0', 0), ('1', 1), ('Agree', 1), ('pass', 0), ('DISAGREE', -1)],
)
def test_votes(text, number):
  assert judgement_words.vote(text) == number


def test_ranks_count_from_the_best():
  assert judgement_words.rank('1', best=1) == 0
  assert judgement_words.rank('3.0', best=0) == 3
  for text in ('0', '1.5', 'first', 'inf'):
    with pytest.raises(InputError, match=r'no whole number from 1 \(the best'):
      judgement_words.rank(text, best=1)


@pytest.mark.parametrize(
  'text', ['8', '0', '-1', '4.5', 'agreee', '１２', '1e9']
)
def test_what_is_on_no_scale_is_refused(text):
  for read in (
    judgement_words.likert_agreement,
    judgement_words.likert_quality,
  ):
    with pytest.raises(InputError, match='neither from 1 to 7 nor one of'):
      read(text)
