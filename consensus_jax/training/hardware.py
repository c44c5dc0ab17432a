"""What devices could do: dense bfloat16 products, without sparsity."""

# Operations a second of one jax device, a multiplication and an addition being
# two. By `jax.Device.device_kind`; on v2 and v3 a device is half a chip.
# Sources: cloud.google.com/tpu/docs, "System architecture" of each version;
# NVIDIA's data sheets of A100 (2020), H100 and H200 (2023, SXM), L4 and T4.
_PEAKS = {
  'TPU v2': 22.5e12,
  'TPU v3': 61.5e12,
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v5p': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100-SXM4-40GB': 312e12,
  'NVIDIA A100-SXM4-80GB': 312e12,
  'NVIDIA A100 80GB PCIe': 312e12,
  'NVIDIA H100 80GB HBM3': 989e12,
  'NVIDIA H100 PCIe': 756e12,
  'NVIDIA H200': 989e12,
  'NVIDIA L4': 121e12,
}


def peak_flops(device_kind: str) -> float | None:
  """Operations a second that a device of this kind can do; None if unknown."""
  return _PEAKS.get(device_kind)
