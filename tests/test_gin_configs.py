"""gin_utils, and every configuration that ships in gin/."""

import importlib.metadata
import pathlib
import sys

import gin
import pytest

from consensus_jax import gin_utils
from consensus_jax.evaluation import (
  experiment_settings,
  judged_experiments,
  persona_experiments,
  replay_experiments,
)
from consensus_jax.model import config
from consensus_jax.training import settings

# By hand from the published shapes; those with a name on a model card there.
_NUM_PARAMETERS = {
  'chinchilla_1_4b': 24 * (4 * 2048**2 + 2 * 2048 * 8192 + 2 * 2048)
  + 32_000 * 2048
  + 2048,
  'chinchilla_70b': 80 * (4 * 8192**2 + 2 * 8192 * 32_768 + 2 * 8192)
  + 32_000 * 8192
  + 8192,
  'llama3_8b': 8_030_261_248,
  'llama3_70b': 70_553_706_496,
  'qwen2_5_7b': 7_615_616_512,
  'qwen3_8b': 8_190_735_360,
  'smollm2_135m': 134_515_008,
}

_HEADER = """
from __gin__ import dynamic_registration
from consensus_jax.model import config
"""
_TINY = f"""{_HEADER}
MODEL = @config.ModelConfig()
WIDTH = 8
config.ModelConfig:
  vocab_size = 16
  num_layers = 1
  embed_dim = %WIDTH
  num_heads = 2
  num_kv_heads = 1
  head_dim = 4
  mlp_dim = 16
  max_length = 32
"""


@pytest.fixture(autouse=True)
def _clean_gin():
  gin.clear_config()
  yield
  gin.clear_config()


@pytest.fixture
def write(tmp_path):
  def write(text, name='tiny.gin'):
    path = tmp_path / name
    path.write_text(text)
    return path

  return write


def _model():
  return gin.get_bindings('MODEL/gin.macro')['value']


@pytest.mark.parametrize('name', sorted(_NUM_PARAMETERS))
def test_model_file_builds_the_model_it_names(name):
  model = gin_utils.load_model_config(f'models/{name}.gin')
  assert model.num_parameters == _NUM_PARAMETERS[name]
  hash(model)  # A list in the file would make it unhashable under jit.


@pytest.mark.parametrize('name', sorted(_NUM_PARAMETERS))
def test_model_file_states_its_number_of_parameters(name):
  path = gin_utils.shipped_directory() / 'models' / f'{name}.gin'
  assert f'{_NUM_PARAMETERS[name]:,} parameters' in path.read_text()


def _shipped(folder):
  root = gin_utils.shipped_directory()
  paths = (root / folder).glob('*.gin')
  return sorted(str(path.relative_to(root)) for path in paths)


_RUN = ['MODEL_DIR="run"', 'TRAIN_DATA="examples"']
_TRAINING = [f for f in _shipped('runs') if not f.startswith('runs/eval_')]


def test_every_shipped_file_is_tested():
  root = gin_utils.shipped_directory()
  shipped = {str(path.relative_to(root)) for path in root.rglob('*.gin')}
  assert shipped == {
    *(f'models/{name}.gin' for name in _NUM_PARAMETERS),
    *_shipped('runs'),
    *_shipped('meshes'),
  }


@pytest.mark.parametrize('file', _TRAINING)
def test_run_file_builds_its_run(file):
  run, text = gin_utils.build('RUN', [file], _RUN)
  of_policy = 'sft' in file
  assert isinstance(
    run, settings.PolicyRun if of_policy else settings.RewardRun
  )
  assert run.optimizer.num_steps == run.num_steps
  hash(run)
  with pytest.raises(ValueError, match="'MODEL_DIR' must be set"):
    gin_utils.build('RUN', [file], _RUN[1:])
  assert not gin.config_str().strip() and 'MODEL_DIR' in text


@pytest.mark.parametrize('file', _TRAINING)
def test_the_text_of_a_run_builds_it_again(file, write):
  run, text = gin_utils.build(
    'RUN', [file], [*_RUN, 'LORA=@lora.LoraConfig()', 'SEED=3']
  )
  again, same = gin_utils.build('RUN', [write(text)])
  assert (again, same) == (run, text)
  assert run.lora.rank == 16 and run.seed == 3


_RECORDS = ['RECORDS=("records.jsonl",)']


@pytest.mark.parametrize(
  'name, bindings, kind',
  [
    ('simulated', [], experiment_settings.Experiments),
    ('judgements', _RECORDS, judged_experiments.Judgements),
    ('replay', [*_RECORDS, 'CONVERSATIONS=()'], replay_experiments.Replay),
  ],
)
def test_a_file_of_experiments_says_what_is_the_default(name, bindings, kind):
  file = f'runs/eval_{name}.gin'
  run, text = gin_utils.build('RUN', [file], bindings)
  given = {'records': ('records.jsonl',)} if bindings else {}
  assert run == kind(**given)
  other, _ = gin_utils.build('RUN', [file], [*bindings, 'SEED=3'])
  assert other.seed == 3 and 'SEED' in text


def test_the_file_of_personas_says_what_is_the_default():
  run, _ = gin_utils.build('RUN', ['runs/eval_personas.gin'], [])
  community = {'community': run.community, 'people': run.people}
  assert run == persona_experiments.Personas(**community)
  assert len(run.people) >= run.size


@pytest.mark.parametrize('name', sorted(_NUM_PARAMETERS))
def test_a_model_file_replaces_the_model_of_a_run(name):
  file = f'models/{name}.gin'
  run, _ = gin_utils.build('RUN', ['runs/sft.gin', file], _RUN)
  assert run.model == gin_utils.load_model_config(file)


@pytest.mark.parametrize('file', _shipped('meshes'))
def test_mesh_file_builds_its_mesh(file):
  mesh, _ = gin_utils.build('MESH', [file])
  assert isinstance(mesh, settings.MeshShape)
  run, _ = gin_utils.build('RUN', ['runs/reward_model.gin', file], _RUN)
  assert run.mesh == mesh


def test_llama_has_its_rope_scaling():
  model = gin_utils.load_model_config('models/llama3_8b.gin')
  assert model.rope_scaling == config.RopeScaling(
    factor=8.0,
    low_frequency_factor=1.0,
    high_frequency_factor=4.0,
    original_max_length=8192,
  )


def test_loading_a_model_leaves_no_configuration():
  gin_utils.load_model_config('models/smollm2_135m.gin')
  assert not gin.config_str().strip()
  gin.parse_config('')  # Not locked either.


def test_bindings_override_macros_and_parameters(write):
  path = write(_TINY)
  gin_utils.parse([path], ['WIDTH = 16', 'config.ModelConfig.num_layers=3'])
  assert (_model().embed_dim, _model().num_layers) == (16, 3)


def test_later_files_override_and_a_second_parse_starts_afresh(write):
  wide = write(_HEADER + 'config.ModelConfig.mlp_dim = 64', 'wide.gin')
  tiny = write(_TINY)
  gin_utils.parse([tiny, wide])
  assert _model().mlp_dim == 64
  gin_utils.parse([tiny])
  assert _model().mlp_dim == 16


def test_includes_are_found_on_search_paths(write, tmp_path):
  (tmp_path / 'models').mkdir()
  write(_TINY, 'models/tiny.gin')
  path = write("include 'models/tiny.gin'\nWIDTH = 24\n", 'run.gin')
  gin_utils.parse([path], search_paths=[tmp_path])
  assert _model().embed_dim == 24


def test_a_required_macro_must_be_set(write):
  path = write(_TINY.replace('WIDTH = 8', 'WIDTH = %gin.REQUIRED'))
  with pytest.raises(ValueError, match=r"tiny\.gin:6: .*'WIDTH' must be set"):
    gin_utils.parse([path])
  gin_utils.parse([path], ['WIDTH=8'])
  assert _model().embed_dim == 8


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (_TINY + 'STEPZ = 3\n', r"tiny\.gin:16: nothing uses a macro 'STEPZ'"),
    (_TINY.replace('WIDTH = 8', ''), "nothing sets the macro 'WIDTH'"),
    (_TINY.replace('mlp_dim', 'mlp_dimm'), 'mlp_dimm'),
    (
      _TINY.replace('WIDTH = 8', 'WIDTH = -8'),
      'embed_dim must be a positive integer',
    ),
    (_TINY.replace('vocab_size = 16', ''), 'vocab_size'),
    (_TINY + 'MODEL = 3\n', 'MODEL must be @config.ModelConfig'),
    (_HEADER, 'MODEL must be @config.ModelConfig'),
    ('MODEL = (1,\n', r'tiny\.gin:\d: '),
    ('MODEL == 1\n', r'tiny\.gin:1: '),
    ('include "absent.gin"\n', r'absent\.gin: no such gin file'),
    ('include "tiny.gin"\n', 'includes itself'),
    ('A = 1\ninclude "tiny.gin"\n', r'tiny\.gin:2: includes must come first'),
  ],
)
def test_faulty_files_are_named_in_a_clear_error(
  write, monkeypatch, text, message
):
  path = write(text)
  monkeypatch.chdir(path.parent)
  with pytest.raises(ValueError, match=message):
    gin_utils.load_model_config('tiny.gin')
  assert not gin.config_str().strip()


@pytest.mark.parametrize('binding', ['WIDHT = 3', 'config.Modell.embed_dim=3'])
def test_a_mistyped_binding_is_an_error(write, binding):
  with pytest.raises(ValueError, match=r'WIDHT|Modell'):
    gin_utils.parse([write(_TINY)], [binding])


@pytest.fixture
def trap(write, tmp_path, monkeypatch):
  """A module that leaves a trace if it is imported."""
  write(f'open({str(tmp_path / "sprung")!r}, "w")', 'gin_trap.py')
  monkeypatch.syspath_prepend(tmp_path)
  yield
  assert not (tmp_path / 'sprung').exists()
  assert 'gin_trap' not in sys.modules


@pytest.mark.parametrize(
  'text',
  [
    'import gin_trap\n',
    'import gin_trap as config\n',
    'from gin_trap import config\n',
    'from __gin__ import dynamic_registration\nimport gin_trap\n',
    'import consensus_jax.model.config, gin_trap\n',
    'import consensus_jax_\n',
    'import os\n',
  ],
)
def test_a_foreign_import_is_refused_before_it_happens(write, trap, text):
  for path in (
    write(text + _TINY),
    write(_TINY + text),
    write('include "tiny.gin"', 'outer.gin'),
  ):
    with pytest.raises(ValueError, match=r'tiny\.gin:\d+: '):
      gin_utils.parse([path], search_paths=[path.parent])


@pytest.mark.parametrize(
  'statement',
  [
    'MODEL = @config.dataclasses.sys.exit()',
    'MODEL = @config.dataclasses.dataclass()',
    'MODEL = [{"a": (@config.dataclasses.sys.exit(),)}]',
    'scope/config.dataclasses.sys.exit.status = 3',
    'config.dataclasses.sys.exit:\n  status = 3',
    'MODEL = @os.getcwd()',
    'MODEL = @gin.singleton()',
    'MODEL = @scope/config.Literal()',
  ],
)
def test_a_reference_out_of_the_library_is_refused(write, statement):
  with pytest.raises(ValueError, match=r'tiny\.gin:\d+: '):
    gin_utils.parse([write(f'{_HEADER}\n{statement}\n')])


@pytest.mark.parametrize(
  'binding',
  [
    'import gin_trap',
    'WIDTH = 3\nimport gin_trap',
    'include "trap.gin"',
    'WIDTH = @gin_trap.main()',
    'WIDTH = @config.dataclasses.sys.exit()',
  ],
)
def test_a_binding_only_binds(write, trap, binding):
  write('import gin_trap', 'trap.gin')
  with pytest.raises(ValueError, match='binding'):
    gin_utils.parse([write(_TINY)], [binding])


def test_gin_is_the_library_and_not_the_folder():
  installed = importlib.metadata.distribution('gin-config').locate_file('gin')
  assert pathlib.Path(gin.__file__).parent == pathlib.Path(str(installed))
  assert not (gin_utils.shipped_directory() / '__init__.py').exists()
