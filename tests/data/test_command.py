import argparse
import dataclasses
import json
import subprocess
import sys

import pytest
import tiny_judged
import tiny_models

from consensus_jax.data import batches, command, materialise, record_files
from consensus_jax.strict_json import InputError

TOKENIZER = str(tiny_models.GOLDEN / 'tiny_qwen2')


def run(*argv):
  parser = argparse.ArgumentParser(prog='consensus data')
  command.add_arguments(parser)
  return command.run(parser.parse_args([str(arg) for arg in argv]))


@pytest.fixture
def study(tmp_path):
  records = [
    tiny_judged.record(seed, topic=f'topic {seed}', id=f'q{seed}')
    for seed in range(12)
  ]
  path = tmp_path / 'study.jsonl'
  record_files.write(path, records)
  return path


def write_polis(folder):
  folder.mkdir()
  (folder / 'summary.csv').write_text('topic,Should buses be free?\n')
  (folder / 'comments.csv').write_text(
    'timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,'
    'comment-body\n'
    '1,x,0,1,2,0,1,Buses should be free for all\n'
    '2,x,1,2,1,1,1,Somebody has to pay for them\n'
    '3,x,2,3,1,1,1,Only children should ride for free\n'
  )
  (folder / 'participants-votes.csv').write_text(
    'participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,2\n'
    '1,0,1,2,1,1,,1,-1\n2,0,1,2,2,0,1,,1\n3,1,1,2,1,1,1,-1,\n'
  )


def test_help_imports_nothing_heavy():
  code = (
    'import sys, argparse\n'
    'from consensus_jax.data import command\n'
    'parser = argparse.ArgumentParser()\n'
    'command.add_arguments(parser)\n'
    'for argv in (["-h"], ["prepare", "-h"]):\n'
    '  try: parser.parse_args(argv)\n'
    '  except SystemExit: pass\n'
    'heavy = {"jax", "tensorflow", "seqio", "rich", "tokenizers", "pyarrow"}\n'
    'assert not heavy & set(sys.modules), heavy & set(sys.modules)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  for verb in ('polis', 'habermas', 'import', 'convert', 'split', 'prepare'):
    assert verb in done.stdout
  assert '--row_length N' in done.stdout


def test_polis_becomes_records(tmp_path, capsys):
  write_polis(tmp_path / 'buses')
  out = tmp_path / 'buses.jsonl'
  assert run('polis', tmp_path / 'buses', '--out', out) == 0
  (record,) = record_files.read(out)
  assert record.question.text == 'Should buses be free?'
  assert len(record.statements) == 3 and len(record.members) == 3
  assert capsys.readouterr().err.endswith(': 1 record\n')
  assert run('inspect', out) == 0
  shown = capsys.readouterr().out
  facts = dict(
    line.split() for line in shown.split('\n\n')[0].splitlines()[3:8]
  )
  assert facts['deliberations'] == '1' and facts['statements'] == '3'
  assert facts['people'] == '3'


def test_the_facts_of_many_splits_stay_readable(tmp_path, capsys):
  path = given(
    tmp_path / 'given.jsonl',
    {'train': ('1', '2'), 'validation': ('1',), 'iid_test': ('1',)}
    | {'ood_test': ('3',), None: ('4',)},
  )
  assert run('inspect', path) == 0
  shown = capsys.readouterr().out.splitlines()
  assert max(map(len, shown)) <= 80
  headings = [line for line in shown if 'records of' in line]
  names = 'study', 'study, train', 'study, validation', 'study, ood_test'
  assert len(headings) == 2
  assert all(any(name in line for line in headings) for name in names)
  (facts, more) = [line.split() for line in shown if 'deliberations' in line]
  assert sorted(facts[1:] + more[1:]) == ['1', '1', '1', '1', '2']


def test_a_table_becomes_records(tmp_path, capsys):
  table = tmp_path / 'ratings.csv'
  table.write_text(
    'Frage,participant,opinion,statement,agreement,colour\n'
    'Why?,a,Because.,We agree on it,7,red\n'
    'Why?,a,,We do not agree on it,2,red\n'
  )
  out = tmp_path / 'r.parquet'
  argv = ('import', table, '--out', out, '--source', 'mine')
  assert run(*argv, '--column', 'question=Frage') == 0
  (record,) = record_files.read(out)
  assert record.source == 'mine'
  assert record.members[0].agreement == (7, 2)
  assert 'not read: colour' in capsys.readouterr().err
  with pytest.raises(InputError, match='--column'):
    run(*argv, '--column', 'question')
  with pytest.raises(InputError, match='--out'):
    run('import', table, '--out', table)


def test_a_split_keeps_its_records_apart(study, tmp_path, capsys):
  out = tmp_path / 'parts'
  fractions = ('--fraction', 'train=0.5', '--fraction', 'ood_test=0.5')
  argv = ('split', study, '--by', 'topic', '--out', out)
  assert run(*argv, '--seed', 1, *fractions) == 0
  parts = {
    name: list(record_files.read(out / f'{name}.jsonl'))
    for name in ('train', 'ood_test')
  }
  assert sum(map(len, parts.values())) == 12
  for name, records in parts.items():
    assert {record.question.split for record in records} == {name}
  for wrong in ('train=0.5', 'train=much', 'train'):
    with pytest.raises(InputError, match='--fraction'):
      run(*argv, '--fraction', wrong)


def given(path, topics_by_split):
  record_files.write(
    path,
    [
      tiny_judged.record(i, id=f'q{i}', topic=topic, split=split)
      for i, (split, topic) in enumerate(
        (split, topic)
        for split, topics in topics_by_split.items()
        for topic in topics
      )
    ],
  )
  return path


def test_a_split_may_be_that_of_the_questions(study, tmp_path):
  out = tmp_path / 'parts'
  records = given(
    tmp_path / 'given.jsonl',
    {'train': ('1', '2', ''), 'iid_test': ('1', ''), 'ood_test': ('3', '')},
  )
  argv = ('split', records, '--as_given', '--out', out)
  assert run(*argv) == 0
  found = {
    path.stem: len(list(record_files.read(path))) for path in out.iterdir()
  }
  assert found == {'train': 3, 'iid_test': 2, 'ood_test': 2}
  with pytest.raises(InputError, match='--fraction'):
    run(*argv, '--fraction', 'train=1')
  with pytest.raises(InputError, match='is in no split'):
    run('split', study, '--as_given', '--out', tmp_path / 'none')
  leaking = given(
    tmp_path / 'leaking.jsonl', {'train': ('1', '3'), 'ood_test': ('3',)}
  )
  with pytest.raises(InputError, match=r"1 topic .'3' in "):
    run('split', leaking, '--as_given', '--out', tmp_path / 'none')
  twice = [
    dataclasses.replace(
      record, question=dataclasses.replace(record.question, text='Why?')
    )
    for record in record_files.read(leaking)
  ]
  record_files.write(leaking, twice)
  with pytest.raises(InputError, match=r'1 question .*train and ood_test'):
    run('split', leaking, '--as_given', '--out', tmp_path / 'none')
  assert not (tmp_path / 'none').exists()


def test_records_are_converted(study, tmp_path, capsys):
  out = tmp_path / 'study.parquet'
  assert run('convert', study, out) == 0
  records = list(record_files.read(study))
  assert list(record_files.read(out)) == records
  lines = study.read_text().splitlines()
  lines[3] = lines[3].replace('"id"', '"di"', 1)
  lines[7] = '{"torn'
  study.write_text('\n'.join(lines))
  with pytest.raises(InputError, match=r'jsonl:4: di'):
    run('convert', study, tmp_path / 'bad.jsonl')
  assert not (tmp_path / 'bad.jsonl').exists()
  capsys.readouterr()
  assert run('convert', study, out, '--exclude') == 0
  assert list(record_files.read(out)) == [
    record for i, record in enumerate(records) if i not in (3, 7)
  ]
  told = capsys.readouterr().err.splitlines()
  assert told[-1].endswith('10 records, 2 left out')
  assert 'jsonl:4: di' in told[0] and 'jsonl:8: ' in told[1]
  with pytest.raises(InputError, match='OUT'):
    run('convert', study, study)
  study.write_text('{}\n')
  with pytest.raises(InputError, match='no records'):
    run('convert', study, out, '--exclude')
  assert 'left out' in capsys.readouterr().err
  assert len(list(record_files.read(out))) == 10


def test_examples_are_prepared_and_shown(study, tmp_path, capsys):
  argv = ('--task', 'consensus_reward_listwise', '--tokenizer', TOKENIZER)
  cache = tmp_path / 'cache'
  argv = (*argv, '--row_length', 512, '--statements_per_row', 3)
  assert run('prepare', study, *argv, '--cache', cache) == 0
  folder = capsys.readouterr().out.strip()
  examples = batches.open_examples(folder)
  assert examples.features['levels'].shape[1] == 3
  assert run('inspect', folder) == 0
  shown = capsys.readouterr().out
  assert 'consensus_reward_listwise' in shown and 'Consensus:' in shown
  assert '[prefix of study' in shown and f'{examples.num_examples}' in shown
  assert '[agreement ' in shown
  # What the model reads, and nothing else.
  row = {name: array[0] for name, array in examples.features.items()}
  prefix = row['tokens'][row['segment_ids'] == 1]
  text = tiny_models.load('tiny_qwen2').tokenizer.decode(prefix.tolist())
  first = text.split('\n')[0]
  assert first in shown.replace('\n', '') or first[:60] in shown
  assert run('inspect', study, *argv, '--examples', 1) == 0
  shown = capsys.readouterr().out
  assert 'mean' in shown and '[prefix, weight' in shown
  other = str(tiny_models.GOLDEN / 'tiny_llama')
  with pytest.raises(InputError, match='another tokenizer'):
    run('inspect', folder, '--tokenizer', other)
  assert run('inspect', folder, '--tokenizer', other, '--examples', 0) == 0


@pytest.mark.parametrize(
  ('task', 'extra', 'length'),
  [
    ('consensus_reward_ordinal', ('--judgement', 'votes'), 512),
    ('consensus_reward_pairs', ('--judgement', 'votes'), 512),
    ('consensus_reward_pairs', (), 1024),
    ('consensus_sft', ('--judgement', 'votes'), 1024),
    (
      'consensus_reward_pairs',
      ('--judgement', 'votes', '--row_length', 640),
      640,
    ),
  ],
)
def test_rows_of_votes_are_shorter(monkeypatch, task, extra, length):
  seen = []
  monkeypatch.setattr(
    materialise, 'materialise', lambda settings, cache: seen.append(settings)
  )
  assert run('prepare', 'polis:anywhere', '--task', task, *extra) == 0
  assert [settings.row_length for settings in seen] == [length]


def test_packed_rows_are_shown_with_their_special_tokens(
  study, tmp_path, capsys
):
  assert (
    run(
      *('prepare', study, '--task', 'consensus_sft', '--prompt', 'chat'),
      *('--tokenizer', TOKENIZER, '--cache', tmp_path / 'c'),
      *('--row_length', 2048, '--min_quality', 'none'),
    )
    == 0
  )
  folder = capsys.readouterr().out.strip()
  assert batches.open_examples(folder).meta['settings']['min_quality'] is None
  run('inspect', folder, '--examples', 1)
  shown = capsys.readouterr().out
  assert '<|im_start|>' in shown and '<|im_end|>' in shown
  assert '[segment 1: prompt' in shown and '[statement' in shown


def test_wrong_arguments_are_named(study, tmp_path):
  with pytest.raises(InputError, match=r'none\.jsonl'):
    run('inspect', tmp_path / 'none.jsonl')
  with pytest.raises(InputError, match='--download'):
    run('habermas', tmp_path)
  with pytest.raises(InputError, match='row_length'):
    run('prepare', study, '--task', 'consensus_sft', '--row_length', 2)
  with pytest.raises(InputError, match='no Polis conversation'):
    run('polis', tmp_path, '--out', tmp_path / 'x.jsonl')


def test_questions_are_counted(tmp_path, capsys):
  bank = tmp_path / 'bank.json'
  bank.write_text(
    json.dumps(
      [
        {'id': 'a', 'question': 'Should we?', 'topic': '1', 'split': 'train'},
        {'id': 'b', 'question': 'Should they?', 'topic': '2', 'split': 'train'},
      ]
    )
  )
  assert run('questions', bank) == 0
  assert '2 questions on 2 topics' in capsys.readouterr().out
