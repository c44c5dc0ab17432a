from hypothesis import given
from hypothesis import strategies as st

from consensus_jax.inference.buckets import bucket, round_up


@given(st.integers(1, 10**6))
def test_a_bucket_holds_its_length_with_little_padding(length):
  size = bucket(length)
  assert length <= size <= max(32, 1.5 * length)
  # A multiple of 16 that is a power of two, or half as much again.
  while size % 2 == 0:
    size //= 2
  assert size in (1, 3)


@given(st.integers(1, 10**6))
def test_the_next_longer_bucket_is_no_smaller(length):
  assert bucket(length) <= bucket(length + 1)
  assert bucket(bucket(length)) == bucket(length)


def test_buckets_are_few():
  assert sorted({bucket(n) for n in range(1, 257)}) == [
    *(32, 48, 64, 96, 128, 192, 256)
  ]
  assert len({bucket(n) for n in range(1, 8193)}) == 17


@given(st.integers(0, 10**6), st.integers(1, 1000))
def test_round_up_is_the_next_positive_multiple(length, multiple):
  size = round_up(length, multiple)
  assert size % multiple == 0 and size >= max(length, 1)
  assert size - multiple < max(length, 1)
