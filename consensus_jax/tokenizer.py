"""Text to token ids and back, the same way for training and for serving.

For byte-level BPE, the tokenizers of SmolLM2, Llama 3 and Qwen. Every tokenizer
is held twice: with the model's added tokens, for the model's own chat template,
and without any, for text of people. Hence no text can become a special token,
whatever it says.
"""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import tokenizers

from consensus_jax import chat_template as chat_templates
from consensus_jax.interop import gguf_file, tokenizer_file
from consensus_jax.interop.errors import ModelFileError

# How byte-level BPE writes a space in the name of a token.
_SPACE = 'Ġ'
# Tokens that end a message or a text in the supported families.
_END_TOKENS = ('<|im_end|>', '<|eot_id|>', '<|endoftext|>', '<|end_of_text|>')


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
  """A model's tokenizer; make one with `from_folder` or `from_gguf`.

  Attributes:
    source: file or folder that it came from, for errors.
    with_added: the tokenizer with special and other added tokens.
    plain: the same without any of these.
    bos_ids: ids to put before a prompt that is no chat.
    eos_ids: every id that ends a generation, in increasing order.
    pad_id: id to fill up batches with; may be one of `eos_ids`.
    special_tokens: `bos_token`, `eos_token`, `pad_token` and `unk_token` as far
      as the model has them.
    chat_template: the model's jinja template, if it has one.
  """

  source: str
  with_added: tokenizers.Tokenizer
  plain: tokenizers.Tokenizer
  bos_ids: tuple[int, ...]
  eos_ids: tuple[int, ...]
  pad_id: int
  special_tokens: Mapping[str, str]
  chat_template: str | None

  @functools.cached_property
  def vocab_size(self) -> int:
    """One more than the largest id; a model's vocabulary may be larger."""
    return 1 + max(self.with_added.get_vocab(with_added_tokens=True).values())

  @functools.cached_property
  def added_ids(self) -> frozenset[int]:
    """Ids that `encode` never yields: of special and other added tokens."""
    return frozenset(self.with_added.get_added_tokens_decoder())

  @functools.cached_property
  def word_starts(self) -> frozenset[int]:
    """Ids of tokens that begin with a space, and so begin a word."""
    vocab = self.with_added.get_vocab(with_added_tokens=False)
    return frozenset(i for name, i in vocab.items() if name.startswith(_SPACE))

  def token_id(self, token: str) -> int | None:
    """The id of a token by its name, added or not; None if there is none."""
    return self.with_added.token_to_id(token)

  def encode(self, text: str) -> list[int]:
    """Ids of a text, which may say anything: no id is of an added token.

    A lone surrogate, which is no character, becomes a replacement character.
    """
    try:
      text.encode()
    except UnicodeEncodeError:
      text = text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
    return self.plain.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids, without special tokens.

    The inverse of `encode`, except for what the model's tokenizer itself
    changes or has no token for: Qwen's composes characters (NFC), SmolLM2's
    lacks six control characters and unassigned planes of Unicode.
    """
    ids = [int(i) for i in ids]
    return self.with_added.decode(ids, skip_special_tokens=True)

  def encode_chat(
    self,
    messages: Sequence[tuple[str, str]],
    *,
    add_generation_prompt: bool = True,
  ) -> list[int]:
    """Ids of a conversation in the model's own chat template.

    Templates that insert the date get `chat_template.DATE`. Text is encoded as
    it is, also where the template would strip or otherwise change it.

    Args:
      messages: pairs of role ('system', 'user', 'assistant') and text.
      add_generation_prompt: whether to open the assistant's next message.

    Raises:
      ModelFileError: if the model has no chat template, or it fails, refuses
        the roles or leaves a message out.
    """
    pieces = self.chat_pieces(
      [role for role, _ in messages],
      add_generation_prompt=add_generation_prompt,
    )
    ids: list[int] = []
    for piece in pieces:
      ids += (
        self.encode(messages[piece][1]) if isinstance(piece, int) else piece
      )
    return ids

  def chat_pieces(
    self, roles: Sequence[str], *, add_generation_prompt: bool = True
  ) -> list[list[int] | int]:
    """The chat template's own ids, with gaps where messages' texts belong.

    Args:
      roles: one a message.
      add_generation_prompt: whether to open the assistant's next message.

    Returns:
      Pieces in order: ids of the template, or the index of a message.

    Raises:
      ModelFileError: as `encode_chat`.
    """
    if self.chat_template is None:
      raise ModelFileError(self.source, 'has no chat template')
    try:
      pieces = chat_templates.render(
        self.chat_template,
        roles,
        self.special_tokens,
        add_generation_prompt=add_generation_prompt,
      )
    except chat_templates.ChatTemplateError as error:
      raise ModelFileError(self.source, f'chat template {error}') from error
    return [
      piece
      if isinstance(piece, int)
      else self.with_added.encode(piece, add_special_tokens=False).ids
      for piece in pieces
    ]

  @classmethod
  def from_folder(cls, path: str | os.PathLike[str]) -> Self:
    """Reads the tokenizer of a Hugging Face folder.

    Raises:
      ModelFileError: if tokenizer.json is missing, damaged or no byte-level
        BPE.
    """
    return cls._make(tokenizer_file.read_folder(pathlib.Path(path)))

  @classmethod
  def from_gguf(cls, file: gguf_file.GgufFile) -> Self:
    """Reads the tokenizer in the metadata of a GGUF file.

    Raises:
      ModelFileError: if fields are missing, wrong or of another tokenizer than
        the byte-level BPE of SmolLM2, Llama 3 or Qwen.
    """
    return cls._make(tokenizer_file.read_gguf_fields(file.path, file.fields))

  @classmethod
  def _make(cls, file: tokenizer_file.TokenizerFile) -> Self:
    with_added = _build(file.path, file.spec)
    plain = _build(file.path, tokenizer_file.without_added(file))
    special_tokens = file.special_tokens

    def index_of(token):
      return with_added.token_to_id(token)

    added = {token['content'] for token in file.spec['added_tokens']}
    ends = [token for token in _END_TOKENS if token in added]
    if 'eos_token' in special_tokens:
      ends.append(special_tokens['eos_token'])
    eos_ids = {index for index in file.eos_ids if with_added.id_to_token(index)}
    eos_ids |= set(map(index_of, ends))
    if not eos_ids:
      raise ModelFileError(file.path, 'names no token that ends a text')
    if 'pad_token' in special_tokens:
      pad_id = index_of(special_tokens['pad_token'])
    else:
      pad_id = min(eos_ids)
    return cls(
      source=os.fspath(file.path),
      with_added=with_added,
      plain=plain,
      bos_ids=_leading_ids(with_added),
      eos_ids=tuple(sorted(eos_ids)),
      pad_id=pad_id,
      special_tokens=special_tokens,
      chat_template=file.chat_template,
    )

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes tokenizer files that `transformers` and `from_folder` load.

    The directory must exist.
    """
    folder = pathlib.Path(directory)
    config = {
      'tokenizer_class': 'PreTrainedTokenizerFast',
      **self.special_tokens,
      'clean_up_tokenization_spaces': False,
    }
    if self.chat_template is not None:
      config['chat_template'] = self.chat_template
    for name, text in (
      (tokenizer_file.TOKENIZER_FILE, self.with_added.to_str(pretty=True)),
      (
        tokenizer_file.CONFIG_FILE,
        json.dumps(config, ensure_ascii=False, indent=2) + '\n',
      ),
    ):
      temporary = folder / f'.{name}.tmp'
      with temporary.open('w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, folder / name)


def _build(path: pathlib.Path, spec: Mapping[str, Any]) -> tokenizers.Tokenizer:
  try:
    return tokenizers.Tokenizer.from_str(json.dumps(spec))
  # The library panics on some files, and a panic is no Exception.
  except BaseException as error:
    if (
      not isinstance(error, Exception)
      and type(error).__name__ != 'PanicException'
    ):
      raise
    raise ModelFileError(
      path, f'holds a tokenizer that cannot be used: {error}'
    ) from error


def _leading_ids(tokenizer: tokenizers.Tokenizer) -> tuple[int, ...]:
  """The ids that a tokenizer puts before every text."""
  encoding = tokenizer.encode('a', add_special_tokens=True)
  leading = itertools.takewhile(
    lambda pair: pair[1],
    zip(encoding.ids, encoding.special_tokens_mask, strict=True),
  )
  return tuple(index for index, _ in leading)
