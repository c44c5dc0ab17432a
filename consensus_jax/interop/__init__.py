"""Weights of other libraries: GGUF and safetensors in, safetensors out."""
