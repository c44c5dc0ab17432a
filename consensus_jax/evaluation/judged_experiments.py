"""The experiments on what real people said: tables of a study's ratings.

    sections = run(Judgements(records=('study.jsonl',)))

Nothing is made here: systems have written, people have rated. What is true of
people is not known, so nothing stands beside what they say.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from consensus_jax import strict_json
from consensus_jax.data import sources
from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.evaluation import (
  benchmark_rows,
  findings,
  group_metrics,
  positions,
  rating_metrics,
  reliability,
  topics,
)
from consensus_jax.evaluation.experiment_settings import check_names
from consensus_jax.evaluation.experiment_study import Section
from consensus_jax.evaluation.findings import (
  DIFFERENCE,
  MEASURES,
  WIN_RATE,
  Draws,
  Finding,
  Rated,
)
from consensus_jax.evaluation.intervals import Interval
from consensus_jax.evaluation.ratings import (
  Column,
  Ratings,
  from_records,
  system_of,
)
from consensus_jax.evaluation.statistics import Estimate
from consensus_jax.strict_json import InputError

# What members wrote themselves, as one system.
OPINIONS = 'opinion of a member'
_COLUMNS: tuple[Column, ...] = ('agreement', 'quality')
_LEVELS: tuple[reliability.Level, ...] = ('ordinal', 'interval')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgements:
  """What is to be found out, of whose judgements.

  Attributes:
    records: files of judged deliberations, with `agreement` or `quality`.
    experiments: some of `NAMES`.
    systems: who is compared, in this order; all if none is named.
    unheard: JSONL of who was left out of making a statement: record,
      statement and participant of each; for the experiment 'exclusion'.
    benchmarks: as `Experiments`.
    num_draws: of bootstrap and permutations.
    seed: of the draws.

  Raises:
    InputError: naming the setting that is out of range.
  """

  records: Sequence[str]
  experiments: Sequence[str] = ('systems', 'reliability', 'topics', 'positions')
  systems: Sequence[str] = ()
  unheard: str | None = None
  benchmarks: Sequence[str] = ()
  num_draws: int = 10_000
  seed: int = 0

  def __post_init__(self):
    check_names('experiments', self.experiments, tuple(_EXPERIMENTS))
    for field in ('records', 'experiments'):
      if not getattr(self, field):
        raise InputError('must hold at least one', field=(field,))
    for field, name in (
      ('unheard', 'exclusion'),
      ('benchmarks', 'reward_models'),
    ):
      if (name in self.experiments) != bool(getattr(self, field)):
        raise InputError(
          f'and the experiment {name!r} go together', field=(field,)
        )
    for name, least in (('num_draws', 1), ('seed', 0)):
      if getattr(self, name) < least:
        raise InputError(
          f'must be {least} or more, got {getattr(self, name)}', field=(name,)
        )

  @property
  def draws(self) -> Draws:
    """Of bootstrap and permutations."""
    return Draws(self.num_draws, self.seed)

  title = 'What people said of statements'

  @property
  def introduction(self) -> str:
    """What the numbers of the report are."""
    return (
      'Each number is a mean over deliberations, with a 95% interval of '
      f'{self.num_draws:,} draws of whole groups of people (seed {self.seed}) '
      'in brackets. P-values are those of tests in which two systems change '
      'places in whole groups, corrected within an experiment.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
  settings: Judgements
  records: tuple[JudgedDeliberation, ...]
  rated: Rated
  systems: tuple[str, ...]

  @property
  def table(self) -> Ratings:
    return self.rated.table

  def columns(self) -> Iterator[Column]:
    """What people were asked."""
    for column in _COLUMNS:
      if not np.isnan(getattr(self.table, column)).all():
        yield column


def run(settings: Judgements) -> tuple[Section, ...]:
  """Measures what people said.

  Raises:
    InputError: if the records hold no ratings, or not those of a system that
      is named.
  """
  records = tuple(
    record for name in settings.records for record in sources.load(name)
  )
  ids = [record.id for record in records]
  if twice := sorted({id for id in ids if ids.count(id) > 1}):
    raise InputError(
      f'{twice[0]!r} is the id of two records', field=('records',)
    )
  members = {
    record.id: {member.participant for member in record.members}
    for record in records
  }
  # A name is that of a person only within a record.
  named = [
    dataclasses.replace(
      record,
      statements=tuple(
        dataclasses.replace(each, provenance=OPINIONS)
        if each.author in members[record.id]
        else each
        for each in record.statements
      ),
    )
    for record in records
  ]
  try:
    table, left_out = from_records(
      named,
      system=lambda each: (
        OPINIONS if each.provenance == OPINIONS else system_of(each)
      ),
      excluded=[*_unheard(settings.unheard)],
    )
  except ValueError as error:
    raise InputError(str(error), field=('records',)) from None
  if np.isnan(table.agreement).all() and np.isnan(table.quality).all():
    raise InputError(
      'hold no ratings of agreement or quality; votes are replayed by '
      '@replay_experiments.Replay()',
      field=('records',),
    )
  check_names('systems', settings.systems, table.system_names)
  judged = _Judged(
    settings=settings,
    records=records,
    rated=Rated(table=table, left_out=left_out),
    systems=tuple(settings.systems) or table.system_names,
  )
  return tuple(_EXPERIMENTS[name](judged) for name in settings.experiments)


def _systems(judged: _Judged) -> Section:
  draws, table = judged.settings.draws, judged.table
  found: list[Finding] = []
  columns = [*judged.columns()]
  if 'agreement' in columns:
    found += [
      findings.measured(judged.rated, measure, system, draws)
      for measure in MEASURES
      for system in judged.systems
    ]
  if 'quality' in columns:
    found += [
      _finding(
        'mean quality',
        system,
        rating_metrics.by_group(
          table, system, group_metrics.mean, column='quality'
        ),
        draws,
      )
      for system in judged.systems
    ]
  for first, second in itertools.combinations(judged.systems, 2):
    for column in columns:
      found += _compared(table, first, second, column, draws)
  people = len({*zip(table.groups, table.raters)})
  return Section(
    name='systems',
    title='Systems, side by side',
    about=f'{people:,} people of {len(table.group_names):,} groups rated '
    f'statements of {len(judged.systems)} systems in '
    f'{len(table.deliberations):,} deliberations. Win rates are of groups, '
    'and of raters where that is said; ties count one half. Divided are '
    'groups with members on both sides of the position statement before.',
    findings=findings.corrected(found),
    left_out=(*judged.rated.left_out, *rating_metrics.problems(table)),
  )


def _reliability(judged: _Judged) -> Section:
  """Krippendorff's alpha; its interval would need draws of raters."""
  found = []
  for column in judged.columns():
    for level in _LEVELS:
      of = reliability.alpha(
        judged.table.by_statement(column),
        level,
      )
      found.append(
        Finding(
          measure=f"Krippendorff's alpha, {level}",
          system=column,
          estimate=Estimate(
            interval=Interval(of.value, np.nan, np.nan),
            number=of.ratings,
            undefined=of.left_out,
            groups=of.targets,
            num_draws=0,
            seed=judged.settings.seed,
          ),
          truth=np.nan,
        )
      )
  return Section(
    name='reliability',
    title='How far raters agree',
    about='1 if all who rate a statement say the same, 0 if they agree no more '
    'than by chance. People with different opinions are to differ in '
    'agreement; of quality they may agree. Without intervals.',
    findings=tuple(found),
  )


def _exclusion(judged: _Judged) -> Section:
  draws, table = judged.settings.draws, judged.table
  return Section(
    name='exclusion',
    title='Members who are not heard',
    about='How much more those agree whose opinions the statement was made '
    'from than those who were left out.',
    findings=tuple(
      findings.exclusion_gap(judged.rated, system, draws)
      for system in judged.systems
      if table.excluded[table.of(system)].any()
    ),
  )


def _topics(judged: _Judged) -> Section:
  asked = {
    (record.group or record.id, record.question.text): record.question
    for record in judged.records
  }
  of = [asked[key] for key in judged.table.deliberations]
  found = [
    each
    for system in judged.systems
    for each in topics.findings_of(
      judged.rated,
      system,
      topics=[
        f'topic {each.topic}' if each.topic else each.text for each in of
      ],
      out=[each.split == 'ood_test' for each in of],
      draws=judged.settings.draws,
    )
  ]
  return Section(
    name='topics',
    title='Questions in and out of distribution, and topics',
    about='Out of distribution is what the records put into the split '
    '`ood_test`.',
    findings=tuple(found),
  )


def _positions(judged: _Judged) -> Section:
  found = positions.found_in(
    judged.table, judged.settings.draws, system='after'
  )
  return Section(
    name='positions',
    title='How divided groups are, before and after',
    about='Agreement with the position statement of the question. Divided is '
    'who has members on both sides; internal agreement is 1 where all are on '
    'one side, 0 where as many are on either; the index is 100 where all are '
    'on the side that most were on before.',
    findings=findings.corrected(found),
  )


def _reward_models(judged: _Judged) -> Section:
  return benchmark_rows.section(judged.settings.benchmarks)


_EXPERIMENTS: Mapping[str, Callable[[_Judged], Section]] = {
  'systems': _systems,
  'reliability': _reliability,
  'exclusion': _exclusion,
  'topics': _topics,
  'positions': _positions,
  'reward_models': _reward_models,
}


def _compared(
  table: Ratings, first: str, second: str, column: Column, draws: Draws
) -> Iterator[Finding]:
  """Win rates of groups and of raters, and the difference of means."""
  of = '' if column == 'agreement' else f', {column}'
  ahead = rating_metrics.differences(table, first, second, column=column)
  names = (
    (WIN_RATE + of, rating_metrics.wins_by_group, 0.5),
    (f'{WIN_RATE} of raters{of}', rating_metrics.wins_by_rater, 0.5),
  )
  for name, measure, chance in names:
    won = measure(table, first, second, column=column)
    found = _finding(name, first, won, draws, against=second)
    less = dataclasses.replace(won, values=won.values - chance)
    yield findings.tested(found, less, draws)
  name = DIFFERENCE if column == 'agreement' else f'difference in mean {column}'
  found = _finding(name, first, ahead, draws, against=second)
  yield findings.tested(found, ahead, draws)


def _finding(
  measure: str,
  system: str,
  values: rating_metrics.Values,
  draws: Draws,
  *,
  against: str = '',
) -> Finding:
  unknown = [np.nan] * len(values.values)
  return findings.finding(
    measure, system, values, unknown, draws, against=against
  )


def _unheard(path: str | None) -> Iterator[tuple[str, str, str]]:
  if path is None:
    return
  names = ('record', 'statement', 'participant')
  try:
    lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f'cannot be read: {error}', field=('unheard',)) from None
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      entry = strict_json.check_object(strict_json.parse(line), required=names)
      record, statement, participant = (
        strict_json.check_text(entry[name], (name,)) for name in names
      )
    except InputError as error:
      raise error.at(file=path, line=number) from None
    yield record, statement, participant
