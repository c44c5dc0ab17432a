"""What training examples are made of, and how: plain values, checked."""

import dataclasses
from collections.abc import Collection
from typing import Literal, get_args

from consensus_jax.data.records import OpinionProvenance, Split
from consensus_jax.strict_json import InputError

Task = Literal[
  'consensus_sft',
  'consensus_reward_pairs',
  'consensus_reward_listwise',
  'consensus_reward_ordinal',
]
Judgement = Literal['agreement', 'quality', 'ranking', 'votes']
PromptForm = Literal['completion', 'chat']
Ties = Literal['drop', 'soft']
LongExamples = Literal['truncate', 'exclude']

SFT = 'consensus_sft'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSettings:
  """How judged deliberations become training examples.

  Attributes:
    sources: record files (JSONL or parquet), 'polis:FOLDER' of one conversation
      or of folders of conversations, 'habermas:FOLDER'.
    task: what the examples teach.
    split: records whose question belongs to it; 'train' also takes those that
      belong to none.
    tokenizer: a Hugging Face folder or a GGUF file; None for the embedded
      model's.
    row_length: tokens of one row.
    opinions: kinds of opinions that count: 'written', 'comments', 'votes'.
    max_opinions: of a prompt of the policy; a larger group is sampled.
    prompt: of the policy: the paper's template, or the model's chat template.
    min_quality: the mean quality of a statement that the policy learns has to
      be greater; None asks for no rating.
    min_agreement: the least mean agreement of such a statement; None for any.
    min_vote: its least mean vote, from -1 to 1; None for any.
    rounds: of such a statement: 0 after opinions, 1 after critiques. The prompt
      of the policy holds no critiques.
    judgement: what the reward model learns from.
    statements_per_row: most statements of one row; pairs have two.
    max_pairs: most pairs of one member of one deliberation.
    ties: whether equal judgements teach anything.
    long_examples: cut the longest opinions, or leave the example out.
    seed: of every choice and order.

  Raises:
    InputError: naming the setting that is out of range.
  """

  sources: tuple[str, ...]
  task: Task
  split: Split = 'train'
  tokenizer: str | None = None
  row_length: int = 1024
  opinions: tuple[OpinionProvenance, ...] = get_args(OpinionProvenance)
  max_opinions: int = 10
  prompt: PromptForm = 'completion'
  min_quality: float | int | None = 5.0
  min_agreement: float | int | None = None
  min_vote: float | int | None = None
  rounds: tuple[int, ...] = (0,)
  judgement: Judgement = 'agreement'
  statements_per_row: int = 4
  max_pairs: int = 16
  ties: Ties = 'drop'
  long_examples: LongExamples = 'truncate'
  seed: int = 0

  def __post_init__(self):
    if not self.sources:
      raise InputError('names no source', field=('sources',))
    for name, known in (
      ('task', get_args(Task)),
      ('split', get_args(Split)),
      ('prompt', get_args(PromptForm)),
      ('judgement', get_args(Judgement)),
      ('ties', get_args(Ties)),
      ('long_examples', get_args(LongExamples)),
    ):
      _check_one_of(getattr(self, name), known, name)
    for provenance in self.opinions:
      _check_one_of(provenance, get_args(OpinionProvenance), 'opinions')
    for name, least in (
      ('row_length', 8),
      ('max_opinions', 1),
      ('statements_per_row', 1),
      ('max_pairs', 1),
      ('seed', 0),
    ):
      if getattr(self, name) < least:
        raise InputError(
          f'must be at least {least}, got {getattr(self, name)}', field=(name,)
        )
    if self.task == 'consensus_reward_ordinal' and self.judgement == 'ranking':
      raise InputError(
        'a rank is no rating; choose agreement, quality or votes',
        field=('judgement',),
      )
    if self.task == 'consensus_reward_listwise' and self.statements_per_row < 2:
      raise InputError('a list has two or more', field=('statements_per_row',))

  @property
  def kind(self) -> Literal['sft', 'reward']:
    """Which kind of rows the task makes."""
    return 'sft' if self.task == SFT else 'reward'

  @property
  def row_statements(self) -> int:
    """Most statements of one row of the reward model."""
    pairs = self.task == 'consensus_reward_pairs'
    return 2 if pairs else self.statements_per_row


def _check_one_of(value: str, known: Collection[str], name: str) -> None:
  if value not in known:
    raise InputError(
      f'must be one of {", ".join(known)}, got {value!r}', field=(name,)
    )
