"""What experiments found, as JSON, tables, CSV and a page."""

import base64
import csv
import io
import json

import pytest

from consensus_jax.evaluation import experiment_report, findings
from consensus_jax.evaluation.experiment_study import Section
from consensus_jax.evaluation.findings import Draws
from consensus_jax.evaluation.latent import groups, questions, statements
from consensus_jax.strict_json import InputError

pytest.importorskip('matplotlib')
DRAWS = Draws(100, 0)
ABOUT = {'settings': {'num_groups': 6, 'num_draws': 100, 'seed': 0}}


@pytest.fixture(scope='module')
def document():
  drawn = groups.draw_groups(questions.read(), num_groups=6, seed=0)
  chosen = {
    kind: [statements.written(group, kind, seed=0) for group in drawn]
    for kind in ('compromise', 'vague')
  }
  chosen['vague'][0] = None
  rated = findings.rate(drawn, chosen, seed=0)
  found = [
    *(findings.measured(rated, 'mean agreement', s, DRAWS) for s in chosen),
    *findings.compared(rated, 'compromise', 'vague', DRAWS),
  ]
  section = Section(
    name='selection',
    title='<b>Compromise</b>',
    about='Against a vague statement.',
    findings=findings.corrected(found),
    left_out=rated.left_out,
    curves={'ours': ((1, 'vague'), (2, 'compromise'), (4, 'absent'))},
  )
  return experiment_report.document(
    [section], title='<i>Rated</i>', introduction='By hand.', about=ABOUT
  )


def test_tables_say_what_the_document_holds(document):
  text = experiment_report.markdown(document)
  mean, _, won, _ = document['sections'][0]['findings']
  for each in (mean, won):
    value, low, high = each['estimate']['interval'].values()
    cell = f'{value:.3f} [{low:.3f}, {high:.3f}] ({each["truth"]:.3f})'
    assert cell in text
  assert f'{won["p_value"]:.4f} | {won["adjusted"]:.4f}' in text
  assert "Left out: 1 x group: has no statement of 'vague'." in text


def test_every_finding_is_a_row_of_csv(document):
  rows = [*csv.DictReader(io.StringIO(experiment_report.csv_text(document)))]
  found = document['sections'][0]['findings']
  assert [row['measure'] for row in rows] == [each['measure'] for each in found]
  for row, each in zip(rows, found):
    assert float(row['low']) == each['estimate']['interval']['low']
    assert float(row['truth']) == each['truth']
  assert rows[0]['p_value'] == ''


def test_a_folder_holds_a_page_that_needs_nothing_else(document, tmp_path):
  experiment_report.write(tmp_path, document)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'experiments.csv',
    'experiments.html',
    'experiments.json',
    'experiments.md',
    'selection.curve.svg',
    'selection.svg',
  ]
  assert json.loads((tmp_path / 'experiments.json').read_text()) == document
  page = (tmp_path / 'experiments.html').read_text()
  assert (
    '<h1>&lt;i&gt;Rated' in page
    and '&lt;b&gt;Compromise' in page
    and '<script' not in page
  )
  assert 'src="http' not in page and 'href=' not in page
  for name in ('selection.svg', 'selection.curve.svg'):
    picture = base64.b64encode((tmp_path / name).read_bytes()).decode()
    assert picture in page
  curve = (tmp_path / 'selection.curve.svg').read_text()
  for text in ('best of so many candidates', 'mean agreement', 'ours'):
    assert f'<!-- {text} -->' in curve


def test_what_is_not_known_is_not_told(document, tmp_path):
  (section,) = document['sections']
  unknown = {
    **document,
    'sections': [
      {
        **section,
        'curves': {},
        'recovered': {'held': 0, 'of': 0},
        'findings': [{**each, 'truth': None} for each in section['findings']],
      }
    ],
  }
  text = experiment_report.markdown(unknown)
  assert 'expected' not in text
  experiment_report.write(tmp_path, unknown)
  assert not (tmp_path / 'selection.curve.svg').exists()


def test_documents_of_another_schema_are_refused(document):
  for make in (experiment_report.markdown, experiment_report.csv_text):
    with pytest.raises(InputError, match='schema: must be'):
      make({**document, 'schema': 'v2'})
