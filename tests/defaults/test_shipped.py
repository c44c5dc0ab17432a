"""What ships is a weighted sum of two runs, in half the size."""

import jax
import numpy as np
import pytest
import tiny_models

from consensus_jax.defaults import shipped
from consensus_jax.interop import adapters
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.model import lora
from consensus_jax.model.lora import LoraConfig

LORA = LoraConfig(rank=2, alpha=6.0, targets=('up', 'query'))


@pytest.fixture
def base(monkeypatch):
  model = tiny_models.load('tiny_llama')
  monkeypatch.setattr(shipped, 'load_pretrained', lambda **_: model)
  return model


def save_run(folder, base, name, seed, *, head=True):
  rng = np.random.default_rng(seed)
  shapes = lora.init(base.config, LORA, jax.random.key(0))
  made = adapters.Adapters(
    base_sha256=base.sha256,
    lora=LORA,
    params=jax.tree.map(lambda x: rng.standard_normal(x.shape), shapes),
    reward_head=rng.standard_normal(base.config.embed_dim) if head else None,
  )
  path = folder / 'runs' / name / 'adapters'
  adapters.save_adapters(path, base.config, made)
  return adapters.load_adapters(path, base.config, base.sha256)


def test_the_sum_of_both_runs_ships_in_half_the_size(base, tmp_path):
  made = [
    save_run(tmp_path, base, name, seed)
    for seed, name in enumerate(shipped.WEIGHTS)
  ]
  path = shipped.combine(tmp_path)
  assert path == tmp_path / 'runs' / shipped.COMBINED / 'adapters'
  found = adapters.load_adapters(path, base.config, base.sha256)
  assert found.lora == LORA
  expected = lora.weighted_sum(
    LORA, [each.params for each in made], [0.75, 0.5]
  )
  jax.tree.map(np.testing.assert_array_equal, found.params, expected)
  heads = [each.reward_head for each in made]
  head = 0.75 * heads[0] + 0.5 * heads[1]
  np.testing.assert_allclose(found.reward_head, head, rtol=1e-6)

  target = tmp_path / 'weights' / 'reward_model'
  target.mkdir(parents=True)
  (target / 'old').write_text('what was there')
  shipped.ship(path, target)
  assert not (target / 'old').exists()
  half = adapters.load_adapters(target, base.config, base.sha256)
  for name, each in found.params.items():
    for side, values in each.items():
      np.testing.assert_array_equal(
        half.params[name][side], values.astype(np.float16).astype(np.float32)
      )
  np.testing.assert_array_equal(half.reward_head, found.reward_head)


def test_a_run_that_is_missing_is_named(base, tmp_path):
  save_run(tmp_path, base, 'half_a', 0)
  with pytest.raises(ModelFileError, match='statements_a'):
    shipped.combine(tmp_path)
  assert not (tmp_path / 'runs' / shipped.COMBINED / 'adapters').exists()


def test_a_run_without_a_head_is_no_reward_model(base, tmp_path):
  save_run(tmp_path, base, 'half_a', 0)
  save_run(tmp_path, base, 'statements_a', 1, head=False)
  with pytest.raises(ModelFileError, match='no reward head'):
    shipped.combine(tmp_path)
  assert not (tmp_path / 'runs' / shipped.COMBINED).exists()
