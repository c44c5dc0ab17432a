"""Checkpoints: what comes back, and what happens to damaged ones."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from consensus_jax import partitioning
from consensus_jax.training import checkpoints, checksums, train_state
from consensus_jax.training.checkpoints import CheckpointError, Checkpoints

OPTIMIZER = optax.adamw(1e-2)


def abstract(shape=(4, 2, 1), names=('embed', 'mlp'), size=64):
  mesh = partitioning.make_mesh(*shape)
  leaf = jax.ShapeDtypeStruct(
    (size, 32),
    jnp.float32,
    sharding=partitioning.named_sharding(mesh, names, (size, 32)),
  )
  params = {'trunk': {'up': leaf}, 'head': leaf}
  return train_state.abstract_state(params, OPTIMIZER, mesh)


def state_of(target, step):
  rng = np.random.default_rng(step)
  arrays = jax.tree.map(
    lambda leaf: jax.device_put(
      rng.standard_normal(leaf.shape).astype(leaf.dtype), leaf.sharding
    ),
    target,
  )
  return train_state.TrainState(
    jax.device_put(jnp.int32(step), target.step.sharding),
    arrays.params,
    arrays.opt_state,
  )


def same(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)),
    a,
    b,
  )


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """A folder with good checkpoints of steps 1 and 2."""
  folder = tmp_path_factory.mktemp('run') / 'checkpoints'
  with Checkpoints(folder, keep=2) as saved:
    for step in (1, 2):
      saved.save(
        state_of(abstract(), step), {'progress': step / 10}, step=step, best=1
      )
  return folder


@pytest.fixture
def folder(written, tmp_path):
  return shutil.copytree(written, tmp_path / 'checkpoints')


def restored(folder, target=None, notes=None):
  note = (lambda text: None) if notes is None else notes.append
  with Checkpoints(folder, note=note) as saved:
    return saved.restore(target or abstract())


def test_what_was_saved_comes_back(folder):
  state, record = restored(folder)
  same(state, state_of(abstract(), 2))
  assert record['progress'] == 0.2
  assert isinstance(state, train_state.TrainState)


@pytest.mark.parametrize('shape', [(1, 2, 4), (8, 1, 1), (1, 1, 1)])
def test_another_mesh_gets_the_same_bits(folder, shape):
  target = abstract(shape)
  state, _ = restored(folder, target)
  same(state, state_of(abstract(), 2))
  assert state.params['head'].sharding == target.params['head'].sharding


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
  assert restored(tmp_path / 'new') is None


def test_parameters_come_alone(folder):
  target = abstract((2, 2, 2)).params
  del target['head']
  with Checkpoints(folder) as saved:
    params, record = saved.restore_params(target, 1)
  same(params, {'trunk': state_of(abstract(), 1).params['trunk']})
  assert record['progress'] == 0.1


def test_newest_and_best_stay(tmp_path):
  target = abstract()
  with Checkpoints(tmp_path, keep=2) as saved:
    for step in range(1, 6):
      saved.save(state_of(target, step), {}, step=step, best=min(step, 2))
  with Checkpoints(tmp_path) as saved:
    assert saved.steps == [2, 4, 5]


def test_a_step_is_saved_again_in_its_place(folder):
  with Checkpoints(folder, keep=2) as saved:
    saved.save(state_of(abstract(), 7), {'n': 7}, step=2, best=None)
  state, record = restored(folder)
  same(state.params, state_of(abstract(), 7).params)
  assert record['n'] == 7


def files_of(folder, step):
  return sorted(
    path
    for path in pathlib.Path(folder, str(step)).rglob('*')
    if path.is_file() and path.stat().st_size
  )


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def largest(paths):
  return [max(paths, key=lambda path: path.stat().st_size)]


DAMAGES = {
  'a flipped byte of the arrays': lambda paths: flip(largest(paths)[0]),
  'a truncated shard': lambda paths: truncate(largest(paths)[0]),
  'a missing shard': lambda paths: largest(paths)[0].unlink(),
  'a missing commit marker': lambda paths: (
    paths[0].parents[paths[0].parts[::-1].index('2') - 1] / 'commit_success.txt'
  ).unlink(),
  'a flipped byte of the record': lambda paths: flip(
    next(path for path in paths if path.name == 'data.json')
  ),
  'a truncated record': lambda paths: truncate(
    next(path for path in paths if path.name == 'data.json')
  ),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_falls_back_to_the_step_before(folder, damage):
  DAMAGES[damage](files_of(folder, 2))
  notes = []
  state, record = restored(folder, notes=notes)
  same(state, state_of(abstract(), 1))
  assert record['progress'] == 0.1
  assert 'step 2' in notes[0] and 'set aside' in notes[0]
  assert (folder.parent / 'damaged' / '2.0').is_dir()
  # The run goes on from there and saves step 2 anew.
  with Checkpoints(folder, keep=2) as saved:
    saved.save(state_of(abstract(), 2), {'progress': 3}, step=2, best=1)
  assert restored(folder)[1]['progress'] == 3


def test_every_flipped_byte_is_noticed_or_harmless(folder):
  good = state_of(abstract(), 2)
  for path in files_of(folder, 2):
    kept = path.read_bytes()
    flip(path)
    with Checkpoints(folder) as saved:
      try:
        state, record = saved._load(2, abstract())
      except Exception as error:
        assert checkpoints._reason(error)
      else:
        same(state, good)
        assert record['progress'] == 0.2
    path.write_bytes(kept)


def test_no_good_step_is_an_error_that_names_all(folder):
  for step in (1, 2):
    truncate(largest(files_of(folder, step))[0])
  with pytest.raises(CheckpointError, match=r'no checkpoint.*step 2.*step 1'):
    restored(folder)
  assert files_of(folder, 2), 'nothing is moved'


def test_another_model_is_an_error_that_says_so(folder):
  with pytest.raises(CheckpointError, match='shape'):
    restored(folder, abstract(size=128))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(CheckpointError, match='file'):
    Checkpoints(tmp_path / 'file' / 'checkpoints')


def test_checksums_see_any_element_and_no_mesh():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((8, 6)).astype(np.float32)
  want = checksums.checksums({'x': jnp.asarray(x)})
  for shape in ((4, 2, 1), (2, 2, 2)):
    mesh = partitioning.make_mesh(*shape)
    sharding = partitioning.named_sharding(mesh, ('embed', 'mlp'), x.shape)
    assert checksums.checksums({'x': jax.device_put(x, sharding)}) == want
  for place in np.ndindex(x.shape):
    y = x.copy()
    y[place] = np.nextafter(y[place], np.inf)
    assert checksums.checksums({'x': jnp.asarray(y)}) != want
  swapped = x[::-1].copy()
  assert checksums.checksums({'x': jnp.asarray(swapped)}) != want
  words = x.view(np.uint32).ravel().astype(object)
  assert want['x'] == sum(int(w) * (2 * i + 1) for i, w in enumerate(words)) % (
    2**32
  )


def test_combined_checksums_depend_on_name_and_value():
  sums = [{'a': 1, 'b': 2}, {'a': 2, 'b': 1}, {'a': 1, 'c': 2}]
  assert len({checksums.combined(each) for each in sums}) == 3
