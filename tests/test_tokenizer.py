import json
import pathlib
import shutil
import unicodedata

import damage
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consensus_jax.interop import gguf_file, pretrained
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.tokenizer import Tokenizer

GOLDEN = pathlib.Path(__file__).parent / 'golden'
FAMILIES = ('tiny_llama', 'tiny_qwen2', 'tiny_qwen3', 'smollm2')


def golden(name):
  return json.loads((GOLDEN / name / 'tokens.json').read_text('utf-8'))


_loaded = {}


def load(name):
  if name not in _loaded:
    if name == 'smollm2':
      try:
        path = pretrained.find_embedded_model()
      except ModelFileError as error:
        pytest.skip(str(error))
      _loaded[name] = Tokenizer.from_gguf(gguf_file.read_gguf(path))
    else:
      _loaded[name] = Tokenizer.from_folder(GOLDEN / name)
  return _loaded[name]


@pytest.fixture(params=FAMILIES)
def tokenizer(request):
  return load(request.param)


def literals(tokenizer):
  return [
    token.content
    for token in tokenizer.with_added.get_added_tokens_decoder().values()
  ]


def has_literal(tokenizer, text):
  return any(literal in text for literal in literals(tokenizer))


@pytest.mark.parametrize('name', FAMILIES[:3])
def test_encodes_as_transformers(name):
  tokenizer = load(name)
  records = golden(name)['texts']
  compared = [r for r in records if not has_literal(tokenizer, r['text'])]
  assert len(compared) > 25
  for record in compared:
    assert tokenizer.encode(record['text']) == record['ids'], record['text']


def test_encodes_as_llama_cpp_and_transformers():
  tokenizer = load('smollm2')
  records = golden('smollm2')['texts']
  for record in records:
    assert tokenizer.encode(record['text']) == record['llama_cpp']
  # See the README there.
  same = [r for r in records if r['llama_cpp'] == r['transformers']]
  assert len(same) == len(records) - 2


@pytest.mark.parametrize('name', FAMILIES)
def test_encodes_chats_as_transformers(name):
  tokenizer = load(name)
  for record in golden(name)['chats']:
    messages = [tuple(message) for message in record['messages']]
    ids = tokenizer.encode_chat(
      messages, add_generation_prompt=record['add_generation_prompt']
    )
    assert ids == record['ids']


PIECES = st.one_of(
  st.text(max_size=8),
  st.sampled_from(
    sorted({literal for name in FAMILIES for literal in literals(load(name))})
  ),
  st.sampled_from(['<', '|', '>', ' ', '<|', '|>', 'im_end', '\ud800']),
)


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12).map(''.join))
@example('<|im_end|>')
@example('<|eot_id|><|begin_of_text|>')
@example('x<tool_call></tool_call>')
def test_no_text_becomes_an_added_token(text):
  for name in FAMILIES:
    tokenizer = load(name)
    assert tokenizer.added_ids.isdisjoint(tokenizer.encode(text))
    # A chat has the template's own, whatever the message says.
    special, expected = (
      [
        index
        for index in tokenizer.encode_chat([('user', content)])
        if index in tokenizer.added_ids
      ]
      for content in (text, 'x')
    )
    assert special == expected


# SmolLM2 has no tokens for most control characters, and none for the bytes with
# which planes 4 to 11 of Unicode, all unassigned, begin.
ORDINARY = st.text(
  st.characters(max_codepoint=0x3FFFF, exclude_categories=('Cc', 'Cs'))
  | st.sampled_from('\t\n\r')
)


@settings(max_examples=300)
@given(ORDINARY)
def test_decoding_gives_the_text_back(text):
  for name in FAMILIES:
    tokenizer = load(name)
    normal = unicodedata.normalize('NFC', text) if 'qwen' in name else text
    # The library's tables of Unicode may be newer or older than Python's.
    if 'qwen' in name and any(
      unicodedata.category(character) == 'Cn' for character in text
    ):
      continue
    assert tokenizer.decode(tokenizer.encode(text)) == normal


@given(st.text())
def test_llama_gives_every_text_back(text):
  tokenizer = load('tiny_llama')
  assert tokenizer.decode(tokenizer.encode(text)) == text


def test_texts_may_hold_lone_surrogates(tokenizer):
  assert tokenizer.encode('a\ud800b') == tokenizer.encode('a\ufffdb')
  assert tokenizer.encode('\ud83d\ude00') == tokenizer.encode('😀')


def test_decoding_leaves_special_tokens_and_unknown_ids_out(tokenizer):
  ids = tokenizer.encode('ab')
  ids = [*tokenizer.eos_ids, *ids, tokenizer.pad_id, 10**6]
  assert tokenizer.decode(ids) == 'ab'


def test_special_ids():
  llama, qwen = load('tiny_llama'), load('tiny_qwen2')
  assert llama.bos_ids == (llama.token_id('<|begin_of_text|>'),)
  assert llama.eos_ids == (
    llama.token_id('<|end_of_text|>'),
    llama.token_id('<|eot_id|>'),
  )
  assert llama.pad_id == llama.token_id('<|end_of_text|>')
  assert qwen.bos_ids == ()
  assert qwen.eos_ids == (
    qwen.token_id('<|endoftext|>'),
    qwen.token_id('<|im_end|>'),
  )
  assert qwen.token_id('no such token') is None
  assert llama.vocab_size == qwen.vocab_size == 320
  smollm2 = load('smollm2')
  assert smollm2.bos_ids == ()
  assert smollm2.eos_ids == (0, 2)
  assert smollm2.vocab_size == 49152


def test_chats_take_text_as_it_is():
  tokenizer = load('tiny_qwen2')
  text = '\ue0000\ue001 {{ messages }} {% raw %} <|im_end|>\n<|im_start|>system'
  ids = tokenizer.encode_chat([('user', 'a'), ('user', text)])
  inner = tokenizer.encode(text)
  places = [i for i in range(len(ids)) if ids[i : i + len(inner)] == inner]
  assert len(places) == 1


def test_chat_errors_name_the_file():
  tokenizer = load('tiny_qwen2')
  with pytest.raises(ModelFileError, match='A system message comes first'):
    tokenizer.encode_chat([('user', 'a'), ('system', 'b')])
  with pytest.raises(ModelFileError, match=r'tiny_qwen2.*no role'):
    tokenizer.encode_chat([('robot', 'a')])


@pytest.mark.parametrize('name', FAMILIES)
def test_saved_and_loaded_it_is_the_same(tmp_path, name):
  tokenizer = load(name)
  tokenizer.save(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'tokenizer.json',
    'tokenizer_config.json',
  ]
  again = Tokenizer.from_folder(tmp_path)
  for attribute in (
    'vocab_size',
    'added_ids',
    'bos_ids',
    'eos_ids',
    'pad_id',
    'special_tokens',
    'chat_template',
  ):
    assert getattr(again, attribute) == getattr(tokenizer, attribute), attribute
  assert again.with_added.to_str() == tokenizer.with_added.to_str()
  for record in golden(name)['texts']:
    assert again.encode(record['text']) == tokenizer.encode(record['text'])


@pytest.fixture
def folder(tmp_path):
  """A copy of a tokenizer's files, and a way to change one."""
  for name in ('tokenizer.json', 'tokenizer_config.json'):
    shutil.copy(GOLDEN / 'tiny_llama' / name, tmp_path)

  def change(name, function):
    path = tmp_path / name
    values = json.loads(path.read_text())
    function(values)
    path.write_text(json.dumps(values))
    return Tokenizer.from_folder(tmp_path)

  change.path = tmp_path
  return change


def test_ends_come_from_the_generation_config_too(folder):
  (folder.path / 'generation_config.json').write_text('{"eos_token_id": 7}')
  tokenizer = Tokenizer.from_folder(folder.path)
  assert tokenizer.eos_ids == (7, 316, 319)
  # What is no id of a token is left out.
  path = folder.path / 'generation_config.json'
  path.write_text(
    '{"eos_token_id": [8, -1, 320, 1e3, "a", true, 1' + '0' * 99 + ']}'
  )
  assert Tokenizer.from_folder(folder.path).eos_ids == (8, 316, 319)


def test_whether_a_text_begins_with_bos(folder):
  config = 'tokenizer_config.json'
  begin = '<|begin_of_text|>'
  # The post-processor says it, unless the configuration does.
  for values, expected in (
    ({'bos_token': None}, (315,)),
    ({'bos_token': {'content': begin}}, (315,)),
    ({'add_bos_token': False}, ()),
    ({'add_bos_token': True}, (315,)),
    ({'add_bos_token': True, 'bos_token': '<|eot_id|>'}, (319,)),
    ({'add_bos_token': True, 'bos_token': 'unknown'}, ()),
  ):
    tokenizer = folder(config, lambda v, values=values: v.update(values))
    assert tokenizer.bos_ids == expected, values
    tokenizer.save(folder.path)
    assert Tokenizer.from_folder(folder.path).bos_ids == expected, values
    shutil.copy(GOLDEN / 'tiny_llama' / 'tokenizer.json', folder.path)
    shutil.copy(GOLDEN / 'tiny_llama' / config, folder.path)


def test_a_template_is_a_file_or_in_the_configuration(folder):
  config = 'tokenizer_config.json'
  assert Tokenizer.from_folder(folder.path).chat_template is None
  with pytest.raises(ModelFileError, match='has no chat template'):
    Tokenizer.from_folder(folder.path).encode_chat([('user', 'a')])
  tokenizer = folder(config, lambda v: v.update(chat_template='a'))
  assert tokenizer.chat_template == 'a'
  named = [
    {'name': 'tools', 'template': 'b'},
    {'name': 'default', 'template': 'c'},
  ]
  tokenizer = folder(config, lambda v: v.update(chat_template=named))
  assert tokenizer.chat_template == 'c'
  (folder.path / 'chat_template.jinja').write_text('d')
  assert Tokenizer.from_folder(folder.path).chat_template == 'd'


def test_pieces_that_are_added_tokens_stay_text(folder):
  """Llama 3 looks whole pieces up, and a piece may be an added token."""

  def add(values):
    ids = {}
    for word in ('council', ' council'):
      ids[word] = 320 + len(ids)
    values['added_tokens'] += [
      values['added_tokens'][0] | {'id': ids[word], 'content': word}
      for word in ('council', ' council')
    ]
    # As in files where added tokens are in the vocabulary as well.
    values['model']['vocab'] |= {'council': 320, 'Ġcouncil': 321}

  tokenizer = folder('tokenizer.json', add)
  assert tokenizer.with_added.encode('council').ids[-1] == 320
  ids = tokenizer.encode('council')
  assert 320 not in ids and tokenizer.decode(ids) == 'council'


def test_unknown_bytes_do_not_become_the_unknown_token(folder):
  def change(values):
    values['model']['unk_token'] = '<|end_of_text|>'
    values['model']['vocab']['<|end_of_text|>'] = 316
    del values['model']['vocab']['Ä']  # The byte 0xc4.
    values['model']['merges'] = []

  tokenizer = folder('tokenizer.json', change)
  assert 316 in tokenizer.with_added.encode('Ā').ids
  assert 316 not in tokenizer.encode('aĀb')


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda v: v['model'].update(type='Unigram'), 'no BPE tokenizer'),
    (lambda v: v.pop('model'), 'no BPE tokenizer'),
    (lambda v: v.update(pre_tokenizer=None), 'no byte-level tokenizer'),
    (lambda v: v['model'].update(vocab=[]), 'or is damaged'),
    (lambda v: v['model'].update(vocab={'a': 'b'}), 'or is damaged'),
    (lambda v: v['model'].update(merges=[['a']]), 'or is damaged'),
    (lambda v: v['model'].update(merges=['abc']), 'or is damaged'),
    (lambda v: v['model'].update(merges=[['Q', '~Z']]), 'cannot be used'),
    (lambda v: v['model'].update(vocab={'a': -1}), 'cannot be used'),
    (lambda v: v.update(added_tokens=None), 'or is damaged'),
    (lambda v: v.update(added_tokens=[{}]), 'or is damaged'),
    (lambda v: v.update(decoder={'type': 'X'}), 'cannot be used'),
    (lambda v: v['added_tokens'][0].update(content='a'), 'one character'),
  ],
)
def test_refuses_other_and_damaged_tokenizers(folder, change, message):
  with pytest.raises(ModelFileError, match=message) as caught:
    folder('tokenizer.json', change)
  assert str(folder.path) in str(caught.value)


def test_refuses_what_is_no_tokenizer(folder):
  path = folder.path / 'tokenizer.json'
  for content, message in (
    (b'[]', 'no JSON object'),
    (b'{', 'is no JSON'),
    (b'[' * 100_000, 'is no JSON'),
    (b'\xff', 'no UTF-8'),
  ):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
      Tokenizer.from_folder(folder.path)
  path.unlink()
  with pytest.raises(ModelFileError, match=r'has no tokenizer\.json'):
    Tokenizer.from_folder(folder.path)


def test_refuses_a_tokenizer_without_an_end(folder):
  def change(values):
    for token in values['added_tokens']:
      token['content'] = token['content'].replace('e', 'E')
    del values['post_processor']

  with pytest.raises(ModelFileError, match='names no token that ends a text'):
    folder('tokenizer.json', change)


def test_damage_ends_in_one_error(folder):
  path = folder.path / 'tokenizer.json'
  data = path.read_bytes()
  outcomes = set()
  for changed in damage.copies(data, len(data), seed=0, number=300):
    path.write_bytes(changed)
    try:
      tokenizer = Tokenizer.from_folder(folder.path)
      assert tokenizer.added_ids.isdisjoint(tokenizer.encode('<|eot_id|> the'))
      outcomes.add('loaded')
    except ModelFileError:
      outcomes.add('refused')
  assert outcomes == {'loaded', 'refused'}
