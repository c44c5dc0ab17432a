"""The card of the default policy: what it is, and what it writes.

Made as the reward model's is (`card`): of one document, which is written beside
it, so that no number is typed by hand.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from consensus_jax import strict_json
from consensus_jax.defaults import policy_targets, run_facts, targets
from consensus_jax.evaluation import report
from consensus_jax.interop import adapters
from consensus_jax.outcome_file import pretty
from consensus_jax.policy_data import policy_tables
from consensus_jax.policy_data.groups import Groups
from consensus_jax.strict_json import InputError

CARD = 'policy.md'
METRICS = 'policy_metrics.json'
# What a reader says of a statement, and how a card puts it.
RUBRIC = {
  'fluent': 'reads as fluent English',
  'on_question': 'is about the question',
  'grounded': 'says nothing that no opinion holds',
  'no_leak': 'shows nothing of the prompt, and names nobody',
}


def write_policy_card(
  folder: str | pathlib.Path,
  comparison: Mapping[str, Any],
  run: str | pathlib.Path,
  learned: Groups,
  *,
  readings: str | pathlib.Path | None = None,
  shipped: str | pathlib.Path | None = None,
) -> dict[str, Any]:
  """Writes the card and its numbers.

  Args:
    folder: for both; what is there is replaced.
    comparison: a report of `policy_report.compare`.
    run: the folder of the run whose adapters ship.
    learned: the records that this run learned from.
    readings: JSON of what readers say of the statements in the comparison,
      {reader: {group: {fluent, on_question, grounded, no_leak}}}, true or
      false.
    shipped: the folder of its adapters as they ship, once they do.

  Returns:
    The numbers, as `policy_card` takes them.

  Raises:
    InputError: if the run's files are missing, readings are not understood, or
      a file cannot be written.
    ModelFileError: if there are no adapters.
  """
  run, target = pathlib.Path(run), pathlib.Path(folder)
  read = None
  if readings is not None:
    read = read_readings(
      readings, [each['group'] for each in comparison['statements']]
    )
  document = {
    'comparison': dict(comparison),
    'run': run_facts.about(run),
    'adapters': adapters.weights_sha256(run / 'adapters'),
    'shipped': shipped and adapters.weights_sha256(shipped),
    'learned': _learned(learned),
    'readings': read,
    'targets': policy_targets.reached(comparison, read),
  }
  content = {METRICS: pretty(document), CARD: policy_card(document).encode()}
  report.write_files(target, content)
  return document


def read_readings(
  path: str | pathlib.Path, groups: Sequence[str]
) -> dict[str, dict[str, dict[str, bool]]]:
  """Readers' verdicts, by reader and group.

  Args:
    path: of the JSON file.
    groups: whose statements there were to read; each reader has read all.

  Raises:
    InputError: if it cannot be read, or holds anything else.
  """
  try:
    text = pathlib.Path(path).read_bytes().decode(errors='surrogateescape')
  except OSError as error:
    raise InputError(
      f'cannot be read: {error.strerror}', file=str(path)
    ) from error
  try:
    readers = strict_json.parse(text)
    if not isinstance(readers, dict) or not readers:
      raise InputError('must be an object of readers')
    for reader, verdicts in readers.items():
      strict_json.check_object(verdicts, required=groups, path=(reader,))
      for group, verdict in verdicts.items():
        at = reader, group
        strict_json.check_object(verdict, required=[*RUBRIC], path=at)
        for name, value in verdict.items():
          if not isinstance(value, bool):
            raise InputError('must be true or false', field=(*at, name))
  except InputError as error:
    raise error.at(file=str(path)) from None
  return readers


def policy_card(document: Mapping[str, Any]) -> str:
  """The card of a document of `write_policy_card`, as Markdown."""
  comparison, run = document['comparison'], document['run']
  first, last = run['adapted_layers']
  weights = [
    ['made from', run['initialisation']],
    ['adapted layers', f'{first} to {last}, counted from 0'],
    ['rank of the adapters', str(run['rank'])],
    ['sha256 of the adapters, as trained', document['adapters']],
  ]
  if document['shipped']:
    weights.append(
      ['sha256 of the same as they ship, in float16', document['shipped']]
    )
  parts = [
    '# Model card: the default policy',
    'Written by `consensus_jax.defaults.policy_card` from '
    f'[{METRICS}]({METRICS}); no number is typed by hand.',
    '## What it is',
    _WHAT,
    report.table(['', ''], weights),
    '## What it learned from',
    'All of it is synthetic: no person wrote it. '
    + ' '.join(_SOURCES[name] for name in document['learned']),
    report.table(
      ['source', 'deliberations', 'opinions', 'statements'],
      [
        [
          source,
          *(
            f'{counts[name]:,}'
            for name in ('deliberations', 'opinions', 'statements')
          ),
        ]
        for source, counts in document['learned'].items()
      ],
    ),
    '## How it was trained',
    f'{run["steps"]:,} steps in {run_facts.duration(run)} of steps. The '
    'checkpoint of the best validation loss is the policy.',
    run_facts.settings_table(run),
    'Versions: '
    + ', '.join(f'{name} {each}' for name, each in run['versions'].items())
    + '.',
    '## How it was compared',
    _comparison(comparison),
    _contestants(comparison),
    '## What it reaches',
    targets.markdown(document['targets']),
    _GROUPS,
    policy_tables.markdown(comparison).strip(),
    '## What readers say',
    _reading(document['readings']),
    '## Limits',
    '\n'.join(f'- {limit}' for limit in _LIMITS),
    '## Licence and attribution',
    '\n'.join(f'- {each}' for each in _ATTRIBUTION),
  ]
  return '\n\n'.join(parts) + '\n'


def _learned(records: Groups) -> dict[str, dict[str, int]]:
  found: dict[str, dict[str, int]] = {}
  for record in records:
    counts = found.setdefault(
      record.source, {'deliberations': 0, 'opinions': 0, 'statements': 0}
    )
    counts['deliberations'] += 1
    counts['opinions'] += sum(bool(each.opinion) for each in record.members)
    counts['statements'] += len(record.statements)
  return found


def _comparison(comparison: Mapping[str, Any]) -> str:
  held_out = 'On groups that are held out from all of them. '
  numbers = {
    each['settings']['num_candidates'] for each in comparison['contestants']
  }
  if numbers == {1}:
    return held_out + (
      'Each policy writes one statement for a group; a reward model, which had '
      'no part in making any of them, judges. Nothing is selected, so nothing '
      'is said here of the best of several.'
    )
  return held_out + (
    'A reward model selects the best of what each policy writes; another, '
    'which learned from other people, judges.'
  )


def _contestants(comparison: Mapping[str, Any]) -> str:
  rows = [
    [
      each['name'],
      _model(each['policy']),
      ', '.join(f'{name} {value}' for name, value in each['settings'].items()),
    ]
    for each in comparison['contestants']
  ]
  selectors = {
    _model(each['selector'])
    for each in comparison['contestants']
    if each['settings']['num_candidates'] > 1
  }
  rows += [['selects', name, ''] for name in sorted(selectors)]
  rows.append(['judges', _model(comparison['judge']), ''])
  return report.table(['role', 'model', 'settings'], rows)


def _model(about: Mapping[str, Any]) -> str:
  """Name and checksum of a model, or of the adapters that make it."""
  of = about.get('adapters', about)
  return f'{of["name"]}, sha256 {of["sha256"]}'


def _reading(readings: policy_targets.Readings | None) -> str:
  if not readings:
    return 'Nobody has read the statements yet.'
  verdicts = [[*each.values()] for each in readings.values()]
  rows = [
    [words, *(_share([v[name] for v in read]) for read in verdicts)]
    for name, words in RUBRIC.items()
  ]
  rows.append(
    ['all of these', *(_share([all(v.values()) for v in r]) for r in verdicts)]
  )
  return (
    'Language models read each statement above beside its deliberation, with '
    'these questions, told only that a small model had written it. No person '
    'has read them.\n\n' + report.table(['statement', *readings], rows)
  )


def _share(passed: Sequence[bool]) -> str:
  return f'{sum(passed)} of {len(passed)}, {sum(passed) / len(passed):.0%}'


# What a policy may learn from.
_SOURCES = {
  'seed': '`seed`: statements for seed deliberations.',
  'rounds': '`rounds`: what an earlier run wrote, where it passed every check '
  'and a reward model liked it best.',
}

_WHAT = """\
It writes candidates of a consensus statement, from a question and the opinions
of a group: low-rank adapters of a small language model, fine-tuned on short
statements of clauses that members said. A reward model then scores its
candidates for each member."""

_GROUPS = """\
No person is in two groups. All groups are those of four sources together, and
not in balance. Of `polis`: people who wrote in real conversations; from other
people of these the reward model that selects or the judge has learned. Of
`habermas`: published deliberations. Of `question_bank`: two opposed statements
on a question, by nobody. Of `seed`: synthetic deliberations on topics that no
policy learned from. *Is preferred*: the share of groups whose members' mean
reward is higher. *Passes, times*: how many times as often its statements pass
all [checks](../evaluation.md#checking-statements)."""

_LIMITS = (
  'English only, and statements of one paragraph for groups of a few people.',
  'Small. It can leave a member out, put words into their mouths, miscount who '
  'said what, or say both sides of a contradiction: a person should read what '
  'it writes before a group is asked about it.',
  'A clause may mean something else once it stands alone: a doubt, a condition '
  'or irony is lost.',
  'It takes a few points, and not every member appears. Four of five '
  'statements that it learned begin with "We differ": it says so where members '
  'agree, too.',
  'What it writes for one group is much alike, so the best of several gains '
  'little; the best of a policy that varies more can be ahead (all groups).',
  'The checks are rules. They see copies, leaks, lengths and new words, and '
  'no false summary.',
  'All that it learned was written with a language model, whose style it has.',
  'The judge is a reward model that learned from votes on short comments. That '
  'it prefers one policy to another does not show that people would.',
)

_ATTRIBUTION = (
  'Adapters: Apache-2.0, as the code.',
  'Base model: SmolLM2-135M-Instruct, Hugging Face, Apache-2.0.',
  'Seed deliberations: Apache-2.0, [seed](../data/seed.md).',
  "Groups of the question bank and published ones: the Habermas Machine's "
  'questions, positions and deliberations, CC BY 4.0, copyright DeepMind '
  'Technologies Limited.',
  'People in groups of Polis conversations: data was gathered using the Polis '
  'software (compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with '
  'Attribution to The Computational Democracy Project.',
)
