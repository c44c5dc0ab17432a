"""The main job: a deliberation in, ranked consensus statements out."""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax import prompts
from consensus_jax.deliberation import (
  Candidate,
  Deliberation,
  InputError,
  Outcome,
)
from consensus_jax.inference import compute
from consensus_jax.inference.sampler import Sample, Sampling, sample
from consensus_jax.inference.scorer import score
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.language_model import POLICY, REWARD_MODEL, LanguageModel
from consensus_jax.overflow import fit
from consensus_jax.settings import (
  PROMPTED_RATER,
  WRITING,
  Policy,
  Progress,
  Settings,
  Stage,
)
from consensus_jax.social_choice.aggregate import Aggregation, aggregate
from consensus_jax.social_choice.utilities import UtilityMap
from consensus_jax.strict_json import unreadable

Report = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Mediator:
  """Writes candidates with a policy and scores them with a reward model.

  The two meet as text, so they may have different tokenizers. A reward model
  with a reward head is used as such; one without is a prompted rater, which is
  asked whether the participant would agree.
  """

  policy: LanguageModel
  reward_model: LanguageModel

  @classmethod
  def from_pretrained(
    cls,
    model: str | os.PathLike[str] | None = None,
    *,
    reward_model: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    policy: Policy | None = None,
  ) -> Self:
    """Loads the models and keeps compiled programs for the next time.

    Args:
      model: a Hugging Face folder, a GGUF file or a folder of adapters; None is
        what ships.
      reward_model: likewise, with a reward head; None is the one that ships,
        'prompted_rater' lets `model` rate, or else the embedded model.
      dtype: 'float32' or 'bfloat16'; by default what the processor does best.
      policy: which policy ships, if `model` is None: the trained one, or for
        'zero_shot' and 'few_shot' the embedded model as it came. Give
        `Settings` the same.

    Raises:
      ModelFileError: if a model is missing or broken.
    """
    compute.keep_compilations()
    untrained = model is not None or policy not in (None, 'sft')
    writes = model if untrained else POLICY
    asks = reward_model == PROMPTED_RATER
    rates = model if asks else reward_model or REWARD_MODEL
    writer = LanguageModel.load(writes, dtype)
    if rates == writes:
      return cls(writer, writer)
    return cls(writer, LanguageModel.load(rates, dtype))

  def mediate(
    self,
    deliberation: Deliberation,
    settings: Settings = Settings(),  # noqa: B008 (it is frozen)
    *,
    progress: Report | None = None,
  ) -> Outcome:
    """Writes candidates, scores and ranks them with those already brought.

    Args:
      deliberation: the question, the opinions and statements people brought.
      settings: what a person can choose.
      progress: called as the stages go on.

    Raises:
      InputError: if the opinions do not fit into the model's context.
      ModelFileError: if the model computes no numbers.
    """
    start = time.perf_counter()
    samples, truncations = self.write(deliberation, settings, progress)
    written = time.perf_counter()
    outcome = self._choose(
      deliberation,
      [*samples, *self._given(deliberation)],
      settings,
      truncations,
      progress,
    )
    asked = settings.policy or self.policy.taught_as
    chat = prompts.is_chat(self.policy.tokenizer, asked)
    return dataclasses.replace(
      outcome,
      policy={
        **self.policy.describe(),
        **{name: getattr(settings, name) for name in WRITING},
        'policy': asked,
        'prompt': 'chat' if chat else 'completion',
      },
      timings={
        'generate': written - start,
        **outcome.timings,
        'total': time.perf_counter() - start,
      },
    )

  def rank(
    self,
    deliberation: Deliberation,
    settings: Settings = Settings(),  # noqa: B008 (it is frozen)
    *,
    progress: Report | None = None,
  ) -> Outcome:
    """Scores and ranks the statements that the deliberation itself brings.

    Raises:
      InputError: if it brings none, or a text does not fit the reward model.
    """
    if not deliberation.candidates:
      raise InputError('holds no candidates', field=('candidates',))
    given = self._given(deliberation)
    return self._choose(deliberation, given, settings, (), progress)

  def write(
    self,
    deliberation: Deliberation,
    settings: Settings,
    progress: Report | None = None,
  ) -> tuple[list[Sample], tuple[dict[str, Any], ...]]:
    """Statements of the policy, and what had to be cut of opinions.

    Raises:
      InputError: if the opinions do not fit into the model's context.
      ModelFileError: if the model computes no numbers.
    """
    policy = self.policy
    asked = settings.policy or policy.taught_as
    make_prompt = functools.partial(
      prompts.policy_prompt, tokenizer=policy.tokenizer, policy=asked
    )
    room = policy.config.max_length - settings.max_tokens
    fitted, truncations = fit(
      deliberation, make_prompt, policy.tokenizer, room, settings.overflow
    )
    try:
      samples = sample(
        policy.params,
        policy.config,
        policy.tokenizer,
        make_prompt(fitted),
        num_candidates=settings.num_candidates,
        max_tokens=settings.max_tokens,
        sampling=Sampling(
          temperature=settings.temperature,
          top_p=settings.top_p,
          top_k=settings.top_k,
          min_p=settings.min_p,
          no_repeat_ngram_size=settings.no_repeat_ngram_size,
          no_copy_ngram_size=settings.no_copy_ngram_size,
        ),
        seed=settings.seed,
        free_to_copy=prompts.question_ids(
          deliberation.question, policy.tokenizer
        ),
        stop_strings=prompts.STOP_STRINGS,
        whole_sentences=True,
        progress=_counting(progress, 'generate'),
      )
    except FloatingPointError as error:
      raise ModelFileError(policy.name, str(error)) from error
    # A policy may write nothing, or what no file may hold. Neither is a
    # statement.
    opening = prompts.opening(policy.tokenizer, asked)
    statements = [
      dataclasses.replace(
        each, text='' if unreadable(each.text) else opening + each.text
      )
      for each in samples
    ]
    return statements, truncations

  def _given(self, deliberation: Deliberation) -> list[Sample]:
    """Statements that people brought, in the form of samples."""
    return [
      Sample(
        text=text,
        tokens=tuple(self.reward_model.tokenizer.encode(text)),
        log_likelihood=math.nan,
        finish_reason='given',
      )
      for text in deliberation.candidates
    ]

  def _choose(
    self,
    deliberation: Deliberation,
    samples: Sequence[Sample],
    settings: Settings,
    truncations: tuple[dict[str, Any], ...],
    progress: Report | None,
  ) -> Outcome:
    """Scores and aggregates."""
    start = time.perf_counter()
    texts = [prompts.one_line(each.text) for each in samples]
    written = [i for i, text in enumerate(texts) if text]
    rewards = np.full((len(texts), len(deliberation.opinions)), np.nan)
    cut: tuple[dict[str, Any], ...] = ()
    if written:
      rewards[written], cut = self._rewards(
        deliberation,
        [texts[i] for i in written],
        settings.overflow,
        _counting(progress, 'score'),
      )
    scored = time.perf_counter()
    aggregation = aggregate(
      rewards,
      rule=settings.rule,
      alpha=settings.alpha,
      delta=settings.delta,
      strength=settings.strength,
      threshold=settings.threshold,
      utility=UtilityMap(settings.utility),
      weights=[opinion.weight for opinion in deliberation.opinions],
      tie_break=settings.tie_break,
      seed=settings.seed,
    )
    if progress:
      progress(Progress(stage='aggregate', done=1, total=1))
    end = time.perf_counter()
    return Outcome(
      id=deliberation.id,
      question=deliberation.question,
      participants=deliberation.opinions,
      candidates=tuple(
        _candidate(i, each, texts[i], rewards[i], aggregation)
        for i, each in enumerate(samples)
      ),
      consensus=aggregation.winner,
      aggregation=_strict(aggregation.to_json()),
      sensitivity=tuple(
        _strict({'alpha': alpha, 'winner': winner})
        for alpha, winner in aggregation.sensitivity
      ),
      policy={},
      reward_model=self._describe_reward_model(),
      seed=settings.seed,
      timings={
        'score': scored - start,
        'aggregate': end - scored,
        'total': end - start,
      },
      truncations=(*truncations, *cut),
    )

  def _rewards(self, deliberation, texts, overflow, progress):
    """Rewards [candidates, members], and what had to be cut of opinions."""
    model, tokenizer = self.reward_model, self.reward_model.tokenizer
    if model.config.reward_head:
      head = model.params['reward_head']
      continuations = [
        tokenizer.encode(prompts.reward_continuation(text)) for text in texts
      ]
      make_prefix = prompts.reward_prefix_ids
    else:
      head = answer_direction(model)
      continuations = [
        prompts.rater_continuation(text, tokenizer) for text in texts
      ]
      make_prefix = prompts.rater_prefix
    longest = max(map(len, continuations))
    room = model.config.max_length - longest
    excess = len(make_prefix(deliberation.question, '', tokenizer)) - room
    if excess >= 0:
      raise InputError(
        f'a statement of {longest} tokens is {excess + 1} longer than the '
        'reward model can read beside an opinion',
        field=('candidates',),
      )
    prefixes: list[list[int]] = []
    truncations: list[dict[str, Any]] = []
    for opinion in deliberation.opinions:
      alone = dataclasses.replace(
        deliberation, opinions=(dataclasses.replace(opinion, weight=1.0),)
      )

      def prefix(d):
        return make_prefix(d.question, d.opinions[0].text, tokenizer)

      fitted, cut = fit(alone, prefix, tokenizer, room, overflow)
      prefixes.append(prefix(fitted))
      truncations += [{**each, 'stage': 'score'} for each in cut]
    rewards = score(
      model.params,
      model.config,
      head,
      prefixes,
      continuations,
      progress=progress,
    )
    return rewards, tuple(truncations)

  def _describe_reward_model(self) -> dict[str, Any]:
    model = self.reward_model
    if model.config.reward_head:
      return {'kind': 'reward_head', **model.describe()}
    return {
      'kind': 'prompted_rater',
      **model.describe(),
      'answers': list(prompts.RATER_ANSWERS),
    }


def answer_direction(model: LanguageModel) -> jax.Array:
  """The linear reward of the prompted rater.

  A difference of two logits is the log-odds of their tokens, and a logit is
  linear in the hidden state: so the rater is a reward model whose head is the
  difference of the two answers' rows.
  """
  agree, disagree = prompts.rater_answers(model.tokenizer)
  tied = model.config.tied_embeddings
  head = model.params['embedding' if tied else 'lm_head']
  return head[agree].astype(jnp.float32) - head[disagree].astype(jnp.float32)


def _candidate(
  index: int,
  each: Sample,
  text: str,
  rewards: np.ndarray,
  aggregation: Aggregation,
) -> Candidate:
  utilities = aggregation.utilities
  assert utilities is not None, 'members were not read in chunks'
  refused = aggregation.refused[index]
  if not text:
    refused = 'the model wrote nothing readable'
  return Candidate(
    text=each.text.strip(),
    rewards=_numbers(rewards),
    utilities=_numbers(utilities[index]),
    welfare=aggregation.welfare[index],
    rank=aggregation.ranks[index],
    num_tokens=len(each.tokens),
    log_likelihood=_numbers([each.log_likelihood])[0],
    finish_reason=each.finish_reason,
    refused=refused,
  )


def _numbers(values: Sequence[float] | np.ndarray) -> tuple[float | None, ...]:
  """Plain numbers; what is not finite is None, as strict JSON has no NaN."""
  return tuple(float(v) if math.isfinite(v) else None for v in values)


def _strict(record: Any) -> Any:
  """The record with infinity as JSON can hold it, the string 'inf'."""
  if isinstance(record, dict):
    return {key: _strict(value) for key, value in record.items()}
  if isinstance(record, list):
    return [_strict(value) for value in record]
  return 'inf' if record == math.inf else record


def _counting(
  progress: Report | None, stage: Stage
) -> Callable[[int, int], None] | None:
  if progress is None:
    return None
  return lambda done, total: progress(
    Progress(stage=stage, done=done, total=total)
  )
