"""What people typed, as one line."""

import unicodedata


def one_line(text: str) -> str:
  """`text` on one line, composed, without invisible control characters."""
  kept = ''.join(
    character
    for character in text
    # Joiners shape letters and emoji, so they stay.
    if character.isspace()
    or (
      unicodedata.category(character) not in ('Cc', 'Cs')
      and character not in '\ufeff\u200b\u2060'
    )
  )
  return ' '.join(unicodedata.normalize('NFC', kept).split())
