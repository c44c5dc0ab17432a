from data.habermas_files import as_published
from pyarrow import parquet

from consensus_jax.data import habermas_example
from consensus_jax.data.habermas_schema import COMPARISONS, FILES, POSITIONS


def test_files_have_the_published_schema(tmp_path):
  traps = habermas_example.write(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
    file.name for file in FILES
  )
  for file in FILES:
    assert parquet.read_schema(tmp_path / file.name) == as_published(file)
  # All that a loader must notice is there.
  assert min(vars(traps).values()) > 0


def test_the_seed_decides(tmp_path):
  for name, seed in (('a', 0), ('b', 0), ('c', 1)):
    habermas_example.write(tmp_path / name, seed=seed)
  for file in (COMPARISONS, POSITIONS):
    a, b, c = (
      parquet.read_table(tmp_path / name / file.name) for name in 'abc'
    )
    assert a == b and a != c


def test_without_traps(tmp_path):
  groups = {'TRAINING_DATA_V2': 3}
  traps = habermas_example.write(tmp_path, num_groups=groups, traps=False)
  assert set(vars(traps).values()) == {0}
  assert parquet.read_metadata(tmp_path / COMPARISONS.name).num_rows == 30
