"""Speed of social choice, against pref_voting and plain NumPy.

`python benchmarks/social_choice.py` (with pref_voting installed for the first
line; without it, that line says so). `--large CANDIDATES MEMBERS` aggregates
one large group in chunks and prints how much memory that took.
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from consensus_jax.social_choice import rankings, schulze, welfare
from consensus_jax.social_choice.aggregate import aggregate


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--large', nargs=2, type=int)
  parser.add_argument('--chunk', type=int, default=8192)
  parser.add_argument('--rule', default='schulze')
  args = parser.parse_args()
  device = jax.devices()[0]
  print(f'device: {getattr(device, "device_kind", device.platform)}')
  if args.large:
    large_group(*args.large, args.chunk, args.rule)
  else:
    against_pref_voting()
    many_groups()
    cost_of_members()


def seconds(call, repeats: int = 7) -> float:
  """The median time of `call`, the first one left out."""
  jax.block_until_ready(call())
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(call())
    times.append(time.perf_counter() - start)
  return float(np.median(times))


def against_pref_voting(candidates: int = 100, members: int = 1000) -> None:
  order = np.random.default_rng(0).permuted(
    np.tile(np.arange(candidates), (members, 1)), axis=1
  )
  ranks = np.argsort(order, axis=1).T.astype(np.int32)
  ours = seconds(lambda: schulze.schulze(ranks))
  print(f'Schulze, {candidates} candidates x {members} members:')
  print(f'  consensus_jax, from the ballots    {1e3 * ours:9.1f} ms')
  try:
    from pref_voting import margin_based_methods, profiles
  except ImportError:
    print('  pref_voting is not installed: no comparison')
    return
  profile = profiles.Profile(order.tolist())
  profile.margin_matrix  # noqa: B018 (compiles)
  start = time.perf_counter()
  profiles.Profile(order.tolist()).margin_matrix  # noqa: B018
  counting = time.perf_counter() - start
  theirs = seconds(lambda: margin_based_methods.beat_path(profile), 3)
  winners = margin_based_methods.beat_path(profile)
  found = np.flatnonzero(np.asarray(schulze.schulze(ranks)) == 0).tolist()
  assert found == winners, (found, winners)
  print(f'  pref_voting, beat_path alone       {1e3 * theirs:9.1f} ms')
  print(f'  pref_voting, counting ballots      {1e3 * counting:9.1f} ms')
  print(f'  ratio to beat_path alone           {theirs / ours:9.1f}')
  print(
    f'  ratio, counting included           {(theirs + counting) / ours:9.1f}'
  )


def many_groups(
  groups: int = 100_000, candidates: int = 16, members: int = 5
) -> None:
  random = np.random.default_rng(0)
  utilities = random.uniform(1, 21, (groups, candidates, members))
  utilities = jnp.asarray(utilities, jnp.float32)

  @jax.jit
  def both(utilities):
    ranks = rankings.member_ranks(utilities)
    return welfare.isoelastic_welfare(utilities, 1.0), schulze.schulze(ranks)

  ours = seconds(lambda: both(utilities), 5)
  sample = 200
  plain = np.asarray(utilities[:sample])
  start = time.perf_counter()
  loop = [numpy_group(group) for group in plain]
  theirs = (time.perf_counter() - start) / sample * groups
  got_welfare, got_ranks = both(utilities)
  for index, (want_welfare, want_wins) in enumerate(loop):
    np.testing.assert_allclose(got_welfare[index], want_welfare, rtol=1e-5)
    want = np.unique(-want_wins, return_inverse=True)[1]
    np.testing.assert_array_equal(got_ranks[index], want)
  print(f'{groups} groups of {candidates} candidates x {members} members,')
  print('Nash welfare and Schulze:')
  print(f'  consensus_jax, one call            {ours:9.2f} s')
  print(f'  NumPy loop ({sample} groups, scaled)    {theirs:9.2f} s')
  print(f'  ratio                              {theirs / ours:9.1f}')


def numpy_group(utilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """One group, as one would write it: geometric means, Floyd and Warshall."""
  nash = np.exp(np.log(utilities).mean(axis=1))
  support = (utilities[:, None] > utilities[None]).sum(axis=-1)
  paths = np.where(support > support.T, support, 0)
  for middle in range(len(paths)):
    through = np.minimum(paths[:, middle, None], paths[None, middle])
    paths = np.maximum(paths, through)
  np.fill_diagonal(paths, 0)
  return nash, (paths >= paths.T).sum(axis=1)


def cost_of_members(candidates: int = 16) -> None:
  print(f'{candidates} candidates, time against members:')
  sizes = [65_536, 262_144, 1_048_576]
  rewards = np.random.default_rng(0).normal(size=(candidates, sizes[-1]))
  rewards = rewards.astype(np.float32)
  for rule in ('isoelastic', 'schulze'):
    times = [
      seconds(
        lambda n=n, rule=rule: (
          aggregate(
            rewards[:, :n], rule=rule, alpha=1, chunk=65_536, tie_break='first'
          ).winner
        ),
        3,
      )
      for n in sizes
    ]
    line = ', '.join(
      f'{n}: {1e3 * t:.0f} ms ({1e9 * t / n / candidates:.0f} ns each)'
      for n, t in zip(sizes, times, strict=True)
    )
    print(f'  {rule:<12} {line}')


class Electorate:
  """Rewards that are made when they are read, as if from a large file."""

  def __init__(self, candidates: int, members: int):
    self.shape = (candidates, members)
    self.popularity = np.linspace(-0.5, 0.5, candidates, dtype=np.float32)

  def __getitem__(self, index):
    _, members = index
    if not isinstance(members, slice):
      return self[:, members : members + 1][:, 0]
    random = np.random.default_rng(members.start)
    size = members.stop - members.start
    noise = random.standard_normal((self.shape[0], size), np.float32)
    return noise + self.popularity[:, None]


def large_group(candidates: int, members: int, chunk: int, rule: str) -> None:
  def used() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

  # Everything is compiled on a few members first.
  aggregate(Electorate(candidates, chunk), rule=rule, alpha=1, chunk=chunk)
  before = used()
  start = time.perf_counter()
  result = aggregate(
    Electorate(candidates, members), rule=rule, alpha=1, chunk=chunk
  )
  took = time.perf_counter() - start
  print(f'{rule}, {candidates} candidates x {members} members, alone')
  print(f'  {4 * candidates * members / 2**30:.1f} GiB of rewards, in chunks')
  print(f'  of {4 * candidates * chunk / 2**20:.0f} MiB: {took:.1f} s,')
  print(f'  most memory {used():.2f} GiB, of which {used() - before:.2f} GiB')
  print(f'  beyond that of one chunk; winner {result.winner}')


if __name__ == '__main__':
  main()
