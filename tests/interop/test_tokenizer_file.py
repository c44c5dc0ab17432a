import json

import numpy as np
import pytest
import tiny_gguf

from consensus_jax.interop import gguf_file, tokenizer_file
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.tokenizer import Tokenizer

GOLDEN = tiny_gguf.GOLDEN


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_qwen2'])
def test_gguf_and_folder_hold_the_same_tokenizer(gguf_paths, name):
  ours = Tokenizer.from_gguf(gguf_file.read_gguf(gguf_paths[name]))
  expected = Tokenizer.from_folder(GOLDEN / name)
  for attribute in (
    'vocab_size',
    'added_ids',
    'bos_ids',
    'eos_ids',
    'pad_id',
    'special_tokens',
    'chat_template',
  ):
    assert getattr(ours, attribute) == getattr(expected, attribute), attribute
  records = json.loads((GOLDEN / name / 'tokens.json').read_text('utf-8'))
  for record in records['texts']:
    text = record['text']
    assert ours.encode(text) == expected.encode(text)
    # Also with added tokens on, as template pieces are encoded.
    assert (
      ours.with_added.encode(text).ids == expected.with_added.encode(text).ids
    )
  for record in records['chats']:
    messages = [tuple(message) for message in record['messages']]
    assert ours.encode_chat(messages) == expected.encode_chat(messages)


@pytest.fixture
def change(gguf_paths):
  """Reads the tokenizer of a GGUF file with some fields changed."""
  file = gguf_file.read_gguf(gguf_paths['tiny_llama'])

  def read(**changes):
    fields = dict(file.fields)
    for key, value in changes.items():
      fields[f'tokenizer.ggml.{key}'] = value
    return tokenizer_file.read_gguf_fields(file.path, fields)

  read.tokens = file.fields['tokenizer.ggml.tokens']
  return read


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model': None}, r'lacks the field tokenizer\.ggml\.model'),
    ({'model': 3}, r'wrong type in the field tokenizer\.ggml\.model'),
    ({'model': 'llama'}, "tokenizer 'llama' with the pre-tokenizer"),
    ({'pre': 'gpt-2'}, "pre-tokenizer 'gpt-2'; supported is 'gpt2' with smol"),
    ({'tokens': None}, r'lacks the field tokenizer\.ggml\.tokens'),
    ({'tokens': ['a', 'a']}, 'has tokens twice, or'),
    ({'token_type': np.ones(3, np.int32)}, 'has tokens twice, or'),
    ({'merges': ['a b', 'c']}, 'has a merge that is no pair'),
    ({'merges': ['a b c']}, 'has a merge that is no pair'),
    ({'merges': np.ones(3)}, 'wrong type in the field'),
  ],
)
def test_refuses_wrong_fields(change, changes, message):
  with pytest.raises(ModelFileError, match=message):
    change(**changes)


def test_ids_beyond_the_vocabulary_name_nothing(change):
  file = change(bos_token_id=320, eos_token_id=2**63, padding_token_id='a')
  assert file.special_tokens == {}


def test_an_end_of_turn_ends_a_generation(change):
  assert change(eot_token_id=5).eos_ids == (5,)
  assert change().eos_ids == ()


def test_bos_goes_first_unless_the_file_says_otherwise(change):
  begin = change().special_tokens['bos_token']
  assert begin == '<|begin_of_text|>'
  assert begin in change().spec['post_processor']['special_tokens']
  assert change(add_bos_token=False).spec['post_processor'] is None


def test_every_token_that_is_not_normal_is_an_added_one(change):
  types = np.ones(320, np.int32)
  types[[300, 301, 302, 303]] = 2, 3, 4, 5
  added = change(token_type=types).spec['added_tokens']
  assert [(token['id'], token['special']) for token in added] == [
    (300, True),
    (301, True),
    (302, False),
    (303, False),
  ]
  assert added[0]['content'] == change.tokens[300]
