import io
import sys

from consensus_jax.data import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_log_gets_few_lines(monkeypatch):
  now = 0.0
  lines = []
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now)
  with progress.shown('Reading', 'rows', line=lines.append) as told:
    for done in range(400):
      now += 0.25
      told(done * 10, None)
    now += 30
    told(9990, 12345)
  assert lines == [
    'Reading: 1,190 rows',
    'Reading: 2,390 rows',
    'Reading: 3,590 rows',
    'Reading: 9,990 of 12,345 rows',
  ]


def test_a_terminal_gets_one_line_that_goes(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Terminal())
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.delenv('NO_COLOR', raising=False)
  with progress.shown('Reading [x]', 'rows') as told:
    told(1, None)
    told(7, 9)
  text = sys.stderr.getvalue()
  assert 'Reading [x]' in text and '7 of 9 rows' in text
  assert text.endswith('\x1b[2K')
