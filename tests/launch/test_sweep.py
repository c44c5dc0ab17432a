"""Points of a sweep and the table of what became of them."""

import json
import pathlib

import pytest

from consensus_jax.strict_json import InputError
from launch import __main__ as command
from launch import sweep
from launch.job import Job

ARGUMENTS = (
  '--gin_file=runs/sft.gin',
  "--gin.MODEL_DIR='runs/'",
  "--gin.TRAIN_DATA='examples'",
)
OVER = ('LEARNING_RATE=1e-5', 'SEED=0', 'LEARNING_RATE=3e-5', 'SEED=1')


def job(*more):
  return Job(name='job', kind='sft', arguments=(*ARGUMENTS, *more))


def test_every_combination_is_a_job_in_a_folder_of_its_own():
  points = sweep.points(job(), OVER)
  assert [point.bindings for point in points] == [
    (('LEARNING_RATE', rate), ('SEED', seed))
    for rate in ('1e-5', '3e-5')
    for seed in ('0', '1')
  ]
  assert [p.model_dir for p in points] == [f'runs/00{n}' for n in range(4)]
  assert [p.job.name for p in points] == [f'job-00{n}' for n in range(4)]
  assert points[3].job.arguments == (
    *ARGUMENTS,
    *('--gin.LEARNING_RATE=3e-5', '--gin.SEED=1'),
    "--gin.MODEL_DIR='runs/003'",
  )


@pytest.mark.parametrize(
  ('over', 'message'),
  [
    ((), '--over: is missing'),
    (('SEED',), 'must be NAME=VALUE'),
    (('SEED=1', 'SEED=1'), 'SEED: has 1 twice'),
    (('MODEL_DIR=1',), 'is set by the sweep'),
  ],
)
def test_nothing_to_vary_is_an_error(over, message):
  with pytest.raises(InputError, match=message):
    sweep.points(job(), over)


def test_outcomes_are_not_swept():
  one = Job(name='job', kind='rank', arguments=('in', '--out', 'out'))
  with pytest.raises(InputError, match='only training'):
    sweep.points(one, OVER)


def write(point, *lines, export=False, failure=False, of=None):
  folder = pathlib.Path(point.model_dir)
  folder.mkdir(parents=True)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'metrics.jsonl').write_text(text + '{"kind": "tra')
  if of is not None:
    about = {'configuration': {'num_steps': of}}
    (folder / 'config.json').write_text(json.dumps(about))
  if export:
    (folder / 'export').mkdir()
  if failure:
    (folder / 'failure.json').write_text('{}')


def test_the_table_has_the_best_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  points = sweep.points(job(), OVER)
  train = {'kind': 'train', 'step': 9, 'loss': 0.1}
  write(
    points[0],
    train,
    {'kind': 'validation', 'step': 5, 'loss': 0.5, 'accuracy': 0.75},
    {'kind': 'validation', 'step': 9, 'loss': 0.6, 'accuracy': 0.8},
    export=True,
  )
  write(points[1], {'kind': 'validation', 'step': 5, 'loss': 0.25}, of=6)
  write(points[2], {'kind': 'train', 'step': 3, 'loss': 2.0}, failure=True)
  lines = sweep.table(points).splitlines()
  rows = [[cell.strip() for cell in row.split('|')[1:-1]] for row in lines]
  assert rows[0] == [
    *('run', 'LEARNING_RATE', 'SEED', 'state', 'step', 'loss', 'accuracy')
  ]
  assert rows[2:] == [
    ['runs/001', '1e-5', '1', 'under way', '5', '0.25', ''],
    ['runs/000', '1e-5', '0', 'done', '5', '0.5', '0.75'],
    ['runs/002', '3e-5', '0', 'diverged', '3', '2', ''],
    ['runs/003', '3e-5', '1', 'not started', '0', '', ''],
  ]


def test_a_run_without_an_export_is_done_after_its_last_step(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (point, *_) = sweep.points(job(), OVER)
  write(point, {'kind': 'train', 'step': 6, 'loss': 0.5}, of=6)
  assert '| done | 6 | 0.5 |' in sweep.table([point])


def test_whoever_stops_a_point_stops_the_sweep():
  points = sweep.points(job(), OVER)
  codes = iter([0, 143])
  assert sweep.run(points, lambda one: next(codes)) == 143


def test_a_point_that_fails_does_not_keep_the_others(capsys):
  points = sweep.points(job(), OVER)
  codes = iter([0, 3, 0, 5])
  assert sweep.run(points, lambda one: next(codes)) == 3
  assert 'SEED=1' in capsys.readouterr().err


def test_the_sweep_goes_through_any_target(capsys):
  over = [f'--over={binding}' for binding in OVER[:2]]
  target = ['slurm', 'run', '--dry_run', '--gpus_per_node=1', 'sft']
  assert command.main(['sweep', *over, *target, *ARGUMENTS]) == 0
  out = capsys.readouterr().out
  assert '--job-name=consensus-000' in out and 'runs/000' in out
  assert command.main(['sweep', *over, 'slurm', 'status']) == 2
  assert 'sweeps slurm with the verb run' in capsys.readouterr().err
