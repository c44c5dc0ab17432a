"""The one place that runs other programs, or only says what it would run."""

import dataclasses
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

# Exit codes, beside those of the jobs themselves.
BAD_INPUT = 2
FAILED = 6

_WHERE = {
  'docker': 'https://docs.docker.com/engine/install',
  'gcloud': 'https://cloud.google.com/sdk/docs/install',
  'kubectl': 'gcloud components install kubectl',
  'sbatch': 'it comes with Slurm: run this on a login node',
  'xpk': 'pip install xpk',
}
_LAST_LINES = 5


class LaunchError(Exception):
  """What keeps a job from running; its text names the cause.

  Attributes:
    code: what the launcher exits with.
    output: what the program had said on standard output.
  """

  def __init__(self, message: str, *, code: int = FAILED, output: str = ''):
    super().__init__(message)
    self.code = code
    self.output = output


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
  """Runs other programs.

  Attributes:
    dry_run: print them instead, as a shell would take them.
  """

  dry_run: bool = False

  def run(
    self,
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float | None = None,
    doing: str = '',
  ) -> str:
    """Runs a program to its end.

    Args:
      argv: its name and arguments.
      stdin: what it reads; nothing by default.
      timeout: seconds that it may take.
      doing: what it is for, which begins the error if it fails.

    Returns:
      Its standard output, '' in a dry run.

    Raises:
      LaunchError: if it is not there, fails or takes too long.
    """
    if self.dry_run:
      self.show(argv, stdin)
      return ''
    prefix = f'{doing}: ' if doing else ''
    try:
      done = subprocess.run(
        _found(argv),
        input=stdin or '',
        capture_output=True,
        text=True,
        errors='replace',
        timeout=timeout,
        check=False,
      )
    except subprocess.TimeoutExpired as error:
      said = error.stdout or ''
      if isinstance(said, bytes):  # As Python has it, whatever `text` says.
        said = said.decode(errors='replace')
      raise LaunchError(
        f'{prefix}{argv[0]} took longer than {timeout:g} s', output=said
      ) from None
    if done.returncode:
      said = _cause(done.stderr) or _cause(done.stdout) or 'no reason given'
      raise LaunchError(
        f'{prefix}{said} ({argv[0]} exited with {done.returncode})',
        output=done.stdout,
      )
    return done.stdout

  def follow(self, argv: Sequence[str]) -> int:
    """Runs a program that speaks for itself, and returns its exit code."""
    if self.dry_run:
      self.show(argv)
      return 0
    try:
      return subprocess.run(_found(argv), check=False).returncode
    except KeyboardInterrupt:
      return 130  # Whoever follows logs stops by Ctrl-C.

  def has(self, name: str) -> bool:
    """Whether there is such a program; in a dry run there is any."""
    return self.dry_run or shutil.which(name) is not None

  def note(self, text: str) -> None:
    """One line on what has been done; in a dry run nothing has."""
    if not self.dry_run:
      note(text)

  def show(self, argv: Sequence[str], stdin: str | None = None) -> None:
    """Prints a command, with what it would read."""
    line = shlex.join(argv)
    if stdin is not None:
      line += f" <<'EOF'\n{stdin.rstrip()}\nEOF"
    print(f'$ {line}', flush=True)


def note(text: str) -> None:
  """One line to whoever started the launcher."""
  print(text, file=sys.stderr, flush=True)


def _cause(text: str) -> str:
  """The lines that call themselves errors, or else the last ones."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  errors = [line for line in lines if 'error:' in line.lower()]
  # Every host may say the same.
  chosen = list(dict.fromkeys(errors)) or lines
  return ' '.join(chosen[-_LAST_LINES:])


def _found(argv: Sequence[str]) -> list[str]:
  program = shutil.which(argv[0])
  if program is None:
    where = _WHERE.get(argv[0])
    hint = f' ({where})' if where else ''
    raise LaunchError(
      f'there is no program {argv[0]!r} on the PATH{hint}', code=BAD_INPUT
    )
  return [program, *argv[1:]]
