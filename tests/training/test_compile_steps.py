"""Steps lowered from shapes alone, here for the devices of the tests."""

import dataclasses

import jax
import jaxtyping
import pytest

from consensus_jax import partitioning
from consensus_jax.model.config import ModelConfig
from consensus_jax.training import compile_steps
from consensus_jax.training.compile_steps import Job

MODEL = ModelConfig(
  vocab_size=64,
  num_layers=6,
  embed_dim=32,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  mlp_dim=64,
  max_length=64,
)


@pytest.mark.parametrize('kind', ['sft', 'reward'])
def test_a_training_step_takes_state_and_batch(kind):
  job = Job(kind=kind, model=MODEL, batch_size=8, length=32, statements=2)
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  step = compile_steps.lower(job, mesh)['step']
  # Every matrix over four of the eight devices, norms over two, in float32.
  model = dataclasses.replace(MODEL, reward_head=kind == 'reward')
  norms = (2 * 6 + 1 + model.reward_head) * 32
  expected = (model.num_parameters - norms) * 4 // 4 + norms * 4 // 2
  assert step.inputs['parameters'] == expected
  # Two moments, and the optimizer's counts of steps.
  assert 0 <= step.inputs['optimizer state'] - 2 * expected <= 16
  # Rows over four, whether numbers are tokens or weights.
  rows = 2 * (5 * 32 if kind == 'sft' else 3 * 32 + 2 * 2 + 1) * 4
  assert step.inputs['batch'] == rows
  given = jax.tree.leaves(step.lowered.args_info)
  assert {leaf.shape for leaf in given} >= {(8, 32), (6, 64, 32), (64, 32)}


def test_sampling_takes_parameters_and_caches(monkeypatch):
  # Shapes stand for arrays here.
  monkeypatch.setattr(jaxtyping.config, 'jaxtyping_disable', True)
  job = Job(kind='sample', model=MODEL, length=32, candidates=8, max_tokens=16)
  mesh = partitioning.make_mesh(data=2, fsdp=2, tensor=2)
  found = compile_steps.lower(job, mesh)
  assert {*found} == {'prompt', 'token'}
  parameters = found['prompt'].inputs['parameters']
  assert parameters == found['token'].inputs['parameters'] > 0
  assert found['token'].inputs['keys and values'] > 0


def test_fewer_layers_are_compiled_one_by_one():
  job = Job(model=MODEL).with_layers(2)
  assert job.model.num_layers == 2
  assert job.execution.unrolled
  assert job.length == 2048
