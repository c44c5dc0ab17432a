"""`consensus compile`, up to what the TPU compiler itself says."""

import argparse
import importlib.util
import json
import math
import subprocess
import sys

import pytest

from consensus_jax import gin_utils
from consensus_jax.strict_json import InputError
from consensus_jax.training import (
  compile_arguments,
  compile_command,
  topologies,
)

MODEL = """\
from __gin__ import dynamic_registration

from consensus_jax.model import config

MODEL = @config.ModelConfig()

config.ModelConfig:
  vocab_size = 512
  num_layers = 6
  embed_dim = 256
  num_heads = 2
  num_kv_heads = 1
  head_dim = 128
  mlp_dim = 512
  max_length = 256
"""
MESH = """\
from __gin__ import dynamic_registration

from consensus_jax.model import execution
from consensus_jax.training import settings

MESH = @settings.MeshShape()
EXECUTION = @execution.Execution()

settings.MeshShape:
  data = None
  fsdp = 2

execution.Execution:
  remat = 'full'
  attention = 'splash'
  residual = 'bfloat16'
"""


@pytest.fixture
def files(tmp_path):
  (tmp_path / 'model.gin').write_text(MODEL)
  (tmp_path / 'mesh.gin').write_text(MESH)
  return [
    f'--gin_file={tmp_path / "model.gin"}',
    f'--gin_file={tmp_path / "mesh.gin"}',
  ]


def parsed(arguments):
  parser = argparse.ArgumentParser()
  compile_arguments.add_arguments(parser)
  return parser.parse_args(arguments)


def test_a_wrong_topology_comes_before_all_work():
  with pytest.raises(InputError, match='there is no topology'):
    compile_command.run(parsed(['--gin_file=x.gin', '--topology=v5p:3x3x3']))


def test_a_missing_file_is_named():
  with pytest.raises(InputError, match=r'x\.gin: no such gin file'):
    compile_command.run(parsed(['--gin_file=x.gin', '--topology=v5e:2x2']))


def test_a_mesh_without_a_model_is_not_enough(files):
  with pytest.raises(InputError, match='sets MODEL'):
    compile_command.run(parsed([files[1], '--topology=v5e:2x2']))


def test_a_missing_compiler_is_named(files, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError, match='needs the package libtpu'):
    compile_command.run(parsed([*files, '--topology=v5e:2x2']))


@pytest.mark.parametrize('rows', ['0', '-1', 'many'])
def test_counts_are_positive(files, rows, capsys):
  with pytest.raises(SystemExit):
    parsed([*files, '--topology=v5e:2x2', f'--rows={rows}'])
  assert 'no positive whole number' in capsys.readouterr().err


SLICES = sorted(
  path.stem
  for path in (gin_utils.shipped_directory() / 'meshes').glob('v*.gin')
)


@pytest.mark.parametrize('name', SLICES)
def test_shipped_meshes_have_the_chips_of_their_slice(name):
  chip, _, shape = name.partition('_')
  topology = topologies.parse(f'{chip}:{shape}')
  files = ['--gin_file=models/llama3_70b.gin', f'--gin_file=meshes/{name}.gin']
  arguments = parsed([*files, f'--topology={topology.name}'])
  job, mesh = compile_command.read_job(arguments, topology)
  assert math.prod(mesh.values()) == topology.num_chips
  assert job.batch_size == topology.num_chips
  assert job.model.num_layers == 80


def test_a_run_file_brings_its_own():
  topology = topologies.parse('v5p:4x4x8')
  arguments = parsed(
    [
      '--gin_file=runs/reward_model.gin',
      '--gin_file=models/llama3_70b.gin',
      '--gin_file=meshes/v5p_4x4x8.gin',
      "--gin_binding=MODEL_DIR='run'",
      "--gin_binding=TRAIN_DATA='data'",
      '--gin_binding=BATCH_SIZE=256',
      '--gin_binding=MICROBATCHES=2',
      "--gin_binding=ATTENTION='einsum'",
      '--topology=v5p:4x4x8',
      '--length=1024',
    ]
  )
  job, mesh = compile_command.read_job(arguments, topology)
  assert job.kind == 'reward'
  assert (job.batch_size, job.microbatches, job.length) == (256, 2, 1024)
  assert job.execution.remat == 'full'
  assert job.execution.attention == 'einsum'
  assert job.model.embed_dim == 8192
  assert mesh == {'data': 4, 'fsdp': 32, 'tensor': 1}


needs_compiler = pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None,
  reason='the TPU compiler, libtpu, is not installed (extra `tpu`)',
)


COMMAND = """
import argparse, sys
from consensus_jax.training import compile_arguments, compile_command
from consensus_jax.strict_json import InputError
parser = argparse.ArgumentParser()
compile_arguments.add_arguments(parser)
try:
  sys.exit(compile_command.run(parser.parse_args()))
except InputError as error:
  sys.exit(f'error: {error}')
"""


def compiled(arguments):
  # In a process of its own, as the compiler stays in the one that loads it;
  # and without checks of array types, which shapes of arrays do not pass.
  return subprocess.run(
    [sys.executable, '-c', COMMAND, *arguments, '--topology=v5e:2x2'],
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )


@needs_compiler
@pytest.mark.slow
def test_compiles_a_step_of_a_small_policy(files, tmp_path):
  out = tmp_path / 'report.json'
  process = compiled([*files, '--length=256', f'--out={out}'])
  assert process.returncode == 0, process.stderr
  assert 'sft: 4 rows of 256 tokens' in process.stdout
  assert 'data=2 x fsdp=2 x tensor=1' in process.stdout
  assert 'it fits' in process.stdout
  assert '2 layers, unrolled' in process.stderr
  (report,) = json.loads(out.read_text())
  # Float32 parameters over two chips, with two moments.
  parameters = report['num_parameters'] * 4 // 2
  memory = report['memory']
  assert memory['parameters'] == pytest.approx(parameters, rel=0.02)
  assert memory['optimizer state'] == pytest.approx(2 * parameters, rel=0.02)
  kinds = {one['kind']: one for one in report['communication']}
  # Each layer's matrices are gathered for the forward and the backward pass.
  assert kinds['all-gather']['times'] >= 2 * 6
  assert report['kernel_seconds'] > 0
  # All six layers are counted, with a forward pass more than the model needs.
  needed = report['model_seconds'] * 197e12
  assert 0.9 * needed < report['costs']['flops'] < 1.7 * needed


@needs_compiler
@pytest.mark.slow
def test_compiles_sampling_and_a_reward_model(files):
  arguments = [*files, '--length=128', '--no_costs']
  sampling = compiled([*arguments, '--step=sample', '--max_tokens=32'])
  assert sampling.returncode == 0, sampling.stderr
  assert 'sample: one prompt of 128 tokens' in sampling.stdout
  assert 'one token of each of 16 candidates' in sampling.stdout
  arguments.append('--step=reward')
  refused = compiled(arguments)
  assert refused.returncode == 1
  assert "error: attention='splash' cannot let segments share" in refused.stderr
  arguments.append("--gin_binding=execution.Execution.attention='einsum'")
  reward = compiled(arguments)
  assert reward.returncode == 0, reward.stderr
  assert 'reward: 4 rows of 128 tokens' in reward.stdout


@needs_compiler
@pytest.mark.slow
def test_says_what_a_mesh_lacks(files):
  process = compiled([*files, '--gin_binding=settings.MeshShape.data=1'])
  assert process.returncode == 1
  assert 'has 2 chips, v5e:2x2 has 4' in process.stderr
