"""Set before jax starts: eight virtual CPU devices, no caches, no home."""

import os
import tempfile

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    # Those compile twice as long what runs for a moment.
    '--xla_cpu_use_fusion_emitters=false',
  ]
).strip()
# Compiling takes most of a test's time, and running next to none.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')
# Tests neither read what an earlier run compiled nor write into a home. These
# variables also reach the processes that tests start.
os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'
_cache = tempfile.TemporaryDirectory(prefix='consensus_jax_tests_')
os.environ['XDG_CACHE_HOME'] = _cache.name

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile(
  'ci',
  deadline=None,
  derandomize=True,
  database=None,
  max_examples=50,
)
hypothesis.settings.load_profile('ci')


@pytest.fixture(scope='module', autouse=True)
def _forget_programs():
  """Compiled programs of one module are of no use to the next, but stay."""
  yield
  jax.clear_caches()
