"""Where judged deliberations come from, named by one text each.

study.jsonl, study.parquet   records
polis:FOLDER                 one conversation, or folders of conversations
habermas:FOLDER              the four files of the Habermas Machine
"""

import hashlib
import pathlib

from consensus_jax.data.records import JudgedDeliberation
from consensus_jax.strict_json import InputError

_POLIS = 'polis:'
_HABERMAS = 'habermas:'
_COMMENTS = 'comments.csv'


def load(source: str) -> list[JudgedDeliberation]:
  """The records of a source.

  Raises:
    InputError: naming the file, if there is none or it is not understood.
  """
  if source.startswith(_POLIS):
    from consensus_jax.data import polis

    return [
      polis.read(folder)[0]
      for folder in conversations(source.removeprefix(_POLIS))
    ]
  if source.startswith(_HABERMAS):
    from consensus_jax.data import habermas

    return list(habermas.read(source.removeprefix(_HABERMAS))[0])
  from consensus_jax.data import record_files

  return list(record_files.read(source))


def conversations(path: str) -> list[pathlib.Path]:
  """The folders of Polis conversations: `path`, or those in it.

  Raises:
    InputError: if there are none.
  """
  folder = pathlib.Path(path)
  if (folder / _COMMENTS).is_file():
    return [folder]
  found = sorted(file.parent for file in folder.glob(f'*/{_COMMENTS}'))
  if not found:
    raise InputError(
      f'holds no Polis conversation: no {_COMMENTS}, nor folders with one',
      file=path,
    )
  return found


def files(source: str) -> list[pathlib.Path]:
  """The files that a source reads.

  Raises:
    InputError: if there are none.
  """
  if source.startswith(_POLIS):
    return [
      file
      for folder in conversations(source.removeprefix(_POLIS))
      for file in sorted(folder.glob('*.csv'))
    ]
  if source.startswith(_HABERMAS):
    folder = pathlib.Path(source.removeprefix(_HABERMAS))
    found = sorted(folder.glob('*.parquet'))
    if not found:
      raise InputError('holds no parquet files', file=str(folder))
    return found
  return [pathlib.Path(source)]


def sha256(source: str) -> str:
  """A hash of the content of the files of a source, and of their names.

  Raises:
    InputError: if one cannot be read.
  """
  digest = hashlib.sha256()
  for file in files(source):
    try:
      with file.open('rb') as content:
        inner = hashlib.file_digest(content, 'sha256').hexdigest()
    except OSError as error:
      raise InputError(
        f'cannot read: {error.strerror or error}', file=str(file)
      ) from None
    # Of a conversation, the folder's name is part of the records.
    name = (
      file.name if file == pathlib.Path(source) else '/'.join(file.parts[-2:])
    )
    digest.update(f'{name}\0{inner}\n'.encode())
  return digest.hexdigest()
