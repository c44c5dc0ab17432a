"""What a training run is told, as frozen dataclasses that gin files fill in."""

import dataclasses
from typing import Any, Literal, get_args

import jax
from jax.sharding import Mesh

from consensus_jax import partitioning
from consensus_jax.model.config import ModelConfig
from consensus_jax.model.execution import Execution
from consensus_jax.model.lora import LoraConfig
from consensus_jax.strict_json import InputError
from consensus_jax.training.objectives import RewardSettings
from consensus_jax.training.optimizers import OptimizerSettings

Dtype = Literal['float32', 'bfloat16']
Head = Literal['random', 'vote_words']


def _check_integer(settings: Any, field: str, least: int) -> None:
  value = getattr(settings, field)
  if isinstance(value, bool) or not isinstance(value, int) or value < least:
    raise ValueError(
      f'{field} must be a whole number of at least {least}, got {value!r}'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshShape:
  """How many devices each axis of the mesh has (`partitioning.MESH_AXES`).

  Attributes:
    data: copies of the model, each with its part of a batch; None takes all
      devices that the other axes leave.
    fsdp: devices that a copy's parameters and its part of a batch are split
      over.
    tensor: devices that each matrix product is split over.
  """

  data: int | None = None
  fsdp: int = 1
  tensor: int = 1

  def __post_init__(self):
    for field in ('fsdp', 'tensor', 'data'):
      value = getattr(self, field)
      if value is not None or field != 'data':
        _check_integer(self, field, 1)

  def build(self) -> Mesh:
    """The mesh, over the devices of all processes.

    Raises:
      InputError: if the devices do not make it up.
    """
    devices = jax.device_count()
    others = self.fsdp * self.tensor
    data = devices // others if self.data is None else self.data
    needed = data * others
    # A process without a device in the mesh would wait for ever.
    short = not 0 < needed <= devices
    if short or (jax.process_count() > 1 and needed != devices):
      raise InputError(
        f'data={self.data}, fsdp={self.fsdp}, tensor={self.tensor} does not '
        f'fit {devices} devices of {jax.process_count()} processes',
        field=('mesh',),
      )
    return partitioning.make_mesh(data, self.fsdp, self.tensor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initial:
  """Where the first parameters come from, if MODEL_DIR holds no checkpoint.

  In this order: `checkpoint`, `pretrained`, scratch.

  Attributes:
    checkpoint: MODEL_DIR of another run, whose best parameters to take; of a
      policy also for a reward model, which gets a head of its own.
    pretrained: a folder or file of another library, or 'embedded'.
    tokenizer: the folder of a tokenizer, for a model from scratch; the other
      two bring their own.
  """

  checkpoint: str | None = None
  pretrained: str | None = None
  tokenizer: str | None = None

  def __post_init__(self):
    if self.checkpoint and self.pretrained:
      raise ValueError('give checkpoint or pretrained, not both')
    if self.tokenizer and (self.checkpoint or self.pretrained):
      raise ValueError('a checkpoint or pretrained model has its own tokenizer')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One training run.

  Attributes:
    model_dir: the run's folder: checkpoints, metrics, configuration, export.
    model: the model; None takes that of `initial`.
    train_data: a folder of materialised examples, or settings that make one
      (an object with `materialise() -> folder`).
    validation_data: likewise; None evaluates nothing.
    initial: the first parameters.
    mesh: the devices.
    execution: memory against time.
    compute_dtype: of matrix products; parameters and optimizer are float32.
      None takes what the hardware does best.
    optimizer: how parameters follow their gradients.
    lora: adapters to train; None trains all weights.
    num_steps: steps of the whole run.
    batch_size: examples of a step, in all processes together.
    microbatches: parts that a batch is computed in, one after another.
    seed: of initialisation and of the order of examples.
    evaluate_every: steps between evaluations; there is also one before the
      first step and one after the last.
    evaluation_batch_size: examples at once; None is `batch_size` divided by
      `microbatches`.
    patience: evaluations without a better loss after which training stops; None
      never stops early.
    save_every: steps between checkpoints.
    keep: newest checkpoints to keep; the best one is kept besides.
    max_loss_ratio: training stops as exploded when its smoothed loss exceeds
      the lowest it was (at least `LOSS_FLOOR`) by this factor.
    log_every: steps between lines of metrics.
    tensorboard: also write TensorBoard's events, if tensorboardX is installed.
    profile: (first, last) step to record with jax's profiler.
    export: write the best parameters as a folder of safetensors at the end.
  """

  model_dir: str
  model: ModelConfig | None = None
  train_data: Any
  validation_data: Any = None
  initial: Initial = Initial()
  mesh: MeshShape = MeshShape()
  execution: Execution = dataclasses.field(default_factory=Execution)
  compute_dtype: Dtype | None = None
  optimizer: OptimizerSettings
  lora: LoraConfig | None = None
  num_steps: int
  batch_size: int
  microbatches: int = 1
  seed: int = 0
  evaluate_every: int = 100
  evaluation_batch_size: int | None = None
  patience: int | None = None
  save_every: int = 100
  keep: int = 2
  max_loss_ratio: float = 4.0
  log_every: int = 1
  tensorboard: bool = False
  profile: tuple[int, int] | None = None
  export: bool = True

  def __post_init__(self):
    if not isinstance(self.model_dir, str) or not self.model_dir:
      raise ValueError(f'model_dir must name a folder, got {self.model_dir!r}')
    for field in (
      'num_steps',
      'batch_size',
      'microbatches',
      'evaluate_every',
      'save_every',
      'keep',
      'log_every',
    ):
      _check_integer(self, field, 1)
    _check_integer(self, 'seed', 0)
    for field in ('evaluation_batch_size', 'patience'):
      if getattr(self, field) is not None:
        _check_integer(self, field, 1)
    if self.batch_size % self.microbatches:
      raise ValueError(
        f'microbatches {self.microbatches} must divide batch_size '
        f'{self.batch_size}'
      )
    if self.compute_dtype not in (None, *get_args(Dtype)):
      raise ValueError(
        f'compute_dtype must be one of {get_args(Dtype)} or None, got '
        f'{self.compute_dtype!r}'
      )
    if not self.max_loss_ratio > 1:
      raise ValueError(
        f'max_loss_ratio must exceed 1, got {self.max_loss_ratio}'
      )
    if self.patience is not None and self.validation_data is None:
      raise ValueError('patience needs validation_data')
    if self.profile is not None and (
      not isinstance(self.profile, tuple)
      or len(self.profile) != 2
      or not 0 <= self.profile[0] < self.profile[1]
    ):
      raise ValueError(
        f'profile must be (first, last) step, got {self.profile!r}'
      )

  @property
  def rows_of_evaluation(self) -> int:
    """Examples that an evaluation computes at once."""
    return self.evaluation_batch_size or self.batch_size // self.microbatches


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyRun(Run):
  """Supervised fine-tuning of a policy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardRun(Run):
  """Training of a reward model.

  Attributes:
    objective: what it learns from judgements.
    head: where a head starts that the model does not bring. 'random': near
      zero, indifferent. 'vote_words': as a fifth of the log-odds that the
      model, after a statement, goes on with " Agree" rather than " Disagree",
      as votes in words do (`data.verbalise`): what it knows of people is there
      at once.
  """

  objective: RewardSettings = dataclasses.field(default_factory=RewardSettings)
  head: Head = 'random'

  def __post_init__(self):
    super().__post_init__()
    if self.head not in get_args(Head):
      raise ValueError(
        f'head must be one of {get_args(Head)}, got {self.head!r}'
      )
