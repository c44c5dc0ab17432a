import pytest

from consensus_jax.data import leaked_prefixes


@pytest.mark.parametrize(
  'heading',
  [
    'Final consensus statement:',
    'Final consensus statement: ',
    'FINAL CONSENSUS STATEMENT:\n\n',
    '**Final consensus statement:** ',
    'Revised Consensus Statement :',
    'The consensus view: ',
    'Consensus:',
    'Here is the final consensus statement:\n',
    'Consensus: Final consensus statement: ',
  ],
)
def test_headings_are_stripped(heading):
  assert leaked_prefixes.strip(f'{heading}We agree: yes.') == 'We agree: yes.'


@pytest.mark.parametrize(
  'text',
  [
    'Consensus is hard to reach.',
    'We reached a consensus: buses should be free.',
    'The final consensus statement is that buses are good: free ones.',
    'Final: buses.',
    '',
    ' Left as it is ',
  ],
)
def test_other_texts_stay_as_they_are(text):
  assert leaked_prefixes.strip(text) == text
