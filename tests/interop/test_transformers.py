"""Live comparison with transformers, where it and torch are installed."""

import json

import numpy as np
import pytest
import tiny_gguf

from consensus_jax.interop import pretrained

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

GOLDEN = tiny_gguf.GOLDEN


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  monkeypatch.setenv('HF_HUB_OFFLINE', '1')


def load(kind, path, **kwargs):
  model, info = kind.from_pretrained(path, output_loading_info=True, **kwargs)
  assert not any(info.values()), info
  return model.eval()


def compute(model, ids):
  with torch.no_grad():
    return model(torch.tensor(ids).long()).logits.float().numpy()


@pytest.mark.parametrize('max_shard_bytes', [20_000, 10**9])
@pytest.mark.parametrize('name', tiny_gguf.FAMILIES)
def test_loads_exported_models(tmp_path, name, max_shard_bytes):
  pretrained.save_pretrained(
    tmp_path / 'model',
    pretrained.load_pretrained(GOLDEN / name),
    max_shard_bytes=max_shard_bytes,
  )
  golden = np.load(GOLDEN / name / 'logits.npz')
  kind = transformers.AutoModelForCausalLM
  exported = compute(load(kind, tmp_path / 'model'), golden['input_ids'])
  source = compute(load(kind, GOLDEN / name), golden['input_ids'])
  np.testing.assert_array_equal(exported, source)
  np.testing.assert_allclose(exported, golden['logits'], rtol=0, atol=1e-4)


def test_loads_exported_reward_models(tmp_path):
  folder = GOLDEN / 'tiny_llama_reward'
  model = pretrained.load_pretrained(folder)
  pretrained.save_pretrained(tmp_path / 'model', model)
  golden = np.load(folder / 'rewards.npz')
  exported = load(
    transformers.AutoModelForSequenceClassification, tmp_path / 'model'
  )
  rewards = compute(exported, golden['input_ids'])[:, 0]
  np.testing.assert_allclose(rewards, golden['rewards'], rtol=0, atol=1e-4)


def test_loads_bfloat16_as_such(tmp_path):
  model = pretrained.load_pretrained(GOLDEN / 'tiny_qwen3', dtype='bfloat16')
  pretrained.save_pretrained(tmp_path / 'model', model)
  exported = load(transformers.AutoModelForCausalLM, tmp_path / 'model')
  assert exported.dtype == torch.bfloat16


def check_tokenizer(path, tokenizer, records):
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  assert theirs.eos_token_id in tokenizer.eos_ids
  assert theirs.pad_token_id == tokenizer.pad_id
  special = [*theirs.get_added_vocab()]
  compared = 0
  for record in records['texts']:
    text = record['text']
    if any(token in text for token in special):
      continue
    compared += 1
    ids = tokenizer.encode(text)
    assert theirs.encode(text, add_special_tokens=False) == ids, text
    assert theirs.encode(text) == [*tokenizer.bos_ids, *ids], text
    assert theirs.decode(ids) == tokenizer.decode(ids)
  assert compared > 25
  for record in records['chats']:
    for generate in (True, False):
      ids = theirs.apply_chat_template(
        [{'role': role, 'content': text} for role, text in record['messages']],
        add_generation_prompt=generate,
        tokenize=True,
        return_dict=False,
        date_string='26 Jul 2024',
      )
      messages = [tuple(message) for message in record['messages']]
      assert ids == tokenizer.encode_chat(
        messages, add_generation_prompt=generate
      )


@pytest.mark.parametrize('name', tiny_gguf.FAMILIES)
def test_loads_exported_tokenizers(tmp_path, gguf_paths, name):
  records = json.loads((GOLDEN / name / 'tokens.json').read_text('utf-8'))
  for number, source in enumerate((GOLDEN / name, gguf_paths[name])):
    model = pretrained.load_pretrained(source)
    path = tmp_path / str(number)
    pretrained.save_pretrained(path, model)
    check_tokenizer(path, model.tokenizer, records)


@pytest.mark.slow
def test_loads_the_exported_embedded_model(tmp_path, embedded):
  path = tmp_path / 'model'
  pretrained.save_pretrained(path, embedded, max_shard_bytes=200_000_000)
  golden = np.load(GOLDEN / 'smollm2' / 'logits.npz')
  exported = load(transformers.AutoModelForCausalLM, path)
  logits = compute(exported, golden['input_ids'][None])[0]
  np.testing.assert_allclose(
    logits[:, ::64], golden['strided_logits'], rtol=0, atol=1e-3
  )
  np.testing.assert_allclose(
    np.take_along_axis(logits, golden['top_ids'], -1),
    golden['top_logits'],
    rtol=0,
    atol=1e-3,
  )
  records = json.loads((GOLDEN / 'smollm2' / 'tokens.json').read_text('utf-8'))
  check_tokenizer(path, embedded.tokenizer, records)
