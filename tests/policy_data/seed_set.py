"""The seed set, and a deliberation of our own, for tests of what uses them."""

import functools
from importlib import resources

from consensus_jax.data import record_files
from consensus_jax.deliberation import Deliberation, Opinion


@functools.cache
def records():
  file = resources.files('consensus_jax.data') / 'seed/deliberations.jsonl'
  with resources.as_file(file) as path:
    return tuple(record_files.read(path))


def deliberation(record):
  opinions = tuple(Opinion(m.participant, m.opinion) for m in record.members)
  return Deliberation(record.id, record.question.text, opinions)


LIBRARY = Deliberation(
  'library',
  'Should the village library close on Mondays?',
  (
    Opinion(
      '1',
      'Keep the library open on Mondays, please. My mother lives in Ashford '
      'Lane and Monday is when the heating there saves her twenty pounds.',
    ),
    Opinion(
      '2',
      'hardly anyone borrows books on a monday, and staff are tired after the '
      'weekend. Close it and spend the wages on a second evening.',
    ),
    Opinion(
      '3',
      'Let volunteers run the reading room on Mondays with no staff at all. '
      'It needs a kettle and somebody with a key.',
    ),
  ),
)
GOOD = (
  'We want the library to be warm and open for those who need it, and we know '
  'that staff are tired after a weekend. Some of us would close it on Mondays, '
  'others would not. We could agree to let volunteers keep the reading room '
  'open, with the wages saved going towards a second evening.'
)
