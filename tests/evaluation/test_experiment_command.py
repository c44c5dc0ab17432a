"""`consensus evaluate experiments`, from a gin file to a report."""

import json

import pytest
import tiny_cases
from tiny_models import GOLDEN

from consensus_jax import cli
from consensus_jax.data import record_files
from consensus_jax.evaluation.latent import (
  groups,
  questions,
  ratings,
  statements,
)
from consensus_jax.language_model import LanguageModel

pytest.importorskip('matplotlib')
pytest.importorskip('gin')
POLICY, RATER = GOLDEN / 'tiny_llama', GOLDEN / 'tiny_llama_reward'
TINY = [
  "--gin.EXPERIMENTS=('selection', 'exclusion')",
  "--gin.SYSTEMS=('zero_shot',)",
  '--gin.NUM_GROUPS=2',
  '--gin.SIZES=(4,)',
  '--gin.BEST_OF=(1, 2)',
  '--gin.MAX_TOKENS=8',
  '--gin.NUM_DRAWS=20',
  f'--gin.PROMPTED_MODEL="{POLICY}"',
  f'--gin.REWARD_MODEL="{RATER}"',
]


def run(out, *arguments):
  verb = ['evaluate', 'experiments', '--gin_file=runs/eval_simulated.gin']
  return cli.main([*verb, f'--out={out}', *arguments])


def test_a_random_model_is_recovered_to_be_no_better_than_chance(
  tmp_path, capsys, monkeypatch
):
  longer = tiny_cases.loading_longer()
  monkeypatch.setattr(LanguageModel, 'load', staticmethod(longer))
  assert run(tmp_path, *TINY) == 0
  assert capsys.readouterr().out == (tmp_path / 'experiments.md').read_text()
  document = json.loads((tmp_path / 'experiments.json').read_text())
  selection, exclusion = document['sections']
  # What it writes takes no position, so the best of two is no better, and the
  # truth says so too.
  (won,) = (f for f in selection['findings'] if f['measure'] == 'win rate')
  assert won['truth'] == pytest.approx(0.5, abs=0.05)
  assert len(exclusion['findings']) == 2
  lines = (tmp_path / 'outcomes' / 'zero_shot.jsonl').read_text().splitlines()
  assert [len(json.loads(line)['candidates']) for line in lines] == [2, 2]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (["--gin.SYSTEMS=('best',)"], 'systems[0]: must be one of zero_shot'),
    (['--gin.SIZES=(1,)'], 'sizes: a group has 3 members or more'),
    (['--gin.REWARD_MODEL="/absent"'], 'reward_model: there is no /absent'),
    (['--gin.QUESTIONS="/absent"'], 'questions: there is no /absent'),
    (['--gin.NUM_GROUP=3'], "nothing uses a macro 'NUM_GROUP'"),
    (['--gin.RUN=3'], 'RUN must be @experiment_settings.Experiments(), '),
    (['--shard=2/2'], "--shard: must be I/N with 0 <= I < N, got '2/2'"),
    (['--gin_file=absent.gin'], 'absent.gin: no such gin file'),
  ],
)
def test_bad_input_is_told_before_work_begins(
  arguments, message, tmp_path, capsys
):
  assert run(tmp_path / 'out', *arguments) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('file', 'arguments', 'message'),
  [
    ('eval_replay', [], 'records: must hold at least one'),
    ('eval_judgements', [], 'records: must hold at least one'),
    (
      'eval_judgements',
      ['--gin.RECORDS=("absent.jsonl",)'],
      'absent.jsonl',
    ),
    (
      'eval_replay',
      ['--gin.RECORDS=("x",)', '--gin.REWARD_MODEL="/absent"'],
      'reward_model: there is no /absent',
    ),
    (
      'eval_judgements',
      ['--gin.RECORDS=("x",)', '--shard=0/2'],
      '--shard: is of simulated participants',
    ),
  ],
)
def test_other_runs_tell_bad_input(file, arguments, message, tmp_path, capsys):
  verb = ['evaluate', 'experiments', f'--gin_file=runs/{file}.gin']
  assert cli.main([*verb, f'--out={tmp_path / "out"}', *arguments]) == 2
  assert message in capsys.readouterr().err


def test_ratings_of_a_study_become_a_report(tmp_path, capsys):
  drawn = groups.draw_groups(questions.read(), num_groups=6, seed=0)
  records = [
    ratings.judge(
      group,
      [
        statements.written(group, kind, seed=0)
        for kind in ('compromise', 'vague')
      ],
      seed=0,
      consensus=0,
    )
    for group in drawn
  ]
  path, out = tmp_path / 'study.jsonl', tmp_path / 'out'
  record_files.write(path, records)
  verb = ['evaluate', 'experiments', '--gin_file=runs/eval_judgements.gin']
  arguments = [f'--gin.RECORDS=("{path}",)', '--gin.NUM_DRAWS=50']
  assert cli.main([*verb, f'--out={out}', *arguments]) == 0
  text = capsys.readouterr().out
  assert text == (out / 'experiments.md').read_text()
  assert text.startswith('# What people said of statements\n')
  assert 'compromise – vague' in text and 'expected' not in text
  document = json.loads((out / 'experiments.json').read_text())
  names = [section['name'] for section in document['sections']]
  assert names == ['systems', 'reliability', 'topics', 'positions']
