"""What a researcher takes home from a study: one folder of files.

records.jsonl is for training and evaluation here, habermas/ has the columns of
the Habermas Machine's data, polis/ a conversation a question, and the CSV files
hold everything. No file says who people are; ids of recruitment platforms come
into a file of their own, and only when asked for.
"""

import io
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable

import sqlalchemy as sa

from consensus_jax.strict_json import InputError, dump
from consensus_jax.study import (
  collected,
  database,
  export_records,
  export_tables,
)
from consensus_jax.study.protocol import Protocol
from consensus_jax.study.tables import recruitment


def files(
  engine: sa.Engine, protocol: Protocol, *, with_recruitment_ids: bool = False
) -> dict[str, bytes]:
  """The files of an export by name, all of one moment."""
  # Only here: PyArrow takes a while to load.
  from consensus_jax.study import export_habermas

  with database.reading(engine) as connection:
    study = collected.read(connection, protocol)
    recruited = connection.execute(sa.select(recruitment)).all()
  records = [each.to_json() for each in export_records.records(study)]
  found = {
    'protocol.json': f'{dump(protocol.to_json())}\n'.encode(),
    'records.jsonl': _lines(records),
    'unheard.jsonl': _lines(export_records.unheard(study)),
    **export_tables.tables(study),
  }
  for folder, content in (
    ('habermas', export_habermas.files(study)),
    ('polis', export_tables.polis(study)),
  ):
    found |= {f'{folder}/{name}': data for name, data in content.items()}
  if with_recruitment_ids:
    found['recruitment.csv'] = export_tables.csv_bytes(
      ('participant', 'platform', 'id', 'study', 'session'),
      [
        (
          study.names[row.participant_id],
          row.platform,
          row.external_id,
          row.study,
          row.session,
        )
        for row in recruited
      ],
    )
  return found


def _lines(values: Iterable[object]) -> bytes:
  return ''.join(f'{dump(value)}\n' for value in values).encode()


def write(folder: str | pathlib.Path, content: dict[str, bytes]) -> None:
  """Writes the files into a new folder: all of them, or nothing.

  Raises:
    InputError: if the folder is there already, or cannot be made.
  """
  target = pathlib.Path(folder)
  if target.exists():
    raise InputError('is there already', file=str(folder))
  if not target.absolute().parent.is_dir():
    raise InputError('is in no folder', file=str(folder))
  made = None
  try:
    made = pathlib.Path(
      tempfile.mkdtemp(prefix='.export-', dir=target.absolute().parent)
    )
    for name, data in content.items():
      path = made / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)
    # What people wrote is for the researcher's eyes: the folder stays private.
    made.rename(target)
  except OSError as error:
    if made is not None:
      shutil.rmtree(made, ignore_errors=True)
    message = f'cannot be written: {error.strerror or error}'
    raise InputError(message, file=str(folder)) from None


def archive(content: dict[str, bytes]) -> bytes:
  """The files as one ZIP."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as packed:
    for name, data in content.items():
      packed.writestr(name, data)
  return buffer.getvalue()
