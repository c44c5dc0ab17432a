"""What ships: it loads, is what its cards say, and does what it did.

`GOLDEN` holds rewards of float32 and the beginning of a statement; after
training again, write it anew with `python tests/test_shipped.py`.
"""

import json
import pathlib

import numpy as np
import pytest
import tiny_models

from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.interop import adapters
from consensus_jax.language_model import POLICY, REWARD_MODEL, LanguageModel
from consensus_jax.mediator import Mediator
from consensus_jax.settings import Settings

ROOT = pathlib.Path(__file__).parents[1]
METRICS = ROOT / 'docs' / 'models' / 'metrics.json'
POLICY_METRICS = METRICS.with_name('policy_metrics.json')
GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'shipped.json'

BUSES = Deliberation(
  'buses',
  'Should buses be free?',
  (
    Opinion('Ann', 'Yes, for all. I have no car and every trip counts.'),
    Opinion('Bob', 'No. Somebody has to pay for them, and it would be me.'),
    Opinion(
      'Cem', 'Cars are a nuisance. Agree. We pay too much tax. Disagree.'
    ),
  ),
  candidates=(
    'We want buses that everybody can afford.',
    'Buses should be free for all, whatever it costs.',
    'Nobody should pay for a bus that others ride.',
    'Let us make buses free for children and see what it costs.',
  ),
)


def rewards():
  policy = LanguageModel.load(tiny_models.GOLDEN / 'tiny_llama', 'float32')
  mediator = Mediator(policy, LanguageModel.load(REWARD_MODEL, 'float32'))
  outcome = mediator.rank(BUSES)
  return [list(each.rewards) for each in outcome.candidates]


def statement():
  policy = LanguageModel.load(POLICY, 'float32')
  settings = Settings(temperature=0, num_candidates=1, max_tokens=48)
  ((found,), _) = Mediator(policy, policy).write(BUSES, settings)
  return {'text': found.text, 'log_likelihood': found.log_likelihood}


def test_the_reward_model_is_the_one_of_the_card():
  document = json.loads(METRICS.read_text())
  about = document['about']
  shipped = adapters.weights_sha256(REWARD_MODEL)
  assert shipped == about['shipped']['sha256']
  assert shipped in METRICS.with_name('reward_model.md').read_text()
  base = tiny_models.load('smollm2')
  assert about['models']['combined_a']['sha256'] == base.sha256


def test_the_policy_is_the_one_of_its_card():
  document = json.loads(POLICY_METRICS.read_text())
  shipped = adapters.weights_sha256(POLICY)
  assert shipped == document['shipped']
  assert shipped in METRICS.with_name('policy.md').read_text()


@pytest.mark.parametrize(
  ('folder', 'limit'), [(REWARD_MODEL, 12_000_000), (POLICY, 20_000_000)]
)
def test_they_are_small(folder, limit):
  assert sum(path.stat().st_size for path in folder.iterdir()) < limit


@pytest.mark.slow
def test_the_reward_model_scores_as_it_did():
  tiny_models.load('smollm2')  # Skips where there is no embedded model.
  expected = json.loads(GOLDEN.read_text())['rewards']
  np.testing.assert_allclose(rewards(), expected, atol=5e-3)


@pytest.mark.slow
def test_the_policy_writes_as_it_did():
  tiny_models.load('smollm2')
  expected = json.loads(GOLDEN.read_text())['statement']
  found = statement()
  assert found['text'] == expected['text']
  assert found['log_likelihood'] == pytest.approx(
    expected['log_likelihood'], abs=5e-2
  )


if __name__ == '__main__':
  golden = {'rewards': rewards(), 'statement': statement()}
  GOLDEN.write_text(json.dumps(golden, indent=2) + '\n')
