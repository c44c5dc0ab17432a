"""What the reward models of `train` reach, on people that they never saw.

    runs = measure.trained(out)
    found = measure.measure(people.read(polis), runs, cache)
    report.markdown(report.document(found.sections, about=found.about))

What ships is what is measured: `combined_a`, on everyone of half B, of whom it
has learned nothing, and on those people of half A who were kept apart. Whether
synthetic votes help is measured the other way round: `half_b` and
`synthetic_b`, on people of half A.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consensus_jax.data.arguments import note
from consensus_jax.defaults import measured_people as people
from consensus_jax.defaults import vote_rows
from consensus_jax.defaults.measured_people import Part, Plan, Sizes
from consensus_jax.defaults.people import HALVES, People
from consensus_jax.evaluation import (
  benchmark,
  groups,
  kept,
  predict,
  regret,
  robustness,
  systems,
)
from consensus_jax.evaluation.benchmark import Comparison
from consensus_jax.evaluation.cases import Cases
from consensus_jax.evaluation.regret import Regret
from consensus_jax.evaluation.robustness import Robustness
from consensus_jax.inference import compute
from consensus_jax.interop import adapters
from consensus_jax.language_model import LanguageModel
from consensus_jax.model.flops import model_flops_per_token
from consensus_jax.strict_json import InputError

# Of two cores without bfloat16 instructions.
_FLOPS_PER_SECOND = 6e10

Predictions = Mapping[str, list[np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
  """What was found, and what was said of whom, for pictures.

  Attributes:
    sections: of a report (`evaluation.report.document`), by their titles.
    predictions: people and what each system says of them, by title of a
      comparison.
    about: models, sizes and seed.
  """

  sections: Mapping[str, Comparison | Regret | Robustness]
  predictions: Mapping[str, tuple[Cases, Predictions]]
  about: Mapping[str, Any]


def trained(out: str | pathlib.Path) -> dict[str, pathlib.Path]:
  """Folders of adapters of the runs that `train` has finished, by name."""
  return {
    path.parent.name: path
    for path in sorted(pathlib.Path(out).glob('runs/*/adapters'))
    if adapters.is_folder_of_adapters(path)
  }


def measure(
  splits: Mapping[str, People],
  runs: Mapping[str, pathlib.Path],
  cache: str | pathlib.Path,
  *,
  sizes: Sizes = Sizes(),  # noqa: B008 (it is frozen)
  seed: int = 0,
) -> Measurement:
  """Measures all of which there are runs.

  Says on standard error how much there is to compute, before it begins.

  Args:
    splits: as `people.read` gives them.
    runs: folders of adapters, as `trained` gives them.
    cache: a folder; what models said stays there, in files that belong to
      their weights, so that a measurement that was stopped goes on.
    sizes: how much is measured.
    seed: of all draws.

  Raises:
    InputError: if there is nothing to measure, a size is not positive, or the
      cache cannot be used.
    ModelFileError: if adapters are missing or damaged.
  """
  for name, size in vars(sizes).items():
    if size < 1:
      raise InputError(f'must be 1 or more, got {size}', field=(name,))
  plan = people.plan(splits, [*runs], sizes, seed)
  if not plan.parts:
    raise InputError(
      f'needs {people.SHIPS}, or {people.OF_SYNTHETIC} and {people.OF_REAL}, '
      f'and people to predict; there are {[*runs]}',
      field=('runs',),
    )
  compute.keep_compilations()
  base = LanguageModel.load(None)
  asked = plan.asked()
  models = _models(base, runs, asked, pathlib.Path(cache))
  features = kept.Embeddings(
    lambda: base, _answers(pathlib.Path(cache), 'features', base.sha256, base)
  )
  _announce(asked, plan.texts(), models, features, base)
  for run, cases in asked.items():
    models[run].of(cases)
  features.of(plan.texts())

  everyone = people.everyone(splits)
  popular = (*everyone.votes, *everyone.comments)
  sections: dict[str, Any] = {}
  predictions = {}
  for title, part in plan.parts.items():
    rules = _rules(part, base, features, popular, seed)
    said = _predicted(part.cases, part.asked, models, rules)
    predictions[title] = part.cases, said
    sections[title] = benchmark.compare(
      part.cases,
      said,
      log_odds=systems.log_odds(said),
      differences=part.differences,
      num_draws=sizes.draws,
      seed=seed,
    )
    if title == people.NEW_BY_VOTES and plan.groups:
      sections[people.WELFARE] = _regret(plan, models, rules)
  if plan.moved:
    sections[people.ROBUSTNESS] = robustness.measure(
      plan.moved, models[people.SHIPS].of, seed=seed
    )
  return Measurement(
    sections={
      title: sections[title] for title in people.SECTIONS if title in sections
    },
    predictions=predictions,
    about={
      'models': {
        run: base.describe()
        | {'adapters': {'name': run, 'sha256': adapters.weights_sha256(path)}}
        for run, path in runs.items()
        if run in asked
      },
      'halves': {half: list(names) for half, names in HALVES.items()},
      'sizes': dataclasses.asdict(sizes),
      'row_length': vote_rows.ROW_LENGTH,
      'seed': seed,
    },
  )


def _models(base, runs, asked, cache) -> dict[str, kept.Rewards]:
  """Those that are asked something, by run."""

  def remembered(run, sha256, load) -> kept.Rewards:
    answers = _answers(cache, run, sha256, base)
    return kept.Rewards(run, load, answers, vote_rows.ROW_LENGTH)

  found = {}
  for run in asked:
    if run == people.RATER:
      found[run] = remembered(run, base.sha256, lambda: base)
    else:
      path = runs[run]
      found[run] = remembered(
        run,
        adapters.weights_sha256(path),
        lambda path=path: LanguageModel.load(path),
      )
  return found


def _answers(cache, name, sha256, base) -> kept.Answers:
  return kept.Answers.open(cache / f'{name}.{sha256[:16]}.{base.dtype}.npz')


def _announce(asked, texts, models, features, base) -> None:
  adapted = dataclasses.replace(
    base, config=dataclasses.replace(base.config, reward_head=True)
  )
  tokens = 0
  for run, cases in asked.items():
    missing = models[run].unanswered(cases)
    here = predict.num_tokens(
      base if run == people.RATER else adapted,
      missing,
      row_length=vote_rows.ROW_LENGTH,
    )
    note(f'{run}: {len(missing)} opinions to ask about, {here:,} tokens')
    tokens += here
  missing = features.unanswered(texts)
  here = sum(len(base.tokenizer.encode(text)) for text in missing)
  note(f'features: {len(missing)} texts to read, {here:,} tokens')
  # A third of what training needs.
  of_token = model_flops_per_token(
    base.config, vote_rows.ROW_LENGTH, vocab_logits=False
  )
  seconds = (tokens + here) * of_token / 3 / _FLOPS_PER_SECOND
  note(f'measuring: about {seconds / 60:.0f} minutes on two cores')


def _rules(
  part: Part, base, features, popular, seed
) -> dict[str, systems.Predict]:
  """Baselines; the prompted rater is asked as runs are."""
  if part.held_out is None:
    return {}
  found = systems.baselines(
    base,
    train=part.train,
    records=popular,
    held_out=part.held_out,
    seed=seed,
    embed=features.of,
  )
  del found[systems.PROMPTED_RATER]
  return found


def _predicted(
  cases: Cases,
  asked: people.Asked,
  models: Mapping[str, kept.Rewards],
  rules: Mapping[str, systems.Predict],
) -> dict[str, list[np.ndarray]]:
  """What all systems say of cases; baselines come last."""
  found: dict[str, list[np.ndarray]] = {}
  for name, (run, as_asked) in asked.items():
    said = iter(models[run].of([case for case in as_asked if case]))
    found[name] = [
      next(said) if one else np.full(len(case.statements), np.nan, np.float32)
      for case, one in zip(cases, as_asked, strict=True)
    ]
    if name == systems.of_another(people.MODEL):
      others = [case for case in as_asked if case]
      found[name] = predict.silent_where_quoted(found[name], others)
  found |= {name: rule(cases) for name, rule in rules.items()}
  order: Sequence[str] = [
    *(name for name in found if name not in systems.BASELINES),
    *(name for name in systems.BASELINES if name in found),
  ]
  return {name: found[name] for name in order}


def _regret(plan: Plan, models, rules) -> Regret:
  said = _predicted(plan.in_groups, plan.asked_of_groups, models, rules)
  return regret.measure(
    plan.groups,
    {
      name: groups.rewards_by_group(plan.groups, plan.in_groups, rewards)
      for name, rewards in said.items()
    },
    differences=people.differences(said),
  )
