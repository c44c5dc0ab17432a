"""Writes training examples once, into a cache, for runs that read batches.

A set lies in a folder named by a hash of all that it depends on: the content of
its sources, the tokenizer, the settings and the code that encodes. So a set is
never out of date, and a second run finds it without TensorFlow.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from consensus_jax.data import batches, progress, sources
from consensus_jax.data.arguments import note
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.interop import gguf_file, pretrained
from consensus_jax.strict_json import InputError
from consensus_jax.tokenizer import Tokenizer

Report = Callable[[str], None]

_ROWS_PER_WRITE = 256
# What TensorFlow says whenever it starts: that there is no GPU, and the like.
_STARTING = re.compile(
  rb'I\d{4} |E\d{4} .* failed call to cuInit|'
  rb'WARNING: All log messages before absl'
)
# What an example is encoded by, beside this folder.
_ENCODERS = ('prompts.py', 'tokenizer.py', 'overflow.py', 'chat_template.py')


def load_tokenizer(path: str | None) -> Tokenizer:
  """The tokenizer of a model folder or GGUF file; None: the embedded model's.

  Raises:
    ModelFileError: if there is none.
  """
  if path is not None and pathlib.Path(path).is_dir():
    return Tokenizer.from_folder(path)
  file = pretrained.find_embedded_model() if path is None else path
  return Tokenizer.from_gguf(gguf_file.read_gguf(pathlib.Path(file)))


def materialise(
  settings: ExampleSettings,
  cache_dir: str | os.PathLike[str],
  *,
  report: Report | None = None,
) -> pathlib.Path:
  """The folder of the examples of `settings`, written if it is not there.

  It appears at once and complete. Processes that want a set of one cache at the
  same time wait for each other.

  Args:
    settings: what the examples are, and what of.
    cache_dir: made if it does not exist.
    report: takes a line on what is done, now and then; standard error by
      default.

  Returns:
    A folder for `batches.open_examples`.

  Raises:
    InputError: if a source or setting is wrong, no example is left, or the
      cache cannot be written or holds a damaged set.
    ModelFileError: if there is no such tokenizer.
  """
  report = report or note
  tokenizer = load_tokenizer(settings.tokenizer)
  identity = _identity(settings, tokenizer)
  text = json.dumps(identity, sort_keys=True)
  key = hashlib.sha256(text.encode()).hexdigest()
  cache = pathlib.Path(cache_dir)
  target = cache / f'{settings.task}-{settings.split}-{key[:16]}'
  if not target.exists():
    with _locked(cache):
      # Another process may have written it meanwhile.
      if not target.exists():
        _write(settings, tokenizer, identity, target, report)
  try:
    batches.open_examples(target)
  except InputError as error:
    message = f'{error.message} (delete the folder to have it made anew)'
    raise InputError(message, field=error.field, file=error.file) from None
  return target


def _identity(
  settings: ExampleSettings, tokenizer: Tokenizer
) -> dict[str, Any]:
  """What the examples depend on; not where it lies."""
  chosen = dataclasses.asdict(settings)
  del chosen['sources'], chosen['tokenizer']
  return {
    'settings': chosen,
    'sources': [sources.sha256(source) for source in settings.sources],
    'tokenizer': tokenizer_sha256(tokenizer),
    'code': _code_sha256(),
  }


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
  """A hash of all that a tokenizer does."""
  does = [
    tokenizer.with_added.to_str(),
    tokenizer.plain.to_str(),
    tokenizer.bos_ids,
    tokenizer.eos_ids,
    tokenizer.pad_id,
    dict(tokenizer.special_tokens),
    tokenizer.chat_template,
  ]
  text = json.dumps(does, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code_sha256() -> str:
  folder = pathlib.Path(__file__).parent
  files = [*folder.glob('*.py'), *(folder.parent / n for n in _ENCODERS)]
  digest = hashlib.sha256()
  for file in sorted(files):
    digest.update(file.read_bytes())
  return digest.hexdigest()


@contextlib.contextmanager
def _locked(cache: pathlib.Path) -> Iterator[None]:
  try:
    cache.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache, os.O_RDONLY)
  except OSError as error:
    raise InputError(
      f'cannot be written: {error.strerror or error}', file=str(cache)
    ) from None
  try:
    # The system lets go of it when the process ends, however it ends.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
  finally:
    os.close(descriptor)


def _write(
  settings: ExampleSettings,
  tokenizer: Tokenizer,
  identity: dict[str, Any],
  target: pathlib.Path,
  report: Report,
) -> None:
  report(f'{target.name}: reading {", ".join(settings.sources)}')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  with _without_start_up_noise():
    from consensus_jax.data import tasks

  registered = tasks.register(settings, tokenizer)
  meta: dict[str, Any] = {'task': settings.task}
  if settings.kind == 'reward':
    meta['judgement'] = settings.judgement

  def rows(told: progress.Report) -> Iterator[dict[str, Any]]:
    count = 0
    for batch in registered.rows().batch(_ROWS_PER_WRITE).as_numpy_iterator():
      yield batch
      count += len(batch['tokens'])
      told(count, None)
    # Known only now, and read after the rows are.
    meta.update(_description(registered, settings, identity, count))

  try:
    with progress.shown(target.name, 'rows', line=report) as told:
      batches.write_examples(target, rows(told), meta, kind=settings.kind)
  except InputError as error:
    why = '; '.join(
      f'{each["count"]} x {each["kind"]}: {each["reason"]}'
      for each in meta.get('excluded', ())
    )
    message = f'{error.message}. Left out: {why}' if why else error.message
    raise InputError(message, file=error.file) from None
  report(f'{target.name}: {meta["counts"]["rows"]:,} rows, done')


@contextlib.contextmanager
def _without_start_up_noise() -> Iterator[None]:
  """Drops what TensorFlow says when all is well; passes on all else.

  It writes past `sys.stderr`, and no setting of it keeps it from doing so.
  """
  sys.stderr.flush()
  stderr = os.dup(2)
  with tempfile.TemporaryFile() as said:
    os.dup2(said.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      os.close(stderr)
      said.seek(0)
      for line in said:
        if not _STARTING.match(line):
          os.write(2, line)


def _description(
  registered: Any,
  settings: ExampleSettings,
  identity: dict[str, Any],
  num_rows: int,
) -> dict[str, Any]:
  return {
    'settings': dataclasses.asdict(settings),
    'tokenizer_sha256': identity['tokenizer'],
    'sources': [
      {'source': source, 'sha256': digest}
      for source, digest in zip(settings.sources, identity['sources'])
    ],
    'code_sha256': identity['code'],
    'counts': {'records': dict(registered.num_records), 'rows': num_rows},
    'excluded': [
      {'source': source, **dataclasses.asdict(exclusion)}
      for source, tally in registered.excluded.items()
      for exclusion in tally.exclusions()
    ],
    'participants': list(registered.participants),
    'questions': list(registered.questions),
  }
