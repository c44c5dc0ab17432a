"""Both entry points in processes of their own, on tiny models."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training as tiny

from consensus_jax import gin_utils
from consensus_jax.inference.scorer import reward
from consensus_jax.interop import adapters, pretrained
from consensus_jax.model import lora, transformer
from consensus_jax.training import command, losses

LLAMA = str(tiny.GOLDEN / 'tiny_llama')
OF_LLAMA = {'PRETRAINED': LLAMA, 'MODEL': None}


@pytest.fixture(scope='module', autouse=True)
def _compilations():
  with tiny.compilations_kept():
    yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('examples')
  return {
    'sft': [
      tiny.sft_examples(folder / f'sft{seed}', seed=seed) for seed in (0, 1)
    ],
    'reward_model': [
      tiny.reward_examples(folder / f'reward{seed}', seed=seed)
      for seed in (0, 1)
    ],
  }


@pytest.fixture(scope='module')
def policy(data, tmp_path_factory):
  """A finished run of a policy, and what it said."""
  folder = tmp_path_factory.mktemp('policy') / 'run'
  args = tiny.arguments(
    'sft', folder, *data['sft'], EVALUATE_EVERY=5, **OF_LLAMA
  )
  code, errors = tiny.run('sft', args)
  assert code == 0, errors
  return folder, args, errors


@pytest.mark.slow
def test_a_policy_learns_and_is_exported(policy):
  folder, _, errors = policy
  assert 'initialisation: pretrained tiny_llama' in errors
  losses = [line['loss'] for line in tiny.lines(folder, 'validation')]
  assert len(losses) == 3 and losses[-1] < losses[0]
  model = pretrained.load_pretrained(folder / 'export')
  before = pretrained.load_pretrained(LLAMA)
  assert model.config == before.config
  assert model.tokenizer.encode('A word') == before.tokenizer.encode('A word')
  changed = jax.tree.map(
    lambda a, b: not np.array_equal(a, b), model.params, before.params
  )
  assert all(jax.tree.leaves(changed))


@pytest.mark.slow
def test_the_configuration_lies_beside_the_checkpoints(policy):
  folder, _, _ = policy
  about = json.loads((folder / 'config.json').read_text())
  assert about['seed'] == 0 and about['packages']['jax'] == jax.__version__
  assert about['configuration']['optimizer']['learning_rate'] == 1e-2
  run, _ = gin_utils.build('RUN', [folder / 'config.gin'])
  assert run.model_dir == str(folder) and run.num_steps == 10
  record = json.loads(
    (folder / 'checkpoints' / '10' / 'record' / 'data.json').read_text()
  )['record']
  assert record['progress']['position'] == 80 and record['seed'] == 0
  assert record['gin'] == (folder / 'config.gin').read_text()


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(policy, capsys):
  folder, args, _ = policy
  before = (folder / 'metrics.jsonl').read_text()
  assert command.main('sft', args) == 0
  errors = capsys.readouterr().err
  assert 'resuming' in errors and 'step 10' in errors
  assert (folder / 'metrics.jsonl').read_text() == before


@pytest.mark.slow
def test_resuming_on_other_data_or_with_another_seed_is_refused(
  policy, data, capsys
):
  _, args, _ = policy
  assert command.main('sft', [*args, '--gin.SEED=1']) == command.BAD_INPUT
  assert 'seed: was 0' in capsys.readouterr().err
  other = f'--gin.TRAIN_DATA="{data["reward_model"][0]}"'
  assert command.main('sft', [*args, other]) == command.BAD_INPUT
  assert "of kind 'reward'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reward_model_starts_from_a_policy_with_adapters(
  policy, data, tmp_path, capsys
):
  folder = tmp_path / 'run'
  args = tiny.arguments(
    'reward_model',
    folder,
    *data['reward_model'],
    CHECKPOINT=str(policy[0]),
    MODEL=None,
    LORA=tiny.Gin('@lora.LoraConfig()'),
    EVALUATE_EVERY=5,
    SAVE_EVERY=5,
  )
  code, errors = tiny.run('reward_model', args)
  assert code == 0, errors
  assert f'initialisation: checkpoint {policy[0]}, step 10' in errors
  last = tiny.lines(folder, 'validation')[-1]
  assert {'pair_accuracy_by_participant', 'rank_correlation'} <= last.keys()
  assert {'length_correlation', 'pair_calibration_error'} <= last.keys()
  model = pretrained.load_pretrained(folder / 'export')
  assert model.config.reward_head
  # The base is not in the checkpoint: it is smaller than the weights.
  sizes = [
    path.stat().st_size
    for path in (folder / 'checkpoints' / '10').rglob('*')
    if path.is_file()
  ]
  weights = sum(x.nbytes for x in jax.tree.leaves(model.params))
  assert sum(sizes) < 5 * weights
  tokens = jnp.arange(1, 9)[None]
  x, _ = transformer.hidden(
    jax.tree.map(jnp.asarray, model.params),
    model.config,
    tokens,
    jnp.arange(8)[None],
    transformer.causal_mask(8),
  )
  assert jnp.isfinite(reward(x, jnp.asarray(model.params['reward_head']))).all()

  # The same adapters on another base would be another model.
  shutil.rmtree(folder / 'checkpoints' / '10')
  args += ['--gin.CHECKPOINT=None', f'--gin.PRETRAINED="{LLAMA}"']
  assert command.main('reward_model', args) == command.BAD_INPUT
  assert 'frozen: was' in capsys.readouterr().err


def test_adapters_of_a_policy_load_alone(data, tmp_path):
  folder = tmp_path / 'run'
  args = tiny.arguments(
    'sft',
    folder,
    data['sft'][0],
    NUM_STEPS=2,
    LORA=tiny.Gin('@lora.LoraConfig()'),
    **OF_LLAMA,
  )
  assert command.main('sft', args) == 0
  base = pretrained.load_pretrained(LLAMA)
  alone = adapters.load_adapters(folder / 'adapters', base.config, base.sha256)
  merged = lora.merge(
    jax.tree.map(jnp.asarray, base.params),
    jax.tree.map(jnp.asarray, alone.params),
    alone.lora,
  )
  exported = pretrained.load_pretrained(folder / 'export').params
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-6), merged, exported
  )
  assert not np.array_equal(
    exported['layers']['up'], base.params['layers']['up']
  )


@pytest.mark.parametrize('adapted', [False, True])
def test_an_export_has_the_cut_points_of_ordinal_regression(
  data, tmp_path, adapted
):
  folder = tmp_path / 'run'
  args = tiny.arguments(
    'reward_model',
    folder,
    data['reward_model'][0],
    NUM_STEPS=2,
    LOSS='ordinal',
    LORA=tiny.Gin('@lora.LoraConfig()') if adapted else None,
    **OF_LLAMA,
  )
  assert command.main('reward_model', args) == 0
  wanted = tiny.arrays(folder, 2)['params', 'cut_points']
  assert not np.array_equal(wanted, losses.initial_cut_points())
  found = pretrained.load_pretrained(folder / 'export')
  np.testing.assert_array_equal(found.cut_points, wanted)
  if adapted:
    base = pretrained.load_pretrained(LLAMA)
    alone = adapters.load_adapters(
      folder / 'adapters', base.config, base.sha256
    )
    np.testing.assert_array_equal(alone.cut_points, wanted)


@pytest.mark.parametrize(
  ('kind', 'extra', 'message'),
  [
    ('sft', ['--gin.STEPZ=3'], "nothing uses a macro 'STEPZ'"),
    ('sft', ['--gin.MODEL_DIR=runs/x'], 'needs quotes of its own'),
    ('sft', ['--gin.NUM_STEPS=0'], 'num_steps'),
    ('reward_model', ['--gin.BATCH_SIZE="8"'], 'batch_size'),
    ('sft', ['--gin_file=runs/absent.gin'], 'absent.gin: no such gin file'),
    ('sft', ['--num_processes=2'], 'go together'),
    ('reward_model', ['--gin_file=runs/sft.gin'], 'RUN must be @settings.Rew'),
    ('sft', ['--gin.TRAIN_DATA="/absent"'], '/absent: holds no set'),
  ],
)
def test_bad_input_is_one_clear_line(kind, extra, message, tmp_path, capsys):
  args = tiny.arguments(kind, tmp_path / 'run', tmp_path / 'examples')
  assert command.main(kind, [*args, *extra]) == command.BAD_INPUT
  errors = capsys.readouterr().err
  assert message in errors and errors.count('\n') == 1


def test_without_a_cluster_autodetection_says_so(tmp_path, capsys, monkeypatch):
  def initialize(**_):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  args = tiny.arguments('sft', tmp_path / 'run', tmp_path / 'examples')
  assert command.main('sft', [*args, '--autodetect']) == command.BAD_INPUT
  errors = capsys.readouterr().err
  assert '--autodetect: found no cluster here' in errors
  assert 'name --coordinator' in errors and errors.count('\n') == 1


def test_a_missing_model_dir_is_asked_for(tmp_path, capsys):
  args = tiny.arguments('sft', tmp_path / 'run', tmp_path / 'examples')
  args = [each for each in args if 'MODEL_DIR' not in each]
  assert command.main('sft', args) == command.BAD_INPUT
  assert "the macro 'MODEL_DIR' must be set" in capsys.readouterr().err


def test_a_folder_that_nobody_can_write_is_a_clear_error(
  data, tmp_path, capsys
):
  args = tiny.arguments('sft', tmp_path / 'run', data['sft'][0])
  args.append('--gin.MODEL_DIR="/proc/run"')
  assert command.main('sft', args) == command.BAD_INPUT
  assert '/proc/run: cannot be made' in capsys.readouterr().err


def test_help_needs_no_device(capsys):
  with pytest.raises(SystemExit) as caught:
    command.main('sft', ['--help'])
  assert (
    caught.value.code == 0 and '--gin.NAME=VALUE' in capsys.readouterr().out
  )
