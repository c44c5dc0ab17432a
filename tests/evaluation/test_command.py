"""`consensus evaluate reward_model`, from files to a report."""

import argparse
import json
import sys

import pytest
from tiny_cases import conversation
from tiny_models import GOLDEN

from consensus_jax import cli, evaluation
from consensus_jax.data import record_files
from consensus_jax.evaluation import command, report, systems
from consensus_jax.strict_json import InputError


def run(*arguments):
  parser = argparse.ArgumentParser()
  command.add_arguments(parser)
  return command.run(parser.parse_args(['reward_model', *map(str, arguments)]))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  folder = tmp_path_factory.mktemp('records')
  for name, seed in (('test', 0), ('train', 1)):
    records = [conversation(seed, people=8, statements=40, name=name)]
    record_files.write(folder / f'{name}.jsonl', records)
  return folder


def test_a_report_with_pictures_is_written(files, tmp_path, capsys):
  pytest.importorskip('matplotlib')
  baselines = [systems.LENGTH, systems.LOGISTIC_ALONE, systems.POPULARITY]
  arguments = [
    *('--reward_model', f'ours={GOLDEN / "tiny_llama_reward"}'),
    *('--features', GOLDEN / 'tiny_llama'),
    *('--records', files / 'test.jsonl'),
    *('--train_records', files / 'train.jsonl'),
    *('--baselines', *baselines),
    *('--max_statements', 6, '--draws', 50, '--groups', 4),
    *('--out', tmp_path / 'out'),
  ]
  assert run(*arguments) == 0
  printed = capsys.readouterr().out
  document = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
  assert report.markdown(document) == printed
  assert printed == (tmp_path / 'out' / 'benchmark.md').read_text()
  votes, groups, moves = document['sections']
  assert {row['system'] for row in votes['rows']} == {
    'ours',
    systems.of_another('ours'),
    systems.of_nobody('ours'),
    *baselines,
  }
  assert [each['second'] for each in votes['differences']] == [
    systems.LENGTH,
    systems.POPULARITY,
    systems.of_another('ours'),
    systems.of_nobody('ours'),
  ]
  assert groups['all_groups'] == 4
  assert {row['system'] for row in groups['rows']} == {'ours', *baselines}
  assert moves['title'] == 'Robustness: ours'
  assert set(document['about']['models']) == {'ours', 'features'}
  assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
    'auc.svg',
    'benchmark.json',
    'benchmark.md',
    'calibration.ours.svg',
    'length.ours.svg',
  ]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--reward_model', '/absent'], 'there is no /absent'),
    (['--reward_model', 'prompted_rater'], 'among the baselines'),
    (['--reward_model', 'a=.', '--reward_model', 'a=..'], "are called 'a'"),
    (['--draws', '0'], '--draws: must be 1 or more, got 0'),
    (['--baselines', 'luck'], "got 'luck'"),
    (['--train_records', '/absent.jsonl'], 'cannot read'),
  ],
)
def test_bad_arguments_are_told_before_work_begins(
  arguments, message, files, tmp_path
):
  with pytest.raises(InputError, match=message):
    run(
      *('--records', files / 'test.jsonl', '--out', tmp_path / 'out'),
      *arguments,
    )
  assert not (tmp_path / 'out').exists()


def test_records_with_one_id_are_refused(files, tmp_path):
  path = files / 'test.jsonl'
  with pytest.raises(InputError, match="'test' is the id of two records"):
    run('--records', path, path, '--out', tmp_path / 'out')


def test_without_matplotlib_nothing_is_begun(
  files, tmp_path, monkeypatch, capsys
):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  monkeypatch.delitem(
    sys.modules, 'consensus_jax.evaluation.figures', raising=False
  )
  monkeypatch.delattr(evaluation, 'figures', raising=False)
  out = tmp_path / 'out'
  arguments = ['--records', str(files / 'test.jsonl'), '--out', str(out)]
  assert cli.main(['evaluate', 'reward_model', *arguments]) == 2
  error = capsys.readouterr().err
  assert error.startswith('error: needs matplotlib')
  assert "pip install 'consensus_jax[train]'" in error
  assert not out.exists()
