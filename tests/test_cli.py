import dataclasses
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys

import pytest

from consensus_jax import cli
from consensus_jax.deliberation import Deliberation, InputError, Outcome
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.settings import WRITING, Progress, Settings

_ROOT = pathlib.Path(__file__).parents[1]
_EXAMPLE = json.loads((_ROOT / 'tests' / 'data' / 'outcome.json').read_text())
_GOOD = {'question': 'Why?', 'opinions': ['a', 'b']}
_OTHERS = [
  {'id': name, 'question': f'{name}?', 'opinions': ['a', 'b', 'c']}
  for name in ('x', 'y', 'z')
]


class _Mediator:
  """Gives the same outcome to every question, and remembers its calls."""

  def __init__(self, *, refuse: bool = False):
    self.loaded: list[tuple[str | None, ...]] = []
    self.calls: list[tuple[str, str, Settings]] = []
    self.fail: dict[str, Exception | type[BaseException]] = {}
    self.sha256 = 'ab'
    self.refuse = refuse

  def load(self, model, reward_model, dtype, policy):
    self.loaded.append((model, reward_model, dtype, policy))
    return self

  def mediate(self, deliberation, settings, *, progress):
    return self._outcome('deliberate', deliberation, settings, progress)

  def rank(self, deliberation, settings, *, progress):
    return self._outcome('rank', deliberation, settings, progress)

  def _outcome(self, verb, deliberation, settings, progress):
    self.calls.append((verb, deliberation.id, settings))
    if progress is not None:
      progress(Progress(stage='score', done=1, total=2))
    if deliberation.id in self.fail:
      raise self.fail[deliberation.id]
    outcome = Outcome.from_json(_EXAMPLE)
    members = len(deliberation.opinions)
    candidates = tuple(
      dataclasses.replace(
        candidate,
        rewards=candidate.rewards[:members],
        utilities=candidate.utilities[:members],
        **({'rank': None, 'refused': 'NaN'} if self.refuse else {}),
      )
      for candidate in outcome.candidates
    )
    return dataclasses.replace(
      outcome,
      id=deliberation.id,
      question=deliberation.question,
      participants=deliberation.opinions,
      candidates=candidates,
      consensus=None if self.refuse else outcome.consensus,
      policy={'sha256': self.sha256},
      run={},
    )

  @property
  def ids(self):
    return [name for _, name, _ in self.calls]


@pytest.fixture
def mediator():
  return _Mediator()


@pytest.fixture
def run(mediator, tmp_path, monkeypatch, capfd):
  """Runs the command in an empty folder: exit code, output, errors."""
  monkeypatch.chdir(tmp_path)

  def run(*argv, load=mediator.load):
    try:
      code = cli.main([str(arg) for arg in argv], load=load)
    except SystemExit as error:
      code = error.code
    out, err = capfd.readouterr()
    return code, out, err

  return run


def _write(name, *records, indent=None):
  text = '\n'.join(
    record if isinstance(record, str) else json.dumps(record, indent=indent)
    for record in records
  )
  pathlib.Path(name).write_text(text + '\n', encoding='utf-8')
  return name


def _read(name):
  return [
    json.loads(line) for line in pathlib.Path(name).open(encoding='utf-8')
  ]


def test_json_goes_to_standard_output_alone(run, mediator):
  code, out, err = run('deliberate', _write('in.json', _GOOD))
  assert code == 0
  outcome = Outcome.from_json(json.loads(out))
  assert outcome.question == 'Why?'
  assert outcome.run == {
    'verb': 'deliberate',
    'model': None,
    'reward_model': None,
    'dtype': 'auto',
    'settings': {**dataclasses.asdict(Settings())},
    'input_sha256': Deliberation.from_json(_GOOD).fingerprint,
  }
  assert out.count('\n') == 1
  assert err.endswith(' s\n')
  assert mediator.loaded == [(None, None, None, None)]


def test_every_flag_arrives(run, mediator):
  _write('in.json', _GOOD)
  pathlib.Path('model').mkdir()
  pathlib.Path('judge').mkdir()
  code, *_ = run(
    *('deliberate', 'in.json', '--model', 'model', '--dtype', 'bfloat16'),
    *('--reward_model', 'judge'),
    *('--policy', 'few_shot', '--num_candidates', 3, '--max_tokens', 9),
    *('--temperature', 0.5, '--top_p', 0.8, '--top_k', 7, '--min_p', 0.2),
    *('--no_repeat_ngram_size', 4, '--no_copy_ngram_size', 9),
    *('--alpha', 2, '--utility', 'sigmoid', '--overflow', 'truncate'),
    *('--rule', 'schulze', '--delta', 3, '--strength', 'margins'),
    *('--threshold', 0.5, '--tie_break', 'random', '--seed', 11),
  )
  assert code == 0
  assert mediator.loaded == [('model', 'judge', 'bfloat16', 'few_shot')]
  settings = mediator.calls[0][2]
  assert settings == Settings(
    policy='few_shot',
    num_candidates=3,
    max_tokens=9,
    temperature=0.5,
    top_p=0.8,
    top_k=7,
    min_p=0.2,
    no_repeat_ngram_size=4,
    no_copy_ngram_size=9,
    rule='schulze',
    alpha=2.0,
    delta=3.0,
    strength='margins',
    threshold=0.5,
    tie_break='random',
    utility='sigmoid',
    overflow='truncate',
    seed=11,
  )
  default = Settings()
  for field in dataclasses.fields(Settings):
    assert getattr(settings, field.name) != getattr(default, field.name)


@pytest.mark.parametrize(
  ('flags', 'alpha'),
  [
    ('--welfare utilitarian', 0),
    ('--welfare nash', 1),
    ('--welfare rawlsian', float('inf')),
    ('--alpha inf', float('inf')),
    ('--alpha 0.5', 0.5),
  ],
)
def test_welfare_is_alpha_by_name(run, mediator, flags, alpha):
  code, out, _ = run('deliberate', _write('in.json', _GOOD), *flags.split())
  assert code == 0
  assert mediator.calls[0][2].alpha == alpha
  json.loads(out, parse_constant=pytest.fail)


def test_rank_scores_what_the_file_brings(run, mediator):
  _write('in.json', {**_GOOD, 'candidates': ['c']})
  code, out, _ = run('rank', 'in.json', '--welfare', 'nash')
  assert code == 0
  assert mediator.calls[0][0] == 'rank'
  kept = dataclasses.asdict(Settings(alpha=1.0))
  for name in WRITING:
    del kept[name]
  assert json.loads(out)['run']['settings'] == kept


@pytest.mark.parametrize(
  ('argv', 'message'),
  [
    ('', 'the following arguments are required: VERB'),
    ('mediate in.json', "invalid choice: 'mediate'"),
    ('deliberate', 'the following arguments are required: FILE'),
    ('deliberate in.json --top_p x', 'argument --top_p: invalid float'),
    ('deliberate in.json --top_p 3', '--top_p: must be a number above 0'),
    ('deliberate in.json --alpha nan', '--alpha: must be a number from 0'),
    ('deliberate in.json --seed -1', '--seed: must be a whole number from 0'),
    ('deliberate in.json --num-candidates 3', 'did you mean --num_candidates?'),
    ('deliberate in.json --temp 3', 'unknown argument --temp'),
    ('deliberate in.json --alpha 1 --welfare nash', 'not allowed with'),
    ('deliberate in.json --policy rl', "invalid choice: 'rl'"),
    ('rank in.json --num_candidates 3', 'unknown argument --num_candidates'),
    ('rank in.json', 'in.json:1: candidates: is missing'),
    ('deliberate none.json', 'none.json: cannot read: No such file'),
    ('deliberate .', '.: cannot read: Is a directory'),
    ('deliberate in.json --model none', '--model: there is no none'),
    ('deliberate in.json --out none/x.json', '--out: none/x.json: there is no'),
    ('deliberate in.json --out in.json', '--out: in.json: names a file of'),
    ('deliberate in.json --out ./x --report x', '--report: x: names a file of'),
    ('deliberate in.json --report .', '--report: .: is a folder'),
    ('deliberate in.json --out old.txt', 'old.txt: is not an outcome'),
    ('deliberate in.json --out -', '--out: -: leave it away'),
    ('deliberate bad.json', 'bad.json:3: opinions[0].text: is empty'),
    ('deliberate bad.jsonl', 'bad.jsonl:1: opinions: holds no opinions'),
  ],
)
def test_bad_use_is_one_line_before_the_model_is_loaded(
  run, mediator, argv, message
):
  _write('in.json', _GOOD)
  _write('old.txt', 'precious')
  _write('bad.json', '{"question": "Why?",\n "opinions": [\n  ""]}')
  _write('bad.jsonl', '{"question": "Why?", "opinions": []}')
  code, out, err = run(*argv.split())
  assert code == 2
  assert err.startswith('error: ')
  assert message in err
  assert err.count('\n') == 1
  assert not mediator.loaded
  assert out.count('"error"') == (argv == 'deliberate bad.jsonl')
  assert sorted(os.listdir()) == ['bad.json', 'bad.jsonl', 'in.json', 'old.txt']


def test_one_record_to_a_file(run):
  _write('in.json', _GOOD, indent=1)
  code, out, err = run('deliberate', 'in.json', '--out', 'out.json')
  assert code == 0
  text = pathlib.Path('out.json').read_text(encoding='utf-8')
  Outcome.from_json(json.loads(text))
  assert text.startswith('{\n  "schema"')
  assert 'Consensus #0' in out  # Free for reading, as the JSON is elsewhere.
  assert '\x1b' not in out + err
  # Again: an outcome may be replaced.
  assert run('deliberate', 'in.json', '--out', 'out.json')[0] == 0
  assert sorted(os.listdir()) == ['in.json', 'out.json']


def test_many_records_keep_their_order_around_bad_ones(run, mediator):
  mediator.fail['y'] = InputError('7 tokens over', field=('opinions', 1))
  bad = '{"id": "w", "question": "Why?", "opinions": [""]}'
  _write('in.jsonl', _OTHERS[0], bad, _OTHERS[1], '{', _OTHERS[2])
  code, out, err = run('deliberate', 'in.jsonl', '--out', 'out.jsonl')
  assert code == 1
  assert out == ''
  records = _read('out.jsonl')
  assert [record.get('id') for record in records] == ['x', 'w', 'y', None, 'z']
  errors = [record for record in records if 'error' in record]
  assert errors[:2] == [
    {
      'schema': 'consensus_jax/error/v1',
      'id': 'w',
      'line': 2,
      'error': 'opinions[0].text: is empty',
    },
    {
      'schema': 'consensus_jax/error/v1',
      'id': 'y',
      'line': 3,
      'error': 'opinions[1]: 7 tokens over',
    },
  ]
  assert errors[2].keys() == {'schema', 'line', 'error'}
  reported = [line for line in err.splitlines() if line.startswith('error: ')]
  assert [line.split(':')[2] for line in reported] == ['2', '4', '3']
  # The same on standard output.
  code, out, _ = run('deliberate', 'in.jsonl')
  assert code == 1
  lines = [json.loads(line) for line in out.splitlines()]
  assert [line.get('id') for line in lines] == ['x', 'w', 'y', None, 'z']


@pytest.mark.parametrize('stop', [KeyboardInterrupt, RuntimeError('a defect')])
def test_an_interrupted_run_goes_on(run, mediator, stop):
  _write('in.jsonl', *_OTHERS)
  argv = ('deliberate', 'in.jsonl', '--out', 'out.jsonl', '--report', 'o.html')
  mediator.fail['y'] = stop
  if stop is KeyboardInterrupt:
    code, _, err = run(*argv)
    assert code == 130
    assert 'Traceback' not in err
  else:
    with pytest.raises(RuntimeError, match='a defect'):
      run(*argv)
  assert [record['id'] for record in _read('out.jsonl')] == ['x']
  first = pathlib.Path('out.jsonl').read_bytes()

  mediator.calls.clear()
  mediator.fail.clear()
  pathlib.Path('out.jsonl').write_bytes(first + b'{"schema": "consensus_jax/ou')
  code, _, err = run(*argv)
  assert code == 0
  assert mediator.ids == ['y', 'z']
  assert 'dropped a last line' in err
  assert 'kept 1 of 3' in err
  assert pathlib.Path('out.jsonl').read_bytes().startswith(first)
  assert [record['id'] for record in _read('out.jsonl')] == ['x', 'y', 'z']
  page = pathlib.Path('o.html').read_text(encoding='utf-8')
  assert [f'>{name}?<' in page for name in 'xyz'] == [True] * 3

  # Nothing left to do: the model is not even loaded.
  mediator.loaded.clear()
  assert run(*argv)[0] == 0
  assert not mediator.loaded


def test_shards_together_are_the_whole_run(run, mediator):
  good = [_GOOD | {'id': str(i)} for i in range(5)]
  _write('in.jsonl', *good)
  for index in range(3):
    code, _, err = run(
      'deliberate', 'in.jsonl', '--shard', f'{index}/3', '--out', f'{index}'
    )
    assert code == 0, err
  assert mediator.ids == ['0', '3', '1', '4', '2']
  # Joined in any order they are an interrupted run, which finds all done.
  parts = [pathlib.Path(str(index)).read_text() for index in range(3)]
  pathlib.Path('all').write_text(''.join(parts))
  code, _, err = run('deliberate', 'in.jsonl', '--out', 'all')
  assert code == 0 and 'kept 5 of 5' in err and len(mediator.calls) == 5
  assert [outcome['id'] for outcome in _read('all')] == list('01234')


def test_more_shards_than_records_leave_some_empty(run, mediator):
  _write('in.jsonl', _GOOD)
  code, _, _ = run('deliberate', 'in.jsonl', '--shard=1/2', '--out', 'none')
  assert code == 0 and not mediator.loaded
  assert pathlib.Path('none').read_bytes() == b''


@pytest.mark.parametrize('shard', ['2/2', '1', '/', '-1/2', '0/0'])
def test_a_shard_that_cannot_be_is_refused(run, shard):
  _write('in.jsonl', _GOOD)
  code, _, err = run('deliberate', 'in.jsonl', f'--shard={shard}')
  assert code == 2 and 'I/N' in err and err.count('\n') == 1


def test_one_record_has_no_shards(run):
  _write('in.json', _GOOD)
  code, _, err = run('deliberate', 'in.json', '--shard', '0/2')
  assert code == 2 and '--shard: needs a file of many records' in err


def test_a_mended_line_takes_its_place(run, mediator):
  bad = {**_OTHERS[1], 'opinions': []}
  _write('in.jsonl', _OTHERS[0], bad, _OTHERS[2])
  argv = ('deliberate', 'in.jsonl', '--out', 'out.jsonl')
  assert run(*argv)[0] == 1
  _write('in.jsonl', *_OTHERS)
  mediator.calls.clear()
  assert run(*argv)[0] == 0
  assert mediator.ids == ['y']
  assert [record['id'] for record in _read('out.jsonl')] == ['x', 'y', 'z']


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ('--alpha 2', 'alpha'),
    ('--seed 5', 'seed'),
    ('--dtype float32', 'dtype'),
    ('--model in.jsonl', 'model'),
  ],
)
def test_a_run_does_not_go_on_with_other_settings(
  run, mediator, flags, message
):
  _write('in.jsonl', *_OTHERS)
  argv = ('deliberate', 'in.jsonl', '--out', 'out.jsonl')
  mediator.fail['z'] = KeyboardInterrupt
  assert run(*argv)[0] == 130
  before = pathlib.Path('out.jsonl').read_bytes()
  mediator.loaded.clear()
  code, _, err = run(*argv, *flags.split())
  assert code == 2
  assert f'out.jsonl:1: was made with {message}' in err
  assert not mediator.loaded
  assert pathlib.Path('out.jsonl').read_bytes() == before


def test_a_run_does_not_go_on_with_other_weights(run, mediator):
  _write('in.jsonl', *_OTHERS)
  argv = ('deliberate', 'in.jsonl', '--out', 'out.jsonl')
  mediator.fail['z'] = KeyboardInterrupt
  assert run(*argv)[0] == 130
  mediator.fail.clear()
  mediator.sha256 = 'cd'
  code, _, err = run(*argv)
  assert code == 2
  assert 'out.jsonl: policy: was made with other weights' in err
  assert [record['id'] for record in _read('out.jsonl')] == ['x', 'y']


def test_a_long_prompt_of_one_record(run, mediator):
  deliberation = Deliberation.from_json(_GOOD)
  mediator.fail[deliberation.id] = InputError('7 tokens over')
  code, out, err = run('deliberate', _write('in.json', _GOOD), '--out', 'o')
  assert (code, out) == (2, '')
  assert err == 'error: in.json:1: 7 tokens over\n'
  assert not pathlib.Path('o').exists()


def test_a_bad_model_is_one_line(run):
  def load(model, reward_model, dtype, policy):
    raise ModelFileError(model, 'is truncated')

  _write('in.json', _GOOD)
  code, _, err = run('deliberate', 'in.json', '--model', 'in.json', load=load)
  assert code == 2
  assert err == 'error: in.json: is truncated\n'


def test_a_defect_keeps_its_traceback(run, mediator):
  def load(model, reward_model, dtype, policy):
    raise ValueError('a defect')

  _write('in.json', _GOOD)
  with pytest.raises(ValueError, match='a defect'):
    run('deliberate', 'in.json', load=load)


def test_no_consensus_is_a_failure_that_is_written(run, mediator):
  mediator.refuse = True
  _write('in.json', _GOOD)
  code, out, err = run('deliberate', 'in.json', '--out', 'out.json')
  assert code == 1
  assert 'No consensus' in out
  assert 'error: in.json:1: every candidate was refused' in err
  assert json.loads(pathlib.Path('out.json').read_text())['consensus'] is None


def _python(*argv, **kwargs):
  return subprocess.run(
    [sys.executable, *argv],
    capture_output=True,
    text=True,
    cwd=_ROOT,
    timeout=60,
    **kwargs,
  )


def _processor_seconds():
  """Of programs that have ended: whatever else runs does not count."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def test_help_is_instant_and_imports_nothing_heavy():
  for argv in (['--help'], ['deliberate', '--help'], ['--version']):
    times = []
    for _ in range(3):
      start = _processor_seconds()
      result = _python('-m', 'consensus_jax', *argv)
      times.append(_processor_seconds() - start)
      assert result.returncode == 0
    assert min(times) < 0.5
  help_text = _python('-m', 'consensus_jax', 'deliberate', '--help').stdout
  for flag in ('--policy', '--alpha', '--report', "'given'", 'Exit code'):
    assert flag in help_text
  assert max(map(len, help_text.splitlines())) <= 80


def test_bad_input_is_told_without_importing_jax(tmp_path):
  path = tmp_path / 'in.json'
  path.write_text('{"question": "Why?", "opinions": []}')
  code = f"""
import sys
from consensus_jax import cli
assert cli.main(['deliberate', {str(path)!r}]) == 2
heavy = {{'jax', 'numpy', 'flax', 'rich', 'jinja2'}} & set(sys.modules)
assert not heavy, heavy
"""
  result = _python('-c', code)
  assert result.returncode == 0, result.stderr
  assert result.stderr == f'error: {path}:1: opinions: holds no opinions\n'


_SLOW = """
import sys, time
from consensus_jax import cli
class Slow:
  def mediate(self, *_, **__):
    print('started', file=sys.stderr, flush=True)
    time.sleep(30)
sys.exit(cli.main(sys.argv[1:], load=lambda *_: Slow()))
"""


def test_interrupting_a_process_is_quiet(tmp_path):
  path = tmp_path / 'in.json'
  path.write_text(json.dumps(_GOOD))
  with subprocess.Popen(
    [sys.executable, '-c', _SLOW, 'deliberate', str(path)],
    stderr=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    cwd=_ROOT,
  ) as process:
    assert process.stderr.readline() == 'started\n'
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
  assert (process.returncode, out, err) == (130, '', '')


_MANY = """
import dataclasses, json, sys
from consensus_jax import cli
from consensus_jax.deliberation import Outcome
example = Outcome.from_json(json.load(open('tests/data/outcome.json')))
class Fast:
  def mediate(self, deliberation, *_, **__):
    return dataclasses.replace(example, id=deliberation.id)
sys.exit(cli.main(sys.argv[1:], load=lambda *_: Fast()))
"""


def test_a_closed_pipe_ends_the_run_quietly(tmp_path):
  path = tmp_path / 'in.jsonl'
  path.write_text(
    ''.join(json.dumps({**_GOOD, 'id': f'{n}'}) + '\n' for n in range(500))
  )
  with subprocess.Popen(
    [sys.executable, '-c', _MANY, 'deliberate', str(path)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=_ROOT,
  ) as process:
    assert json.loads(process.stdout.readline())['id'] == '0'
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=20)
  assert process.returncode == 141
  assert 'Traceback' not in err
  assert 'rror' not in err


def test_output_is_utf8_whatever_the_locale(tmp_path):
  path = tmp_path / 'in.json'
  path.write_text(json.dumps({**_GOOD, 'id': '好'}))
  env = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
  result = subprocess.run(
    [sys.executable, '-c', _MANY, 'deliberate', str(path)],
    capture_output=True,
    cwd=_ROOT,
    env=env,
    timeout=60,
  )
  assert result.returncode == 0
  assert json.loads(result.stdout.decode())['id'] == '好'
