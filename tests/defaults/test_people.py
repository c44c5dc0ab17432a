"""Who is trained on and who is not: nobody on both sides."""

import pathlib

import pytest

from consensus_jax import train_defaults
from consensus_jax.defaults import people, policy, train
from consensus_jax.strict_json import InputError

DATA = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
POLIS = DATA / 'polis'
BANK = DATA / 'habermas' / 'questions.json'

real = pytest.mark.skipif(not POLIS.is_dir(), reason='needs the Polis data')


@real
@pytest.mark.slow
def test_a_person_is_in_one_split_however_described():
  splits = people.read(POLIS)
  assert {*splits} == {*people.FRACTIONS}
  names = {
    split: {
      member.participant
      for record in (*part.votes, *part.comments)
      for member in record.members
    }
    for split, part in splits.items()
  }
  total = sum(map(len, names.values()))
  assert len(set.union(*names.values())) == total > 3500
  for split, share in people.FRACTIONS.items():
    assert len(names[split]) / total == pytest.approx(share, abs=0.03)
  train_part = splits['train']
  a, b = (train_part.of(half) for half in (people.HALF_A, people.HALF_B))
  assert {r.group for r in a.votes} == {*people.HALF_A}
  assert {r.group for r in b.votes} == {*people.HALF_B}
  for record in train_part.votes:
    assert {m.opinion_provenance for m in record.members} == {'votes'}
  for record in train_part.comments:
    assert {m.opinion_provenance for m in record.members} == {'comments'}


@real
@pytest.mark.slow
def test_what_would_take_too_long_is_not_begun(tmp_path, capsys):
  arguments = [
    *('--polis', str(POLIS), '--bank', str(BANK), '--examples', 'x'),
    *('--out', str(tmp_path), '--cards', str(tmp_path / 'cards')),
    *('--only', 'half_b', '--max_hours', '0.01'),
  ]
  assert train_defaults.main(arguments) == 2
  shown = capsys.readouterr().err
  assert 'hours on two cores' in shown and 'more than 0.01' in shown
  assert not (tmp_path / 'runs').exists()


def test_missing_data_is_named(tmp_path, capsys):
  (tmp_path / 'brexit-consensus').mkdir()
  (tmp_path / 'brexit-consensus' / 'comments.csv').touch()
  with pytest.raises(InputError, match='lacks the conversations 15-per-hour'):
    people.read(tmp_path)
  with pytest.raises(InputError, match='holds no Polis conversation'):
    train.train_reward_models(tmp_path / 'none', BANK, tmp_path / 'out')
  arguments = [
    *('--polis', 'x', '--bank', 'y', '--examples', 'z', '--cards', 'c'),
    *('--out', str(tmp_path / 'o'), '--only', 'half_c'),
  ]
  assert train_defaults.main(arguments) == 2
  assert "no part ['half_c']" in capsys.readouterr().err


@pytest.fixture
def whole(tmp_path, monkeypatch):
  """Arguments for everything, and what was trained of it: nothing."""
  begun = []
  for name in ('train_reward_models', 'train_policy'):
    module = train if hasattr(train, name) else policy
    monkeypatch.setattr(module, name, lambda *_, n=name, **__: begun.append(n))
  monkeypatch.setattr(train, 'hours_left', lambda *_, **__: 3.0)
  monkeypatch.setattr(policy, 'hours_left', lambda *_, **__: 1.5)
  monkeypatch.setattr(people, 'read', lambda _: {})
  for name in ('bank', 'examples'):
    (tmp_path / f'{name}.json').write_text('[]')
  arguments = {
    'polis': 'x',
    'bank': str(tmp_path / 'bank.json'),
    'examples': str(tmp_path / 'examples.json'),
    'out': str(tmp_path / 'o'),
    'cards': 'c',
  }
  return arguments, begun


def run(arguments):
  return train_defaults.main(
    [part for name, value in arguments.items() for part in (f'--{name}', value)]
  )


@pytest.mark.parametrize('name', ['bank', 'examples', 'readings'])
def test_what_is_read_hours_later_is_missed_at_once(name, whole, capsys):
  arguments, begun = whole
  assert run(arguments | {name: 'nowhere.json'}) == 2
  assert 'nowhere.json' in capsys.readouterr().err
  assert not begun


def test_hours_of_all_training_are_counted_before_any(whole, capsys):
  arguments, begun = whole
  assert run(arguments | {'max_hours': '4'}) == 2
  told = capsys.readouterr().err
  assert 'reward models: about 3.0 hours' in told
  assert 'policy: about 1.5 hours' in told
  assert 'about 4.5 hours, more than 4.0' in told
  assert not begun


def test_it_is_said_that_half_of_a_mean_does_not_ship(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(train, 'train_reward_models', lambda *_, **__: {})
  monkeypatch.setattr(train, 'hours_left', lambda *_, **__: 0.0)
  arguments = [
    *('--polis', 'x', '--bank', 'y', '--examples', 'z', '--cards', 'c'),
    *('--out', str(tmp_path / 'o'), '--only', 'half_a'),
    *('--ship', str(tmp_path / 'weights')),
  ]
  assert train_defaults.main(arguments) == 0
  told = capsys.readouterr().err
  assert 'no reward model ships yet' in told and 'statements_a' in told
  assert not (tmp_path / 'weights').exists()
