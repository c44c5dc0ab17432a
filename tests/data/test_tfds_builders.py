import subprocess
import sys

import pytest
import tiny_judged
from hypothesis import given, settings
from judged_deliberations import deliberations

from consensus_jax.data import habermas, habermas_example, record_files
from consensus_jax.data.records import Question
from consensus_jax.strict_json import InputError

tfds = pytest.importorskip('tensorflow_datasets')
builders = pytest.importorskip('consensus_jax.data.tfds_builders')


def load(name, folder, data_dir):
  config = tfds.download.DownloadConfig(manual_dir=str(folder))
  found = tfds.load(
    name,
    data_dir=str(data_dir),
    download_and_prepare_kwargs={'download_config': config},
  )
  return {
    split: sorted(
      map(builders.to_record, tfds.as_numpy(examples)), key=lambda r: r.id
    )
    for split, examples in found.items()
  }


@given(deliberations())
@settings(max_examples=30)
def test_an_example_is_its_record(record):
  encoded = builders.features().encode_example(builders.to_example(record))
  assert set(encoded) == {
    *('id', 'source', 'group', 'question', 'statements', 'members')
  }


def test_files_of_records_are_loaded_as_they_are(tmp_path):
  records = tiny_judged.records(5)
  judged_nothing = tiny_judged.record(9, members=0, statements=0)
  held_out = tiny_judged.record(7, split='ood_test', topic='t', id='q')
  folder = tmp_path / 'records'
  folder.mkdir()
  record_files.write(folder / 'a.jsonl', [*records, judged_nothing])
  record_files.write(folder / 'b.jsonl', [held_out])
  loaded = load('judged_deliberations', folder, tmp_path / 'cache')
  assert loaded == {
    'train': [*records, judged_nothing],
    'ood_test': [held_out],
  }
  assert loaded['ood_test'][0].question == Question(
    text=held_out.question.text, split='ood_test', topic='t', id='q'
  )


def test_the_habermas_machine_is_loaded_as_it_is_read(tmp_path):
  habermas_example.write(tmp_path / 'files')
  records, _ = habermas.read(tmp_path / 'files')
  loaded = load('habermas_machine', tmp_path / 'files', tmp_path / 'cache')
  together = [record for part in loaded.values() for record in part]
  assert sorted(together, key=lambda r: r.id) == sorted(
    records, key=lambda r: r.id
  )


def test_polis_is_loaded_as_it_is_read(tmp_path):
  folder = tmp_path / 'buses'
  folder.mkdir()
  (folder / 'comments.csv').write_text(
    'timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,'
    'comment-body\n'
    '1,x,0,1,2,0,1,Buses should be free for all\n'
    '2,x,1,2,2,1,1,“Somebody” has to pay for them\n'
    '3,x,2,2,2,1,1,Only children should ride for free\n'
  )
  (folder / 'participants-votes.csv').write_text(
    'participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,2\n'
    '1,0,1,3,3,0,1,1,1\n2,0,2,3,3,0,1,1,1\n3,1,0,3,1,2,1,-1,-1\n'
  )
  (record,) = builders.sources.load(f'polis:{folder}')
  loaded = load('polis_conversations', tmp_path, tmp_path / 'cache')
  assert loaded == {'train': [record]}


def test_a_folder_without_records_is_an_error(tmp_path):
  with pytest.raises(InputError, match=r'no \.jsonl'):
    builders.record_files_of(tmp_path)


def test_beam_is_asked_for_only_when_it_is_used():
  code = (
    'import sys\n'
    'from consensus_jax.data import tfds_builders\n'
    'assert "apache_beam" not in sys.modules\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_beam_writes_what_the_other_builder_writes(tmp_path):
  pytest.importorskip('apache_beam')
  records = tiny_judged.records(6)
  held_out = tiny_judged.records(2, source='new')
  folder = tmp_path / 'records'
  folder.mkdir()
  record_files.write(folder / 'train.jsonl', records)
  record_files.write(folder / 'ood_test.jsonl', held_out)
  loaded = load('judged_deliberations_beam', folder, tmp_path / 'cache')
  assert loaded == {'train': records, 'ood_test': held_out}
