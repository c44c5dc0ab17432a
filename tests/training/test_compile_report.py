"""Reports: arithmetic on costs, and what is printed of them."""

import dataclasses
import json

import pytest

from consensus_jax.model import flops, splash
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import Execution
from consensus_jax.training import compile_report, topologies
from consensus_jax.training.compile_report import Communication, Costs, Report
from consensus_jax.training.compile_steps import Job

MODEL = ModelConfig(
  vocab_size=256,
  num_layers=10,
  embed_dim=64,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  mlp_dim=128,
  max_length=512,
)
JOB = Job(
  model=MODEL,
  execution=Execution(remat='full', saved=('up',), unrolled=False),
  batch_size=128,
  length=256,
)


def report(**changes):
  whole = Report(
    program='step',
    topology='v5p:4x4x8',
    num_chips=128,
    mesh={'data': 4, 'fsdp': 32, 'tensor': 1},
    job=JOB,
    num_parameters=MODEL.num_parameters,
    memory={'parameters': 8 * 2**30, 'gradients, activations': 40 * 2**30},
    peak_memory=45 * 2**30,
    memory_of_chip=95 * 2**30,
    compile_seconds=61.0,
    options={'xla_overlap': 'true'},
    communication=(Communication('all-gather', 160, 300e9, 100e9),),
    communication_seconds=0.5,
    exposed_seconds=0.3,
    kernel_seconds=0.25,
    schedule_seconds=2.0,
    costs=Costs(1e12, 2e9, 1.75),
    model_seconds=1.5,
  )
  return dataclasses.replace(whole, **changes)


def test_costs_grow_with_layers():
  few, more = Costs(70.0, 40.0, 5.0), Costs(130.0, 60.0, 8.0)
  # 30 a layer beside 10, 10 beside 20, and 1.5 beside 2.
  assert compile_report.extrapolate(few, more, 80) == Costs(
    2410.0, 820.0, 122.0
  )
  assert compile_report.extrapolate(few, more, 4) == more
  unknown = dataclasses.replace(more, seconds=None)
  assert compile_report.extrapolate(few, unknown, 80).seconds is None


def test_times_add_what_the_compiler_leaves_out():
  assert report().times == {
    'cost analysis': 1.75 + 0.25,
    'schedule': 2.0 + 0.25,
    'schedule, communication too': 2.0 + 0.25 + 0.3,
  }
  assert report().utilisation(2.0) == 0.75
  assert 'cost analysis' not in report(costs=None).times
  assert 'cost analysis' not in report(costs=Costs(1.0, 1.0, None)).times


def test_fits_if_the_most_in_use_at_once_does():
  assert report().fits
  assert not report(peak_memory=96 * 2**30).fits


def test_prints_everything():
  text = compile_report.render(report())
  for part in (
    'sft: 128 rows of 256 tokens',
    'v5p:4x4x8: 128 chips, data=4 x fsdp=32 x tensor=1',
    'remat=full, saved=up',
    'a chip has 95: it fits',
    'compiler: xla_overlap=true',
    'all-gather, 160 times             300.00, of which 100.00 beside',
    'cost analysis                     2.0000   75.0%',
    '2 and 4 layers, unrolled',
    '40% of the peak',
  ):
    assert part in text
  assert 'DOES NOT FIT' in compile_report.render(report(peak_memory=2**37))


def test_is_json():
  data = json.loads(json.dumps(report().as_json()))
  assert data['job']['model']['num_layers'] == 10
  assert data['times']['schedule'] == 2.25
  assert data['utilisation']['cost analysis'] == 0.75


def test_model_time_is_that_of_its_operations_at_the_peak():
  topology = topologies.parse('v5p:4x4x8')
  per_token = flops.model_flops_per_token(MODEL, 256, vocab_logits=True)
  seconds = compile_report.model_seconds(JOB, topology)
  assert seconds == pytest.approx(256 * per_token / 459e12)
  sample = dataclasses.replace(JOB, kind='sample')
  assert compile_report.model_seconds(sample, topology) is None


def test_kernels_compute_blocks_up_to_the_diagonal():
  # 2048 queries in two blocks: three of four block pairs.
  forward = splash.flops(2048, 128, backward=False)
  assert forward == 2 * 2 * 2048 * 2048 * 0.75 * 128
  assert splash.flops(2048, 128, backward=True) == 2.5 * forward
