import damage
import pytest
from data.habermas_files import change_rows, change_table
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from consensus_jax.data import habermas, habermas_example
from consensus_jax.data.exclusions import total
from consensus_jax.data.habermas_schema import (
  AGREEMENT,
  COMPARISONS,
  POSITIONS,
  PREFERENCES,
  SURVEYS,
)
from consensus_jax.strict_json import InputError

ONE = {'TRAINING_DATA_V1': 1}


@pytest.fixture
def folder(tmp_path):
  """One group, one round, two iterations; five people, nothing odd."""
  habermas_example.write(tmp_path, num_groups=ONE, traps=False)
  return tmp_path


def comparisons(folder):
  return parquet.read_table(folder / COMPARISONS.name).to_pylist()


def test_a_round_becomes_a_record(folder):
  (record,), report = habermas.read(folder)
  rows = comparisons(folder)
  first, last = rows[0], rows[5]
  assert (record.id, record.group) == (first['round_id'], first['launch_id'])
  assert record.source == 'habermas'
  assert record.question.text == first['question.text']
  assert record.question.affirming == first['question.affirming_statement']
  assert record.question.topic == str(first['question.topic'])
  assert [each.round for each in record.statements] == [0] * 4 + [1] * 4
  shown = first['candidates.text'] + last['candidates.text']
  assert [each.text for each in record.statements] == shown
  member = record.members[0]
  # There is no worker_id in these rows, so the sitting is the person.
  assert member.participant == first['metadata.participant_id']
  assert member.opinion == first['own_opinion.text']
  assert member.critique == last['critique.text']
  assert member.judged == (*range(8),)
  said = first['ratings.agreement'] + last['ratings.agreement']
  assert [*member.agreement] == [AGREEMENT[name] for name in said]
  for offset, row in ((0, first), (4, last)):
    rank_of = dict(
      zip(row['rankings.candidate_ids'], row['rankings.numerical_ranks'])
    )
    expected = [rank_of[id] for id in row['candidates.metadata.id']]
    assert [*member.ranking[offset : offset + 4]] == expected
  assert len(record.members) == report.members == 5
  assert report.judgements == 40 and report.excluded == ()


def test_the_order_of_rankings_is_that_of_their_ids(folder):
  plain, _ = habermas.read(folder)

  def turn(rows):
    for row in rows:
      for column in ('rankings.candidate_ids', 'rankings.numerical_ranks'):
        row[column] = row[column][::-1]

  change_rows(folder, COMPARISONS, turn)
  assert habermas.read(folder)[0] == plain


def test_the_person_is_known_where_there_is_a_worker(folder):
  def name(rows):
    for row in rows:
      row['worker_id'] = f'worker {row["metadata.participant_id"]}'

  change_rows(folder, COMPARISONS, name)
  (record,), _ = habermas.read(folder)
  assert all(m.participant.startswith('worker ') for m in record.members)


def test_positions_before_and_after(folder):
  (record,), _ = habermas.read(folder)
  expected = {}
  for row in parquet.read_table(folder / POSITIONS.name).to_pylist():
    key = row['metadata.participant_id'], row['rating_index']
    expected[key] = AGREEMENT[row['ratings.agreement'][0]]
  for member in record.members:
    assert member.position_before == expected[member.participant, 0]
    assert member.position_after == expected[member.participant, 1]

  def mock(rows):
    rows[0]['ratings.agreement'] = ['MOCK']
    rows[1]['ratings.agreement'] = None

  change_rows(folder, POSITIONS, mock)
  (record,), _ = habermas.read(folder)
  assert record.members[0].position_before is None
  assert record.members[0].position_after is None
  assert record.members[1].position_before is not None


def test_only_the_comparisons_must_be_there(folder):
  plain, _ = habermas.read(folder)
  for file in (POSITIONS, SURVEYS, PREFERENCES):
    (folder / file.name).unlink()
  (record,), report = habermas.read(folder)
  assert record.members[0].position_before is None
  assert record.statements == plain[0].statements
  assert any('positions are not known' in text for text in report.warnings)
  assert [name for name, _ in report.files] == [COMPARISONS.name]
  (folder / COMPARISONS.name).unlink()
  with pytest.raises(InputError, match=r'parquet: there is no such file'):
    habermas.read(folder)
  with pytest.raises(InputError, match='is not a folder'):
    habermas.read(folder / 'none')


def test_leaked_prefixes_are_stripped_and_counted(folder):
  def leak(rows):
    for row in rows[5:]:
      row['candidates.text'][1] = 'Final consensus statement: We agree.'

  change_rows(folder, COMPARISONS, leak)
  (record,), report = habermas.read(folder)
  assert record.statements[5].text == 'We agree.'
  assert report.stripped == 1


def test_an_empty_candidate_is_left_out_and_ranks_close(folder):
  def empty(rows):
    for row in rows[:5]:
      row['candidates.text'][2] = ' \n'
      row['rankings.candidate_ids'] = row['candidates.metadata.id']
      row['rankings.numerical_ranks'] = [3, 2, 1, 0]
    rows[0]['rankings.numerical_ranks'] = [1, 1, 0, 0]

  change_rows(folder, COMPARISONS, empty)
  (record,), report = habermas.read(folder)
  assert [each.round for each in record.statements] == [0] * 3 + [1] * 4
  assert record.members[0].ranking[:3] == (1, 1, 0)
  assert record.members[1].ranking[:3] == (2, 1, 0)
  counts = {(e.kind, e.reason): e.count for e in report.excluded}
  assert counts == {
    ('statement', 'is empty'): 1,
    ('judgement', 'of an empty statement'): 5,
  }


def test_own_opinions_are_not_judged(folder):
  def show_opinions(rows):
    for row in rows:
      row['candidates.text'][0] = rows[0]['own_opinion.text']
      row['own_opinion.text'] += '' if row is rows[0] else ' And more.'

  change_rows(folder, COMPARISONS, show_opinions)
  (record,), report = habermas.read(folder)
  assert record.members[0].judged == (1, 2, 3, 5, 6, 7)
  assert record.members[1].judged == (*range(8),)
  assert [(e.reason, e.count) for e in report.excluded] == [
    ('of their own opinion', 2)
  ]


def test_a_candidate_in_both_iterations_is_two_statements(folder):
  def show_again(rows):
    for row in rows[5:]:
      old = row['candidates.metadata.id'][0]
      new = rows[0]['candidates.metadata.id'][0]
      row['candidates.metadata.id'][0] = new
      ids = row['rankings.candidate_ids']
      ids[ids.index(old)] = new

  change_rows(folder, COMPARISONS, show_again)
  (record,), _ = habermas.read(folder)
  ids = [each.id for each in record.statements]
  assert ids[4] == f'{ids[0]}/1'
  assert len(record.members[0].judged) == 8


def test_mocks(folder):
  def mock(rows):
    rows[0]['ratings.quality'][0] = 'MOCK'
    rows[1]['ratings.agreement'][1] = 'MOCK'
    rows[2]['rankings.numerical_ranks'] = [-1] * 4
    rows[3]['rankings.numerical_ranks'] = None
    rows[3]['rankings.candidate_ids'] = None
    rows[4]['ratings.agreement'] = None

  change_rows(folder, COMPARISONS, mock)
  (record,), report = habermas.read(folder)
  one, two, *others = record.members
  assert one.quality[0] is None and one.agreement[0] is not None
  assert two.judged == (0, *range(2, 8))
  assert sorted({*two.ranking[:3]}) == [*range(len({*two.ranking[:3]}))]
  assert [member.judged for member in others] == [(4, 5, 6, 7)] * 3
  assert total(report.excluded, 'judgement') == 13
  assert total(report.excluded, 'comparison') == 3


def test_splits_by_their_names(folder):
  names = ('TRAIN', 'VALIDATION', 'IID_TEST', 'OOD_TEST', 'MOCK')
  splits = ('train', 'validation', 'iid_test', 'ood_test', None)
  for name, split in zip(names, splits):

    def put(rows, name=name):
      for row in rows:
        row['question.split'] = name

    change_rows(folder, COMPARISONS, put)
    (record,), _ = habermas.read(folder)
    assert record.question.split == split


@pytest.mark.parametrize(
  'column, value, message',
  [
    ('ratings.agreement', ['AGREED'] * 4, "'AGREED' is no.*mean AGREE?"),
    ('ratings.quality', ['agree'] * 4, "'agree' is no known name"),
    ('candidates.metadata.provenance', ['ROBOT'] * 4, "'ROBOT' is no known"),
    ('own_opinion.metadata.provenance', 'PERSON', "'PERSON' is no known"),
    ('question.split', 'TEST', "'TEST' is no.*mean OOD_TEST"),
    ('ratings.agreement', ['AGREE'], 'holds 1 entries'),
    ('candidates.text', ['A'], r'holds \d entries'),
    ('rankings.candidate_ids', ['a', 'b', 'c', 'd'], 'do not fit'),
    ('rankings.numerical_ranks', [0, 1], 'do not fit'),
    ('rankings.numerical_ranks', [0, 1, 2, -2], 'must be -1 or more'),
    ('iteration_index', -1, 'must be 0 or more'),
    ('iteration_index', None, 'must be a whole number'),
    ('launch_id', None, 'is empty'),
    ('metadata.version', 'TRAINING', 'is no known version'),
    ('candidates.metadata.id', ['a', 'a', 'b', 'c'], 'holds an id twice'),
  ],
)
def test_errors_name_row_and_column(folder, column, value, message):
  def spoil(rows):
    rows[3][column] = value

  change_rows(folder, COMPARISONS, spoil)
  with pytest.raises(InputError, match=message) as error:
    habermas.read(folder)
  assert error.value.file == str(folder / COMPARISONS.name)
  place = str(error.value)
  assert f'rows[3].{column.split(".")[0]}' in place


def test_lists_that_are_not_needed_must_fit_as_well(folder):
  def spoil(rows):
    rows[2]['other_opinions.text'] = ['one']

  change_rows(folder, COMPARISONS, spoil)
  with pytest.raises(InputError, match=r'rows\[2\].other_opinions'):
    habermas.read(folder)


def test_errors_of_positions(folder):
  def spoil(rows):
    rows[1]['ratings.agreement'] = ['YES']

  change_rows(folder, POSITIONS, spoil)
  with pytest.raises(InputError, match="'YES' is no known name") as error:
    habermas.read(folder)
  assert f'{POSITIONS.name}: rows[1].ratings.agreement' in str(error.value)


def test_a_text_that_changes(folder):
  def spoil(rows):
    rows[1]['candidates.text'][0] = 'Other'

  change_rows(folder, COMPARISONS, spoil)
  with pytest.raises(InputError, match='has two texts in round'):
    habermas.read(folder)


def test_gaps_in_rankings_are_closed_and_told(folder):
  def spoil(rows):
    rows[1]['rankings.candidate_ids'] = rows[1]['candidates.metadata.id']
    rows[1]['rankings.numerical_ranks'] = [5, 2, 2, 0]

  change_rows(folder, COMPARISONS, spoil)
  (record,), report = habermas.read(folder)
  assert record.members[1].ranking[:4] == (2, 1, 1, 0)
  assert '1 rankings had gaps, which are closed: rows 1' in report.warnings


def test_floats_and_dictionaries_read_alike(folder):
  plain, _ = habermas.read(folder)

  def convert(table):
    for name, kind in (
      ('iteration_index', 'double'),
      ('question.topic', 'double'),
    ):
      at = table.schema.get_field_index(name)
      table = table.set_column(at, name, table[name].cast(kind))
    for name in ('launch_id', 'question.split'):
      at = table.schema.get_field_index(name)
      table = table.set_column(at, name, table[name].dictionary_encode())
    return table

  change_table(folder, COMPARISONS, convert)
  assert habermas.read(folder)[0] == plain


def test_all_of_it_with_traps(tmp_path):
  traps = habermas_example.write(tmp_path, seed=1)
  records, report = habermas.read(
    tmp_path, habermas.HabermasSettings(registered=False)
  )
  excluded = report.excluded
  # What was put in is found again.
  counts = {(e.kind, e.reason): e.count for e in excluded}
  assert report.stripped == traps.leaked
  assert counts.get(('statement', 'is empty')) == traps.empty
  mocks = 'of an opinion that no person wrote'
  assert counts['judgement', mocks] == 4 * traps.bots
  assert counts['judgement', 'has no rating of agreement'] == traps.mock_ratings
  assert counts['judgement', 'has no rank'] == traps.mock_ranks
  read = sum(len(row['candidates.text']) for row in comparisons(tmp_path))
  assert read == report.judgements + total(excluded, 'judgement')
  # Somebody came twice to each cohort that has a worker_id.
  people = {}
  for record in records:
    for member in record.members:
      people.setdefault(member.participant, set()).add(record.group)
  assert (
    sum(len(groups) == 2 for groups in people.values()) == traps.repeats - 1
  )
  # As registered, the group that they came to second is gone, in cohort 1.
  fewer, _ = habermas.read(tmp_path)
  assert len(records) - len(fewer) == 3
  # The same again.
  assert habermas.read(tmp_path)[0] == fewer


def test_only_some_versions(tmp_path):
  habermas_example.write(tmp_path)
  chosen = habermas.HabermasSettings(versions=('TRAINING_DATA_V1',))
  records, report = habermas.read(tmp_path, chosen)
  assert len(records) == 4
  assert [each.version for each in report.cohorts] == ['TRAINING_DATA_V1']
  with pytest.raises(ValueError, match='did you mean TRAINING_DATA_V5'):
    habermas.HabermasSettings(versions=('TRAINING_DATA_V55',))


@given(st.lists(st.integers(0, 9)))
def test_densified(ranks):
  dense = habermas.densified(ranks)
  assert {*dense} == {*range(len({*ranks}))}
  for a, x in zip(ranks, dense):
    for b, y in zip(ranks, dense):
      assert (a < b) == (x < y)


def test_damaged_files(folder):
  path = folder / COMPARISONS.name
  whole = path.read_bytes()
  refused = 0
  for data in damage.copies(whole, len(whole), seed=0, number=60):
    path.write_bytes(data)
    try:
      habermas.read(folder)
    except InputError as error:
      assert str(path) in str(error)
      refused += 1
  # What is left is damage to columns that nobody reads.
  assert refused > 30
