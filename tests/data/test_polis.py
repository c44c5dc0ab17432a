import csv
import dataclasses
import pathlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_jax.data import polis
from consensus_jax.data.exclusions import total
from consensus_jax.strict_json import InputError

REAL = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'polis'

# By conversation: comments, participants, votes; statements, writers, voters,
# judgements of writers, of voters.
COUNTS = {
  '15-per-hour-seattle': (54, 339, 2872, 30, 16, 192, 287, 1518),
  'american-assembly.bowling-green': (
    *(896, 2031, 225524),
    *(607, 232, 1375, 48140, 164459),
  ),
  'bg2050-volunteers': (371, 126, 14283, 315, 53, 58, 8634, 3971),
  'brexit-consensus': (50, 204, 5303, 50, 10, 185, 352, 3527),
  'football-concussions': (298, 1487, 14328, 45, 12, 832, 296, 8427),
  'london.youth.policing': (39, 26, 638, 36, 14, 10, 397, 141),
  'scoop-hivemind.affordable-housing': (
    *(165, 381, 14995),
    *(119, 34, 275, 2267, 10334),
  ),
  'scoop-hivemind.biodiversity': (
    *(316, 536, 29719),
    *(154, 45, 417, 3516, 22280),
  ),
  'scoop-hivemind.freshwater': (80, 117, 3972, 51, 3, 99, 141, 3001),
  'scoop-hivemind.ubi': (71, 234, 7153, 52, 0, 185, 0, 5737),
}

COMMENT_HEADER = (
  *('timestamp', 'comment-id', 'author-id', 'agrees', 'disagrees'),
  *('moderated', 'comment-body'),
)
COMMENTS = [
  ['10', '0', '0', '2', '1', '1', 'Buses should be free for all'],
  ['20', '1', '1', '1', '1', '1', 'We need, above all, more "trees"!'],
  ['30', '2', '1', '1', '0', '1', 'Parks have to stay open\nat night'],
  ['40', '3', '2', '0', '2', '1', 'Cars out of the centre now'],
  ['50', '4', '3', '0', '0', '-1', 'This was thrown out at once'],
  ['60', '5', '3', '1', '0', '0', 'Nobody looked at this one yet'],
  ['70', '6', '2', '0', '0', '1', 'Yes!'],
]
# Participant, group-id, then the votes on comments 0 to 6.
VOTES = [
  ['0', '0', *('0', '', '', '', '', '', '')],
  ['1', '0', *('1', '1', '1', '-1', '', '', '')],
  ['2', '1', *('-1', '-1', '0', '', '', '', '')],
  ['3', '1', *('1', '0', '', '-1', '', '1', '')],
]


def rows_to_csv(path, rows, **style):
  with path.open('w', newline='', encoding='utf-8') as file:
    csv.writer(file, **style).writerows(rows)


def write_export(
  folder, comments=None, votes=None, header=COMMENT_HEADER, **style
):
  comments = COMMENTS if comments is None else comments
  votes = VOTES if votes is None else votes
  folder.mkdir(exist_ok=True)
  summary = [['topic', 'Our town'], ['url', 'x'], ['voters', '4']]
  rows_to_csv(folder / 'summary.csv', summary, **style)
  rows_to_csv(folder / 'comments.csv', [header, *comments], **style)
  ids = [row[1] for row in comments]
  top = ['participant', 'group-id', *ids]
  rows_to_csv(folder / 'participants-votes.csv', [top, *votes], **style)
  return folder


def changed(rows, row, column, value):
  rows = [list(each) for each in rows]
  rows[row][column] = value
  return rows


@pytest.fixture
def town(tmp_path):
  return write_export(tmp_path / 'town')


def test_a_conversation_becomes_a_record(town):
  record, report = polis.read(town)
  assert (record.id, record.source, record.group) == ('town', 'polis', 'town')
  assert record.question.text == 'What is your opinion on "Our town"?'
  assert [each.id for each in record.statements] == ['0', '1', '2', '3']
  assert record.statements[2].text == 'Parks have to stay open at night'
  assert record.statements[0].provenance == 'seed comment'
  one, two, three = record.members
  assert [each.participant for each in record.members] == [
    *('town/1', 'town/2', 'town/3')
  ]
  # Own words in the order they were written; no vote on one's own.
  assert one.opinion == (
    'We need, above all, more "trees"! Parks have to stay open at night.'
  )
  assert (one.judged, one.votes) == ((0, 3), (1, -1))
  assert (two.judged, two.votes) == ((0, 1, 2), (-1, -1, 0))
  assert two.opinion_provenance == 'comments'
  # Three's comments do not count, so one of two votes with a side is put into
  # words, and the rest stays.
  assert three.opinion_provenance == 'votes'
  said = {
    'Buses should be free for all. Agree.': ((1, 3), (0, -1)),
    'Cars out of the centre now. Disagree.': ((0, 1), (1, 0)),
  }
  assert (three.judged, three.votes) == said[three.opinion]
  check_sums(report)
  assert {(each.kind, each.reason, each.count) for each in report.excluded} == {
    ('comment', 'rejected by a moderator', 1),
    ('comment', 'not moderated', 1),
    ('comment', 'has fewer than 3 words', 1),
    ('participant', 'is a facilitator', 1),
    ('vote', 'of a participant who was left out', 1),
    ('vote', 'on a comment that was left out', 1),
    ('vote', 'on a comment of their own', 2),
  }
  assert report.warnings == ()


def check_sums(report):
  excluded = report.excluded
  assert report.comments == report.statements + total(excluded, 'comment')
  assert report.participants == (
    report.writers + report.voters + total(excluded, 'participant')
  )
  assert report.votes == (
    report.judgements + report.verbalised + total(excluded, 'vote')
  )


def test_votes_can_be_everyones_opinion(town):
  chosen = polis.PolisSettings(opinions='votes', min_judged=1)
  record, report = polis.read(town, chosen)
  assert report.writers == 0
  assert report.voters == len(record.members)
  (member,) = [m for m in record.members if m.participant.endswith('/1')]
  # Two votes on others' comments; one of them is put into words.
  assert member.opinion_provenance == 'votes'
  assert member.opinion in (
    'Buses should be free for all. Agree.',
    'Cars out of the centre now. Disagree.',
  )
  assert len(member.judged) == 1
  assert record.statements[member.judged[0]].text not in member.opinion


def test_unmoderated_comments_on_request(town):
  chosen = polis.PolisSettings(include_unmoderated=True)
  record, report = polis.read(town, chosen)
  assert [each.id for each in record.statements] == ['0', '1', '2', '3', '5']
  assert record.members[2].opinion == 'Nobody looked at this one yet.'
  check_sums(report)


def test_comments_about_people_are_no_statements(tmp_path):
  header = [*COMMENT_HEADER, 'is-meta']
  comments = [[*row, str(row[1] == '2').lower()] for row in COMMENTS]
  town = write_export(tmp_path / 'town', comments, header=header)
  record, report = polis.read(town)
  assert [each.id for each in record.statements] == ['0', '1', '3']
  check_sums(report)


def test_duplicates_are_merged(tmp_path):
  comments = [
    *COMMENTS,
    ['80', '7', '3', '2', '1', '1', 'buses should be free, for all!'],
  ]
  #       again     contradicts  only here
  votes = [
    [*row, vote] for row, vote in zip(VOTES, ['', '1', '1', ''], strict=True)
  ]
  votes.append(['9', '0', '', '1', '-1', '', '', '', '', '-1'])
  town = write_export(tmp_path / 'town', comments, votes)
  record, report = polis.read(town)
  members = {each.participant: each for each in record.members}
  assert [each.id for each in record.statements] == ['0', '1', '2', '3']
  one = members['town/1']
  assert (one.judged, one.votes) == ((0, 3), (1, -1))
  assert 0 not in members['town/2'].judged
  # Three wrote it too, so it is an opinion and not judged.
  assert members['town/3'].opinion == 'buses should be free, for all!'
  assert 0 not in members['town/3'].judged
  nine = members['town/9']
  assert 0 in nine.judged or 'Buses' in nine.opinion
  check_sums(report)
  reasons = {(each.reason, each.count) for each in report.excluded}
  assert ('contradicts the same person on the same wording', 2) in reasons
  assert ('repeats that of the same person on the same wording', 1) in reasons


@pytest.mark.parametrize(
  'encoding, style',
  [
    ('utf-8-sig', {'lineterminator': '\r\n'}),
    ('utf-16', {'lineterminator': '\n'}),
    ('utf-8', {'delimiter': ';'}),
    ('utf-8', {'delimiter': '\t', 'quoting': csv.QUOTE_ALL}),
    ('cp1252', {}),
  ],
)
def test_what_other_programs_make_of_it(tmp_path, encoding, style):
  comments = changed(COMMENTS, 3, 6, 'Cars out of the café quarter')
  plain, _ = polis.read(write_export(tmp_path / 'town', comments))
  folder = write_export(tmp_path / 'other', comments, **style)
  for path in folder.iterdir():
    path.write_bytes(path.read_bytes().decode().encode(encoding))
  settings = polis.PolisSettings(conversation='town')
  record, report = polis.read(folder, settings)
  assert record == plain
  assert len(report.warnings) == (encoding == 'cp1252')


def test_older_names_floats_and_other_order(town, tmp_path):
  plain, _ = polis.read(town)
  header = ('mod', 'Comment ID', 'Author_ID', 'TXT')
  comments = [[r[5], f'{r[1]}.0', f'{r[2]}.0', r[6]] for r in COMMENTS[::-1]]
  other = write_export(tmp_path / 'x', comments, header=header)
  names = [row[1] for row in COMMENTS]
  votes = [
    [row[0], *(f'{vote}.0' if vote else '' for vote in row[2:])]
    for row in VOTES
  ]
  rows_to_csv(
    other / 'participants-votes.csv', [['participant', *names], *votes]
  )
  for path in list(other.iterdir()):
    path.rename(other / f'2020-01-town-{path.name}')
  settings = polis.PolisSettings(conversation='town')
  assert polis.read(other, settings)[0] == plain


def test_without_summary_the_question_can_be_given(town):
  (town / 'summary.csv').unlink()
  settings = polis.PolisSettings(question='What now?')
  record, report = polis.read(town, settings)
  assert record.question.text == 'What now?'
  assert 'no summary.csv' in report.warnings[0]


@pytest.mark.parametrize(
  'topic, description, question',
  [
    ('Is it so?', 'Or is it not?', 'Is it so?'),
    (
      'Football',
      'It is **old**\r\n\r\nSee https://x.org/?a=1. Is it\nthe end? Why? Bye.',
      'Is it the end? Why?',
    ),
    ('Football', 'Closed.', 'What is your opinion on "Football"?'),
    ('', '', 'What is your opinion?'),
  ],
)
def test_phrase(topic, description, question):
  assert polis.phrase(topic, description) == question


@pytest.mark.parametrize(
  'text, words',
  [
    ('', 0),
    ('1406155523802 !!!', 0),
    ('https://example.org/a-long-path', 0),
    ("Don't do it", 4),
    ('我们需要更多公交车', 9),
  ],
)
def test_num_words(text, words):
  assert polis.num_words(text) == words


@pytest.mark.parametrize(
  'comments, votes, message',
  [
    (None, changed(VOTES, 2, 4, '2'), r'votes.csv:4: 2: must be 1, 0, -1 or'),
    (None, changed(VOTES, 2, 4, 'x'), r'votes.csv:4: 2: .* got \'x\''),
    (None, changed(VOTES, 2, 0, '1'), r':4: participant: .* on line 3 already'),
    (None, changed(VOTES, 2, 0, ' '), r':4: participant: is empty'),
    (None, [VOTES[0][:-1]], r'votes.csv:2: has 8 fields, the header has 9'),
    (changed(COMMENTS, 3, 1, '0'), None, r'comments.csv:6: comment-id: .*'),
    (changed(COMMENTS, 0, 5, '3'), None, r':2: moderated: must be -1, 0 or 1'),
    (changed(COMMENTS, 0, 5, 'y'), None, r':2: moderated: must be a whole'),
    (changed(COMMENTS, 4, 3, '1.5'), None, r':7: agrees: must be a whole'),
  ],
)
def test_errors_name_file_line_and_column(tmp_path, comments, votes, message):
  town = write_export(tmp_path / 'town', comments, votes)
  with pytest.raises(InputError, match=message):
    polis.read(town)


def test_other_errors(town, tmp_path):
  def read_after(name, old, new):
    folder = write_export(tmp_path / 'other')
    path = folder / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError) as error:
      polis.read(folder)
    return str(error.value)

  error = read_after('comments.csv', 'author-id', 'autor-id')
  assert "author-id: the column is missing (did you mean 'autor-id')" in error
  error = read_after('participants-votes.csv', ',6\n', ',77\n')
  assert 'votes.csv:1: 77: comments.csv has no comment of this id' in error
  error = read_after('participants-votes.csv', ',6\n', ',5\n')
  assert 'votes.csv:1: 5: the column stands there twice' in error
  rejected = [[*row[:5], '-1', row[6]] for row in COMMENTS]
  rejected[0][5] = '0'
  folder = write_export(tmp_path / 'rejected', rejected)
  with pytest.raises(InputError) as raised:
    polis.read(folder)
  error = str(raised.value)
  assert 'no comment is left' in error and 'not moderated?' in error
  (town / 'comments.csv').write_bytes(b'')
  with pytest.raises(InputError, match=r'comments\.csv:1: is empty'):
    polis.read(town)
  (town / 'comments.csv').unlink()
  with pytest.raises(InputError, match=r'holds no comments\.csv'):
    polis.read(town)
  with pytest.raises(InputError, match='is not a folder'):
    polis.read(town / 'summary.csv')
  with pytest.raises(ValueError, match='min_judged must be 1 or more'):
    polis.PolisSettings(min_judged=0)


def test_sums_that_differ_are_told_and_reversed_signs_refused(tmp_path):
  comments = changed(COMMENTS, 0, 3, '6')
  _, report = polis.read(write_export(tmp_path / 'a', comments))
  assert report.warnings == (
    *('comment 0: comments.csv counts 6 agrees and 1 disagrees, '
      'the votes 2 and 1',),
  )  # fmt: skip
  _, report = polis.read(write_export(tmp_path / 'b'))
  assert not report.warnings
  turn = {'1': '-1', '-1': '1'}
  votes = [[*r[:2], *(turn.get(vote, vote) for vote in r[2:])] for r in VOTES]
  votes += [[f'{i}', '', *('-1',) * 7] for i in range(10, 40)]
  comments = [[*r[:3], '32', '1', *r[5:]] for r in COMMENTS]
  with pytest.raises(InputError, match='signs of the votes seem to be rev'):
    polis.read(write_export(tmp_path / 'c', comments, votes))


VOTE = st.sampled_from(['1', '-1', '0', ''])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_is_lost(tmp_path_factory, data):
  number = data.draw(st.integers(1, 8))
  texts = ['Yes', 'We need more buses', 'we need more buses.', 'Trees are nice']
  comments = [
    [
      *(str(data.draw(st.integers(0, 99))), str(i)),
      *(str(data.draw(st.integers(0, 4))), '', ''),
      data.draw(st.sampled_from(['1', '1', '1', '0', '-1'])),
      f'{data.draw(st.sampled_from(texts))}',
    ]
    for i in range(number)
  ]
  comments[0][5:] = ['1', 'This stays in any case']
  people = data.draw(st.lists(st.integers(0, 9), unique=True))
  votes = [
    [str(p), '', *data.draw(st.lists(VOTE, min_size=number, max_size=number))]
    for p in people
  ]
  folder = tmp_path_factory.mktemp('polis')
  seed = data.draw(st.integers(0, 3))
  chosen = polis.PolisSettings(min_judged=1, verbalised_votes=3, seed=seed)
  record, report = polis.read(write_export(folder, comments, votes), chosen)
  check_sums(report)
  own = {}
  for row in comments:
    own.setdefault(row[2], set()).add(row[6].rstrip('.').casefold())
  for member in record.members:
    said = member.opinion
    words = own.get(member.participant.split('/')[1], set())
    for judged, vote in zip(member.judged, member.votes, strict=True):
      text = record.statements[judged].text
      # Nobody is asked about what their opinion gives away.
      assert f'"{text}."' not in said
      assert text.rstrip('.').casefold() not in words or (
        member.opinion_provenance == 'votes'
      )
      assert vote in (-1, 0, 1)
  # The order of rows and the people around one change nothing for one.
  turned, _ = polis.read(write_export(folder, comments, votes[::-1]), chosen)
  assert turned.members == record.members[::-1]


@pytest.mark.skipif(not REAL.is_dir(), reason='the real data are not here')
def test_real_conversations():
  start = time.process_time()
  for name, expected in COUNTS.items():
    record, report = polis.read(REAL / name)
    check_sums(report)
    of = {'comments': 0, 'votes': 0}
    for member in record.members:
      of[member.opinion_provenance] += len(member.judged)
    got = (
      *(report.comments, report.participants, report.votes),
      *(report.statements, report.writers, report.voters),
      *(of['comments'], of['votes']),
    )
    assert got == expected, name
    assert not any('column' in warning for warning in report.warnings)
  assert time.process_time() - start < 60


@pytest.mark.skipif(not REAL.is_dir(), reason='the real data are not here')
def test_a_real_record_is_the_same_again_and_differs_by_seed():
  folder = REAL / 'brexit-consensus'
  first, _ = polis.read(folder)
  assert polis.read(folder)[0] == first
  other, _ = polis.read(folder, polis.PolisSettings(seed=1))
  assert other.statements == first.statements
  assert other.members != first.members
  writers = [m for m in first.members if m.opinion_provenance == 'comments']
  assert [m for m in other.members if m in writers] == writers
  assert dataclasses.replace(other, members=first.members) == first
