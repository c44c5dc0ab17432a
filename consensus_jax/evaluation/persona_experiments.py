"""The experiments on people whom a model plays, and a reward model rates for.

    sections = run(Personas(), models, folder='out')

A language model writes what people of a community think, systems write for
these groups, and a reward model says how far each person agrees with what they
wrote. All of it is kept as records of judged deliberations, and measured as
those of a study (`judged_experiments`). What is found is about models.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from consensus_jax.data import progress, questions, record_files
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.deliberation import Deliberation, Outcome
from consensus_jax.evaluation import judged_experiments, made, personas
from consensus_jax.evaluation.experiment_settings import (
  OTHER,
  check_names,
  writing,
)
from consensus_jax.evaluation.experiment_study import Section, best_of
from consensus_jax.evaluation.judged_experiments import Judgements
from consensus_jax.evaluation.latent import questions as latent_questions
from consensus_jax.evaluation.made import Choice, Files, Maker
from consensus_jax.evaluation.personas import Community
from consensus_jax.inference.sampler import Sampling
from consensus_jax.language_model import LanguageModel
from consensus_jax.settings import Policy, Settings
from consensus_jax.strict_json import InputError

NAMES = ('systems', 'topics')
RECORDS = 'records.jsonl'
OPINIONS = 'opinions.jsonl'


class Models(NamedTuple):
  """What takes part.

  Attributes:
    plays: people.
    makers: of statements, by system.
    rates: ranks as people would.
  """

  plays: LanguageModel
  makers: Mapping[str, Maker]
  rates: Maker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Personas:
  """What is to be found out, of whom.

  Attributes:
    community: where people live, a sentence or two.
    people: who lives there, a few words each.
    experiments: some of `NAMES`.
    systems: prompts that policies are asked with, or 'other'.
    num_groups: the questions in turns.
    size: of a group.
    best_of: of how many candidates each system's best is chosen; its first one
      takes part as well.
    utility: the map from rewards to utilities.
    max_tokens: the longest statement.
    temperature: of opinions.
    num_draws: of bootstrap and permutations.
    seed: of everything.
    model: of the prompted systems, and of the people; None is the embedded one.
    trained_policy: of the system 'sft'; None is the one that ships.
    other_model: of the system 'other', say a larger one.
    reward_model: that chooses; None is the one that ships.
    rater: that rates as the people; None is the one that ships.
    questions: of a question bank; None takes those of the simulated groups.

  Raises:
    InputError: naming the setting that is out of range.
  """

  community: str
  people: Sequence[str]
  experiments: Sequence[str] = NAMES
  systems: Sequence[str] = ('zero_shot', 'few_shot', 'sft')
  num_groups: int = 8
  size: int = 4
  best_of: int = 4
  utility: str = 'shift'
  max_tokens: int = 96
  temperature: float = 0.9
  num_draws: int = 10_000
  seed: int = 0
  model: str | None = None
  trained_policy: str | None = None
  other_model: str | None = None
  reward_model: str | None = None
  rater: str | None = None
  questions: str | None = None

  def __post_init__(self):
    check_names('experiments', self.experiments, NAMES)
    check_names('systems', self.systems, (*get_args(Policy), OTHER))
    for field in ('experiments', 'systems'):
      if not getattr(self, field):
        raise InputError('must hold at least one', field=(field,))
    if (OTHER in self.systems) != (self.other_model is not None):
      raise InputError(
        f'and the system {OTHER!r} go together', field=('other_model',)
      )
    for name, least in (
      *(('num_groups', 2), ('size', 2), ('best_of', 1)),
      *(('num_draws', 1), ('seed', 0)),
    ):
      if getattr(self, name) < least:
        raise InputError(
          f'must be {least} or more, got {getattr(self, name)}', field=(name,)
        )
    Community(description=self.community, people=tuple(self.people))
    self.writing(self.systems[0])

  def writing(self, system: str) -> Settings:
    """How a system writes."""
    return writing(
      system,
      num_candidates=self.best_of,
      max_tokens=self.max_tokens,
      utility=self.utility,
      seed=self.seed,
    )

  title = 'Experiments on people whom a model plays'

  @property
  def introduction(self) -> str:
    """What the numbers of the report are."""
    same = ''
    if self.rater == self.reward_model:
      same = (
        ' The model that rates is the one that chooses, so that the best of '
        'several must look better than the first: that says nothing.'
      )
    return (
      f'{self.num_groups} groups of people of a made-up community, whose '
      'opinions a language model wrote, and for whom a reward model rated: 1 '
      'to 7, six times the predicted probability of agreeing and one, rounded. '
      'Each number is a mean over groups, with a 95% interval of '
      f'{self.num_draws:,} draws of groups (seed {self.seed}) in brackets. It '
      f'is about models, and says nothing of people.{same}'
    )


def run(
  settings: Personas, models: Models, *, folder: pathlib.Path
) -> tuple[Section, ...]:
  """Lets people be played, systems write, and the reward model rate.

  Args:
    settings: what is to be found out.
    models: what takes part.
    folder: of opinions, outcomes and records; what was stopped goes on there.

  Raises:
    InputError: if there are too few questions or people, the folder holds
      something else, or nobody could be asked.
    ModelFileError: if a model computes no numbers.
  """
  outcomes = folder / 'outcomes'
  community = Community(
    description=settings.community, people=tuple(settings.people)
  )
  groups = personas.draw_groups(
    _questions(settings.questions),
    community,
    num_groups=settings.num_groups,
    size=settings.size,
    seed=settings.seed,
  )
  with progress.shown('opinions', 'groups') as told:
    asked = personas.write(
      models.plays,
      community,
      groups,
      path=outcomes / OPINIONS,
      sampling=Sampling(
        temperature=settings.temperature, top_p=0.95, top_k=None, min_p=0.1
      ),
      seed=settings.seed,
      progress=told,
    )
  tally = Tally()
  for group, each in zip(groups, asked, strict=True):
    if each is None:
      tally.add('group', 'has fewer than two opinions', group.id)
  deliberations = [each for each in asked if each is not None]
  if not deliberations:
    raise InputError('nobody wrote a readable opinion', field=('model',))
  files = Files(outcomes)
  texts = [
    _chosen(settings, system, of_system)
    for system in settings.systems
    for of_system in [
      made.write(
        deliberations,
        models.makers[system],
        settings.writing(system),
        files=files,
        name=system,
      )
    ]
  ]
  records = _rated(settings, models, deliberations, texts, files)
  path = folder / RECORDS
  record_files.write(path, records)
  sections = judged_experiments.run(
    Judgements(
      records=(str(path),),
      experiments=settings.experiments,
      num_draws=settings.num_draws,
      seed=settings.seed,
    )
  )
  first, *others = sections
  left_out = (*tally.exclusions(), *first.left_out)
  return (dataclasses.replace(first, left_out=left_out), *others)


def _questions(path: str | None) -> list[str]:
  if path is not None:
    return [each.text for each in questions.read(path)]
  return [each.question.text for each in latent_questions.read(None)]


def _chosen(
  settings: Personas, system: str, outcomes: Sequence[Outcome]
) -> dict[str, list[str | None]]:
  """Texts of a system's first candidate and of its best, one a group."""
  found: dict[str, list[str | None]] = {}
  for num in dict.fromkeys((1, settings.best_of)):
    choice = Choice(num=num, utility=settings.utility, seed=settings.seed)
    best = [made.winner(made.rewards(each), choice) for each in outcomes]
    found[best_of(system, num)] = [
      None if place is None else each.candidates[place].text
      for place, each in zip(best, outcomes, strict=True)
    ]
  return found


def _rated(
  settings: Personas,
  models: Models,
  deliberations: Sequence[Deliberation],
  texts: Sequence[Mapping[str, Sequence[str | None]]],
  files: Files,
) -> list[JudgedDeliberation]:
  """Records of what everybody thinks of what was written for them."""
  systems = {
    name: said for of_system in texts for name, said in of_system.items()
  }
  said = [
    {
      name: text
      for name, each in systems.items()
      if (text := each[i]) is not None
    }
    for i in range(len(deliberations))
  ]
  with_texts = [
    # A text of two systems is rated once.
    dataclasses.replace(each, candidates=tuple(dict.fromkeys(own.values())))
    for each, own in zip(deliberations, said, strict=True)
    if own
  ]
  ranked = made.rank(
    with_texts,
    models.rates,
    settings.writing(settings.systems[0]),
    files=files,
    name='ratings',
  )
  by_id = {outcome.id: outcome for outcome in ranked}
  return [
    _record(each, own, by_id[each.id])
    for each, own in zip(deliberations, said, strict=True)
    if own
  ]


def _record(
  asked: Deliberation, said: Mapping[str, str], ranked: Outcome
) -> JudgedDeliberation:
  places = {each.text: i for i, each in enumerate(ranked.candidates)}
  agreement = _agreement(made.rewards(ranked))
  rows = [places[text] for text in said.values()]
  return JudgedDeliberation(
    id=asked.id,
    source=personas.SOURCE,
    question=Question(text=asked.question, topic=asked.question),
    statements=tuple(
      Statement(text=text, id=name, author=name) for name, text in said.items()
    ),
    members=tuple(
      Member(
        participant=f'{asked.id}/{opinion.participant}',
        opinion=opinion.text,
        judged=tuple(range(len(rows))),
        agreement=tuple(agreement[row][place] for row in rows),
      )
      for place, opinion in enumerate(asked.opinions)
    ),
  )


def _agreement(rewards: np.ndarray) -> list[list[int | None]]:
  """Ratings of 1 to 7 from log-odds of agreeing, [candidates][members]."""
  return [
    [
      None if np.isnan(reward) else int(np.rint(1 + 6 * special.expit(reward)))
      for reward in row
    ]
    for row in rewards
  ]
