import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.data.verbalise import choose, first_tokens, verbalise

BALLOTS = st.lists(st.sampled_from([-1, 0, 1]), max_size=30)


def test_votes_become_one_line():
  said = verbalise([('Ban cars', 1), ('Why not ban bikes?', -1)])
  assert said == 'Ban cars. Agree. Why not ban bikes? Disagree.'


@given(BALLOTS, st.integers(0, 10), st.text(max_size=5))
def test_choice(votes, count, seed):
  chosen = choose(votes, count, seed)
  sided = [index for index, vote in enumerate(votes) if vote]
  assert len(chosen) == min(count, len(sided))
  assert list(chosen) == sorted(set(chosen) & set(sided))
  assert chosen == choose(votes, count, seed)
  if count >= 2:
    assert {votes[i] for i in chosen} == {votes[i] for i in sided}


def test_the_seed_decides():
  votes = [1, -1] * 20
  draws = [choose(votes, 8, str(seed)) for seed in range(200)]
  assert len(set(draws)) == 200
  # Every vote is drawn about as often: 8 of 40, 200 times.
  drawn = [sum(index in draw for draw in draws) for index in range(40)]
  assert 15 <= min(drawn) and max(drawn) <= 70


def test_votes_begin_with_tokens_of_their_own():
  tokenizer = tiny_models.load('smollm2').tokenizer
  agree, disagree = first_tokens(tokenizer)
  for vote, token in ((1, agree), (-1, disagree)):
    said = tokenizer.encode(' ' + verbalise([('Ban cars', vote)]))
    stem = tokenizer.encode(' Ban cars.')
    assert said[: len(stem)] == stem and said[len(stem)] == token
  # Of this one the words begin with the same letter, that is the same token.
  with pytest.raises(ValueError, match='alike'):
    first_tokens(tiny_models.load('tiny_llama').tokenizer)
