"""Where first parameters come from: what is refused, and what is said."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny_training as tiny
from tiny_models import SMALL, random_params

from consensus_jax import partitioning
from consensus_jax.interop import pretrained
from consensus_jax.strict_json import InputError
from consensus_jax.training import initialise
from consensus_jax.training.checkpoints import CheckpointError
from consensus_jax.training.optimizers import OptimizerSettings
from consensus_jax.training.settings import Initial, PolicyRun

LLAMA = tiny.GOLDEN / 'tiny_llama'


def run(**changes):
  given = {
    'model_dir': 'run',
    'train_data': 'examples',
    'optimizer': OptimizerSettings(learning_rate=1.0, num_steps=1),
    'num_steps': 1,
    'batch_size': 1,
    **changes,
  }
  return PolicyRun(**given)


def test_a_pretrained_folder_brings_model_and_tokenizer():
  source = initialise.find(run(initial=Initial(pretrained=str(LLAMA))))
  model = pretrained.load_pretrained(LLAMA)
  assert source.config == model.config and source.sha256 == model.sha256
  assert source.tokenizer is not None
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  placed = source.load(mesh)
  jax.tree.map(np.testing.assert_array_equal, placed, model.params)
  assert placed['layers']['up'].sharding.mesh.shape == mesh.shape


def test_another_model_than_the_run_asks_for_is_refused():
  config = pretrained.load_pretrained(LLAMA).config
  wanted = dataclasses.replace(config, num_layers=9, rope_theta=5.0)
  with pytest.raises(InputError, match=r'num_layers is 9, there 2; rope_th'):
    initialise.find(run(model=wanted, initial=Initial(pretrained=str(LLAMA))))
  # A head, or how long texts may be, is up to the run.
  alike = dataclasses.replace(config, reward_head=True, max_length=9)
  initialise.check_same_model(alike, config, 'x')


def test_nothing_to_start_from_is_an_error():
  with pytest.raises(InputError, match='say what to train'):
    initialise.find(run())


def test_scratch_depends_on_the_seed_and_not_on_the_mesh():
  found = [
    initialise.find(run(model=SMALL, seed=seed)).load(
      partitioning.make_mesh(*shape)
    )['layers']['up']
    for seed, shape in ((0, (1, 1, 1)), (0, (2, 2, 2)), (1, (1, 1, 1)))
  ]
  np.testing.assert_array_equal(found[0], found[1])
  assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (None, 'is not the folder of a training run'),
    ('{', 'not JSON'),
    ('{"schema": "other"}', 'is no description of a model'),
    ('{"schema": "consensus_jax/model/v1", "config": {}}', 'is damaged'),
  ],
)
def test_a_folder_that_is_no_run_is_named(tmp_path, text, message):
  if text is not None:
    (tmp_path / 'model.json').write_text(text)
  with pytest.raises(InputError, match=message) as caught:
    initialise.find(run(initial=Initial(checkpoint=str(tmp_path))))
  assert str(tmp_path) in str(caught.value)


def test_adapters_alone_are_no_model(tmp_path):
  initialise.write_model(tmp_path, SMALL, None, lora={'rank': 1})
  with pytest.raises(InputError, match='holds adapters alone'):
    initialise.find(run(initial=Initial(checkpoint=str(tmp_path))))


def test_a_run_without_checkpoints_is_no_start(tmp_path):
  initialise.write_model(tmp_path, SMALL, None)
  with pytest.raises(CheckpointError, match='there are no checkpoints'):
    initialise.find(run(initial=Initial(checkpoint=str(tmp_path))))


def test_what_is_said_of_a_model_comes_back(tmp_path):
  config = pretrained.load_pretrained(LLAMA).config
  assert config.rope_scaling is not None
  initialise.write_model(tmp_path, config, None, initial='scratch')
  assert initialise.read_model(tmp_path)[:2] == (config, None)
  content = json.loads((tmp_path / 'model.json').read_text())
  assert content['initial'] == 'scratch'


def test_parameters_are_placed_as_they_are():
  mesh = partitioning.make_mesh(fsdp=4, tensor=2)
  params = random_params(SMALL)
  placed = initialise.place(params, mesh, SMALL)
  jax.tree.map(np.testing.assert_array_equal, placed, params)


def test_two_sources_at_once_are_refused():
  with pytest.raises(ValueError, match='not both'):
    Initial(checkpoint='a', pretrained='b')
