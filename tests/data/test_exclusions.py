from consensus_jax.data.exclusions import Exclusion, Tally, total


def test_tally_counts_by_reason_and_keeps_a_few_examples():
  tally = Tally()
  for number in range(7):
    tally.add('comment', 'is short', f'comment {number}')
  tally.add('vote', 'is odd', 'three of them', 3)
  tally.add('vote', 'is even', 'none', 0)
  excluded = tally.exclusions()
  examples = tuple(f'comment {number}' for number in range(5))
  assert excluded == (
    Exclusion('comment', 'is short', 7, examples),
    Exclusion('vote', 'is odd', 3, ('three of them',)),
  )
  assert total(excluded, 'comment') == 7
  assert total(excluded, 'participant') == 0
