import numpy as np
import pytest
import tiny_models

from consensus_jax.inference.embeddings import embed

LENGTHS = (1, 2, 15, 16, 17, 40, 3, 3, 100)


@pytest.fixture(scope='module')
def params():
  return tiny_models.random_params(tiny_models.SMALL)


def _texts(lengths=LENGTHS, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.integers(0, 200, length).tolist() for length in lengths]


def _expected(params, text):
  mean = tiny_models.plain_hidden(params, tiny_models.SMALL, text).mean(0)
  return mean / np.linalg.norm(mean)


def test_an_embedding_is_the_mean_of_the_hidden_states(params):
  texts = _texts()
  rows = embed(params, tiny_models.SMALL, texts)
  assert rows.dtype == np.float32
  expected = np.stack([_expected(params, text) for text in texts])
  np.testing.assert_allclose(rows, expected, atol=2e-5)
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_company_padding_and_order_change_nothing(params):
  texts = _texts(LENGTHS * 5)
  together = embed(params, tiny_models.SMALL, texts)
  order = np.random.default_rng(0).permutation(len(texts))
  shuffled = embed(params, tiny_models.SMALL, [texts[i] for i in order])
  np.testing.assert_allclose(shuffled, together[order], atol=1e-6)
  for index in (0, 8):
    alone = embed(params, tiny_models.SMALL, texts[index : index + 1])
    np.testing.assert_allclose(alone[0], together[index], atol=1e-6)


def test_different_texts_differ(params):
  rows = embed(params, tiny_models.SMALL, _texts())
  similar = rows @ rows.T - np.eye(len(rows))
  assert similar.max() < 0.99


@pytest.mark.parametrize('length', [0, tiny_models.SMALL.max_length + 1])
def test_a_text_of_no_or_too_many_tokens_is_refused(params, length):
  with pytest.raises(ValueError, match=rf'texts\[1\] .* has {length}$'):
    embed(params, tiny_models.SMALL, [[1], [1] * length])


def test_progress_is_told_and_nothing_gives_nothing(params):
  told = []
  texts = _texts((4,) * 40)
  embed(
    params, tiny_models.SMALL, texts, progress=lambda *now: told.append(now)
  )
  assert told == [(32, 40), (40, 40)]
  assert embed(params, tiny_models.SMALL, []).shape == (0, 24)
