"""What experiments found: one JSON document, and all that is made of it.

Tables and pictures read nothing but the document, so that no number is typed by
hand.
"""

import base64
import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from consensus_jax.evaluation import figures, report
from consensus_jax.evaluation.experiment_study import Section
from consensus_jax.outcome_file import pretty
from consensus_jax.report import page
from consensus_jax.strict_json import InputError

SCHEMA = 'consensus_jax/experiments/v1'

_KEYS = ('measure', 'system', 'against')
_NUMBERS = ('truth', 'recovered', 'p_value', 'adjusted')


class Table(NamedTuple):
  """Rows of text under a head."""

  head: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]


def document(
  sections: Sequence[Section],
  *,
  title: str,
  introduction: str,
  about: Mapping[str, Any],
) -> dict[str, Any]:
  """Every number of the experiments as JSON values.

  Args:
    sections: what was found.
    title: of the report.
    introduction: what its numbers are.
    about: what else there is to know: models, settings, versions.
  """
  return {
    'schema': SCHEMA,
    'title': title,
    'introduction': introduction,
    'about': report.plain(about),
    'sections': [
      {
        **report.plain(section),
        'findings': [
          {**report.plain(each), 'recovered': each.recovered}
          for each in section.findings
        ],
        'recovered': dict(zip(('held', 'of'), section.recovered)),
      }
      for section in sections
    ],
  }


def markdown(document: Mapping[str, Any]) -> str:
  """The document as tables.

  Raises:
    InputError: if it is of another schema.
  """
  _check(document)
  parts = [f'# {document["title"]}', _summary(document)]
  for section in document['sections']:
    parts += [f'## {section["title"]}', section['about']]
    if verdict := _verdict(section):
      parts.append(verdict)
    parts += [report.table(*table) for table in tables(section)]
    parts += _left_out(section)
  return '\n\n'.join(parts) + '\n'


def csv_text(document: Mapping[str, Any]) -> str:
  """Every finding of the document as a row of CSV."""
  _check(document)
  out = io.StringIO()
  writer = csv.writer(out, lineterminator='\n')
  ends = ('value', 'low', 'high')
  counts = ('number', 'undefined', 'groups', 'num_draws', 'seed')
  writer.writerow(['experiment', *_KEYS, *ends, *_NUMBERS, *counts])
  for section in document['sections']:
    for each in section['findings']:
      estimate = each['estimate']
      writer.writerow(
        [
          section['name'],
          *(each[key] for key in _KEYS),
          *(estimate['interval'][key] for key in ends),
          *(each[key] for key in _NUMBERS),
          *(estimate[key] for key in counts),
        ]
      )
  return out.getvalue()


def html(
  document: Mapping[str, Any], pictures: Mapping[str, Sequence[bytes]]
) -> str:
  """The document as one page that needs nothing from elsewhere.

  Args:
    document: of `document`.
    pictures: SVG, by the names of sections.
  """
  _check(document)
  return page(
    'experiments.html',
    title=document['title'],
    summary=_summary(document),
    sections=[
      {
        'title': section['title'],
        'about': section['about'],
        'verdict': _verdict(section),
        'tables': tables(section),
        'left_out': _left_out(section),
        'pictures': [
          base64.b64encode(svg).decode()
          for svg in pictures.get(section['name'], ())
        ],
      }
      for section in document['sections']
    ],
    about=pretty(document['about']).decode(),
  )


def write(folder: str | pathlib.Path, document: Mapping[str, Any]) -> None:
  """Writes the document, its tables, its pictures and the page.

  Raises:
    InputError: if the system refuses.
  """
  folder = pathlib.Path(folder)
  report.write_files(
    folder,
    {
      'experiments.json': pretty(document),
      'experiments.csv': csv_text(document).encode(),
      'experiments.md': markdown(document).encode(),
    },
  )
  pictures: dict[str, list[bytes]] = {}
  for section in document['sections']:
    name, found = section['name'], section['findings']
    if not found:
      continue
    paths = [figures.findings(folder / f'{name}.svg', found)]
    # A line needs two points.
    if any(len(points) > 1 for points in section['curves'].values()):
      path = folder / f'{name}.curve.svg'
      paths.insert(0, figures.curves(path, found, section['curves']))
    pictures[name] = [path.read_bytes() for path in paths]
  page = html(document, pictures).encode()
  report.write_files(folder, {'experiments.html': page})


def tables(section: Mapping[str, Any]) -> list[Table]:
  """Measures by system, then comparisons."""
  alone = [each for each in section['findings'] if not each['against']]
  pairs = [each for each in section['findings'] if each['against']]
  found = []
  measures = tuple(dict.fromkeys(each['measure'] for each in alone))
  systems = tuple(dict.fromkeys(each['system'] for each in alone))
  cells = {(each['system'], each['measure']): _cell(each) for each in alone}
  if len(systems) > 1:
    rows = tuple(
      (system, *(cells.get((system, each), '') for each in measures))
      for system in systems
    )
    found.append(Table(('system', *measures), rows))
  elif systems:
    (system,) = systems
    rows = tuple((each, cells[system, each]) for each in measures)
    found.append(Table(('measure', system), rows))
  if pairs:
    known = any(each['truth'] is not None for each in pairs)
    found_head = 'found (expected)' if known else 'found'
    head = ('comparison', 'measure', found_head, 'p', 'p, corrected')
    rows = tuple(
      (
        f'{each["system"]} – {each["against"]}',
        each['measure'],
        _cell(each),
        _p(each['p_value']),
        _p(each['adjusted']),
      )
      for each in pairs
    )
    found.append(Table(head, rows))
  return found


def _check(document: Mapping[str, Any]) -> None:
  if document.get('schema') != SCHEMA:
    raise InputError(
      f'must be {SCHEMA!r}, got {document.get("schema")!r}', field=('schema',)
    )


def _summary(document: Mapping[str, Any]) -> str:
  held, of = (
    sum(section['recovered'][key] for section in document['sections'])
    for key in ('held', 'of')
  )
  found = f' {held} of {of} intervals hold what is expected.' if of else ''
  return document['introduction'] + found


def _verdict(section: Mapping[str, Any]) -> str:
  held, of = (section['recovered'][key] for key in ('held', 'of'))
  return f'{held} of {of} intervals hold what is expected.' if of else ''


def _left_out(section: Mapping[str, Any]) -> list[str]:
  found = [*section['left_out']]
  for each in section['findings']:
    found += each['left_out']
  lines = (
    f'Left out: {each["count"]} x {each["kind"]}: {each["reason"]}.'
    for each in found
  )
  return [*dict.fromkeys(lines)]


def _cell(finding: Mapping[str, Any]) -> str:
  signed = 'minus' in finding['measure'] or 'difference' in finding['measure']
  text = report.estimate(finding['estimate']['interval'], signed=signed)
  if finding['truth'] is None:
    return text
  return f'{text} ({finding["truth"]:{"+.3f" if signed else ".3f"}})'


def _p(value: float | None) -> str:
  return '–' if value is None else f'{value:.4f}'
