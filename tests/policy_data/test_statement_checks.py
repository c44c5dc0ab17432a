"""Good statements pass; each fault fails the check that is named after it."""

import dataclasses
import json
import pathlib
import random

import pytest
from policy_data import seed_set
from policy_data.seed_set import GOOD, LIBRARY

from consensus_jax import prompts
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.policy_data import groups
from consensus_jax.policy_data import statement_checks as checks

EXAMPLES = (
  pathlib.Path(__file__).parents[3] / 'shared/data/habermas/examples.json'
)
FILLER = 'We would keep the library open for the volunteers on Mondays. '


def failures(text, deliberation=LIBRARY, **options):
  return set(checks.check(text, deliberation, **options).failures)


def test_a_good_statement_passes_every_check():
  found = checks.check(GOOD, LIBRARY, log_likelihood=-2.0)
  assert found.passed
  assert [each.name for each in found.verdicts] == list(checks.LIMITS)
  assert found.to_json()['words'] == 55
  assert all(each.passed for each in found.verdicts)


@pytest.mark.parametrize(
  ('fault', 'text'),
  [
    ('words', 'We would keep the library open on Mondays with volunteers.'),
    ('words', 'We would open ' + 'and run the library ' * 32 + 'on Mondays.'),
    ('broken_sentences', GOOD.removesuffix('.')),
    ('broken_sentences', GOOD[3:]),
    ('broken_sentences', GOOD.replace('Some of us', 'some of us')),
    ('marks_of_layout', GOOD.replace('. Some', '.\nSome')),
    ('marks_of_layout', f'1. {GOOD}'),
    ('marks_of_layout', GOOD.replace('volunteers', '**volunteers**')),
    (
      'plural_words',
      GOOD.replace('us', 'them').replace('We', 'They').replace('we', 'they'),
    ),
    ('singular_words', GOOD.replace('We could', 'I think we could')),
    ('leaked_phrases', f'Consensus: {GOOD}'),
    ('leaked_phrases', GOOD.replace('We want', "The citizen's jury wants")),
    (
      'leaked_phrases',
      GOOD.replace('We want', 'After reading the opinions we'),
    ),
    ('leaked_phrases', f'Our final statement: {GOOD}'),
    ('leaked_phrases', f'{GOOD} <|im_end|>'),
    ('leaked_phrases', GOOD.replace('others', 'as Opinion 2 says, others')),
    ('leaked_runs', f'{GOOD} Be fair to those who disagree, and add nothing.'),
    (
      'leaked_runs',
      f'{GOOD} Nobody should be kept out because they cannot pay.',
    ),
    ('copied_run', f'We agree. {LIBRARY.opinions[1].text}'),
    ('copied_share', f'We agree. {LIBRARY.opinions[1].text}'),
    (
      'copied_share_of_all',
      ' '.join(f'We say: {each.text}' for each in LIBRARY.opinions),
    ),
    (
      'grounded',
      'We would rather see grants for football pitches, tennis courts and '
      'swimming pools, as obesity spreads, hospitals pay dearly and diets made '
      'of sugar cost lives, whatever becomes of the library.',
    ),
    (
      'on_question',
      'We see that there is much to be said on either side, and that each of '
      'us has reasons of our own. Let us go on talking and find a way.',
    ),
    ('new_numbers', GOOD.replace('the wages', 'the 40 pounds')),
    ('new_numbers', GOOD.replace('the wages', 'seventy pounds')),
    ('new_names', GOOD.replace('volunteers', 'volunteers from Dover')),
    ('repeated', FILLER * 3),
    ('repeated_sentences', f'{FILLER}{GOOD} {FILLER}'),
  ],
)
def test_each_fault_is_found(fault, text):
  assert fault in failures(text)


def test_what_people_said_is_no_fault():
  said = GOOD.replace('wages', 'twenty pounds of wages in Ashford Lane')
  assert not failures(said)
  assert not failures(said.replace('twenty', '20'))
  assert not failures(GOOD.replace('Mondays', 'Mondays and at Christmas'))


def test_naming_the_question_copies_nobody():
  asked = 'the council should pay for a night bus to every village in winter'
  bare = dataclasses.replace(
    LIBRARY,
    question='Do you agree that ' + asked + '?',
    opinions=(
      Opinion('a', asked.capitalize() + '.'),
      Opinion('b', 'It should not, as the roads are empty then.'),
    ),
  )
  text = (
    f'We differ on whether {asked}. Some of us say that it should. Others say '
    'that the roads are empty. We have not settled this.'
  )
  assert not failures(text, bare)
  other = dataclasses.replace(bare, question='What about buses in winter?')
  assert failures(text, other) == {'copied_run', 'copied_share'}


def test_a_group_that_speaks_of_juries_may_do_so():
  opinion = dataclasses.replace(
    LIBRARY.opinions[0], text="Let a citizen's jury decide, as before."
  )
  deliberation = dataclasses.replace(
    LIBRARY, opinions=(opinion, *LIBRARY.opinions[1:])
  )
  text = f"{GOOD} A citizen's jury could look at it again."
  assert failures(text) == {'leaked_phrases'}
  assert not failures(text, deliberation)


def test_a_run_that_an_opinion_has_as_well_is_not_leaked():
  shared = prompts.EXAMPLES[0].consensus.split(',')[1]
  opinion = Opinion('4', f'Well,{shared}.')
  deliberation = dataclasses.replace(LIBRARY, opinions=(opinion,))
  assert 'leaked_runs' in failures(f'{GOOD} So{shared}.')
  assert 'leaked_runs' not in failures(f'{GOOD} So{shared}.', deliberation)


def test_fluency_is_checked_where_a_likelihood_is_given():
  assert not failures(GOOD)
  assert failures(GOOD, log_likelihood=-9.0) == {'log_likelihood'}
  assert failures(GOOD, log_likelihood=float('nan')) == {'log_likelihood'}


def test_limits_can_be_tightened_and_must_be_of_checks():
  found = checks.check(
    GOOD, LIBRARY, limits={**checks.LIMITS, 'words': (60, 130)}
  )
  assert found.failures == ('words',)
  with pytest.raises(ValueError, match='limits must be of words'):
    checks.check(GOOD, LIBRARY, limits={'words': (1, 2)})


@pytest.mark.parametrize('text', ['', '.', '?!', 'We', '\n\n', 'é' * 500, '"'])
def test_any_text_gets_its_numbers(text):
  found = checks.check(text, LIBRARY)
  assert not found.passed
  assert len(found.verdicts) == len(checks.LIMITS) - 1


def share(pairs):
  return sum(checks.check(text, d).passed for text, d in pairs) / len(pairs)


def test_statements_of_the_seed_set_pass_and_what_is_none_fails():
  train = groups.seed_splits(seed_set.records())['train']
  whole = [(record, seed_set.deliberation(record)) for record in train]
  assert share([(r.statements[0].text, d) for r, d in whole]) >= 0.97
  assert share([(r.statements[4].text, d) for r, d in whole]) >= 0.97
  assert share([(r.statements[3].text, d) for r, d in whole]) < 0.6
  opinions = [(o.text, d) for _, d in whole[:60] for o in d.opinions]
  assert share(opinions) == 0
  rng = random.Random(0)
  others = [
    (other.statements[0].text, d)
    for record, d in whole
    for other in [rng.choice(train)]
    if other.question.topic != record.question.topic
  ]
  assert share(others) < 0.05


@pytest.mark.skipif(not EXAMPLES.exists(), reason='the examples are not here')
def test_published_statements_pass_unless_they_copy():
  found = []
  for each in json.loads(EXAMPLES.read_text()):
    opinions = tuple(
      Opinion(str(i), text) for i, text in enumerate(each['opinions'])
    )
    deliberation = Deliberation('example', each['question'], opinions)
    found.append(checks.check(each['consensus'], deliberation).failures)
  # The third takes 23 words in a row from one opinion.
  assert found == [(), (), ('copied_run',)]
