"""Polis conversations: what people wrote, how they voted on what others wrote.

A conversation is one record: its comments are the statements, its voters the
members. People's own comments are their opinion; the opinion of people who
wrote nothing is some of their votes put into words, and they are asked about
the others only.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int8

from consensus_jax.data.exclusions import Exclusion, Tally
from consensus_jax.data.near_duplicates import normalised
from consensus_jax.data.plain_text import one_line
from consensus_jax.data.polis_export import (
  NO_VOTE,
  Comment,
  Export,
  natural,
  read_export,
)
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.data.verbalise import choose, verbalise
from consensus_jax.strict_json import InputError

# Letters that make a word, or one sign of a script without spaces.
_WORD = re.compile('[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\\W\\d_]+')
_LINK = re.compile(r'\b(?:https?://|www\.)\S*[^\s.,;:!?)]')
_ASKED = re.compile(r'[^.!?\s][^.!?]*\?')


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolisSettings:
  """How a conversation becomes a record.

  Attributes:
    conversation: the record's id, which makes its participants' names unique;
      '' for the folder's name.
    question: what the conversation is about; '' to phrase it from its topic.
    facilitators: author ids that are no person of the public. Their comments
      are statements; their votes are left out.
    include_unmoderated: also take comments that nobody accepted or rejected,
      for a conversation that was not moderated.
    min_words: comments with fewer words are left out; links do not count.
    min_judged: members who judge fewer statements are left out.
    opinions: what people's opinions are: their 'comments', and votes in words
      for those who wrote nothing; or 'votes' for everyone.
    verbalised_votes: how many votes describe a person; never more than half of
      those with a side, so that some are left to predict.
    seed: of the choice of these votes.

  Raises:
    ValueError: for a number that is too small, or unknown opinions.
  """

  conversation: str = ''
  question: str = ''
  facilitators: tuple[str, ...] = ('0',)
  include_unmoderated: bool = False
  min_words: int = 3
  min_judged: int = 2
  opinions: Literal['comments', 'votes'] = 'comments'
  verbalised_votes: int = 8
  seed: int = 0

  def __post_init__(self):
    if self.opinions not in ('comments', 'votes'):
      raise ValueError(
        f"opinions must be 'comments' or 'votes', got {self.opinions!r}"
      )
    for field, least in (
      ('min_words', 1),
      ('min_judged', 1),
      ('verbalised_votes', 0),
    ):
      if getattr(self, field) < least:
        raise ValueError(
          f'{field} must be {least} or more, got {getattr(self, field)}'
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolisReport:
  """What became of a conversation; every comment, person and vote is in it.

  comments = statements + excluded comments; participants = writers + voters +
  excluded participants; votes = judgements + verbalised + excluded votes.

  Attributes:
    conversation: the record's id.
    comments: rows of comments.csv.
    participants: rows of participants-votes.csv.
    votes: agreements, disagreements and passes, all of them.
    statements: in the record.
    writers: members whose opinion is their own comments.
    voters: members whose opinion is votes in words.
    judgements: votes in the record.
    verbalised: votes that became words.
    excluded: comments, participants and votes that were left out, and why.
    warnings: what is odd about the files.
  """

  conversation: str
  comments: int
  participants: int
  votes: int
  statements: int
  writers: int
  voters: int
  judgements: int
  verbalised: int
  excluded: tuple[Exclusion, ...]
  warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Merged:
  """Comments of one wording; the first gives the statement."""

  comments: tuple[Comment, ...]
  columns: tuple[int, ...]


def read(
  folder: str | pathlib.Path, settings: PolisSettings = PolisSettings()
) -> tuple[JudgedDeliberation, PolisReport]:
  """Reads the export of one conversation from its folder.

  Raises:
    InputError: with file, line and column, if a file is not understood, or if
      nothing that can be judged is left.
  """
  export = read_export(folder)
  name = settings.conversation or pathlib.Path(folder).resolve().name
  warnings = [*export.warnings, *_check_sums(export, str(folder))]
  tally = Tally()
  merged = _accepted(export, settings, tally)
  if not merged:
    message = 'no comment is left to judge'
    if any(comment.moderated == 0 for comment in export.comments):
      message += '; include those that were not moderated?'
    raise InputError(message, file=str(folder))
  votes = _merge_votes(export, merged, tally)
  members, verbalised = _members(name, export, merged, votes, settings, tally)
  record = JudgedDeliberation(
    id=name,
    source='polis',
    group=name,
    question=Question(
      text=settings.question or phrase(export.topic, export.description),
      topic=export.topic or name,
    ),
    statements=tuple(
      Statement(
        text=each.comments[0].text,
        id=each.comments[0].id,
        author=_person(name, each.comments[0].author),
        provenance='seed comment'
        if each.comments[0].author in settings.facilitators
        else 'comment',
      )
      for each in merged
    ),
    members=members,
  )
  writers = sum(each.opinion_provenance == 'comments' for each in members)
  report = PolisReport(
    conversation=name,
    comments=len(export.comments),
    participants=len(export.participants),
    votes=int((export.votes != NO_VOTE).sum()),
    statements=len(merged),
    writers=writers,
    voters=len(members) - writers,
    judgements=sum(len(member.judged) for member in members),
    verbalised=verbalised,
    excluded=tally.exclusions(),
    warnings=tuple(warnings),
  )
  return record, report


def phrase(topic: str, description: str = '') -> str:
  """A question from what the conversation calls itself.

  The topic, if it is a question; else the questions that its description
  asks; else a question about the topic.
  """
  topic = one_line(topic)
  if topic.endswith('?'):
    return topic
  plain = re.sub('[*_#>]+', '', _LINK.sub('', description))
  asked = [
    one_line(question)
    for paragraph in re.split(r'\n\s*\n', plain)
    for question in _ASKED.findall(paragraph)
  ]
  if asked:
    return ' '.join(asked)
  if topic:
    return f'What is your opinion on "{topic}"?'
  return 'What is your opinion?'


def num_words(text: str) -> int:
  """Words, without links and numbers; in Chinese or Thai signs."""
  return len(_WORD.findall(_LINK.sub(' ', text)))


def _person(conversation: str, id: str) -> str:
  # People of different conversations are different people.
  return f'{conversation}/{id}' if id else ''


def _check_sums(export: Export, folder: str) -> list[str]:
  # Compares comments.csv with the votes; warns where they differ by over 1.
  warnings = []
  straight = reversed_ = 0
  for comment, column in zip(export.comments, export.votes.T):
    if comment.agrees is None or comment.disagrees is None:
      continue
    counts = int((column == 1).sum()), int((column == -1).sum())
    stated = comment.agrees, comment.disagrees
    away = [abs(a - b) for a, b in zip(counts, stated)]
    straight += sum(away)
    reversed_ += sum(abs(a - b) for a, b in zip(counts, stated[::-1]))
    if max(away) > 1 and (column != NO_VOTE).any():
      warnings.append(
        f'comment {comment.id}: comments.csv counts {stated[0]} agrees and '
        f'{stated[1]} disagrees, the votes {counts[0]} and {counts[1]}'
      )
  # Some tools write votes as the database holds them, where -1 is agreement.
  if reversed_ < straight / 4:
    raise InputError(
      'the signs of the votes seem to be reversed: exports write 1 for '
      'agreement, but comments.csv fits -1',
      file=folder,
    )
  return warnings


def _accepted(
  export: Export, settings: PolisSettings, tally: Tally
) -> tuple[_Merged, ...]:
  kept: dict[str, list[tuple[Comment, int]]] = {}
  for column, comment in enumerate(export.comments):
    reason = _unfit(comment, settings)
    key = normalised(comment.text)
    if reason is None and key in kept:
      first = kept[key][0][0].id
      example = f'{comment.id}, as {first}: {comment.text}'
      tally.add('comment', 'says what another says; merged', example)
    elif reason is not None:
      tally.add('comment', reason, f'{comment.id}: {comment.text}')
      continue
    kept.setdefault(key, []).append((comment, column))
  return tuple(_Merged(*map(tuple, zip(*same))) for same in kept.values())


def _unfit(comment: Comment, settings: PolisSettings) -> str | None:
  if comment.moderated == -1:
    return 'rejected by a moderator'
  if comment.moderated == 0 and not settings.include_unmoderated:
    return 'not moderated'
  if comment.meta:
    return 'says who people are, not what they want'
  words = num_words(comment.text)
  if not words:
    return 'holds no words'
  if words < settings.min_words:
    return f'has fewer than {settings.min_words} words'
  return None


def _merge_votes(
  export: Export, merged: Sequence[_Merged], tally: Tally
) -> Int8[np.ndarray, 'participants statements']:
  # One vote a person and statement; those who contradict themselves have none.
  read_columns = [column for each in merged for column in each.columns]
  left_out = np.ones(len(export.comments), bool)
  left_out[read_columns] = False
  lost = (export.votes[:, left_out] != NO_VOTE).sum(0)
  for place, count in zip(np.flatnonzero(left_out), lost):
    comment = export.comments[place]
    example = f'{count} on comment {comment.id}'
    tally.add('vote', 'on a comment that was left out', example, int(count))
  votes = export.votes[:, [each.columns[0] for each in merged]].copy()
  for index, each in enumerate(merged):
    if len(each.columns) == 1:
      continue
    same = export.votes[:, list(each.columns)]
    voted = same != NO_VOTE
    low = np.where(voted, same, NO_VOTE).min(1)
    high = np.where(voted, same, -1).max(1)
    clash = voted.any(1) & (low != high)
    votes[:, index] = np.where(clash, NO_VOTE, low)
    ids = ', '.join(comment.id for comment in each.comments)
    again = int((voted.sum(1) - 1)[voted.any(1) & ~clash].sum())
    for reason, count in (
      ('contradicts the same person on the same wording', voted[clash].sum()),
      ('repeats that of the same person on the same wording', again),
    ):
      tally.add('vote', reason, f'{count} on comments {ids}', int(count))
  return votes


def _members(
  name: str,
  export: Export,
  merged: Sequence[_Merged],
  votes: Int8[np.ndarray, 'participants statements'],
  settings: PolisSettings,
  tally: Tally,
) -> tuple[tuple[Member, ...], int]:
  # The members, and how many votes were put into words for them.
  written, own = _written(export, merged)
  if settings.opinions == 'votes':
    written = [[] for _ in written]
  rows = set(export.participants)
  for author in dict.fromkeys(each.author for each in export.comments):
    if author and author not in rows and author not in settings.facilitators:
      tally.add('author', 'has no row of votes', f'author {author}')
  members: list[Member] = []
  num_verbalised = 0
  for index, participant in enumerate(export.participants):
    voted = np.flatnonzero(votes[index] != NO_VOTE)
    judged = voted[~own[index, voted]]
    reason, verbalised = None, np.array([], int)
    if participant in settings.facilitators:
      reason = 'is a facilitator'
    elif not written[index]:
      ballots = votes[index, judged].tolist()
      count = min(
        settings.verbalised_votes, sum(vote != 0 for vote in ballots) // 2
      )
      seed = f'{settings.seed}/{_person(name, participant)}'
      verbalised = judged[list(choose(ballots, count, seed))]
      judged = np.setdiff1d(judged, verbalised)
      if not count:
        reason = 'has no opinion: too few votes with a side to describe'
    if reason is None and len(judged) < settings.min_judged:
      reason = f'judges fewer than {settings.min_judged} statements'
    if reason is not None:
      tally.add('participant', reason, f'participant {participant}')
      example = f'{len(voted)} of participant {participant}'
      tally.add(
        'vote', 'of a participant who was left out', example, len(voted)
      )
      continue
    on_own = len(voted) - len(judged) - len(verbalised)
    example = f'{on_own} of participant {participant}'
    tally.add('vote', 'on a comment of their own', example, on_own)
    num_verbalised += len(verbalised)
    members.append(
      Member(
        participant=_person(name, participant),
        opinion=' '.join(written[index])
        or verbalise(
          [
            (merged[each].comments[0].text, int(votes[index, each]))
            for each in verbalised
          ]
        ),
        opinion_provenance='comments' if written[index] else 'votes',
        judged=tuple(judged.tolist()),
        votes=tuple(votes[index, judged].tolist()),
      )
    )
  return tuple(members), num_verbalised


def _written(
  export: Export, merged: Sequence[_Merged]
) -> tuple[list[list[str]], Bool[np.ndarray, 'participants statements']]:
  # What each participant wrote, by time; and which statements are theirs, be
  # it that a copy of their own was left out.
  index_of = {each: index for index, each in enumerate(export.participants)}
  statement_of = {
    normalised(each.comments[0].text): index
    for index, each in enumerate(merged)
  }
  own = np.zeros((len(export.participants), len(merged)), bool)
  for comment in export.comments:
    statement = statement_of.get(normalised(comment.text))
    if statement is not None and comment.author in index_of:
      own[index_of[comment.author], statement] = True
  kept = [comment for each in merged for comment in each.comments]
  written: list[list[str]] = [[] for _ in export.participants]
  for comment in sorted(
    kept, key=lambda each: (each.timestamp, natural(each.id))
  ):
    if comment.author in index_of:
      whole = re.search(r'[.!?…]\W*$', comment.text)
      sentence = comment.text if whole else f'{comment.text}.'
      written[index_of[comment.author]].append(sentence)
  return written, own
