"""Tiny GGUF files, written with the gguf package as llama.cpp does it."""

import json
import pathlib

import gguf
import numpy as np
from safetensors.numpy import load_file

GOLDEN = pathlib.Path(__file__).parent / 'golden'
FAMILIES = (
  'tiny_llama',
  'tiny_llama_tied',
  'tiny_qwen2',
  'tiny_qwen2_tied',
  'tiny_qwen3',
  'tiny_qwen3_tied',
)

# From Hugging Face's names to those of GGUF, in the order of replacement.
_NAMES = (
  ('model.layers.', 'blk.'),
  ('model.embed_tokens', 'token_embd'),
  ('model.norm', 'output_norm'),
  ('lm_head', 'output'),
  ('input_layernorm', 'attn_norm'),
  ('post_attention_layernorm', 'ffn_norm'),
  ('self_attn.q_proj', 'attn_q'),
  ('self_attn.k_proj', 'attn_k'),
  ('self_attn.v_proj', 'attn_v'),
  ('self_attn.o_proj', 'attn_output'),
  ('self_attn.q_norm', 'attn_q_norm'),
  ('self_attn.k_norm', 'attn_k_norm'),
  ('mlp.', 'ffn_'),
  ('_proj', ''),
)


def gguf_name(name):
  for old, new in _NAMES:
    name = name.replace(old, new)
  return name


def permute(weights, heads):
  """As LlamaModel.permute of llama.cpp's converter."""
  shape = weights.shape
  split = weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
  return split.swapaxes(1, 2).reshape(shape)


def rope_factors(rope, head_dim):
  """As generate_extra_tensors of llama.cpp's converter, a frequency a time."""
  low = rope['original_max_position_embeddings'] / rope['low_freq_factor']
  high = rope['original_max_position_embeddings'] / rope['high_freq_factor']
  factors = []
  for i in range(0, head_dim, 2):
    wavelength = 2 * np.pi * rope['rope_theta'] ** (i / head_dim)
    if wavelength < high:
      factors.append(1.0)
    elif wavelength > low:
      factors.append(rope['factor'])
    else:
      smooth = (
        rope['original_max_position_embeddings'] / wavelength
        - rope['low_freq_factor']
      ) / (rope['high_freq_factor'] - rope['low_freq_factor'])
      factors.append(1 / ((1 - smooth) / rope['factor'] + smooth))
  return np.array(factors, np.float32)


def add_tokenizer(writer, folder):
  spec = json.loads((folder / 'tokenizer.json').read_text())
  config = json.loads((folder / 'tokenizer_config.json').read_text())
  vocabulary = dict(spec['model']['vocab'])
  types = dict.fromkeys(vocabulary.values(), gguf.TokenType.NORMAL)
  for token in spec['added_tokens']:
    vocabulary[token['content']] = token['id']
    types[token['id']] = (
      gguf.TokenType.CONTROL
      if token['special']
      else gguf.TokenType.USER_DEFINED
    )
  llama = spec['model']['ignore_merges']
  writer.add_tokenizer_model('gpt2')
  writer.add_tokenizer_pre('llama-bpe' if llama else 'qwen2')
  writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
  writer.add_token_types([types[i] for i in range(len(vocabulary))])
  writer.add_token_merges([' '.join(m) for m in spec['model']['merges']])
  if config['bos_token']:
    writer.add_bos_token_id(vocabulary[config['bos_token']])
  writer.add_eos_token_id(vocabulary[config['eos_token']])
  writer.add_pad_token_id(vocabulary[config['pad_token']])
  writer.add_chat_template((folder / 'chat_template.jinja').read_text())


def write(path, folder, kind='F32', without=(), fields=None):
  """Converts a golden folder.

  Args:
    path: of the GGUF file.
    folder: with safetensors.
    kind: type of all matrices.
    without: keys or tensors to leave out.
    fields: numbers, by their key, to set otherwise.
  """
  config = json.loads((folder / 'config.json').read_text())
  family, rope = config['model_type'], config['rope_parameters']
  heads, kv_heads = config['num_attention_heads'], config['num_key_value_heads']
  head_dim = config.get('head_dim', config['hidden_size'] // heads)
  writer = gguf.GGUFWriter(path, family)
  integers = {
    'block_count': config['num_hidden_layers'],
    'context_length': config['max_position_embeddings'],
    'embedding_length': config['hidden_size'],
    'feed_forward_length': config['intermediate_size'],
    'attention.head_count': heads,
    'attention.head_count_kv': kv_heads,
    'attention.key_length': head_dim,
    'attention.value_length': head_dim,
  }
  if rope['rope_type'] == 'llama3':
    integers['rope.scaling.original_context_length'] = rope[
      'original_max_position_embeddings'
    ]
    if 'rope_freqs.weight' not in without:
      writer.add_tensor('rope_freqs.weight', rope_factors(rope, head_dim))
  floats = {
    'attention.layer_norm_rms_epsilon': config['rms_norm_eps'],
    'rope.freq_base': rope['rope_theta'],
  }
  for key, value in (integers | floats | (fields or {})).items():
    if key not in without:
      if isinstance(value, float):
        writer.add_float32(f'{family}.{key}', value)
      else:
        writer.add_uint32(f'{family}.{key}', value)
  add_tokenizer(writer, folder)
  for name, tensor in load_file(folder / 'model.safetensors').items():
    if family == 'llama' and ('q_proj' in name or 'k_proj' in name):
      tensor = permute(tensor, heads if 'q_proj' in name else kv_heads)
    name = gguf_name(name)
    if name in without:
      continue
    if tensor.ndim == 1 or kind == 'F32':
      writer.add_tensor(name, tensor)
    else:
      quantised = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType[kind])
      writer.add_tensor(
        name, quantised, raw_dtype=gguf.GGMLQuantizationType[kind]
      )
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return path
