import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.data.verbalise import choose, sentence, verbalise

BALLOTS = st.lists(st.sampled_from([-1, 0, 1]), max_size=30)


@pytest.mark.parametrize(
  'text, expected',
  [
    ('We need more buses', 'We need more buses.'),
    ('We need more buses.', 'We need more buses.'),
    ('NZ is fine!', 'NZ is fine!'),
    ('Why not?', 'Why not?'),
    ('Ban cars (all of them.)', 'Ban cars (all of them.)'),
    ('An "in/out" vote', 'An "in/out" vote.'),
    ('He said “no.”', 'He said “no.”'),
    ('two\nlines ', 'two lines.'),
  ],
)
def test_a_statement_ends_as_a_sentence(text, expected):
  assert sentence(text) == expected


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
