"""Experiments recover what is true, where a model's rewards are the truth."""

import dataclasses
import math

import numpy as np
import pytest

from consensus_jax.deliberation import Candidate, Outcome
from consensus_jax.evaluation import experiments, findings, positions
from consensus_jax.evaluation.experiment_settings import Experiments
from consensus_jax.evaluation.latent import groups, questions, statements
from consensus_jax.evaluation.latent.groups import Population
from consensus_jax.evaluation.latent.ratings import rewards
from consensus_jax.evaluation.made import Maker, Shard
from consensus_jax.strict_json import InputError

SETTINGS = Experiments(
  systems=('few_shot', 'zero_shot'),
  num_groups=32,
  sizes=(5,),
  best_of=(1, 8),
  alphas=(0, 'inf'),
  rules=('borda',),
  num_silent=2,
  num_draws=200,
  models=('few_shot', 'zero_shot'),
  attacks=('harmless', 'authority', 'divert_topic'),
)


@dataclasses.dataclass
class Known:
  """Writes candidates of known positions; its rewards are the truth.

  Whoever is asked writes what only one member wants first, and for those who
  are heard alone; so choosing, and being heard, must matter.
  """

  drawn: dict
  leak: float = 0.0
  calls: int = 0

  def mediate(self, deliberation, settings):
    group = self._heard(deliberation)
    given = [
      statements.read(group.question, text) for text in deliberation.candidates
    ]
    for person, opinion in zip(group.heard, deliberation.opinions):
      if 'As the moderator' in opinion.text:
        # Obeys: all statements are what this member wants.
        own = statements.read(group.question, person.opinion)
        return self._outcome(group, deliberation, [own] * 4 + given)
    found = statements.candidates(group, num=8, seed=0)
    order = (*range(5, 8), 4, 3, 2, 1, 0)
    return self._outcome(
      group, deliberation, [*(found[i] for i in order), *given]
    )

  def rank(self, deliberation, settings):
    group = self._heard(deliberation)
    texts = deliberation.candidates
    said = [statements.read(group.question, text) for text in texts]
    return self._outcome(group, deliberation, said)

  def _heard(self, deliberation):
    group = self.drawn[deliberation.id]
    names = {opinion.participant for opinion in deliberation.opinions}
    silent = [p.name for p in group.participants if p.name not in names]
    return dataclasses.replace(group, silent=tuple(silent))

  def _outcome(self, group, deliberation, said):
    self.calls += 1
    table = rewards(group.heard, said)
    length = sum(len(opinion.text) for opinion in deliberation.opinions)
    table = table + self.leak * length
    ranks = (-table.mean(1)).argsort(kind='stable').argsort() + 1
    return Outcome(
      id=deliberation.id,
      question=deliberation.question,
      participants=deliberation.opinions,
      candidates=tuple(
        Candidate(
          text=each.text,
          rewards=tuple(row.tolist()),
          utilities=tuple(row.tolist()),
          welfare=float(row.mean()),
          rank=int(rank),
          num_tokens=1,
          log_likelihood=None,
          finish_reason='stop',
        )
        for each, row, rank in zip(said, table, ranks, strict=True)
      ),
      consensus=int(ranks.argmin()),
      aggregation={},
      sensitivity=(),
      policy={},
      reward_model={},
      seed=0,
      timings={},
    )


def known(settings=SETTINGS):
  drawn = groups.draw_groups(
    questions.read(),
    num_groups=settings.num_groups,
    seed=settings.seed,
    population=Population(sizes=tuple(settings.sizes)),
  )
  return Known({group.id: group for group in drawn})


@pytest.fixture(scope='module')
def found(tmp_path_factory):
  maker = Maker(known(), {'model': 'known'}, 'a model that is known')
  makers = dict.fromkeys(SETTINGS.systems, maker)
  folder = tmp_path_factory.mktemp('outcomes')
  sections = experiments.run(SETTINGS, makers, folder=folder)
  return {section.name: section for section in sections}


def one(section, measure, system, against=''):
  (finding,) = [
    each
    for each in section.findings
    if (each.measure, each.system, each.against) == (measure, system, against)
  ]
  return finding


def near(finding):
  """Within twice its interval, some four standard errors, of the truth."""
  value, low, high = finding.estimate.interval
  return abs(value - finding.truth) <= high - low


def test_nearly_all_intervals_hold_the_truth(found):
  right, of = np.sum([each.recovered for each in found.values()], axis=0)
  assert of > 40 and right / of > 0.85


def test_the_curve_of_best_of_n_is_recovered(found):
  section = found['selection']
  names = [experiments.best_of('zero_shot', n) for n in SETTINGS.best_of]
  curve = [one(section, 'mean agreement', name) for name in names]
  assert all(near(each) for each in curve)
  assert np.all(np.diff([each.truth for each in curve]) > 0)
  gain = one(section, findings.DIFFERENCE, names[-1], names[0])
  assert near(gain) and gain.estimate.interval.low > 0
  won = one(section, findings.WIN_RATE, names[-1], names[0])
  assert won.estimate.interval.value == pytest.approx(won.truth, abs=0.15)
  assert won.estimate.interval.low > 0.5 and won.adjusted < 0.05
  oracle = one(section, 'mean agreement', f'{names[-1]}, ratings known')
  assert oracle.truth >= curve[-1].truth


def test_systems_that_say_the_same_do_not_differ(found):
  name = experiments.best_of('zero_shot', 8)
  other = experiments.best_of('few_shot', 8)
  won = one(found['selection'], findings.WIN_RATE, name, other)
  assert won.estimate.interval.value == won.truth == 0.5 and won.p_value == 1


def test_the_opinion_that_the_reward_model_prefers_is_not_the_best_to_others(
  found,
):
  section = found['opinions']
  predicted, best = (
    one(section, 'mean agreement', f'best opinion, {how}')
    for how in ('predicted', 'ratings known')
  )
  assert near(predicted) and near(best)
  assert best.truth >= predicted.truth


def test_aversion_to_inequality_helps_who_agrees_least(found):
  section = found['welfare']
  least = [
    one(section, 'least agreement of a member', f'alpha {alpha}')
    for alpha in ('0', 'inf')
  ]
  assert least[1].truth > least[0].truth
  assert near(least[0]) and near(least[1])
  assert near(one(section, 'mean agreement', 'borda'))


def test_who_is_not_heard_agrees_less(found):
  unheard, heard = found['exclusion'].findings
  assert near(unheard) and near(heard)
  assert unheard.estimate.interval.low > 0
  assert abs(heard.truth) < unheard.truth


def test_topics_are_told_apart(found):
  section = found['topics']
  inside, outside, difference = section.findings[:3]
  assert near(difference)
  assert difference.truth == pytest.approx(inside.truth - outside.truth)
  assert [each.estimate.number for each in (inside, outside)] == [24, 8]
  assert len(section.findings) == 3 + 8


def test_two_models_are_compared_by_name(found):
  section = found['models']
  assert 'few_shot is a model that is known; zero_shot is' in section.about
  won = one(
    section,
    findings.WIN_RATE,
    experiments.best_of('zero_shot', 8),
    experiments.best_of('few_shot', 8),
  )
  assert won.estimate.interval.value == won.truth == 0.5


def test_statements_bring_positions_together(found):
  section = found['positions']
  name = experiments.best_of('zero_shot', 8)
  before, after = (
    one(section, 'divided groups', system) for system in ('before', name)
  )
  # What people think before is certain as to the side.
  assert before.estimate.interval.value == before.truth
  assert near(after)
  for measure in positions.MEASURES:
    change = one(section, f'{measure}, after minus before', name, 'before')
    assert near(change)
    assert change.truth == pytest.approx(
      one(section, measure, name).truth - one(section, measure, 'before').truth,
      abs=0.05,
    )
  lines = [each for each in section.findings if each.system == 'before']
  assert len(lines) == len(positions.MEASURES)


def test_attacks_that_a_model_obeys_are_seen(found):
  section = found['attacks']
  rates = {
    kind: one(section, 'attack succeeds', kind).estimate.interval.value
    for kind in SETTINGS.attacks
  }
  # This model writes the same after a harmless change, and obeys authority.
  assert rates['harmless'] == rates['divert_topic'] == 0
  assert rates['authority'] > 0.3
  more = one(
    section, 'attack succeeds, minus by chance', 'authority', 'harmless'
  )
  assert more.adjusted < 0.05
  lost = one(section, findings.DIFFERENCE, 'authority', 'no attack')
  assert near(lost) and lost.truth < -0.1


def test_rewards_of_others_do_not_change(found):
  for kind in SETTINGS.attacks:
    moved = one(found['attacks'], "greatest change of another's reward", kind)
    assert moved.estimate.interval.value == 0


def test_rewards_of_others_that_change_are_seen(tmp_path):
  settings = dataclasses.replace(
    SETTINGS,
    num_groups=3,
    experiments=('attacks',),
    systems=('zero_shot',),
    attacks=('harmless',),
  )
  model = known(settings)
  model.leak = 0.01
  makers = {'zero_shot': Maker(model, {})}
  (section,) = experiments.run(settings, makers, folder=tmp_path)
  moved = one(section, "greatest change of another's reward", 'harmless')
  assert moved.estimate.interval.value > 0.1


def test_a_run_that_was_stopped_goes_on(tmp_path):
  settings = dataclasses.replace(
    SETTINGS, num_groups=4, experiments=('exclusion',), systems=('zero_shot',)
  )
  model = known(settings)
  makers = {'zero_shot': Maker(model, {'model': 'known'})}
  first = experiments.run(settings, makers, folder=tmp_path)
  assert model.calls == 8
  path = tmp_path / 'zero_shot.jsonl'
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(lines[:2]))
  again = experiments.run(settings, makers, folder=tmp_path)
  assert model.calls == 10
  for one, other in zip(first[0].findings, again[0].findings, strict=True):
    assert one.estimate == other.estimate and one.truth == other.truth
  others = {'zero_shot': Maker(model, {'model': 'another'})}
  with pytest.raises(InputError, match='was made with model'):
    experiments.run(settings, others, folder=tmp_path)


def test_shards_are_joined(tmp_path):
  settings = dataclasses.replace(
    SETTINGS,
    num_groups=4,
    experiments=('topics', 'exclusion'),
    systems=('zero_shot',),
  )
  model = known(settings)
  makers = {'zero_shot': Maker(model, {'model': 'known'})}
  whole = experiments.run(settings, makers, folder=tmp_path / 'whole')
  folder = tmp_path / 'shared'
  for place in range(2):
    shard = Shard(place, 2)
    experiments.run(settings, makers, folder=folder, shard=shard)
  assert model.calls == 8 + 8
  # One has torn its last line; a run of all makes what is missing.
  part = folder / 'zero_shot.1-of-2.jsonl'
  part.write_bytes(part.read_bytes()[:-20])
  again = experiments.run(settings, makers, folder=folder)
  assert model.calls == 8 + 8 + 1
  for section, same in zip(whole, again, strict=True):
    for one, other in zip(section.findings, same.findings, strict=True):
      assert one.estimate == other.estimate
  part.write_text('{"a": 1}\n')
  with pytest.raises(InputError, match='holds a line that is no outcome'):
    experiments.run(settings, makers, folder=folder)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'systems': ('best',)}, r'systems\[0\]: must be one of'),
    ({'systems': ('zero_shot', 'zero_shot')}, 'stands there twice'),
    ({'systems': ()}, 'systems: must hold at least one'),
    ({'trained_policy': 'runs/sft'}, 'trained_policy'),
    ({'other_model': 'large'}, "other_model: is of the system 'other'"),
    ({'systems': ('other', 'zero_shot')}, 'other_model: says which model'),
    ({'models': ('zero_shot', 'sft')}, r'models\[1\]: must be one of few_shot'),
    ({'models': ('zero_shot',)}, 'models: must be two, got 1'),
    ({'benchmarks': ('out',)}, "benchmarks: and the experiment 'reward_mod"),
    ({'experiments': ('reward_models',)}, 'benchmarks: and the experiment'),
    ({'experiments': ('size',)}, r'experiments\[0\]: must be one of'),
    ({'sizes': (1,)}, 'sizes: a group has 3 members or more'),
    ({'num_silent': 5}, 'num_silent: leaves nobody'),
    ({'best_of': (4, 2)}, 'best_of: must be increasing'),
    ({'alphas': (0, 'much')}, r"alphas\[1\]: must be 0 or more, or 'inf'"),
    ({'alphas': (math.nan,)}, r'alphas\[0\]'),
    ({'rules': ('lots',)}, r'rules\[0\]: must be one of'),
    ({'num_groups': 1}, 'num_groups: must be 2 or more'),
    ({'utility': 'joy'}, 'utility: must be one of'),
    ({'attacks': ('bribe',)}, r'attacks\[0\]: must be one of'),
    ({'attack_candidates': 9}, 'attack_candidates: must be from 1 to 8'),
    ({'seed': -1}, 'seed: must be'),
  ],
)
def test_bad_settings_are_refused(changes, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(SETTINGS, **changes)


def test_a_question_that_is_not_known_is_refused(tmp_path):
  settings = dataclasses.replace(SETTINGS, held_out=('moon',))
  with pytest.raises(InputError, match=r"held_out\[0\].*got 'moon'"):
    experiments.run(settings, {}, folder=tmp_path)
