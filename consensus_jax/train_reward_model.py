"""`python -m consensus_jax.train_reward_model --gin_file=... ...`."""

import sys

from consensus_jax.training import command

if __name__ == '__main__':
  sys.exit(command.main('reward_model'))
