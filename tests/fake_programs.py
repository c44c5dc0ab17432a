"""Programs on the PATH that note what they are told, and answer as told."""

import json
import pathlib
import sys

# Answers with the first rule whose words are all among its arguments.
_FAKE = """#!{python} -S
import json, os, pathlib, sys, time
home = pathlib.Path({home!r})
name = pathlib.Path(sys.argv[0]).name
stdin = '' if sys.stdin.isatty() else sys.stdin.read()
told = {{'name': name, 'args': sys.argv[1:], 'stdin': stdin}}
with open(home / 'calls.jsonl', 'a') as file:
  file.write(json.dumps(told) + chr(10))
rules = json.loads((home / 'rules.json').read_text())
line = ' '.join([name, *sys.argv[1:]])
for number, rule in enumerate(rules):
  used = home / f'used.{{number}}'
  times = used.stat().st_size if used.exists() else 0
  if all(word in line for word in rule['words']) and times < rule['times']:
    with open(used, 'a') as file:
      file.write('x')
    print(rule['out'], end='', flush=True)
    print(rule['err'], end='', file=sys.stderr, flush=True)
    time.sleep(rule['seconds'])
    sys.exit(rule['code'])
"""


class FakePrograms:
  """A folder of programs; `rule` says how one of them is to answer."""

  def __init__(self, home: pathlib.Path):
    self.bin = home / 'bin'
    self._home = home
    self._rules: list[dict] = []
    self.bin.mkdir(parents=True)
    self._write()

  def add(self, *names):
    for name in names:
      path = self.bin / name
      path.write_text(_FAKE.format(python=sys.executable, home=str(self._home)))
      path.chmod(0o755)

  def rule(self, *words, out='', err='', code=0, times=10**6, seconds=0.0):
    """Rules that came first win, as long as their times last."""
    self._rules.append(
      {
        'words': words,
        'out': out,
        'err': err,
        'code': code,
        'times': times,
        'seconds': seconds,
      }
    )
    self._write()

  def _write(self):
    (self._home / 'rules.json').write_text(json.dumps(self._rules))

  @property
  def calls(self):
    path = self._home / 'calls.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]

  def lines(self, word=''):
    """What was run, as one text each, if it holds a word."""
    texts = [' '.join([call['name'], *call['args']]) for call in self.calls]
    return [text for text in texts if word in text]
