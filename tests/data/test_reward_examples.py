import dataclasses
import itertools

import pytest
import tiny_judged
import tiny_models
from hypothesis import given
from hypothesis import strategies as st

from consensus_jax import language_model, mediator, prompts
from consensus_jax.data import reward_examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.data.records import (
  JudgedDeliberation,
  Member,
  Question,
  Statement,
)
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.settings import Settings
from consensus_jax.strict_json import InputError

PAIRS = ExampleSettings(
  sources=('none',), task='consensus_reward_pairs', row_length=2048
)
LISTS = dataclasses.replace(PAIRS, task='consensus_reward_listwise')
ORDINAL = dataclasses.replace(PAIRS, task='consensus_reward_ordinal')


def tokenizer(name='tiny_llama'):
  return tiny_models.load(name).tokenizer


def encode(records, settings, name='tiny_llama'):
  excluded = Tally()
  examples = list(
    reward_examples.encode(records, tokenizer(name), settings, excluded)
  )
  reasons = {(e.kind, e.reason): e.count for e in excluded.exclusions()}
  return examples, reasons


def deliberation(levels, *, judgement='agreement', rounds=None, **member):
  """One member, who judged statements named by letters."""
  count = len(levels)
  return JudgedDeliberation(
    id='d',
    source='study',
    question=Question(text='Why?', id='why'),
    statements=tuple(
      Statement(id=str(i), text=chr(65 + i), round=rounds[i] if rounds else 0)
      for i in range(count)
    ),
    members=(
      Member(
        **{
          'participant': 'p',
          'opinion': 'Because.',
          'judged': tuple(range(count)),
          judgement: tuple(levels),
        }
        | member
      ),
    ),
  )


def letters(example):
  """Which statements an example holds: inverse of `deliberation`."""
  decode = tokenizer().decode
  # What is read ends as a sentence.
  return [ord(decode(ids).strip(' .')) - 65 for ids in example.statements]


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_qwen2', 'smollm2'])
@pytest.mark.parametrize('settings', [PAIRS, LISTS, ORDINAL])
def test_examples_are_what_the_scorer_reads(monkeypatch, name, settings):
  """Token for token, by what the mediator hands to the scorer."""
  model = tiny_models.load(name)
  config = dataclasses.replace(model.config, reward_head=True, max_length=4096)
  params = {**tiny_models.unstacked(name), 'reward_head': None}
  scoring = language_model.LanguageModel(
    config, params, model.tokenizer, name, '', 'float32'
  )
  handed = {}

  def score(params, config, head, prefixes, continuations, *, progress):
    handed['prefixes'], handed['continuations'] = prefixes, continuations
    raise InputError('enough')

  monkeypatch.setattr(mediator, 'score', score)
  record = tiny_judged.record(3)
  with pytest.raises(InputError, match='enough'):
    mediator.Mediator(scoring, scoring).rank(
      Deliberation(
        'd',
        record.question.text,
        tuple(Opinion(m.participant, m.opinion) for m in record.members),
        tuple(s.text for s in record.statements),
      ),
      Settings(),
    )
  prefixes = dict(
    zip([m.participant for m in record.members], handed['prefixes'])
  )
  continuations = set(map(tuple, handed['continuations']))
  examples, _ = encode([record], settings, name)
  assert {e.participant for e in examples} == set(prefixes)
  seen = set()
  for example in examples:
    assert example.prefix == tuple(prefixes[example.participant])
    seen |= set(example.statements)
  assert seen == continuations


@given(
  st.lists(st.sampled_from([None, 1, 2, 7]), min_size=1, max_size=9),
  st.integers(1, 30),
  st.sampled_from(['drop', 'soft']),
)
def test_pairs_are_those_that_differ(levels, most, ties):
  settings = dataclasses.replace(PAIRS, max_pairs=most, ties=ties)
  examples, _ = encode([deliberation(levels)], settings)
  told = [i for i, level in enumerate(levels) if level is not None]
  expected = {
    (a, b)
    for a, b in itertools.combinations(told, 2)
    if ties == 'soft' or levels[a] != levels[b]
  }
  pairs = {tuple(sorted(letters(example))) for example in examples}
  assert len(pairs) == len(examples) == min(most, len(expected))
  assert pairs <= expected
  for example in examples:
    assert list(example.levels) == [levels[i] for i in letters(example)]
    assert example.weight == pytest.approx(1 / len(examples))
    assert (example.participant, example.question) == ('p', 'why')


def test_every_pair_is_alike_likely():
  settings = dataclasses.replace(PAIRS, max_pairs=1)
  counts = {}
  for seed in range(600):
    chosen = dataclasses.replace(settings, seed=seed)
    (example,), _ = encode([deliberation([1, 2, 2, 3])], chosen)
    pair = tuple(sorted(letters(example)))
    counts[pair] = counts.get(pair, 0) + 1
  assert len(counts) == 5
  assert all(80 < count < 160 for count in counts.values())


@given(
  st.lists(st.integers(1, 7), min_size=1, max_size=14),
  st.integers(2, 5),
  st.integers(0, 99),
)
def test_lists_hold_every_statement_once(levels, size, seed):
  settings = dataclasses.replace(ORDINAL, statements_per_row=size, seed=seed)
  examples, _ = encode([deliberation(levels)], settings)
  assert sorted(itertools.chain(*map(letters, examples))) == list(
    range(len(levels))
  )
  lengths = [len(example.statements) for example in examples]
  assert max(lengths) <= size and max(lengths) - min(lengths) <= 1
  assert len(examples) == -(-len(levels) // size)
  for example in examples:
    assert list(example.levels) == [levels[i] for i in letters(example)]
  # As many rows as can be hold statements that were not judged alike.
  common = max(levels.count(level) for level in levels)
  possible = min(len(levels) - common, len(levels) // 2)
  mixed = sum(len(set(e.levels)) > 1 for e in examples)
  long_enough = sum(length > 1 for length in lengths)
  assert mixed >= min(possible, long_enough, len(examples)) // 2
  if len(levels) - common >= len(examples) <= common and min(lengths) > 1:
    assert mixed == len(examples)
  ranked, reasons = encode(
    [deliberation(levels)], dataclasses.replace(settings, task=LISTS.task)
  )
  assert len(ranked) == mixed
  assert bool(reasons) == (not mixed)


def test_ranks_compare_only_within_a_round():
  record = deliberation([0, 1, 0, 1], judgement='ranking', rounds=[0, 0, 1, 1])
  settings = dataclasses.replace(PAIRS, judgement='ranking')
  examples, _ = encode([record], settings)
  assert sorted(sorted(letters(e)) for e in examples) == [[0, 1], [2, 3]]
  for example in examples:
    # Higher is better, and rank 0 is the best.
    by_letter = dict(zip(letters(example), example.levels))
    low, high = sorted(by_letter)
    assert (by_letter[low], by_letter[high]) == (0, -1)
  lists, _ = encode([record], dataclasses.replace(LISTS, judgement='ranking'))
  assert sorted(sorted(letters(e)) for e in lists) == [[0, 1], [2, 3]]
  with pytest.raises(InputError, match='a rank is no rating'):
    dataclasses.replace(ORDINAL, judgement='ranking')


def test_a_member_weighs_one_however_much_was_judged():
  records = tiny_judged.records(4, statements=9)
  for settings in (PAIRS, LISTS, ORDINAL):
    examples, _ = encode(records, settings)
    weights = {}
    for example in examples:
      before = weights.get(example.participant, 0)
      weights[example.participant] = before + example.weight
    assert weights
    assert all(w == pytest.approx(1) for w in weights.values())


def test_what_is_left_out_is_counted():
  for change, kind, reason in (
    ({'opinion': ''}, 'member', 'wrote no opinion'),
    ({'opinion_provenance': 'votes'}, 'member', "of the kind 'votes'"),
    ({'agreement': ()}, 'member', 'no judgement: agreement'),
    ({'agreement': (4, 4, 4)}, 'member', 'all alike'),
    ({'agreement': (4, None, None)}, 'member', 'fewer than two'),
  ):
    record = deliberation([1, 2, 3], **change)
    settings = dataclasses.replace(PAIRS, opinions=('written', 'comments'))
    examples, reasons = encode([record], settings)
    assert not examples
    (((found_kind, found), count),) = reasons.items()
    assert (found_kind, count) == (kind, 1) and reason in found
  # A person's own words, quoted in the opinion, predict their own judgement.
  record = deliberation([1, 2, 3])
  own = dataclasses.replace(record.statements[1], author='p')
  statements = (record.statements[0], own, record.statements[2])
  record = dataclasses.replace(record, statements=statements)
  examples, reasons = encode([record], PAIRS)
  assert [sorted(letters(e)) for e in examples] == [[0, 2]]
  assert reasons == {('judgement', "of the member's own statement"): 1}


@pytest.mark.parametrize('long_examples', ['truncate', 'exclude'])
def test_a_long_opinion_is_cut_or_left_out(long_examples):
  settings = dataclasses.replace(
    PAIRS, row_length=64, long_examples=long_examples
  )
  record = deliberation([1, 2], opinion='word ' * 100)
  examples, reasons = encode([record], settings)
  (((kind, reason), count),) = reasons.items()
  assert count == 1 and '64 tokens' in reason
  if long_examples == 'exclude':
    assert not examples and kind == 'row'
    return
  (example,) = examples
  assert kind == 'end of an opinion'
  assert 55 < len(example.prefix) + sum(map(len, example.statements)) <= 64
  whole = prompts.reward_prefix('Why?', 'word ' * 100)
  cut = tokenizer().decode(example.prefix)
  assert cut.endswith('\n\nConsensus:')
  assert whole.startswith(cut.removesuffix('\n\nConsensus:').rstrip())


def test_long_statements_are_left_out_rather_than_the_opinion():
  settings = dataclasses.replace(PAIRS, row_length=96)
  record = deliberation([1, 2, 3])
  long = dataclasses.replace(record.statements[2], text='long ' * 60)
  record = dataclasses.replace(
    record, statements=(*record.statements[:2], long)
  )
  examples, reasons = encode([record], settings)
  assert [letters(e) for e in examples] == [[0, 1]]
  assert examples[0].weight == 1
  assert 'Because.' in tokenizer().decode(examples[0].prefix)
  assert reasons == {('row', 'longer than 96 tokens'): 2}


def test_choices_do_not_depend_on_what_else_is_there():
  records = tiny_judged.records(3, statements=12)
  for settings in (PAIRS, LISTS):
    alone = [encode([record], settings)[0] for record in records]
    together, _ = encode(records, settings)
    assert together == list(itertools.chain(*alone))
    other, _ = encode(records, dataclasses.replace(settings, seed=1))
    assert other != together
