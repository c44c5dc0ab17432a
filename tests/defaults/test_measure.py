"""Whom a default model is measured on, and that numbers are its own."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
import tiny_cases
import tiny_models

from consensus_jax import language_model
from consensus_jax.defaults import measure, vote_rows
from consensus_jax.defaults import measured_people as whom
from consensus_jax.defaults.people import HALF_A, HALF_B, People
from consensus_jax.evaluation import baselines, kept, predict, report, systems
from consensus_jax.interop import adapters, pretrained
from consensus_jax.language_model import LanguageModel
from consensus_jax.model import lora
from consensus_jax.model.lora import LoraConfig
from consensus_jax.strict_json import InputError

LORA = LoraConfig(rank=2, alpha=4.0)
SIZES = whom.Sizes(
  people=6,
  writers=3,
  known=3,
  statements=4,
  rater=2,
  train=3,
  groups=3,
  robust=2,
  robust_statements=2,
  draws=20,
)


def record(name, split, form, people=9):
  """A conversation of people who are in no other split."""
  found = tiny_cases.conversation(len(split), people, 50, name)
  own = f'{name}/{split}'
  members = tuple(
    dataclasses.replace(m, participant=f'{own}/{m.participant}')
    for m in found.members
  )
  return dataclasses.replace(
    found,
    id=name if form == 'votes' else f'{name}/comments',
    group=name,
    members=members,
  )


@pytest.fixture(scope='module')
def splits():
  names = (*HALF_A[:2], *HALF_B[:2])
  return {
    split: People(
      votes=tuple(record(name, split, 'votes') for name in names),
      # Nobody wrote in one of them, as it happens.
      comments=tuple(record(name, split, 'comments', 4) for name in names[:3]),
    )
    for split in ('train', 'validation', 'iid_test')
  }


@pytest.fixture
def base(monkeypatch):
  """A tiny model in the place of the embedded one."""

  def load(path=None, *, dtype='float32'):
    del path
    found = pretrained.load_pretrained(
      tiny_models.GOLDEN / 'tiny_llama', dtype='float32'
    )
    config = dataclasses.replace(found.config, max_length=1024)
    return dataclasses.replace(found, config=config)

  monkeypatch.setattr(language_model, 'load_pretrained', load)
  return load()


def save_run(folder, base, seed):
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(
    lambda: lora.init(base.config, LORA, jax.random.key(0))
  )
  params = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape), shapes)
  head = rng.standard_normal(base.config.embed_dim)
  path = folder / 'runs' / seed_names()[seed] / 'adapters'
  adapters.save_adapters(
    path,
    base.config,
    adapters.Adapters(
      base_sha256=base.sha256, lora=LORA, params=params, reward_head=head
    ),
  )
  return path


def seed_names():
  return [whom.SHIPS, whom.OF_STATEMENTS, whom.OF_SYNTHETIC, whom.OF_REAL]


@pytest.fixture
def runs(tmp_path, base):
  for seed in range(4):
    save_run(tmp_path, base, seed)
  (tmp_path / 'runs' / 'stopped' / 'adapters').mkdir(parents=True)
  found = measure.trained(tmp_path)
  assert {*found} == {*seed_names()}
  return found


def test_all_sections_and_where_their_numbers_come_from(
  splits, runs, tmp_path, monkeypatch, capsys
):
  calls = []
  compute = predict.rewards

  def spy(model, cases, **kwargs):
    calls.append([(model.adapters, c.opinion, c.statements) for c in cases])
    return compute(model, cases, **kwargs)

  monkeypatch.setattr(predict, 'rewards', spy)
  # Which penalty is best is tested elsewhere.
  once = functools.partial(baselines.fit, penalties=(1.0,))
  monkeypatch.setattr(systems.rules, 'fit', once)
  found = measure.measure(splits, runs, tmp_path / 'cache', sizes=SIZES)
  assert [*found.sections] == [*whom.SECTIONS]
  told = capsys.readouterr().err
  assert f'{whom.SHIPS}: ' in told and ' tokens' in told
  assert 'minutes on two cores' in told
  # Nothing is asked twice.
  asked = [
    (who, opinion, text)
    for call in calls
    for who, opinion, texts in call
    for text in texts
  ]
  assert len({*asked}) == len(asked)

  new, said = found.predictions[whom.NEW_BY_VOTES]
  assert {case.conversation for case in new} == {*HALF_B[:2]}
  systems_there = [
    *(whom.MODEL, systems.of_nobody(whom.MODEL), whom.STATEMENTS),
    systems.of_another(whom.MODEL),
  ]
  assert [*said] == [*systems_there, *systems.BASELINES]
  ours = LanguageModel.load(runs[whom.SHIPS])
  alone = LanguageModel.load(runs[whom.OF_STATEMENTS])
  variants = systems.of_model(whom.MODEL, ours, row_length=576)
  for name, expected in (
    *((name, each(new)) for name, each in variants.items()),
    (whom.STATEMENTS, systems.of_model('s', alone)['s, no opinion'](new)),
  ):
    for one, two in zip(said[name], expected, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
  silent = [np.isnan(each).all() for each in said[systems.PROMPTED_RATER]]
  assert silent.count(False) == 2 * SIZES.rater

  by_comments, said = found.predictions[whom.NEW_BY_COMMENTS]
  assert {case.group for case in by_comments} == {HALF_B[0]}
  assert systems.PROMPTED_RATER not in said
  known, _ = found.predictions[whom.NEW_PEOPLE]
  assert {case.conversation for case in known} == {*HALF_A[:2]}
  assert all('/iid_test/' in case.participant for case in known)
  judged, said = found.predictions[whom.SYNTHETIC_VOTES]
  assert judged == known and [*said] == [whom.SYNTHETIC, whom.REAL]

  pairs = [
    (each.first, each.second)
    for each in found.sections[whom.NEW_BY_VOTES].differences
  ]
  assert pairs == [
    (whom.MODEL, other)
    for other in (
      systems.LOGISTIC,
      systems.POPULARITY,
      systems.of_another(whom.MODEL),
      systems.of_nobody(whom.MODEL),
      whom.STATEMENTS,
    )
  ]
  welfare = found.sections[whom.WELFARE]
  assert welfare.all_groups == 6
  assert found.sections[whom.ROBUSTNESS].cases == 4
  document = report.document(found.sections, about=found.about)
  assert json.loads(json.dumps(document)) == document
  assert report.markdown(document).count('## ') == len(whom.SECTIONS)


def test_kept_answers_are_those_of_the_same_weights(
  splits, runs, tmp_path, base, monkeypatch
):
  some = {name: runs[name] for name in (whom.OF_SYNTHETIC, whom.OF_REAL)}
  cache = tmp_path / 'cache'

  def measured():
    found = measure.measure(splits, some, cache, sizes=SIZES)
    assert [*found.sections] == [whom.SYNTHETIC_VOTES]
    return found.predictions[whom.SYNTHETIC_VOTES][1]

  first = measured()
  loaded = []
  load = LanguageModel.load
  monkeypatch.setattr(
    LanguageModel, 'load', lambda path: loaded.append(path) or load(path)
  )
  again = measured()
  assert loaded == [None]
  for name, values in first.items():
    np.testing.assert_array_equal(
      np.concatenate(values), np.concatenate(again[name])
    )
  # Trained anew: what the old one said is not taken.
  some[whom.OF_REAL] = save_run(tmp_path / 'anew', base, 1)
  new = measured()
  assert loaded[1:] == [None, some[whom.OF_REAL]]
  for one, two in zip(first[whom.SYNTHETIC], new[whom.SYNTHETIC]):
    np.testing.assert_array_equal(one, two)
  assert not np.allclose(first[whom.REAL][0], new[whom.REAL][0])


def test_what_there_are_no_runs_for_is_left_out(splits):
  of_shipped = whom.plan(splits, [whom.SHIPS], SIZES, 0)
  assert whom.SYNTHETIC_VOTES not in of_shipped.parts
  asked = of_shipped.parts[whom.NEW_BY_VOTES].asked
  assert whom.STATEMENTS not in asked
  assert {*of_shipped.asked()} == {whom.SHIPS, whom.RATER}


def test_people_with_few_votes_are_not_described_by_them(splits):
  few = {
    split: dataclasses.replace(
      part,
      votes=tuple(
        dataclasses.replace(
          r,
          members=tuple(
            dataclasses.replace(m, judged=m.judged[:7], votes=m.votes[:7])
            for m in r.members
          ),
        )
        for r in part.votes
      ),
    )
    for split, part in splits.items()
  }
  plan = whom.plan(few, [whom.SHIPS], SIZES, 0)
  assert [*plan.parts] == [whom.NEW_BY_COMMENTS]
  assert not plan.groups and not plan.moved
  assert vote_rows.MIN_JUDGED == 8


def test_everyone_is_there_once(splits):
  found = whom.everyone(splits)
  names = [m.participant for r in found.votes for m in r.members]
  assert len({*names}) == len(names) == 4 * 3 * 9
  assert [r.id for r in found.votes] == [*HALF_A[:2], *HALF_B[:2]]


@pytest.mark.parametrize(
  ('runs', 'sizes', 'message'),
  [
    ([], SIZES, f'needs {whom.SHIPS}, or synthetic_b and half_b'),
    ([whom.OF_REAL], SIZES, r"there are \['half_b'\]"),
    ([whom.SHIPS], dataclasses.replace(SIZES, groups=0), 'groups: must be 1'),
  ],
)
def test_what_cannot_be_measured_is_told(splits, runs, sizes, message):
  paths = dict.fromkeys(runs, pathlib.Path('nowhere'))
  with pytest.raises(InputError, match=message):
    measure.measure(splits, paths, 'nowhere', sizes=sizes)


def test_a_damaged_file_is_told(tmp_path):
  path = tmp_path / 'new' / 'a.npz'
  kept.Answers.open(path).keep({'x': np.ones(2)})
  assert kept.Answers.open(path).values['x'].tolist() == [1, 1]
  path.write_bytes(path.read_bytes()[:-30])
  with pytest.raises(InputError, match='delete it'):
    kept.Answers.open(path)
