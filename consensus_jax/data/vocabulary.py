"""Our tokenizer as a vocabulary of seqio: the same files, the same ids."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from consensus_jax.data.sft_examples import end_id
from consensus_jax.tokenizer import Tokenizer


class Vocabulary(seqio.Vocabulary):
  """What seqio asks of a vocabulary, answered by a `Tokenizer`.

  Byte-level BPE knows every text, so that there is no unknown token.
  """

  def __init__(self, tokenizer: Tokenizer):
    super().__init__()
    self.tokenizer = tokenizer

  @property
  def bos_id(self) -> int | None:
    """The first id before a prompt that is no chat, if the model has one."""
    ids = self.tokenizer.bos_ids
    return ids[0] if ids else None

  @property
  def eos_id(self) -> int:
    """The id that a statement ends with."""
    return end_id(self.tokenizer)

  @property
  def pad_id(self) -> int:
    """The tokenizer's padding, and not 0, which may be a word."""
    return self.tokenizer.pad_id

  @property
  def unk_id(self) -> None:
    """None: there is no unknown text."""
    return None

  @property
  def _base_vocab_size(self) -> int:
    return self.tokenizer.vocab_size

  def _encode(self, s: str) -> Sequence[int]:
    return self.tokenizer.encode(s)

  def _decode(self, ids: Iterable[Any]) -> str:
    return self.tokenizer.decode([int(index) for index in ids])

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    def encode(text: Any) -> np.ndarray:
      # Bytes in a graph, an array that holds them outside of one.
      words = np.asarray(text).item().decode()
      return np.array(self.tokenizer.encode(words), np.int32)

    ids = tf.numpy_function(encode, [s], tf.int32)
    ids.set_shape([None])
    return ids

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    def decode(values: np.ndarray) -> object:
      rows = values.reshape(-1, values.shape[-1])
      texts = [self.decode(row.tolist()).encode() for row in rows]
      return np.array(texts, object).reshape(values.shape[:-1])

    text = tf.numpy_function(decode, [ids], tf.string)
    text.set_shape(ids.shape[:-1])
    return text

  def __eq__(self, other: object) -> bool:
    return (
      isinstance(other, Vocabulary)
      and self.tokenizer.with_added.to_str()
      == other.tokenizer.with_added.to_str()
    )

  def __hash__(self) -> int:
    return hash((self.vocab_size, self.eos_id))
