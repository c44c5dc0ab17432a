"""Writes files with the form of the Habermas Machine's, and made-up content.

To try the pipeline without the published files, and to test it: every column
whose name is known, with the traps that the real data hold. People's answers
follow from a stance that their opinion tells, so that there is something to
learn; what they say about real people is nothing.
"""

import dataclasses
import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from consensus_jax.data.habermas_preprocess import Row
from consensus_jax.data.habermas_schema import (
  AGREEMENT,
  ARROW_TYPES,
  COHORTS,
  COMPARISONS,
  FILES,
  MOCK,
  MOCK_RANK,
  POSITIONS,
  PREFERENCES,
  QUALITY,
  SURVEYS,
  File,
)

# (what is asked for, reasons for it, reasons against it)
_SUBJECTS = (
  (
    'make buses free of charge',
    ('fewer people would drive', 'everybody could get to work'),
    ('somebody has to pay for it', 'they would be too full'),
  ),
  (
    'close the centre to cars',
    ('the air would be cleaner', 'children could walk to school'),
    ('shops would lose customers', 'older people need their cars'),
  ),
  (
    'teach cooking in every school',
    ('young people would eat better', 'it is a skill for life'),
    ('there is no time for it', 'parents should do that'),
  ),
  (
    'let shops open on Sundays',
    ('working people need the time', 'it would bring jobs'),
    ('families need one day together', 'small shops could not keep up'),
  ),
  (
    'plant a tree for every child that is born',
    ('it makes the town cooler', 'it is a fine custom'),
    ('there is no room for so many', 'trees need care that costs money'),
  ),
)
_LEAK = 'Final consensus statement: '
_AGREEMENT_NAMES = {value: name for name, value in AGREEMENT.items()}
_QUALITY_NAMES = {value: name for name, value in QUALITY.items()}
_SPLITS = ('TRAIN', 'VALIDATION', 'IID_TEST', 'OOD_TEST')
# A little of everything.
SMALL: Mapping[str, int] = {
  'TRAINING_DATA_V1': 4,
  'EVAL_COHORT1_ABLATION_IID_V1': 4,
  'EVAL_COHORT5_OPINION_EXPOSURE': 2,
  'EVAL_COHORT6_HUMAN_MEDIATOR': 2,
}


@dataclasses.dataclass(frozen=True)
class Traps:
  """What the files hold that a loader must notice.

  Attributes:
    leaked: statements that start with a leaked prefix.
    empty: statements without text.
    bots: comparisons by bots.
    mock_ratings: judgements of people without a rating of agreement.
    mock_ranks: judgements of people with a rating and without a rank.
    repeats: people who came twice.
  """

  leaked: int
  empty: int
  bots: int
  mock_ratings: int
  mock_ranks: int
  repeats: int


def write(
  folder: str | pathlib.Path,
  *,
  seed: int = 0,
  num_groups: Mapping[str, int] = SMALL,
  traps: bool = True,
) -> Traps:
  """Writes the four files into a folder.

  Args:
    folder: made if it is not there.
    seed: equal seeds write equal files.
    num_groups: of five people, for each `metadata.version`; each deliberates
      on as many questions as its cohort did.
    traps: whether to put in what a loader must notice.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  random_ = random.Random(f'habermas {seed}')
  maker = _Maker(random_, traps)
  for version, count in num_groups.items():
    for index in range(count):
      maker.group(version, again=traps and index == 1)
  rows: dict[str, list[Row]] = {
    COMPARISONS.name: maker.comparisons,
    POSITIONS.name: maker.positions,
    SURVEYS.name: [{} for _ in maker.comparisons],
    PREFERENCES.name: [{} for _ in maker.comparisons],
  }
  for file in FILES:
    write_rows(folder / file.name, file, rows[file.name])
  return Traps(**maker.traps)


def write_rows(path: pathlib.Path, file: File, rows: list[Row]) -> None:
  """Writes rows with all known columns of a file; what a row lacks is null."""
  arrays = {
    name: pa.array([row.get(name) for row in rows], ARROW_TYPES[column.kind])
    for name, column in file.columns.items()
  }
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    parquet.write_table(pa.table(arrays), temporary)
    with temporary.open('rb') as written:
      os.fsync(written.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


class _Maker:
  """Makes rows up, group by group."""

  def __init__(self, random_: random.Random, traps: bool):
    self._random = random_
    self._with_traps = traps
    self._time = 0
    self._first_worker: dict[str, str] = {}
    self.comparisons: list[Row] = []
    self.positions: list[Row] = []
    names = (field.name for field in dataclasses.fields(Traps))
    self.traps = dict.fromkeys(names, 0)

  def _id(self, digits: int) -> str:
    return f'{self._random.getrandbits(4 * digits):0{digits}x}'

  def _trap(self, name: str, chance: float) -> bool:
    sprung = self._with_traps and self._random.random() < chance
    self.traps[name] += sprung
    return sprung

  def group(self, version: str, *, again: bool) -> None:
    """Five people; `again`: the first of them was in the group before."""
    launch = self._id(32)
    people = [
      {'sitting': self._id(10), 'worker': self._id(10), 'bot': False}
      for _ in range(5)
    ]
    if again:
      people[0]['worker'] = self._first_worker[version]
      self.traps['repeats'] += 1
    self._first_worker[version] = str(people[0]['worker'])
    if version.startswith('TRAINING'):
      for person in people:
        person['worker'] = None
      # Only there, as a group of the study needs four people.
      people[-1]['bot'] = self._with_traps
    for question in range(max(COHORTS[version].min_rounds, 1)):
      self._round(version, launch, people, question)

  def _round(
    self, version: str, launch: str, people: list[dict[str, Any]], number: int
  ) -> None:
    subject = self._random.randrange(len(_SUBJECTS))
    asked, *reasons = _SUBJECTS[subject]
    round_ = {
      'launch_id': launch,
      'round_id': self._id(32),
      'metadata.version': version,
      'question.id': f'S{subject:09d}',
      'question.text': f'Should we {asked}?',
      'question.topic': subject,
      'question.split': _SPLITS[subject % 4],
      'question.affirming_statement': f'We should {asked}.',
      'question.negating_statement': f'We should NOT {asked}.',
      'question.provenance': 'POSITION_STATEMENT',
    }
    stances = [self._random.choice((-1, 1)) for _ in people]
    opinions = []
    for stance in stances:
      reason = self._random.choice(reasons[stance < 0])
      yes = '' if stance > 0 else 'not '
      opinions.append(f'I think we should {yes}{asked}, because {reason}.')
    self._positions(round_, people, stances, number)
    cohort = COHORTS[version]
    for iteration in range(cohort.min_iterations if cohort.min_citizens else 2):
      shown = self._candidates(cohort.provenances, asked, reasons, iteration)
      iteration_id = self._id(32)
      for index, person in enumerate(people):
        self._time += 1
        row = round_ | {
          'iteration_id': iteration_id,
          'iteration_index': iteration,
          'metadata.id': self._id(32),
          'metadata.participant_id': person['sitting'],
          'metadata.status': 'COMPLETED',
          'metadata.response_duration': 60.0 + self._random.random(),
          'worker_id': person['worker'],
          'monotonic_timestamp': float(self._time),
          'timestamp': float(self._time),
          'own_opinion.text': opinions[index],
          'own_opinion.metadata.id': f'{round_["round_id"]}-{index}',
          'own_opinion.metadata.provenance': 'BOT_CITIZEN'
          if person['bot']
          else 'HUMAN_CITIZEN',
          **_others(opinions, index),
          **_shown(shown),
        }
        self.traps['bots'] += person['bot']
        if iteration:
          row['critique.text'] = f'It does not say enough on why we {asked}.'
          row['critique.metadata.provenance'] = 'HUMAN_CITIZEN'
        self._judge(row, stances[index], shown, person['bot'])
        self.comparisons.append(row)

  def _positions(
    self,
    round_: Row,
    people: list[dict[str, Any]],
    stances: list[int],
    number: int,
  ) -> None:
    for person, stance in zip(people, stances):
      for time in (0, 1):
        rating = 4 + stance * self._random.randint(1, 3)
        self.positions.append(
          round_
          | {
            'index': len(self.positions),
            'question_index': number,
            'rating_index': time,
            'worker_id': person['worker'],
            'metadata.participant_id': person['sitting'],
            'metadata.id': self._id(32),
            'ratings.agreement': [
              MOCK if person['bot'] else _AGREEMENT_NAMES[rating]
            ],
          }
        )

  def _candidates(
    self,
    provenances: tuple[str, ...],
    asked: str,
    reasons: Sequence[Sequence[str]],
    iteration: int,
  ) -> list[dict[str, Any]]:
    number = 2 if len(provenances) == 2 else 4
    candidates = []
    for index in range(number):
      stance = self._random.choice((-1, -0.5, 0, 0.5, 1))
      reason = self._random.choice(reasons[stance < 0])
      other = self._random.choice(reasons[stance >= 0])
      text = {
        -1: f'We should not {asked}, because {reason}.',
        -0.5: f'We should rather not {asked}, because {reason}. Yet {other}.',
        0: f'We do not agree on whether to {asked}.',
        0.5: f'We should on the whole {asked}, because {reason}. Yet {other}.',
        1: f'We should {asked}, because {reason}.',
      }[stance]
      if self._trap('empty', 0.02):
        text = ' '
      elif iteration and self._trap('leaked', 0.1):
        text = _LEAK + text
      candidates.append(
        {
          'id': self._id(32),
          'text': text,
          'stance': stance,
          'quality': self._random.choice((4, 5, 6)),
          'provenance': provenances[index % len(provenances)],
        }
      )
    return candidates

  def _judge(
    self,
    row: Row,
    stance: int,
    shown: list[dict[str, Any]],
    bot: bool,
  ) -> None:
    ratings = [
      min(max(round(4 + 3 * stance * each['stance'] + noise), 1), 7)
      for each in shown
      for noise in [self._random.choice((-1, 0, 0, 1))]
    ]
    ranks = [sorted({*ratings}, reverse=True).index(each) for each in ratings]
    # Rankings have an order of their own.
    order = self._random.sample(range(len(shown)), len(shown))
    row['rankings.candidate_ids'] = [shown[i]['id'] for i in order]
    row['rankings.numerical_ranks'] = [ranks[i] for i in order]
    row['rankings.metadata.status'] = 'COMPLETED'
    row['ratings.agreement'] = [_AGREEMENT_NAMES[each] for each in ratings]
    row['ratings.quality'] = [
      _QUALITY_NAMES[each['quality'] + (stance * each['stance'] > 0)]
      for each in shown
    ]
    if bot or not row['metadata.version'].startswith('TRAINING'):
      return
    if self._trap('mock_ratings', 0.05):
      row['ratings.agreement'][0] = row['ratings.quality'][0] = MOCK
    elif self._trap('mock_ranks', 0.05):
      row['rankings.numerical_ranks'] = [MOCK_RANK] * len(shown)
      self.traps['mock_ranks'] += len(shown) - 1


def _others(opinions: list[str], own: int) -> Row:
  others = [text for index, text in enumerate(opinions) if index != own]
  return {
    'other_opinions.text': others,
    'other_opinions.metadata.provenance': ['HUMAN_CITIZEN'] * len(others),
    'other_opinions.metadata.response_duration': [60.0] * len(others),
  }


def _shown(shown: list[dict[str, Any]]) -> Row:
  return {
    'candidates.text': [each['text'] for each in shown],
    'candidates.metadata.id': [each['id'] for each in shown],
    'candidates.metadata.provenance': [each['provenance'] for each in shown],
    'candidates.display_label': [f'Statement {i}' for i in range(len(shown))],
    'candidates.all_texts': [[each['text']] * 16 for each in shown],
    'candidates.reward_data.reward_predictions': [[0.5] * 5 for _ in shown],
    'candidates.all_reward_predictions': [[[0.5] * 5] * 16 for _ in shown],
  }
