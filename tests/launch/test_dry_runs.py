"""What each launcher would do, to the letter, and the scripts it would run.

After a change that is meant: `python tests/launch/test_dry_runs.py`, and read
the difference.
"""

import contextlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from launch import __main__ as command
from launch import job as jobs

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = pathlib.Path(__file__).with_name('golden')

_POD = (
  *('--project=my-project', '--bucket=gs://my-bucket'),
  '--image=us-docker.pkg.dev/my-project/images/consensus_jax:1',
)
_V5E = (*_POD, '--zone=us-west4-a', '--topology=v5e:4x4')
_V5P = (*_POD, '--zone=us-east5-a', '--topology=v5p:4x4x8')
_SFT = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=models/chinchilla_1_4b.gin'),
  *('--gin_file=meshes/v5e_4x4.gin', '--gin.BATCH_SIZE=32'),
  *("--gin.MODEL_DIR='/bucket/runs/a'", "--gin.TRAIN_DATA='/bucket/sft'"),
  *('--gin.PRETRAINED=None', "--gin.TOKENIZER='/bucket/tokenizer'"),
)
_REWARD = (
  *('reward_model', '--gin_file=runs/reward_model.gin'),
  *('--gin_file=models/llama3_70b.gin', '--gin_file=meshes/v5p_4x4x8.gin'),
  *("--gin.ATTENTION='einsum'", '--gin.BATCH_SIZE=128'),
  *("--gin.MODEL_DIR='/bucket/runs/b'", "--gin.TRAIN_DATA='/bucket/rewards'"),
  "--gin.PRETRAINED='/bucket/llama'",
)
_ANY = (
  *('sft', '--gin_file=runs/sft.gin', '--gin_file=meshes/all_devices.gin'),
  *("--gin.MODEL_DIR='/bucket/runs/a'", "--gin.TRAIN_DATA='/bucket/sft'"),
)
_VERTEX = tuple(each.replace('/bucket', '/gcs/my-bucket') for each in _ANY)
_OUTCOMES = (
  *('deliberate', '/bucket/in.jsonl', '--out=/bucket/out.jsonl'),
  *('--model=/bucket/llama', '--alpha=1'),
)
_BOX = ('--host=me@box', '--image=consensus_jax:cuda13', '--folder=/data')

RUNS = {
  'local_run': ('local', 'run', '--devices=4', *_ANY),
  'local_deliberate': ('local', 'run', *_OUTCOMES),
  'tpu_all': ('tpu', 'all', *_V5E, '--capacity=spot', *_SFT),
  'tpu_create': (
    *('tpu', 'create', *_V5P, '--capacity=reserved', '--quota_project=other'),
    *('--service_account=tpu@my-project.iam.gserviceaccount.com', *_REWARD),
  ),
  'tpu_run': (
    *('tpu', 'run', *_V5P, '--env=LIBTPU_INIT_ARGS=--a=true --b=true'),
    *_REWARD,
  ),
  'tpu_deliberate': ('tpu', 'run', *_V5E, *_OUTCOMES),
  'tpu_watch': ('tpu', 'watch', *_V5E, *_SFT),
  'tpu_resume': ('tpu', 'resume', *_V5E, *_SFT),
  'tpu_stop': ('tpu', 'stop', *_V5E, *_SFT),
  'tpu_status': ('tpu', 'status', *_V5E, *_SFT),
  'tpu_logs': ('tpu', 'logs', *_V5E, '--worker=all'),
  'tpu_delete': ('tpu', 'delete', *_V5E),
  'gke_create_cluster': (
    *('gke', 'create_cluster', *_V5P, '--cluster=pods'),
    *('--capacity=reserved', '--reservation=ours'),
  ),
  'gke_run': ('gke', 'run', *_V5P, '--cluster=pods', *_REWARD),
  'gke_deliberate': ('gke', 'run', *_V5E, '--cluster=pods', *_OUTCOMES),
  'gke_status': ('gke', 'status', *_V5P, '--cluster=pods'),
  'gke_logs': ('gke', 'logs', *_V5P, '--cluster=pods', *_REWARD),
  'gke_delete': ('gke', 'delete', *_V5P, '--cluster=pods', *_REWARD),
  'gke_delete_cluster': ('gke', 'delete_cluster', *_V5P, '--cluster=pods'),
  'gpu_all': ('gpu', 'all', *_BOX, '--gpus=8', *_ANY),
  'gpu_deliberate': ('gpu', 'run', *_BOX, '--gpus=2', *_OUTCOMES),
  'gpu_delete': ('gpu', 'delete', *_BOX),
  'slurm_run': (
    *('slurm', 'run', '--nodes=2', '--partition=gpu', '--account=ours'),
    *('--env=NCCL_DEBUG=INFO', *_ANY),
  ),
  'slurm_deliberate': ('slurm', 'run', '--gpus_per_node=4', *_OUTCOMES),
  'slurm_delete': ('slurm', 'delete'),
  'xmanager_run': (
    *('xmanager', 'run', '--image=gcr.io/my-project/consensus_jax:1'),
    *('--gpu=a100', '--gpus=8', *_VERTEX),
  ),
  'sweep_local': (
    *('sweep', '--over=LEARNING_RATE=1e-5', '--over=LEARNING_RATE=3e-5'),
    *('local', 'run', *_ANY),
  ),
  'sweep_xmanager': (
    *('sweep', '--over=SEED=0', '--over=SEED=1'),
    *('xmanager', 'run', '--image=gcr.io/my-project/consensus_jax:1'),
    *_VERTEX,
  ),
  'merge': ('merge', '--report=out.html', *_OUTCOMES),
}


def told(argv):
  """The command with --dry_run, and what it prints."""
  places = [i for i, each in enumerate(argv) if each in command._TARGETS]
  at = places[0] + 2 if places else 1  # After the verb; `merge` has none.
  argv = [*argv[:at], '--dry_run', *argv[at:]]
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    assert command.main(argv) == 0
  said = out.getvalue().replace(str(jobs.ROOT), '/CHECKOUT')
  version = re.escape(jobs.locked_version('jax'))
  return re.sub(rf'--jax={version}\b', '--jax=LOCKED', said)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
  monkeypatch.delenv('XLA_FLAGS', raising=False)


@pytest.mark.parametrize('name', sorted(RUNS))
def test_a_dry_run_is_what_it_was(name, monkeypatch):
  monkeypatch.setenv('PATH', '')  # Nothing can be run by mistake.
  assert told(RUNS[name]) == (GOLDEN / f'{name}.txt').read_text()


def test_every_target_and_verb_has_a_dry_run():
  wanted = {
    (target, verb)
    for target, (_, module) in command._TARGETS.items()
    for verb in (*module.VERBS, *module.VERBS_WITHOUT_JOB)
  }
  tested = {tuple(argv[:2]) for argv in RUNS.values()}
  # These only print, print the same, or follow one program.
  tested |= {('gke', 'manifest'), ('slurm', 'script')}
  tested |= {('gpu', 'logs'), ('slurm', 'status')}
  assert wanted <= tested
  assert {path.stem for path in GOLDEN.iterdir()} == set(RUNS)


def _documented(name):
  """The launches that a page tells people to try, but for those left open."""
  text = (ROOT / 'docs' / name).read_text()
  for block in re.findall(r'```sh\n(.*?)```', text, re.DOTALL):
    for line in block.replace('\\\n', ' ').splitlines():
      launches = line.startswith('python -m launch')
      if launches and '...' not in line and '$' not in line:
        yield shlex.split(line)[3:]


@pytest.mark.parametrize(
  ('name', 'count'), [('launching.md', 5), ('large_models.md', 4)]
)
def test_what_the_pages_say_is_taken(name, count, monkeypatch):
  monkeypatch.setenv('PATH', '')
  found = list(_documented(name))
  assert len(found) >= count
  for argv in found:
    assert told([each for each in argv if each != '--dry_run'])


def shellcheck(text):
  program = pathlib.Path(sys.executable).with_name('shellcheck')
  done = subprocess.run(
    [program, '--shell=bash', '--severity=style', '-'],
    input=text,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout


def _scripts(name):
  """What a dry run would have bash do, on hosts or as batch scripts."""
  text = (GOLDEN / f'{name}.txt').read_text()
  if name.startswith('slurm'):
    yield from re.findall(r"<<'EOF'\n(#!.*?)\nEOF", text, re.DOTALL)
  else:
    for word in shlex.split(text):
      if word.startswith('--command='):
        yield '#!/bin/bash\n' + word.removeprefix('--command=')


@pytest.mark.parametrize(
  ('name', 'count'),
  [
    ('tpu_all', 5),
    ('tpu_run', 2),
    ('tpu_deliberate', 2),
    ('tpu_stop', 1),
    ('tpu_status', 1),
    ('slurm_run', 2),
    ('slurm_deliberate', 2),
  ],
)
def test_every_script_passes_shellcheck(name, count):
  found = list(_scripts(name))
  assert len(found) == count
  for script in found:
    shellcheck(script)


def test_shellcheck_sees_mistakes():
  with pytest.raises(AssertionError, match='SC2086'):
    shellcheck('#!/bin/bash\nrm $1\n')


def test_shell_files_pass_shellcheck():
  files = sorted((ROOT / 'launch').glob('*.sh'))
  assert files
  for path in files:
    shellcheck(path.read_text())


if __name__ == '__main__':
  os.environ.pop('XLA_FLAGS', None)
  GOLDEN.mkdir(exist_ok=True)
  for path in GOLDEN.iterdir():
    path.unlink()
  for name, argv in RUNS.items():
    (GOLDEN / f'{name}.txt').write_text(told(argv))
