"""What a study exports trains a reward model, and evaluates it."""

import json

import pytest
import study_finished
import tiny_training as tiny
from tiny_models import GOLDEN

from consensus_jax import cli
from consensus_jax.evaluation import systems
from consensus_jax.study import export

TOKENIZER = GOLDEN / 'tiny_llama'


def run(*arguments):
  return cli.main([*map(str, arguments)])


@pytest.mark.slow
def test_an_export_trains_and_evaluates(tmp_path, capsys):
  pytest.importorskip('matplotlib')
  study, engine, _ = study_finished.finished(tmp_path)
  export.write(tmp_path / 'export', export.files(engine, study))
  records = tmp_path / 'export' / 'records.jsonl'
  assert (
    run(
      *('data', 'prepare', records, '--task', 'consensus_reward_listwise'),
      *('--tokenizer', TOKENIZER, '--cache', tmp_path / 'cache'),
      *('--row_length', 512, '--statements_per_row', 3),
    )
    == 0
  )
  examples = capsys.readouterr().out.strip()
  folder = tmp_path / 'run'
  arguments = tiny.arguments(
    'reward_model',
    folder,
    examples,
    MODEL=None,
    PRETRAINED=str(TOKENIZER),
    BATCH_SIZE=2,
    EVALUATE_EVERY=5,
    SAVE_EVERY=10,
  )
  code, errors = tiny.run('reward_model', arguments)
  assert code == 0, errors
  assert tiny.lines(folder)[-1]['step'] == 10
  out = tmp_path / 'evaluated'
  assert (
    run(
      *('evaluate', 'reward_model', '--records', records),
      *('--reward_model', f'ours={folder / "export"}'),
      *('--features', TOKENIZER, '--baselines', systems.LENGTH, '--groups', 0),
      *('--draws', 20, '--max_statements', 4, '--no_robustness'),
      *('--out', out),
    )
    == 0
  )
  document = json.loads((out / 'benchmark.json').read_text())
  rows = document['sections'][0]['rows']
  assert {'ours', systems.LENGTH} <= {row['system'] for row in rows}
  # What people rated is reported too, each system by its name.
  assert (
    run(
      *('evaluate', 'experiments', '--gin_file=runs/eval_judgements.gin'),
      *('--out', tmp_path / 'experiments', f"--gin.RECORDS=('{records}',)"),
      '--gin.NUM_DRAWS=20',
    )
    == 0
  )
  report = next((tmp_path / 'experiments').glob('*.md')).read_text()
  assert 'model' in report
