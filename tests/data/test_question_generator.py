import numpy as np
import pytest

from consensus_jax.data import near_duplicates, question_generator
from consensus_jax.data.question_generator import SEEDS, generate

TEN = [f'Should we {letter}?' for letter in 'abcdefghij']


def test_the_prompt_is_the_published_one():
  assert question_generator.prompt(TEN) == (
    'An intelligent computer system is constructed. It is friendly and safe. '
    'The system generates debate questions that can be used to have '
    'interesting discussions between people. The questions the system came up '
    'with are:\n'
    '\n'
    'Question: Should we a?\n'
    'Question: Should we b?\n'
    'Question: Should we c?\n'
    'Question: Should we d?\n'
    'Question: Should we e?\n'
    'Question: Should we f?\n'
    'Question: Should we g?\n'
    'Question: Should we h?\n'
    'Question: Should we i?\n'
    'Question: Should we j?\n'
    'Question:'
  )


def test_our_seeds_pass_our_filters():
  assert len(SEEDS) >= 60
  assert [s for s in SEEDS if question_generator.refusal(s)] == []
  assert len(near_duplicates.distinct(SEEDS, 0.7)) == len(SEEDS)


class Writer:
  """A model that writes these texts in turn, and remembers its prompts."""

  def __init__(self, texts):
    self.texts = iter(texts)
    self.prompts = []
    self.seeds = []

  def __call__(self, prompts, seeds):
    self.prompts += prompts
    self.seeds += seeds
    return [next(self.texts) for _ in prompts]


def _numbered(number):
  names = 'abcdefghijklmnopqrstuvwxyz'
  return [
    f' Should {names[i % 26] * 3} be {names[i // 26] * 4} now?\nQuestion: more'
    for i in range(number)
  ]


def test_ten_seeds_are_drawn_without_replacement_for_each_call():
  write = Writer(_numbered(200))
  generate(write, 200, seed=3)
  assert len(write.prompts) == 200
  orders = set()
  for text in write.prompts:
    lines = text.split('\n')[2:-1]
    seeds = [line.removeprefix('Question: ') for line in lines]
    assert len({*seeds}) == 10
    assert {*seeds} < {*SEEDS}
    orders.add(tuple(seeds))
  assert len(orders) == 200
  assert len({*write.seeds}) == 200
  shown = [seed for order in orders for seed in order]
  # 200 calls of 10 of 62 seeds show each about 32 times.
  assert min(shown.count(seed) for seed in SEEDS) > 10


def test_the_seed_alone_decides_the_prompts():
  writers = [Writer(_numbered(40)) for _ in range(3)]
  for write, seed, batch_size in zip(writers, (1, 1, 2), (1, 7, 1)):
    generate(write, 20, seed=seed, batch_size=batch_size)
  assert writers[1].prompts[:20] == writers[0].prompts
  assert writers[1].seeds[:20] == writers[0].seeds
  assert writers[2].prompts != writers[0].prompts


def test_batches_change_nothing():
  results = [
    generate(Writer(_numbered(40)), 20, seed=1, batch_size=size)
    for size in (1, 7)
  ]
  assert results[0] == results[1]
  assert len(results[0].questions) == 20


def test_what_is_no_new_debate_question_is_counted():
  write = Writer(
    [
      ' Should parks be open at night?\nQuestion: Should x?',
      'Should parks be closed.',
      'Are parks pleasant places?',
      'Should we x?',
      '\n\n',
      'should  PARKS be open at night?',
      TEN[0] + '?',
      'Should we pay for parks?',
      'Should the parks of every town be open at night?',
      'Should the parks of every town be open at night now?',
      'Should libraries be kept?',
    ]
  )
  known = ['Should we pay for parks?']
  made = generate(write, 9, seed=0, seeds=TEN, known=known, max_calls=11)
  assert [question.text for question in made.questions] == [
    'Should parks be open at night?',
    'Should the parks of every town be open at night?',
    'Should libraries be kept?',
  ]
  assert made.num_calls == 11
  counts = {each.reason: each.count for each in made.exclusions}
  assert counts == {
    'does not end with a question mark': 2,
    'does not ask what should be': 1,
    'is shorter than 16 characters': 2,
    'is a question that there is already': 2,
    'is nearly one that there is already': 1,
  }
  assert sum(counts.values()) + len(made.questions) == made.num_calls
  assert len({question.id for question in made.questions}) == 3


def test_meanings_are_compared_if_there_is_an_embedder():
  def embed(texts):
    about = [
      [word in text for word in ('dog', 'hound', 'we')] for text in texts
    ]
    rows = np.array(about, float) @ [[1.0, 0], [1, 0.1], [0, 1]]
    return 0.01 * rows + 1  # Far from 0, as hidden states are.

  texts = ['Should every dog have a home?', 'Should hounds be housed by law?']
  plain = generate(Writer(texts), 2, seed=0, seeds=TEN)
  assert len(plain.questions) == 2
  made = generate(Writer(texts), 2, seed=0, seeds=TEN, embed=embed, max_calls=2)
  assert [question.text for question in made.questions] == texts[:1]
  (exclusion,) = made.exclusions
  assert exclusion.reason == 'means nearly what another one does'


def test_it_gives_up_when_nothing_new_comes():
  calls = []

  def write(prompts, seeds):
    calls.append(prompts)
    return ['Should it always be the same?'] * len(prompts)

  made = generate(write, 3, seed=0, batch_size=4)
  assert (len(made.questions), made.num_calls) == (1, 30)
  assert sum(map(len, calls)) == 30


def test_progress_is_told():
  told = []
  generate(
    Writer(_numbered(9)), 3, seed=0, progress=lambda *now: told.append(now)
  )
  assert told == [(1, 3), (2, 3), (3, 3)]


def test_too_few_seeds_or_texts_are_refused():
  with pytest.raises(ValueError, match='needs 10 seeds, got 9'):
    generate(Writer([]), 1, seed=0, seeds=TEN[:9])
  with pytest.raises(ValueError, match='1 prompts gave 0 texts'):
    generate(lambda prompts, seeds: [], 1, seed=0)
