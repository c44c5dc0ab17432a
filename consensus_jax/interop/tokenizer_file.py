"""Byte-level BPE tokenizers in Hugging Face folders and in GGUF files.

Both become the content of a tokenizer.json, the form that the `tokenizers`
library reads and writes.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from consensus_jax.interop import json_file
from consensus_jax.interop.errors import ModelFileError

TOKENIZER_FILE = 'tokenizer.json'
CONFIG_FILE = 'tokenizer_config.json'
_TEMPLATE_FILE = 'chat_template.jinja'
_GENERATION_FILE = 'generation_config.json'

# The name of a special token in tokenizer_config.json and in GGUF files.
_SPECIAL_TOKENS = {
  'bos_token': 'bos',
  'eos_token': 'eos',
  'pad_token': 'padding',
  'unk_token': 'unknown',
}

# Source: the tokenizer.json of Llama 3 and of Qwen2.5.
_LLAMA_SPLIT = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
_QWEN_SPLIT = _LLAMA_SPLIT.replace(r'\p{N}{1,3}', r'\p{N}')

# Types of tokens in GGUF files: all but normal ones are added tokens.
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
  """What a model's files say about its tokenizer.

  Attributes:
    path: of the file.
    spec: the content of tokenizer.json, checked as far as this library itself
      relies on it.
    special_tokens: `bos_token`, `eos_token`, `pad_token` and `unk_token` as far
      as the model has them.
    eos_ids: ids that the files name as ends of a generation.
    chat_template: jinja, or None.
  """

  path: pathlib.Path
  spec: dict[str, Any]
  special_tokens: dict[str, str]
  eos_ids: tuple[int, ...]
  chat_template: str | None


def read_folder(folder: pathlib.Path) -> TokenizerFile:
  """Reads tokenizer.json and what lies beside it.

  Raises:
    ModelFileError: if it is missing, damaged or no byte-level BPE.
  """
  path = folder / TOKENIZER_FILE
  spec = json_file.read_object(path)
  if spec is None:
    raise ModelFileError(
      folder, f'has no {TOKENIZER_FILE} (older formats are not supported)'
    )
  _check_spec(path, spec)
  config = json_file.read_object(folder / CONFIG_FILE) or {}
  generation = json_file.read_object(folder / _GENERATION_FILE) or {}
  ids = spec['model']['vocab'] | {
    token['content']: token.get('id') for token in spec['added_tokens']
  }
  special_tokens = {}
  for name in _SPECIAL_TOKENS:
    token = config.get(name)
    token = token.get('content') if isinstance(token, dict) else token
    if isinstance(token, str) and token in ids:
      special_tokens[name] = token
  add_bos = config.get('add_bos_token')
  if isinstance(add_bos, bool):
    # As transformers does: what this says goes before the post-processor.
    spec['post_processor'] = (
      _prepend(special_tokens['bos_token'], ids)
      if add_bos and 'bos_token' in special_tokens
      else None
    )
  ends = generation.get('eos_token_id')
  return TokenizerFile(
    path=path,
    spec=spec,
    special_tokens=special_tokens,
    eos_ids=tuple(
      index
      for index in (ends if isinstance(ends, list) else [ends])
      if type(index) is int and 0 <= index < 1 << 31
    ),
    chat_template=_folder_template(folder, config),
  )


def _folder_template(
  folder: pathlib.Path, config: Mapping[str, Any]
) -> str | None:
  file = folder / _TEMPLATE_FILE
  if file.exists():
    return json_file.read_text(file)
  template = config.get('chat_template')
  if isinstance(template, list):
    named = [
      entry.get('template')
      for entry in template
      if isinstance(entry, dict) and entry.get('name') == 'default'
    ]
    template = named[0] if named else None
  return template if isinstance(template, str) else None


def _check_spec(path: pathlib.Path, spec: Mapping[str, Any]) -> None:
  """Checks the parts of a tokenizer.json that this library relies on."""
  model = spec.get('model')
  if not isinstance(model, dict) or model.get('type') != 'BPE':
    raise ModelFileError(path, 'holds no BPE tokenizer')
  steps = spec.get('pre_tokenizer')
  if isinstance(steps, dict) and steps.get('type') == 'Sequence':
    steps = steps.get('pretokenizers')
  if not any(
    isinstance(step, dict) and step.get('type') == 'ByteLevel'
    for step in (steps if isinstance(steps, list) else [steps])
  ):
    raise ModelFileError(
      path, 'holds no byte-level tokenizer (as SmolLM2, Llama 3 and Qwen have)'
    )
  vocabulary, merges = model.get('vocab'), model.get('merges')
  added = spec.get('added_tokens')
  if not (
    isinstance(vocabulary, dict)
    and all(type(index) is int for index in vocabulary.values())
    and isinstance(merges, list)
    and all(_is_merge(merge) for merge in merges)
    and isinstance(added, list)
    and all(
      isinstance(token, dict) and isinstance(token.get('content'), str)
      for token in added
    )
  ):
    raise ModelFileError(path, 'is no tokenizer.json, or is damaged')


def _is_merge(merge: object) -> bool:
  parts = merge.split(' ') if isinstance(merge, str) else merge
  return (
    isinstance(parts, list)
    and len(parts) == 2
    and all(isinstance(part, str) for part in parts)
  )


def read_gguf_fields(
  path: pathlib.Path, fields: Mapping[str, Any]
) -> TokenizerFile:
  """Reads the tokenizer in the metadata of a GGUF file.

  Args:
    path: of the file, for errors.
    fields: `GgufFile.fields`.

  Raises:
    ModelFileError: if fields are missing, wrong or of another tokenizer than
      the byte-level BPE of SmolLM2, Llama 3 or Qwen.
  """

  def field(key, kind):
    value = fields.get(f'tokenizer.ggml.{key}')
    if not isinstance(value, kind):
      problem = 'lacks' if value is None else 'has a wrong type in'
      raise ModelFileError(path, f'{problem} the field tokenizer.ggml.{key}')
    return value

  model, pre = field('model', str), field('pre', str)
  pre_tokenizers = _pre_tokenizers()
  if model != 'gpt2' or pre not in pre_tokenizers:
    raise ModelFileError(
      path,
      f'has the tokenizer {model!r} with the pre-tokenizer {pre!r}; supported '
      f"is 'gpt2' with {', '.join(pre_tokenizers)}",
    )
  tokens, types = field('tokens', list), field('token_type', np.ndarray)
  vocabulary = {token: index for index, token in enumerate(tokens)}
  if not len(vocabulary) == len(tokens) == len(types):
    raise ModelFileError(
      path, 'has tokens twice, or not as many token types as tokens'
    )
  merges = field('merges', list)
  if not all(_is_merge(merge) for merge in merges):
    raise ModelFileError(path, 'has a merge that is no pair of tokens')

  def index_of(name):
    index = fields.get(f'tokenizer.ggml.{name}_token_id')
    return index if type(index) is int and index < len(tokens) else None

  special_tokens = {
    name: tokens[index]
    for name, gguf_name in _SPECIAL_TOKENS.items()
    if (index := index_of(gguf_name)) is not None
  }
  add_bos = fields.get('tokenizer.ggml.add_bos_token', pre == 'llama-bpe')
  end = index_of('eot')
  template = fields.get('tokenizer.chat_template')
  return TokenizerFile(
    path=path,
    spec={
      'version': '1.0',
      'truncation': None,
      'padding': None,
      'added_tokens': [
        {
          'id': int(index),
          'content': tokens[index],
          'single_word': False,
          'lstrip': False,
          'rstrip': False,
          'normalized': False,
          'special': int(types[index]) in (_UNKNOWN, _CONTROL),
        }
        for index in np.flatnonzero(types != _NORMAL)
      ],
      'normalizer': {'type': 'NFC'} if pre == 'qwen2' else None,
      'pre_tokenizer': pre_tokenizers[pre],
      'post_processor': (
        _prepend(special_tokens['bos_token'], vocabulary)
        if add_bos and 'bos_token' in special_tokens
        else None
      ),
      'decoder': _byte_level(use_regex=True),
      'model': {
        'type': 'BPE',
        'dropout': None,
        'unk_token': None,
        'continuing_subword_prefix': None,
        'end_of_word_suffix': None,
        'fuse_unk': False,
        'byte_fallback': False,
        # Llama 3 takes a piece that is a token as it is, without merging.
        'ignore_merges': pre == 'llama-bpe',
        'vocab': vocabulary,
        'merges': merges,
      },
    },
    special_tokens=special_tokens,
    eos_ids=() if end is None else (end,),
    chat_template=template if isinstance(template, str) else None,
  )


def _pre_tokenizers() -> dict[str, dict[str, Any]]:
  """tokenizer.json's pre-tokenizer by the name that GGUF files give it."""
  digits = {'type': 'Digits', 'individual_digits': True}
  return {
    'smollm': _sequence(digits, _byte_level(use_regex=True)),
    'llama-bpe': _sequence(_split(_LLAMA_SPLIT), _byte_level(use_regex=False)),
    'qwen2': _sequence(_split(_QWEN_SPLIT), _byte_level(use_regex=False)),
  }


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
  return {'type': 'Sequence', 'pretokenizers': list(steps)}


def _split(pattern: str) -> dict[str, Any]:
  return {
    'type': 'Split',
    'pattern': {'Regex': pattern},
    'behavior': 'Isolated',
    'invert': False,
  }


def _byte_level(use_regex: bool) -> dict[str, Any]:
  return {
    'type': 'ByteLevel',
    'add_prefix_space': False,
    'trim_offsets': True,
    'use_regex': use_regex,
  }


def _prepend(token: str, ids: Mapping[str, int]) -> dict[str, Any]:
  special = {'SpecialToken': {'id': token, 'type_id': 0}}
  first = {'Sequence': {'id': 'A', 'type_id': 0}}
  second = {'Sequence': {'id': 'B', 'type_id': 1}}
  return {
    'type': 'TemplateProcessing',
    'single': [special, first],
    'pair': [special, first, second],
    'special_tokens': {
      token: {'id': token, 'ids': [ids[token]], 'tokens': [token]}
    },
  }


def without_added(file: TokenizerFile) -> dict[str, Any]:
  """The `spec` of the same tokenizer with no way to yield an added token.

  Raises:
    ModelFileError: if an added token is a single character: it could be one of
      the 256 bytes, which no text can do without.
  """
  added = {token['content'] for token in file.spec['added_tokens']}
  if any(len(token) < 2 for token in added):
    raise ModelFileError(file.path, 'has an added token of one character')
  model = file.spec['model']
  vocabulary = {
    token: index
    for token, index in model['vocab'].items()
    if token not in added
  }
  merges = []
  for merge in model['merges']:
    first, second = merge.split(' ') if isinstance(merge, str) else merge
    if (
      first in vocabulary
      and second in vocabulary
      and first + second in vocabulary
    ):
      merges.append((first, second))
  return {
    **file.spec,
    'added_tokens': [],
    'truncation': None,
    'padding': None,
    'post_processor': None,
    'model': {
      **model,
      'dropout': None,
      'unk_token': None,
      'vocab': vocabulary,
      'merges': merges,
    },
  }
