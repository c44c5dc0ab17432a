import dataclasses
import subprocess
import sys

import pytest
import tiny_judged
import tiny_models

from consensus_jax import prompts
from consensus_jax.data import sft_examples
from consensus_jax.data.example_settings import ExampleSettings
from consensus_jax.data.exclusions import Tally
from consensus_jax.deliberation import Deliberation, Opinion
from consensus_jax.interop.errors import ModelFileError
from consensus_jax.strict_json import InputError

ALL = ExampleSettings(
  sources=('none',), task='consensus_sft', min_quality=None, row_length=4096
)


def tokenizer(name='tiny_llama'):
  return tiny_models.load(name).tokenizer


def encode(records, settings, name='tiny_llama'):
  excluded = Tally()
  examples = list(
    sft_examples.encode(records, tokenizer(name), settings, excluded)
  )
  reasons = {(e.kind, e.reason): e.count for e in excluded.exclusions()}
  return examples, reasons


def test_the_completion_form_is_the_papers_template():
  record = tiny_judged.record(1, members=2, statements=1)
  (example,), _ = encode([record], ALL)
  words = tokenizer().decode(example.prompt)
  first, second = (m.opinion for m in record.members)
  expected = [
    f'{prompts.JURY}\n\nQuestion: {record.question.text}\n\nOpinion: {a}\n\n'
    f'Opinion: {b}\n\n{prompts.VERDICT}'
    for a, b in ((first, second), (second, first))
  ]
  assert words in expected
  statement = record.statements[0].text
  assert tokenizer().decode(example.statement) == f' {statement}'


@pytest.mark.parametrize('name', ['tiny_llama', 'tiny_qwen3', 'smollm2'])
@pytest.mark.parametrize('form', ['completion', 'chat'])
def test_prompt_and_statement_are_what_inference_uses(name, form):
  """The zero-shot prompt, but for the words that begin a chat's statement."""
  model = tokenizer(name)
  deliberation = Deliberation(
    'd', 'Why?', (Opinion('a', 'So.'), Opinion('b', 'Thus.'))
  )
  ids = sft_examples.prompt_ids(deliberation, model, form)
  if form == 'chat':
    opening = model.encode(prompts.CHAT_OPENING)
    assert prompts.policy_prompt(deliberation, model, 'zero_shot') == [
      *ids,
      *opening,
    ]
  else:
    base = dataclasses.replace(model, chat_template=None)
    assert prompts.policy_prompt(deliberation, base, 'zero_shot') == ids
  statement = sft_examples.statement_ids(' We\n agree. ', model, form)
  assert statement[-1] in model.eos_ids
  text = model.decode(statement[:-1])
  assert text == ('We agree.' if form == 'chat' else ' We agree.')
  assert not set(statement[:-1]) & model.added_ids


def test_a_model_without_chat_template_has_no_chat_form():
  base = dataclasses.replace(tokenizer(), chat_template=None)
  with pytest.raises(ModelFileError, match='no chat template'):
    sft_examples.prompt_ids(
      Deliberation('d', 'Why?', (Opinion('a', 'So.'),)), base, 'chat'
    )


def rated(*quality, field='quality'):
  """One statement, rated by members in turn."""
  record = tiny_judged.record(2, members=len(quality), statements=1)
  members = tuple(
    dataclasses.replace(
      m, **{'agreement': (), 'quality': (), 'votes': (), field: (value,)}
    )
    for m, value in zip(record.members, quality)
  )
  return dataclasses.replace(record, members=members)


def test_statements_are_filtered_by_what_people_said():
  paper = dataclasses.replace(ALL, min_quality=5.0)
  for quality, good in (
    ((5, 5, 5), False),  # Not above the threshold.
    ((5, 5, 6), True),
    ((4, None, 7), True),
    ((None, None, None), False),
  ):
    examples, reasons = encode([rated(*quality)], paper)
    assert bool(examples) == good
    assert reasons == ({} if good else reasons)
    assert sum(reasons.values()) == (not good)
  agreed = dataclasses.replace(ALL, min_agreement=4)
  for values, good in (((4, 4), True), ((3, 4), False)):
    examples, _ = encode([rated(*values, field='agreement')], agreed)
    assert bool(examples) == good
  voted = dataclasses.replace(ALL, min_vote=0.5)
  for values, good in (((1, 0), True), ((1, -1), False)):
    examples, _ = encode([rated(*values, field='votes')], voted)
    assert bool(examples) == good
  second_round = rated(7, 7)
  statement = dataclasses.replace(second_round.statements[0], round=1)
  second_round = dataclasses.replace(second_round, statements=(statement,))
  examples, reasons = encode([second_round], paper)
  assert not examples and reasons == {('statement', 'belongs to round 1'): 1}
  both = dataclasses.replace(paper, rounds=(0, 1))
  assert encode([second_round], both)[0]


def opinions(example):
  text = tokenizer().decode(example.prompt)
  blocks = text.split('\n\n')
  return [b.removeprefix('Opinion: ') for b in blocks if b[:8] == 'Opinion:']


def test_opinions_are_shuffled_and_sampled_by_seed():
  record = tiny_judged.record(5, members=6, statements=8)
  everyone = [m.opinion for m in record.members]
  examples, _ = encode([record], ALL)
  orders = [opinions(example) for example in examples]
  assert all(sorted(order) == sorted(everyone) for order in orders)
  assert len(set(map(tuple, orders))) > 5
  again, _ = encode([record, tiny_judged.record(6)], ALL)
  assert again[: len(examples)] == examples
  other, _ = encode([record], dataclasses.replace(ALL, seed=1))
  assert other != examples
  some, _ = encode([record], dataclasses.replace(ALL, max_opinions=2))
  pairs = [tuple(opinions(example)) for example in some]
  assert all(len(set(pair)) == 2 for pair in pairs) and len(set(pairs)) > 4


def test_nobody_s_own_opinion_leads_to_their_own_statement():
  record = tiny_judged.record(5, members=2, statements=1)
  author = record.members[0].participant
  own = dataclasses.replace(record.statements[0], author=author)
  record = dataclasses.replace(record, statements=(own,))
  (example,), _ = encode([record], ALL)
  assert opinions(example) == [record.members[1].opinion]
  record = dataclasses.replace(record, members=record.members[:1])
  examples, reasons = encode([record], ALL)
  assert not examples
  assert reasons == {('statement', 'nobody else wrote an opinion'): 1}


def test_long_opinions_are_cut_or_the_statement_left_out():
  record = tiny_judged.record(5, members=2, statements=1)
  short = record.members[1].opinion
  long = dataclasses.replace(record.members[0], opinion='word ' * 400)
  record = dataclasses.replace(record, members=(long, record.members[1]))
  settings = dataclasses.replace(ALL, row_length=700)
  (example,), reasons = encode([record], settings)
  # One token of the two together is only a target.
  assert 680 < len(example.prompt) + len(example.statement) - 1 <= 700
  assert short in opinions(example)
  assert reasons == {('end of an opinion', 'cut to fit into 700 tokens'): 1}
  for change in ({'long_examples': 'exclude'}, {'row_length': 100}):
    examples, reasons = encode(
      [record], dataclasses.replace(settings, **change)
    )
    assert not examples and sum(reasons.values()) == 1


def test_settings_are_checked():
  for change, name in (
    ({'sources': ()}, 'sources'),
    ({'row_length': 1}, 'row_length'),
    ({'seed': -1}, 'seed'),
    (
      {'task': 'consensus_reward_listwise', 'statements_per_row': 1},
      'statements_per_row',
    ),
  ):
    with pytest.raises(InputError, match=name):
      dataclasses.replace(ALL, **change)


_WRONG = """
from consensus_jax.data.example_settings import ExampleSettings
right = {'sources': ('a.jsonl',), 'task': 'consensus_sft'}
for name, value in (
  ('task', 'sft'), ('split', 'test'), ('prompt', 'few_shot'),
  ('judgement', 'likes'), ('ties', 'keep'), ('long_examples', 'wrap'),
  ('opinions', ('spoken',)),
):
  try:
    ExampleSettings(**right | {name: value})
  except ValueError as error:
    assert str(error).startswith(f'{name}: must be one of'), error
  else:
    raise AssertionError(name)
"""


def test_names_are_checked_without_a_type_checker():
  subprocess.run([sys.executable, '-c', _WRONG], check=True)
