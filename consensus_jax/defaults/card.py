"""The card of the default reward model: what it is, and what it reaches.

A card is made of one document of numbers, which is written beside it, so that
no number is typed by hand. `policy_card` has the policy's.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consensus_jax.defaults import reward_targets, run_facts, targets
from consensus_jax.defaults.measure import Measurement
from consensus_jax.defaults.measured_people import MODEL, NEW_BY_VOTES, SHIPS
from consensus_jax.evaluation import figures, report, systems
from consensus_jax.evaluation.benchmark import Comparison
from consensus_jax.interop import adapters
from consensus_jax.outcome_file import pretty
from consensus_jax.strict_json import InputError

CARD = 'reward_model.md'
METRICS = 'metrics.json'
CALIBRATION, LENGTH, AUC = (
  f'reward_model.{name}.svg' for name in ('calibration', 'length', 'auc')
)


def write_reward_card(
  folder: str | pathlib.Path,
  found: Measurement,
  model: str | pathlib.Path,
  runs: Mapping[pathlib.Path, float],
  *,
  shipped: str | pathlib.Path | None = None,
) -> dict[str, Any]:
  """Writes the card, its numbers and its pictures.

  Args:
    folder: for all of it; what is there is replaced.
    found: of a measurement of the model that ships.
    model: the folder of its adapters.
    runs: folders of the runs that it is a sum of, and how much of each it is.
    shipped: the folder of its adapters as they ship, once they do.

  Returns:
    The numbers, as `reward_card` takes them.

  Raises:
    InputError: if the files of a run are missing, something else was
      measured, or a file cannot be written.
    ModelFileError: if there are no adapters.
  """
  target = pathlib.Path(folder)
  compared = found.sections.get(NEW_BY_VOTES)
  if not isinstance(compared, Comparison):
    raise InputError(f'no measurement of {SHIPS}', field=('found',))
  measured = found.about['models'][SHIPS]['adapters']['sha256']
  if adapters.weights_sha256(model) != measured:
    raise InputError('was not measured: its adapters differ', file=str(model))
  document = report.document(
    found.sections,
    about=dict(found.about)
    | {
      'runs': [
        run_facts.about(run) | {'weight': weight, 'rows': run_facts.rows(run)}
        for run, weight in runs.items()
      ],
      'measured': [*_measured(found)],
      'shipped': shipped and {'sha256': adapters.weights_sha256(shipped)},
    },
  )
  document['about']['targets'] = reward_targets.reached(document)
  content = {METRICS: pretty(document), CARD: reward_card(document).encode()}
  report.write_files(target, content)
  people, said = found.predictions[NEW_BY_VOTES]
  drawn = {
    name: said[name] for name in (MODEL, systems.LOGISTIC) if name in said
  }
  figures.calibration(target / CALIBRATION, people, drawn)
  figures.reward_by_length(target / LENGTH, people, said[MODEL])
  figures.bars(target / AUC, compared)
  return document


def reward_card(document: Mapping[str, Any]) -> str:
  """The card of a document that `write_reward_card` makes, as Markdown."""
  about = document['about']
  runs, model = about['runs'], about['models'][SHIPS]
  first, last = runs[0]['adapted_layers']
  halves = about['halves']
  weights = [
    ['base model', model['name']],
    ['sha256 of the base', model['sha256']],
    ['adapted layers', f'{first} to {last}, counted from 0'],
    ['rank of the adapters', str(runs[0]['rank'])],
    *([f'weight of run `{run["name"]}`', f'{run["weight"]}'] for run in runs),
    ['sha256 of the adapters, as measured', model['adapters']['sha256']],
  ]
  if about['shipped']:
    weights.append(
      [
        'sha256 of the same as they ship, in float16',
        about['shipped']['sha256'],
      ]
    )
  synthetic = any(
    each['synthetic'] for run in runs for each in run['rows']['train']
  )
  results = report.markdown(document).replace('\n## ', '\n### ')
  parts = [
    '# Model card: the default reward model',
    'Written by `consensus_jax.defaults.card` from '
    f'[{METRICS}]({METRICS}); no number is typed by hand.',
    '## What it is',
    _WHAT,
    report.table(['', ''], weights),
    '## Targets',
    targets.markdown(about['targets']),
    '## What it learned from',
    f'People of {len(halves["a"])} Polis conversations'
    f'{", and synthetic votes" if synthetic else ""}. '
    f'{len(halves["b"])} other conversations are held out whole. Votes include '
    'passes. In the first run a row is one person: what is known of them, and '
    'statements that they judged; people have several rows, of other votes. In '
    'a run of statements a row is statements alone, each with the mean of all '
    'votes on it.',
    *(part for run in runs for part in _data(run['name'], run['rows'])),
    'Whom it is measured on, none of whom it learned from:',
    report.table(
      ['part', 'conversation', 'people', 'votes for or against'],
      [
        [
          each['part'],
          each['conversation'],
          *_counts(each, ['people', 'votes']),
        ]
        for each in about['measured']
      ],
    ),
    '## How it was trained',
    *(part for run in runs for part in _training(run)),
    '## What it reaches',
    'What each system and measure is: [evaluation](../evaluation.md). '
    f'"{MODEL}" is this model, unless a table says otherwise.',
    f'![AUC of all systems in new conversations]({AUC})',
    f'![Calibration in new conversations]({CALIBRATION})',
    f'![Rewards by length of the statement, in new conversations]({LENGTH})',
    _baselines(about['sizes']),
    f'#{results}'.strip(),
    '## Limits',
    _list(_LIMITS, _SYNTHETIC_LIMITS if synthetic else ()),
    '## Licence and attribution',
    _list(_ATTRIBUTION, _SYNTHETIC_ATTRIBUTION if synthetic else ()),
  ]
  return '\n\n'.join(parts) + '\n'


def _baselines(sizes: Mapping[str, int]) -> str:
  return (
    'Logistic regression learned from at most '
    f'{sizes["statements"]:,} votes each of at most {sizes["train"]:,} people '
    'of a conversation; the reward model from all. The prompted rater, which '
    f'is slow, was asked about at most {sizes["rater"]:,} people of a new '
    "conversation, described by votes, and about nobody else. With another's "
    'opinion nothing is said about statements that it quotes.'
  )


def _list(*parts: Sequence[str]) -> str:
  return '\n'.join(f'- {each}' for part in parts for each in part)


def _training(run: Mapping[str, Any]) -> Iterator[str]:
  """How long a run trained, and with what settings."""
  chosen = 'of the last step'
  if 'validation' in run['rows']:
    chosen = 'of the best validation loss'
  yield (
    f'Run `{run["name"]}`: {run["steps"]:,} steps in '
    f'{run_facts.duration(run)} of steps, from {run["initialisation"]}. Its '
    f'result is the checkpoint {chosen}.'
  )
  yield run_facts.settings_table(run)
  versions = (f'{name} {each}' for name, each in run['versions'].items())
  yield f'Versions: {", ".join(versions)}.'


def _data(
  name: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[str]:
  """What each split of a run holds, in words."""
  for split, sources in rows.items():
    columns = [
      each
      for each in ('people', 'statements', 'rows', 'votes')
      if each in sources[0]
    ]
    real, synthetic = (
      [each for each in sources if each['synthetic'] is kind]
      for kind in (False, True)
    )
    lines = [
      *([each['source'], *_counts(each, columns)] for each in real),
      ['all real people', *_counts(_sum(real, columns), columns)],
      *(
        [f'synthetic: {each["source"]}', *_counts(each, columns)]
        for each in synthetic
      ),
    ]
    share = ''
    if synthetic:
      total, part = _sum(sources, columns), _sum(synthetic, columns)
      lines.append(['all synthetic', *_counts(part, columns)])
      share = (
        f': {part["rows"] / total["rows"]:.0%} of the rows and '
        f'{part["votes"] / total["votes"]:.0%} of the votes are synthetic'
      )
    yield f'Run `{name}`, split {split}{share}.'
    yield report.table(['source', *columns], lines)


def _sum(
  sources: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> dict[str, int]:
  return {name: sum(each[name] for each in sources) for name in columns}


def _counts(each: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
  return [f'{each[name]:,}' for name in columns]


def _measured(found: Measurement) -> Iterator[dict[str, Any]]:
  for part, (people, _) in found.predictions.items():
    for name in dict.fromkeys(case.group for case in people):
      here = [case for case in people if case.group == name]
      yield {
        'part': part,
        'conversation': name,
        'people': len(here),
        'votes': sum(len(case.votes) for case in here),
      }


_WHAT = """\
It predicts how readily one person would agree with a statement, from the
question and what is known of that person: their own words, or some of their
votes in words. The reward is the log-odds that the person votes for the
statement. A group's consensus is made of such rewards, one a member.

Low-rank adapters of a small language model, and a linear head on the last
hidden state. They are a weighted sum of those of two runs: one learned how each
person voted from what is known of them, the other, which saw no opinion, what
people in general like."""

_LIMITS = (
  'English only. The conversations are few and of few places, in the United '
  'States, the United Kingdom and New Zealand. Intervals draw people, not '
  'conversations: they say nothing of another topic or country.',
  'It learned from votes on short comments that people sent in, of a sentence '
  'or two. A consensus statement is longer, has several parts and was written '
  'by a model. That rewards order such statements as people would is not '
  'shown here.',
  'Who takes part in a Polis conversation chose to. They are no sample of a '
  'public. Nothing is known of their age, sex or origin, so that no '
  'difference between such groups was tested.',
  'Much of what it predicts is how a statement is liked by anybody. How much '
  "is personal is its difference to itself with another's opinion, above.",
  'Most opinions that it learned from are votes in words. How it does on '
  'people who wrote, mostly a sentence or two, is a table of its own.',
  'The conversations of half B are in no training set of this model, but the '
  'recipe was chosen by people who had seen what earlier ones reached on '
  'them, and the weights of its runs on votes of 30 people of half B, some of '
  'whom are measured here.',
  'Its rewards follow the length of a statement (targets, and the picture): '
  'padding may be rewarded.',
  'Of the statements of new conversations it chooses worse for groups than the '
  'model of statements alone does (welfare, above). It ships all the same: by '
  'AUC it is not behind there, though it orders the statements that one person '
  'judged worse, and it is far ahead where conversations are known.',
  'By comments its probabilities are too sure (calibration error, above).',
  'Wording moves rewards: see the section on robustness. Denials, irony and '
  'errors of fact were not tested.',
  'It is for finding statements to put before people, who then decide. It is '
  'no substitute for asking them, and no means to judge a person.',
)

_ATTRIBUTION = (
  'Adapters: Apache-2.0, as the code.',
  'Base model: SmolLM2-135M-Instruct, Hugging Face, Apache-2.0.',
  'Votes and comments: data was gathered using the Polis software '
  '(compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with '
  'Attribution to The Computational Democracy Project.',
)

# Of a model that learned from synthetic votes too.
_SYNTHETIC_LIMITS = (
  'Synthetic votes are of invented people, who answer as a language model '
  'thought that people might. They are in the training set only.',
)
_SYNTHETIC_ATTRIBUTION = (
  "Stances: invented from questions and positions of the Habermas Machine's "
  'question bank, CC BY 4.0, copyright DeepMind Technologies Limited.',
  'Invented conversations and seed deliberations: written for this project '
  'with a language model, Apache-2.0. They have cards of their own: '
  '[invented](../data/invented.md), [seed](../data/seed.md).',
)
