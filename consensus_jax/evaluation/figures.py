"""Pictures of a benchmark: calibration, rewards by length, AUC of systems.

SVG, equal for equal numbers: no dates, no names made up by chance.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from scipy import special  # type: ignore[import-untyped]

from consensus_jax.data.record_files import replacing
from consensus_jax.evaluation import measures
from consensus_jax.evaluation.benchmark import Comparison
from consensus_jax.evaluation.cases import Case
from consensus_jax.evaluation.predict import Rewards
from consensus_jax.training.metrics import NUM_BINS

Path = str | os.PathLike[str]

# Statements of like length, as many in each.
_LENGTH_BINS = 10


def calibration(
  path: Path, cases: Sequence[Case], systems: Mapping[str, Rewards]
) -> pathlib.Path:
  """Said and real share of agreement, by bins of what is said.

  Args:
    path: of the SVG.
    cases: people and votes.
    systems: rewards that are log-odds of agreeing, by name.

  Raises:
    InputError: if the file cannot be written.
  """

  def paint(axes):
    axes.plot([0, 1], [0, 1], color='grey', linewidth=1, linestyle=':')
    for name, rewards in systems.items():
      said, real, counts = calibration_bins(cases, rewards)
      axes.plot(said, real, linewidth=1, label=name)
      sizes = 120 * counts / max(counts.max(initial=1), 1)
      axes.scatter(said, real, s=sizes)
    axes.set(
      xlabel='predicted probability of agreeing',
      ylabel='share that agrees',
      xlim=(0, 1),
      ylim=(0, 1),
      aspect='equal',
    )
    axes.legend(loc='upper left', frameon=False)

  return _picture(path, (5.0, 5.0), paint)


def reward_by_length(
  path: Path, cases: Sequence[Case], rewards: Rewards
) -> pathlib.Path:
  """Rewards and votes by length of the statement.

  Of each tenth of the judgements, by length, the median reward, the middle
  half of the rewards, and the share of votes that are for the statement.

  Raises:
    InputError: if the file cannot be written.
  """
  lengths, quartiles, agree = length_bins(cases, rewards)

  def paint(axes):
    axes.fill_between(lengths, quartiles[:, 0], quartiles[:, 2], alpha=0.2)
    axes.plot(lengths, quartiles[:, 1], 'o-', label='reward, middle half')
    axes.set(xlabel='characters of the statement', ylabel='reward')
    right = axes.twinx()
    right.plot(lengths, agree, 's:', color='C1', label='share that agrees')
    right.set(ylabel='share that agrees', ylim=(0, 1))
    handles = [h for a in (axes, right) for h in a.get_lines()]
    axes.legend(handles=handles, frameon=False, loc='lower right')

  return _picture(path, (6.5, 4.0), paint)


def bars(
  path: Path, comparison: Comparison, *, measure: str = 'auc'
) -> pathlib.Path:
  """A measure of all systems, with intervals.

  Args:
    path: of the SVG.
    comparison: of the systems.
    measure: a name of `measures.MEASURES`.

  Raises:
    InputError: if the file cannot be written.
  """
  rows = comparison.rows[::-1]
  found = np.array([row.measures[measure] for row in rows])

  def paint(axes):
    places = np.arange(len(rows))
    reach = np.abs(found[:, 1:] - found[:, :1]).T
    axes.barh(places, found[:, 0], xerr=reach, height=0.6, alpha=0.7)
    axes.set_yticks(places, [row.system for row in rows])
    axes.axvline(0.5, color='grey', linewidth=1, linestyle=':')
    low = np.nanmin([*found[:, 1], 0.5]) - 0.05
    axes.set(xlabel=f'{measure.replace("_", " ")}, 95% interval', xlim=(low, 1))

  return _picture(path, (7.0, 1 + 0.35 * len(rows)), paint)


def findings(path: Path, found: Sequence[Mapping[str, Any]]) -> pathlib.Path:
  """What an experiment found of systems, and what is expected.

  The first measure of the document's section, with intervals, a cross where it
  is expected to be; without a measure that several systems have, all measures.

  Args:
    path: of the SVG.
    found: findings as JSON values.

  Raises:
    InputError: if the file cannot be written.
  """
  alone = [each for each in found if not each['against']]
  systems = {each['system'] for each in alone}
  rows = [
    each
    for each in alone[::-1]
    if len(systems) == 1 or each['measure'] == alone[0]['measure']
  ]
  # Differences and means have no axis in common.
  rows = [each for each in rows if 'minus' not in each['measure']] or rows
  name = 'measure' if len(systems) == 1 else 'system'

  def paint(axes):
    places = np.arange(len(rows))
    ends = np.array(
      [
        [each['estimate']['interval'][key] for key in ('value', 'low', 'high')]
        for each in rows
      ],
      float,
    )
    axes.hlines(places, ends[:, 1], ends[:, 2], linewidth=2, alpha=0.6)
    axes.plot(ends[:, 0], places, 'o', label='found, 95% interval')
    truths = np.array([each['truth'] for each in rows], float)
    axes.plot(truths, places, 'x', color='C1', label='expected')
    axes.set_yticks(places, [each[name] for each in rows])
    axes.set(
      xlabel='mean agreement' if name == 'measure' else rows[0]['measure']
    )
    axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncols=2)

  return _picture(path, (7.0, 1.2 + 0.35 * len(rows)), paint)


def curves(
  path: Path,
  found: Sequence[Mapping[str, Any]],
  systems: Mapping[str, Sequence[Sequence[Any]]],
) -> pathlib.Path:
  """A measure over a number, a line with its interval for each system.

  Args:
    path: of the SVG.
    found: findings as JSON values; their first measure is shown.
    systems: by name, a number and the system of `found` of each point.

  Raises:
    InputError: if the file cannot be written.
  """
  measure = found[0]['measure']
  by_system = {
    each['system']: each for each in found if each['measure'] == measure
  }

  def paint(axes):
    for index, (name, points) in enumerate(systems.items()):
      some = [(n, by_system[each]) for n, each in points if each in by_system]
      numbers = [number for number, _ in some]
      value, low, high = np.array(
        [
          [each['estimate']['interval'][k] for k in ('value', 'low', 'high')]
          for _, each in some
        ],
        float,
      ).T
      truths = np.array([each['truth'] for _, each in some], float)
      color = f'C{index}'
      axes.plot(numbers, value, 'o-', color=color, label=name)
      axes.fill_between(numbers, low, high, color=color, alpha=0.15)
      axes.plot(numbers, truths, ':', color=color)
    ticks = sorted({number for each in systems.values() for number, _ in each})
    axes.set_xscale('log', base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel='best of so many candidates', ylabel=measure)
    axes.legend(
      title='95% interval; dotted: expected',
      loc='lower center',
      bbox_to_anchor=(0.5, 1),
      ncols=len(systems),
    )

  return _picture(path, (5.5, 4.0), paint)


def calibration_bins(
  cases: Sequence[Case], rewards: Rewards
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Mean of what is said, share that agrees and count, of bins in use."""
  of = measures.judgements(cases, rewards)
  of = of.where(~np.isnan(of.rewards))
  said = special.expit(of.rewards)
  bins = np.minimum((said * NUM_BINS).astype(int), NUM_BINS - 1)
  counts, sums, agree = (
    np.bincount(bins, weights=weights, minlength=NUM_BINS)
    for weights in (np.ones_like(said), said, of.agree.astype(float))
  )
  used = counts > 0
  return sums[used] / counts[used], agree[used] / counts[used], counts[used]


def length_bins(
  cases: Sequence[Case], rewards: Rewards
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Median length, quartiles of rewards and share that agrees, by length."""
  of = measures.judgements(cases, rewards)
  of = of.where(~np.isnan(of.rewards))
  order = np.argsort(of.lengths, kind='stable')
  parts = [p for p in np.array_split(order, _LENGTH_BINS) if len(p)]
  return (
    np.array([np.median(of.lengths[part]) for part in parts]),
    np.array(
      [np.quantile(of.rewards[part], [0.25, 0.5, 0.75]) for part in parts]
    ).reshape(-1, 3),
    np.array([of.agree[part].mean() for part in parts]),
  )


def _picture(
  path: Path, size: tuple[float, float], paint: Callable[[Any], None]
) -> pathlib.Path:
  # Else the names within the file are drawn anew each time.
  with matplotlib.rc_context({'svg.hashsalt': 'consensus_jax'}):
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    paint(axes)
    axes.spines[['top', 'right']].set_visible(False)
    with replacing(path) as temporary:
      figure.savefig(temporary, format='svg', metadata={'Date': None})
  return pathlib.Path(path)
