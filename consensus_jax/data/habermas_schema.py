"""The published data of the Habermas Machine as data: files, columns, names.

Source: google-deepmind/habermas_machine (analysis code) and Tessler et al.,
"AI can help humans find common ground in democratic deliberation", Science
386 (2024). Types of columns are inferred from code that reads them. The data
are copyright DeepMind Technologies Limited, CC BY 4.0.
"""

import contextlib
import dataclasses
import difflib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Literal

import pyarrow as pa
from pyarrow import parquet

from consensus_jax.strict_json import InputError

URL = 'https://storage.googleapis.com/habermas_machine/datasets'

Kind = Literal[
  'text',
  'integer',
  'number',
  'texts',
  'integers',
  'numbers',
  'texts of each',
  'numbers of each',
  'numbers of each of each',
]
ARROW_TYPES: Mapping[Kind, pa.DataType] = {
  'text': pa.string(),
  'integer': pa.int64(),
  'number': pa.float64(),
  'texts': pa.list_(pa.string()),
  'integers': pa.list_(pa.int64()),
  'numbers': pa.list_(pa.float64()),
  'texts of each': pa.list_(pa.list_(pa.string())),
  'numbers of each': pa.list_(pa.list_(pa.float64())),
  'numbers of each of each': pa.list_(pa.list_(pa.list_(pa.float64()))),
}


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a file.

  Attributes:
    kind: what it holds.
    needed: whether the loader reads it, so that a file must have it.
    note: which rows lack a value, and the like.
  """

  kind: Kind
  needed: bool = False
  note: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """One of the published files.

  Attributes:
    name: in the bucket, and in the folder of a user.
    rows: as published.
    num_columns: as published; `columns` holds those whose names are known.
    columns: by name.
    sha256: of the published file; None if not established.
    md5: likewise.
  """

  name: str
  rows: int
  num_columns: int
  columns: Mapping[str, Column]
  sha256: str | None = None
  md5: str | None = None


# ---- Names in the data, and what they mean.

MOCK = 'MOCK'
SPLITS = {
  MOCK: None,
  'TRAIN': 'train',
  'VALIDATION': 'validation',
  'IID_TEST': 'iid_test',
  'OOD_TEST': 'ood_test',
}
AGREEMENT = {
  MOCK: -1,
  'STRONGLY_DISAGREE': 1,
  'DISAGREE': 2,
  'SOMEWHAT_DISAGREE': 3,
  'NEUTRAL': 4,
  'SOMEWHAT_AGREE': 5,
  'AGREE': 6,
  'STRONGLY_AGREE': 7,
}
QUALITY = {
  MOCK: -1,
  'TERRIBLE_QUALITY': 1,
  'POOR_QUALITY': 2,
  'SOMEWHAT_POOR_QUALITY': 3,
  'NEUTRAL': 4,
  'SOMEWHAT_GOOD_QUALITY': 5,
  'GOOD_QUALITY': 6,
  'EXCELLENT_QUALITY': 7,
}
IMPORTANCE = {
  MOCK: -1,
  'NOT_IMPORTANT': 1,
  'SLIGHTLY_IMPORTANT': 2,
  'MODRATELY_IMPORTANT': 3,  # Misspelt in the data.
  'IMPORTANT': 4,
  'VERY_IMPORTANT': 5,
}
PROVENANCES = (
  *('MOCK', 'DUMMY', 'EXAMPLE', 'BOT_CITIZEN', 'HUMAN_CITIZEN'),
  *('HUMAN_MEDIATOR', 'MODEL_MEDIATOR', 'POSITION_STATEMENT'),
)
MOCK_RANK = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohort:
  """The rows of one `metadata.version`, and which of them count.

  Attributes:
    rows: as published.
    provenances: of the candidates that people were asked about.
    drop_repeats: whether groups with a person who came twice are dropped.
    min_citizens: rows that an iteration needs; None: all count.
    min_iterations: such iterations that a round needs.
    min_rounds: such rounds that a group needs.
    num_groups: at most so many groups, as registered before the study.
    num_candidates: rows with another number are dropped; None: any number.
  """

  rows: int
  provenances: tuple[str, ...] = ('MODEL_MEDIATOR',)
  drop_repeats: bool = False
  min_citizens: int | None = None
  min_iterations: int = 1
  min_rounds: int = 1
  num_groups: int | None = None
  num_candidates: int | None = None


def _registered(rows: int, num_groups: int) -> Cohort:
  return Cohort(
    rows=rows,
    drop_repeats=True,
    min_citizens=4,
    min_iterations=2,
    min_rounds=3,
    num_groups=num_groups,
  )


_ASSEMBLY = 'EVAL_VIRTUAL_CITIZENS_ASSEMBLY_WEEK'
COHORTS: Mapping[str, Cohort] = {
  'TRAINING_DATA_V1': Cohort(rows=6955),
  'TRAINING_DATA_V2': Cohort(rows=3845),
  'TRAINING_DATA_V3': Cohort(rows=2555),
  'TRAINING_DATA_V4': Cohort(rows=1580),
  'TRAINING_DATA_V5': Cohort(rows=660),
  'EVAL_COHORT1_ABLATION_IID_V1': _registered(5085, 100),
  'EVAL_COHORT2_ABLATION_IID_V2': _registered(5920, 150),
  'EVAL_COHORT3_ABLATION_OOD_V1': _registered(3920, 100),
  'EVAL_COHORT4_CRITIQUE_EXCLUSION': _registered(2790, 50),
  'EVAL_COHORT5_OPINION_EXPOSURE': Cohort(
    rows=1265,
    provenances=('HUMAN_CITIZEN',),
    min_citizens=4,
    min_rounds=2,
    num_groups=75,
  ),
  'EVAL_COHORT6_HUMAN_MEDIATOR': Cohort(
    rows=2150,
    provenances=('MODEL_MEDIATOR', 'HUMAN_MEDIATOR'),
    min_citizens=4,
    min_rounds=2,
    num_groups=75,
    num_candidates=2,
  ),
  f'{_ASSEMBLY}3': Cohort(rows=1090),
  f'{_ASSEMBLY}4': Cohort(rows=1080),
  f'{_ASSEMBLY}5': Cohort(rows=1060),
}

# ---- Columns.


def _about(thing: str, fields: str, kind: Kind) -> dict[str, Column]:
  return {f'{thing}.{field}': Column(kind) for field in fields.split()}


_TEXT_FIELDS = (
  'display_label metadata.id metadata.provenance metadata.participant_id '
  'metadata.created metadata.status'
)
_MEDIATOR_FIELDS = (
  'prompt_text total_prompt_text aggregation.method '
  'metadata.generative_model.api_version '
  'metadata.generative_model.template_name '
  'metadata.reward_model.api_version metadata.reward_model.template_name'
)
_needed_text = Column('text', needed=True)
_needed_texts = Column('texts', needed=True)
_duration = 'metadata.response_duration'

_COMPARISONS: dict[str, Column] = {
  'metadata.id': _needed_text,
  'metadata.version': _needed_text,
  'metadata.participant_id': Column('text', True, 'of a sitting'),
  'worker_id': Column('text', True, 'the person; null in TRAINING_DATA rows'),
  'launch_id': Column('text', True, 'the group'),
  'round_id': Column('text', True, 'a question in a group'),
  'iteration_id': Column('text'),
  'iteration_index': Column('integer', True, '0 opinions, 1 critiques'),
  'monotonic_timestamp': Column('number', True),
  'timestamp': Column('number'),
  **_about('metadata', 'created updated status provenance', 'text'),
  **_about('metadata', 'task_duration response_duration', 'number'),
  'question.id': _needed_text,
  'question.text': _needed_text,
  'question.topic': Column('integer', True),
  'question.split': _needed_text,
  'question.affirming_statement': _needed_text,
  'question.negating_statement': _needed_text,
  'question.provenance': Column('text'),
  **_about('own_opinion', f'{_TEXT_FIELDS} metadata.updated', 'text'),
  'own_opinion.text': _needed_text,
  'own_opinion.metadata.provenance': _needed_text,
  **_about('own_opinion', _duration, 'number'),
  **_about('other_opinions', f'text {_TEXT_FIELDS} metadata.updated', 'texts'),
  **_about('other_opinions', _duration, 'numbers'),
  **_about('candidates', f'{_TEXT_FIELDS} {_MEDIATOR_FIELDS}', 'texts'),
  **_about('candidates', 'metadata.version', 'texts'),
  'candidates.text': _needed_texts,
  'candidates.metadata.id': _needed_texts,
  'candidates.metadata.provenance': _needed_texts,
  **_about('candidates', _duration, 'numbers'),
  'candidates.parent_statement_ids': Column('texts of each'),
  'candidates.all_texts': Column('texts of each', note='all 16 samples'),
  'candidates.reward_data.reward_predictions': Column('numbers of each'),
  'candidates.all_reward_predictions': Column('numbers of each of each'),
  'critique.text': Column('text', True, 'null where iteration_index is 0'),
  **_about('critique', f'sentiment {_TEXT_FIELDS}', 'text'),
  **_about('critique', _duration, 'number'),
  **_about('top_candidate', f'text {_TEXT_FIELDS} {_MEDIATOR_FIELDS}', 'text'),
  **_about('top_candidate', _duration, 'number'),
  'top_candidate.parent_statement_ids': Column('texts'),
  'top_candidate.all_texts': Column('texts'),
  'top_candidate.reward_data.reward_predictions': Column('numbers'),
  'top_candidate.all_reward_predictions': Column('numbers of each'),
  'rankings.numerical_ranks': Column('integers', True, '-1: mock'),
  'rankings.candidate_ids': _needed_texts,
  **_about(
    'rankings',
    'explanation metadata.id metadata.provenance metadata.participant_id '
    'metadata.created metadata.status',
    'text',
  ),
  **_about('rankings', _duration, 'number'),
  'ratings.agreement': _needed_texts,
  'ratings.quality': _needed_texts,
  **_about(
    'ratings',
    'metadata.id metadata.provenance metadata.participant_id '
    'metadata.created metadata.status',
    'text',
  ),
  **_about('ratings', _duration, 'number'),
}
_POSITIONS: dict[str, Column] = {
  'index': Column('integer'),
  'monotonic_timestamp': Column('number'),
  'timestamp': Column('number'),
  'launch_id': _needed_text,
  'worker_id': Column('text', note='null in TRAINING_DATA rows'),
  'question_index': Column('integer'),
  'rating_index': Column('integer', True, '0 before, 1 after'),
  'metadata.participant_id': _needed_text,
  **_about('metadata', 'created id provenance status updated version', 'text'),
  **_about('metadata', 'response_duration task_duration', 'number'),
  'question.id': _needed_text,
  **_about(
    'question', 'affirming_statement negating_statement split text', 'text'
  ),
  'question.topic': Column('integer'),
  'ratings.agreement': Column('texts', True, 'one each'),
  **_about('ratings', 'metadata.created metadata.id', 'text'),
  'ratings.metadata.participant_id': Column('text'),
}

COMPARISONS = File(
  name='hm_all_candidate_comparisons.parquet',
  rows=39955,
  num_columns=104,
  columns=_COMPARISONS,
  sha256='7cf8d5ce3fce8853b36f0ffe1158424f7813867e422e313db4df0a5f9e03e4a4',
  md5='22dddc10acd72ee975f77d0e3c4adc63',
)
POSITIONS = File(
  name='hm_all_position_statement_ratings.parquet',
  rows=45976,
  num_columns=26,
  columns=_POSITIONS,
  sha256='b6debcb3e2413d26b7e8b96c7927517b7a5f304c502c30b28a9af1d307255763',
  md5='3890689576997c745a61accab950cb3d',
)
# Records need neither of the others; they are here to be fetched and checked.
SURVEYS = File(
  name='hm_all_round_survey_responses.parquet',
  rows=21608,
  num_columns=51,
  columns={
    **_about('metadata', 'version participant_id', 'text'),
    'worker_id': Column('text'),
    **_about('question', 'id text', 'text'),
    'opinion.text': Column('text'),
    **_about('candidate', 'text metadata.id metadata.provenance', 'text'),
  },
  md5='2bfc92da02a0021a422df00d4ae83fc5',
)
PREFERENCES = File(
  name='hm_all_final_preference_rankings.parquet',
  rows=10455,
  num_columns=12,
  columns={'timestamp': Column('number'), 'worker_id': Column('text')},
)
FILES = (COMPARISONS, POSITIONS, SURVEYS, PREFERENCES)

# ---- Checks.

# What reading a damaged file raises.
_DAMAGE = (OSError, UnicodeDecodeError, pa.ArrowException)


def open_file(path: pathlib.Path, file: File) -> parquet.ParquetFile:
  """Opens a parquet file that has the columns that are needed.

  Raises:
    InputError: if it is not a whole parquet file, or a column is missing or
      holds something else; names the column and one that it may be now.
  """
  try:
    opened = parquet.ParquetFile(path)
    schema = opened.schema_arrow
  except FileNotFoundError:
    raise InputError('there is no such file', file=str(path)) from None
  except _DAMAGE as error:
    first = str(error).partition('\n')[0]
    message = f'is not a whole parquet file: {first}'
    raise InputError(message, file=str(path)) from None
  for name, column in file.columns.items():
    if name not in schema.names:
      if column.needed:
        raise InputError(
          _missing(name, schema.names, file), field=(name,), file=str(path)
        )
    elif column.needed and not _fits(column.kind, schema.field(name).type):
      message = f'must be {column.kind}, is {schema.field(name).type}'
      raise InputError(message, field=(name,), file=str(path))
  return opened


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Names the file in every error while its content is read.

  Raises:
    InputError: also for a file that is damaged inside.
  """
  try:
    yield
  except InputError as error:
    raise error.at(file=error.file or str(path)) from None
  except _DAMAGE as error:
    first = str(error).partition('\n')[0]
    raise InputError(f'is damaged: {first}', file=str(path)) from None


def _missing(name: str, names: list[str], file: File) -> str:
  # What to say of a column that is not there.
  unknown = [each for each in names if each not in file.columns]
  near = difflib.get_close_matches(name, unknown, n=1, cutoff=0.5)
  hint = f'; did you mean {near[0]!r}?' if near else ''
  for other in (COMPARISONS, POSITIONS):
    needed = {each for each, column in other.columns.items() if column.needed}
    if other is not file and needed <= {*names}:
      hint = f'; is this {other.name}?'
  published = f'{file.rows} rows, {file.num_columns} columns'
  return (
    f'the column is missing{hint} (the published {file.name}, {published}, '
    'has it)'
  )


def _fits(kind: Kind, actual: pa.DataType) -> bool:
  if pa.types.is_dictionary(actual):
    actual = actual.value_type
  if pa.types.is_null(actual):
    return True
  if kind == 'text':
    return pa.types.is_string(actual) or pa.types.is_large_string(actual)
  if kind in ('integer', 'number'):
    # Programs without missing integers write them as floats.
    return pa.types.is_integer(actual) or pa.types.is_floating(actual)
  if not (pa.types.is_list(actual) or pa.types.is_large_list(actual)):
    return False
  inner: dict[Kind, Kind] = {
    'texts': 'text',
    'integers': 'integer',
    'numbers': 'number',
    'texts of each': 'texts',
    'numbers of each': 'numbers',
    'numbers of each of each': 'numbers of each',
  }
  return _fits(inner[kind], actual.value_type)
