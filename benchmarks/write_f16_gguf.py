"""Writes a float16 copy of a GGUF model: the same weights for every peer.

`python write_f16_gguf.py IN.gguf OUT.gguf`; needs only the gguf package.
"""

import sys

import gguf
import numpy as np


def main(source: str, target: str) -> None:
  reader = gguf.GGUFReader(source)
  architecture = reader.fields['general.architecture'].contents()
  writer = gguf.GGUFWriter(target, architecture)
  for name, field in reader.fields.items():
    if name.startswith('GGUF.') or name == 'general.architecture':
      continue
    value, kind = field.contents(), field.types[0]
    if name == 'general.file_type':
      value = int(gguf.LlamaFileType.MOSTLY_F16)
    element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(name, value, kind, element)
  for tensor in reader.tensors:
    weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    kept = np.float32 if weights.ndim == 1 else np.float16
    writer.add_tensor(tensor.name, weights.astype(kept))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


if __name__ == '__main__':
  main(*sys.argv[1:])
