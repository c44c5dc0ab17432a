"""How fast experiments are evaluated: scores of many deliberations, intervals.

    python benchmarks/evaluation.py --deliberations 8

Scores of 16 candidates for 5 members, of several deliberations: one call of the
mediator after another, and all rows together (`predict.rewards`, as benchmarks
of reward models have it). Beside them the floor: the products of the tokens
that have to be computed, at the speed of a large product on this machine. Then
10,000 draws of 1,000 groups. Prints Markdown.
"""

import argparse
import os
import random
import time

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax import prompts
from consensus_jax.deliberation import Deliberation
from consensus_jax.evaluation import predict, statistics
from consensus_jax.evaluation.cases import Case
from consensus_jax.evaluation.latent import groups, questions, statements
from consensus_jax.evaluation.latent.groups import LatentGroup, Population
from consensus_jax.language_model import REWARD_MODEL, LanguageModel
from consensus_jax.mediator import Mediator


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--deliberations', type=int, default=8)
  parser.add_argument('--candidates', type=int, default=16)
  parser.add_argument('--members', type=int, default=5)
  args = parser.parse_args()
  print(f'{os.cpu_count()} cores, {jax.default_backend()}', end='\n\n')
  intervals()
  scores(args.deliberations, args.candidates, args.members)


def intervals() -> None:
  """The bootstrap of the targets: 10,000 draws of 1,000 groups."""
  values = np.random.default_rng(0).normal(size=5000)
  start = time.perf_counter()
  drawn = statistics.Bootstrap.of(np.arange(5000) % 1000, 10_000, seed=0)
  drawn.mean(values)
  print(
    f'Bootstrap, 10,000 draws of 1,000 groups of 5 values: '
    f'{time.perf_counter() - start:.2f} s',
    end='\n\n',
    flush=True,
  )


def scores(deliberations: int, candidates: int, members: int) -> None:
  """Rewards of deliberations one by one, and of all together."""
  model = LanguageModel.load(REWARD_MODEL)
  drawn = groups.draw_groups(
    questions.read(),
    num_groups=deliberations + 1,
    seed=0,
    population=Population(sizes=(members,)),
  )
  asked = [deliberation(group, candidates) for group in drawn]
  mediator = Mediator(model, model)
  # Once for the compilations, of shapes that the others have as well.
  for each in asked:
    mediator.rank(each)
  predict.rewards(model, cases(asked))
  found = {
    'one deliberation after another': lambda: [
      mediator.rank(each) for each in asked[1:]
    ],
    'all rows together': lambda: predict.rewards(model, cases(asked[1:])),
  }
  num_tokens = sum(map(tokens_of(model), asked[1:]))
  config = model.config
  products = 2 * (config.num_parameters - config.vocab_size * config.embed_dim)
  speed = product_speed(jnp.dtype(model.dtype))
  floor = num_tokens * products / speed / deliberations
  print(
    f'{deliberations} deliberations x {candidates} candidates x {members} '
    f'members, {num_tokens / deliberations:,.0f} tokens each, {model.dtype}; '
    f'products of {speed / 1e9:,.0f} GFLOP/s\n'
  )
  print('| scores | wall s / deliberation | processor s / deliberation |')
  print('|---|---:|---:|')
  print(f'| floor | {floor:.2f} | |')
  for name, run in found.items():
    wall, used = time.perf_counter(), time.process_time()
    run()
    wall, used = time.perf_counter() - wall, time.process_time() - used
    print(
      f'| {name} | {wall / deliberations:.2f} | {used / deliberations:.2f} |',
      flush=True,
    )


def deliberation(group: LatentGroup, candidates: int) -> Deliberation:
  """A group with as many candidates, of as many words as a policy writes."""
  texts = [each.text for each in statements.candidates(group, num=200, seed=1)]
  rng = random.Random(group.id)
  joined: list[str] = []
  while len(joined) < candidates:
    words = rng.randint(28, 75)
    text = ' '.join(rng.sample(texts, 12)).split()[:words]
    joined.append(' '.join(text))
  asked = group.deliberation()
  return Deliberation(
    asked.id, asked.question, asked.opinions, candidates=tuple(joined)
  )


def cases(asked: list[Deliberation]) -> list[Case]:
  """What each member is asked, as `predict.rewards` takes it."""
  return [
    Case(
      conversation=each.id or '',
      participant=opinion.participant,
      question=each.question,
      opinion=opinion.text,
      statements=each.candidates,
      votes=(1,) * len(each.candidates),
      statement_ids=tuple(str(i) for i in range(len(each.candidates))),
    )
    for each in asked
    for opinion in each.opinions
  ]


def tokens_of(model: LanguageModel):
  """Tokens that nobody can avoid: a prefix a member, candidates after it."""

  def count(each: Deliberation) -> int:
    encode = model.tokenizer.encode
    texts = [prompts.reward_continuation(text) for text in each.candidates]
    after = sum(len(encode(text)) for text in texts)
    return sum(
      len(prompts.reward_prefix_ids(each.question, o.text, model.tokenizer))
      + after
      for o in each.opinions
    )

  return count


def product_speed(dtype: np.dtype, size: int = 2048) -> float:
  """FLOP/s of a large product, the best of several."""
  x = jnp.ones((size, size), dtype)
  times = jax.jit(lambda x: x @ x.T)
  times(x).block_until_ready()
  best = float('inf')
  for _ in range(10):
    start = time.perf_counter()
    times(x).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * size**3 / best


if __name__ == '__main__':
  main()
