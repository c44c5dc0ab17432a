"""Models that several test files read."""

import pytest
import tiny_gguf

from consensus_jax.interop import pretrained


@pytest.fixture(scope='session')
def gguf_paths(tmp_path_factory):
  """Path of the GGUF form of a golden folder, by the folder's name."""
  folder = tmp_path_factory.mktemp('gguf')
  return {
    name: tiny_gguf.write(folder / f'{name}.gguf', tiny_gguf.GOLDEN / name)
    for name in tiny_gguf.FAMILIES
  }


@pytest.fixture(scope='session')
def embedded():
  """The embedded model, in float32."""
  try:
    pretrained.find_embedded_model()
  except pretrained.ModelFileError as error:
    pytest.skip(str(error))
  return pretrained.load_pretrained()
