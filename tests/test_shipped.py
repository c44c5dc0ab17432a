"""What ships: it loads, is what its card says, and scores as it did.

`GOLDEN` holds rewards of float32; after training again, write it anew with
`python tests/test_shipped.py`.
"""

import json
import pathlib

import numpy as np
import pytest
import tiny_models

from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.interop import adapters
from consensus_jax.language_model import REWARD_MODEL, LanguageModel
from consensus_jax.mediator import Mediator

ROOT = pathlib.Path(__file__).parents[1]
METRICS = ROOT / 'docs' / 'models' / 'metrics.json'
GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'shipped_rewards.json'

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


def test_the_reward_model_is_the_one_of_the_card():
  document = json.loads(METRICS.read_text())
  about = document['about']
  shipped = adapters.weights_sha256(REWARD_MODEL)
  assert shipped == about['shipped']['sha256']
  assert shipped in METRICS.with_name('reward_model.md').read_text()
  base = tiny_models.load('smollm2')
  assert about['models']['half_a']['sha256'] == base.sha256


def test_it_is_small():
  size = sum(path.stat().st_size for path in REWARD_MODEL.iterdir())
  assert size < 6_000_000


@pytest.mark.slow
def test_it_scores_as_it_did():
  tiny_models.load('smollm2')  # Skips where there is no embedded model.
  expected = json.loads(GOLDEN.read_text())
  np.testing.assert_allclose(rewards(), expected, atol=5e-3)


if __name__ == '__main__':
  GOLDEN.write_text(json.dumps(rewards()) + '\n')
