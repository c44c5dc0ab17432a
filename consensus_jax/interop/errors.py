"""The one error of everything that reads or writes model files."""

import os

_MAX_LENGTH = 500


class ModelFileError(ValueError):
  """A model file or folder that cannot be used; its text says which and why.

  As text, one printable line of bounded length, whatever the file holds.
  """

  def __init__(self, path: str | os.PathLike[str], message: str):
    super().__init__(path, message)
    self.path = os.fspath(path)
    self.message = message

  def __str__(self):
    text = f'{self.path}: {self.message}'
    if len(text) > _MAX_LENGTH:
      text = text[: _MAX_LENGTH - 3] + '...'
    return ''.join(
      character
      if character.isprintable()
      else character.encode('unicode_escape').decode()
      for character in text
    )
